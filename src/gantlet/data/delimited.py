"""Delimited text: encodings, separators, headers and column types."""

import codecs
import csv
import gzip
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, final

import numpy as np

from gantlet.core.errors import UserError
from gantlet.data.splits import Array, is_file, readable

# ----------------------------------------------------------------------------
# Text files in common encodings, compressed or not, up to a maximum size.
# ----------------------------------------------------------------------------

MOST_BYTES: Final = 2**31
"""Maximum size of an unpacked text file in bytes."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What no text of one byte a character holds.
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def read_text(path: Path, kind: str) -> tuple[str, tuple[str, ...]]:
    """Returns the text of a file, and a note on what had to be inferred.

    UTF-8, UTF-16 and UTF-32 are recognized by their first bytes; without such a mark it is UTF-8
    if valid, else Windows-1252, the usual form of Latin-1, which is said. ``.gz`` is unpacked.

    Args:
        path: The file.
        kind: Expected content, for messages.

    Raises:
        UserError: If it cannot be read, is not text, or is larger than ``MOST_BYTES``.
    """
    with readable(is_file(path), kind):
        return _decoded(_bytes(path), path, kind)


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file, gzip.open(file) if path.suffix.lower() == ".gz" else file as raw:
        read = raw.read(MOST_BYTES + 1)
    if len(read) > MOST_BYTES:
        raise UserError(f"{path} holds more than {MOST_BYTES:,} bytes of text. Divide it.")
    return read


def _decoded(raw: bytes, path: Path, kind: str) -> tuple[str, tuple[str, ...]]:
    marked = next((name for mark, name in _MARKS if raw.startswith(mark)), None)
    if marked is not None:
        return raw.decode(marked), ()
    if b"\0" in raw:
        raise _binary(path, kind, raw.index(b"\0"), 0)
    try:
        return raw.decode("utf-8"), ()
    except UnicodeDecodeError:
        if found := _BINARY.search(raw):
            raise _binary(path, kind, found.start(), found[0][0]) from None
    try:
        text = raw.decode("cp1252")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return text, (f"{path.name} is not UTF-8 and was read as Windows-1252 (Latin-1)",)


def _binary(path: Path, kind: str, place: int, byte: int) -> UserError:
    return UserError(
        f"{path} cannot be read as {kind}: it is a binary file (byte {place:,} is 0x{byte:02x}). "
        "Give a file of plain text, in UTF-8 if possible."
    )


# ----------------------------------------------------------------------------
# Column types: numbers, times or categories, by majority.
# ----------------------------------------------------------------------------

SHARE: Final = 0.9
"""Minimum share of non-empty cells that must be numbers, or times, for such a column."""

_WORDS = ("?", "na", "n/a", "n.a.", "#n/a", "nan", "nat", "null", "none", "<na>", "<nan>")
MISSING: Final = frozenset(["", *(f(w) for w in _WORDS for f in (str, str.upper, str.title))])
"""Markers of a missing value."""

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
    """A parsed column.

    Attributes:
        kind: Type of most of its cells.
        values: The numbers, or the days since 1970, shape ``(rows,)``; NaN if missing.
            All NaN for categories.
        odd: The cells that are neither empty nor numbers or times, each once, the first first.
        n_odd: Their number.
        style: How numbers or times are written.
        is_doubtful: Whether their format is ambiguous.
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
    """Returns a mask of empty cells, shape ``(rows,)``."""
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


# ----------------------------------------------------------------------------
# Text tables: delimiter, header and records.
# ----------------------------------------------------------------------------

MOST_COLUMNS: Final = 10_000
"""Columns of the widest table that is read."""

MOST_CELLS: Final = 2**27
"""Cells of the largest table that is read: a gigabyte of numbers."""

# Candidate delimiters: the first that gives all of the first rows one width is used.
_DELIMITERS = "\t;|,"
_LOOKED_AT = 50


