"""Samples against real ones, by metrics."""
