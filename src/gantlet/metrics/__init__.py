"""Metrics of samples; a metric never sees a model."""
