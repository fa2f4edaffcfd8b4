"""The study `action-spaces`: a player of bandits that knows actions only by embeddings drawn anew."""
