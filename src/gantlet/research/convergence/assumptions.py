"""The first strategy: assume until convergence can be proved, then give assumptions up."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from gantlet.report.blocks import Block, Caveat, Column, Lines, Section, Series, Table, Verdict
from gantlet.report.blocks import Cell as Shown
from gantlet.report.format import text as written
from gantlet.research.convergence import assumptions_plan
from gantlet.research.convergence.assumptions_plan import Case, CaseTrial, Part, SolverName
from gantlet.research.convergence.games import Setting, setting
from gantlet.research.convergence.strategy import Size, Strategy
from gantlet.run.execute import Watch
from gantlet.run.store import TrialFolder
from gantlet.stats.intervals import mean, percentage

# ----------------------------------------------------------------------------
# Plays one game of the first strategy from many starts and measures where it ends.
# ----------------------------------------------------------------------------

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
    asked = CaseTrial.of(trial)
    case, rng = asked.case, Rng(trial.seed, asked.device)
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
    """Returns the errors of points; infinite where they diverged or are not finite."""
    lost = ~(z.abs().amax(1) < _LOST)
    found = ensemble.distance(torch.where(lost[:, None], ensemble.now, z))
    return torch.where(lost, math.inf, found)


def _errors(world: Setting, ensemble: Ensemble, z: Tensor) -> list[float]:
    """Returns the error of each generator; infinite where it diverged."""
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
        return Estimate.missing("at least half of the starts diverged", better="lower")
    k = int(binom.ppf(0.025, n, 0.5)) - 1
    if k < 0 or not math.isfinite(ordered[n - 1 - k]):
        why = "too few starts" if k < 0 else "some starts diverged"
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
        LEADING: mean(real, better="lower", of="starts that did not diverge"),
        TURNING: mean(turning, of="starts that did not diverge"),
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


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """One case and what it gave.

    Attributes:
        case: What was played.
        scores: What was measured.
        converged: How many starts converged.
        curve: Step and median distance at each check.
    """

    case: Case
    scores: Mapping[str, Estimate]
    converged: int
    curve: Sequence[tuple[int, float]]

    @property
    def is_whole(self) -> bool:
        """Whether every start converged."""
        return self.converged == self.case.starts

    @property
    def share(self) -> Estimate:
        """The share of starts that converged, in per cent."""
        return self.scores[CONVERGED]


def cells(outcomes: Sequence[Outcome], part: Part) -> list[CaseResult]:
    """Returns the cells of one part in the order in which they were planned."""
    found = [(CaseTrial.of(o.trial).case, o) for o in outcomes]
    return [
        CaseResult(
            case=case,
            scores=o.scores,
            converged=int(o.details["converged"]),
            curve=[(int(step), float(off)) for step, off in o.details["curve"]],
        )
        for case, o in found
        if case.part == part
    ]


def grid(found: Sequence[CaseResult]) -> dict[str, dict[str, CaseResult]]:
    """Returns cells by row and column."""
    rows: dict[str, dict[str, CaseResult]] = {}
    for cell in found:
        rows.setdefault(cell.case.row, {})[cell.case.column] = cell
    return rows


# ----------------------------------------------------------------------------
# The tables and charts of the first strategy.
# ----------------------------------------------------------------------------

_CELL = "Starts that converged, of all; in brackets their mean number of steps."


def blocks(outcomes: Sequence[Outcome]) -> Iterator[Block]:
    """Yields every table that has cells."""
    table = cells(outcomes, "table")
    if table:
        yield _shares(table, "LGQ GAN: starts that converge", "solver")
        yield _curves(table)
    far = cells(outcomes, "far")
    if far:
        yield _shares(far, "LGQ GAN: distant initialisation", "solver")
    thresholds = cells(outcomes, "thresholds")
    if thresholds:
        yield _thresholds_table(thresholds)
    forms = cells(outcomes, "forms")
    if forms:
        yield _listed(forms, "Other forms of the game", "form")
    ladder = cells(outcomes, "ladder")
    if ladder:
        yield _shares(ladder, "Relaxation ladder: starts that converge", "rung")
        yield Section(
            title="All rungs of the ladder",
            blocks=[_listed(ladder, "Relaxation ladder: numbers", "rung")],
        )


def _shares(found: Sequence[CaseResult], title: str, what: str) -> Table:
    rows = grid(found)
    columns = list(dict.fromkeys(c.case.column for c in found))
    shown: list[Sequence[Shown]] = [
        [row, *(_short(by[c]) if c in by else None for c in columns)] for row, by in rows.items()
    ]
    return Table(
        title=title,
        columns=[Column(name=what), *(Column(name=c, help=_CELL) for c in columns)],
        rows=shown,
        note=_how(found),
    )


def _how(found: Sequence[CaseResult]) -> str:
    first = found[0].case
    critic, generator = first.spread
    clauses = [
        f"In brackets the mean number of steps; at most {max(c.case.steps for c in found):,}.",
        f"Converged: within {first.tolerance:g} of the solution.",
        f"Starts: normal numbers times {critic:g} (critic) and {generator:g} (generator).",
    ]
    if any(c.case.batch for c in found):
        clauses[1] = (
            f"Converged: in exact expectation within {first.tolerance:g} of the solution; on "
            "samples with an error below 0.1 from then on to the end, of mixtures below 0.5."
        )
        clauses.append("Networks: default initialisation.")
    return " ".join(clauses)


def _short(cell: CaseResult) -> str:
    share = f"{cell.converged}/{cell.case.starts}"
    steps = cell.scores[STEPS].value
    return share if steps is None else f"{share} ({steps:,.0f})"


def _curves(found: Sequence[CaseResult]) -> Lines:
    """Draws the largest exact game under every solver."""
    column = found[-1].case.column
    return Lines(
        title=f"LGQ GAN: distance over time, {column}",
        x_label="steps",
        y_label="distance from the solution",
        series=[
            Series(name=c.case.row, x=[step for step, _ in c.curve], y=[off for _, off in c.curve])
            for c in found
            if c.case.column == column
        ],
        log_y=True,
        note="Median over starts of |A Aᵀ − Σ| / |Σ| + |W − W*|.",
    )


def _thresholds_table(found: Sequence[CaseResult]) -> Table:
    ordered = sorted(found, key=lambda c: (c.case.row, c.case.side))
    rows: list[Sequence[Shown]] = [
        [
            f"{c.case.row}, step ratio {c.case.tau:g}, weight {c.case.ridge or c.case.gamma:g}",
            c.case.side,
            "converges" if c.case.side > 1 else "does not",
            f"{c.converged}/{c.case.starts}",
            c.scores[LEADING],
        ]
        for c in ordered
    ]
    return Table(
        title="Two stability thresholds, predicted and observed",
        columns=[
            Column(name="critic held back by"),
            Column(name="threshold ratio", help="Stable above 1; see the page of the question."),
            Column(name="predicted"),
            Column(name="converged"),
            Column(name="leading eigenvalue", help="Of the game at the final iterates."),
        ],
        rows=rows,
        note=(
            "Simultaneous descent, six dimensions, rank two. Without convergence the final "
            "iterates, and so the eigenvalues, are arbitrary."
        ),
    )


def _listed(found: Sequence[CaseResult], title: str, what: str) -> Table:
    rows: list[Sequence[Shown]] = [
        [
            f"{c.case.row}, {c.case.column}",
            f"{c.converged}/{c.case.starts}",
            _steps(c),
            c.scores[ERROR],
            c.scores[LEADING],
            c.scores[TURNING],
        ]
        for c in found
    ]
    return Table(
        title=title,
        columns=[
            Column(name=what),
            Column(name=CONVERGED),
            Column(name=STEPS, help="Mean over starts that converged."),
            Column(
                name=ERROR,
                better=None,
                help="Median over all starts: the 2-Wasserstein distance of the Gaussians with "
                "these moments over the spread of the data; of mixtures the energy distance over "
                "that of the best Gaussian.",
            ),
            Column(name=LEADING, help="Largest real part of the game's Jacobian at the end."),
            Column(name=TURNING, help="Largest imaginary part of the same."),
        ],
        rows=rows,
        note="Eigenvalues are the game's own, of simultaneous descent in continuous time, over "
        "the first starts that did not diverge; rotations of the noise are excluded.",
    )


def _steps(cell: CaseResult) -> str | None:
    found = cell.scores[STEPS]
    return None if found.value is None else written(found)


_CURL = "crossing the curl"
_ADAPTIVE = "crossing the curl, adaptive"
_PLAIN = "simultaneous"


def verdicts(outcomes: Sequence[Outcome]) -> Iterator[Verdict]:
    """Yields an answer for every part that has cells."""
    yield from _everywhere(cells(outcomes, "table"))
    yield from _afar(cells(outcomes, "far"))
    yield from _thresholds(cells(outcomes, "thresholds"))
    yield from _forms(cells(outcomes, "forms"))
    yield from _ladder(cells(outcomes, "ladder"))


def _everywhere(found: Sequence[CaseResult]) -> Iterator[Verdict]:
    rows = grid(found)
    if _CURL not in rows or _PLAIN not in rows:
        return
    crossed, plain = rows[_CURL].values(), rows[_PLAIN].values()
    held = all(c.is_whole for c in crossed) and not any(c.converged for c in plain)
    claim = (
        "In the LGQ GAN crossing-the-curl converges from every start, plain descent from none."
        if held
        else f"In the LGQ GAN crossing-the-curl converges from {_of(crossed)} starts, plain "
        f"descent from {_of(plain)}."
    )
    others = "; ".join(
        f"{row} {_of(by.values())}" for row, by in rows.items() if row not in (_CURL, _PLAIN)
    )
    limit = max(c.case.steps for c in found)
    yield Verdict(
        claim=claim,
        because=f"{', '.join(rows[_CURL])}, up to {limit:,} steps: {_CURL} {_of(crossed)}, "
        f"{_PLAIN} {_of(plain)}; {others}. That it does in continuous time is proved on the page "
        "of the question.",
    )


def _afar(found: Sequence[CaseResult]) -> Iterator[Verdict]:
    rows = {row: next(iter(by.values())) for row, by in grid(found).items()}
    if _ADAPTIVE not in rows:
        return
    cell = rows[_ADAPTIVE]
    others = "; ".join(f"{row} {_of([c])}" for row, c in rows.items() if row != _ADAPTIVE)
    reach = "reaches" if cell.is_whole else "does not always reach"
    yield Verdict(
        claim=f"From distant starts crossing-the-curl with adaptive steps {reach} the solution.",
        because=f"{cell.case.column}: {_of([cell])}; {others}.",
    )


def _thresholds(found: Sequence[CaseResult]) -> Iterator[Verdict]:
    if not found:
        return
    right = [c for c in found if c.converged == (c.case.starts if c.case.side > 1 else 0)]
    summary = "; ".join(
        f"{c.case.row} {c.case.column}: {_of([c])}"
        for c in sorted(found, key=lambda c: (c.case.row, c.case.side))
    )
    claim = (
        "Both thresholds are confirmed: above 1 every start converges, below 1 none."
        if len(right) == len(found)
        else f"The thresholds are confirmed in {len(right)} of {len(found)} settings."
    )
    yield Verdict(claim=claim, because=f"Ratio and starts that converged: {summary}.")


def _forms(found: Sequence[CaseResult]) -> Iterator[Verdict]:
    if not found:
        return
    whole = [c for c in found if c.is_whole]
    summary = "; ".join(f"{c.case.row}, {c.case.column}: {_of([c])}" for c in found)
    yield Verdict(
        claim=f"Of {len(found)} other forms of the game {len(whole)} converge from every start "
        "under plain simultaneous descent.",
        because=f"{summary}.",
    )


def _ladder(found: Sequence[CaseResult]) -> Iterator[Verdict]:
    rows = grid(found)
    for column in dict.fromkeys(c.case.column for c in found):
        climbed = [by[column] for by in rows.values() if column in by]
        whole = [c for c in climbed if c.is_whole]
        broken = [c for c in climbed if not c.is_whole]
        if not broken:
            claim = f"On the ladder {column} converges from every start on every rung."
        elif not whole:
            claim = f"On the ladder {column} converges from every start on no rung."
        else:
            claim = (
                f"On the ladder {column} converges from every start on {len(whole)} of "
                f"{len(climbed)} rungs; the first it fails on is {broken[0].case.row!r}."
            )
        summary = "; ".join(f"{c.case.row}: {_of([c])}" for c in climbed)
        yield Verdict(claim=claim, because=f"{summary}.")


def _of(found: Iterable[CaseResult]) -> str:
    listed = list(found)
    return f"{sum(c.converged for c in listed)}/{sum(c.case.starts for c in listed)}"


@final
@dataclass(frozen=True, slots=True)
class Assumptions(Strategy):
    """The LGQ GAN under every solver, its thresholds, its relatives, and the relaxation ladder."""

    @property
    @override
    def name(self) -> str:
        return "assumptions"

    @property
    @override
    def title(self) -> str:
        return "Strategy 1: simplifying assumptions"

    @property
    @override
    def caveats(self) -> Sequence[Caveat]:
        return _CAVEATS

    @override
    def trials(self, size: Size) -> Sequence[CaseTrial]:
        return assumptions_plan.trials(size)

    @override
    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        del folder  # plays of toy games can be made again
        return run_trial(trial, watch)

    @override
    def blocks(self, outcomes: Sequence[Outcome]) -> Iterator[Block]:
        return blocks(outcomes)

    @override
    def verdicts(self, outcomes: Sequence[Outcome]) -> Iterator[Verdict]:
        return verdicts(outcomes)


_CAVEATS = (
    Caveat(
        text=(
            "A start without convergence within the step limit may be slow rather than "
            "divergent; each solver has one step size, not tuned per cell."
        )
    ),
    Caveat(text="One covariance per table: intervals are over starts, not over games."),
)
