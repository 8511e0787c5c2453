"""What a comparison says of models of one network: copied edges, links, and statistics."""

from collections.abc import Iterator, Sequence

from gantlet.commands.standings import ModelResults, is_reference
from gantlet.core.estimate import Estimate
from gantlet.probes.network_probe import AUC, FOUND, OVERLAP, PRECISION, STATISTIC
from gantlet.report import format as fmt
from gantlet.report.blocks import Caveat, Cell, Column, Section, Table

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


def copies(everyone: Sequence[ModelResults]) -> Iterator[Caveat]:
    """Says which models give back the training network."""
    for c in everyone:
        overlap, found = c.estimate(OVERLAP), c.estimate(FOUND)
        if overlap.low is None or found.value is None or overlap.low < _COPY:
            continue
        tests = [e.also.get("p", 1.0) for e in c.estimates(OVERLAP)]
        sure = max(tests) < _LEVEL
        yield Caveat(
            text=f"{c.label} memorises: its networks have {_percent(overlap)} of the training "
            f"edges and {_percent(found)} of the held-out edges"
            + (", significantly fewer (Fisher's exact test, 5 %)" if sure else "")
            + ". Its statistics are right because it is a copy; they are no evidence that it "
            "learned the network."
        )


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
