"""The answers of the ways to a mixed equilibrium, whichever way they fell."""

from collections.abc import Iterator, Sequence

from gantlet.core.estimate import Estimate
from gantlet.core.intervals import is_separated
from gantlet.core.trial import Outcome
from gantlet.report.blocks import Verdict
from gantlet.report.format import text
from gantlet.studies.convergence.equilibria_arms import BEST, LAST, SOLVED, UNIFORM
from gantlet.studies.convergence.equilibria_findings import Found, findings
from gantlet.studies.convergence.equilibria_plan import MATRIX, scale_of
from gantlet.studies.convergence.equilibria_trial import (
    AVERAGE_ROUNDS,
    ENERGY,
    GAP,
    LAST_ROUND,
    NETWORKS,
    PLAYERS,
    in_rounds,
)

_WHAT = {GAP: "exploitable", ENERGY: "far from the data"}


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
    yield from (_pennies(o) for o in outcomes if o.trial.parts["method"] == MATRIX)


def _against_last(found: Found, what: str) -> Verdict:
    others = [arm for arm in found.arms if arm != LAST]
    gaps = {arm: found.behind(what, arm) for arm in others}
    better = [arm for arm, e in gaps.items() if is_separated(e) and (e.value or 0.0) < 0]
    worse = [arm for arm, e in gaps.items() if is_separated(e) and (e.value or 0.0) > 0]
    whole = found.over_seeds(what, LAST, found.shares[-1])
    claim = (
        f"With equal operations, less {_WHAT[what]} than the last iterate: "
        f"{_listed(better, 'no method')}; more so: {_listed(worse, 'none')}; "
        f"the other {len(others) - len(better) - len(worse)} cannot be told apart."
    )
    told = "; ".join(f"{arm} {text(e)}" for arm, e in gaps.items())
    return Verdict(
        claim=claim,
        because=f"{what.capitalize()} of the last iterate {text(whole)}. Less that, paired over "
        f"seeds: {told}.",
    )


def _mixture(found: Found, where: str) -> Iterator[Verdict]:
    """Says whether the equilibrium of checkpoints beats what needs no game theory."""
    if SOLVED not in found.arms:
        return
    share = found.shares[-1]
    rivals = [arm for arm in (LAST, BEST, UNIFORM) if arm in found.arms]
    told = {
        arm: (found.behind(GAP, SOLVED, arm), found.behind(ENERGY, SOLVED, arm)) for arm in rivals
    }
    better, worse = (
        [
            f"{word} than {arm}"
            for arm, pair in told.items()
            for word, e in zip(words, pair, strict=True)
            if is_separated(e) and sign * (e.value or 0.0) > 0
        ]
        for sign, words in (
            (-1, ("less exploitable", "nearer to the data")),
            (1, ("more exploitable", "farther from the data")),
        )
    )
    networks = found.over_seeds(NETWORKS, SOLVED, share)
    because = "; ".join(f"{arm}: {_both(*pair)}" for arm, pair in told.items())
    yield Verdict(
        claim=f"{where}, the equilibrium of checkpoints plays {text(networks)} and is "
        f"{_listed(better + worse, 'not told apart from what needs no game theory')}.",
        because=f"Duality gap and energy distance less those of {because}.",
    )


def _both(gap: Estimate, energy: Estimate) -> str:
    return f"{text(gap)} and {text(energy)}"


def _resources(found: Found) -> Verdict:
    """Says what it takes each method to be as little exploitable as plain training at the end."""
    goal = found.over_seeds(GAP, LAST, found.shares[-1]).value or 0.0
    costs = {arm: found.cost_to_reach(arm, goal) for arm in found.arms}
    reached = {arm: cost for arm, cost in costs.items() if cost is not None}
    cheapest = min(reached, key=lambda arm: reached[arm])
    told = "; ".join(
        f"{arm} {flops:.2g} operations and {networks:.3g} networks"
        for arm, (flops, networks) in reached.items()
    )
    never = [arm for arm in costs if arm not in reached]
    return Verdict(
        claim=f"The gap at which plain training ends, {goal:.3g}, costs least by {cheapest}; "
        f"{len(never)} of {len(costs)} methods do not reach it.",
        because=f"At the first share of the budget whose mean over seeds is no larger: {told}. "
        f"Not reached: {_listed(never, 'none')}.",
    )


def _pennies(outcome: Outcome) -> Verdict:
    rounds = scale_of(outcome.trial).rounds
    least, most = min(rounds), max(rounds)

    def gap(player: str, which: str, n: int = most) -> float:
        return outcome.scores[in_rounds(player, which, n)].value or 0.0

    def nearing(which: str) -> list[str]:
        return [p for p in PLAYERS if gap(p, which) < gap(p, which, least) / 2]

    told = "; ".join(
        f"{p}: last {gap(p, LAST_ROUND):.3f}, average {gap(p, AVERAGE_ROUNDS):.3f}"
        for p in PLAYERS
    )
    return Verdict(
        claim="In matching pennies the average of all rounds nears equilibrium for "
        f"{_listed(nearing(AVERAGE_ROUNDS), 'no player')}; the last round for "
        f"{_listed(nearing(LAST_ROUND), 'no player')}.",
        because=f"Duality gap after {most:,} rounds, at worst 2: {told}.",
    )


def _listed(names: Sequence[str], nobody: str) -> str:
    return ", ".join(names) if names else nobody
