"""The study `compression`: ways to make a model's weights coarser, what stays of its circuits, claims, exhibits."""
