"""Training, evaluation and what belongs to them, on the command line."""
