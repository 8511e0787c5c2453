"""MS-SSIM diversity: how alike are two fake images drawn at random?"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.errors import UserError
from gantlet.core.estimate import Better, Estimate
from gantlet.core.measure import Sees
from gantlet.core.spec import Between
from gantlet.metrics.intervals import Variance, around
from gantlet.metrics.paired import Detailed, Paired
from gantlet.metrics.ssim import Pyramid, Scales

_METHOD = (
    "mean of {} pairs of {} fake images; real ones have {}; {}; interval with the variance of a "
    "U-statistic, as pairs share images"
)
# Numbers of one batch of pairs: 4 MB in float32.
_NUMBERS = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class MsSsim(Paired):
    """The mean similarity of two fake images, from 0 to 1: lower is more diverse.

    Only a value *above* that of real images, which the method tells, is a flaw: the fakes repeat
    themselves. Noise is lower than any real data. Images only.

    Source: Odena, Olah and Shlens, 2017, https://arxiv.org/abs/1610.09585, section 4.2.

    Differs from the paper: all classes together, and smaller images have fewer scales, see
    `gantlet.metrics.ssim.Scales.of`.

    Attributes:
        pairs: How many pairs are compared, at least about; all where there are fewer.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "samples"
    quadratic: ClassVar[bool] = False

    pairs: Annotated[int, Between(2)] = 2000

    @override
    def detail(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Detailed:
        """Scores as ``measure`` does; the real images add nothing to the number.

        Raises:
            UserError: If they are no images, or hold NaN or infinity.
        """
        nothing = torch.zeros(len(real), dtype=torch.float64)
        least = min(len(real), len(fake))
        if least < 4:
            reason = f"needs at least 4 real and 4 fake samples, got {len(real)} and {len(fake)}"
            return Detailed(Estimate.missing(reason, better=self.better), nothing, Variance(0.0))
        known = similarity(real, self.pairs, rng=rng)
        found = similarity(fake, self.pairs, rng=rng)
        scales = Scales.of(*fake.shape[2:])
        near = f"{known.value:.3f} +/- {1.96 * math.sqrt(known.variance.value):.3f}"
        made = around(
            found.value,
            found.variance,
            n=found.images,
            method=_METHOD.format(found.pairs, found.images, near, scales.words),
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
        UserError: If they are no images, or hold NaN or infinity.
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
