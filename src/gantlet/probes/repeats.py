"""Times of the same work done again and again, and their median with an interval."""

from collections.abc import Callable, Sequence

from gantlet.compute.clock import Clock, Stopwatch, Usage
from gantlet.core.estimate import Better, Estimate


def repeat(
    run: Callable[[], object], *, repeats: int, seconds: float, clock: Clock | None = None
) -> list[Usage]:
    """Returns what each of several calls of ``run`` took.

    The first call sets up memory and kernels and is left out, unless it alone takes longer than
    ``seconds``. No call is begun after that time, so slow work is repeated less often.

    Args:
        run: The work.
        repeats: How many calls to time, at most.
        seconds: For how long to go on.
        clock: Where times are read.
    """
    usages = [_timed(run, clock)]
    spent = usages[0].wall
    while len(usages) <= repeats and spent < seconds:
        usages.append(_timed(run, clock))
        spent += usages[-1].wall
    return usages[1:] or usages


def _timed(run: Callable[[], object], clock: Clock | None) -> Usage:
    watch = Stopwatch(clock)
    with watch:
        run()
    return watch.usage


def median(
    values: Sequence[float],
    *,
    unit: str,
    better: Better,
    of: str,
    method: str = "",
    level: float = 0.95,
) -> Estimate:
    """Returns the median with the interval between two order statistics.

    The interval covers the median of the distribution with at least ``level``, whatever the
    distribution (sign test); fewer than 6 values have none at 0.95.

    Example:
        >>> e = median([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 70.0], unit="s", better="lower", of="runs")
        >>> e.low, e.value, e.high
        (1.0, 4.0, 70.0)
    """
    ordered, n = sorted(values), len(values)
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    rank = _rank(n, level)
    words = "; ".join(filter(None, [method, f"median of {n} {of}"]))
    if rank == 0:
        words = f"{words}, too few for an interval"
        return Estimate(value=middle, n=n, unit=unit, better=better, method=words)
    return Estimate(
        value=middle,
        low=ordered[rank - 1],
        high=ordered[n - rank],
        level=level,
        n=n,
        unit=unit,
        better=better,
        method=f"{words}, order statistics",
    )


def _rank(n: int, level: float) -> int:
    """The largest rank from either end whose interval covers enough, or 0."""
    from scipy.special import bdtr

    return sum(2 * float(bdtr(k, n, 0.5)) <= 1 - level for k in range(n // 2))
