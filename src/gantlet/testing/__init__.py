"""Checks that a component keeps its contract; for our own tests and for plug-in authors."""
