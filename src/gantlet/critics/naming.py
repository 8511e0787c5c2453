"""Gives a direction the name of the measurement that explains it."""

import math
import statistics
from typing import final

import torch
from torch import Tensor

from gantlet.core.estimate import Estimate
from gantlet.critics.flaw import Flaw, Naming
from gantlet.critics.halves import Halves
from gantlet.critics.line import Gap, Pair, accuracy, score_of
from gantlet.critics.named import title_of

# A name must explain a direction at least so well, as a correlation.
_EXPLAINS = 0.3
# A measurement whose mean is shifted by less, in deviations, is not called too low or too high.
_SHIFTED = 0.1
# Deviations: nearer to the middle than this, distances do not count.
_NEAR = 0.1
# Of all measurements together.
_LEVEL = 0.05


@final
class Namer:
    """Names directions by the measurements that explain them.

    A measurement may give a name if its mean or its spread differs between the sets on held-out
    samples, by Welch's test at a level of 5 % over all measurements and both.

    Args:
        halves: The samples.
        told: Which measurements may give a name, shape ``(d,)``; None for all.
    """

    def __init__(self, halves: Halves, told: Tensor | None = None) -> None:
        self._words, self._values = halves.words.words, halves.judge
        self._follows = halves.words.follows()
        self._shift = halves.judge.shift()
        spread = _spread(halves.judge, halves.seek.real)
        self._wider = spread.shift()
        level = _LEVEL / 2 / max(len(self._words), 1)
        self._is_shifted, self._is_wider = (
            welch(z.real, z.fake) <= level for z in (halves.judge, spread)
        )
        self._may = self._is_shifted | self._is_wider
        if told is not None:
            self._may &= told

    def flaw(self, first: Pair, second: Pair, apart: Gap, p: float, *, number: int) -> Flaw:
        """Returns a direction as a flaw, with a name where one explains it."""
        score = score_of(first.real, first.fake)
        naming = self._naming(second, Pair(real=score(second.real), fake=score(second.fake)))
        return Flaw(
            title=f"unnamed direction {number}" if naming is None else self._title(naming, apart),
            naming=naming,
            size=apart.size,
            kind=apart.kind,
            accuracy=accuracy(score, second.real, second.fake),
            p=p,
            shift=apart.shift,
            seek=first,
            judge=second,
        )

    def _title(self, naming: Naming, apart: Gap) -> str:
        """Returns what a direction is called: by the mean of its measurement, or by its spread."""
        j = [w.name for w in self._words].index(naming.probe)
        shift = float(self._shift[j])
        by_mean = bool(self._is_shifted[j]) and abs(shift) >= _SHIFTED
        if bool(self._is_wider[j]) and not by_mean:
            return f"{naming.probe}: spread too {'large' if self._wider[j] > 0 else 'small'}"
        if apart.kind == "location" or by_mean:
            return title_of(self._words[j], shift)
        return f"{naming.probe}: unlike shape"

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
        both = both * self._may
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


def _spread(z: Pair, learn: Tensor) -> Pair:
    """Returns how far numbers lie from the median of ``learn``, on a logarithmic scale.

    So a difference of the means is never larger as one of the spreads.
    """
    if not len(learn) or not learn.shape[1]:
        return z
    middle = learn.median(0).values
    real, fake = (((v - middle).abs() + _NEAR).log() for v in (z.real, z.fake))
    return Pair(real=real, fake=fake)


def welch(real: Tensor, fake: Tensor) -> Tensor:
    """Returns the p-values of a difference of the means, for each column, shape ``(d,)``.

    Source: Welch, 1947, https://doi.org/10.1093/biomet/34.1-2.28.

    Differs from the paper: the normal distribution, which is near enough for a name.
    """
    error = (real.var(0) / len(real) + fake.var(0) / len(fake)).sqrt()
    z = (fake.mean(0) - real.mean(0)).abs() / error.clamp_min(1e-12)
    found: Tensor = torch.special.erfc(z / math.sqrt(2))
    return found


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
