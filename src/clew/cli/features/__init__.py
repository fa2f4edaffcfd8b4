"""The commands that look at what an atlas knows."""
