"""Discovery and validation halves of real and fake samples; the types of a flaw."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal, Self, final

import torch
from torch import Tensor

from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.core.rng import Rng
from gantlet.domains.attributes import NEAREST_DISTANCE, AttributeTable
from gantlet.stats.moments import blocks, exact, leading, squared_distances
from gantlet.stats.permutation import Kind, TwoSamples


@final
class StopReason(StrEnum):
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

    stop: StopReason
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
        accuracy: The accuracy of a classifier that sees this flaw only.
        p: The p-value by permutation, corrected for the whole list.
        shift: The difference of the means, fake minus real.
        seek: What was measured of the first half, by which blinding is fitted.
        judge: What was measured of the held-out half.
        direction: Along which direction of the whitened features it lies, or None.
        measure: What measures it from whitened features where no direction does, or None.
        cause: The corruption that explains it, or None.
    """

    title: str
    naming: Naming | None
    size: Estimate
    kind: Kind
    accuracy: Estimate
    p: float
    shift: float
    seek: TwoSamples
    judge: TwoSamples
    direction: Tensor | None = None
    measure: Callable[[Tensor], Tensor] | None = None
    cause: str | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FlawList:
    """An ordered list, the largest first.

    Attributes:
        flaws: The flaws.
        total: The accuracy of a linear critic with no flaw removed.
        left: The same once it is blind to the first flaw, the first two, and so on.
        ending: How the search ended.
        places: Where in the sets the held-out samples are.
        detectable: The smallest difference of the means of a named measurement, in deviations,
            that would have been found nine times in ten; None where attributes are not tested.
    """

    flaws: Sequence[Flaw]
    total: Estimate
    left: Sequence[Estimate]
    ending: Ending
    places: TwoSamples
    detectable: float | None = None


# So many directions of features are kept; beyond so many features they come from iteration.
_KEPT, _WIDE = 48, 1024
_SHRINK = 1e-2
_OUTERMOST = 3.0  # deviations

