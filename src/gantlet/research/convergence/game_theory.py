"""Strategy 3: game theory. Mixed equilibria, and what it costs to come near one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final, get_args

from typing_extensions import override

from gantlet.core.estimate import Estimate, Outcome, Trial
from gantlet.report.blocks import Block, Caveat, Cell, Column, Lines, Series, Table, Verdict
from gantlet.report.format import text
from gantlet.research.convergence import game_theory_trial
from gantlet.research.convergence.game_theory_trial import (
    ARMS,
    AVERAGE_ROUNDS,
    BEST,
    ENERGY,
    FLOPS,
    GAP,
    HELD,
    LAST,
    LAST_ROUND,
    LOOSE,
    MATRIX,
    NETWORKS,
    PLAYERS,
    RESPONSES,
    SOLVED,
    UNIFORM,
    Method,
    MethodTrial,
    at,
    in_rounds,
    run_trial,
)
from gantlet.research.convergence.strategy import Size, Strategy
from gantlet.run.execute import Watch
from gantlet.run.store import TrialFolder
from gantlet.run.trials import RunData
from gantlet.stats.intervals import is_separated, mean, paired


@final
@dataclass(frozen=True, slots=True)
class ArmResults:
    """What each arm reached, seed by seed.

    Attributes:
        scores: All scores of a seed, of whatever trial, by seed.
        shares: At which shares of the budget, rising.
    """

    scores: Mapping[int, Mapping[str, Estimate]]
    shares: Sequence[float]

    @property
    def arms(self) -> list[str]:
        """The arms that were judged at the whole budget for any seed."""
        return [arm for arm in ARMS if self._values(GAP, arm, self.shares[-1])]

    def over_seeds(self, what: str, arm: str, share: float) -> Estimate:
        """Returns the mean of a measurement over seeds."""
        units = {e.unit for e in self._estimates(what, arm, share).values()}
        values = list(self._values(what, arm, share).values())
        return mean(values, unit=min(units, default="1"), better="lower")

    def behind(self, what: str, arm: str, other: str = LAST) -> Estimate:
        """Returns a measurement of an arm less that of another, paired over seeds."""
        mine, theirs = (self._values(what, a, self.shares[-1]) for a in (arm, other))
        both = sorted(mine.keys() & theirs.keys())
        return paired([mine[s] for s in both], [theirs[s] for s in both])

    def cost_to_reach(self, arm: str, gap: float) -> tuple[float, float] | None:
        """Returns the operations and networks at the first share whose mean gap is so small."""
        for share in self.shares:
            found = self.over_seeds(GAP, arm, share).value
            if found is not None and found <= gap:
                flops = self.over_seeds(FLOPS, arm, share).value or 0.0
                return flops, self.over_seeds(NETWORKS, arm, share).value or 0.0
        return None

    def _estimates(self, what: str, arm: str, share: float) -> dict[int, Estimate]:
        name = at(what, arm, share)
        return {seed: scores[name] for seed, scores in self.scores.items() if name in scores}

    def _values(self, what: str, arm: str, share: float) -> dict[int, float]:
        found = self._estimates(what, arm, share)
        return {seed: e.value for seed, e in found.items() if e.value is not None}


def findings(outcomes: Sequence[Outcome], *, loose: bool = False) -> ArmResults | None:
    """Returns the results of trained methods, or None where no trial of them is finished.

    Args:
        outcomes: Those of all trials, or of some.
        loose: Whether to look at the critics without a penalty in place of those with one.
    """
    wanted = {LOOSE} if loose else {*get_args(Method)} - {LOOSE, MATRIX}
    trained = [o for o in outcomes if MethodTrial.of(o.trial).approach in wanted]
    if not trained:
        return None
    scores: dict[int, dict[str, Estimate]] = {}
    for o in trained:
        scores.setdefault(o.trial.seed, {}).update(o.scores)
    found = ArmResults(scores, MethodTrial.of(trained[0].trial).scale.shares)
    return found if found.arms else None


def blocks(outcomes: Sequence[Outcome]) -> Iterator[Block]:
    """Yields what each method reached at what cost, the course of it, and matching pennies."""
    found = findings(outcomes)
    if found is not None:
        yield _reached(found, "Results at the full budget")
        yield _course(found)
    loose = findings(outcomes, loose=True)
    if loose is not None:
        yield _reached(loose, "Plain training without a critic penalty")
    for outcome in outcomes:
        if MethodTrial.of(outcome.trial).approach == MATRIX:
            yield _rounds(outcome)


def _reached(found: ArmResults, title: str) -> Table:
    share = found.shares[-1]
    columns = [
        Column(name="method"),
        Column(name=GAP, better="lower", help="Gain of best responses to the mixtures."),
        Column(name=ENERGY, better="lower", help="Samples of the mixture against test samples."),
        Column(name="networks", better="lower", help="Support of both mixtures, to be stored."),
        Column(name="held", better="lower", help="Networks kept during training."),
        Column(name=RESPONSES, help="Computed by the method itself."),
        Column(name=FLOPS, better="lower", unit="FLOP", help="Training and selection."),
    ]
    wanted = (GAP, ENERGY, NETWORKS, HELD, RESPONSES, FLOPS)
    rows: list[Sequence[Cell]] = [
        [arm, *(_cell(found, what, arm, share) for what in wanted)] for arm in found.arms
    ]
    return Table(
        title=title,
        columns=columns,
        rows=rows,
        note=(
            "Mean over seeds ± half the 95 % interval. The duality gap is a lower bound, with "
            "the same number of best-response steps for every method."
        ),
    )


def _cell(found: ArmResults, what: str, arm: str, share: float) -> Cell:
    estimate = found.over_seeds(what, arm, share)
    return estimate if what in {GAP, ENERGY} else estimate.value


def _course(found: ArmResults) -> Lines:
    return Lines(
        title="Cost and exploitability",
        x_label="operations spent (FLOP)",
        y_label="duality gap of the mixtures on test samples",
        series=[_series(found, arm) for arm in found.arms],
        log_x=True,
        log_y=True,
        note="Means over seeds. Lower left is better.",
    )


def _series(found: ArmResults, arm: str) -> Series:
    points = [
        (found.over_seeds(FLOPS, arm, s).value, found.over_seeds(GAP, arm, s).value)
        for s in found.shares
    ]
    known = [(x, y) for x, y in points if x is not None and y is not None]
    return Series(name=arm, x=[x for x, _ in known], y=[y for _, y in known])


def _rounds(outcome: Outcome) -> Table:
    rounds = MethodTrial.of(outcome.trial).scale.rounds
    rows: list[Sequence[Cell]] = [
        [
            f"{player}, {which}",
            *(outcome.scores[in_rounds(player, which, n)].value for n in rounds),
        ]
        for player in PLAYERS
        for which in (LAST_ROUND, AVERAGE_ROUNDS)
    ]
    return Table(
        title="Matching pennies: duality gap by number of rounds",
        columns=[
            Column(name="player"),
            *(Column(name=f"{n:,}", better="lower") for n in rounds),
        ],
        rows=rows,
        note="Step 0.1; starts at odds of exp(0.5) and exp(0.8). 0 at equilibrium, at worst 2.",
    )


_WHAT = {GAP: "exploitable", ENERGY: "distant from the data"}


def verdicts(outcomes: Sequence[Outcome]) -> Iterator[Verdict]:
    """Yields who is less exploitable than plain training, whose samples are better, and the rest.

    An arm counts as better or worse where the interval of its difference, paired over seeds,
    excludes zero.
    """
    found = findings(outcomes)
    if found is not None and LAST in found.arms and len(found.arms) > 1:
        yield _against_last(found, GAP)
        yield _against_last(found, ENERGY)
        yield from _mixture(found, "With a penalty")
        yield _resources(found)
    loose = findings(outcomes, loose=True)
    if loose is not None:
        yield from _mixture(loose, "Without a penalty")
    yield from (_pennies(o) for o in outcomes if MethodTrial.of(o.trial).approach == MATRIX)


def _against_last(found: ArmResults, what: str) -> Verdict:
    others = [arm for arm in found.arms if arm != LAST]
    gaps = {arm: found.behind(what, arm) for arm in others}
    better = [arm for arm, e in gaps.items() if is_separated(e) and (e.value or 0.0) < 0]
    worse = [arm for arm, e in gaps.items() if is_separated(e) and (e.value or 0.0) > 0]
    level = [arm for arm in others if arm not in {*better, *worse}]
    whole = found.over_seeds(what, LAST, found.shares[-1])
    claim = (
        f"With equal operations, less {_WHAT[what]} than the last iterate: "
        f"{_listed(better, 'no method')}; more: {_listed(worse, 'none')}; "
        f"not significantly different: {_listed(level, 'none')}."
    )
    summary = "; ".join(f"{arm} {text(e)}" for arm, e in gaps.items())
    return Verdict(
        claim=claim,
        because=f"{what.capitalize()} of the last iterate: {text(whole)}. Differences from it, "
        f"paired over seeds: {summary}.",
    )


_LEVEL = "not significantly different from what needs no game theory"


def _mixture(found: ArmResults, where: str) -> Iterator[Verdict]:
    """Says whether the equilibrium of checkpoints beats what needs no game theory."""
    if SOLVED not in found.arms:
        return
    share = found.shares[-1]
    rivals = [arm for arm in (LAST, BEST, UNIFORM) if arm in found.arms]
    differences = {
        arm: (found.behind(GAP, SOLVED, arm), found.behind(ENERGY, SOLVED, arm)) for arm in rivals
    }
    better, worse = (
        [
            f"{word} than {arm}"
            for arm, pair in differences.items()
            for word, e in zip(words, pair, strict=True)
            if is_separated(e) and sign * (e.value or 0.0) > 0
        ]
        for sign, words in (
            (-1, ("less exploitable", "nearer to the data")),
            (1, ("more exploitable", "farther from the data")),
        )
    )
    networks = found.over_seeds(NETWORKS, SOLVED, share)
    because = "; ".join(f"{arm}: {_both(*pair)}" for arm, pair in differences.items())
    yield Verdict(
        claim=f"{where}, the equilibrium of checkpoints plays {text(networks)} and is "
        f"{_listed(better + worse, _LEVEL)}.",
        because=f"Differences in duality gap and in energy distance, from {because}.",
    )


def _both(gap: Estimate, energy: Estimate) -> str:
    return f"{text(gap)} and {text(energy)}"


def _resources(found: ArmResults) -> Verdict:
    """Says what it takes each method to be as little exploitable as plain training at the end."""
    goal = found.over_seeds(GAP, LAST, found.shares[-1]).value or 0.0
    costs = {arm: found.cost_to_reach(arm, goal) for arm in found.arms}
    reached = {arm: cost for arm, cost in costs.items() if cost is not None}
    cheapest = min(reached, key=lambda arm: reached[arm])
    summary = "; ".join(
        f"{arm} {flops:.2g} operations and {networks:.3g} networks"
        for arm, (flops, networks) in reached.items()
    )
    never = [arm for arm in costs if arm not in reached]
    return Verdict(
        claim=f"The gap at which plain training ends, {goal:.3g}, costs least by {cheapest}; "
        f"{len(never)} of {len(costs)} methods do not reach it.",
        because=f"At the first share of the budget whose mean over seeds is no larger: {summary}. "
        f"Not reached: {_listed(never, 'none')}.",
    )


def _pennies(outcome: Outcome) -> Verdict:
    rounds = MethodTrial.of(outcome.trial).scale.rounds
    least, most = min(rounds), max(rounds)

    def gap(player: str, which: str, n: int = most) -> float:
        return outcome.scores[in_rounds(player, which, n)].value or 0.0

    def nearing(which: str) -> list[str]:
        return [p for p in PLAYERS if gap(p, which) < gap(p, which, least) / 2]

    summary = "; ".join(
        f"{p}: last {gap(p, LAST_ROUND):.3f}, average {gap(p, AVERAGE_ROUNDS):.3f}"
        for p in PLAYERS
    )
    return Verdict(
        claim="In matching pennies the average of all rounds nears equilibrium for "
        f"{_listed(nearing(AVERAGE_ROUNDS), 'no player')}; the last round for "
        f"{_listed(nearing(LAST_ROUND), 'no player')}.",
        because=f"Duality gap after {most:,} rounds, at worst 2: {summary}.",
    )


def _listed(names: Sequence[str], nobody: str) -> str:
    return ", ".join(names) if names else nobody


@final
class Equilibria(Strategy):
    """Methods with guarantees for mixed equilibria, held to plain training at equal operations.

    The article says that they converge to approximate equilibria "but using unreasonably large
    resource constraints" and that the obvious next step is to reduce those; so what each method
    reaches stands beside what it took.
    """

    @property
    @override
    def name(self) -> str:
        return "equilibria"

    @property
    @override
    def title(self) -> str:
        return "Strategy 3: game theory"

    @property
    @override
    def caveats(self) -> Sequence[Caveat]:
        return (
            Caveat(
                text="Game theory: one data set, the ring of eight Gaussians, and networks of two "
                "hidden layers. Plain training converges there, so little can be gained."
            ),
            Caveat(
                text=(
                    "A duality gap is a lower bound: best responses are approximated with a "
                    "fixed number of steps. Comparisons are at 5 % each, without correction "
                    "for multiplicity. The cost of the linear programme is not counted."
                )
            ),
        )

    @override
    def trials(self, size: Size) -> Sequence[MethodTrial]:
        return game_theory_trial.trials(size)

    @override
    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        return run_trial(trial, RunData(), folder, watch)

    @override
    def blocks(self, outcomes: Sequence[Outcome]) -> Iterator[Block]:
        return blocks(outcomes)

    @override
    def verdicts(self, outcomes: Sequence[Outcome]) -> Iterator[Verdict]:
        return verdicts(outcomes)
