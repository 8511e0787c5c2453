"""Games of finitely many strategies, given by a matrix of payoffs."""
