"""The study `traits`: personality by embeddings and by features, with jingle and jangle, each cell beside its null."""
