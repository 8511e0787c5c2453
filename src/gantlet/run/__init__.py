"""Training, the run folder, and where trials run."""
