"""How GANs are trained towards mixed equilibria, each method with the same operations."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, final

from gantlet.core.budget import Budget
from gantlet.core.components import datasets, families, solvers
from gantlet.core.trial import Trial
from gantlet.studies.convergence.strategy import Size

Method = Literal[
    "plain",
    "without penalty",
    "near past",
    "far past",
    "langevin",
    "mix-gan",
    "double oracle",
    "matrix games",
]

PLAIN: Method = "plain"
LOOSE: Method = "without penalty"
NEAR: Method = "near past"
FAR: Method = "far past"
LANGEVIN: Method = "langevin"
ORACLE: Method = "double oracle"
MATRIX: Method = "matrix games"

_SIZE = "latent=8,width=32,depth=2,loss=ns"
_NETS = f"{_SIZE},penalty=r1,gamma=0.1"
_ADAM = "adam:lr=0.001,beta1=0.0,beta2=0.99"
_TRAINED: dict[Method, tuple[str, str]] = {
    PLAIN: (f"gan:{_NETS}", _ADAM),
    LOOSE: (f"gan:{_SIZE},penalty=none", _ADAM),
    NEAR: (f"gan:{_NETS}", "history:last=5,every=1"),
    FAR: (f"gan:{_NETS}", "history:last=10,every=50"),
    LANGEVIN: (f"gan:{_NETS}", "langevin:inner=2,temperature=1e-9"),
    "mix-gan": (f"mix-gan:k=3,{_NETS}", _ADAM),
    ORACLE: (f"gan:{_NETS}", _ADAM),
}

GAN = _TRAINED[PLAIN][0]
"""The two networks that every method trains, one pair or several."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How large everything is.

    Attributes:
        flops: What each method may spend on training and on choosing its mixture.
        shares: At which shares of the budget methods are judged.
        snapshots: How many snapshots of a training there are.
        response: Steps of a best response in the double oracle.
        search: Steps of the best responses that judge; the same for all.
        judged: Held-out samples on which a method chooses.
        batch: Samples in one batch of a judge.
        rounds: Rounds of the matrix game.
    """

    flops: float
    shares: tuple[float, ...] = (0.25, 0.5, 1.0)
    snapshots: int = 20
    response: int = 100
    search: int = 150
    judged: int = 512
    batch: int = 250
    rounds: tuple[int, ...] = (100, 1000, 10_000)


_SCALES: dict[Size, tuple[Scale, int]] = {
    "small": (Scale(flops=1e10), 3),
    "full": (Scale(flops=1e11, response=300, search=1000), 10),
}


def trials(size: Size) -> Sequence[Trial]:
    """Lists one trial for each method and seed, and one of a matrix game."""
    scale, seeds = _SCALES[size]
    return [
        _matrix(scale),
        *(_trained(method, scale, seed) for seed in range(seeds) for method in _TRAINED),
    ]


def scale_of(trial: Trial) -> Scale:
    """Returns how large everything is in a trial."""
    found: dict[str, Any] = json.loads(trial.parts["scale"])
    for listed in ("shares", "rounds"):
        found[listed] = tuple(found[listed])
    return Scale(**found)


def _matrix(scale: Scale) -> Trial:
    parts = {"model": "matching pennies", "data": "none", "method": MATRIX}
    return Trial(parts={**parts, "scale": json.dumps(asdict(scale))})


def _trained(method: Method, scale: Scale, seed: int) -> Trial:
    model, solver = _TRAINED[method]
    return Trial(
        parts={
            "model": families.resolve(model),
            "solver": solvers.resolve(solver),
            "data": datasets.resolve("ring"),
            "data_seed": "0",
            "method": method,
            "scale": json.dumps(asdict(scale)),
        },
        budget=Budget(flops=scale.flops),
        seed=seed,
    )
