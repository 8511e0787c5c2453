"""Strategy 2: do claims about the loss surfaces of ordinary networks hold for games?

For losses of networks it has been argued that wide ones have hardly any bad local minima, and that
stationary points of high loss are saddles with many ways down (Dauphin et al., 2014,
https://arxiv.org/abs/1406.2572). Here one generator learns the same data twice: alone, by a fixed
discrepancy, and against a critic, with as many parameters in all.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.func import vmap
from torch.fx.experimental.proxy_tensor import make_fx
from typing_extensions import override

from gantlet.core.estimate import Estimate
from gantlet.core.intervals import proportion
from gantlet.core.rng import Rng
from gantlet.core.trial import Outcome, Trial
from gantlet.critics.rating_agreement import spearman
from gantlet.games.batched import Ensemble
from gantlet.report.blocks import Block, Caveat, Verdict
from gantlet.store.run import TrialFolder
from gantlet.studies.base import Watch
from gantlet.studies.convergence.games import CENTRES, Duel, Fit, OnALine, apart, modes
from gantlet.studies.convergence.landscape_views import charts, table, verdicts
from gantlet.studies.convergence.stationary import Settled, character, settle
from gantlet.studies.convergence.strategy import Size, Strategy

DUEL_STEPS, SETTLE_STEPS = 2500, 100
"""Steps of training, and of the search for a stationary point from each of its ends."""

_RATE, _DECAY = 0.02, 0.99
# After so many steps of training, searches for stationary points of any kind begin.
_PATH = (0, 200)
_NOTHING = torch.empty(0, dtype=torch.float64)


@final
@dataclass(frozen=True, slots=True)
class Found:
    """A stationary point.

    Attributes:
        trained: Whether training ended there, or a search from the path of training.
        distance: The energy distance of the generator's samples from the data.
        kind: Nash, stable or unstable.
        index: The share of directions in which play leaves it.
        turning: The largest share of imaginary part in an eigenvalue.
    """

    trained: bool
    distance: float
    kind: str
    index: float
    turning: float


@final
class Landscape(Strategy):
    """Stationary points of a game of one player and of a game of two, of equal size."""

    @property
    @override
    def name(self) -> str:
        return "landscape"

    @property
    @override
    def title(self) -> str:
        return "Strategy 2: tools from ordinary networks"

    @property
    @override
    def caveats(self) -> Sequence[Caveat]:
        return (
            Caveat(
                text="The landscape is that of networks with one hidden layer on a line, so small "
                "that stationary points can be found to the last digit. Searches find some of "
                "them, not all, and not each equally often."
            ),
        )

    @override
    def trials(self, size: Size) -> Sequence[Trial]:
        widths, plays = ((1, 2, 4, 8), 20) if size == "small" else ((1, 2, 4, 8, 16), 100)
        # A generator alone has half as many networks: twice the width.
        return [
            Trial(
                parts={
                    "model": f"{game}:width={width}",
                    "data": "four modes on a line",
                    "game": game,
                    "width": str(width),
                    "plays": str(plays),
                },
                seed=0,
            )
            for w in widths
            for game, width in (("one player", 2 * w), ("two players", w))
        ]

    @override
    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        kind = Fit if trial.parts["game"] == "one player" else Duel
        return _outcome(trial, _explore(kind(int(trial.parts["width"])), trial, watch))

    @override
    def blocks(self, outcomes: Sequence[Outcome]) -> Iterator[Block]:
        yield table(outcomes, bad_from())
        yield from charts(outcomes)

    @override
    def verdicts(self, outcomes: Sequence[Outcome]) -> Iterator[Verdict]:
        yield from verdicts(outcomes)


def bad_from() -> float:
    """Returns the energy distance of perfect samples that leave out the mode missed least."""
    n = OnALine.POINTS
    left = [tuple(c for c in CENTRES if c != gone) for gone in CENTRES]
    return min(float(apart(modes(n - n // len(CENTRES), kept), modes(n))) for kept in left)


@final
@dataclass(frozen=True, slots=True)
class _Explored:
    """Stationary points, how many searches began, and how far trained runs end from the data."""

    parameters: int
    found: Sequence[Found]
    started: int
    ended: Tensor


def _explore(game: OnALine, trial: Trial, watch: Watch) -> _Explored:
    """Trains a game from many starts, and searches stationary points from where it went."""
    ensemble, plays = Ensemble(game), int(trial.parts["plays"])

    def field(z: Tensor) -> Tensor:
        return ensemble.field(z, _NOTHING, _NOTHING)

    z = starts(ensemble, plays, rng=Rng(trial.seed).stream(trial.parts["model"]))
    path = trained(field, z, lambda done: watch(0.5 * done, "training"))
    watch(0.5, "searching stationary points")
    ends = settle(field, path[-1], steps=SETTLE_STEPS)
    others = settle(field, torch.cat(path[:-1]), steps=SETTLE_STEPS)
    found = [*_found(ensemble, ends, trained=True), *_found(ensemble, others, trained=False)]
    return _Explored(len(ensemble.now), found, len(others.z), ensemble.distance(path[-1]).detach())


def starts(ensemble: Ensemble, plays: int, *, rng: torch.Generator) -> Tensor:
    """Returns standard normal weights, shape ``(plays, p)``."""
    size = len(ensemble.now)
    return torch.randn(plays, size, generator=rng, dtype=torch.float64)


@torch.no_grad()
def trained(
    field: Callable[[Tensor], Tensor], z: Tensor, tell: Callable[[float], None]
) -> list[Tensor]:
    """Returns the plays after the steps of ``_PATH``, and at the end.

    Simultaneous steps of RMSprop (Tieleman and Hinton, 2012), whose rate falls to nothing over
    the second half, so that what converges does.
    """
    look = make_fx(vmap(field))(z)
    square, kept = torch.zeros_like(z), list[Tensor]()
    for step in range(DUEL_STEPS):
        if step in _PATH:
            kept.append(z)
        v = look(z)
        square = _DECAY * square + (1 - _DECAY) * v.square()
        rate = _RATE * min(1.0, 2 * (1 - step / DUEL_STEPS))
        z = z + rate * v / ((square / (1 - _DECAY ** (step + 1))).sqrt() + 1e-8)
        if step % 100 == 0:
            tell(step / DUEL_STEPS)
    return [*kept, z]


def _found(ensemble: Ensemble, ends: Settled, *, trained: bool) -> Iterator[Found]:
    still = ends.is_still().nonzero()[:, 0].tolist()
    distances = ensemble.distance(ends.z)
    places = _places(ensemble)
    for i in still:
        seen = character(ends.jacobian[i], places)
        yield Found(trained, float(distances[i]), seen.kind, seen.index, seen.turning)


def _places(ensemble: Ensemble) -> list[slice]:
    places, start = list[slice](), 0
    for size in ensemble.sizes.values():
        places.append(slice(start, start + size))
        start += size
    return places


def distinct(found: Sequence[Found]) -> list[Found]:
    """Returns one of those that agree in all that is known: units of a network may be swapped."""
    seen: dict[tuple[float, float, float], Found] = {}
    for one in found:
        seen.setdefault((round(one.distance, 6), one.index, round(one.turning, 6)), one)
    return list(seen.values())


def _outcome(trial: Trial, explored: _Explored) -> Outcome:
    found, ended = explored.found, explored.ended
    at_end = [f for f in found if f.trained]
    stable = distinct([f for f in found if f.kind != "unstable"])
    points = distinct(found)
    bad = int((ended >= bad_from()).sum())
    scores: dict[str, Estimate] = {
        "parameters": Estimate.exact(float(explored.parameters), method="counted"),
        "trained runs that end badly": proportion(bad, len(ended), of="trained runs"),
        "of those at rest, bad": proportion(
            sum(f.distance >= bad_from() for f in at_end), len(at_end), of="runs at rest"
        ),
        "searches that succeed": proportion(
            len(found) - len(at_end), explored.started, of="searches"
        ),
        "index against distance": spearman(
            [f.index for f in points], [f.distance for f in points]
        ),
        "stable but no Nash point": proportion(
            sum(f.kind == "stable" for f in stable), len(stable), of="stable points"
        ),
        "stable points that are bad": proportion(
            sum(f.distance >= bad_from() for f in stable), len(stable), of="stable points"
        ),
    }
    details: dict[str, Any] = {"points": [asdict(f) for f in points]}
    return Outcome(trial=trial, scores=scores, details=details)
