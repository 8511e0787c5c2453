"""The tables and charts of a tournament."""

from collections.abc import Iterator, Mapping, Sequence

from gantlet.core.estimate import Estimate
from gantlet.report.blocks import Block, Cell, Column, Lines, Section, Series, Table
from gantlet.studies.tournament.equilibrium import Best
from gantlet.studies.tournament.players import REALS, Player
from gantlet.studies.tournament.ratings import CRITIC, Standings

_MOST_COLUMNS = 10
_MOST_CYCLES = 50


def blocks(table: Standings, best: Best, distances: Mapping[str, Estimate]) -> Iterator[Block]:
    """Yields the main table, the curves, the mixture, the critics, the win rates, the cycles."""
    yield _main(table, distances)
    yield from _curve(table)
    yield Section(title="The mixture that is hardest to tell", blocks=[_mixture(best)])
    yield Section(title="Critics", blocks=[_critics(table)])
    yield Section(title="Every match", blocks=[_matches(table)])
    if table.cycles:
        yield Section(title="Cycles", blocks=[_cycles(table)], open=True)


def _main(table: Standings, distances: Mapping[str, Estimate]) -> Table:
    columns = [
        Column(name="generator"),
        Column(name="rating", better="higher", unit="points", help="Bradley-Terry; mean 1500."),
        Column(name="Glicko-2", better="higher", unit="points", help="From ten rounds in a row."),
        Column(name="win rate", better="higher", help="Mean over critics; 0.5 is real data."),
        Column(name="energy distance", better="lower", help="From validation data, on pixels."),
    ]
    rows: list[list[Cell]] = [
        [g.name, table.rating(g), table.streamed(g.name), table.mean_rate(g), distances[g.name]]
        for g in table.generators
    ]
    return Table(
        title="Generators",
        columns=columns,
        rows=rows,
        references=[REALS],
        note="400 points are odds of ten to one. A win is a sample that a critic holds for more "
        "real than a validation sample.",
    )


def _curve(table: Standings) -> Iterator[Lines]:
    if courses := table.courses():
        yield Lines(
            title="Rating over training",
            x_label="step",
            y_label="rating of the generator, points",
            series=[_series(table, name, players) for name, players in courses.items()],
            note="Bands are 95 % intervals over critics.",
        )


def _series(table: Standings, name: str, players: Sequence[Player]) -> Series:
    found = [table.rating(p) for p in players]
    values = [e.value or 0.0 for e in found]
    return Series(
        name=name,
        x=[float(p.step or 0) for p in players],
        y=values,
        low=[v if e.low is None else e.low for e, v in zip(found, values, strict=True)],
        high=[v if e.high is None else e.high for e, v in zip(found, values, strict=True)],
    )


def _mixture(best: Best) -> Table:
    sides = (("generator", best.generators), ("critic", best.critics))
    return Table(
        title="Equilibrium of generators and critics",
        columns=[
            Column(name="player"),
            Column(name="side"),
            Column(name="weight", help="How often it plays."),
        ],
        rows=[[p.name, side, weight] for side, own in sides for p, weight in own.items()],
        note="A linear programme on the win rates of half of the samples; nobody gains by playing "
        "otherwise. Who is left out plays never.",
    )


def _critics(table: Standings) -> Table:
    return Table(
        title="Critics",
        columns=[
            Column(name="critic"),
            Column(name="rating", better="higher", unit="points"),
            Column(name="Glicko-2", better="higher", unit="points"),
        ],
        rows=[
            [c.name, table.rating(c, critic=True), table.streamed(CRITIC + c.name)]
            for c in table.critics
        ],
        note="On the scale of the generators; intervals are over generators.",
    )


def _matches(table: Standings) -> Table:
    n = len(table.critics)
    every = max(1, -(-n // _MOST_COLUMNS))
    shown = list(table.critics)[::-1][::every][::-1]
    rest = f" {len(shown)} of {n} critics are shown; report.json has all." if every > 1 else ""
    return Table(
        title="Win rates of generators",
        columns=[Column(name="generator"), *(Column(name=c.name) for c in shown)],
        rows=[
            [g.name, *(table.rates[g.name, c.name].value for c in shown)] for g in table.generators
        ],
        references=[REALS],
        note=f"Each column is a critic; 0.5 is as good as real data.{rest}",
    )


def _cycles(table: Standings) -> Table:
    shown = table.cycles[:_MOST_CYCLES]
    rest = (
        f" The first {len(shown)} of {len(table.cycles)}."
        if len(shown) < len(table.cycles)
        else ""
    )
    return Table(
        title="Cycles",
        columns=[Column(name="players"), Column(name="each beats the next, the last the first")],
        rows=[[len(c), " > ".join(c)] for c in shown],
        note="A win counts where its rate is told from 1/2 by Holm's procedure over all "
        f"matches.{rest}",
    )
