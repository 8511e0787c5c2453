"""The diagnosis as tables and charts."""

from collections.abc import Iterator, Mapping
from typing import Any

from gantlet.core.estimate import Estimate
from gantlet.report.blocks import Block, Cell, Column, Lines, Section, Series, Table
from gantlet.studies.converge.diagnosis import Key, keys


def blocks(details: Mapping[str, Any], scores: Mapping[str, Estimate]) -> Iterator[Block]:
    """Yields the numbers, the advice, the course, the path and the eigenvalues."""
    yield _numbers(keys(details), scores)
    if details["advice"]:
        yield _advice(details["advice"])
    yield _course(details)
    yield from _path(details)
    yield Section(title="Eigenvalues", blocks=[_eigenvalues(details)])


def _numbers(which: Mapping[str, Key], scores: Mapping[str, Estimate]) -> Table:
    after = {which[k].what: e for k, e in scores.items() if which[k].after}
    before = {which[k].what: e for k, e in scores.items() if not which[k].after}
    rows: list[list[Cell]] = [
        [name, e, after.get(name)] if after else [name, e] for name, e in before.items()
    ]
    columns = [
        Column(name="number"),
        Column(name="here"),
        Column(name="with the best change tried"),
    ]
    return Table(
        title="Where training is",
        columns=columns if after else columns[:2],
        rows=rows,
        note="Eigenvalues of the Jacobian of the field at one fixed batch; real parts below 0 "
        "attract. Steps and delays are predicted from eigenvalues left of the axis.",
    )


def _advice(found: list[dict[str, Any]]) -> Table:
    return Table(
        title="What could be changed",
        columns=[
            Column(name="change"),
            Column(name="proposed by"),
            Column(name="growth in one step", better="lower", help="Of the leading modes."),
            Column(name="leading mode", help="Of one step of plain descent; 0 stays."),
            Column(name="in your own loop"),
            Column(name="model"),
            Column(name="solver"),
        ],
        rows=[
            [
                a["what"],
                a["basis"],
                _growth(a["growth"]),
                _complex(*a["predicted modes"][0]) if a["predicted modes"] else None,
                a["code"],
                a["model"],
                a["solver"],
            ]
            for a in found
        ],
        note="In the order in which they are recommended or to be tried. Predictions are for the "
        "same point, ordered by decay for each unit of learning rate and each gradient. What "
        "theory or the family's defaults propose is no prediction.",
    )


def _growth(value: float | None) -> Estimate:
    if value is None:
        return Estimate.missing("not predicted", better="lower")
    return Estimate(value=value, n=1, better="lower", method="predicted: no interval")


def _complex(real: float, imaginary: float) -> str:
    sign = "+" if imaginary >= 0 else "−"
    return f"{real:.3g} {sign} {abs(imaginary):.3g}i".replace("-", "−")


def _course(details: Mapping[str, Any]) -> Lines:
    runs = [("as asked", details), *((f"with {t['what']}", t) for t in details["tried"])]
    return Lines(
        title="The course of training",
        x_label="step",
        y_label="quality, lower is better",
        series=[
            Series(name=name, x=[float(s) for s in run["steps"]], y=run["quality"])
            for name, run in runs
        ],
        log_y=all(q > 0 for _, run in runs for q in run["quality"]),
        note=f"Quality is {details['measure']}.",
    )


def _path(details: Mapping[str, Any]) -> Iterator[Lines]:
    tried = [(f"with {t['what']}", t["path"]) for t in details["tried"]]
    runs = [("as asked", details["path"]), *tried]
    nan = float("nan")
    yield Lines(
        title="The field on the line from start to end",
        x_label="place: 0 is the start, 1 the point that is looked at",
        y_label="cosine of the angle to the line",
        series=[
            Series(name=name, x=path["place"], y=[nan if c is None else c for c in path["cosine"]])
            for name, path in runs
        ],
        note="A change of sign at 1 is attraction; a bump there is rotation "
        "(Berard et al., 2020).",
    )
    yield Lines(
        title="The length of the field on that line",
        x_label="place",
        y_label="length",
        series=[Series(name=name, x=path["place"], y=path["norm"]) for name, path in runs],
        log_y=True,
    )


def _eigenvalues(details: Mapping[str, Any]) -> Table:
    rows: list[list[Cell]] = [
        [which, _complex(value[0], value[1]), _exact(value[2])]
        for which in ("leading", "rightmost")
        for value in details[which]
    ]
    return Table(
        title="Eigenvalues of the Jacobian",
        columns=[Column(name="which"), Column(name="eigenvalue"), Column(name="residual")],
        rows=rows,
        note="Residual: |J x − λ x| of the unit eigenvector x that was found.",
    )


def _exact(value: float) -> str:
    return f"{value:.1e}".replace("-", "−")
