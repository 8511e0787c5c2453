"""Structural similarity of images, on one scale and on several."""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from gantlet.core.errors import UserError

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
            UserError: If ``x`` is no batch of images.
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
        UserError: If they are no images.
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
