"""The study `greater-than`: prompts and the law, merged graphs, classes of features, ablations, scales, exhibits."""
