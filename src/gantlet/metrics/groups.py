"""Samples that come in groups: what a metric makes of them."""

from dataclasses import replace

import torch
from torch import Tensor

from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.core.measure import Groups

IGNORED = "no interval: this metric would take samples of one group for independent ones"
"""Why a metric that knows nothing of groups has no interval where there are some."""


def checked_groups(groups: Groups | None, n: int, m: int) -> Groups | None:
    """Returns the groups numbered from 0 without gaps, or None where no two samples share one.

    Args:
        groups: Which of the samples belong together.
        n: How many real samples there are.
        m: How many fake samples there are.

    Raises:
        UserError: If there is not one whole number for each sample.
    """
    if groups is None:
        return None
    found = Groups(_dense(groups.real, n, "real"), _dense(groups.fake, m, "fake"))
    return None if found.real is None and found.fake is None else found


def too_few_groups(groups: Groups | None, least: int) -> str | None:
    """Returns why there are too few groups, or None if each set has ``least``.

    Args:
        groups: As `checked_groups` returns them.
        least: How many of each are needed.
    """
    if groups is None:
        return None
    for name, labels in (("real", groups.real), ("fake", groups.fake)):
        if labels is not None and (count := int(labels.max()) + 1) < least:
            return f"needs at least {least} groups of {name} samples, got {count}"
    return None


def drawn(labels: Tensor | None, n: int) -> int:
    """Returns how many of ``n`` samples were drawn independently: groups, where there are some."""
    return n if labels is None else int(labels.max()) + 1


def without_interval(found: Estimate, reason: str = IGNORED) -> Estimate:
    """Returns the same value without an interval, and says why in its method."""
    if found.low is None:
        return found
    return replace(found, low=None, high=None, method=f"{found.method}; {reason}".lstrip("; "))


def _dense(labels: Tensor | None, n: int, name: str) -> Tensor | None:
    if labels is None:
        return None
    if labels.shape != (n,) or labels.is_floating_point() or labels.is_complex():
        raise UserError(
            f"The groups of {name} must be one whole number for each of its {n} samples. "
            f"Got {labels.dtype} of shape {tuple(labels.shape)}."
        )
    known, dense = torch.unique(labels, return_inverse=True)
    return dense if len(known) < n else None
