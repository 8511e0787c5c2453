"""Ordinary differential equations with fixed steps, and the divergence of their fields."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.func import vjp, vmap

Field = Callable[[Tensor, Tensor], Tensor]
"""Velocities at points ``y``, shape ``(n, *shape)``, and times ``t``, shape ``(n,)``."""

Method = Literal["midpoint", "heun"]

Trace = Callable[[Field, Tensor, Tensor], Tensor]
"""The divergence of a field at points ``(n, *shape)`` and times ``(n,)``: shape ``(n,)``."""

MOST_COTANGENTS = 2**19
"""One part of the exact divergence holds this many cotangents at most: more of them fall out of
the processor's cache and run at a third of the speed."""


class Node(NamedTuple):
    """A point at which a step asked for the velocity, and its weight in the step's integral."""

    y: Tensor
    t: Tensor
    weight: float


def midpoint(field: Field, y: Tensor, t: float, h: float) -> tuple[Tensor, list[Node]]:
    """Returns ``y`` one step of the explicit midpoint rule later, and the nodes it integrates by.

    Second order, two evaluations of ``field``.

    Source: Hairer, Norsett and Wanner, 1993, "Solving Ordinary Differential Equations I",
    section II.1, equation (1.5).
    """
    middle = y + h / 2 * field(y, _at(t, y))
    node = Node(middle, _at(t + h / 2, y), h)
    return y + h * field(middle, node.t), [node]


def heun(field: Field, y: Tensor, t: float, h: float) -> tuple[Tensor, list[Node]]:
    """Returns ``y`` one step of Heun's rule later, and the nodes it integrates by.

    Second order, two evaluations of ``field``.

    Source: Hairer, Norsett and Wanner, 1993, "Solving Ordinary Differential Equations I",
    section II.1, exercise 1 (the explicit trapezoidal rule).
    """
    left = Node(y, _at(t, y), h / 2)
    slope = field(y, left.t)
    right = Node(y + h * slope, _at(t + h, y), h / 2)
    return y + h / 2 * (slope + field(right.y, right.t)), [left, right]


_STEPS = {"midpoint": midpoint, "heun": heun}


def integrate(field: Field, y: Tensor, times: Sequence[float], method: Method) -> Tensor:
    """Returns where ``dy/dt = field(y, t)`` carries ``y`` from the first time to the last.

    Shape that of ``y``, ``(n, *shape)``. One step from each time to the next, of two evaluations.
    """
    for t, end in pairwise(times):
        y, _ = _STEPS[method](field, y, t, end - t)
    return y


def integrate_with_volume(
    field: Field, y: Tensor, times: Sequence[float], method: Method, trace: Trace
) -> tuple[Tensor, Tensor]:
    """Returns the end points and ``log |det d end / d y|`` in nats, shape ``(n,)``.

    The log-determinant is the integral of the divergence along the path, taken at the nodes of
    the method. It has the method's order, and is not exactly that of the discrete steps.

    Source: Chen et al., 2018, https://arxiv.org/abs/1806.07366, theorem 1.
    """
    volume = y.new_zeros(len(y))
    for t, end in pairwise(times):
        y, nodes = _STEPS[method](field, y, t, end - t)
        for node in nodes:
            volume = volume + node.weight * trace(field, node.y, node.t)
    return y, volume


def exact_divergence(field: Field, y: Tensor, t: Tensor) -> Tensor:
    """Returns the divergence of ``field``, shape ``(n,)``, as the trace of its Jacobian.

    One backward pass for each component of a sample, many at a time. Differentiable in the
    parameters of ``field``.
    """
    n, size = len(y), y[0].numel()
    pull = _pullback(field, y, t)

    def diagonal(unit: Tensor) -> Tensor:
        cotangent = unit.expand_as(y)
        return (pull(cotangent) * cotangent).flatten(1).sum(1)

    units = torch.eye(size, dtype=y.dtype, device=y.device).view(size, *y.shape[1:])
    chunk = max(1, MOST_COTANGENTS // max(1, n * size))
    entries: Tensor = vmap(diagonal, chunk_size=chunk)(units)
    return entries.sum(0)


def hutchinson(probe: Tensor) -> Trace:
    """Returns the trace that estimates the divergence from one random direction a sample.

    Unbiased when the components of ``probe``, shape ``(n, *shape)``, have mean 0, variance 1
    and no correlation. The same probe should serve a whole path, whose integral then is as
    smooth as the field.

    Source: Grathwohl et al., 2019, https://arxiv.org/abs/1810.01367, equation (7).
    """

    def trace(field: Field, y: Tensor, t: Tensor) -> Tensor:
        return (_pullback(field, y, t)(probe) * probe).flatten(1).sum(1)

    return trace


def rademacher(like: Tensor, *, rng: torch.Generator) -> Tensor:
    """Returns signs of equal chance, shape and type of ``like``: the probe of least variance."""
    bits = torch.randint(0, 2, like.shape, generator=rng, device=like.device)
    return bits.to(like.dtype) * 2 - 1


def _pullback(field: Field, y: Tensor, t: Tensor) -> Callable[[Tensor], Tensor]:
    """Returns the product of cotangents, shape of ``y``, with the Jacobian of ``field``."""

    def at_t(point: Tensor) -> Tensor:
        return field(point, t)

    pull: Callable[[Tensor], tuple[Tensor]] = vjp(at_t, y)[1]
    return lambda cotangent: pull(cotangent)[0]


def _at(t: float, y: Tensor) -> Tensor:
    return y.new_full((len(y),), t)
