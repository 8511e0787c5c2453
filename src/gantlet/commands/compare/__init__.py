"""Models on one data set under one budget."""
