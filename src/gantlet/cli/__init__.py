"""The command line: the app and one file for each command."""
