"""How samples cover modes that are apart, beside what theory allows a Lipschitz generator."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeGuard

import torch
from torch import Tensor

from gantlet.core.data import Separated
from gantlet.core.estimate import Estimate
from gantlet.core.model import Decoder, Density, Model
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets
from gantlet.probes.annealing import decoding_of
from gantlet.probes.lipschitz import LARGEST, Lipschitz
from gantlet.report.blocks import Lines, Series
from gantlet.stats.support import perfect_sampler, summary_of_modes, wilson
from gantlet.stats.theory import lipschitz_of_precision, precision_bound, simplicial_precision

__all__ = [
    "BOUND",
    "CONSTANT",
    "DIVERGENCE",
    "MODES",
    "NEEDED",
    "OWN_BOUND",
    "QUALITY",
    "are_apart",
    "bound_chart",
    "bounds",
    "conditions",
    "constant_of",
    "counts_on",
    "coverage",
    "coverage_of",
    "coverage_of_truth",
    "needed",
    "needed_for_truth",
    "separated",
]

MODES, QUALITY, DIVERGENCE = "modes found", "high-quality share", "KL(samples, truth)"
CONSTANT = LARGEST
BOUND, OWN_BOUND = "precision bound", "precision bound, own proportions"
NEEDED = "Lipschitz constant needed"

# Of a model that nobody asked to probe: fewer places than the probe has by default.
_PROBE = Lipschitz(points=2_000, secants=1_000, flops=4e9)


def are_apart(data: object) -> TypeGuard[Separated]:
    """Returns whether data has two or more modes whose supports are apart."""
    return isinstance(data, Separated) and len(data.weights) > 1 and data.gap > 0


def separated(data: str) -> Separated | None:
    """Returns a data set, in written form, if it has two or more modes that are apart."""
    made: object = datasets.make(data)
    return made if are_apart(made) else None


def counts_on(world: Separated, x: Tensor) -> Tensor:
    """Returns how many samples, shape ``(n, *space.shape)``, are on each mode's support."""
    x = x.detach().cpu()
    modes = world.modes_of(x)[world.on_support(x)]
    return modes.bincount(minlength=len(world.weights))


def coverage(world: Separated, x: Tensor, *, rng: Rng) -> dict[str, Estimate]:
    """Returns how samples, shape ``(n, *space.shape)``, cover the modes, as scores by name.

    Args:
        world: The data set.
        x: The samples.
        rng: Draws bootstrap samples, from a stream of its own.
    """
    counts = counts_on(world, x)
    on_cpu = Rng(rng.seed).stream("mode coverage")
    found = summary_of_modes(counts, len(x), world.weights, rng=on_cpu)
    return {
        MODES: found.modes,
        QUALITY: found.high_quality,
        DIVERGENCE: found.divergence,
        NEEDED: needed(counts, len(x), world.gap),
    }


def coverage_of(
    world: Separated,
    model: Model,
    x: Tensor,
    real: Tensor,
    *,
    rng: Rng,
    measured: Mapping[str, Estimate],
) -> dict[str, Estimate]:
    """Returns how a model's samples cover the modes, beside what theory allows its generator.

    Args:
        world: The data set.
        model: The model.
        x: Its samples, shape ``(n, *space.shape)``.
        real: Held-out samples, likewise.
        rng: Draws latent vectors and bootstrap samples, from streams of its own.
        measured: Scores that are known; a Lipschitz constant among them is not measured again.
    """
    constant = constant_of(model, real, rng=rng, measured=measured)
    found = bounds(constant, counts_on(world, x), world.weights, world.gap)
    return {**coverage(world, x, rng=rng), CONSTANT: constant, **found} | dict(measured)


def coverage_of_truth(world: Separated, n: int) -> dict[str, Estimate]:
    """Returns what ``n`` samples of the true distribution itself give, as scores by name."""
    rng = Rng(0).stream("mode coverage")
    found = perfect_sampler(n, world.weights, world.ceiling, rng=rng)
    return {
        MODES: found.modes,
        QUALITY: found.high_quality,
        DIVERGENCE: found.divergence,
        NEEDED: needed_for_truth(world.weights, world.ceiling, world.gap),
    }


# ----------------------------------------------------------------------------
# What theory says of the samples alone, and of the model.
# ----------------------------------------------------------------------------


def needed(counts: Tensor, n: int, gap: float) -> Estimate:
    """Returns the Lipschitz constant that a generator of such samples has at least.

    Args:
        counts: Samples on the support of each mode, shape ``(modes,)``.
        n: How many samples there are in all.
        gap: Distance between the supports of two modes.
    """
    inside = int(counts.sum())
    if not inside:
        return Estimate.missing("no sample on the support")
    shares = _proportions(counts)
    share = wilson(inside, n)
    value, low, high = (
        lipschitz_of_precision(p, len(shares), gap, shares)
        for p in (inside / n, share.low or 0.0, share.high or 1.0)
    )
    how = (
        f"smallest constant of a map of Gaussian vectors with this high-quality share on "
        f"{len(shares)} modes {gap:.4g} apart, in the proportions of these samples"
    )
    if math.isinf(value):
        return Estimate(
            value=low,
            n=n,
            kind="lower",
            method=f"{how}; all samples are on the support, so that there is a lower bound only, "
            "at the lower end of Wilson's interval of the share: no interval",
        )
    if math.isinf(high):
        return Estimate(value=value, n=n, method=f"{how}; no upper end: no interval")
    method = f"{how}; interval: that of the share (Wilson)"
    return Estimate(value=value, low=low, high=high, n=n, method=method)


