"""Gantlet: a workbench for training, evaluating and comparing generative models.

import gantlet

report = gantlet.compare(["gan", "flow", "gmm"], data="digits", out="runs/digits")
model = gantlet.load_model("runs/digits", "flow")
samples = model.sample(64, rng=gantlet.Rng(0).stream("sample"))
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from gantlet.api import (
        attack,
        batch,
        compare,
        converge,
        cost,
        doctor,
        evaluate,
        export,
        flaws,
        forecast,
        load_model,
        load_report,
        plan,
        run_study,
        sample,
        study,
        support,
        tournament,
        train,
        verify,
        why,
    )
    from gantlet.compute.meters import count
    from gantlet.core import spec as components
    from gantlet.core.data import Dataset, InMemory, Part, Space, Splits
    from gantlet.core.errors import UserError
    from gantlet.core.estimate import Budget, Estimate
    from gantlet.core.metric import (
        DataProbe,
        Extractor,
        Features,
        Findings,
        Groups,
        Metric,
        Probe,
        SpaceMetric,
        TrainMetric,
    )
    from gantlet.core.model import (
        Adversarial,
        Decoder,
        Density,
        Family,
        FitResult,
        FittedFamily,
        Game,
        Generative,
        Invertible,
        Knob,
        LogProb,
        Model,
        Play,
        Solver,
        Tunable,
        refuse_context,
    )
    from gantlet.core.rng import Rng
    from gantlet.core.spec import Between
    from gantlet.models.own import game
    from gantlet.options import Search, SupportTests
    from gantlet.report.blocks import Report
    from gantlet.stats import theory
    from gantlet.view.page import view
    from gantlet.watch.loop import Watch

__version__ = "0.2.0.dev0"

__all__ = [
    "Adversarial",
    "Between",
    "Budget",
    "DataProbe",
    "Dataset",
    "Decoder",
    "Density",
    "Estimate",
    "Extractor",
    "Family",
    "Features",
    "Findings",
    "FitResult",
    "FittedFamily",
    "Game",
    "Generative",
    "Groups",
    "InMemory",
    "Invertible",
    "Knob",
    "LogProb",
    "Metric",
    "Model",
    "Part",
    "Play",
    "Probe",
    "Report",
    "Rng",
    "Search",
    "Solver",
    "Space",
    "SpaceMetric",
    "Splits",
    "SupportTests",
    "TrainMetric",
    "Tunable",
    "UserError",
    "Watch",
    "attack",
    "batch",
    "compare",
    "components",
    "converge",
    "cost",
    "count",
    "doctor",
    "evaluate",
    "export",
    "flaws",
    "forecast",
    "game",
    "load_model",
    "load_report",
    "plan",
    "refuse_context",
    "run_study",
    "sample",
    "study",
    "support",
    "theory",
    "tournament",
    "train",
    "verify",
    "view",
    "why",
]

_HOMES = {
    "Adversarial": "gantlet.core.model",
    "Between": "gantlet.core.spec",
    "Budget": "gantlet.core.estimate",
    "DataProbe": "gantlet.core.metric",
    "Dataset": "gantlet.core.data",
    "Decoder": "gantlet.core.model",
    "Density": "gantlet.core.model",
    "Estimate": "gantlet.core.estimate",
    "Extractor": "gantlet.core.metric",
    "Family": "gantlet.core.model",
    "Features": "gantlet.core.metric",
    "Findings": "gantlet.core.metric",
    "FitResult": "gantlet.core.model",
    "FittedFamily": "gantlet.core.model",
    "Game": "gantlet.core.model",
    "Generative": "gantlet.core.model",
    "Groups": "gantlet.core.metric",
    "InMemory": "gantlet.core.data",
    "Invertible": "gantlet.core.model",
    "Knob": "gantlet.core.model",
    "LogProb": "gantlet.core.model",
    "Metric": "gantlet.core.metric",
    "Model": "gantlet.core.model",
    "Part": "gantlet.core.data",
    "Play": "gantlet.core.model",
    "Probe": "gantlet.core.metric",
    "Report": "gantlet.report.blocks",
    "Rng": "gantlet.core.rng",
    "Solver": "gantlet.core.model",
    "Search": "gantlet.options",
    "SupportTests": "gantlet.options",
    "Space": "gantlet.core.data",
    "SpaceMetric": "gantlet.core.metric",
    "Splits": "gantlet.core.data",
    "TrainMetric": "gantlet.core.metric",
    "Tunable": "gantlet.core.model",
    "UserError": "gantlet.core.errors",
    "Watch": "gantlet.watch.loop",
    "count": "gantlet.compute.meters",
    "game": "gantlet.models.own",
    "refuse_context": "gantlet.core.model",
    "view": "gantlet.view.page",
}
_MODULES = {"components": "gantlet.core.spec", "theory": "gantlet.stats.theory"}


@final
class _Package(ModuleType):
    """The package, in which a subpackage does not hide a public function of the same name."""

    def __setattr__(self, name: str, value: object) -> None:  # type: ignore[explicit-override]
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    """Loads a public name on first use: importing gantlet does not import torch."""
    former = {"conduct": "run_study", "Fit": "FitResult", "Fitted": "FittedFamily"}
    if name not in __all__ and former.get(name) in __all__:
        import warnings

        text = f"gantlet.{name} is now {former[name]}; the old name works in this version only."
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        name = former[name]
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name not in __all__:
        raise AttributeError(f"module 'gantlet' has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "gantlet.api")), name)
