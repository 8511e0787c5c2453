"""Formatting of numbers, names and tables, independent of the output format.

Numbers get as many digits as their interval allows and SI prefixes, names are cut to what differs,
text from outside is made safe to show, and a table becomes written cells with footnotes.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from html import escape
from itertools import groupby, zip_longest
from statistics import median
from typing import final

from gantlet.core.errors import UserError, printable
from gantlet.core.estimate import Better, Estimate
from gantlet.core.spec import Spec
from gantlet.report.blocks import Cell, Column, Table

MISSING = "–"
UNKNOWN = "± ?"
"""Stands where no interval is known, never without a footnote that says why."""

SCALED = ("FLOP", "B", "s", "parameters", "examples", "samples", "steps")
"""Units that take a prefix, alone or before a slash: "FLOP", "FLOP/s", "s/sample"."""

_SPELLED = {
    "FLOPs": "FLOP",
    "flop": "FLOP",
    "flops": "FLOP",
    "bytes": "B",
    "byte": "B",
    "seconds": "s",
    "second": "s",
    "sample": "samples",
    "example": "examples",
}
_LARGE = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_SMALL = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))
_LONG = ((7200.0, 3600.0, "h"), (120.0, 60.0, "min"))  # from so many seconds on
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@final
@dataclass(frozen=True, slots=True)
class UnitScale:
    """The scale of numbers: divisor and unit with prefix.

    Attributes:
        size: The divisor.
        suffix: The unit with its prefix: "GFLOP", "ms", "×10⁻⁷", or empty.
        fits_any: Whether other numbers of the same unit would be written in the same scale.
    """

    size: float
    suffix: str
    fits_any: bool = False


@final
@dataclass(frozen=True, slots=True)
class Written:
    """A number for people.

    Attributes:
        value: The number itself: "2.421", or a dash if missing.
        spread: Its interval: "± 0.013", "[0.88, 0.97]", "± ?" if unknown, empty if exact.
    """

    value: str
    spread: str = ""


def scale(number: float, unit: str) -> UnitScale:
    """Returns the scale in which ``number`` is best read.

    Example:
        >>> scale(2.5e9, "FLOP/sample")
        UnitScale(size=1000000000.0, suffix='GFLOP/sample', fits_any=False)
    """
    head, slash, per = unit.partition("/")
    head = _SPELLED.get(head, head)
    size = abs(number)
    if head not in SCALED:
        return _unscaled(size, "" if unit == "1" else unit)
    if unit == "s" or (head == "s" and not slash):
        for start, divisor, name in _LONG:
            if size >= start:
                return UnitScale(divisor, name)
    gap = "" if head in {"FLOP", "B", "s"} else " "
    divisor, prefix = _prefix(size, head)
    return UnitScale(divisor, f"{prefix}{gap if prefix else ''}{head}{slash}{per}")


def common_scale(numbers: Iterable[float], unit: str) -> UnitScale | None:
    """Returns one scale for a whole column, or None where its numbers differ too much."""
    sizes = [abs(x) for x in numbers if x and math.isfinite(x)]
    if not sizes:
        return scale(1.0, unit)
    if scale(1.0, unit).fits_any and all(1e-4 <= s < 1e9 for s in sizes):
        return scale(1.0, unit)
    # All share one scale, or none does: a column that is half GFLOP is misread at a glance.
    ratio = max(sizes) / min(sizes)
    if ratio < 1e3:
        return scale(median(sizes), unit)
    # One prefix between the extremes, so that neither has many zeros.
    if ratio < 1e6 and _has_prefix(unit):
        return scale(math.sqrt(min(sizes) * max(sizes)), unit)
    return None


def _has_prefix(unit: str) -> bool:
    head = unit.partition("/")[0]
    return _SPELLED.get(head, head) in SCALED


def write(cell: Estimate | float | None, by: UnitScale) -> Written:
    """Returns a number divided by ``by.size``, with its interval, without the suffix.

    Example:
        >>> write(Estimate(value=2.42134, low=2.40812, high=2.43456), UnitScale(1.0, ""))
        Written(value='2.421', spread='± 0.013')
    """
    e = cell if isinstance(cell, Estimate) else _as_estimate(cell)
    if e.value is None or math.isnan(e.value):
        return Written(MISSING)
    value = e.value / by.size
    if e.low is None or e.high is None:
        return Written(_fixed(value, _digits(value)), UNKNOWN)
    return _with_interval(value, e.low / by.size, e.high / by.size, is_plain=by.size == 1)


def text(cell: Estimate | float | None, unit: str = "") -> str:
    """Returns a number with interval and unit on one line, for sentences.

    Example:
        >>> text(Estimate(value=1.2e9, low=1.1e9, high=1.3e9, unit="FLOP"))
        '1.20 ± 0.10 GFLOP'
        >>> text(0.00213, "s")
        '2.13 ms'
    """
    by = scale_of(cell, unit)
    written = write(cell, by)
    if written.value == MISSING:
        return MISSING
    if written.spread == UNKNOWN:
        return " ".join(filter(None, (written.value, by.suffix, "(no interval)")))
    return " ".join(filter(None, (written.value, written.spread, by.suffix)))


def scale_of(cell: Estimate | float | None, unit: str = "") -> UnitScale:
    """Returns the scale of one number; an estimate knows its unit."""
    if not isinstance(cell, Estimate):
        return scale(cell or 1.0, unit or "1")
    half = cell.half_width or 0.0
    size = max(abs(cell.value or 0.0), half if math.isfinite(half) else 0.0)
    return scale(size or 1.0, unit or cell.unit)


@final
class Pace:
    """How fast a share grows, from the first moment that it is seen at.

    A training that resumes starts with a share that took no time.

    Args:
        after: Seconds from which on an end is told.
        grown: Part of the whole from which on an end is told.
    """

    def __init__(self, after: float = 5.0, grown: float = 0.005) -> None:
        self._after = after
        self._grown = grown
        self._first: tuple[float, float] | None = None

    def left(self, now: float, share: float) -> float | None:
        """Returns the seconds that are left at this pace, or None where it is too early to say.

        Example:
            >>> pace = Pace()
            >>> pace.left(100.0, 0.2), pace.left(110.0, 0.4)
            (None, 30.0)
        """
        if self._first is None:
            self._first = now, share
        since, grown = now - self._first[0], share - self._first[1]
        if since < self._after or grown < self._grown:
            return None
        return round(max(0.0, 1.0 - share) * since / grown, 3)


def expected_end(left: float | None, now: datetime | None = None) -> str:
    """Returns when something ends that takes so many seconds more, in words; empty for None.

    Example:
        >>> expected_end(600.0, datetime(2026, 3, 1, 14, 22))
        'until about 14:32'
        >>> expected_end(86400.0, datetime(2026, 3, 1, 14, 22))
        'until about 14:22 on 2 March'
    """
    if left is None:
        return ""
    now = datetime.now() if now is None else now  # noqa: DTZ005  (the reader's own clock)
    end = now + timedelta(seconds=left)
    day = "" if end.date() == now.date() else f" on {end.day} {end:%B}"
    return f"until about {end:%H:%M}{day}"


def listed(words: Sequence[str]) -> str:
    """Returns words, at least one, as a list in a sentence.

    Example:
        >>> listed(["a"]), listed(["a", "b", "c"])
        ('a', 'a, b and c')
    """
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def origin(estimate: Estimate) -> str:
    """Returns the origin of a number as text: interval, level, n and method."""
    if estimate.value is None:
        return estimate.method
    parts = [estimate.method]
    if estimate.n > 1:
        parts.insert(0, f"n = {estimate.n:,}")
    if estimate.low is not None and estimate.high is not None and estimate.low < estimate.high:
        by = scale_of(estimate)
        places = _places((estimate.high - estimate.low) / 2 / by.size, 2)
        ends = [_fixed(x / by.size, places) for x in (estimate.low, estimate.high)]
        unit = f" {by.suffix}" if by.suffix else ""
        parts.insert(0, f"{estimate.level:.0%} interval {ends[0]} to {ends[1]}{unit}")
    return "; ".join(filter(None, parts))


def tick(number: float) -> str:
    """Returns the label of a tick.

    Example:
        >>> tick(2e9), tick(0.05), tick(1e-6), tick(-3.0)
        ('2G', '0.05', '10⁻⁶', '−3')
    """
    size = abs(number)
    if size and size < 1e-3:
        exponent = math.floor(math.log10(size) + 1e-9)
        factor = number / 10**exponent
        lead = "" if math.isclose(factor, 1) else f"{factor:g}×"
        return f"{lead}10{_raised(exponent)}".replace("-", "−")
    divisor, prefix = next((p for p in _LARGE if size >= p[0] * 0.999999), (1.0, ""))
    return f"{number / divisor:.6g}{prefix}".replace("-", "−")


def _with_interval(value: float, low: float, high: float, *, is_plain: bool) -> Written:
    half = (high - low) / 2
    if math.isnan(half) or half <= 1e-9 * abs(value):
        is_whole = is_plain and math.isfinite(value) and value == round(value)
        return Written(_fixed(value, 0 if is_whole else _digits(value)))
    places = _digits(value) if math.isinf(half) else _places(half, 2)
    skew = abs(low + high - 2 * value) / (high - low)
    # Where an end is cut at what is possible, the other way of writing would go beyond it.
    is_cut = low == 0 or high in {1.0, 100.0}
    if math.isinf(half) or skew > (1e-6 if is_cut else 0.2):
        return Written(_fixed(value, places), f"[{_fixed(low, places)}, {_fixed(high, places)}]")
    return Written(_fixed(value, places), f"± {_fixed(half, places)}")


def _as_estimate(cell: float | None) -> Estimate:
    if cell is None:
        return Estimate.missing("not measured")
    return Estimate.exact(cell)


def _unscaled(size: float, unit: str) -> UnitScale:
    if size == 0 or 1e-4 <= size < 1e9 or not math.isfinite(size):
        return UnitScale(1.0, unit, fits_any=True)
    exponent = math.floor(math.log10(size))
    return UnitScale(10.0**exponent, f"×10{_raised(exponent)} {unit}".rstrip())


def _prefix(size: float, head: str) -> tuple[float, str]:
    for divisor, name in _LARGE:
        # Nobody says kiloseconds.
        if size >= divisor * 0.9995 and head != "s":
            return divisor, name
    if head != "s":
        return 1.0, ""
    return next((p for p in _SMALL if size >= p[0] * 0.9995), _SMALL[0 if size == 0 else -1])


def _places(number: float, significant: int) -> int:
    if number == 0 or not math.isfinite(number):
        return 0
    # The exponent after rounding: 0.9996 is written 1.00.
    exponent = int(f"{number:.{significant - 1}e}".partition("e")[2])
    return min(max(significant - 1 - exponent, 0), 12)


def _digits(number: float) -> int:
    return _places(number, 3)


def _fixed(number: float, places: int) -> str:
    if math.isinf(number):
        return "∞" if number > 0 else "−∞"
    shown = f"{number:,.{places}f}"
    # No minus sign before zeros.
    if shown.startswith("-") and not shown.strip("-0.,"):
        shown = shown[1:]
    return shown.replace("-", "−")


def _raised(exponent: int) -> str:
    return str(exponent).translate(_RAISED)


# Names: short ones for charts, where there is no room for the written form


def shorten(names: Iterable[str]) -> dict[str, str]:
    """Returns a short form of each written form: its name, and the options that differ.

    Names that would become equal, and names in no written form, stay as they are.

    Example:
        >>> shorten(["gan:loss=ns,latent=8", "gan:loss=wgan,latent=8", "flow:width=64"]).values()
        dict_values(['gan:loss=ns', 'gan:loss=wgan', 'flow'])
    """
    specs = {name: _parse(name) for name in names}
    short = {name: _short(spec, list(specs.values())) for name, spec in specs.items()}
    taken = list(short.values())
    return {name: s if taken.count(s) == 1 else name for name, s in short.items()}


def _parse(name: str) -> Spec:
    try:
        return Spec.parse(name)
    except UserError:
        return Spec(name)


def _short(spec: Spec, specs: list[Spec]) -> str:
    alike = [s.options for s in specs if s.name == spec.name]
    options = spec.options.items()
    return str(Spec(spec.name, {k: v for k, v in options if any(o.get(k) != v for o in alike)}))


# Markup: the one place that writes tags


_VOID = frozenset({"meta", "link", "img"})
# Where a written form may break, but no number such as 1,612 or 9/20.
_JOINT = re.compile(r"(?:(?<=[,:/+|])|(?<=\w@))(?=\w)(?!(?<=\d[,/])\d)")


@final
class Markup(str):
    """Text that is escaped already, for templates too."""

    __slots__ = ()

    def __html__(self) -> str:
        """Returns the text as it is: the sign by which templates know that it is escaped."""
        return self


def clean(text: str) -> str:
    """Returns ``text`` with every invisible character replaced by a visible mark."""
    return printable(text)


def safe(text: str) -> Markup:
    """Returns ``text`` escaped for HTML and SVG, unless it is already.

    Example:
        >>> safe("<b>")
        '&lt;b&gt;'
    """
    return text if isinstance(text, Markup) else Markup(escape(clean(text)))


def breakable(text: str) -> Markup:
    """Returns ``text`` escaped, with leave to break a written form such as ``gan:a=1,b=2``.

    Example:
        >>> str(breakable("gan:a=1,b=2")), str(breakable("20/20 (1,612)"))
        ('gan:<wbr>a=1,<wbr>b=2', '20/20 (1,612)')
    """
    return Markup("<wbr>".join(safe(part) for part in _JOINT.split(clean(text))))


def join(parts: "list[Markup] | tuple[Markup, ...]") -> Markup:
    """Returns pieces one after the other."""
    return Markup("".join(parts))


def tag(name: str, *children: str, **attributes: str | float | bool | None) -> Markup:
    """Returns an element; children and attributes are escaped.

    An attribute of None or False is left out, one of True stands alone. In its name a trailing
    ``_`` is dropped and others become ``-``.

    Example:
        >>> tag("p", "a < b", class_="note", hidden=True)
        '<p class="note" hidden>a &lt; b</p>'
    """
    head = name + "".join(_attribute(k, v) for k, v in attributes.items())
    if name in _VOID:
        return Markup(f"<{head}>")
    return Markup(f"<{head}>{''.join(map(safe, children))}</{name}>")


def _attribute(name: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f' {name}="{safe(text)}"'


# Tables


BEST = (
    "Bold: significantly better than all others in its column, by the test that the answer names."
)
APART = "Below the inner line: references, which do not compete."

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
        best: Whether a stated test finds it better than all others of its column.
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
        group: Under which common head it stands, or empty.
        alone: Its title where common heads are not shown: with the group if another column bears
            the same title.
    """

    name: str
    better: Better | None
    unit: str
    help: str
    methods: tuple[str, ...]
    is_number: bool
    group: str = ""
    alone: str = ""

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
class TableLayout:
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

    @property
    def below(self) -> list[tuple[str, str]]:
        """What stands below the table: pairs of letter (empty for notes) and text."""
        notes = (
            self.note,
            BEST if self.has_best else "",
            APART if any(line.is_reference for line in self.lines) else "",
        )
        return [*(("", text) for text in notes if text), *self.footnotes]

    @property
    def groups(self) -> list[tuple[str, int]]:
        """The common heads from left to right, each with how many columns it spans."""
        runs = groupby(h.group for h in self.heads)
        return [(name, len(list(run))) for name, run in runs]


