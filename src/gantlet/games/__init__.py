"""Games: vector fields, solvers, spectra, equilibria."""
