"""What may have happened to samples: known damages, and what each does to real samples."""

from collections.abc import Callable, Mapping, Sequence
from typing import final

import torch
from torch import Tensor

from gantlet.critics.halves import Seen
from gantlet.data.damage import Cause

# Strengths at which each damage is looked at alone.
GRID = (0.15, 0.3, 0.45, 0.6, 0.8, 1.0)
# At strength 1 a class has five times its weight.
_MORE = 4.0

Strengths = Mapping[str, float]
"""How strong each of some damages is, in (0, 1], by name."""


@final
class Causes:
    """Real samples on which causes are tried.

    Args:
        known: The damages of single samples, in the order in which they are done.
        x: The samples, as ``known`` wants them.
        see: Measures samples; the measurements are those of the list.
        every: Returns real samples by their places, likewise.
        alone: What is known already of what each damage does alone.
    """

    def __init__(
        self,
        known: Sequence[Cause],
        x: Tensor,
        see: Callable[[Tensor], Seen],
        every: Callable[[Tensor], Tensor],
        alone: dict[str, Tensor] | None = None,
    ) -> None:
        self._given, self._x, self._see, self._every = known, x, see, every
        self.before = see(x)
        self.known = {c.name: c for c in (*known, *_classes(self.before))}
        self._alone: dict[str, Tensor] = {} if alone is None else alone

    def of(self, every: Callable[[Tensor], Tensor]) -> "Causes":
        """Returns the same for other real samples of the same kind; what is known is shared."""
        return Causes(self._given, self._x, self._see, every, self._alone)

    def moved(self, strengths: Strengths) -> Tensor:
        """Returns how far damages together move the mean of each measurement, shape ``(d,)``."""
        if not strengths:
            return torch.zeros_like(self.before.probes.values[0])
        values, weights = self.damaged(strengths).probes.values, self._weights(strengths)
        return weights @ values / weights.sum() - self.before.probes.values.mean(0)

    def alone(self, name: str) -> Tensor:
        """Returns how far one damage alone moves the means, shape ``(len(GRID), d)``."""
        if name not in self._alone:
            self._alone[name] = torch.stack([self.moved({name: s}) for s in GRID])
        return self._alone[name]

    def damaged(self, strengths: Strengths) -> Seen:
        """Returns what is seen of the samples once they are damaged; classes stay as they are."""
        changed = self._changed(self._x, strengths)
        return self.before if changed is self._x else self._see(changed)

    def remade(self, places: Tensor, real: Seen, strengths: Strengths) -> Seen:
        """Returns what is seen of real samples with damages, in the damaged shares of classes.

        Args:
            places: Where the samples are.
            real: What is seen of them undamaged.
            strengths: The damages.
        """
        weights = self._weights(strengths, real)
        # Evenly spaced steps through the weights choose samples without drawing.
        count = max(2, int(weights.sum() / weights.max()))
        steps = (torch.arange(count, device=weights.device) + 0.5) / count * weights.sum()
        chosen = torch.searchsorted(weights.cumsum(0), steps.to(weights)).clamp(max=len(real) - 1)
        if not any(self.known[name].apply for name in strengths):
            return real.at(chosen)
        return self._see(self._changed(self._every(places[chosen]), strengths))

    def _changed(self, x: Tensor, strengths: Strengths) -> Tensor:
        for name, cause in self.known.items():
            if name in strengths and cause.apply is not None:
                x = cause.apply(x, strengths[name])
        return x

    def _weights(self, strengths: Strengths, seen: Seen | None = None) -> Tensor:
        probes = (seen or self.before).probes
        labels = [word.label for word in probes.words]
        weights = torch.ones_like(probes.values[:, 0])
        for name, strength in strengths.items():
            cause = self.known[name]
            if cause.one is not None:
                p = probes.values[:, labels.index(cause.one)]
                weights = weights * (1 + (_MORE if cause.is_more else -1) * strength * p)
        return weights.clamp_min(1e-6)


def _classes(seen: Seen) -> list[Cause]:
    found: list[Cause] = []
    shares = [w for w in seen.probes.words if w.label is not None]
    for word in shares:
        topic = frozenset({word.topic})
        found += [
            Cause(
                name=f"{side} of {word.topic}",
                about=topic,
                against=topic,
                one=word.label,
                is_more=is_more,
            )
            for side, is_more in (("less", False), ("more", True))
        ]
    return found
