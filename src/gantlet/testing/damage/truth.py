"""How large a planted flaw truly is: what it does when it is planted alone, on a large sample."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import final

import torch
from torch import Tensor

from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.critics.halves import Halves, Seen
from gantlet.critics.vocabulary import REPEATS
from gantlet.metrics.sliced_transport import wasserstein
from gantlet.testing.damage.kinds import CLASS_KINDS
from gantlet.testing.damage.plan import Labelled, Planted, places_with_share, plant

See = Callable[[Tensor], Seen]
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
    flaw: Planted, large: Labelled, space: Space, see: See, *, n: int, of: int
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
        return {REPEATS.topic: _nearer(flaw, large, space, see, n)}
    m = len(large.y)
    before = see(large.x)
    if flaw.kind in CLASS_KINDS:
        count = min(round(n * m / of), m)
        after = see(large.at(places_with_share(flaw, large.y, count, rng=rng.stream("truth"))).x)
    else:
        after = see(plant([flaw], large, space, m, rng=rng.stream("truth")))
    return _by_topic(before, after, before.probes.values.std(0))


def true_effect(flaw: Planted, effects: Mapping[str, Effect]) -> Effect:
    """Returns what a flaw does to the measurements that it is about."""
    found = _NONE
    for topic in flaw.about:
        found = found.larger(effects.get(topic, _NONE))
    return found


def effects_among(
    flaw: Planted, plan: Sequence[Planted], large: Labelled, space: Space, see: See
) -> dict[str, Effect]:
    """Returns what one damage of images adds to others, by topic, on a large sample.

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


def _by_topic(before: Seen, after: Seen, scale: Tensor) -> dict[str, Effect]:
    found: dict[str, Effect] = {}
    for j, word in enumerate(before.probes.words):
        effect = _effect(before.probes.values[:, j], after.probes.values[:, j], scale[j])
        found[word.topic] = effect.larger(found.get(word.topic, _NONE))
    return found


def _effect(before: Tensor, after: Tensor, scale: Tensor) -> Effect:
    x, y = (v.sort().values[None] / scale.clamp_min(1e-9) for v in (before, after))
    return Effect(float(wasserstein(x, y, 2).sqrt()), abs(float(y.mean() - x.mean())))


def _nearer(flaw: Planted, large: Labelled, space: Space, see: See, n: int) -> Effect:
    found: list[Effect] = []
    for k in range(_DRAWS):
        rng = Rng(k).stream("truth")
        order = torch.randperm(len(large.y), generator=rng)
        n = min(n, len(order) // 2)
        damaged = plant([flaw], large.at(order[n : 2 * n]), space, n, rng=rng)
        halves = Halves.of(see(large.x[order[:n]]), see(damaged), rng=Rng(k))
        real, fake = halves.judge.real[:, -1], halves.judge.fake[:, -1]
        found.append(_effect(real, fake, real.std()))
    return Effect(fmean(e.size for e in found), fmean(e.shift for e in found))
