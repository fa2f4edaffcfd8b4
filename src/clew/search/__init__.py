"""Finding features by words, meaning, token, text or example."""
