"""Games small enough to be solved with pen and paper."""
