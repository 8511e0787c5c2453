"""Published configurations, costed without being run."""
