"""One module for each kind of sample."""
