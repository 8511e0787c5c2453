"""One walk model by several techniques, compared where their networks copy equally many edges.

A network that copies more edges of the real one has better statistics, whatever made it. So models
are followed over their training, and read out at one overlap.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from gantlet.core.estimate import Estimate, Outcome
from gantlet.probes.network_probe import AUC, OVERLAP, STATISTIC

STATISTICS = ("triangles", "path length")
"""Statistics of networks that are read out, relative to the real one."""


class NetworkPoint(NamedTuple):
    """What the networks of one trained model are.

    Attributes:
        overlap: The share of the training edges that they have.
        values: What else is measured of them, by name.
    """

    overlap: float
    values: Mapping[str, float]


OverlapCourse = Mapping[int, Sequence[NetworkPoint]]
"""The points of one model over its training, by seed."""


def point_of(outcome: Outcome) -> NetworkPoint | None:
    """Returns the point of a trial, or None where its networks were not measured."""
    overlap = _value(outcome.scores.get(OVERLAP))
    if overlap is None:
        return None
    values = {AUC: _value(outcome.scores.get(AUC))}
    for name in STATISTICS:
        found = outcome.scores.get(f"{STATISTIC}{name}")
        real = None if found is None else found.also.get("real")
        value = _value(found)
        values[name] = value / real if value is not None and real else None
    return NetworkPoint(overlap, {k: v for k, v in values.items() if v is not None})


def _value(found: Estimate | None) -> float | None:
    return None if found is None else found.value


def common(a: OverlapCourse, b: OverlapCourse) -> float | None:
    """Returns the largest overlap that both models pass in every seed, or None.

    It is chosen by the overlaps alone, so that what is then compared did not choose it.
    """
    ranges = [[p.overlap for p in points] for course in (a, b) for points in course.values()]
    if not a or not b or not all(ranges):
        return None
    highest, lowest = min(map(max, ranges)), max(map(min, ranges))
    return highest if highest >= lowest else None


def read_out(points: Sequence[NetworkPoint], overlap: float, name: str) -> float | None:
    """Returns a value at an overlap, linearly between the points next to it.

    Example:
        >>> few, many = (NetworkPoint(x, {"triangles": 5 * x}) for x in (0.2, 0.4))
        >>> read_out([few, many], 0.3, "triangles")
        1.5
    """
    known = sorted((p.overlap, p.values[name]) for p in points if name in p.values)
    for (x0, y0), (x1, y1) in pairwise(known):
        if x0 <= overlap <= x1:
            t = (overlap - x0) / (x1 - x0) if x1 > x0 else 1.0
            return (1 - t) * y0 + t * y1
    return next((y for x, y in known if x == overlap), None)


def at_overlap(course: OverlapCourse, overlap: float, name: str) -> list[float]:
    """Returns a value of each seed at an overlap, without the seeds that do not pass it."""
    found = (read_out(points, overlap, name) for points in course.values())
    return [v for v in found if v is not None]
