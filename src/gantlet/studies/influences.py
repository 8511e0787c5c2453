"""What paired differences need of a trial's numbers, as tensors that a trial's folder can keep."""

from collections.abc import Mapping

import torch
from torch import Tensor

from gantlet.core.estimate import Estimate
from gantlet.metrics.intervals import Variance
from gantlet.metrics.paired import Detailed

Influences = Mapping[str, Tensor]


def influences(found: Mapping[str, Detailed | Estimate]) -> dict[str, Tensor]:
    """Returns what each real sample adds to each number, and the rest of its variance."""
    kept: dict[str, Tensor] = {}
    for name, one in found.items():
        if isinstance(one, Detailed):
            rest = torch.tensor([one.rest.value, one.rest.noise], dtype=torch.float64)
            kept |= {f"{name}/real": one.real.double().cpu(), f"{name}/rest": rest}
    return kept


def estimates(found: Mapping[str, Detailed | Estimate]) -> dict[str, Estimate]:
    """Returns the numbers alone."""
    return {k: e.estimate if isinstance(e, Detailed) else e for k, e in found.items()}


def detailed(name: str, estimate: Estimate, kept: Influences) -> Detailed | None:
    """Returns a number with its influences, or None where they were not kept."""
    real, rest = kept.get(f"{name}/real"), kept.get(f"{name}/rest")
    if real is None or rest is None:
        return None
    return Detailed(estimate, real, Variance(*rest.tolist()))
