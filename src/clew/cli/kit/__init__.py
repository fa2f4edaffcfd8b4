"""The commands that look at kits and put them together."""
