"""Which flaws are planted together, and planting them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.core.space import Space
from gantlet.testing.damage.kinds import CLASS_KINDS, IMAGE_KINDS, KINDS, OPPOSED


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
