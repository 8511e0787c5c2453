"""Outputs beside what they should have been."""
