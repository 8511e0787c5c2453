"""One file for each model family, and the honest baselines."""
