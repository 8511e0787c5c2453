"""Whether a training converges, and what would help."""
