"""Interventions as values, what they do in the frozen and in the live model, and the audit of a graph by them."""
