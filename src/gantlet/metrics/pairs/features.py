"""How close outputs come to their targets in features, and how much they differ."""

import torch
from torch import Tensor

from gantlet.core.estimate import Estimate
from gantlet.core.intervals import mean
from gantlet.metrics.inputs import about_zero, pair
from gantlet.metrics.pairs.intervals import numbered, over_inputs, same_shape


def feature_distance(target: Tensor, output: Tensor, *, inputs: Tensor | None = None) -> Estimate:
    """Returns the mean Euclidean distance between the features of a target and its output.

    Its scale is that of the extractor: compare numbers of one extractor only. It is no LPIPS,
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
        UserError: If these are no features, or inputs do not fit.
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
