"""Support of a generator: how much of the data it reaches."""
