"""Question 4: is a training converging, rotating, diverging or stuck, and what would help?"""

from gantlet.studies.converge.study import Converge as Converge
