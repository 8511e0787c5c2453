"""The answers of the first strategy, whichever way they fell."""

from collections.abc import Iterable, Iterator, Sequence

from gantlet.core.trial import Outcome
from gantlet.report.blocks import Verdict
from gantlet.studies.convergence.assumptions_findings import Cell, cells, grid

_CURL = "crossing the curl"
_ADAPTIVE = "crossing the curl, adaptive"
_PLAIN = "simultaneous"


def verdicts(outcomes: Sequence[Outcome]) -> Iterator[Verdict]:
    """Yields an answer for every part that has cells."""
    yield from _everywhere(cells(outcomes, "table"))
    yield from _afar(cells(outcomes, "far"))
    yield from _thresholds(cells(outcomes, "thresholds"))
    yield from _forms(cells(outcomes, "forms"))
    yield from _ladder(cells(outcomes, "ladder"))


def _everywhere(found: Sequence[Cell]) -> Iterator[Verdict]:
    rows = grid(found)
    if _CURL not in rows or _PLAIN not in rows:
        return
    crossed, plain = rows[_CURL].values(), rows[_PLAIN].values()
    held = all(c.is_whole for c in crossed) and not any(c.converged for c in plain)
    claim = (
        "In the LGQ GAN crossing-the-curl converges from every start, plain descent from none."
        if held
        else f"In the LGQ GAN crossing-the-curl converges from {_of(crossed)} starts, plain "
        f"descent from {_of(plain)}."
    )
    others = "; ".join(
        f"{row} {_of(by.values())}" for row, by in rows.items() if row not in (_CURL, _PLAIN)
    )
    limit = max(c.case.steps for c in found)
    yield Verdict(
        claim=claim,
        because=f"{', '.join(rows[_CURL])}, up to {limit:,} steps: {_CURL} {_of(crossed)}, "
        f"{_PLAIN} {_of(plain)}; {others}. That it does in continuous time is proved on the page "
        "of the question.",
    )


def _afar(found: Sequence[Cell]) -> Iterator[Verdict]:
    rows = {row: next(iter(by.values())) for row, by in grid(found).items()}
    if _ADAPTIVE not in rows:
        return
    cell = rows[_ADAPTIVE]
    others = "; ".join(f"{row} {_of([c])}" for row, c in rows.items() if row != _ADAPTIVE)
    reach = "reaches" if cell.is_whole else "does not always reach"
    yield Verdict(
        claim=f"From far off crossing-the-curl with adaptive steps {reach} the solution.",
        because=f"{cell.case.column}: {_of([cell])}; {others}.",
    )


def _thresholds(found: Sequence[Cell]) -> Iterator[Verdict]:
    if not found:
        return
    right = [c for c in found if c.converged == (c.case.starts if c.case.side > 1 else 0)]
    told = "; ".join(
        f"{c.case.row} {c.case.column}: {_of([c])}"
        for c in sorted(found, key=lambda c: (c.case.row, c.case.side))
    )
    claim = (
        "Both thresholds hold: above 1 every start converges, below none."
        if len(right) == len(found)
        else f"The thresholds are met in {len(right)} of {len(found)} settings."
    )
    yield Verdict(claim=claim, because=f"Ratio and starts that converged: {told}.")


def _forms(found: Sequence[Cell]) -> Iterator[Verdict]:
    if not found:
        return
    whole = [c for c in found if c.is_whole]
    told = "; ".join(f"{c.case.row}, {c.case.column}: {_of([c])}" for c in found)
    yield Verdict(
        claim=f"Of {len(found)} other forms of the game {len(whole)} converge from every start "
        "under plain simultaneous descent.",
        because=f"{told}.",
    )


def _ladder(found: Sequence[Cell]) -> Iterator[Verdict]:
    rows = grid(found)
    for column in dict.fromkeys(c.case.column for c in found):
        climbed = [by[column] for by in rows.values() if column in by]
        whole = [c for c in climbed if c.is_whole]
        broken = [c for c in climbed if not c.is_whole]
        if not broken:
            claim = f"On the ladder {column} converges from every start on every rung."
        elif not whole:
            claim = f"On the ladder {column} converges from every start on no rung."
        else:
            claim = (
                f"On the ladder {column} converges from every start on {len(whole)} of "
                f"{len(climbed)} rungs; the first it fails on is {broken[0].case.row!r}."
            )
        told = "; ".join(f"{c.case.row}: {_of([c])}" for c in climbed)
        yield Verdict(claim=claim, because=f"{told}.")


def _of(found: Iterable[Cell]) -> str:
    listed = list(found)
    return f"{sum(c.converged for c in listed)}/{sum(c.case.starts for c in listed)}"