def lay_out(table: Table) -> TableLayout:
    """Returns ``table`` as written text."""
    is_reference = [bool(row) and row[0] in table.references for row in table.rows]
    order = sorted(range(len(table.rows)), key=lambda i: is_reference[i])
    names = [table.rows[i][0] if table.rows[i] else "" for i in order]
    notes = _Notes()
    columns = [
        _column(column, [table.rows[i][k] for i in order], names, notes)
        for k, column in enumerate(table.columns)
    ]
    cells = zip(*(c for _, c in columns), strict=True)
    titles = heads_alone(table.columns)
    return TableLayout(
        title=clean(table.title),
        heads=tuple(
            replace(head, alone=clean(alone))
            for (head, _), alone in zip(columns, titles, strict=True)
        ),
        lines=tuple(
            Line(cells=row, is_reference=is_reference[i])
            for row, i in zip(cells, order, strict=True)
        ),
        note=clean(table.note),
        footnotes=notes.listed(),
    )


def heads_alone(columns: Sequence[Column]) -> list[str]:
    """Returns the titles of columns, with the common head where several bear one title.

    Example:
        >>> heads_alone([Column(name="time", group="Training"), Column(name="time", group="Use")])
        ['Training: time', 'Use: time']
    """
    names = [c.name for c in columns]
    return [
        f"{c.group}: {c.name}" if c.group and names.count(c.name) > 1 else c.name for c in columns
    ]


