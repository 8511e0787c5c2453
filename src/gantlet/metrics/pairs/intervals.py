"""From one number for each pair to its mean, where several pairs may share an input."""

import math

import torch
from torch import Tensor

from gantlet.core.errors import UserError
from gantlet.core.estimate import Better, Estimate
from gantlet.core.intervals import mean
from gantlet.metrics.intervals import Variance, around


def over_inputs(
    values: Tensor, inputs: Tensor | None, *, unit: str, better: Better, what: str
) -> Estimate:
    """Returns the mean over all pairs, with an interval over inputs.

    Outputs for the same input depend on each other, so the inputs are what is independent: their
    sums of deviations give the variance (cluster-robust, with Student's t).

    Source: Liang and Zeger, 1986, https://doi.org/10.1093/biomet/73.1.13, for a mean.

    Args:
        values: One number for each pair, shape ``(n,)``.
        inputs: The number of the input of each pair, shape ``(n,)``; each its own if None.
        unit: In what the values are measured.
        better: Which direction is better.
        what: What a value is, for the method.

    Raises:
        UserError: If ``inputs`` does not fit.
    """
    known = values.detach().double()
    if inputs is None or len(known) < 2:
        of = f"pairs, {what}"
        return mean(known.tolist(), unit=unit, better=better, of=of)
    which, count = numbered(inputs, len(known), known.device)
    if count < 2:
        return Estimate(
            value=float(known.mean()),
            n=count,
            unit=unit,
            better=better,
            method=f"mean of {len(known)} pairs, {what}; one input only: no interval",
        )
    off = known.new_zeros(count).index_add_(0, which, known - known.mean())
    variance = float((off**2).sum()) * count / (count - 1) / len(known) ** 2
    method = f"mean of {len(known)} pairs of {count} inputs, {what}; Student's t over inputs"
    made = around(
        float(known.mean()), Variance.of_squares(variance, count - 1), n=count, method=method
    )
    return made.named(unit=unit, better=better)


def numbered(inputs: Tensor, n: int, device: torch.device) -> tuple[Tensor, int]:
    """Returns the inputs as whole numbers from 0, shape ``(n,)``, and how many there are.

    Raises:
        UserError: If there is not one whole number for each of ``n`` pairs.
    """
    if inputs.shape != (n,) or inputs.is_floating_point():
        raise UserError(
            f"inputs must be one whole number for each of the {n} pairs. "
            f"Got {inputs.dtype} of shape {tuple(inputs.shape)}."
        )
    unique, which = torch.unique(inputs.to(device), return_inverse=True)
    return which, len(unique)


def same_shape(target: Tensor, output: Tensor) -> None:
    """Checks that two sets are pairs of finite numbers.

    Raises:
        UserError: If they are not.
    """
    if target.shape != output.shape or target.ndim < 2:
        raise UserError(
            "Pairs need targets and outputs of one shape, (n, ...). "
            f"Got {tuple(target.shape)} and {tuple(output.shape)}."
        )
    for name, x in (("targets", target), ("outputs", output)):
        if not x.is_floating_point():
            raise UserError(f"The {name} must be floating point. Got {x.dtype}.")
        bad = int((~x.flatten(1).isfinite()).any(1).sum()) if math.prod(x.shape) else 0
        if bad:
            raise UserError(f"{bad} of the {len(x)} {name} hold NaN or infinity; leave them out.")
