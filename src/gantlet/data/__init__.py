"""Data sets and their sources."""
