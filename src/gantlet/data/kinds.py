"""What the cells of a column are: numbers, times or categories, whichever most of them are."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, final

import numpy as np

from gantlet.data.checks import Array

SHARE: Final = 0.9
"""So many of the cells that are not empty must be numbers, or times, for a column of them."""

_WORDS = ("?", "na", "n/a", "n.a.", "#n/a", "nan", "nat", "null", "none", "<na>", "<nan>")
MISSING: Final = frozenset(["", *(f(w) for w in _WORDS for f in (str, str.upper, str.title))])
"""What stands in a cell where nothing does."""

Style = Literal[
    "plain", "1,234.5", "1.234,5", "1 234.5", "1 234,5", "iso", "day first", "month first",
    "year first", "day month", "month day", "clock",
]  # fmt: skip
"""How numbers, or times, are written."""

_SINGLE = float(np.finfo(np.float32).max)
_SIGN = r"[$€£¥₹₽₩%]|USD|EUR|GBP|CHF|JPY|kr"
_BLANKS = "[ '’\u00a0\u2009\u202f]"
_NUMBERS: dict[Style, tuple[str, str, str]] = {
    # What a number looks like, what parts its thousands, and its decimals.
    "1,234.5": (r"\d{1,3}(?:,\d{3})+(?:\.\d*)?|\d*\.?\d+|\d+\.", ",", "."),
    "1.234,5": (r"\d{1,3}(?:\.\d{3})+(?:,\d*)?|\d*,?\d+|\d+,", r"\.", ","),
    "1 234.5": (rf"\d{{1,3}}(?:{_BLANKS}\d{{3}})+(?:\.\d*)?|\d*\.?\d+", _BLANKS, "."),
    "1 234,5": (rf"\d{{1,3}}(?:{_BLANKS}\d{{3}})+(?:,\d*)?|\d*,?\d+", _BLANKS, ","),
}
_TIMES: dict[Style, tuple[str, ...]] = {
    "month first": ("%m{0}%d{0}%Y", "%m{0}%d{0}%y"),
    "day first": ("%d{0}%m{0}%Y", "%d{0}%m{0}%y"),
    "year first": ("%Y{0}%m{0}%d",),
    "day month": ("%d %b %Y", "%d %B %Y", "%d. %B %Y"),
    "month day": ("%b %d, %Y", "%B %d, %Y", "%b %d %Y"),
}
_HOURS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", " %H:%M:%S.%f")
_LIKE_A_TIME = re.compile(
    r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|\d{1,2}:\d{2}|\d{4}-\d{2}|[^\W\d]{3,9}\.? \d{1,2},? \d{4}"
    r"|\d{1,2}\.? [^\W\d]{3,9}\.? \d{4}"
)
_LIKE_A_NUMBER = re.compile(rf"[-+(]?\s*(?:{_SIGN})?\s*\d[\d.,'’ \u00a0\u202f]*(?:{_SIGN})?\)?")
_TRIED = 200


@final
@dataclass(frozen=True, slots=True, eq=False)
class Parsed:
    """A column, understood.

    Attributes:
        kind: What most of its cells are.
        values: The numbers, or the days since 1970, shape ``(rows,)``; NaN where there is none.
            All NaN for categories.
        odd: The cells that are neither empty nor numbers or times, each once, the first first.
        n_odd: How many there are of them.
        style: How numbers or times are written.
        is_doubtful: Whether they could mean other numbers, or times, as well.
        share: Of the cells that are not empty, how many are numbers or times at most.
    """

    kind: Literal["number", "time", "category"]
    values: Array
    odd: tuple[str, ...] = ()
    n_odd: int = 0
    style: Style = "plain"
    is_doubtful: bool = False
    share: float = 1.0


def is_missing(cells: Array) -> Array:
    """Returns where nothing stands, shape ``(rows,)``."""
    if cells.dtype.kind == "f":
        return np.isnan(cells)
    if cells.dtype.kind == "b":
        return np.zeros(len(cells), bool)
    return np.array([c in MISSING or c.strip().lower() in MISSING for c in cells.tolist()], bool)


def number(cell: str) -> float | None:
    """Returns the number that a cell holds, or None."""
    try:
        return float(cell)
    except ValueError:
        return None


def looks_like_data(row: Sequence[str]) -> bool:
    """Returns whether a first row is one of data: no cell of it could be a name.

    Example:
        >>> looks_like_data(["2021-03-04", "1.5"]), looks_like_data(["when", "1.5"])
        (True, False)
    """
    told = [cell.strip() for cell in row]
    kinds = [
        number(cell) is not None
        or bool(_LIKE_A_NUMBER.fullmatch(cell) or _LIKE_A_TIME.match(cell))
        for cell in told
    ]
    known = [k or cell.lower() in MISSING for k, cell in zip(kinds, told, strict=True)]
    return all(known) and any(kinds)


def floats(cells: Array) -> Parsed:
    """Returns a column of numbers, in which one that is not finite is odd."""
    bad = np.abs(cells) > _SINGLE
    if not bad.any():
        return Parsed("number", cells)
    odd = tuple(dict.fromkeys(f"{v:g}" for v in cells[bad].tolist()))
    return Parsed("number", np.where(bad, np.nan, cells), odd, int(bad.sum()))


def parsed(
    cells: Array,
    style: Style | None = None,
    *,
    decimal_comma: bool,
    share: float = SHARE,
    kind: Literal["number", "time"] | None = None,
) -> Parsed:
    """Returns text cells as numbers or times where most are, else as categories.

    Args:
        cells: The cells, shape ``(rows,)``.
        style: How they are written if that fits enough of them; None for what fits most.
        decimal_comma: Whether ``1,234`` is more likely one and a bit than a thousand.
        share: How many of the cells that are not empty must be numbers or times.
        kind: Which of the two; None for either.
    """
    import pandas as pd

    there = ~is_missing(cells)
    series = pd.Series(cells[there], dtype=object).str.strip()
    n = len(series)
    if not n:
        return Parsed("category", np.full(len(cells), np.nan), share=0.0)
    ways: list[tuple[Style, Any]] = []
    for what, read in (("number", _as_numbers), ("time", _as_times)):
        found = read(series, decimal_comma) if kind in {None, what} else []
        ways += found
        if any(v.notna().sum() >= share * n for _, v in found):
            break
    fits: dict[Style, int] = {name: int(v.notna().sum()) for name, v in ways}
    most = max(fits.values(), default=0)
    if most < share * n or not most:
        return Parsed("category", np.full(len(cells), np.nan), share=most / n)
    best: Style = max(fits, key=lambda name: fits[name])
    if style is not None and fits.get(style, 0) >= SHARE * most:
        best = style
    values = dict(ways)[best]
    whole = np.full(len(cells), np.nan)
    whole[there] = values.to_numpy(np.float64)
    odd = series[values.isna().to_numpy()]
    return Parsed(
        "number" if best == "plain" or best in _NUMBERS else "time",
        whole,
        tuple(dict.fromkeys(odd)),
        len(odd),
        best,
        style is None and _is_doubtful(best, ways),
        most / n,
    )


def _is_doubtful(best: Style, ways: Sequence[tuple[Style, Any]]) -> bool:
    """Returns whether another way reads as many cells, and other numbers or times from them."""
    chosen = dict(ways)[best]
    if best == "plain":
        return False
    rivals = {"1,234.5", "1.234,5", "day first", "month first"} - {best}
    return any(
        name in rivals
        and values.notna().sum() == chosen.notna().sum()
        and not values.equals(chosen)
        for name, values in ways
    )


def _as_numbers(series: Any, decimal_comma: bool) -> list[tuple[Style, Any]]:
    """Returns the numbers of each way of writing them, NaN where a cell is not written so."""
    import pandas as pd

    plain = _finite(pd.to_numeric(series, errors="coerce"))
    if plain.notna().all() or not series.str.contains(r"\d", regex=True).any():
        return [("plain", plain)]
    core, is_consistent = _without_signs(series)
    if not is_consistent:
        core = series
    ways: list[tuple[Style, Any]] = [("plain", plain)]
    if is_consistent and not core.equals(series):
        ways[0] = ("plain", _finite(pd.to_numeric(core, errors="coerce")))
    order = sorted(_NUMBERS, key=lambda s: s.endswith(",5") != decimal_comma)
    for name in order:
        pattern, thousands, decimal = _NUMBERS[name]
        fits = core.str.fullmatch(rf"[-+−]?(?:{pattern})(?:[eE][-+]?\d+)?")
        bare = core.str.replace(thousands, "", regex=True).str.replace("−", "-")
        if decimal == ",":
            bare = bare.str.replace(",", ".")
        ways.append((name, _finite(pd.to_numeric(bare.where(fits), errors="coerce"))))
    return ways


def _without_signs(series: Any) -> tuple[Any, bool]:
    """Returns cells without the sign of a currency, or per cent, and whether all have that one."""
    bare = series.str.replace(r"^\((.*)\)$", r"-\1", regex=True)
    signs = bare.str.extract(rf"({_SIGN})", expand=False)
    found = set(signs.dropna())
    core = bare.str.replace(rf"^([-+−]?)\s*(?:{_SIGN})\s*", r"\1", regex=True)
    core = core.str.replace(rf"\s*(?:{_SIGN})$", "", regex=True)
    # One amount in a column of plain numbers is odd; so is a number in one of shares.
    with_sign = int(signs.notna().sum())
    consistent = len(found) <= 1 and (not found or with_sign >= SHARE * len(series))
    return core, consistent


def _finite(values: Any) -> Any:
    numbers = values.astype(float)
    return numbers.where(numbers.abs() <= _SINGLE)


def _as_times(series: Any, decimal_comma: bool) -> list[tuple[Style, Any]]:
    """Returns the days of each way of writing times, NaN where a cell is not written so."""
    del decimal_comma
    some = series.iloc[:_TRIED]
    if np.mean([bool(_LIKE_A_TIME.match(cell)) for cell in some]) < 0.5:
        return []
    iso: Style = "iso"
    ways: list[tuple[Style, Any]] = [(iso, _days(series, "ISO8601"))]
    if ways[0][1].notna().all():
        return ways
    ways.append(("clock", _clock(series)))
    for name, formats in _TIMES.items():
        # Nobody writes points behind months.
        parts = "" if "{0}" not in formats[0] else "/-" if name == "month first" else "/.-"
        ways.append((name, _best(series, some, formats, parts)))
    return ways


def _best(series: Any, some: Any, formats: Sequence[str], parts: str) -> Any:
    """Returns the days of the form that fits most cells."""
    known = [f.format(p) + hours for f in formats for p in parts or [""] for hours in _HOURS]
    count: Callable[[str], int] = lambda form: int(_days(some, form).notna().sum())  # noqa: E731
    return _days(series, max(known, key=count))


def _days(series: Any, form: str) -> Any:
    """Returns times as days since 1970, in UTC where a zone is given."""
    import pandas as pd

    times = pd.to_datetime(series, format=form, errors="coerce", utc=True)
    return (times - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)


def _clock(series: Any) -> Any:
    """Returns times of the day as a part of it."""
    import pandas as pd

    fits = series.str.fullmatch(r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?")
    whole = series.where(series.str.count(":") == 2, series + ":00").where(fits)
    return pd.to_timedelta(whole, errors="coerce") / pd.Timedelta(days=1)
