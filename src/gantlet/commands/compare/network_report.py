"""What a comparison says of models of one network: copied edges, links, and statistics."""

from collections.abc import Iterator, Sequence

from gantlet.commands.standings import ModelResults, is_reference
from gantlet.core.estimate import Estimate
from gantlet.probes.network_probe import AUC, FOUND, OVERLAP, PRECISION, STATISTIC
from gantlet.report import format as fmt
from gantlet.report.blocks import Cell, Column, Section, Table, Verdict
from gantlet.stats.intervals import holm

_COPY = 0.9
"""An overlap that is above this for certain is that of a copy."""
_LEVEL = 0.05


def network_sections(everyone: Sequence[ModelResults]) -> Iterator[Section]:
    """Yields the section on assembled networks, where the probe ``network`` measured any."""
    known = [c for c in everyone if not is_reference(c) and c.values(OVERLAP)]
    if known:
        yield Section(
            title="Assembled networks",
            blocks=[_edges(known), _at_equal_overlap(known), _statistics(known)],
        )


def copied_edges(everyone: Sequence[ModelResults]) -> Iterator[Verdict]:
    """Yields which models give back the training network, and what they miss of the rest.

    That they find significantly fewer of the held-out edges follows from Fisher's exact test, of
    several seeds the largest p-value, by Holm's procedure over the models named.
    """
    found = [c for c in everyone if _is_copy(c.estimate(OVERLAP)) and c.values(FOUND)]
    fewer = holm([_p_of(c) for c in found], level=_LEVEL)
    tests = f"{len(found)} test{'' if len(found) == 1 else 's'}"
    for c, is_fewer in zip(found, fewer, strict=True):
        how = (
            f", significantly fewer (Fisher's exact test, Holm's procedure over {tests}, 5 % in "
            "all)"
            if is_fewer
            else ""
        )
        yield Verdict(
            claim=f"{c.label} memorizes the network: its assembled networks have "
            f"{_percent(c.estimate(OVERLAP))} of the training edges and "
            f"{_percent(c.estimate(FOUND))} of the held-out edges{how}.",
            because="Statistics of a copy are those of the network; they are no evidence that it "
            "was learned.",
        )


def _is_copy(overlap: Estimate) -> bool:
    return overlap.low is not None and overlap.low >= _COPY


def _p_of(c: ModelResults) -> float:
    return max(e.also.get("p", 1.0) for e in c.estimates(OVERLAP))


def _percent(e: Estimate) -> str:
    return fmt.text(100 * (e.value or 0.0), "%")


def _edges(known: Sequence[ModelResults]) -> Table:
    columns = [
        Column(name="model"),
        Column(name="edge overlap", help="Share of the training edges in an assembled network."),
        Column(name="by chance", help="Overlap of a random network with the same degrees."),
        Column(name="held-out edges found", help="Share of the held-out edges in it."),
        Column(name="ROC AUC", better="higher", help="Held-out edges against other pairs."),
        Column(name="average precision", better="higher", help="The same pairs."),
    ]
    rows: list[list[Cell]] = [
        [
            c.label,
            c.estimate(OVERLAP),
            _also(c, OVERLAP, "chance"),
            *(c.estimate(name) for name in (FOUND, AUC, PRECISION)),
        ]
        for c in known
    ]
    return Table(
        title="Copied edges and link prediction",
        columns=columns,
        rows=rows,
        note="Networks are assembled with as many edges as the training part has. An overlap of 1 "
        "is a copy. Intervals are over assembled networks, held-out pairs and seeds.",
    )


def _also(c: ModelResults, score: str, name: str) -> float | None:
    return next((e.also[name] for e in c.estimates(score) if name in e.also), None)


def _statistics(known: Sequence[ModelResults]) -> Table:
    names = dict.fromkeys(
        n for c in known for o in c.outcomes.values() for n in o.scores if n.startswith(STATISTIC)
    )
    rows: list[list[Cell]] = [
        [
            name.removeprefix(STATISTIC),
            next((v for c in known if (v := _also(c, name, "real")) is not None), None),
            *(c.estimate(name) for c in known),
        ]
        for name in names
    ]
    return Table(
        title="Statistics of the networks",
        columns=[
            Column(name="statistic"),
            Column(name="real", help="Of the training part of the real network."),
            *(Column(name=c.label) for c in known),
        ],
        rows=rows,
        note="Read them at equal overlap: whoever copies more edges has better statistics. "
        "Clustering is 3 triangles / wedges; (NetGAN) marks what the code of NetGAN computes "
        "under the same names.",
    )


_SHOWN = ("triangles", "clustering", "path length")


def _at_equal_overlap(known: Sequence[ModelResults]) -> Table:
    """Returns statistics beside those of copied edges with the same overlap."""
    scores = [f"{STATISTIC}{name}" for name in _SHOWN]
    rows: list[list[Cell]] = [
        [
            c.label,
            c.estimate(OVERLAP),
            *(cell for s in scores for cell in (c.estimate(s), _also(c, s, "rewired"))),
        ]
        for c in known
    ]
    real = [
        next((v for c in known if (v := _also(c, s, "real")) is not None), None) for s in scores
    ]
    rows.append([_REAL, 1.0, *(cell for value in real for cell in (value, None))])
    columns = [
        column
        for name in _SHOWN
        for column in (Column(name=name), Column(name=f"{name}, rewired"))
    ]
    return Table(
        title="Statistics at equal overlap",
        columns=[Column(name="model"), Column(name="edge overlap"), *columns],
        rows=rows,
        references=[_REAL],
        note="Rewired: of a copy of as many edges, the others rewired by degree. What is not "
        "nearer to the real network than that was not learned.",
    )


_REAL = "real network"
