"""Makes a critic blind to what other critics told before it."""

import abc
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.critics.line import Pair
from gantlet.critics.views import Critic, Labelled

Measure = Callable[[Tensor], Tensor]
"""Turns whitened features, shape ``(n, d)``, into one number each, shape ``(n,)``."""

# Directions are taken away that make up this share of the squared slopes of a critic.
_MOVED = 0.9
# What is known counts as at most so many deviations of the real samples.
_REACH = 3.0
_POWERS = (1, 2, 3)
_RIDGE = 1e-3
_NEWTON = 20


class Blinding(abc.ABC):
    """What is known, and how a critic is kept from telling it again."""

    @abc.abstractmethod
    def show(self, x: Tensor) -> Tensor:
        """Returns what a critic sees of features, shapes ``(n, d)``."""

    @abc.abstractmethod
    def known(self, x: Tensor) -> Tensor:
        """Returns the logit of being fake as far as it is known, shape ``(n,)``."""

    @abc.abstractmethod
    def own(self, critic: Critic, real: Tensor) -> Measure:
        """Returns what a critic tells beyond what is known.

        Args:
            critic: The critic, of what it is shown.
            real: Features of real samples, from which it is learned what the known lets expect.
        """

    @abc.abstractmethod
    def after(self, critic: Critic, z: Pair) -> Self:
        """Returns the blinding that knows this critic too; ``z`` are features it did not see."""

    def labelled(self, z: Pair) -> Labelled:
        """Returns samples as critics are trained on them."""
        x = z.both()
        return Labelled(x=self.show(x), known=self.known(x))


@final
@dataclass(frozen=True, slots=True)
class Project(Blinding):
    """The directions that move a critic most are taken out of the features.

    Attributes:
        gone: They, orthonormal, shape ``(d, k)``; None for none.
    """

    gone: Tensor | None = None

    @override
    def show(self, x: Tensor) -> Tensor:
        return x if self.gone is None else x - x @ self.gone @ self.gone.T

    @override
    def known(self, x: Tensor) -> Tensor:
        return torch.zeros(len(x), dtype=torch.float64, device=x.device)

    @override
    def own(self, critic: Critic, real: Tensor) -> Measure:
        return lambda x: critic(self.show(x))

    @override
    def after(self, critic: Critic, z: Pair) -> Self:
        moving = critic.looks_at(self.show(z.both()), _MOVED)
        if self.gone is not None:
            moving = torch.cat([self.gone, moving - self.gone @ (self.gone.T @ moving)], 1)
        return replace(self, gone=torch.linalg.qr(moving).Q)


@final
@dataclass(frozen=True, slots=True)
class Residual(Blinding):
    """A critic is trained on what is left unexplained; what is known is regressed out of it.

    Attributes:
        critics: Those that are known.
        weights: Of each: the constant, and the weights of the logit before and of its score.
    """

    critics: tuple[Critic, ...] = ()
    weights: tuple[Tensor, ...] = ()

    @override
    def show(self, x: Tensor) -> Tensor:
        return x

    @override
    def known(self, x: Tensor) -> Tensor:
        logit = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for critic, w in zip(self.critics, self.weights, strict=True):
            logit = torch.stack([torch.ones_like(logit), logit, critic(x)], 1) @ w
        return logit

    @override
    def own(self, critic: Critic, real: Tensor) -> Measure:
        if not self.critics:
            return critic
        values = self._values(real)
        middle, spread = values.mean(0), values.std(0).clamp_min(1e-9)

        def basis(x: Tensor) -> Tensor:
            near = ((self._values(x) - middle) / spread).clamp(-_REACH, _REACH)
            return torch.cat([torch.ones_like(near[:, :1]), *(near**p for p in _POWERS)], 1)

        a = basis(real)
        ridge = _RIDGE * len(a) * torch.eye(a.shape[1], dtype=a.dtype, device=a.device)
        slope: Tensor = torch.linalg.solve(a.T @ a + ridge, a.T @ critic(real))

        def beyond(x: Tensor) -> Tensor:
            expected: Tensor = basis(x) @ slope
            return critic(x) - expected

        return beyond

    @override
    def after(self, critic: Critic, z: Pair) -> Self:
        x = z.both()
        known = self.known(x)
        seen = torch.stack([torch.ones_like(known), known, critic(x)], 1)
        weights = logistic(seen, self.labelled(z).label)
        return replace(self, critics=(*self.critics, critic), weights=(*self.weights, weights))

    def _values(self, x: Tensor) -> Tensor:
        """Returns the known scores and the logit, shape ``(n, critics + 1)``."""
        return torch.stack([*(c(x) for c in self.critics), self.known(x)], 1)


def logistic(x: Tensor, label: Tensor) -> Tensor:
    """Returns the weights of logistic regression with a small ridge, by Newton's method.

    Args:
        x: Shape ``(n, k)``, float64.
        label: 0 or 1, shape ``(n,)``.
    """
    ridge = _RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    w = x.new_zeros(x.shape[1])
    for _ in range(_NEWTON):
        p = torch.sigmoid(x @ w)
        curve = x.T @ ((p * (1 - p))[:, None] * x) + ridge
        w = w + torch.linalg.solve(curve, x.T @ (label - p) - ridge @ w).clamp(-1, 1)
    return w
