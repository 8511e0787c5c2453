"""Classifiers of standardised samples: each returns who says which of new samples are fake.

Of the samples they learn from, shape ``(2 h, d)``, the first half is real, the second fake.
"""

import math
from collections.abc import Callable
from typing import Literal, cast

import torch
from torch import Tensor
from torch.nn.functional import softplus

from gantlet.core.moments import add_gram, mirrored
from gantlet.metrics.blocks import blocks, products, squared_distances

# Says of each row whether it is fake, shape (n,).
Judge = Callable[[Tensor], Tensor]

Kind = Literal["network", "knn", "logistic", "mlp"]

_HIDDEN = 1024
_RIDGE = 0.3
# The small MLP: its width, and how Adam trains it.
_UNITS, _STEPS, _BATCH, _LR, _DECAY = 20, 1000, 128, 5e-3, 1e-3


def fit(kind: Kind, z: Tensor, *, rng: torch.Generator) -> Judge:
    """Returns a classifier of this kind that has learned from ``z``."""
    if kind == "knn":
        return fit_knn(z)
    if kind == "logistic":
        return fit_logistic(z)
    return fit_network(z, rng=rng) if kind == "network" else fit_mlp(z, rng=rng)


def fit_knn(z: Tensor) -> Judge:
    """Returns the vote of the nearest ``sqrt(n)``."""
    # An odd number of votes is never a draw.
    k = math.isqrt(len(z)) // 2 * 2 + 1
    k = min(k, len(z) - 1)

    def judge(w: Tensor) -> Tensor:
        votes = [
            squared_distances(w[block], z).topk(k, dim=1, largest=False).indices >= len(z) // 2
            for block in blocks(len(w), len(z))
        ]
        return torch.cat(votes).float().mean(1) > 0.5

    return judge


def fit_logistic(z: Tensor) -> Judge:
    """Returns logistic regression."""
    weight = logistic_weights(z)
    return lambda w: w @ weight[1:] + weight[0] > 0


def logistic_weights(z: Tensor) -> Tensor:
    """Returns the intercept and the weights of logistic regression, shape ``(1 + d,)``.

    They have the smallest sum of losses and ``|w|^2 / 2``.
    """
    sign = _sign(z)
    weight = z.new_zeros(z.shape[1] + 1)
    search = torch.optim.LBFGS(
        [weight],
        max_iter=200,
        tolerance_grad=1e-8,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def loss() -> float:
        with torch.enable_grad():
            free = weight.detach().requires_grad_()
            margin = sign * (z @ free[1:] + free[0])
            value = (softplus(-margin).sum() + free[1:] @ free[1:] / 2) / len(z)
            (weight.grad,) = torch.autograd.grad(value, free)
        return float(value.detach())

    # Its type is not declared.
    cast("Callable[[Callable[[], float]], object]", search.step)(loss)
    return weight


def fit_mlp(z: Tensor, *, rng: torch.Generator) -> Judge:
    """Returns a network of one hidden layer of 20 units, trained by 1000 steps of Adam."""
    d, sign = z.shape[1], _sign(z)
    drawn = torch.randn(d + 1, _UNITS, generator=rng, device=rng.device, dtype=z.dtype)
    weights = [
        drawn[:-1].to(z.device) * math.sqrt(2 / d),
        z.new_zeros(_UNITS),
        drawn[-1].to(z.device) / math.sqrt(_UNITS),
        z.new_zeros(()),
    ]
    adam = torch.optim.AdamW(weights, lr=_LR, weight_decay=_DECAY)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, _STEPS)
    for _ in range(_STEPS):
        some = torch.randint(len(z), (_BATCH,), generator=rng, device=rng.device).to(z.device)
        with torch.enable_grad():
            free = [w.detach().requires_grad_() for w in weights]
            value = softplus(-sign[some] * _mlp(free, z[some])).mean()
            slopes = torch.autograd.grad(value, free)
        for w, slope in zip(weights, slopes, strict=True):
            w.grad = slope
        adam.step()
        falling.step()
    return lambda w: _mlp(weights, w) > 0


def _mlp(weights: list[Tensor], x: Tensor) -> Tensor:
    w1, b1, w2, b2 = weights
    return (x @ w1 + b1).relu() @ w2 + b2


def fit_network(z: Tensor, *, rng: torch.Generator) -> Judge:
    """Returns ridge regression on random units beside the features themselves."""
    d = z.shape[1]
    drawn = torch.randn(d + 1, _HIDDEN, generator=rng, device=rng.device, dtype=z.dtype)
    weight, bias = drawn[1:].to(z.device) / math.sqrt(d), drawn[0].to(z.device)

    def units(w: Tensor) -> Tensor:
        return (w @ weight + bias).relu_()

    hidden = units(z)
    centre = hidden.mean(0)
    hidden -= centre
    of_features, of_units = _ridge(z, hidden, _sign(z))

    def judge(w: Tensor) -> Tensor:
        return w @ of_features + (units(w) - centre) @ of_units > 0

    return judge


def _ridge(z: Tensor, hidden: Tensor, sign: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the coefficients of ridge regression on centred features and units.

    From the smaller of two equal systems: one equation for each coefficient, or one for each
    sample (Saunders, Gammerman and Vovk, 1998, "Ridge regression learning algorithm in dual
    variables").

    Args:
        z: Features, shape ``(n, d)``.
        hidden: Units, shape ``(n, h)``.
        sign: What is regressed, shape ``(n,)``.
    """
    n, d = z.shape
    # In units of the mean squared length, so that it suits any number of features; it also
    # keeps the matrix invertible where all features are constant.
    ridge = _RIDGE * float(z.square().sum() + hidden.square().sum()) / n + 1e-12
    if n < d + hidden.shape[1]:
        gram = products(z, z) + products(hidden, hidden)
        gram.diagonal().add_(ridge)
        dual: Tensor = torch.linalg.solve(gram, sign)
        return dual @ z, dual @ hidden
    seen = torch.cat([z, hidden], dim=1)
    gram = seen.new_zeros(seen.shape[1], seen.shape[1])
    add_gram(gram, seen)
    gram = mirrored(gram)
    gram.diagonal().add_(ridge)
    found: Tensor = torch.linalg.solve(gram, seen.T @ sign)
    return found[:d], found[d:]


def _sign(z: Tensor) -> Tensor:
    """Returns -1 for each real sample, 1 for each fake one, shape ``(2 h,)``."""
    sign = torch.ones(len(z), dtype=z.dtype, device=z.device)
    sign[: len(z) // 2] = -1
    return sign
