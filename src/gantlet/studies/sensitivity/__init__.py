"""Which metric notices which damage, and at which sample size?"""

from gantlet.studies.sensitivity.study import Sensitivity

__all__ = ["Sensitivity"]
