"""Gantlet: a workbench that puts generative models to the test."""

__version__ = "0.1.0"
