"""What the stationary points of games show: a table, charts, sentences."""

from collections.abc import Iterator, Sequence

from gantlet.core.estimate import Estimate
from gantlet.core.trial import Outcome
from gantlet.report.blocks import Cell, Column, Point, Scatter, Table, Verdict
from gantlet.report.format import text

_GAMES = ("one player", "two players")


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
        Column(name="stable but no Nash point", help="A player alone could gain."),
        Column(
            name="index against distance",
            help="Spearman's correlation over distinct stationary points.",
        ),
        Column(name="searches that succeed", help="Others end where the field does not vanish."),
    ]
    rows: list[Sequence[Cell]] = [
        [
            f"{o.trial.parts['game']}, {o.trial.parts['width']}",
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
                x_label="index: share of directions in which play leaves",
                y_label="energy distance from the data",
                points=[Point(name=p["kind"], x=p["index"], y=p["distance"]) for p in points],
                x_better=None,
                note="Each distinct point that was found, after training or by search.",
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
    own = [o for o in outcomes if o.trial.parts["game"] == game]
    return sorted(own, key=lambda o: int(o.trial.parts["width"]))


def _by_width(game: str, of: Sequence[Outcome]) -> Verdict:
    name = "trained runs that end badly"
    narrow, wide = of[0].scores[name], of[-1].scores[name]
    says = "the share that ends badly is not shown to change with width"
    if _above(narrow, wide):
        says = "fewer wide networks end badly than narrow ones"
    elif _above(wide, narrow):
        says = "more wide networks end badly than narrow ones"
    return Verdict(
        claim=f"With {game}, {says}.",
        because=f"{text(narrow)} of runs at width {of[0].trial.parts['width']}, {text(wide)} at "
        f"width {of[-1].trial.parts['width']} (shares, 95 %).",
    )


def _by_index(game: str, of: Sequence[Outcome]) -> Verdict:
    found = [o.scores["index against distance"] for o in of]
    sure = sum(e.low is not None and e.low > 0 for e in found)
    opposed = sum(e.high is not None and e.high < 0 for e in found)
    says = "points far from the data have more ways to leave them"
    if sure <= len(found) / 2:
        says = "it is not shown that points far from the data have more ways to leave them"
    listed = ", ".join(text(e) for e in found)
    return Verdict(
        claim=f"With {game}, {says}.",
        because=f"Rank correlation of index and distance by width: {listed}; surely positive in "
        f"{sure} of {len(found)}, surely negative in {opposed}.",
    )


def _no_nash(of: Sequence[Outcome]) -> Verdict:
    shares = [o.scores["stable but no Nash point"] for o in of]
    bad = [o.scores["stable points that are bad"] for o in of]
    some = any((e.value or 0.0) > 0 for e in shares)
    says = "Some points" if some else "No points"
    return Verdict(
        claim=f"{says} that are stable for the game of two were found to be no Nash point"
        + (": that is a normal outcome, not a failure of training." if some else "."),
        because=f"Shares by width: {', '.join(map(text, shares))}. Of all stable points are bad: "
        f"{', '.join(map(text, bad))}.",
    )


def _above(a: Estimate, b: Estimate) -> bool:
    return a.low is not None and b.high is not None and a.low > b.high
