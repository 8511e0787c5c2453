"""The Geometry Score: do both sets have the same number of holes?"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor

from gantlet.core.estimate import Better, Estimate
from gantlet.core.measure import Sees
from gantlet.core.spec import Between
from gantlet.metrics.geometry_living import TooDenseError, living_times
from gantlet.metrics.inputs import pair, too_few
from gantlet.metrics.intervals import Variance, around

_FOLDS = 10
_METHOD = (
    "{} runs on {} samples of each, gamma {:.3g}; plain {:.4g}, less its bias; bias and interval "
    "from the spread over runs, which is that of landmarks, and over {} folds of the samples; "
    "too narrow for a few hundred samples and often too wide for more: it held 69 to 100 % in "
    "simulations"
)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class GeometryScore:
    """The squared difference of the mean relative living times of holes, from 0 to 2.

    How long a cloud of points has 0, 1, 2, ... one-dimensional holes while balls around landmarks
    grow. Sees shape alone: neither where the sets lie nor how large they are. The larger set is
    thinned to the size of the smaller, since the number of samples changes the shape. Needs
    gudhi: install ``gantlet[topology]``.

    Source: Khrulkov and Oseledets, 2018, https://arxiv.org/abs/1802.02664, section 5.

    Differs from the paper: landmarks without repetition, bias removed, so that it may be negative
    where the two are alike, fewer runs, as the interval shows whether they are enough, and
    outliers are left out.

    Attributes:
        landmarks: How many landmarks a run draws.
        gamma: The end of time, over the largest distance to a landmark, outliers aside; the
            authors' choice, ``n / 640000``, where none is given.
        most: How many numbers of holes are told apart.
        runs: How many times landmarks are drawn for each set.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = True

    landmarks: Annotated[int, Between(4, 4096)] = 64
    gamma: Annotated[float, Between(0)] | None = None
    most: Annotated[int, Between(1, 10_000)] = 100
    runs: Annotated[int, Between(20, 1_000_000)] = 100

    def measure(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Estimate:
        """Compares features, shapes ``(n, d)`` and ``(m, d)``; ``rng`` thins, draws and folds.

        Raises:
            UserError: If the features cannot be compared, or gudhi is not installed.
        """
        x, y = pair(real, fake)
        if reason := too_few(x, y, 2 * _FOLDS):
            return Estimate.missing(reason, better=self.better)
        n = min(len(x), len(y))
        gamma = self.gamma or n / 640_000
        try:
            a, b = (self._look(z[_order(z, rng)[:n]], gamma, rng) for z in (x, y))
        except TooDenseError as error:
            return Estimate.missing(str(error), better=self.better)
        # Only the squared difference is left of where either lies.
        way, spread = a.mean - b.mean, a.spread + b.spread
        plain, bias = float(way @ way), float(spread.trace())
        first, second = 4 * float(way @ spread @ way), 2 * float((spread**2).sum())
        method = _METHOD.format(self.runs, n, gamma, plain, _FOLDS)
        variance = Variance.of_squares(max(first, 0.0) + second, 2 * (_FOLDS - 1))
        return around(plain - bias, variance, n=n, method=method).named(
            unit=self.unit, better=self.better
        )

    def _look(self, x: Tensor, gamma: float, rng: torch.Generator) -> "_Shape":
        """Returns the mean living times of ``x``, whose rows are in random order."""
        whole = self._live(x, gamma, self.runs, rng)
        each = math.ceil(self.runs / _FOLDS)
        folds = torch.stack(
            [self._live(fold, gamma, each, rng) for fold in x.tensor_split(_FOLDS)]
        )
        # Means of folds differ by their samples, and by their landmarks less by runs.
        between, within = _spread(folds.mean(1)), torch.stack([_spread(f) for f in folds]).mean(0)
        of_samples = between - within / each
        if of_samples.trace() < 0:
            of_samples = torch.zeros_like(of_samples)
        return _Shape(whole.mean(0), _spread(whole) / self.runs + of_samples / _FOLDS)

    def _live(self, x: Tensor, gamma: float, runs: int, rng: torch.Generator) -> Tensor:
        return living_times(
            x, landmarks=self.landmarks, gamma=gamma, most=self.most, runs=runs, rng=rng
        )


@final
@dataclass(frozen=True, slots=True)
class _Shape:
    """Mean relative living times, shape ``(most,)``, and the covariance of that mean."""

    mean: Tensor
    spread: Tensor


def _spread(x: Tensor) -> Tensor:
    return torch.cov(x.T, correction=1).reshape(x.shape[1], x.shape[1])


def _order(x: Tensor, rng: torch.Generator) -> Tensor:
    return torch.randperm(len(x), generator=rng, device=rng.device).to(x.device)
