"""An ordered list of flaws."""
