"""``gantlet forecast``."""
