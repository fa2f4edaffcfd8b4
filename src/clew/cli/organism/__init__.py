"""The commands of the small world."""
