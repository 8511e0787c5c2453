"""Metrics of paired tasks: translation, infilling, attribute edits."""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.core.estimate import Estimate
from gantlet.metrics.checks import about_zero, pair
from gantlet.metrics.diversity import Scales, ms_ssim
from gantlet.stats.intervals import mean, numbered, over_inputs, same_shape


def feature_distance(target: Tensor, output: Tensor, *, inputs: Tensor | None = None) -> Estimate:
    """Returns the mean Euclidean distance between the features of a target and its output.

    Its scale is that of the extractor: compare numbers of one extractor only. It is not LPIPS,
    which has weights fitted to what people see.

    Args:
        target: Features of what was wanted, shape ``(n, d)``.
        output: Features of what came out, of the same shape.
        inputs: The number of the input of each pair, shape ``(n,)``, where some share one.

    Raises:
        UserError: If the two are not pairs of features.
    """
    x, y = pair(target, output)
    same_shape(x, y)
    values = (x - y).norm(dim=1)
    return over_inputs(values, inputs, unit="1", better="lower", what="distance of features")


def perceptual_distance(
    target: Tensor, output: Tensor, *, inputs: Tensor | None = None
) -> Estimate:
    """Returns the mean squared distance of a target and its output: LPIPS, on ``lpips`` features.

    Source: Zhang et al., 2018, https://arxiv.org/abs/1801.03924, equation 1.

    Args:
        target: Embedding of what was wanted, shape ``(n, d)``.
        output: Embedding of what came out, of the same shape.
        inputs: The number of the input of each pair, shape ``(n,)``, where some share one.

    Raises:
        UserError: If the two are not pairs of features.
    """
    x, y = pair(target, output)
    same_shape(x, y)
    values = (x - y).square().sum(1)
    return over_inputs(values, inputs, unit="1", better="lower", what="squared distance")


def diversity(output: Tensor, inputs: Tensor) -> Estimate:
    """Returns the mean distance between the features of two outputs for the same input.

    0 where a model ignores its noise. More is better only as far as the outputs fit: look at the
    feature distance beside it. Inputs count alike however many outputs they have; those with one
    output say nothing.

    Source: Zhu et al., 2017, https://arxiv.org/abs/1711.11586, section 4.2, with LPIPS.

    Differs from the paper: Euclidean distance of any extractor's features, all pairs of outputs.

    Args:
        output: Features, shape ``(n, d)``.
        inputs: The number of the input of each output, shape ``(n,)``.

    Raises:
        UserError: If these are not features, or inputs do not fit.
    """
    x, _ = pair(output, output)
    x, _ = about_zero(x, x) if len(x) else (x, x)
    which, count = numbered(inputs, len(x), x.device)
    groups = [x[which == k] for k in range(count)]
    values = [float(torch.pdist(group).mean()) for group in groups if len(group) > 1]
    if not values:
        reason = "needs inputs with at least two outputs each"
        return Estimate.missing(reason, better="higher")
    return mean(values, better="higher", of="inputs with several outputs")


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


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Targets and outputs of a paired task.

    Attributes:
        target: What was wanted, in [0, 1], shape ``(n, ...)``.
        output: What came out, of the same shape.
        inputs: The number of the input of each pair, shape ``(n,)``, where there are several
            outputs for one input.
    """

    target: Tensor
    output: Tensor
    inputs: Tensor | None = None

    def measure(
        self, features: tuple[Tensor, Tensor] | None = None, *, lpips: bool = False
    ) -> dict[str, Estimate]:
        """Returns ``psnr``, ``ms-ssim`` for images, and from features the distance and diversity.

        Args:
            features: Those of the targets and of the outputs, shapes ``(n, d)``; without them
                there are numbers of pixels only.
            lpips: Whether these are embeddings whose squared distance is LPIPS.

        Raises:
            UserError: If these are not pairs.
        """
        found = {"psnr": psnr(self.target, self.output, inputs=self.inputs)}
        if self.target.ndim == 4:
            found["ms-ssim"] = paired_ms_ssim(self.target, self.output, inputs=self.inputs)
        if features is None:
            return found
        found["feature distance"] = feature_distance(*features, inputs=self.inputs)
        if lpips:
            found["lpips"] = perceptual_distance(*features, inputs=self.inputs)
        if self.inputs is not None:
            found["diversity"] = diversity(features[1], self.inputs)
        return found
