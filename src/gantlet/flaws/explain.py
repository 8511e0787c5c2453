"""Corruptions that explain a list of flaws."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self, final

import torch
from torch import Tensor

from gantlet.domains.attributes import AttributeTable
from gantlet.domains.corruptions import Cause
from gantlet.flaws.split import Representation

# Severities at which each corruption is measured alone.
GRID = (0.15, 0.3, 0.45, 0.6, 0.8, 1.0)
# At strength 1 a class has five times its weight.
_MORE = 4.0

Strengths = Mapping[str, float]
"""Severities of corruptions, in (0, 1], by name."""


@final
class Causes:
    """Real samples on which causes are tried.

    Args:
        known: The corruptions of single samples, in the order of application.
        x: The samples, as ``known`` wants them.
        measure: Returns the attributes of such samples; they are those of the list.
        extract: Returns their features, shape ``(n, d)``. Corruptions are chosen by attributes
            alone, so that only samples with all that were found need features.
        every: Returns real samples by their places, likewise.
        alone: Effects of single corruptions measured before.
    """

    def __init__(
        self,
        known: Sequence[Cause],
        x: Tensor,
        *,
        measure: Callable[[Tensor], AttributeTable],
        extract: Callable[[Tensor], Tensor],
        every: Callable[[Tensor], Tensor],
        alone: dict[str, Tensor] | None = None,
    ) -> None:
        self._given, self._x, self._every = known, x, every
        self._measure, self._extract = measure, extract
        self.before = measure(x)
        self.known = {c.name: c for c in (*known, *_classes(self.before))}
        self._alone: dict[str, Tensor] = {} if alone is None else alone

    def of(self, every: Callable[[Tensor], Tensor]) -> "Causes":
        """Returns the same for other real samples of the same kind; what is known is shared."""
        return Causes(
            self._given,
            self._x,
            measure=self._measure,
            extract=self._extract,
            every=every,
            alone=self._alone,
        )

    def moved(self, strengths: Strengths) -> Tensor:
        """Returns the joint shift of each mean by all corruptions, shape ``(d,)``."""
        if not strengths:
            return torch.zeros_like(self.before.values[0])
        values, weights = self._damaged(strengths).values, self._weights(strengths)
        return weights @ values / weights.sum() - self.before.values.mean(0)

    def alone(self, name: str) -> Tensor:
        """Returns the shifts of the means by one corruption alone, shape ``(len(GRID), d)``."""
        if name not in self._alone:
            self._alone[name] = torch.stack([self.moved({name: s}) for s in GRID])
        return self._alone[name]

    def _damaged(self, strengths: Strengths) -> AttributeTable:
        """Returns the attributes of corrupted samples; classes stay as they are."""
        changed = self._changed(self._x, strengths)
        return self.before if changed is self._x else self._measure(changed)

    def remade(self, places: Tensor, real: Representation, strengths: Strengths) -> Tensor:
        """Returns features of corrupted real samples, with the corrupted class proportions.

        Args:
            places: Where the samples are.
            real: What is seen of them undamaged.
            strengths: The damages.
        """
        weights = self._weights(strengths, real.probes)
        # Evenly spaced steps through the weights choose samples without drawing.
        count = max(2, int(weights.sum() / weights.max()))
        steps = (torch.arange(count, device=weights.device) + 0.5) / count * weights.sum()
        chosen = torch.searchsorted(weights.cumsum(0), steps.to(weights)).clamp(max=len(real) - 1)
        if not any(self.known[name].apply for name in strengths):
            return real.features[chosen]
        return self._extract(self._changed(self._every(places[chosen]), strengths))

    def _changed(self, x: Tensor, strengths: Strengths) -> Tensor:
        for name, cause in self.known.items():
            if name in strengths and cause.apply is not None:
                x = cause.apply(x, strengths[name])
        return x

    def _weights(self, strengths: Strengths, seen: AttributeTable | None = None) -> Tensor:
        probes = self.before if seen is None else seen
        labels = [word.label for word in probes.words]
        weights = torch.ones_like(probes.values[:, 0])
        for name, strength in strengths.items():
            cause = self.known[name]
            if cause.one is not None:
                p = probes.values[:, labels.index(cause.one)]
                weights = weights * (1 + (_MORE if cause.is_more else -1) * strength * p)
        return weights.clamp_min(1e-6)


def _classes(seen: AttributeTable) -> list[Cause]:
    found: list[Cause] = []
    shares = [w for w in seen.words if w.label is not None]
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


# An explanation need not be exact: corruptions of one kind differ.
_SLACK, _FLOOR = 0.08, 0.04
# What follows from almost anything must only not speak against it.
_LOOSE = 0.35
# What a cause must explain, in squared deviations of what is unexplained.
_WORTH = 12.0
_MOST = 8
# So many are tried together with those chosen before, of these so many with all fitted again.
_TRIED, _FITTED = 4, 2
_STEPS = (0.1, 0.03)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Damages that together move real samples to where the fakes are.

    Attributes:
        strengths: How strong each is.
        moved: How far all of them move each measurement, shape ``(d,)``.
        others: By cause, how far the others do.
        own: By cause, which measurements identify it, shape ``(d,)``.
    """

    strengths: Strengths
    moved: Tensor
    others: Mapping[str, Tensor]
    own: Mapping[str, Tensor]

    @classmethod
    def nothing(cls, d: int) -> Self:
        """Explains nothing."""
        return cls(strengths={}, moved=torch.zeros(d).double(), others={}, own={})

    def part(self, name: str) -> Tensor:
        """Returns the increment of one corruption over the others, shape ``(d,)``."""
        return self.moved - self.others[name]

    def widened(self) -> Self:
        """Returns the same with one more measurement, which it does not explain."""

        def wide(v: Tensor) -> Tensor:
            return torch.cat([v, v.new_zeros(1)])

        return replace(
            self,
            moved=wide(self.moved),
            others={k: wide(v) for k, v in self.others.items()},
            own={k: wide(v) for k, v in self.own.items()},
        )

    def most(self) -> Tensor:
        """Returns the sum of the shifts by single corruptions, shape ``(d,)``."""
        parts = [self.part(name).abs() for name in self.strengths]
        return torch.stack(parts).sum(0) if parts else torch.zeros_like(self.moved)


