"""Do the intervals of the metrics hold the truth as often as they say?"""

from gantlet.studies.calibration.study import Calibration

__all__ = ["Calibration"]
