"""Strategy 2: do claims about the loss surfaces of ordinary networks hold for games?

For losses of networks it has been argued that wide ones have hardly any bad local minima, and that
stationary points of high loss are saddles with many ways down (Dauphin et al., 2014,
https://arxiv.org/abs/1406.2572). Here one generator learns the same data twice: alone, by a fixed
discrepancy, and against a critic, with as many parameters in all.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor
from torch.func import jacrev, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from typing_extensions import override

from gantlet.core.estimate import Estimate, Outcome, Trial
from gantlet.core.rng import Rng
from gantlet.games.batched import Ensemble
from gantlet.report.blocks import Block, Caveat, Cell, Column, Point, Scatter, Table, Verdict
from gantlet.report.format import text
from gantlet.research.convergence.games import (
    CENTRES,
    Duel,
    FixedDiscrepancy,
    OnALine,
    apart,
    modes,
)
from gantlet.research.convergence.strategy import Size, Strategy, StrategyTrial
from gantlet.run.execute import Watch
from gantlet.run.store import TrialFolder
from gantlet.stats.intervals import proportion
from gantlet.stats.ratings import spearman

# ----------------------------------------------------------------------------
# Points where a game stands still, and what kind of points they are.
# ----------------------------------------------------------------------------

Field = Callable[[Tensor], Tensor]
"""From all numbers of all players, shape ``(p,)``, to the field there, shape ``(p,)``."""

Kind = Literal["Nash", "stable", "unstable"]

# Eigenvalues below this share of the largest count as zero.
_FLAT = 1e-6
# The damping goes down by the first after a good step, up by the second after a bad one.
_DOWN, _UP = 5.0, 4.0


@final
@dataclass(frozen=True, slots=True)
class Settled:
    """Where many searches ended.

    Attributes:
        z: The points, shape ``(n, p)``.
        v: The field there, shape ``(n, p)``.
        jacobian: Its Jacobian there, shape ``(n, p, p)``.
    """

    z: Tensor
    v: Tensor
    jacobian: Tensor

    def is_still(self, tolerance: float = 1e-8) -> Tensor:
        """Returns which points are stationary, shape ``(n,)``.

        A search may also end where ``|v|`` has a minimum that is not zero, as Frye et al., 2021,
        https://arxiv.org/abs/2003.10397, found it mostly does in large networks.
        """
        still: Tensor = self.v.norm(dim=1) <= tolerance
        return still


@torch.no_grad()
def settle(field: Field, z: Tensor, *, steps: int) -> Settled:
    """Searches stationary points of any kind from many points: minima, saddles, whatever is near.

    Gauss-Newton steps on ``|v|^2``, damped as Levenberg and Marquardt do; a step that does not
    lower ``|v|`` is not taken.

    Source: Marquardt, 1963, https://doi.org/10.1137/0111030; damped by the largest diagonal
    element of ``J^T J`` rather than by each.

    Args:
        field: Twice differentiable by ``torch.func``.
        z: Where to begin, shape ``(n, p)``, double precision.
        steps: How many steps.
    """

    def looked(at: Tensor) -> tuple[Tensor, Tensor]:
        def both(one: Tensor) -> tuple[Tensor, Tensor]:
            v = field(one)
            return v, v

        jacobian, v = jacrev(both, has_aux=True)(at)
        return v, jacobian

    look = make_fx(vmap(looked))(z)
    look.graph.eliminate_dead_code()
    look.recompile()
    now = Settled(z, *look(z))
    damping = torch.full((len(z),), 1e-2, dtype=z.dtype)
    for _ in range(steps):
        there = now.z + _step(now, damping)
        ahead = Settled(there, *look(there))
        better = ahead.v.norm(dim=1) < now.v.norm(dim=1)
        now = _chosen(better, ahead, now)
        damping = torch.where(better, damping / _DOWN, damping * _UP).clamp(1e-14, 1e6)
    return now


def _step(now: Settled, damping: Tensor) -> Tensor:
    square = now.jacobian.mT @ now.jacobian
    scale = damping * square.diagonal(dim1=1, dim2=2).amax(1)
    damped = square + torch.diag_embed(scale[:, None].expand(-1, square.shape[1]))
    slope = now.jacobian.mT @ now.v[:, :, None]
    # Where the matrix is singular to the last digit, the next step is damped more.
    found, failed = torch.linalg.solve_ex(damped, slope)
    return torch.where(failed[:, None] == 0, -found[..., 0], torch.zeros_like(now.z))


def _chosen(better: Tensor, ahead: Settled, now: Settled) -> Settled:
    return Settled(
        torch.where(better[:, None], ahead.z, now.z),
        torch.where(better[:, None], ahead.v, now.v),
        torch.where(better[:, None, None], ahead.jacobian, now.jacobian),
    )


@final
@dataclass(frozen=True, slots=True)
class Character:
    """What a stationary point is like.

    Attributes:
        kind: ``Nash``: stable, and no player can gain by a small move of its own. ``stable``:
            play comes back to it, though a player alone could gain. ``unstable``: play leaves it.
        index: The share of directions in which play leaves it, in [0, 1]: that of eigenvalues of
            the Jacobian with positive real part. For one player, of negative ones of its Hessian.
        turning: The largest share of imaginary part in an eigenvalue, in [0, 1].
    """

    kind: Kind
    index: float
    turning: float


def character(jacobian: Tensor, players: Sequence[slice]) -> Character:
    """Returns the character of a stationary point, from the Jacobian of ``v`` there.

    The three kinds are distinguished as in Berard et al., 2020, https://arxiv.org/abs/1906.04848,
    section 2.

    Args:
        jacobian: Shape ``(p, p)``.
        players: Which rows and columns are whose.
    """
    values = torch.linalg.eigvals(jacobian)
    least = _FLAT * float(values.abs().max())
    leaves = values.real > least
    moving = values[values.abs() > least]
    turning = float((moving.imag.abs() / moving.abs()).max()) if len(moving) else 0.0
    kind: Kind = "unstable" if bool(leaves.any()) else "stable"
    if kind == "stable" and all(_is_least(jacobian[own, own]) for own in players):
        kind = "Nash"
    return Character(kind, float(leaves.double().mean()), turning)


def _is_least(block: Tensor) -> bool:
    """Whether minus a player's Hessian has no positive eigenvalue."""
    values = torch.linalg.eigvalsh((block + block.mT) / 2)
    return float(values.max()) <= _FLAT * float(values.abs().max())


