"""Training, run directories and execution of trials."""
