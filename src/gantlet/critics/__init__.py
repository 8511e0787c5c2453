"""Critics that look for what tells fake samples from real ones."""