# ----------------------------------------------------------------------------
# What the stationary points of games show: a table, charts, sentences.
# ----------------------------------------------------------------------------

_GAMES = ("one player", "two players")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LandscapeTrial(StrategyTrial):
    """One game of one width.

    Attributes:
        game: Who plays it.
        width: Units of the hidden layers.
        plays: From how many starts it is played.
        seed: Draws the starts.
    """

    strategy: str = "landscape"
    data: str = "four modes on a line"
    game: str
    width: int
    plays: int
    seed: int = 0


def table(outcomes: Sequence[Outcome], bad_from: float) -> Table:
    """Returns one row for each game and width."""
    columns = [
        Column(name="game and width"),
        Column(name="parameters"),
        Column(
            name="trained runs that end badly",
            help=f"Energy distance of at least {bad_from:.3f}: that of perfect samples which "
            "leave out one mode.",
        ),
        Column(name="stable points that are bad"),
        Column(name="stable but no Nash point", help="A player can improve unilaterally."),
        Column(
            name="index against distance",
            help="Spearman's correlation over distinct stationary points.",
        ),
        Column(name="searches that succeed", help="Others end at non-stationary points."),
    ]
    rows: list[Sequence[Cell]] = [
        [
            "{0.game}, {0.width}".format(LandscapeTrial.of(o.trial)),
            o.scores["parameters"].value,
            *(o.scores[column.name] for column in columns[2:]),
        ]
        for game in _GAMES
        for o in of_game(outcomes, game)
    ]
    note = (
        "Shares of distinct points ± half the 95 % interval. The index is the share of directions "
    )
    note += "in which play leaves a point."
    return Table(title="Stationary points", columns=columns, rows=rows, note=note)


def charts(outcomes: Sequence[Outcome]) -> Iterator[Scatter]:
    """Yields the points of the widest network of each game: index against distance."""
    for game in _GAMES:
        of = of_game(outcomes, game)
        if of:
            points = of[-1].details["points"]
            yield Scatter(
                title=f"Stationary points of the widest game: {game}",
                x_label="index: share of unstable directions",
                y_label="energy distance from the data",
                points=[Point(name=p["kind"], x=p["index"], y=p["distance"]) for p in points],
                x_better=None,
                note="Distinct points found by training or search.",
            )


def verdicts(outcomes: Sequence[Outcome]) -> Iterator[Verdict]:
    """Yields what holds for one player, and whether it does for two."""
    for game in _GAMES:
        of = of_game(outcomes, game)
        if len(of) > 1:
            yield _by_width(game, of)
    for game in _GAMES:
        of = of_game(outcomes, game)
        if of:
            yield _by_index(game, of)
    duels = of_game(outcomes, "two players")
    if duels:
        yield _no_nash(duels)


def of_game(outcomes: Sequence[Outcome], game: str) -> list[Outcome]:
    """Returns the outcomes of a game, the narrowest first."""
    own = [o for o in outcomes if LandscapeTrial.of(o.trial).game == game]
    return sorted(own, key=_width)


def _width(outcome: Outcome) -> int:
    return LandscapeTrial.of(outcome.trial).width


