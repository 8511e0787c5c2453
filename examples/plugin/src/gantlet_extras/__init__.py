"""Five components for Gantlet, found through the entry points of this package."""
