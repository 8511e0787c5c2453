"""Lets ``python -m gantlet.cli`` do what ``gantlet`` does."""

from gantlet.cli.main import main

if __name__ == "__main__":
    main()
