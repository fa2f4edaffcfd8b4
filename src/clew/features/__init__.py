"""Feature cards and the Atlas that holds them."""