FEWEST = 40
"""Samples of each set."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Representation:
    """What is known of a set of samples.

    Attributes:
        probes: Their named measurements.
        features: Their features, shape ``(n, d)``.
        learned: Whether vocabulary, categories or features come from the discovery half of the
            real samples, which then is no draw like the others: no test may permute its labels.
    """

    probes: AttributeTable
    features: Tensor
    learned: bool = False

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.features)

    def at(self, places: Tensor) -> "Representation":
        """Returns the same of some of them."""
        return replace(self, probes=self.probes.at(places), features=self.features[places])


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryValidation:
    """Standardised numbers of both halves, and where they come from.

    Attributes:
        words: What the columns of the probes are called.
        seek: Probes of the first half, standardised by its real samples.
        judge: The same of the second half.
        seek_features: Features of the first half, whitened by all real samples of it.
        judge_features: The same of the second half.
        places: Where in the sets the samples of the second half are.
        seek_places: Where those of the first half are.
        exchangeable: Features, whitened by those of both sets together, of all samples whose
            labels may be permuted: of both halves, or of the judged one where features were
            learned from the other.
        scale: The deviations by which probes were divided.
        frame: Whitens features.
    """

    words: AttributeTable
    seek: TwoSamples
    judge: TwoSamples
    seek_features: TwoSamples
    judge_features: TwoSamples
    places: TwoSamples
    seek_places: TwoSamples
    exchangeable: TwoSamples
    scale: Tensor
    frame: "_Frame"

    @classmethod
    def of(cls, real: Representation, fake: Representation, *, rng: Rng) -> Self:
        """Splits both sets and standardises them by the real samples of the first half.

        Where there are more real samples than fakes, all those of the first half whiten features.

        Raises:
            UserError: If there are too few samples.
        """
        check_number(len(real), len(fake))
        h = min(len(real), len(fake)) // 2
        found = split_halves(len(real), "real", rng=rng), split_halves(len(fake), "fake", rng=rng)
        places = [[half[:h] for half in halves] for halves in found]
        firsts = [s.at(own[0]) for s, own in zip((real, fake), places, strict=True)]
        seconds = [s.at(own[1]) for s, own in zip((real, fake), places, strict=True)]
        # Few fakes are no reason to whiten by few real samples: all of the discovery half serve.
        frame = _Frame.of(real.features[found[0][0]], rng=rng)
        whitened = [[frame(s.features) for s in half] for half in (firsts, seconds)]
        used = [torch.cat([a.features, b.features]) for a, b in zip(firsts, seconds, strict=True)]
        both = whiten_balanced(used[0], used[1], rng=rng)
        judged = TwoSamples(real=both.real[h:], fake=both.fake[h:])
        near = [
            (nearness(z[:h]), nearness(z[h:])) if real.learned else torch.split(nearness(z), h)
            for z in (both.real, both.fake)
        ]
        named = [
            [_with_repeats(s, near[i][k]) for i, s in enumerate(half)]
            for k, half in enumerate((firsts, seconds))
        ]
        mean, std = named[0][0].values.mean(0), named[0][0].values.std(0)
        live = std > 1e-9 * (1 + mean.abs())
        std = torch.where(live, std, torch.ones_like(std))
        scaled = [[(p.values - mean) / std * live for p in half] for half in named]
        return cls(
            words=named[0][0],
            seek=TwoSamples(real=scaled[0][0], fake=scaled[0][1]),
            judge=TwoSamples(real=scaled[1][0], fake=scaled[1][1]),
            seek_features=TwoSamples(real=whitened[0][0], fake=whitened[0][1]),
            judge_features=TwoSamples(real=whitened[1][0], fake=whitened[1][1]),
            places=TwoSamples(real=places[0][1], fake=places[1][1]),
            seek_places=TwoSamples(real=places[0][0], fake=places[1][0]),
            exchangeable=judged if real.learned else both,
            scale=std,
            frame=frame,
        )


def check_number(real: int, fake: int) -> None:
    """Checks that there are enough samples of both sets.

    Raises:
        UserError: If there are too few.
    """
    if min(real, fake) < FEWEST:
        raise UserError(
            f"A list of flaws needs at least {FEWEST} samples of each set. Got {real} real and "
            f"{fake} fake ones."
        )


def split_halves(n: int, name: Literal["real", "fake"], *, rng: Rng) -> tuple[Tensor, Tensor]:
    """Returns the places of the discovery half and those of the judging half of a set.

    The two depend on the size of this set and on the seed alone, so that what is learned from the
    discovery half has not seen a judged sample, whatever the set is compared with.
    """
    order = torch.randperm(n, generator=rng.stream(f"halves/{name}"), device=rng.device).cpu()
    return order[: n // 2], order[n // 2 :]


@final
@dataclass(frozen=True, slots=True)
class _Frame:
    """Leading directions of real features, scaled to unit variance."""

    mean: Tensor
    scale: Tensor
    outward: Tensor

    @classmethod
    def of(cls, x: Tensor, *, rng: Rng) -> Self:
        z = x.double()
        mean = z.mean(0)
        size = (z - mean).pow(2).mean().sqrt().clamp_min(1e-12)
        z = (z - mean) / size
        wide = z.shape[1] > _WIDE
        found = leading(lambda: [z], _KEPT, rng=rng.stream("frame")) if wide else exact([z])
        kept = found.values[:_KEPT]
        deviation = (kept + _SHRINK * kept.mean()).sqrt().clamp_min(1e-12)
        return cls(mean=mean, scale=size, outward=found.vectors[:, :_KEPT] / deviation)

    def __call__(self, x: Tensor) -> Tensor:
        z = (x.double() - self.mean) / self.scale
        # A few samples far out must not decide what a direction is.
        return (z @ self.outward).clamp(-_OUTERMOST, _OUTERMOST)


def _with_repeats(seen: Representation, near: Tensor) -> AttributeTable:
    """Returns the probes, and how near the nearest sample of the set's other half is.

    In units of the mean distance, so that contrast does not matter. These numbers depend on each
    other across the halves: their p-value is that of ``repeats_p``.
    """
    return seen.probes.with_more(AttributeTable(words=(NEAREST_DISTANCE,), values=near[:, None]))


def whiten_balanced(real: Tensor, fake: Tensor, *, rng: Rng) -> TwoSamples:
    """Returns as many features of both, whitened by all of them together."""
    n = min(len(real), len(fake))
    frame = _Frame.of(torch.cat([real[:n], fake[:n]]), rng=rng)
    return TwoSamples(real=frame(real[:n]), fake=frame(fake[:n]))


def nearness(z: Tensor) -> Tensor:
    """Returns how near the nearest sample of the other half of these is, shape ``(n,)``."""
    first, second = z[: len(z) // 2], z[len(z) // 2 :]
    return torch.cat([_nearest(first, second), _nearest(second, first)])


def _nearest(own: Tensor, other: Tensor) -> Tensor:
    return torch.cat([_nearness(own[block], other) for block in blocks(len(own), len(other))])


def _nearness(own: Tensor, other: Tensor) -> Tensor:
    distances = squared_distances(own, other).sqrt()
    return nearness_of(distances.min(1).values, distances.mean(1))


def nearness_of(nearest: Tensor, mean: Tensor) -> Tensor:
    """Returns the log-ratio of the nearest distance to the mean distance."""
    return (nearest / mean.clamp_min(1e-12) + 0.1).log()
