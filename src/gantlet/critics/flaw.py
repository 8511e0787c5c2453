"""What a flaw is, and a list of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import final

from torch import Tensor

from gantlet.core.estimate import Estimate
from gantlet.critics.line import Kind, Pair


@final
class Stop(StrEnum):
    """Why a search ended."""

    NOT_SIGNIFICANT = "not significant"
    TOO_SMALL = "too small"
    EXHAUSTED = "exhausted"
    LIMIT = "limit"


@final
@dataclass(frozen=True, slots=True)
class Ending:
    """How a search ended.

    Attributes:
        stop: At what: the next candidate is not significant or too small, none is left, or the
            limit is reached.
        examined: How many directions, critics or components were examined.
    """

    stop: Stop
    examined: int


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """How a flaw came to its name.

    Attributes:
        probe: The named measurement.
        topic: What it is about; a list holds each topic once.
        agreement: The correlation of the flaw with it on held-out samples, within each set; 1
            where the flaw is that measurement itself.
    """

    probe: str
    topic: str
    agreement: Estimate


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """One way in which fake samples differ from real ones, judged on held-out samples.

    Attributes:
        title: What it is called.
        naming: How it came to that name, or None.
        size: How far the fakes lie from the reals, in standard deviations of the reals.
        kind: Whether it is mostly the mean, the spread or the shape that differs.
        accuracy: How often this flaw alone tells a sample.
        p: The p-value by permutation, corrected for the whole list.
        shift: The difference of the means, fake minus real.
        seek: What was measured of the first half, by which blinding is fitted.
        judge: What was measured of the held-out half.
        direction: Along which direction of the whitened features it lies, or None.
        measure: What measures it from whitened features where no direction does, or None.
        cause: The damage that does this to real samples, or None where none was found.
    """

    title: str
    naming: Naming | None
    size: Estimate
    kind: Kind
    accuracy: Estimate
    p: float
    shift: float
    seek: Pair
    judge: Pair
    direction: Tensor | None = None
    measure: Callable[[Tensor], Tensor] | None = None
    cause: str | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Flaws:
    """An ordered list, the largest first.

    Attributes:
        flaws: The flaws.
        total: How often a linear critic tells a sample, before it is blind to anything.
        left: The same once it is blind to the first flaw, the first two, and so on.
        ending: How the search ended.
        places: Where in the sets the held-out samples are.
        detectable: The smallest difference of the means of a named measurement, in deviations,
            that would have been found nine times in ten; None where names are not looked at.
    """

    flaws: Sequence[Flaw]
    total: Estimate
    left: Sequence[Estimate]
    ending: Ending
    places: Pair
    detectable: float | None = None
