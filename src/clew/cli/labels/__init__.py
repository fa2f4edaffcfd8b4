"""The commands that name features and share the names."""