@final
class _Notes:
    """Footnotes: one for all reasons that differ only in their numbers."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, ...], list[str]] = {}

    def mark(self, why: str) -> str:
        """Returns the letter of a reason."""
        self._found.setdefault(pattern(why), []).append(why)
        return _letter(list(self._found).index(pattern(why)))

    def listed(self) -> tuple[tuple[str, str], ...]:
        """Returns all letters with their reasons."""
        return tuple(
            (_letter(k), remark)
            for k, texts in enumerate(self._found.values())
            for remark in merged(texts)
        )


_NUMBERS = re.compile(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?(?!\w)")


def pattern(text: str) -> tuple[str, ...]:
    """Returns ``text`` split at its numbers: texts that differ only in numbers are equal.

    Example:
        >>> pattern("median of 5 runs, fp32"), pattern("n = 1,257")
        (('median of ', ' runs, fp32'), ('n = ', ''))
    """
    return tuple(_NUMBERS.split(text))


def merged(texts: Iterable[str]) -> list[str]:
    """Returns texts, those that differ only in their numbers as one that gives the range.

    Example:
        >>> merged(["median of 5 runs", "no density", "median of 1 runs"])
        ['median of 1 to 5 runs', 'no density']
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for text in texts:
        groups.setdefault(pattern(text), []).append(text)
    return [_ranged(alike) for alike in groups.values()]


