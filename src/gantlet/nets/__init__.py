"""Plain modules that families share; no losses."""
