"""The study `capital`: facts and prompts, which features carry what, swaps and ablations, claims and exhibits."""
