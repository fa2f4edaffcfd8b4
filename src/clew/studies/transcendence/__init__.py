"""The study `transcendence`: experts that err, models taught by them, and what low temperature makes of it."""
