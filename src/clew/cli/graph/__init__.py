"""`clew graph`: what holds over several graphs, and how much of one hangs on few edges."""
