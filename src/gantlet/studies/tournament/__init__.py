"""Question 5: skill ratings of generators and critics that play against each other."""

from gantlet.studies.tournament.study import Tournament as Tournament
