"""Tables and charts of the ways to a mixed equilibrium."""

from collections.abc import Iterator, Sequence

from gantlet.core.trial import Outcome
from gantlet.report.blocks import Block, Cell, Column, Lines, Series, Table
from gantlet.studies.convergence.equilibria_findings import Found, findings
from gantlet.studies.convergence.equilibria_plan import MATRIX, scale_of
from gantlet.studies.convergence.equilibria_trial import (
    AVERAGE_ROUNDS,
    ENERGY,
    FLOPS,
    GAP,
    HELD,
    LAST_ROUND,
    NETWORKS,
    PLAYERS,
    RESPONSES,
    in_rounds,
)


def blocks(outcomes: Sequence[Outcome]) -> Iterator[Block]:
    """Yields what each method reached at what cost, the course of it, and matching pennies."""
    found = findings(outcomes)
    if found is not None:
        yield _reached(found, "What each method reached with the whole budget")
        yield _course(found)
    loose = findings(outcomes, loose=True)
    if loose is not None:
        yield _reached(loose, "The same of plain training whose critic has no penalty")
    for outcome in outcomes:
        if outcome.trial.parts["method"] == MATRIX:
            yield _rounds(outcome)


def _reached(found: Found, title: str) -> Table:
    share = found.shares[-1]
    columns = [
        Column(name="method"),
        Column(name=GAP, better="lower", help="What best responses to the mixtures gain."),
        Column(name=ENERGY, better="lower", help="Samples of the mixture against test samples."),
        Column(name="networks", better="lower", help="Of both mixtures, that must be stored."),
        Column(name="held", better="lower", help="Networks held on the way."),
        Column(name=RESPONSES, help="Searched for by the method itself."),
        Column(name=FLOPS, better="lower", unit="FLOP", help="In training and in choosing."),
    ]
    wanted = (GAP, ENERGY, NETWORKS, HELD, RESPONSES, FLOPS)
    rows: list[Sequence[Cell]] = [
        [arm, *(_cell(found, what, arm, share) for what in wanted)] for arm in found.arms
    ]
    return Table(
        title=title,
        columns=columns,
        rows=rows,
        note="Mean over seeds ± half the 95 % interval. The duality gap is a lower bound: best "
        "responses are searched for by as many steps for every method.",
    )


def _cell(found: Found, what: str, arm: str, share: float) -> Cell:
    estimate = found.over_seeds(what, arm, share)
    return estimate if what in {GAP, ENERGY} else estimate.value


def _course(found: Found) -> Lines:
    return Lines(
        title="Cost against exploitability",
        x_label="operations spent (FLOP)",
        y_label="duality gap of the mixtures on test samples",
        series=[_series(found, arm) for arm in found.arms],
        log_x=True,
        log_y=True,
        note="Means over seeds. Down and to the left is better.",
    )


def _series(found: Found, arm: str) -> Series:
    points = [
        (found.over_seeds(FLOPS, arm, s).value, found.over_seeds(GAP, arm, s).value)
        for s in found.shares
    ]
    known = [(x, y) for x, y in points if x is not None and y is not None]
    return Series(name=arm, x=[x for x, _ in known], y=[y for _, y in known])


def _rounds(outcome: Outcome) -> Table:
    rounds = scale_of(outcome.trial).rounds
    rows: list[Sequence[Cell]] = [
        [
            f"{player}, {which}",
            *(outcome.scores[in_rounds(player, which, n)].value for n in rounds),
        ]
        for player in PLAYERS
        for which in (LAST_ROUND, AVERAGE_ROUNDS)
    ]
    return Table(
        title="Matching pennies: duality gap after so many rounds",
        columns=[
            Column(name="player"),
            *(Column(name=f"{n:,}", better="lower") for n in rounds),
        ],
        rows=rows,
        note="Step 0.1; starts at odds of exp(0.5) and exp(0.8). 0 at equilibrium, at worst 2.",
    )