@final
@dataclass(frozen=True, slots=True)
class Delimited:
    """The dialect of a delimited text.

    Attributes:
        path: The file.
        delimiter: Column delimiter.
        header: The names of the columns, or empty if the first record is data.
        width: Number of columns.
        notes: What had to be inferred.
    """

    path: Path
    delimiter: str
    header: tuple[str, ...]
    width: int
    notes: tuple[str, ...]

    @classmethod
    def of(cls, path: Path) -> "Delimited":
        """Infers the dialect of a file.

        Raises:
            UserError: If it is not text, holds no rows, or is too large.
        """
        text, notes = read_text(path, "a table")
        with readable(path, "a table"):
            delimiter = _delimiter(text)
            records = [row for _, row in islice(_records(text, delimiter), 2)]
        if not records:
            raise UserError(f"{path} holds no rows.")
        first = records[0]
        check_size(path, len(first), text.count(delimiter) + text.count("\n"))
        header = () if looks_like_data(first) else tuple(first)
        if header and len(records) == 1:
            raise UserError(f"{path} holds a header and no rows.")
        return cls(path, delimiter, header, len(first), notes)

    def frame(self) -> Any:
        """Returns the table, numbers as such.

        Raises:
            UserError: If rows are not of one width, or it cannot be read.
        """
        frame = self._read(na_values=[*MISSING], low_memory=False)
        # Of a row that is too short the last cells are missing.
        if bool(frame.iloc[:, -1].isna().any()):
            self._check_widths(read_text(self.path, "a table")[0])
        return frame

    def written(self, column: int) -> Array:
        """Returns the cells of a column as they are written."""
        frame = self._read(usecols=[column], dtype=str, na_filter=False)
        cells: Array = frame.iloc[:, 0].to_numpy(object)
        return cells

    def line(self, record: int) -> int:
        """Returns the line in which a record ends, the header not counted among the records."""
        records = _records(read_text(self.path, "a table")[0], self.delimiter)
        return next((line for line, _ in islice(records, record + bool(self.header), None)), 0)

    def _read(self, **options: Any) -> Any:
        import pandas as pd

        text, _ = read_text(self.path, "a table")
        with readable(self.path, "a table"), warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            try:
                return pd.read_csv(
                    io.StringIO(text),
                    sep=self.delimiter,
                    header=0 if self.header else None,
                    names=list(range(self.width)),
                    index_col=False,
                    keep_default_na=False,
                    skipinitialspace=self.delimiter != "\t",
                    **options,
                )
            except (pd.errors.ParserError, pd.errors.ParserWarning):
                self._check_widths(text)
                raise

    def _check_widths(self, text: str) -> None:
        for line, row in _records(text, self.delimiter):
            if len(row) != self.width:
                raise UserError(
                    f"{self.path}, line {line} has {len(row)} columns. The first has {self.width}."
                )


def check_size(path: Path, columns: int, cells: int) -> None:
    """Refuses tables that are too large.

    Raises:
        UserError: If there are more than ``MOST_COLUMNS`` columns or ``MOST_CELLS`` cells.
    """
    if columns > MOST_COLUMNS:
        raise UserError(
            f"{path} has {columns:,} columns; at most {MOST_COLUMNS:,} are read. Save vectors as "
            "an array (npy or npz)."
        )
    if cells > MOST_CELLS:
        raise UserError(
            f"{path} has about {cells:,} cells; at most {MOST_CELLS:,} are read. Divide it."
        )


def _delimiter(text: str) -> str:
    """Returns the column delimiter, ignoring quoted text."""
    widths = {d: _widths(text, d) for d in _DELIMITERS}
    for delimiter, found in widths.items():
        if len(set(found)) == 1 and found[0] > 1:
            return delimiter
    return max(reversed(_DELIMITERS), key=lambda d: widths[d][0] if widths[d] else 0)


def _widths(text: str, delimiter: str) -> list[int]:
    """Returns the number of columns of the first records, none if they cannot be parsed so.

    Of a wide table, what parts nothing leaves a whole line as one cell, which may be too long.
    """
    try:
        return [len(row) for _, row in islice(_records(text, delimiter), _LOOKED_AT)]
    except csv.Error:
        return []


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yields the records of a text that are not blank, each with the line where it ends."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=delimiter != "\t"
    )
    for row in reader:
        if row and (len(row) > 1 or row[0].strip()):
            yield reader.line_num, row
