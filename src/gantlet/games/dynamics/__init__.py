"""What a game does near a point: its field, the Jacobian, spectra and what follows from them."""
