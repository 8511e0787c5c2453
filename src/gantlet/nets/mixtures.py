"""How one component of a sample is distributed, given what a network says of it."""

import abc
import math
from typing import final

import torch
from torch import Tensor
from typing_extensions import override


class Output(abc.ABC):
    """A distribution of one number, set by several parameters that a network puts out.

    Attributes:
        inputs: How many numbers describe a value to a network.
        parameters: How many numbers a network puts out for one distribution.
    """

    inputs: int
    parameters: int

    @abc.abstractmethod
    def describe(self, x: Tensor) -> Tensor:
        """Returns values of any shape as a network sees them, shape ``(*x.shape, inputs)``."""

    @abc.abstractmethod
    def start(self) -> Tensor:
        """Returns parameters to start training from, shape ``(parameters,)``."""

    @abc.abstractmethod
    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Returns the log-probability of each value in nats, shape ``x.shape``.

        ``theta`` has shape ``(*x.shape, parameters)``.
        """

    @abc.abstractmethod
    def draw(self, theta: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns one value for each distribution, shape ``theta.shape[:-1]``."""


@final
class Categorical(Output):
    """Any distribution of the whole numbers ``0 .. levels - 1``.

    Args:
        levels: How many values there are.
    """

    def __init__(self, levels: int) -> None:
        self.inputs = self.parameters = levels

    @override
    def describe(self, x: Tensor) -> Tensor:
        return (x[..., None] == torch.arange(self.inputs, device=x.device)).to(x.dtype)

    @override
    def start(self) -> Tensor:
        return torch.zeros(self.parameters)

    @override
    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        return theta.log_softmax(-1).gather(-1, x.long()[..., None])[..., 0]

    @override
    def draw(self, theta: Tensor, *, rng: torch.Generator) -> Tensor:
        u = torch.rand(theta.shape[:-1], generator=rng, device=rng.device)
        return choose(theta, u).to(theta.dtype)


@final
class GaussianMixture(Output):
    """A mixture of Gaussians of one real number.

    Source: Bishop, 1994, "Mixture density networks",
    https://publications.aston.ac.uk/id/eprint/373/, equations 22 to 26.

    Differs from the paper: a standard deviation cannot fall below ``exp(-7)``, so that the
    density of data that repeat exactly stays finite (the bound of PixelCNN++, Salimans et al.,
    2017, https://arxiv.org/abs/1701.05517).

    Args:
        components: How many Gaussians.
    """

    smallest = -7.0

    def __init__(self, components: int) -> None:
        self.components = components
        self.inputs, self.parameters = 1, 3 * components

    @override
    def describe(self, x: Tensor) -> Tensor:
        return x[..., None]

    @override
    def start(self) -> Tensor:
        # Side by side over two standard deviations: equal Gaussians would stay equal.
        k = self.components
        means = torch.linspace(-2, 2, k) if k > 1 else torch.zeros(1)
        return torch.cat([torch.zeros(k), means, torch.full((k,), math.log(2 / k))])

    @override
    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        logits, mean, log_std = self._split(theta)
        z = (x[..., None] - mean) * (-log_std).exp()
        each = -0.5 * z.square() - log_std - 0.5 * math.log(2 * math.pi)
        return (logits.log_softmax(-1) + each).logsumexp(-1)

    @override
    def draw(self, theta: Tensor, *, rng: torch.Generator) -> Tensor:
        logits, mean, log_std = self._split(theta)
        shape = theta.shape[:-1]
        k = choose(logits, torch.rand(shape, generator=rng, device=rng.device))[..., None]
        noise = torch.randn(shape, generator=rng, device=rng.device)
        return (mean.gather(-1, k) + log_std.gather(-1, k).exp() * noise[..., None])[..., 0]

    def _split(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, mean, log_std = theta.chunk(3, dim=-1)
        return logits, mean, log_std.clamp(min=self.smallest)


def choose(logits: Tensor, u: Tensor) -> Tensor:
    """Returns the category that ``u`` in [0, 1) falls into, whole numbers of shape ``u.shape``.

    The same ``u`` gives the same category unless it lies on the edge of two: two ways to compute
    the same logits give the same samples.

    Example:
        >>> choose(torch.zeros(3, 4), torch.tensor([0.1, 0.3, 0.99]))
        tensor([0, 1, 3])
    """
    below = logits.softmax(-1).cumsum(-1) < u[..., None]
    # Rounding can leave the sum of the probabilities a little below 1, and ``u`` above it.
    return below.sum(-1).clamp(max=logits.shape[-1] - 1)
