"""One file for each extractor of features."""
