"""Invertible maps with a known change of volume: what flows are made of."""
