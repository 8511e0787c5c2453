"""Published runs that train one network, on one loss."""

import abc
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.studies.published.run import Run, flops, gradient, repeated, zeros


class Regression(Run):
    """A network that regresses a target, and is looked at several times for a sample."""

    @abc.abstractmethod
    def network(self) -> nn.Module:
        """Returns the network; on ``meta`` where it is called inside that device."""

    @abc.abstractmethod
    def look(self, network: nn.Module) -> Tensor:
        """Returns what the network makes of one image."""

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


class RepeatedFlow(Run):
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