def explain(
    shift: Tensor, error: Tensor, scale: Tensor, causes: Causes, *, smallest: float
) -> Explanation:
    """Returns the corruptions that explain the shifts of measurements.

    The one that explains most is added, all strengths are fitted again, and so on, until none is
    worth it: forward selection by the effects of corruptions on real samples, all together and not
    added up.

    Args:
        shift: The differences of the means, in deviations of real samples, shape ``(d,)``.
        error: Their standard errors.
        scale: The deviations, by which effects of corruptions are divided.
        causes: The damages.
        smallest: A corruption must move one of the measurements that it is about at least so far.
    """
    fit = _Fit(shift, error, scale, causes)
    chosen: dict[str, float] = {}
    while len(chosen) < _MOST:
        better = fit.with_one_more(chosen)
        if better is None or fit.loss(better) > fit.loss(chosen) - _WORTH:
            break
        chosen = better
    return fit.explanation(fit.needed(chosen, smallest))


@final
class _Fit:
    """Strengths that bring real samples near to fake ones."""

    def __init__(self, shift: Tensor, error: Tensor, scale: Tensor, causes: Causes) -> None:
        self._shift, self._scale, self._causes = shift, scale, causes
        slack = torch.where(causes.before.follows(), _LOOSE, _SLACK)
        self._spread = (error**2 + (slack * shift) ** 2 + _FLOOR**2).sqrt()
        self._known: dict[tuple[tuple[str, float], ...], Tensor] = {(): torch.zeros_like(shift)}
        names = [word.topic for word in causes.before.words]
        self._own = {
            c.name: torch.tensor([topic in c.about for topic in names])
            for c in causes.known.values()
        }

    def moved(self, strengths: Strengths) -> Tensor:
        key = tuple(sorted(strengths.items()))
        if key not in self._known:
            self._known[key] = self._causes.moved(strengths) / self._scale
        return self._known[key]

    def loss(self, strengths: Strengths) -> float:
        return float(self._loss(self._shift - self.moved(strengths)))

    def with_one_more(self, chosen: Strengths) -> dict[str, float] | None:
        """Returns the strengths with the cause added that explains most, all fitted again."""
        rest = self._shift - self.moved(chosen)
        starts: list[tuple[float, str, float]] = []
        for cause in self._causes.known.values():
            if self._is_free(cause, chosen):
                losses = self._loss(rest - self._causes.alone(cause.name) / self._scale)
                i = int(losses.argmin())
                starts.append((float(losses[i]), cause.name, GRID[i]))
        tried = [{**chosen, n: s} for _, n, s in sorted(starts)[:_TRIED]]
        best = sorted(tried, key=self.loss)[:_FITTED]
        return min(map(self._fitted, best), key=self.loss, default=None)

    def needed(self, chosen: Strengths, smallest: float) -> dict[str, float]:
        """Returns the strengths without the causes that the others make up for."""
        kept = dict(chosen)
        for name in sorted(chosen, key=lambda n: self.loss(_without(chosen, n))):
            less = _without(kept, name)
            part = (self.moved(kept) - self.moved(less))[self._own[name]].abs()
            if self.loss(less) < self.loss(kept) + _WORTH or float(part.max()) < smallest:
                kept = less
        return kept

    def explanation(self, chosen: Strengths) -> Explanation:
        others = {name: self.moved(_without(chosen, name)) for name in chosen}
        own = {name: self._own[name] for name in chosen}
        return Explanation(strengths=chosen, moved=self.moved(chosen), others=others, own=own)

    def _loss(self, rest: Tensor) -> Tensor:
        # Beyond four deviations linear: one measurement that no cause explains must not rule.
        z = (rest / self._spread).abs()
        return torch.where(z < 4, z**2, 8 * z - 16).sum(-1)

    def _is_free(self, cause: Cause, chosen: Strengths) -> bool:
        taken = [self._causes.known[name] for name in chosen]
        return not any(cause.against & other.against for other in taken)

    def _fitted(self, start: dict[str, float]) -> dict[str, float]:
        best = start
        for step in _STEPS:
            for name in sorted(start):
                for side in (step, -step):
                    moved = {**best, name: round(min(max(best[name] + side, 0.02), 1.0), 4)}
                    best = min(best, moved, key=self.loss)
        return best


def _without(strengths: Strengths, name: str) -> dict[str, float]:
    return {n: s for n, s in strengths.items() if n != name}
