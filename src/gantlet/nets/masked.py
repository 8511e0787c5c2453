"""Masked layers: each output sees only the components before it."""

from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from typing_extensions import override


@final
class MaskedLinear(nn.Linear):
    """A linear layer whose weights are zero outside a mask.

    Args:
        mask: Which weights may differ from zero, booleans of shape ``(outputs, inputs)``.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask, persistent=False)

    @property
    def masked(self) -> Tensor:
        """The weights as they act, shape ``(outputs, inputs)``."""
        return self.weight * self.mask

    @override
    def forward(self, input: Tensor) -> Tensor:
        """Returns the masked linear map of ``input``, shape ``(..., outputs)``."""
        return linear(input, self.masked, self.bias)


@final
class Made(nn.Module):
    """A perceptron whose output ``i`` depends on the components before ``i`` alone.

    Each unit has a degree, the number of components it may see. A hidden unit sees units of its
    own degree or a lower one, output ``i`` those of a degree below ``i``; so no path leads from a
    component to its own output or an earlier one.

    Source: Germain et al., 2015, https://arxiv.org/abs/1502.03509, equations 12 and 13.

    Differs from the paper: degrees are spread evenly instead of drawn, one order of the
    components instead of several, no direct connections, SiLU instead of ReLU.

    Args:
        size: How many components a sample has.
        inputs: How many numbers describe one component.
        outputs: How many numbers come out for each component.
        width: Units in each hidden layer.
        layers: How many hidden layers.
    """

    def __init__(self, size: int, inputs: int, outputs: int, width: int, layers: int) -> None:
        super().__init__()
        seen = torch.arange(1, size + 1).repeat_interleave(inputs)
        hidden = 1 + torch.arange(width) * (size - 1) // width
        wanted = torch.arange(1, size + 1).repeat_interleave(outputs)
        modules: list[nn.Module] = []
        for _ in range(layers):
            modules += [MaskedLinear(hidden[:, None] >= seen), nn.SiLU()]
            seen = hidden
        self.hidden = nn.Sequential(*modules)
        self.out = MaskedLinear(wanted[:, None] > seen)
        self.size = size

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns numbers ``(n, size, outputs)`` for descriptions ``(n, size, inputs)``."""
        y: Tensor = self.out(self.hidden(x.flatten(1)))
        return y.view(len(x), self.size, -1)
