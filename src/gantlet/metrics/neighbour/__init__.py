"""Who lies near whom: one pass over all pairs for every metric that asks."""
