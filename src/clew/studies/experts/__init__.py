"""The study `experts`: a small mixture of experts that is taught to specialise, taken apart."""
