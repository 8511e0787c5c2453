"""Mixed strategies of networks, and how far play is from equilibrium."""
