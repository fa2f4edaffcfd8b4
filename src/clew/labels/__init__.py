"""Labels of features: the store, rules, model labellers, scores and exchange."""
