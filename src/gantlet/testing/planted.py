"""Samples with planted flaws of known size."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, final

import torch
from torch import Tensor

from gantlet.core.data import Space
from gantlet.core.rng import Rng
from gantlet.domains.attributes import NEAREST_DISTANCE
from gantlet.domains.corruptions import (
    blur,
    brighter,
    contrasted,
    duplicated,
    hue,
    in_levels,
    jpeg,
    noise,
    patterned,
    with_right_halves,
)
from gantlet.flaws.split import DiscoveryValidation, Representation
from gantlet.stats.wasserstein import wasserstein

# ----------------------------------------------------------------------------
# The kinds of flaws that can be planted, what each is about, and how strong it may be.
# ----------------------------------------------------------------------------

Apply = Callable[[Tensor, Space, float, torch.Generator], Tensor]
"""Damages samples of a space, the strength in [0, 1]; strength 0 is the weakest, not none."""


@final
@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of flaw.

    Attributes:
        about: The topics of the measurements it is about; for classes they depend on which one.
        apply: Damages single images.
        fits: What samples can have it: any, images in colour, or images of several JPEG blocks.
    """

    about: frozenset[str]
    apply: Apply
    fits: Literal["any", "colour", "blocks"] = "any"

    def suits(self, space: Space) -> bool:
        """Says whether images of ``space`` can have it."""
        channels, *size = space.shape
        return {"any": True, "colour": channels == 3, "blocks": min(size) >= 16}[self.fits]


IMAGE_KINDS: Mapping[str, Kind] = {
    "mean shift": Kind(
        frozenset({"brightness"}),
        lambda x, space, s, _: in_levels(
            brighter(x, _top(space) * (0.05 + 0.15 * s)), space.levels
        ),
    ),
    "contrast": Kind(
        frozenset({"contrast"}),
        lambda x, space, s, _: in_levels(contrasted(x, 1 - (0.15 + 0.35 * s)), space.levels),
    ),
    "blur": Kind(
        frozenset({"fine detail"}),
        lambda x, space, s, _: blur(x, space.levels, (0.5 + 0.6 * s) * 4 / x.shape[2]),
    ),
    "noise": Kind(
        frozenset({"fine detail"}),
        lambda x, space, s, rng: noise(x, space.levels, 0.04 + 0.16 * s, rng),
    ),
    "checkerboard": Kind(
        frozenset({"checkerboard"}),
        lambda x, space, s, _: patterned(
            x, "checkerboard", 1.0, _top(space), 2 * (0.01 + 0.05 * s)
        ),
    ),
    "jpeg": Kind(
        frozenset({"block edges", "fine detail"}),
        lambda x, space, s, _: jpeg(x, space.levels or 256, 0.3 + 0.5 * s),
        "blocks",
    ),
    "hue": Kind(
        frozenset({"colour"}),
        lambda x, space, s, _: hue(x, space.levels, 0.1 + 0.4 * s),
        "colour",
    ),
    "lost correlation": Kind(
        frozenset({"middle seam", "mirror symmetry"}),
        lambda x, _, s, rng: halves_swapped(x, 0.3 + 0.7 * s, rng),
    ),
    "copies": Kind(
        frozenset({"distance to the nearest other"}),
        lambda x, _, s, rng: duplicated(x, 0.3 + 0.6 * s, rng),
    ),
}
"""Kinds that damage images, in the order in which they are planted; copies last, so that nothing
parts them again."""

CLASS_KINDS = ("dropped class", "over-represented class")
"""Kinds that choose other samples; planted before all others."""

KINDS = (*CLASS_KINDS, *IMAGE_KINDS)
"""All kinds, in the order in which they are planted."""

# One of each cannot be told in a list: noise laid over blur hides it, and the share of a class
# cannot go both ways.
OPPOSED = (frozenset({"blur", "noise"}), frozenset(CLASS_KINDS))


