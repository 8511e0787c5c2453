"""Statistics: intervals, jackknives, permutation tests, ratings."""
