"""The whole study of question 1: trade-offs between GANs and other model families."""

from gantlet.studies.tradeoffs.study import Tradeoffs

__all__ = ["Tradeoffs"]