def halves_swapped(x: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """Returns images of which a share has the right half of another one: a lost correlation."""
    count = round(share * len(x))
    others = torch.randperm(len(x), generator=rng, device=rng.device).to(x.device)
    return with_right_halves(x, torch.arange(count, device=x.device), others[:count])


def _top(space: Space) -> float:
    return float((space.levels or 2) - 1)


# ----------------------------------------------------------------------------
# Which flaws are planted together, and planting them.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Samples and their classes.

    Attributes:
        x: Shape ``(n, c, h, w)``, whole levels.
        y: Shape ``(n,)``.
    """

    x: Tensor
    y: Tensor

    def at(self, places: Tensor) -> "Labelled":
        """Returns some of them."""
        return Labelled(x=self.x[places], y=self.y[places])


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """One flaw to plant.

    Attributes:
        kind: One of ``KINDS``.
        strength: From 0, the weakest, to 1, the strongest.
        one: The class that is dropped or over-represented.
    """

    kind: str
    strength: float
    one: int = 0

    @property
    def about(self) -> frozenset[str]:
        """The topics of the measurements that the flaw is about."""
        if self.kind in CLASS_KINDS:
            return frozenset({f"class {self.one}"})
        return IMAGE_KINDS[self.kind].about


def random_plan(
    space: Space, *, classes: int, rng: torch.Generator, most: int = 5
) -> list[Planted]:
    """Returns 1 to ``most`` flaws of different kinds and random strength, in order of planting.

    Args:
        space: What one sample is.
        classes: How many classes there are; 0 if they shall be left alone.
        rng: Draws.
        most: How many at most. Of two that cannot be told together only one is kept.
    """
    possible = [k for k in KINDS if k not in IMAGE_KINDS or IMAGE_KINDS[k].suits(space)]
    possible = possible if classes else [k for k in possible if k not in CLASS_KINDS]
    count = 1 + int(torch.randint(most, (1,), generator=rng))
    chosen: list[str] = []
    for i in torch.randperm(len(possible), generator=rng).tolist():
        kind = possible[i]
        if len(chosen) < count and not any(frozenset((kind, c)) in OPPOSED for c in chosen):
            chosen.append(kind)
    one = int(torch.randint(max(classes, 1), (1,), generator=rng))
    strengths = torch.rand(len(chosen), generator=rng).tolist()
    plan = [Planted(kind=k, strength=s, one=one) for k, s in zip(chosen, strengths, strict=True)]
    return sorted(plan, key=lambda p: KINDS.index(p.kind))


def plant(
    plan: Sequence[Planted], given: Labelled, space: Space, n: int, *, rng: torch.Generator
) -> Tensor:
    """Returns ``n`` damaged samples in random order.

    Args:
        plan: What is wrong with them, in order of planting.
        given: Real samples; more than ``n`` where a class is over-represented.
        space: What one sample is.
        n: How many are wanted; fewer come if there are no more.
        rng: Draws noise, copies, partners and the order.
    """
    made = given
    for flaw in plan:
        if flaw.kind in CLASS_KINDS:
            made = made.at(places_with_share(flaw, made.y, n, rng=rng))
    x = made.x[:n]
    for flaw in plan:
        if flaw.kind in IMAGE_KINDS:
            x = IMAGE_KINDS[flaw.kind].apply(x, space, flaw.strength, rng)
    return x[torch.randperm(len(x), generator=rng, device=rng.device).to(x.device)]


def places_with_share(flaw: Planted, y: Tensor, n: int, *, rng: torch.Generator) -> Tensor:
    """Returns places of at most ``n`` samples in random order, none twice.

    One class has another share among them: down to nothing, up to threefold, as far as there are
    enough samples of it.
    """
    own, others = (y == flaw.one).nonzero()[:, 0], (y != flaw.one).nonzero()[:, 0]
    amount = 0.6 + 0.4 * flaw.strength
    factor = 1 - amount if flaw.kind == "dropped class" else 1 + 2 * amount
    count = min(round(factor * len(own) / len(y) * n), len(own))
    places = torch.cat([own[:count], others[: n - count]])
    return places[torch.randperm(len(places), generator=rng, device=rng.device).to(y.device)]


# ----------------------------------------------------------------------------
# How large a planted flaw truly is: what it does when it is planted alone, on a large sample.
# ----------------------------------------------------------------------------

Extract = Callable[[Tensor], Representation]
"""Measures samples as the list does that is to be tested."""

_DRAWS = 4


@final
@dataclass(frozen=True, slots=True)
class Effect:
    """What a flaw does to a measurement, in deviations of real samples.

    Attributes:
        size: The Wasserstein distance of order 2: what the list calls a size, without its noise.
        shift: The difference of the means without its sign: what decides whether it can be found.
    """

    size: float
    shift: float

    def larger(self, other: "Effect") -> "Effect":
        """Returns the larger of both, in each part."""
        return Effect(max(self.size, other.size), max(self.shift, other.shift))


_NONE = Effect(0.0, 0.0)


def true_effects(
    flaw: Planted, large: Labelled, space: Space, see: Extract, *, n: int, of: int
) -> dict[str, Effect]:
    """Returns by topic how far a flaw alone moves measurements, in deviations of real samples.

    Between a large sample and the same sample damaged, the largest over the measurements of a
    topic. Where
    classes are chosen, between the large sample and the part of it with those shares. How near
    the nearest other sample lies depends on how many there are: it is measured in sets of the
    size ``n`` that the list gets, as a mean over draws.

    Args:
        flaw: The flaw.
        large: The large sample.
        space: What one sample is.
        see: Measures samples.
        n: How many samples a set has in which the flaw is planted.
        of: From how many they are chosen where classes are.
    """
    rng = Rng(0)
    if flaw.kind == "copies":
        return {NEAREST_DISTANCE.topic: _nearer(flaw, large, space, see, n)}
    m = len(large.y)
    before = see(large.x)
    if flaw.kind in CLASS_KINDS:
        count = min(round(n * m / of), m)
        after = see(large.at(places_with_share(flaw, large.y, count, rng=rng.stream("truth"))).x)
    else:
        after = see(plant([flaw], large, space, m, rng=rng.stream("truth")))
    return _by_topic(before, after, before.probes.values.std(0))


def true_effect(flaw: Planted, effects: Mapping[str, Effect]) -> Effect:
    """Returns the effect of a flaw on the measurements that it is about."""
    found = _NONE
    for topic in flaw.about:
        found = found.larger(effects.get(topic, _NONE))
    return found


def effects_among(
    flaw: Planted, plan: Sequence[Planted], large: Labelled, space: Space, see: Extract
) -> dict[str, Effect]:
    """Returns the increment of one corruption of images over others, by topic.

    Nothing is left of weak noise once a JPEG file has gone over it: no list can find that.

    Args:
        flaw: One of the plan, no copies and no choice of classes.
        plan: All that is planted; copies and choices of classes are left out.
        large: The large sample.
        space: What one sample is.
        see: Measures samples.
    """
    single = [p for p in plan if p.kind not in (*CLASS_KINDS, "copies")]
    rest = [p for p in single if p != flaw]
    without, within = (
        see(plant(p, large, space, len(large.y), rng=Rng(0).stream("among")))
        for p in (rest, single)
    )
    scale = see(large.x).probes.values.std(0)
    return _by_topic(without, within, scale)


def side_effects(effects: Sequence[Mapping[str, Effect]], smallest: float) -> frozenset[str]:
    """Returns the topics that any of the flaws, planted alone, shifts by at least ``smallest``.

    Blur lowers contrast and turning hues changes their strength: a list that says so is not wrong,
    even if it does not name the damage.
    """
    return frozenset(t for found in effects for t, e in found.items() if e.shift >= smallest)


def _by_topic(before: Representation, after: Representation, scale: Tensor) -> dict[str, Effect]:
    found: dict[str, Effect] = {}
    for j, word in enumerate(before.probes.words):
        effect = _effect(before.probes.values[:, j], after.probes.values[:, j], scale[j])
        found[word.topic] = effect.larger(found.get(word.topic, _NONE))
    return found


def _effect(before: Tensor, after: Tensor, scale: Tensor) -> Effect:
    x, y = (v.sort().values[None] / scale.clamp_min(1e-9) for v in (before, after))
    return Effect(float(wasserstein(x, y, 2).sqrt()), abs(float(y.mean() - x.mean())))


def _nearer(flaw: Planted, large: Labelled, space: Space, see: Extract, n: int) -> Effect:
    found: list[Effect] = []
    for k in range(_DRAWS):
        rng = Rng(k).stream("truth")
        order = torch.randperm(len(large.y), generator=rng)
        n = min(n, len(order) // 2)
        damaged = plant([flaw], large.at(order[n : 2 * n]), space, n, rng=rng)
        halves = DiscoveryValidation.of(see(large.x[order[:n]]), see(damaged), rng=Rng(k))
        real, fake = halves.judge.real[:, -1], halves.judge.fake[:, -1]
        found.append(_effect(real, fake, real.std()))
    return Effect(fmean(e.size for e in found), fmean(e.shift for e in found))