def needed_for_truth(weights: Tensor, ceiling: float, gap: float) -> Estimate:
    """Returns the Lipschitz constant that a generator of the true distribution needs at least."""
    value = lipschitz_of_precision(ceiling, len(weights), gap, weights.tolist())
    if math.isinf(value):
        return Estimate.missing("no finite constant: the modes are apart and nothing is between")
    return Estimate.exact(value, method="of the true probabilities")


def bounds(constant: Estimate, counts: Tensor, weights: Tensor, gap: float) -> dict[str, Estimate]:
    """Returns the precision that a generator of this Lipschitz constant has at most.

    Args:
        constant: The constant that was found, a lower bound of the true one, or why it is missing.
        counts: Samples on the support of each mode, shape ``(modes,)``.
        weights: True probability of each mode, shape ``(modes,)``.
        gap: Distance between the supports of two modes.
    """
    if constant.value is None or not constant.value > 0:
        reason = constant.method if constant.value is None else "the decoder is constant"
        return {name: Estimate.missing(reason) for name in (BOUND, OWN_BOUND)}
    own = _proportions(counts)
    return {
        BOUND: _bound(constant.value, weights.tolist(), gap, "all modes in true proportions"),
        OWN_BOUND: _bound(constant.value, own, gap, "modes in the proportions of these samples")
        if own
        else Estimate.missing("no sample on the support"),
    }


def _bound(constant: float, weights: Sequence[float], gap: float, what: str) -> Estimate:
    return Estimate(
        value=precision_bound(len(weights), gap, constant, weights),
        kind="lower",
        method=f"largest precision of a generator of Lipschitz constant {constant:.4g} with {what}"
        "; higher if the true constant is larger: no interval",
    )


def _proportions(counts: Tensor) -> list[float]:
    """Returns the shares of the modes that have samples, of those on the support."""
    there = counts[counts > 0].double()
    shares: list[float] = (there / there.sum()).tolist()
    return shares


def constant_of(
    model: Model, real: Tensor, *, rng: Rng, measured: Mapping[str, Estimate] | None = None
) -> Estimate:
    """Returns the largest slope of a generator whose samples are a map of Gaussian vectors.

    Args:
        model: The model.
        real: Held-out samples, shape ``(n, *space.shape)``.
        rng: Draws latent vectors, from streams of its own.
        measured: Scores that are known; a constant among them is not measured again.
    """
    if isinstance(model, Decoder) and isinstance(model, Density):
        return Estimate.missing(
            "samples have noise beside the decoder's mean, whose slope does not bound their "
            "precision"
        )
    if measured and CONSTANT in measured:
        return measured[CONSTANT]
    decoding = decoding_of(model, dequantised=False)
    if decoding is not None and model.context_space is None:
        fault = decoding.fault(rng=rng.stream("mode coverage"))
        if fault is not None:
            return Estimate.missing(fault)
    return _PROBE.inspect(model, real, rng=rng).scores[CONSTANT]


# ----------------------------------------------------------------------------
# How it is shown.
# ----------------------------------------------------------------------------


def conditions(modes: int, gap: float) -> str:
    """Returns under which conditions the bounds hold, for a footnote."""
    return (
        f"{modes} modes, whose supports are {gap:.3g} apart or more. Precision bound: no map of "
        "standard normal latent vectors with this Lipschitz constant has a larger high-quality "
        "share, if it samples all modes in true proportions; in own proportions, whichever modes "
        "it drops. The constant is the largest slope found on the trained generator: the true one "
        "may be larger, and then the bound is higher. This holds for samples of GANs, flows and "
        "diffusion with an ODE sampler, not of models that add noise. Lipschitz constant needed: "
        "the smallest that such a share in such proportions allows a single map; a mixture of "
        "generators may do with less."
    )


_POINTS = 41


def bound_chart(
    weights: Sequence[float],
    gap: float,
    found: Sequence[tuple[str, Estimate, Estimate]],
) -> Iterator[Lines]:
    """Yields high-quality shares against Lipschitz constants, beside the bound.

    Args:
        weights: True probability of each mode.
        gap: Distance between the supports of two modes.
        found: For each generator its name, Lipschitz constant and high-quality share.
    """
    points = [
        (name, constant.value, share.value)
        for name, constant, share in found
        if constant.value is not None and constant.value > 0 and share.value is not None
    ]
    if not points:
        return
    ends = [c for _, c, _ in points]
    x = torch.logspace(
        math.log10(min(ends) / 4), math.log10(max(ends) * 4), _POINTS, dtype=torch.float64
    ).tolist()
    is_equal = max(weights) - min(weights) < 1e-9
    y = [precision_bound(len(weights), gap, c, None if is_equal else weights) for c in x]
    layout = [simplicial_precision(len(weights), gap, c) for c in x] if is_equal else []
    said = (
        " The band reaches down to the simplicial layout, which some generator with "
        f"{len(weights) - 1} latent dimensions attains if modes are points at equal distances."
    )
    yield Lines(
        title="High-quality share and Lipschitz constant",
        x_label="Lipschitz constant: largest slope found",
        y_label="high-quality share",
        log_x=True,
        series=[
            Series(name="bound", x=x, y=y, low=layout, high=y if layout else ()),
            *(Series(name=name, x=[c], y=[share]) for name, c, share in points),
        ],
        note="Curve: the largest share of a generator that samples all modes in true "
        f"proportions.{said if layout else ''} A point above it drops modes, or is steeper than "
        "found. Intervals are in the table.",
    )
