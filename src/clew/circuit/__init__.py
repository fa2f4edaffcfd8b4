"""What a person reads of a Graph: features in a few named groups, what they do to one another, one sentence."""
