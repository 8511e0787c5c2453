"""The game as mathematics: losses, penalties, solvers."""
