"""One file for each data set or source."""
