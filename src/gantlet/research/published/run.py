"""A published training run: networks built on ``meta``, and the numbers that its authors state."""

import abc
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.compute.meters import count

NOT_CHECKED = "as published, not verified"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """A number that was not computed here.

    Attributes:
        value: The number.
        source: Who says so, and where.
        is_read: Whether it was read in the authors' own code; otherwise it is only repeated.
    """

    value: float
    source: str
    is_read: bool = False

    @property
    def label(self) -> str:
        """Number and origin in words."""
        origin = self.source if self.is_read else f"{self.source}; {NOT_CHECKED}"
        return f"{self.value:,.10g} ({origin})"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedClaims:
    """What the authors say of a run; None where they do not say.

    Attributes:
        images: Real images shown in training, repeats counted.
        gpus: Accelerators.
        days: Days of training.
        note: What else must be known, in one or two sentences.
    """

    images: Stated | None
    gpus: Stated | None
    days: Stated | None
    note: str = ""


class PublishedRun(abc.ABC):
    """A published run. All numbers that its methods return are counted on ``meta``."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The model and its data, in a few words."""

    @property
    @abc.abstractmethod
    def source(self) -> str:
        """Paper, and where the configuration stands."""

    @property
    @abc.abstractmethod
    def claims(self) -> PublishedClaims:
        """What the authors say."""

    @property
    @abc.abstractmethod
    def passes(self) -> Mapping[str, float]:
        """Forward passes of each network that one real image costs in training, by the rule.

        A pass with the gradient of the weights counts 3, with a gradient penalty 6, with the
        gradient of the input alone 2, without gradient 1.
        """

    @abc.abstractmethod
    def networks(self) -> Mapping[str, nn.Module]:
        """Returns the networks on ``meta``; the first one is sampled."""

    @abc.abstractmethod
    def forward(self) -> Mapping[str, float]:
        """Returns the operations of one forward pass of each network, for one image."""

    @abc.abstractmethod
    def step(self) -> float:
        """Returns the operations of training for one real image, at full resolution."""

    @abc.abstractmethod
    def sample(self) -> float:
        """Returns the operations of one sample."""

    @property
    @abc.abstractmethod
    def sampling(self) -> str:
        """How a sample is drawn, in a few words."""

    def total(self, step: float) -> float | None:
        """Returns the operations of the whole training, or None if its length is not known.

        Args:
            step: The operations of training for one image, at full resolution.
        """
        images = self.claims.images
        return None if images is None else images.value * step


def flops(run: Callable[[], object]) -> float:
    """Returns the operations of a call.

    Raises:
        ArithmeticError: If some of them cannot be counted.
    """
    counted = count(run)
    if counted.unknown:
        raise ArithmeticError(f"The meter cannot count {', '.join(counted.unknown)}.")
    return counted.flops


def repeated(cost: Callable[[int], float], times: int) -> float:
    """Returns ``cost(times)`` for a network that repeats one part so many times.

    Every repetition costs the same, so that counting one and two of them is enough.
    """
    once = cost(1)
    return once + (times - 1) * (cost(2) - once)


def zeros(*shape: int) -> Tensor:
    """Returns a tensor of ``shape`` on ``meta``."""
    return torch.zeros(shape, device="meta")


def gradient(loss: Tensor, networks: Iterable[nn.Module]) -> None:
    """Takes the gradient of ``loss`` in the weights of ``networks``, and of nothing else."""
    weights = [p for network in networks for p in network.parameters()]
    torch.autograd.grad(loss, weights, allow_unused=True)


def slope(score: Tensor, x: Tensor) -> Tensor:
    """Returns the squared norm of the gradient of ``score`` in each ``x``, differentiable."""
    (g,) = torch.autograd.grad(score.sum(), x, create_graph=True)
    return g.square().flatten(1).sum(1)


class Regression(PublishedRun):
    """A network that regresses a target, and is evaluated several times per sample."""

    @abc.abstractmethod
    def network(self) -> nn.Module:
        """Returns the network; on ``meta`` where it is called inside that device."""

    @abc.abstractmethod
    def look(self, network: nn.Module) -> Tensor:
        """Returns the output of the network for one image."""

    @property
    @abc.abstractmethod
    def evaluations(self) -> int:
        """Passes of the network for a sample."""

    @property
    @override
    def passes(self) -> Mapping[str, float]:
        return {"network": 3}

    @override
    def networks(self) -> Mapping[str, nn.Module]:
        with torch.device("meta"):
            return {"network": self.network()}

    @override
    def forward(self) -> Mapping[str, float]:
        network = self.networks()["network"]
        with torch.no_grad():
            return {"network": flops(lambda: self.look(network))}

    @override
    def step(self) -> float:
        network = self.networks()["network"]
        return flops(lambda: gradient(self.look(network).square().mean(), [network]))

    @override
    def sample(self) -> float:
        return self.evaluations * self.forward()["network"]

    @property
    @override
    def sampling(self) -> str:
        return f"{self.evaluations} passes of the network"


class RepeatedFlow(PublishedRun):
    """A flow that repeats one part, and returns its own negative log-likelihood."""

    @abc.abstractmethod
    def flow(self, times: int) -> nn.Module:
        """Returns the flow with so many repeats; on ``meta`` where it is called inside that."""

    @property
    @abc.abstractmethod
    def times(self) -> int:
        """How often the part is repeated."""

    @property
    @abc.abstractmethod
    def side(self) -> int:
        """Height and width of an image."""

    @property
    @override
    def passes(self) -> Mapping[str, float]:
        return {"flow": 3}

    @override
    def networks(self) -> Mapping[str, nn.Module]:
        return {"flow": self.on_meta(self.times)}

    def on_meta(self, times: int) -> nn.Module:
        """Returns the flow with so many repeats, on ``meta``."""
        with torch.device("meta"):
            return self.flow(times)

    @override
    def forward(self) -> Mapping[str, float]:
        return {"flow": repeated(self.forward_at, self.times)}

    def forward_at(self, times: int) -> float:
        """Returns the operations of a forward pass with so many repeats."""
        flow = self.on_meta(times)
        with torch.no_grad():
            return flops(lambda: flow(self._image()))

    @override
    def step(self) -> float:
        return repeated(self.step_at, self.times)

    def step_at(self, times: int) -> float:
        """Returns the operations for one training image with so many repeats."""
        flow = self.on_meta(times)
        return flops(lambda: gradient(flow(self._image()), [flow]))

    def _image(self) -> Tensor:
        return zeros(1, 3, self.side, self.side)
