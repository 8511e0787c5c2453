"""Measurements that need the model itself."""
