"""Two runs beside each other: settings that differ, and results, without a test."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from gantlet.core.errors import UserError
from gantlet.core.estimate import REAL, Estimate
from gantlet.report.blocks import Block, Caveat, Cell, Column, Fact, Facts, Report, Table, Verdict
from gantlet.view.record import Record, finite, is_plain, read_fields
from gantlet.view.words import short

NO_TEST = (
    "Two runs are compared number by number, without a test. Where both have an interval, the "
    "table says whether the intervals overlap: this is not a test of a difference. Intervals that "
    "overlap may belong to quantities that differ, and of many numbers some do not overlap by "
    "chance. Differences are tested by gantlet compare and gantlet evaluate, paired and corrected "
    "for their number."
)
"""Stands above every comparison of two runs."""

OVERLAP, APART, UNKNOWN = "overlap", "do not overlap", "no interval"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """One number of a report.

    Attributes:
        model: The model or set that it is about, in full.
        data: The data set.
        seed: The seed, or None.
        name: What was measured.
        value: The value.
        low: Lower end of its interval, or None.
        high: Upper end, or None.
        unit: Unit.
        method: How it was obtained.
    """

    model: str
    data: str
    seed: int | None
    name: str
    value: float
    low: float | None
    high: float | None
    unit: str
    method: str

    @property
    def cell(self) -> Estimate:
        """The number as an estimate."""
        return Estimate(
            value=self.value, low=self.low, high=self.high, unit=self.unit, method=self.method
        )


def numbers_of(folder: Path, *, check: bool = True) -> list[Number]:
    """Returns the numbers of a run's report, in its order; missing ones are left out.

    Args:
        folder: The run folder.
        check: Whether the checksum of the report is compared.

    Raises:
        DamagedError: If the report is damaged.
    """
    file = folder / "report.json"
    if not is_plain(file):
        return []
    rows = read_fields(file, ["rows"], check=check).get("rows")
    found = map(_number, rows if isinstance(rows, list) else ())
    return [number for number in found if number is not None]


def _number(row: Any) -> Number | None:
    value = finite(row.get("value")) if isinstance(row, dict) else None
    if value is None:
        return None
    low, high = finite(row.get("low")), finite(row.get("high"))
    has_interval = low is not None and high is not None
    seed = row.get("seed")
    return Number(
        model=str(row.get("model") or ""),
        data=str(row.get("data") or ""),
        seed=seed if isinstance(seed, int) else None,
        name=str(row.get("name") or ""),
        value=value,
        low=low if has_interval else None,
        high=high if has_interval else None,
        unit=str(row.get("unit") or ""),
        method=str(row.get("method") or ""),
    )


# ----------------------------------------------------------------------------
# The same number in two runs.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class Pair:
    """A number that two runs have.

    Attributes:
        label: What it is.
        a: That of the first run.
        b: That of the second run.
    """

    label: str
    a: Number
    b: Number

    @property
    def difference(self) -> float:
        """Second minus first."""
        return self.b.value - self.a.value

    @property
    def intervals(self) -> str:
        """Whether the intervals overlap, in words."""
        a, b = self.a, self.b
        if a.low is None or a.high is None or b.low is None or b.high is None:
            return UNKNOWN
        return OVERLAP if a.low <= b.high and b.low <= a.high else APART


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """Two runs beside each other.

    Attributes:
        a: The first run.
        b: The second run.
        settings: Settings that differ: path, first value, second value; None where a run has none.
        pairs: Numbers that both have.
        only_a: How many numbers only the first has.
        only_b: How many numbers only the second has.
    """

    a: Record
    b: Record
    settings: Sequence[tuple[str, str | None, str | None]]
    pairs: Sequence[Pair]
    only_a: int
    only_b: int

    def report(self) -> Report:
        """Returns the comparison as a report."""
        return Report(
            title=f"{self.a.name} and {self.b.name}",
            command="view",
            question={"a": self.a.name, "b": self.b.name},
            verdicts=[Verdict(claim=self.claim, because=NO_TEST), Verdict(claim=self._differs)],
            caveats=[Caveat(text=text) for text in self._caveats()],
            facts=Facts(items=[Fact(name=r.name, value=r.question) for r in (self.a, self.b)]),
            blocks=list(self._blocks()),
            extra={"settings": [list(row) for row in self.settings], "pairs": self._plain()},
        )

    @property
    def claim(self) -> str:
        """How many numbers both have, and of how many the intervals overlap."""
        return summary([pair.intervals for pair in self.pairs])

    @property
    def _differs(self) -> str:
        n = len(self.settings)
        if not n:
            return "No setting differs."
        return "1 setting differs." if n == 1 else f"{n:,} settings differ."

    def _caveats(self) -> Iterator[str]:
        for record, n in ((self.a, self.only_a), (self.b, self.only_b)):
            if n:
                yield f"{n:,} numbers are in {record.name} alone."
        for record in (self.a, self.b):
            if record.state != "finished":
                yield f"{record.name} is not finished: {record.state} ({record.why})."

    def _blocks(self) -> Iterator[Block]:
        names = (self.a.name, self.b.name)
        if self.settings:
            columns = [Column(name=name) for name in ("setting", *names)]
            rows: list[Sequence[Cell]] = [list(row) for row in self.settings]
            yield Table(title="Settings that differ", columns=columns, rows=rows)
        if self.pairs:
            columns = [Column(name=n) for n in ("number", *names, "difference", "intervals")]
            yield Table(
                title="Numbers that both have",
                columns=columns,
                rows=[
                    [p.label, p.a.cell, p.b.cell, _signed(p.difference), p.intervals]
                    for p in self.pairs
                ],
                note=f"Difference: {names[1]} minus {names[0]}.",
            )

    def _plain(self) -> list[dict[str, object]]:
        return [
            {
                "number": p.label,
                "unit": p.a.unit,
                "a": [p.a.value, p.a.low, p.a.high],
                "b": [p.b.value, p.b.low, p.b.high],
                "difference": p.difference,
                "intervals": p.intervals,
            }
            for p in self.pairs
        ]


def summary(intervals: Sequence[str]) -> str:
    """Returns how many numbers two runs share, and of how many the intervals overlap.

    Example:
        >>> summary(["overlap", "do not overlap", "no interval"])
        '3 numbers are in both: the intervals of 1 overlap, of 1 they do not; 1 have no interval.'
    """
    if not intervals:
        return "No number is in both."
    over, apart = intervals.count(OVERLAP), intervals.count(APART)
    n, bare = len(intervals), intervals.count(UNKNOWN)
    return (
        f"{n:,} numbers are in both: the intervals of {over:,} overlap, of {apart:,} they do not; "
        f"{bare:,} have no interval."
    )


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "\N{MINUS SIGN}")


def contrast(a: Record, b: Record, root: Path) -> Contrast:
    """Returns two runs beside each other; their reports are checked first.

    Args:
        a: The first run.
        b: The second run.
        root: The folder below which both are.

    Raises:
        UserError: If both are the same run.
        DamagedError: If a report is damaged.
    """
    if a.name == b.name:
        raise UserError(f"{a.name} would be compared with itself. Give two runs.")
    first, second = (numbers_of(root / record.name) for record in (a, b))
    pairs, only_a, only_b = paired(first, second)
    return Contrast(
        a=a,
        b=b,
        settings=list(differing(a.settings, b.settings)),
        pairs=pairs,
        only_a=only_a,
        only_b=only_b,
    )


def differing(
    a: Mapping[str, str], b: Mapping[str, str]
) -> Iterator[tuple[str, str | None, str | None]]:
    """Yields the settings that differ, in the order of the first run.

    Options of another component say no more than its name, and are left out.
    """
    for name in dict.fromkeys((*a, *b)):
        component, is_option, _ = name.partition(":")
        is_of_other = bool(is_option) and a.get(component) != b.get(component)
        if a.get(name) != b.get(name) and not is_of_other:
            yield name, a.get(name), b.get(name)


def paired(a: Sequence[Number], b: Sequence[Number]) -> tuple[list[Pair], int, int]:
    """Returns the numbers that two runs share, and how many each has alone.

    Models, data sets and seeds must agree, but where each run has only one: two trainings of
    different models are compared as such.
    """
    parts = compared_parts(a, b)
    known = {_key(number, parts): number for number in b}
    mine = {_key(number, parts): number for number in a}
    pairs = [Pair(_label(x, parts), x, known[k]) for k, x in mine.items() if k in known]
    return pairs, len(mine) - len(pairs), len(known) - len(pairs)


def compared_parts(a: Sequence[Number], b: Sequence[Number]) -> list[str]:
    """Returns in which of model, data and seed two numbers must agree."""
    return [
        part
        for part in ("model", "data", "seed")
        if max(len(_distinct(a, part)), len(_distinct(b, part))) > 1
    ]


def _distinct(numbers: Sequence[Number], part: str) -> set[object]:
    return {getattr(n, part) for n in numbers if n.model != REAL}


def _key(number: Number, parts: Sequence[str]) -> tuple[object, ...]:
    own = tuple(getattr(number, part) for part in parts)
    return (number.name, number.unit, number.model == REAL, *own)


def _label(number: Number, parts: Sequence[str]) -> str:
    known = {
        "model": short(number.model),
        "data": short(number.data),
        "seed": f"seed {number.seed}",
    }
    told = [known[part] for part in parts if not (part == "model" and number.model == REAL)]
    return ", ".join([*([REAL] if number.model == REAL else []), *told, number.name])


# ----------------------------------------------------------------------------
# Small enough for a page that compares any two of its runs.
# ----------------------------------------------------------------------------


def compact(numbers: Sequence[Number]) -> dict[str, Any]:
    """Returns numbers as plain data in which each text stands once.

    ``rows`` holds, for each number, its place in ``names`` (name, unit), ``models`` and ``data``
    (in full, short), its seed, value and interval.
    """
    names: dict[tuple[str, str], int] = {}
    models: dict[str, int] = {}
    data: dict[str, int] = {}
    rows: list[list[float | None]] = [
        [
            names.setdefault((n.name, n.unit), len(names)),
            models.setdefault(n.model, len(models)),
            data.setdefault(n.data, len(data)),
            n.seed,
            n.value,
            n.low,
            n.high,
        ]
        for n in numbers
    ]
    return {
        "names": [list(pair) for pair in names],
        "models": [[model, short(model)] for model in models],
        "data": [[one, short(one)] for one in data],
        "rows": rows,
    }
