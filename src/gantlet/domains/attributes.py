"""Attributes: named measurements of single samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

_GOLDEN = 0.6180339887498949


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """The name of a measurement of single samples.

    Attributes:
        name: What it measures: "brightness".
        less: What fakes are called whose measurements are too low.
        more: What fakes are called whose measurements are too high.
        topic: Words of one topic are one flaw: the two axes of a colour cast.
        follows: Whether it follows from almost any other flaw. It is then a flaw by itself only
            beyond what the others let expect, and names a direction only where no other word does.
        rare: Whether it is of rare samples, and follows from the other words of its topic where
            these differ by half a deviation or more.
        alike: Whether samples that show it resemble one another, as clips without sound do. All of
            them count for it, and not one in the place of all.
        label: The class whose share it is, or None.
    """

    name: str
    less: str
    more: str
    topic: str
    follows: bool = False
    rare: bool = False
    alike: bool = False
    label: int | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeTable:
    """Named measurements of a set of samples.

    Attributes:
        words: One for each column.
        values: Shape ``(n, len(words))``, float64.
    """

    words: tuple[Attribute, ...]
    values: Tensor

    def with_more(self, other: "AttributeTable") -> "AttributeTable":
        """Returns these and others of the same samples."""
        both = torch.cat([self.values, other.values], 1)
        return AttributeTable(words=(*self.words, *other.words), values=both)

    def follows(self) -> Tensor:
        """Returns which measurements follow from almost any flaw, shape ``(len(words),)``."""
        return self._flags([word.follows for word in self.words])

    def alike(self) -> Tensor:
        """Returns by which measurements samples are alike, shape ``(len(words),)``."""
        return self._flags([word.alike for word in self.words])

    def _flags(self, flags: Sequence[bool]) -> Tensor:
        return torch.tensor(flags, dtype=torch.bool, device=self.values.device)

    def at(self, places: Tensor) -> "AttributeTable":
        """Returns those of some of the samples."""
        return AttributeTable(words=self.words, values=self.values[places])


def attribute(
    name: str,
    less: str,
    more: str,
    topic: str = "",
    *,
    follows: bool = False,
    rare: bool = False,
    alike: bool = False,
) -> Attribute:
    """Returns a word that is a topic of its own, unless another one is given."""
    return Attribute(
        name=name,
        less=less,
        more=more,
        topic=topic or name,
        follows=follows,
        rare=rare,
        alike=alike,
    )


def attribute_table(measured: Mapping[Attribute, Tensor]) -> AttributeTable:
    """Returns measurements, each of shape ``(n,)``, under their words."""
    return AttributeTable(
        words=tuple(measured), values=torch.stack(list(measured.values()), 1).double()
    )


def jitter(x: Tensor, size: float) -> Tensor:
    """Returns numbers of mean 0 and deviation ``size``, one for each sample, that mean nothing.

    A measurement that is the same for all real samples has no deviation in which a difference
    could be told. With this added it counts as if it had one of ``size``. The numbers follow from
    the sample, so that the same samples have the same ones.

    Args:
        x: Samples, shape ``(n, ...)``.
        size: What deviation is too small to matter.
    """
    flat = x.flatten(1).double()
    weight = (torch.arange(1, flat.shape[1] + 1, device=flat.device).double() * _GOLDEN) % 1.0
    # Multiples of golden fractions spread evenly over the circle, whatever the numbers are.
    angle = ((flat * (weight + 1)).sum(1) * _GOLDEN * 997.0) % 1.0
    return (angle - 0.5) * 12**0.5 * size


NEAREST_DISTANCE = attribute(
    "distance to the nearest other", "repeated samples", "samples too far apart"
)
"""Of the distance from a sample to the nearest other one of its own set."""
