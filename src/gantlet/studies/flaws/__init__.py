"""Question 5: an ordered list of what is wrong with samples."""

from gantlet.studies.flaws.study import FindFlaws as FindFlaws
