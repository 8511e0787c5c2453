"""Published runs, costed from their configurations without running them."""
