"""Diversity: the Vendi score, MS-SSIM."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize
from typing_extensions import override

from gantlet.core.data import averaged, block_side
from gantlet.core.errors import UserError
from gantlet.core.estimate import Better, Estimate
from gantlet.core.metric import Groups, Sees
from gantlet.core.spec import Between, Later
from gantlet.metrics.checks import (
    about_zero,
    checked_groups,
    independent_count,
    pair,
    too_few,
    too_few_groups,
)
from gantlet.stats.intervals import Variance, around
from gantlet.stats.jackknife import ClusteredPaired, Detailed, Paired, folds, jackknife
from gantlet.stats.moments import squared_distances

# ----------------------------------------------------------------------------
# Structural similarity of images, on one scale and on several.
# ----------------------------------------------------------------------------

# Wang, Simoncelli and Bovik, 2003, section 3.2: how much each scale weighs, from fine to coarse.
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


@final
@dataclass(frozen=True, slots=True)
class Scales:
    """On which scales images are compared, and through which window.

    Attributes:
        weights: How much each scale weighs, from fine to coarse; they sum to 1.
        window: The side of the Gaussian window, in pixels.
        sigma: Its standard deviation, in pixels.
    """

    weights: tuple[float, ...]
    window: int
    sigma: float

    @classmethod
    def of(cls, height: int, width: int) -> "Scales":
        """Returns the scales of images of this size.

        As many as leave room for the window of 11 pixels on the coarsest, at most five, which
        takes 176 pixels; the weights of those that are used are made to sum to 1. Images below
        11 pixels have a smaller window on a single scale.

        Raises:
            UserError: If the images are below 3 pixels.

        Example:
            >>> len(Scales.of(256, 256).weights), len(Scales.of(28, 28).weights)
            (5, 2)
            >>> Scales.of(8, 8).window
            7
        """
        side = min(height, width)
        if side < 3:
            raise UserError(f"SSIM needs images of at least 3 x 3 pixels. Got {height} x {width}.")
        if side < _WINDOW:
            window = side - (side + 1) % 2
            return cls((1.0,), window, _SIGMA * window / _WINDOW)
        count = min(len(_WEIGHTS), int(math.log2(side / _WINDOW)) + 1)
        used = _WEIGHTS[:count]
        exact = math.fsum(used) if count < len(_WEIGHTS) else 1.0
        return cls(tuple(w / exact for w in used), _WINDOW, _SIGMA)

    @property
    def words(self) -> str:
        """The scales in words.

        Example:
            >>> Scales.of(28, 28).words
            '2 of 5 scales, window 11'
        """
        return f"{len(self.weights)} of {len(_WEIGHTS)} scales, window {self.window}"


@final
@dataclass(frozen=True, slots=True)
class Pyramid:
    """Images on all scales, with local means and variances, ready to be compared in pairs.

    Attributes:
        scales: The scales.
        images: The images on each, shapes ``(n, c, h, w)``.
        means: Their local means.
        variances: Their local variances.
    """

    scales: Scales
    images: tuple[Tensor, ...]
    means: tuple[Tensor, ...]
    variances: tuple[Tensor, ...]

    @classmethod
    def of(cls, x: Tensor) -> "Pyramid":
        """Returns the pyramid of images in [0, 1], shape ``(n, c, h, w)``.

        Raises:
            UserError: If ``x`` is not a batch of images.
        """
        if x.ndim != 4:
            raise UserError(
                f"SSIM compares images, shape (n, channels, height, width). Got {tuple(x.shape)}."
            )
        scales = Scales.of(x.shape[2], x.shape[3])
        images = [x]
        for _ in scales.weights[1:]:
            images.append(avg_pool2d(images[-1], 2))
        means = tuple(_blur(image, scales) for image in images)
        squares = (_blur(image**2, scales) for image in images)
        variances = tuple(s - m**2 for s, m in zip(squares, means, strict=True))
        return cls(scales, tuple(images), means, variances)

    def similarity(self, i: Tensor, j: Tensor) -> Tensor:
        """Returns the MS-SSIM of images ``i`` with images ``j``, shape ``(pairs,)``, at most 1."""
        return _combine(self, self, i, j)


def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """Returns the multi-scale structural similarity of each pair of images, shape ``(n,)``.

    1 where they are equal, about 0 where they have nothing in common. A negative similarity on
    any scale counts as 0.

    Source: Wang, Simoncelli and Bovik, 2003, https://doi.org/10.1109/ACSSC.2003.1292216; the
    constants of a scale from Wang et al., 2004, https://doi.org/10.1109/TIP.2003.819861: a
    Gaussian window of 11 pixels with standard deviation 1.5, ``K1`` 0.01, ``K2`` 0.03.

    Differs from the paper: images below 176 pixels have fewer scales, and below 11 a smaller
    window, see `Scales.of`; an odd row or column is left out when a scale is halved.

    Args:
        x: Images in [0, 1], shape ``(n, c, h, w)``.
        y: Images of the same shape.

    Raises:
        UserError: If they are not images.
    """
    every = torch.arange(len(x), device=x.device)
    return _combine(Pyramid.of(x), Pyramid.of(y), every, every)


def _combine(a: Pyramid, b: Pyramid, i: Tensor, j: Tensor) -> Tensor:
    found = a.images[0].new_ones(len(i))
    for level, weight in enumerate(a.scales.weights):
        mx, my = a.means[level][i], b.means[level][j]
        product = _blur(a.images[level][i] * b.images[level][j], a.scales)
        spread = a.variances[level][i] + b.variances[level][j]
        alike = (2 * (product - mx * my) + _C2) / (spread + _C2)
        if level == len(a.scales.weights) - 1:
            alike = alike * (2 * mx * my + _C1) / (mx**2 + my**2 + _C1)
        found = found * alike.mean((1, 2, 3)).clamp_min(0) ** weight
    return found


def _blur(x: Tensor, scales: Scales) -> Tensor:
    """Returns local means through the window where it fits, smaller by its side less one."""
    middle = scales.window // 2
    bell = [math.exp(-((k - middle) ** 2) / (2 * scales.sigma**2)) for k in range(scales.window)]
    bell = [b / math.fsum(bell) for b in bell]
    return _along(_along(x, bell, 2), bell, 3)


def _along(x: Tensor, bell: list[float], dim: int) -> Tensor:
    """Returns the convolution along one dimension: sums of shifted images, faster than conv2d."""
    left = x.shape[dim] - len(bell) + 1
    out = x.narrow(dim, 0, left) * bell[0]
    for k, b in enumerate(bell[1:], 1):
        out = out.add_(x.narrow(dim, k, left), alpha=b)
    return out


# ----------------------------------------------------------------------------
# MS-SSIM diversity: how alike are two fake images drawn at random?
# ----------------------------------------------------------------------------

_MS_SSIM_METHOD = (
    "mean of {} pairs of {} fake images; real ones have {}; {}; interval from the variance of "
    "a U-statistic"
)
# Numbers of one batch of pairs: 4 MB in float32.
_NUMBERS = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class MsSsim(Paired):
    """The mean MS-SSIM of pairs of fake images, from 0 to 1: lower is more diverse.

    Only a value *above* that of real images, reported in the method, is a flaw: the fakes repeat
    themselves. Noise is lower than any real data. Images only.

    Source: Odena, Olah and Shlens, 2017, https://arxiv.org/abs/1610.09585, section 4.2.

    Differs from the paper: all classes together, and smaller images have fewer scales, see
    `gantlet.metrics.diversity.Scales.of`.

    Attributes:
        pairs: Approximate number of pairs; all if there are fewer.
        side: Largest side of the images that are compared; square blocks of larger ones are
            averaged. The paper compares images of 128 pixels.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "samples"
    quadratic: ClassVar[bool] = False

    pairs: Annotated[int, Between(2)] = 2000
    side: Annotated[int, Between(3), Later()] = 128

    @override
    def detail(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Detailed:
        """Scores as ``measure`` does; the real images add nothing to the number.

        Raises:
            UserError: If they are not images, or hold NaN or infinity.
        """
        nothing = torch.zeros(len(real), dtype=torch.float64)
        least = min(len(real), len(fake))
        if least < 4:
            reason = f"needs at least 4 real and 4 fake samples, got {len(real)} and {len(fake)}"
            return Detailed(Estimate.missing(reason, better=self.better), nothing, Variance(0.0))
        words = ""
        if real.ndim == fake.ndim == 4 and (block := block_side(fake.shape[2:], self.side)) > 1:
            real, fake = averaged(real, self.side), averaged(fake, self.side)
            words = f" on averages of {block}x{block} pixels"
        known = similarity(real, self.pairs, rng=rng)
        found = similarity(fake, self.pairs, rng=rng)
        scales = Scales.of(*fake.shape[2:])
        near = f"{known.value:.3f} +/- {1.96 * math.sqrt(known.variance.value):.3f}"
        made = around(
            found.value,
            found.variance,
            n=found.images,
            method=_MS_SSIM_METHOD.format(found.pairs, found.images, near, scales.words + words),
        )
        named = made.named(unit=self.unit, better=self.better).beside(real=known.value)
        return Detailed(named, nothing, found.variance)


@final
@dataclass(frozen=True, slots=True)
class Similarity:
    """The mean MS-SSIM of pairs of images.

    Attributes:
        value: The mean.
        variance: Its variance.
        pairs: How many pairs.
        images: Among how many images.
    """

    value: float
    variance: Variance
    pairs: int
    images: int


def similarity(x: Tensor, pairs: int, *, rng: torch.Generator) -> Similarity:
    """Returns the mean MS-SSIM of about ``pairs`` pairs of different images of ``x``.

    Each image is in equally many pairs, no pair twice: in random order around a circle, each is
    compared with the next, with the one after that, and so on. With ``a`` the variance of what
    single images add to a similarity and ``e`` that of what only pairs do, that of a similarity
    is ``2 a + e`` and that of an image's mean over its ``r`` pairs ``a + (a + e) / r``; both are
    measured, and the mean of ``N`` pairs of ``n`` images has variance ``4 a / n + e / N``.

    Args:
        x: Images in [0, 1], shape ``(n, c, h, w)``, ``n`` at least 4; only those that are needed
            are read.
        pairs: How many pairs are wanted.
        rng: Draws the order.

    Raises:
        UserError: If they are not images, or hold NaN or infinity.
    """
    n = min(len(x), pairs)
    n = max(n, 4)
    apart = min(-(-pairs // n), (n - 1) // 2)
    chosen = torch.randperm(len(x), generator=rng, device=rng.device)[:n].to(x.device)
    images = x[chosen].detach().float()
    if not bool(images.isfinite().all()):
        raise UserError("Images must be finite numbers in [0, 1]. Got NaN or infinity.")
    values = _around_the_circle(images, apart).double()
    return _judge(values)


def _around_the_circle(x: Tensor, apart: int) -> Tensor:
    """Returns the similarity of each image with the ``apart`` next ones, ``(n, apart)``."""
    n = len(x)
    step = max(1, _NUMBERS // math.prod(x.shape[1:]))
    rows: list[Tensor] = []
    for start in range(0, n, step):
        stop = min(start + step, n)
        here = torch.arange(start, stop + apart, device=x.device) % n
        pyramid, first = Pyramid.of(x[here]), torch.arange(stop - start, device=x.device)
        rows.append(
            torch.stack([pyramid.similarity(first, first + k + 1) for k in range(apart)], dim=1)
        )
    return torch.cat(rows)


def _judge(values: Tensor) -> Similarity:
    """Returns mean and variance of similarities, shape ``(n, apart)``, around the circle."""
    n, apart = values.shape
    r, count = 2 * apart, values.numel()
    back = torch.stack([values[:, k].roll(k + 1) for k in range(apart)], dim=1)
    means = torch.cat([values, back], dim=1).mean(1)
    one, own = values.var(), means.var()
    a = ((own - one / r) / (1 - 1 / r)).clamp_min(0)
    e = (one - 2 * a).clamp_min(0)
    variance = float(4 * a / n + e / count)
    return Similarity(float(values.mean()), Variance.of_squares(variance, n - 1), count, n)


# ----------------------------------------------------------------------------
# The Vendi score: how many different samples are there, in effect?
# ----------------------------------------------------------------------------

Kernel = Literal["cosine", "rbf"]

_VENDI_METHOD = (
    "{}, order {:g}; of {} fake samples; {:.4g} for as many real ones; increases with the "
    "sample size; interval by block jackknife, for this kernel and sample size, conservative: "
    "empirical coverage 90-100 % in simulations"
)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Vendi(ClusteredPaired):
    """The effective number of distinct fake samples, from 1 (all alike) to their number.

    The exponential of the entropy of the eigenvalues of the kernel matrix, over ``n``. It looks
    at variety only: noise has much of it. Read it beside the score of as many real samples,
    reported in the method.

    Source: Friedman and Dieng, 2023, https://arxiv.org/abs/2210.02410, definition 2.1; orders
    other than 1: Pasarkar and Dieng, 2024, https://arxiv.org/abs/2310.12952.

    Attributes:
        kernel: ``cosine`` or ``rbf``,
            ``exp(-|x - y|^2 / (2 s^2))``.
        width: Bandwidth ``s`` of ``rbf``; default: the median distance between real samples.
        order: Order of the Renyi entropy: small values weight rare samples, large ones common
            samples.
        samples: Maximum number of samples, drawn at random.
    """

    better: ClassVar[Better] = "higher"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = False

    kernel: Kernel = "cosine"
    width: Annotated[float, Between(0)] | None = None
    order: Annotated[float, Between(0)] = 1.0
    samples: Annotated[int, Between(4)] = 1000

    @override
    def detail(
        self, real: Tensor, fake: Tensor, *, rng: torch.Generator, groups: Groups | None = None
    ) -> Detailed:
        """Scores as ``measure`` does; the real samples add nothing to the number.

        Raises:
            UserError: If the features cannot be compared.
        """
        nothing = torch.zeros(len(real), dtype=torch.float64)
        n = min(len(real), len(fake), self.samples)
        chosen = [_order(z, rng)[:n] for z in (real, fake)]
        x, y = pair(*(z[some] for z, some in zip((real, fake), chosen, strict=True)))
        taken = checked_groups(groups, len(real), len(fake))
        if taken is not None and taken.fake is not None:
            taken = checked_groups(Groups(fake=taken.fake[chosen[1]]), n, n)
        group = None if taken is None else taken.fake
        if reason := too_few(real, fake, 4) or too_few_groups(taken, 4):
            return Detailed(Estimate.missing(reason, better=self.better), nothing, Variance(0.0))
        width = self.width or 1.0
        if self.kernel == "rbf":
            x, y = about_zero(x, y)
            width = self.width or _typical_distance(x)
        fold = folds(n, rng=rng, device=y.device, group=group)
        spectra = _spectra(y, self.kernel, width, fold)
        scores = y.new_tensor([_score(values, self.order) for values in spectra])
        value, variance = float(scores[0]), jackknife(scores[0], scores[1:], fold).variance
        known = vendi_score(x, self.kernel, self.order, width)
        method = _VENDI_METHOD.format(self._kernel(width), self.order, n, known)
        made = _within(around(value, variance, n=independent_count(group, n), method=method), n)
        named = made.named(unit=self.unit, better=self.better).beside(real=known)
        return Detailed(named, nothing, variance)

    def _kernel(self, width: float) -> str:
        return f"rbf kernel of width {width:.3g}" if self.kernel == "rbf" else "cosine kernel"


def vendi_score(
    x: Tensor, kernel: Kernel = "cosine", order: float = 1.0, width: float = 1.0
) -> float:
    """Returns the effective number of different samples.

    Where there are fewer features than samples the cosine kernel needs but a matrix of features,
    ``O(n d^2 + d^3)`` instead of ``O(n^3)``.

    Args:
        x: Features, shape ``(n, d)``.
        kernel: Which kernel.
        order: Order of the entropy, at least 0.
        width: The width of the kernel ``rbf``.

    Example:
        >>> round(vendi_score(torch.eye(5)), 6), round(vendi_score(torch.ones(5, 3)), 6)
        (5.0, 1.0)
    """
    nowhere = torch.zeros(0, dtype=torch.long, device=x.device)
    return _score(next(_spectra(x.double(), kernel, width, nowhere)), order)


def _spectra(x: Tensor, kernel: Kernel, width: float, fold: Tensor) -> Iterator[Tensor]:
    """Yields the eigenvalues of the kernel over ``n`` of all samples, then without each fold.

    They sum to 1; zeros may be missing.
    """
    n, count = len(x), int(fold.max()) + 1 if len(fold) else 0
    if kernel == "cosine":
        x = _directions(x)
        if x.shape[1] < n:
            yield from _dual(x, fold, count)
            return
        similar = x @ x.T
    else:
        similar = (squared_distances(x, x) / (-2 * width**2)).exp()
        similar.fill_diagonal_(1)
    yield _eigenvalues(similar / n)
    for f in range(count):
        left = (fold != f).nonzero()[:, 0]
        yield _eigenvalues(similar[left][:, left] / len(left))


def _eigenvalues(s: Tensor) -> Tensor:
    """Returns those of a symmetric matrix; on a CPU by NumPy, in two thirds of the time."""
    if s.device.type != "cpu":
        found: Tensor = torch.linalg.eigvalsh(s)
        return found
    return torch.from_numpy(np.linalg.eigvalsh(s.numpy()))


def _dual(x: Tensor, fold: Tensor, count: int) -> Iterator[Tensor]:
    """Yields the same eigenvalues from the products of features, not of samples."""
    whole = x.T @ x
    yield _eigenvalues(whole / len(x))
    for f in range(count):
        out = x[fold == f]
        yield _eigenvalues((whole - out.T @ out) / (len(x) - len(out)))


def _directions(x: Tensor) -> Tensor:
    """Returns ``x`` at unit length; a vector of zeros is alike to other such vectors only."""
    largest = x.abs().amax(1, keepdim=True)
    unit = normalize(x / torch.where(largest > 0, largest, 1.0), dim=1)
    zeros = (largest == 0).to(x)
    return torch.cat([unit, zeros], dim=1) if bool(zeros.any()) else unit


def _typical_distance(x: Tensor) -> float:
    """Returns the median distance of samples to each other, or 1 where that is 0."""
    return float(torch.pdist(x).median()) or 1.0


def _score(values: Tensor, order: float) -> float:
    """Returns the exponential of the entropy of eigenvalues that sum to 1."""
    # Those that are zero but for rounding count as nothing, whatever the order.
    p = values[values > len(values) * torch.finfo(values.dtype).eps]
    if order == 1:
        return math.exp(-float((p * p.log()).sum()))
    if math.isinf(order):
        return 1 / float(p.max())
    return math.exp(math.log(float((p**order).sum())) / (1 - order))


def _within(made: Estimate, n: int) -> Estimate:
    """Returns the estimate with no end of its interval beyond what a score can be."""
    if made.value is None or made.low is None or made.high is None:
        return made
    low, high = max(made.low, min(1.0, made.value)), min(made.high, max(float(n), made.value))
    return replace(made, low=low, high=high)


def _order(x: Tensor, rng: torch.Generator) -> Tensor:
    return torch.randperm(len(x), generator=rng, device=rng.device).to(x.device)
