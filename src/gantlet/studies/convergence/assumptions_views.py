"""The tables and charts of the first strategy."""

from collections.abc import Iterator, Sequence

from gantlet.core.trial import Outcome
from gantlet.report.blocks import Block, Column, Lines, Section, Series, Table
from gantlet.report.blocks import Cell as Shown
from gantlet.report.format import text as written
from gantlet.studies.convergence.assumptions_findings import Cell, cells, grid
from gantlet.studies.convergence.assumptions_trial import (
    CONVERGED,
    ERROR,
    LEADING,
    STEPS,
    TURNING,
)

_CELL = "Starts that converged of all, and where any did the mean of their steps."


def blocks(outcomes: Sequence[Outcome]) -> Iterator[Block]:
    """Yields every table that has cells."""
    table = cells(outcomes, "table")
    if table:
        yield _shares(table, "LGQ GAN: starts that converge", "solver")
        yield _curves(table)
    far = cells(outcomes, "far")
    if far:
        yield _shares(far, "LGQ GAN: starts far off", "solver")
    thresholds = cells(outcomes, "thresholds")
    if thresholds:
        yield _thresholds(thresholds)
    forms = cells(outcomes, "forms")
    if forms:
        yield _listed(forms, "Other forms of the game", "form")
    ladder = cells(outcomes, "ladder")
    if ladder:
        yield _shares(ladder, "The relaxation ladder: starts that converge", "rung")
        yield Section(
            title="Every rung of the ladder",
            blocks=[_listed(ladder, "The relaxation ladder in numbers", "rung")],
        )


def _shares(found: Sequence[Cell], title: str, what: str) -> Table:
    rows = grid(found)
    columns = list(dict.fromkeys(c.case.column for c in found))
    shown: list[Sequence[Shown]] = [
        [row, *(_short(by[c]) if c in by else None for c in columns)] for row, by in rows.items()
    ]
    return Table(
        title=title,
        columns=[Column(name=what), *(Column(name=c, help=_CELL) for c in columns)],
        rows=shown,
        note=_how(found),
    )


def _how(found: Sequence[Cell]) -> str:
    first = found[0].case
    critic, generator = first.spread
    told = [
        f"In brackets the mean number of steps; at most {max(c.case.steps for c in found):,}.",
        f"Converged: within {first.tolerance:g} of the solution.",
        f"Starts: normal numbers times {critic:g} (critic) and {generator:g} (generator).",
    ]
    if any(c.case.batch for c in found):
        told[1] = (
            f"Converged: in exact expectation within {first.tolerance:g} of the solution; on "
            "samples with an error below 0.1 from then on to the end, of mixtures below 0.5."
        )
        told.append("Networks start as networks do.")
    return " ".join(told)


def _short(cell: Cell) -> str:
    share = f"{cell.converged}/{cell.case.starts}"
    steps = cell.scores[STEPS].value
    return share if steps is None else f"{share} ({steps:,.0f})"


def _curves(found: Sequence[Cell]) -> Lines:
    """Draws the largest exact game under every solver."""
    column = found[-1].case.column
    return Lines(
        title=f"LGQ GAN: the way to the solution, {column}",
        x_label="steps",
        y_label="distance from the solution",
        series=[
            Series(name=c.case.row, x=[step for step, _ in c.curve], y=[off for _, off in c.curve])
            for c in found
            if c.case.column == column
        ],
        log_y=True,
        note="Median over starts of |A Aᵀ − Σ| / |Σ| + |W − W*|.",
    )


def _thresholds(found: Sequence[Cell]) -> Table:
    ordered = sorted(found, key=lambda c: (c.case.row, c.case.side))
    rows: list[Sequence[Shown]] = [
        [
            f"{c.case.row}, step ratio {c.case.tau:g}, weight {c.case.ridge or c.case.gamma:g}",
            c.case.side,
            "converges" if c.case.side > 1 else "does not",
            f"{c.converged}/{c.case.starts}",
            c.scores[LEADING],
        ]
        for c in ordered
    ]
    return Table(
        title="Two thresholds, predicted and met",
        columns=[
            Column(name="critic held back by"),
            Column(name="threshold ratio", help="Stable above 1; see the page of the question."),
            Column(name="predicted"),
            Column(name="converged"),
            Column(name="leading eigenvalue", help="Of the game where the plays ended."),
        ],
        rows=rows,
        note="Simultaneous descent, six dimensions, rank two. Where plays do not converge they "
        "end anywhere, and so does the eigenvalue.",
    )


def _listed(found: Sequence[Cell], title: str, what: str) -> Table:
    rows: list[Sequence[Shown]] = [
        [
            f"{c.case.row}, {c.case.column}",
            f"{c.converged}/{c.case.starts}",
            _steps(c),
            c.scores[ERROR],
            c.scores[LEADING],
            c.scores[TURNING],
        ]
        for c in found
    ]
    return Table(
        title=title,
        columns=[
            Column(name=what),
            Column(name=CONVERGED),
            Column(name=STEPS, help="Mean over starts that converged."),
            Column(
                name=ERROR,
                better=None,
                help="Median over all starts: the 2-Wasserstein distance of the Gaussians with "
                "these moments over the spread of the data; of mixtures the energy distance over "
                "that of the best Gaussian.",
            ),
            Column(name=LEADING, help="Largest real part of the game's Jacobian at the end."),
            Column(name=TURNING, help="Largest imaginary part of the same."),
        ],
        rows=rows,
        note="Eigenvalues are the game's own, of simultaneous descent in continuous time, over "
        "the first starts that are not lost; turns of the noise are left out.",
    )


def _steps(cell: Cell) -> str | None:
    found = cell.scores[STEPS]
    return None if found.value is None else written(found)
