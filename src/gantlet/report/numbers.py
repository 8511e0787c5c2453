"""How numbers are written for people: as many digits as the interval allows, SI prefixes."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import final

from gantlet.core.estimate import Estimate

MISSING = "–"

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
class Scale:
    """What numbers are divided by, and what is written behind them then.

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
        value: The number itself: "2.421", or a dash where there is none.
        spread: Its interval: "± 0.013", "[0.88, 0.97]", "± ?" if unknown, empty if exact.
    """

    value: str
    spread: str = ""


def scale(number: float, unit: str) -> Scale:
    """Returns the scale in which ``number`` is best read.

    Example:
        >>> scale(2.5e9, "FLOP/sample")
        Scale(size=1000000000.0, suffix='GFLOP/sample', fits_any=False)
    """
    head, slash, per = unit.partition("/")
    head = _SPELLED.get(head, head)
    size = abs(number)
    if head not in SCALED:
        return _unscaled(size, "" if unit == "1" else unit)
    if unit == "s" or (head == "s" and not slash):
        for start, divisor, name in _LONG:
            if size >= start:
                return Scale(divisor, name)
    gap = "" if head in {"FLOP", "B", "s"} else " "
    divisor, prefix = _prefix(size, head)
    return Scale(divisor, f"{prefix}{gap if prefix else ''}{head}{slash}{per}")


def common_scale(numbers: Iterable[float], unit: str) -> Scale | None:
    """Returns one scale for a whole column, or None where its numbers differ too much."""
    sizes = [abs(x) for x in numbers if x and math.isfinite(x)]
    if not sizes:
        return scale(1.0, unit)
    if scale(1.0, unit).fits_any and all(1e-4 <= s < 1e9 for s in sizes):
        return scale(1.0, unit)
    # All share one scale, or none does: a column that is half GFLOP is misread at a glance.
    return scale(median(sizes), unit) if max(sizes) < 1000 * min(sizes) else None


def write(cell: Estimate | float | None, by: Scale) -> Written:
    """Returns a number divided by ``by.size``, with its interval, without the suffix.

    Example:
        >>> write(Estimate(value=2.42134, low=2.40812, high=2.43456), Scale(1.0, ""))
        Written(value='2.421', spread='± 0.013')
    """
    e = cell if isinstance(cell, Estimate) else _as_estimate(cell)
    if e.value is None or math.isnan(e.value):
        return Written(MISSING)
    value = e.value / by.size
    if e.low is None or e.high is None:
        return Written(_fixed(value, _digits(value)), "± ?")
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
    return " ".join(filter(None, (written.value, written.spread, by.suffix)))


def scale_of(cell: Estimate | float | None, unit: str = "") -> Scale:
    """Returns the scale of one number; an estimate knows its unit."""
    if not isinstance(cell, Estimate):
        return scale(cell or 1.0, unit or "1")
    half = cell.half_width or 0.0
    size = max(abs(cell.value or 0.0), half if math.isfinite(half) else 0.0)
    return scale(size or 1.0, unit or cell.unit)


def origin(estimate: Estimate) -> str:
    """Returns in words where a number comes from: interval, level, n and method."""
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
    if math.isinf(half) or abs(low + high - 2 * value) > 0.2 * (high - low):
        return Written(_fixed(value, places), f"[{_fixed(low, places)}, {_fixed(high, places)}]")
    return Written(_fixed(value, places), f"± {_fixed(half, places)}")


def _as_estimate(cell: float | None) -> Estimate:
    if cell is None:
        return Estimate.missing("not measured")
    return Estimate.exact(cell)


def _unscaled(size: float, unit: str) -> Scale:
    if size == 0 or 1e-4 <= size < 1e9 or not math.isfinite(size):
        return Scale(1.0, unit, fits_any=True)
    exponent = math.floor(math.log10(size))
    return Scale(10.0**exponent, f"×10{_raised(exponent)} {unit}".rstrip())


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
