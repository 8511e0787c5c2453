"""One file for each metric; a metric sees samples, never a model."""