def _ranged(alike: list[str]) -> str:
    parts = _NUMBERS.split(alike[0])
    columns = zip(*(_NUMBERS.findall(text) for text in alike), strict=True)
    ranges = [_range(list(numbers)) for numbers in columns]
    return "".join(p + r for p, r in zip_longest(parts, ranges, fillvalue=""))


def _range(numbers: list[str]) -> str:
    ordered = sorted(set(numbers), key=lambda n: float(n.replace(",", "")))
    return ordered[0] if len(ordered) == 1 else f"{ordered[0]} to {ordered[-1]}"


def _column(
    column: Column, cells: list[Cell], names: list[Cell], notes: _Notes
) -> tuple[Head, list[Shown]]:
    measured = [c for c in cells if not isinstance(c, str | None)]
    by = None if column.mixed else common_scale(map(_value, measured), column.unit)
    shown = [
        _shown(c, name in column.best, by, column, notes)
        for c, name in zip(cells, names, strict=True)
    ]
    unit = by.suffix if by is not None else ""
    head = Head(
        name=clean(column.name),
        better=column.better,
        unit=clean(unit) if measured else "",
        help=clean(column.help),
        methods=tuple(merged(_methods(measured))),
        is_number=bool(measured),
        group=clean(column.group),
    )
    return head, shown


