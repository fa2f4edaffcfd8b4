"""One pass of a corpus through model and Dictionary, from which an Atlas is made."""
