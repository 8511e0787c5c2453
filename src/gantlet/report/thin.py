"""Fewer points that look the same."""

from collections.abc import Sequence


def keep(points: Sequence[tuple[float, float]], most: int) -> list[int]:
    """Returns the indices of at most ``most`` points that keep the shape of the line.

    From each of ``most - 2`` equal runs of points the one is taken that spans the largest
    triangle with the point taken before and the mean of the next run; the ends stay.

    Source: S. Steinarsson, "Downsampling time series for visual representation", University of
    Iceland, 2013, section 4.2 (largest triangle, three buckets).
    """
    n = len(points)
    if n <= most:
        return list(range(n))
    edges = [1 + (n - 2) * i // (most - 2) for i in range(most - 1)] + [n]
    kept = [0]
    for start, stop, after in zip(edges, edges[1:-1], edges[2:], strict=False):
        following = points[stop:after]
        mean = (
            sum(p[0] for p in following) / len(following),
            sum(p[1] for p in following) / len(following),
        )
        last = points[kept[-1]]
        kept.append(max(range(start, stop), key=lambda i: _area(last, points[i], mean)))
    return [*kept, n - 1]


def _area(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    return abs((a[0] - c[0]) * (b[1] - a[1]) - (a[0] - b[0]) * (c[1] - a[1]))
