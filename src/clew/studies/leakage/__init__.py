"""The study `leakage`: its prompts and their law, the Leak-Rate, what is claimed of it, tables and pictures."""
