"""How players move: one file for each solver, and what they share."""
