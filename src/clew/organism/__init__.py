"""The small world: a law that writes text, a corpus drawn from it, a model trained on it, and its exam."""
