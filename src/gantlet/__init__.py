"""Gantlet: a workbench that puts generative models to the test.

import gantlet

report = gantlet.compare(["gan", "flow", "gmm"], data="digits", out="runs/digits")
model = gantlet.load_model("runs/digits", "flow")
samples = model.sample(64, rng=gantlet.Rng(0).stream("sample"))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gantlet.core import components
    from gantlet.core.budget import Budget
    from gantlet.core.dataset import Dataset, InMemory, Splits
    from gantlet.core.errors import UserError
    from gantlet.core.estimate import Estimate
    from gantlet.core.family import Family, Fit, Fitted
    from gantlet.core.game import Adversarial, Game, Generative
    from gantlet.core.measure import (
        Extractor,
        Features,
        Findings,
        Groups,
        Metric,
        Probe,
        TrainMetric,
    )
    from gantlet.core.model import Decoder, Density, Invertible, LogProb, Model
    from gantlet.core.rng import Rng
    from gantlet.core.solver import Play, Solver
    from gantlet.core.space import Space
    from gantlet.core.spec import Between
    from gantlet.exec.api import compare, conduct, converge, load_model, load_report
    from gantlet.exec.judging import evaluate, flaws, tournament
    from gantlet.report.blocks import Report

__version__ = "0.2.0.dev0"

__all__ = [
    "Adversarial",
    "Between",
    "Budget",
    "Dataset",
    "Decoder",
    "Density",
    "Estimate",
    "Extractor",
    "Family",
    "Features",
    "Findings",
    "Fit",
    "Fitted",
    "Game",
    "Generative",
    "Groups",
    "InMemory",
    "Invertible",
    "LogProb",
    "Metric",
    "Model",
    "Play",
    "Probe",
    "Report",
    "Rng",
    "Solver",
    "Space",
    "Splits",
    "TrainMetric",
    "UserError",
    "compare",
    "components",
    "conduct",
    "converge",
    "evaluate",
    "flaws",
    "load_model",
    "load_report",
    "tournament",
]

_HOMES = {
    "Adversarial": "gantlet.core.game",
    "Between": "gantlet.core.spec",
    "Budget": "gantlet.core.budget",
    "Dataset": "gantlet.core.dataset",
    "Decoder": "gantlet.core.model",
    "Density": "gantlet.core.model",
    "Estimate": "gantlet.core.estimate",
    "Extractor": "gantlet.core.measure",
    "Family": "gantlet.core.family",
    "Features": "gantlet.core.measure",
    "Findings": "gantlet.core.measure",
    "Fit": "gantlet.core.family",
    "Fitted": "gantlet.core.family",
    "Game": "gantlet.core.game",
    "Generative": "gantlet.core.game",
    "Groups": "gantlet.core.measure",
    "InMemory": "gantlet.core.dataset",
    "Invertible": "gantlet.core.model",
    "LogProb": "gantlet.core.model",
    "Metric": "gantlet.core.measure",
    "Model": "gantlet.core.model",
    "Play": "gantlet.core.solver",
    "Probe": "gantlet.core.measure",
    "Report": "gantlet.report.blocks",
    "Rng": "gantlet.core.rng",
    "Solver": "gantlet.core.solver",
    "Space": "gantlet.core.space",
    "Splits": "gantlet.core.dataset",
    "TrainMetric": "gantlet.core.measure",
    "UserError": "gantlet.core.errors",
    "compare": "gantlet.exec.api",
    "conduct": "gantlet.exec.api",
    "converge": "gantlet.exec.api",
    "evaluate": "gantlet.exec.judging",
    "flaws": "gantlet.exec.judging",
    "load_model": "gantlet.exec.api",
    "load_report": "gantlet.exec.api",
    "tournament": "gantlet.exec.judging",
}


def __getattr__(name: str) -> Any:
    """Loads a public name when it is first used: importing gantlet loads no torch."""
    if name == "components":
        return import_module("gantlet.core.components")
    if name not in _HOMES:
        raise AttributeError(f"module 'gantlet' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
