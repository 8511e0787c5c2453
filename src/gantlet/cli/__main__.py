"""Runs ``gantlet`` as ``python -m gantlet.cli``."""

from gantlet.cli.main import main

if __name__ == "__main__":
    main()
