"""The study `persona`: its questions, groups of features by factorial means, ablations, steering, claims, exhibits."""
