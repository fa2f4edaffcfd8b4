"""Training runs and evaluations as the command line and the page ask for them, without asking or printing."""