def _shown(cell: Cell, best: bool, by: UnitScale | None, column: Column, notes: _Notes) -> Shown:
    if isinstance(cell, str):
        return Shown(value=clean(cell), is_number=False)
    if cell is None:
        return Shown(value=MISSING, why="not measured")
    used = by or scale_of(cell, "" if column.mixed else column.unit)
    written = write(cell, used)
    value = _value(cell)
    return Shown(
        value=written.value,
        spread=written.spread,
        suffix=used.suffix if by is None and written.value != MISSING else "",
        why=clean(origin(cell)) if isinstance(cell, Estimate) else "",
        mark=_mark(cell, written, notes) if isinstance(cell, Estimate) else "",
        best=best and written.value != MISSING,
        number=value if math.isfinite(value) else None,
    )


def _mark(cell: Estimate, written: Written, notes: _Notes) -> str:
    """Returns the letter of the footnote that says why a number or its interval is missing."""
    method = clean(cell.method)
    if written.value == MISSING:
        return notes.mark(method) if method else ""
    if written.spread != UNKNOWN:
        return ""
    return notes.mark(f"no interval: {method.removesuffix(': no interval')}")


def _methods(cells: list[Estimate | float | int]) -> list[str]:
    found = [c for c in cells if isinstance(c, Estimate) and c.value is not None]
    return [clean(e.method) for e in found if e.method]


def _value(cell: Cell) -> float:
    if isinstance(cell, Estimate):
        return math.nan if cell.value is None else float(cell.value)
    return math.nan if isinstance(cell, str | None) else float(cell)


def _letter(index: int) -> str:
    """Returns a, b, ..., z, aa, ab, ..."""
    prefix = _letter(index // 26 - 1) if index >= 26 else ""
    return prefix + chr(ord("a") + index % 26)
