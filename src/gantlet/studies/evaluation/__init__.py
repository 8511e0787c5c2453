"""Question 5: samples against real data, with every published metric and how sure each is."""

from gantlet.studies.evaluation.study import Evaluate as Evaluate
