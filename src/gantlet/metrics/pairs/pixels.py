"""How close outputs come to their targets, pixel by pixel and in structure."""

import math

import torch
from torch import Tensor

from gantlet.core.estimate import Estimate
from gantlet.metrics.pairs.intervals import over_inputs, same_shape
from gantlet.metrics.ssim import Scales, ms_ssim

# Equal images would have an infinite ratio.
_MOST = 100.0
# Numbers of one batch of images: 4 MB in float32.
_NUMBERS = 2**20


def psnr(target: Tensor, output: Tensor, *, inputs: Tensor | None = None) -> Estimate:
    """Returns the mean peak signal-to-noise ratio of pairs, ``-10 log10(mse)``, in decibels.

    Pairs that are equal, or nearly so, count as 100 dB.

    Source: Huynh-Thu and Ghanbari, 2008, https://doi.org/10.1049/el:20080522.

    Args:
        target: What was wanted, in [0, 1], shape ``(n, ...)``.
        output: What came out, of the same shape.
        inputs: The number of the input of each pair, shape ``(n,)``, where some share one.

    Raises:
        UserError: If the two are not pairs.
    """
    same_shape(target, output)
    squares = [
        (a.double() - b.double()).square().flatten(1).mean(1)
        for a, b in zip(*_batches(target, output), strict=True)
    ]
    floor = 10 ** (-_MOST / 10)
    values = -10 * torch.cat(squares).clamp_min(floor).log10()
    return over_inputs(values, inputs, unit="dB", better="higher", what="equal ones 100 dB")


def paired_ms_ssim(target: Tensor, output: Tensor, *, inputs: Tensor | None = None) -> Estimate:
    """Returns the mean multi-scale structural similarity of pairs of images, at most 1.

    Args:
        target: What was wanted, in [0, 1], shape ``(n, c, h, w)``.
        output: What came out, of the same shape.
        inputs: The number of the input of each pair, shape ``(n,)``, where some share one.

    Raises:
        UserError: If the two are not pairs of images.
    """
    same_shape(target, output)
    values = [
        ms_ssim(a.float(), b.float()) for a, b in zip(*_batches(target, output), strict=True)
    ]
    scales = Scales.of(*target.shape[-2:]).words
    return over_inputs(torch.cat(values), inputs, unit="1", better="higher", what=scales)


def _batches(target: Tensor, output: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    step = max(1, _NUMBERS // max(1, math.prod(target.shape[1:])))
    return torch.split(target.detach(), step), torch.split(output.detach(), step)
