"""``gantlet why``: what of a difference between two values comes from which setting."""
