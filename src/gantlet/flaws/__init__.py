"""The search for flaws."""
