"""Contracts and plain data: knows no particular model, no file and no screen."""
