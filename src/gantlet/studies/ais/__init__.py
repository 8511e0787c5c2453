"""The study of annealed importance sampling on flows, whose likelihood is known exactly."""

from gantlet.studies.ais.study import AisStudy

__all__ = ["AisStudy"]
