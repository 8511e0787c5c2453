"""Gantlet: a workbench that puts generative models to the test.

import gantlet

report = gantlet.compare(["gan", "flow", "gmm"], data="digits", out="runs/digits")
model = gantlet.load_model("runs/digits", "flow")
samples = model.sample(64, rng=gantlet.Rng(0).stream("sample"))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gantlet.core.budget import Budget
    from gantlet.core.errors import UserError
    from gantlet.core.estimate import Estimate
    from gantlet.core.rng import Rng
    from gantlet.core.space import Space
    from gantlet.exec.api import compare, conduct, converge, load_model, load_report
    from gantlet.exec.judging import evaluate, flaws, tournament

__version__ = "0.1.0"

__all__ = [
    "Budget",
    "Estimate",
    "Rng",
    "Space",
    "UserError",
    "compare",
    "conduct",
    "converge",
    "evaluate",
    "flaws",
    "load_model",
    "load_report",
    "tournament",
]

_HOMES = {
    "Budget": "gantlet.core.budget",
    "Estimate": "gantlet.core.estimate",
    "Rng": "gantlet.core.rng",
    "Space": "gantlet.core.space",
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
    if name not in _HOMES:
        raise AttributeError(f"module 'gantlet' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
