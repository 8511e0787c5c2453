"""Plays one game of the first strategy from many starts and measures where it ends."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.estimate import Estimate, Outcome, Spend, Trial
from gantlet.core.rng import Rng
from gantlet.games.batched import Ensemble
from gantlet.games.field import Field, GameField, Vector
from gantlet.games.solvers import (
    Consensus,
    CrossingTheCurl,
    Directed,
    Extragradient,
    Lookahead,
    Memory,
    Optimistic,
    Sga,
    Sgd,
    Update,
    rates,
)
from gantlet.games.toys import LinearGenerator
from gantlet.research.convergence.games import Setting, setting
from gantlet.research.convergence.plan import Case, SolverName, case_of
from gantlet.run.execute import Watch
from gantlet.stats.intervals import mean, percentage

CONVERGED = "converged"
STEPS = "steps"
ERROR = "error"
LEADING = "leading eigenvalue"
TURNING = "fastest turn"

# How often distances are looked at (on samples that takes time); how many starts have a spectrum.
_CHECKS, _CHECKS_ON_SAMPLES, _SPECTRA = 80, 20, 3

# Farther than this from the solution, nothing comes back.
_LOST = 1e8

_INNER = 6


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptive(Update):
    """Heun's step along a direction, as long as the error of Euler's step allows.

    A step whose error is too large is not made, only shortened. What is remembered is its length,
    in steps of ``lr``.

    Source: the Heun-Euler pair, as used by Gemp and Mahadevan, 2018,
    https://arxiv.org/abs/1808.01531; the controller as Hairer, Norsett and Wanner, 1993, II.4.

    Attributes:
        along: Whose direction; its rates are the steps.
        tolerance: Largest error of a step, relative to ``1 + |z|``.
    """

    along: Directed
    tolerance: float = 1e-3

    @override
    def begin(self, z: Vector) -> Memory:
        return {"pace": torch.ones_like(z.flat[..., :1])}

    @override
    def step(self, fields: Sequence[Field], z: Vector, memory: Memory) -> tuple[Vector, Memory]:
        step = rates(self.along.lr, z.layout, z.flat) * memory["pace"]
        here = self.along.direction(fields[0], z) * -step
        there = self.along.direction(fields[0], z + here) * -step
        size = 1 + z.dot(z).sqrt()
        change = (there - here) * 0.5
        error = change.dot(change).sqrt() / (size * self.tolerance)
        moved = z.flat + torch.where(error < 1, (here + there).flat / 2, 0.0)
        factor = (0.9 / error.clamp(min=1e-12).sqrt()).clamp(0.2, 2.0)
        # A point so far off that the error overflows is looked at again with a shorter step.
        pace = memory["pace"] * torch.where(error.isfinite(), factor, 0.2)
        return Vector(z.layout, moved), {"pace": pace}


def solver_of(case: Case) -> Update:
    """Returns the solver of a case, on plain gradient descent; the critic moves first."""
    lr = (case.tau * case.step, case.step)
    curl = CrossingTheCurl(base="sgd", lr=lr)
    whole = CrossingTheCurl(base="sgd", lr=lr, whole=True)
    solvers: dict[SolverName, Update] = {
        "simultaneous": Sgd(lr=lr, mode="simultaneous"),
        "alternating": Sgd(lr=lr),
        "extragradient": Extragradient(base="sgd", lr=lr, fresh=False),
        "optimistic": Optimistic(base="sgd", lr=lr),
        "lookahead": Lookahead(base="sgd", lr=lr, k=_INNER, mode="simultaneous"),
        "consensus": Consensus(base="sgd", lr=lr, gamma=0.1),
        "SGA": Sga(base="sgd", lr=lr, gamma=1.0, align=False),
        "crossing the curl": curl,
        "JF": whole,
        "crossing the curl, adaptive": Adaptive(along=curl, tolerance=1e-4),
        "JF, adaptive": Adaptive(along=whole, tolerance=1e-4),
    }
    return solvers[case.solver]


@final
@dataclass(frozen=True, slots=True)
class _Played:
    """Where plays ended.

    Attributes:
        z: Points, shape ``(n, p)``.
        distance: How far they are off, shape ``(n,)``; infinite where they are lost.
        since: The step since which each is within the tolerance, shape ``(n,)``; -1 for none.
        steps: How many steps were made.
        curve: Step and median distance at each check.
    """

    z: Tensor
    distance: Tensor
    since: Tensor
    steps: int
    curve: Sequence[tuple[int, float]]


def run_trial(trial: Trial, watch: Watch) -> Outcome:
    """Plays one case and measures it."""
    case, rng = case_of(trial), Rng(trial.seed, trial.parts["device"])
    world = setting(case, rng)
    ensemble = Ensemble(world.game)
    with torch.no_grad():
        played = _play(case, world, ensemble, rng, watch)
    reached = played.since >= 0
    count = int(reached.sum())
    scores = {
        CONVERGED: replace(
            percentage(count, case.starts, of="starts", why="no starts"), better="higher"
        ),
        STEPS: mean(
            [float(s) for s in played.since[reached]],
            unit="steps",
            better="lower",
            of="starts that converged",
        ),
        ERROR: middle(_errors(world, ensemble, played.z)),
        **_spectra(case, world, ensemble, played, rng),
    }
    return Outcome(
        trial=trial,
        spend=Spend(steps=played.steps),
        scores=scores,
        details={"converged": count, "curve": [list(p) for p in played.curve]},
    )


def _play(case: Case, world: Setting, ensemble: Ensemble, rng: Rng, watch: Watch) -> _Played:
    solver = solver_of(case)
    inner = solver.cycle
    z, stream = world.starts, rng.stream("samples")
    x, noise = _samples(case, world, stream)
    step, memory = ensemble.program(solver, z, x, noise)
    since, curve, made = torch.full((case.starts,), -1), list[tuple[int, float]](), 0
    off = _distance(ensemble, z)
    checks = _CHECKS_ON_SAMPLES if case.batch else _CHECKS
    every = max(1, case.steps // inner // checks)
    for i in range(case.steps // inner):
        z, memory = step(z, memory, x, noise)
        made = (i + 1) * inner
        if case.batch:
            x, noise = _samples(case, world, stream)
        if (i + 1) % every:
            continue
        off = _distance(ensemble, z)
        near = off < case.tolerance
        since = torch.where(near, torch.where(since < 0, made, since), -1)
        curve.append((made, float(off.median().clamp(max=_LOST))))
        watch(made / case.steps, f"{case.row}, {case.column}")
        if off.isinf().all() or (not case.batch and near.all()):
            break
    return _Played(z, off, since, made, curve)


def _samples(case: Case, world: Setting, stream: torch.Generator) -> tuple[Tensor, Tensor]:
    """Returns a batch and a noise for each start; empty where expectations are exact."""
    if world.draw is None:
        empty = world.starts.new_empty(case.starts, 0)
        return empty, empty
    x = world.draw(case.starts * case.batch, stream)
    noise = world.game.noise(case.starts * case.batch, rng=stream)
    shape = (case.starts, case.batch, -1)
    return x.view(shape), noise.view(shape)


def _distance(ensemble: Ensemble, z: Tensor) -> Tensor:
    """Returns how far points are off; infinite where they are lost or no numbers."""
    lost = ~(z.abs().amax(1) < _LOST)
    found = ensemble.distance(torch.where(lost[:, None], ensemble.now, z))
    return torch.where(lost, math.inf, found)


def _errors(world: Setting, ensemble: Ensemble, z: Tensor) -> list[float]:
    """Returns how far each generator is off; infinite where it is lost."""
    found: list[float] = []
    for point in z:
        ensemble.place(point)
        is_lost = not bool(point.abs().amax() < _LOST)
        found.append(math.inf if is_lost else float(world.goal().detach()))
    return found


def middle(values: Sequence[float]) -> Estimate:
    """Returns the median of independent starts, with the interval of order statistics.

    The interval of the k-th smallest to the k-th largest holds the median of the population with
    a probability that the binomial gives; it is the narrowest one with at least 95 %.
    """
    from scipy.stats import binom

    n, ordered = len(values), sorted(values)
    value = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    if not math.isfinite(value):
        return Estimate.missing("half the starts or more are lost", better="lower")
    k = int(binom.ppf(0.025, n, 0.5)) - 1
    if k < 0 or not math.isfinite(ordered[n - 1 - k]):
        why = "too few starts" if k < 0 else "some starts are lost"
        return Estimate(value=value, n=n, better="lower", method=f"median: no interval, {why}")
    return Estimate(
        value=value,
        low=ordered[k],
        high=ordered[n - 1 - k],
        n=n,
        better="lower",
        method=f"median of {n} starts, order statistics",
    )


def _spectra(
    case: Case, world: Setting, ensemble: Ensemble, played: _Played, rng: Rng
) -> dict[str, Estimate]:
    """Returns the rightmost eigenvalue of the game where plays ended, and the fastest turn.

    The game's own, without the solver: of simultaneous descent in continuous time.
    """
    kept = [z for z, off in zip(played.z, played.distance, strict=True) if off.isfinite()]
    real: list[float] = []
    turning: list[float] = []
    x = torch.zeros(1, 1, dtype=torch.float64)
    if world.draw is not None:
        x = world.draw(1024, rng.stream("spectrum"))
    paces = ensemble.rates({"critic": case.tau, "generator": 1.0})
    for z in kept[:_SPECTRA]:
        ensemble.place(z)
        jacobian = GameField(world.game, x, rng=rng.stream("noise")).jacobian.dense()
        values = torch.linalg.eigvals(_without_turns(paces[:, None] * jacobian, world))
        real.append(float(values.real.max()))
        turning.append(float(values.imag.max()))
    return {
        LEADING: mean(real, better="lower", of="starts that are not lost"),
        TURNING: mean(turning, of="starts that are not lost"),
    }


def _without_turns(jacobian: Tensor, world: Setting) -> Tensor:
    """Returns the Jacobian on what is left when turns of a linear generator's noise are left out.

    ``A`` and ``A U`` make the same samples for every rotation ``U``, so that these directions
    are idle: their eigenvalues are 0 at a solution and say nothing.
    """
    generator = world.game.players["generator"]
    if not isinstance(generator, LinearGenerator):
        return jacobian
    scale = generator.scale.detach()
    rank = scale.shape[1]
    first = sum(p.numel() for p in world.game.players["critic"].parameters())
    columns: list[Tensor] = []
    for i in range(rank):
        for j in range(i):
            turned = torch.zeros_like(scale)
            turned[:, i], turned[:, j] = scale[:, j], -scale[:, i]
            column = jacobian.new_zeros(len(jacobian))
            column[first : first + scale.numel()] = turned.flatten()
            columns.append(column)
    if not columns:
        return jacobian
    basis, _ = torch.linalg.qr(torch.stack(columns, 1), mode="complete")
    rest = basis[:, len(columns) :]
    found: Tensor = rest.mT @ jacobian @ rest
    return found
