"""Contracts and plain data, independent of particular models, files and output."""
