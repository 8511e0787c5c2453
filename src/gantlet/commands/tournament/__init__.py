"""Generators and critics that play each other."""
