"""What can be said about the global convergence of training?"""

from gantlet.studies.convergence.study import Convergence

__all__ = ["Convergence"]
