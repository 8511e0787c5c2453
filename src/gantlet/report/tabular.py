"""A table as every renderer needs it: written numbers, best set, footnotes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from gantlet.core.estimate import Better, Estimate
from gantlet.report import numbers
from gantlet.report.blocks import Cell, Column, Table
from gantlet.report.markup import clean
from gantlet.report.numbers import Scale

ARROWS: dict[Better | None, str] = {"lower": "↓", "higher": "↑", None: ""}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A written cell.

    Attributes:
        value: The number or text.
        spread: The interval behind it.
        suffix: The unit, where it differs from cell to cell.
        why: Where the number comes from, or why it is missing.
        mark: The letter of its footnote, or empty.
        best: Whether it belongs to the best set of its column.
        is_number: Whether it is a number, be it missing, and not text.
        number: What to sort by, or None for text and for what is missing.
    """

    value: str
    spread: str = ""
    suffix: str = ""
    why: str = ""
    mark: str = ""
    best: bool = False
    is_number: bool = True
    number: float | None = None

    @property
    def text(self) -> str:
        """The cell on one line, without its footnote."""
        return " ".join(filter(None, (self.value, self.spread, self.suffix)))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A written column head.

    Attributes:
        name: Its title.
        better: Which direction is better.
        unit: The unit of every cell, or empty where it differs or there is none.
        help: What it means.
        methods: How its numbers were obtained, each once.
        is_number: Whether it holds numbers, which are aligned to the right.
    """

    name: str
    better: Better | None
    unit: str
    help: str
    methods: tuple[str, ...]
    is_number: bool

    @property
    def arrow(self) -> str:
        """Which direction is better, as an arrow, or empty."""
        return ARROWS[self.better]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A written row; a reference does not compete."""

    cells: tuple[Shown, ...]
    is_reference: bool


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A written table; references come last. Footnotes are pairs of letter and text."""

    title: str
    heads: tuple[Head, ...]
    lines: tuple[Line, ...]
    note: str
    footnotes: tuple[tuple[str, str], ...]

    @property
    def has_best(self) -> bool:
        """Whether any cell is bold."""
        return any(c.best for line in self.lines for c in line.cells)


def lay_out(table: Table) -> Layout:
    """Returns ``table`` as written text."""
    is_reference = [bool(row) and row[0] in table.references for row in table.rows]
    order = sorted(range(len(table.rows)), key=lambda i: is_reference[i])
    competes = [not is_reference[i] for i in order]
    letters: dict[str, str] = {}
    columns = [
        _column(column, [table.rows[i][k] for i in order], competes, letters)
        for k, column in enumerate(table.columns)
    ]
    cells = zip(*(c for _, c in columns), strict=True)
    return Layout(
        title=clean(table.title),
        heads=tuple(head for head, _ in columns),
        lines=tuple(
            Line(cells=row, is_reference=not c) for row, c in zip(cells, competes, strict=True)
        ),
        note=clean(table.note),
        footnotes=tuple((letter, why) for why, letter in letters.items()),
    )


def best_set(cells: Sequence[Cell], better: Better | None) -> list[bool]:
    """Returns which cells cannot be told from the best: their interval overlaps with its own."""
    ranges = [_range(c) for c in cells]
    found = [r for r in ranges if r is not None]
    if better is None or not found:
        return [False] * len(cells)
    best = min(found) if better == "lower" else max(found)
    return [r is not None and r[1] <= best[2] and r[2] >= best[1] for r in ranges]


def _column(
    column: Column, cells: list[Cell], competes: list[bool], letters: dict[str, str]
) -> tuple[Head, list[Shown]]:
    measured = [c for c in cells if not isinstance(c, str | None)]
    by = None if column.mixed else numbers.common_scale(map(_value, measured), column.unit)
    # Who competes with nobody wins nothing.
    better = column.better if sum(competes) > 1 else None
    best = best_set(
        [c if is_in else None for c, is_in in zip(cells, competes, strict=True)], better
    )
    shown = [_shown(c, b, by, column, letters) for c, b in zip(cells, best, strict=True)]
    unit = by.suffix if by is not None else ""
    head = Head(
        name=clean(column.name),
        better=column.better,
        unit=clean(unit) if measured else "",
        help=clean(column.help),
        methods=tuple(dict.fromkeys(_methods(measured))),
        is_number=bool(measured),
    )
    return head, shown


def _shown(
    cell: Cell, best: bool, by: Scale | None, column: Column, letters: dict[str, str]
) -> Shown:
    if isinstance(cell, str):
        return Shown(value=clean(cell), is_number=False)
    if cell is None:
        return Shown(value=numbers.MISSING, why="not measured")
    used = by or numbers.scale_of(cell, "" if column.mixed else column.unit)
    written = numbers.write(cell, used)
    why = clean(numbers.origin(cell)) if isinstance(cell, Estimate) else ""
    is_open = written.value == numbers.MISSING or written.spread == "± ?"
    value = _value(cell)
    return Shown(
        value=written.value,
        spread=written.spread,
        suffix=used.suffix if by is None and written.value != numbers.MISSING else "",
        why=why,
        mark=letters.setdefault(why, _letter(len(letters))) if is_open and why else "",
        best=best,
        number=value if math.isfinite(value) else None,
    )


def _methods(cells: list[Estimate | float | int]) -> list[str]:
    found = [c for c in cells if isinstance(c, Estimate) and c.value is not None]
    return [clean(e.method) for e in found if e.method]


def _value(cell: Cell) -> float:
    if isinstance(cell, Estimate):
        return math.nan if cell.value is None else float(cell.value)
    return math.nan if isinstance(cell, str | None) else float(cell)


def _range(cell: Cell) -> tuple[float, float, float] | None:
    """Returns value, low and high of a cell, or None where it holds no number."""
    value = _value(cell)
    if math.isnan(value):
        return None
    if isinstance(cell, Estimate) and cell.low is not None and cell.high is not None:
        return value, cell.low, cell.high
    return value, value, value


def _letter(index: int) -> str:
    """Returns a, b, ..., z, aa, ab, ..."""
    prefix = _letter(index // 26 - 1) if index >= 26 else ""
    return prefix + chr(ord("a") + index % 26)
