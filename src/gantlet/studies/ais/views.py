"""The study's tables and charts."""

from collections.abc import Iterator, Sequence

from gantlet.core.trial import Outcome
from gantlet.report.blocks import Block, Caveat, Cell, Column, Lines, Section, Series, Table
from gantlet.studies.ais.findings import Found, Point

CAVEATS = (
    Caveat(
        text="Small flows on small data. Errors are of these flows and test samples; that there "
        "are two causes holds for any flow, how large each is does not."
    ),
    Caveat(
        text="Where the smoothed density is not known, what chains lose is taken from the gap of "
        "simulated samples: more than they lose there, and perhaps not what they lose on data."
    ),
)

_WORDS = {"none": "not shown", "noise": "noise", "chains": "chains", "both": "both"}


def blocks(found: Sequence[Found], outcomes: Sequence[Outcome]) -> list[Block]:
    """Returns the summary, then for each flow its chart and its numbers."""
    return [
        _summary(found),
        *(_part(f) for f in found),
        *_failed(outcomes),
    ]


def _summary(found: Sequence[Found]) -> Table:
    rows: list[Sequence[Cell]] = [
        [
            f"{f.label} on {f.data}, seed {f.seed}",
            f.exact,
            f.at_tuned.sigma,
            f.at_tuned.bound,
            f.at_tuned.off,
            f.at_tuned.gap,
            _WORDS[f.at_tuned.cause],
        ]
        for f in found
    ]
    return Table(
        title="Exact and annealed log-likelihood",
        columns=[
            Column(name="flow"),
            Column(name="exact", unit="nats", help="By change of variables, without noise."),
            Column(name="tuned noise", help="In standard deviations of the data."),
            Column(name="AIS", unit="nats", help="At the tuned noise and most temperatures."),
            Column(name="AIS minus exact", unit="nats", help="Paired by test sample."),
            Column(name="gap", unit="nats", help="Upper less lower bound, simulated samples."),
            Column(name="cause", help="One is named alone where it is three times the other."),
        ],
        rows=rows,
        note="Mean over test samples ± half the 95 % interval. Discrete samples are dequantised: "
        "densities of levels, in nats.",
    )


def _part(f: Found) -> Section:
    title = f"{f.label} on {f.data}, seed {f.seed}"
    return Section(title=title, blocks=[_chart(f, title), _table(f, title)], open=True)


def _chart(f: Found, title: str) -> Lines:
    return Lines(
        title=f"How far annealing is off: {title}",
        x_label="temperatures",
        y_label="distance of the bound from the exact value (nats)",
        series=[_series(f.over(p.sigma)) for p in f.longest],
        log_x=True,
        log_y=True,
        note="Absolute values of the mean; noise in standard deviations of the data.",
    )


def _series(points: Sequence[Point]) -> Series:
    return Series(
        name=f"noise {points[0].sigma:g}",
        x=[p.temperatures for p in points],
        y=[abs(p.off.value or 0.0) for p in points],
    )


def _table(f: Found, title: str) -> Table:
    rows: list[Sequence[Cell]] = [
        [
            f"{p.sigma:g}, {p.temperatures:,}",
            p.bound,
            p.off,
            p.smooth,
            p.short,
            p.gap,
            p.acceptance,
            _WORDS[p.cause],
        ]
        for p in f.points
    ]
    return Table(
        title=f"Every width and number of temperatures: {title}",
        columns=[
            Column(name="noise, temperatures"),
            Column(name="AIS", unit="nats"),
            Column(name="AIS minus exact", unit="nats"),
            Column(name="noise alone", unit="nats", help="Smoothed less exact density."),
            Column(name="chains alone", unit="nats", help="Smoothed density less the bound."),
            Column(name="gap", unit="nats"),
            Column(name="acceptance"),
            Column(name="cause"),
        ],
        rows=rows,
        note="A dash: the smoothed density is known in the plane only.",
    )


def _failed(outcomes: Sequence[Outcome]) -> Iterator[Table]:
    rows: list[Sequence[Cell]] = [
        [o.trial.parts["model"], o.error] for o in outcomes if o.error is not None
    ]
    if rows:
        columns = [Column(name="flow"), Column(name="what happened")]
        yield Table(title="Trials that failed", columns=columns, rows=rows)