def _by_width(game: str, of: Sequence[Outcome]) -> Verdict:
    name = "trained runs that end badly"
    narrow, wide = of[0].scores[name], of[-1].scores[name]
    says = "the share of bad end points does not change significantly with width"
    if _above(narrow, wide):
        says = "wide networks have fewer bad end points than narrow ones"
    elif _above(wide, narrow):
        says = "wide networks have more bad end points than narrow ones"
    return Verdict(
        claim=f"With {game}, {says}.",
        because=f"{text(narrow)} of runs at width {_width(of[0])}, {text(wide)} at "
        f"width {_width(of[-1])} (shares, 95 %).",
    )


def _by_index(game: str, of: Sequence[Outcome]) -> Verdict:
    found = [o.scores["index against distance"] for o in of]
    sure = sum(e.low is not None and e.low > 0 for e in found)
    opposed = sum(e.high is not None and e.high < 0 for e in found)
    says = "points far from the data have more unstable directions"
    if sure <= len(found) / 2:
        says = "the index does not increase significantly with the distance from the data"
    listed = ", ".join(text(e) for e in found)
    return Verdict(
        claim=f"With {game}, {says}.",
        because=f"Rank correlation of index and distance by width: {listed}; significantly "
        f"positive in {sure} of {len(found)}, significantly negative in {opposed}.",
    )


def _no_nash(of: Sequence[Outcome]) -> Verdict:
    shares = [o.scores["stable but no Nash point"] for o in of]
    bad = [o.scores["stable points that are bad"] for o in of]
    some = any((e.value or 0.0) > 0 for e in shares)
    says = "Some points" if some else "No points"
    return Verdict(
        claim=f"{says} that are stable for the game of two are not local Nash equilibria"
        + (": a regular outcome, not a training failure." if some else "."),
        because=f"Shares by width: {', '.join(map(text, shares))}. Of all stable points are bad: "
        f"{', '.join(map(text, bad))}.",
    )


def _above(a: Estimate, b: Estimate) -> bool:
    return a.low is not None and b.high is not None and a.low > b.high


# ----------------------------------------------------------------------------
# Strategy 2: do claims about the loss surfaces of ordinary networks hold for games?
# ----------------------------------------------------------------------------

DUEL_STEPS, SETTLE_STEPS = 2500, 100
"""Steps of training, and of the search for a stationary point from each of its ends."""

_RATE, _DECAY = 0.02, 0.99
# After so many steps of training, searches for stationary points of any kind begin.
_PATH = (0, 200)
_NOTHING = torch.empty(0, dtype=torch.float64)


@final
@dataclass(frozen=True, slots=True)
class StationaryPoint:
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
                text=(
                    "One-dimensional data and networks with one hidden layer, so small that "
                    "stationary points are found to machine precision. Searches find some of "
                    "them, with unequal probabilities."
                )
            ),
        )

    @override
    def trials(self, size: Size) -> Sequence["LandscapeTrial"]:
        widths, plays = ((1, 2, 4, 8), 20) if size == "small" else ((1, 2, 4, 8, 16), 100)
        # A generator alone has half as many networks: twice the width.
        return [
            LandscapeTrial(model=f"{game}:width={width}", game=game, width=width, plays=plays)
            for w in widths
            for game, width in (("one player", 2 * w), ("two players", w))
        ]

    @override
    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        asked = LandscapeTrial.of(trial)
        kind = FixedDiscrepancy if asked.game == "one player" else Duel
        return _outcome(trial, _explore(kind(asked.width), asked, watch))

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
    found: Sequence[StationaryPoint]
    started: int
    ended: Tensor


def _explore(game: OnALine, trial: "LandscapeTrial", watch: Watch) -> _Explored:
    """Trains a game from many starts, and searches stationary points from where it went."""
    ensemble = Ensemble(game)

    def field(z: Tensor) -> Tensor:
        return ensemble.field(z, _NOTHING, _NOTHING)

    z = starts(ensemble, trial.plays, rng=Rng(trial.seed).stream(trial.model))
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


def _found(ensemble: Ensemble, ends: Settled, *, trained: bool) -> Iterator[StationaryPoint]:
    still = ends.is_still().nonzero()[:, 0].tolist()
    distances = ensemble.distance(ends.z)
    places = _places(ensemble)
    for i in still:
        seen = character(ends.jacobian[i], places)
        yield StationaryPoint(trained, float(distances[i]), seen.kind, seen.index, seen.turning)


def _places(ensemble: Ensemble) -> list[slice]:
    places, start = list[slice](), 0
    for size in ensemble.sizes.values():
        places.append(slice(start, start + size))
        start += size
    return places


def distinct(found: Sequence[StationaryPoint]) -> list[StationaryPoint]:
    """Returns one of those that agree in all that is known: units of a network may be swapped."""
    seen: dict[tuple[float, float, float], StationaryPoint] = {}
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
