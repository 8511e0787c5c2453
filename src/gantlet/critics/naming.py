"""Gives a direction the name of the measurement that explains it."""

import math
import statistics
from typing import final

import torch
from torch import Tensor

from gantlet.core.estimate import Estimate
from gantlet.core.rng import Rng
from gantlet.critics.flaw import Flaw, Naming
from gantlet.critics.halves import Halves, Pair
from gantlet.critics.line import Gap, accuracy, p_values, score_of
from gantlet.critics.named import title_of

# A name must explain a direction at least so well, as a correlation.
_EXPLAINS = 0.3
# A measurement whose mean is shifted by less, in deviations, is not called too low or too high.
_SHIFTED = 0.1


@final
class Namer:
    """Names directions by the measurements that explain them.

    Args:
        halves: The samples.
        permutations: How often labels are dealt out to see which measurements differ at all.
        rng: Deals them out.
        told: Which measurements may give a name, shape ``(d,)``; None for all.
    """

    def __init__(
        self, halves: Halves, permutations: int, rng: Rng, told: Tensor | None = None
    ) -> None:
        self._words, self._values = halves.words.words, halves.judge
        self._follows = halves.words.follows()
        self._shift = halves.judge.shift()
        self._p = p_values(
            halves.judge.real,
            halves.judge.fake,
            permutations=permutations,
            rng=rng.stream("probes/p"),
        )
        if told is not None:
            self._p = torch.where(told, self._p, torch.ones_like(self._p))

    def flaw(self, first: Pair, second: Pair, apart: Gap, p: float, *, number: int) -> Flaw:
        """Returns a direction as a flaw, with a name where one explains it."""
        score = score_of(first.real, first.fake)
        naming = self._naming(second, Pair(real=score(second.real), fake=score(second.fake)))
        title = f"unnamed direction {number}"
        if naming is not None:
            names = [w.name for w in self._words]
            j = names.index(naming.probe)
            title = title_of(self._words[j], float(self._shift[j]))
            if apart.kind != "location" and abs(float(self._shift[j])) < _SHIFTED:
                title = f"{naming.probe}: unlike spread"
        return Flaw(
            title=title,
            naming=naming,
            size=apart.size,
            kind=apart.kind,
            accuracy=accuracy(score, second.real, second.fake),
            p=p,
            shift=apart.shift,
            seek=first,
            judge=second,
        )

    def _naming(self, values: Pair, scores: Pair) -> Naming | None:
        """Returns the measurement that goes along most with a direction, or with its score.

        Correlations are within each set, and the measurement must differ between the sets.
        """
        if not self._words:
            return None
        own = self._values
        if len(scores.real) != len(own.real):
            # Other real samples took the place of these.
            none = own.real[:0]
            own, values, scores = (
                Pair(real=none[:, 0] if z.fake.ndim == 1 else none, fake=z.fake)
                for z in (own, values, scores)
            )
        probes = torch.cat([z - z.mean(0) for z in (own.real, own.fake)])
        both = torch.stack([_agreement(probes, v) for v in (values, scores)]).abs().amax(0)
        both = both * (self._p <= 0.05 / len(self._words))
        first, last = (
            self._named(both * own, len(probes)) for own in (~self._follows, self._follows)
        )
        return first or last

    def _named(self, agreement: Tensor, n: int) -> Naming | None:
        j = int(agreement.argmax())
        found = correlation(float(agreement[j]), n)
        if found.low is None or found.low < _EXPLAINS:
            return None
        word = self._words[j]
        return Naming(probe=word.name, topic=word.topic, agreement=found)


def correlation(r: float, n: int) -> Estimate:
    """Returns a correlation with the interval of Fisher's z.

    Example:
        >>> e = correlation(0.5, 103)
        >>> round(e.low, 3), e.value, round(e.high, 3)
        (0.339, 0.5, 0.632)
    """
    r = min(max(r, -0.999999), 0.999999)
    half = statistics.NormalDist().inv_cdf(0.975) / math.sqrt(max(n - 3, 1))
    low, high = (math.tanh(math.atanh(r) + side * half) for side in (-1, 1))
    method = "correlation within each set on held-out samples, Fisher's z"
    return Estimate(value=r, low=low, high=high, n=n, method=method)


def _agreement(probes: Tensor, other: Pair) -> Tensor:
    v = torch.cat([other.real - other.real.mean(), other.fake - other.fake.mean()])
    size = (probes.norm(dim=0) * v.norm()).clamp_min(1e-12)
    found: Tensor = v @ probes / size
    return found
