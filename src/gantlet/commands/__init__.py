"""The everyday commands, one package or module each."""
