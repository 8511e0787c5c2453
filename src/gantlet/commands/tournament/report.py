"""The report of a tournament."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gantlet.commands.tournament.play import (
    CRITIC,
    MIXTURE,
    REALS,
    Best,
    Player,
    Standings,
    best_mixture,
    from_tensors,
    standings,
)
from gantlet.core.estimate import Estimate, Outcome
from gantlet.core.spec import datasets
from gantlet.report.blocks import (
    Block,
    Caveat,
    Cell,
    Column,
    Lines,
    Report,
    Row,
    Section,
    Series,
    Table,
    Verdict,
)
from gantlet.report.format import text
from gantlet.run.execute import facts_of
from gantlet.run.store import Run
from gantlet.stats.intervals import is_separated
from gantlet.stats.ratings import spearman

# ----------------------------------------------------------------------------
# The tables and charts of a tournament.
# ----------------------------------------------------------------------------

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


# ----------------------------------------------------------------------------
# The report of a tournament.
# ----------------------------------------------------------------------------

_FEW_CRITICS = 6


def answer(question: Mapping[str, Any], outcomes: Sequence[Outcome], run: Run) -> Report:
    """Returns the report of a tournament from its outcome."""
    outcome = outcomes[0] if outcomes else None
    if outcome is None or outcome.error is not None:
        reason = "it has not been played" if outcome is None else outcome.error
        return Report(
            title="Tournament",
            command="tournament",
            question=question,
            facts=facts_of({}, outcomes, run),
            caveats=[Caveat(text=f"There are no ratings: {reason}.")],
        )
    scores = from_tensors(run.folder(outcome.trial).load("scores"))
    table, best = standings(scores), best_mixture(scores)
    agreements = dict(_agreements(table, outcome.scores))
    return Report(
        title=f"Tournament of {len(table.generators) - 1} generators and "
        f"{len(table.critics)} critics on {datasets.short(question['data'])}",
        command="tournament",
        question=question,
        facts=facts_of(_setting(question), outcomes, run),
        verdicts=[*_verdicts(table, agreements), mixing(best, outcome.scores)],
        caveats=list(_caveats(table)),
        rows=list(_rows(question, table, best, outcome.scores, agreements)),
        blocks=list(blocks(table, best, outcome.scores)),
        extra={"cycles": [list(c) for c in table.cycles]},
    )


def _setting(question: Mapping[str, Any]) -> dict[str, str]:
    return {
        "Runs": ", ".join(question["runs"]),
        "Data": question["data"],
        "Calibration": "each critic by the ranks of validation samples; test samples play as data",
        "Samples of a player": f"{question['samples']} at most",
        "Seed": str(question["seed"]),
    }


def _agreements(
    table: Standings, distances: Mapping[str, Estimate]
) -> Iterator[tuple[str, Estimate]]:
    """Yields the correlation of ratings with energy distance: overall, and in each training."""
    everyone = [g for g in table.generators if g.course != REALS]
    courses = table.courses()
    groups = {"all generators": everyone, **(courses if len(courses) > 1 else {})}
    for name, players in groups.items():
        ratings = [table.rating(p).value or 0.0 for p in players]
        yield name, spearman(ratings, [distances[p.name].value or 0.0 for p in players])


def _verdicts(table: Standings, agreements: Mapping[str, Estimate]) -> Iterator[Verdict]:
    yield _best(table)
    yield from (stopping(table, players) for players in table.courses().values())
    yield _transitive(table)
    for name, rho in agreements.items():
        if rho.value is not None:
            yield Verdict(
                claim=f"Ratings and energy distance of {name}: {_sense(rho)}.",
                because=f"Spearman's rho {text(rho)}; -1 is full agreement, since less distance "
                f"is better. {rho.method}.",
            )


def _sense(rho: Estimate) -> str:
    full = rho.value is not None and abs(rho.value) == 1
    if not full and not is_separated(rho):
        return "no relation that can be told from chance"
    return "they agree" if (rho.value or 0.0) < 0 else "they contradict each other"


def _best(table: Standings) -> Verdict:
    players = [g for g in table.generators if g.course != REALS]
    order = sorted(players, key=lambda p: -(table.rating(p).value or 0.0))
    first = order[0]
    if len(order) < 2:
        return Verdict(claim=f"{first.name} is the only generator.")
    lead = table.lead(first, order[1])
    sure = "" if is_separated(lead) else f", not surely above {order[1].name}"
    return Verdict(
        claim=f"{first.name} is rated highest{sure}.",
        because=f"Rating {text(table.rating(first))}; ahead of {order[1].name} by {text(lead)}.",
    )


def stopping(table: Standings, players: Sequence[Player]) -> Verdict:
    """Returns whether a training went on too long, by the ratings of its snapshots.

    The best snapshot was looked for, so its lead over the last must be sure at a level divided by
    the number of snapshots (Bonferroni).
    """
    best = max(players, key=lambda p: table.rating(p).value or 0.0)
    last = players[-1]
    if best == last:
        return Verdict(
            claim=f"{last.course}: the last snapshot is rated highest; more training may help.",
            because=f"Ahead of the first by {text(table.lead(last, players[0]))}.",
        )
    lead = table.lead(best, last, level=1 - 0.05 / (len(players) - 1))
    because = f"Step {best.step} is ahead of the last, step {last.step}, by {text(lead)}."
    if is_separated(lead):
        claim = f"{last.course}: stop at step {best.step}; later snapshots are rated lower."
    else:
        claim = f"{last.course}: no snapshot is surely better than the last."
    return Verdict(claim=claim, because=because)


def _transitive(table: Standings) -> Verdict:
    n = len(table.cycles)
    if not n:
        return Verdict(claim="No cycles: nobody surely beats one who, by way of others, beats it.")
    return Verdict(
        claim=f"{n} cycle{'s' if n > 1 else ''}: one scale of skill does not tell the whole.",
        because=f"For example {' beats '.join([*table.cycles[0], table.cycles[0][0]])}.",
    )


def mixing(best: Best, distances: Mapping[str, Estimate]) -> Verdict:
    """Returns what the mixture of generators is that critics find hardest, and what it gains."""
    told = ", ".join(f"{w:.0%} {g.name}" for g, w in best.generators.items())
    energy = {p: distances.get(p) for p in (MIXTURE, best.single.name)}
    far = "; ".join(f"{p} {text(e)}" for p, e in energy.items() if e is not None)
    if len(best.generators) == 1:
        claim = f"Mixing generators gains nothing: {told} is hardest for its worst critic."
    elif is_separated(best.gain) and (best.gain.value or 0.0) > 0:
        claim = f"Mixing generators gains: {told} is hardest for its worst critic."
    else:
        claim = f"Mixing generators is not shown to gain; hardest for its worst critic is {told}."
    return Verdict(
        claim=claim,
        because=f"Win rate against the worst critic, on samples that chose neither: mixture "
        f"{text(best.mixed)}, {best.single.name} alone {text(best.alone)}, gain "
        f"{text(best.gain)}. Energy distance: {far}.",
    )


def _caveats(table: Standings) -> Iterator[Caveat]:
    yield Caveat(
        text="Ratings hold within this tournament only: other critics would give others. Critics "
        "of one training resemble each other, which the intervals do not know."
    )
    if len(table.critics) < _FEW_CRITICS:
        yield Caveat(
            text=f"The ratings of generators rest on {len(table.critics)} critics only; more "
            "snapshots make the intervals narrower."
        )
    players = [g for g in table.generators if g.course != REALS]
    blind = [g.name for g in players if (table.mean_rate(g).low or 0.0) > 0.5]
    if blind:
        yield Caveat(
            text=f"Critics hold samples of {', '.join(blind)} for more real than data on average: "
            "a high rating then shows what critics overlook, not that samples are perfect."
        )


def _rows(
    question: Mapping[str, Any],
    table: Standings,
    best: Best,
    distances: Mapping[str, Estimate],
    agreements: Mapping[str, Estimate],
) -> Iterator[Row]:
    def row(model: str, name: str, estimate: Estimate) -> Row:
        seed = question["seed"]
        return Row(data=question["data"], model=model, seed=seed, name=name, estimate=estimate)

    for g in table.generators:
        yield row(g.name, "rating", table.rating(g))
        yield row(g.name, "Glicko-2 rating", table.streamed(g.name))
        yield row(g.name, "energy (pixels)", distances[g.name])
    for c in table.critics:
        yield row(CRITIC + c.name, "rating", table.rating(c, critic=True))
        yield row(CRITIC + c.name, "Glicko-2 rating", table.streamed(CRITIC + c.name))
    for (g_name, c_name), rate in table.rates.items():
        yield row(g_name, f"win rate against {CRITIC}{c_name}", rate)
    yield row(MIXTURE, "win rate against its worst critic", best.mixed)
    yield row(MIXTURE, "gain over the best single generator", best.gain)
    if MIXTURE in distances:
        yield row(MIXTURE, "energy (pixels)", distances[MIXTURE])
    for g, weight in best.generators.items():
        chosen = Estimate(value=weight, method="linear programme on half of the samples; chosen")
        yield row(g.name, f"weight in the {MIXTURE}", chosen)
    for name, rho in agreements.items():
        yield row(name, "rho of rating and energy distance", rho)
