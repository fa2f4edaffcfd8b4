"""The study `expanders`: graphs with and without a bottleneck, formulas on them, circuits beside them."""
