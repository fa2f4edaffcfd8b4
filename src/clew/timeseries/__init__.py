"""Models of time series, explained and checked."""
