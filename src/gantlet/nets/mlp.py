"""Fully connected networks."""

from collections.abc import Callable
from itertools import pairwise

from torch import nn


def leaky() -> nn.Module:
    """Returns the activation of critics and generators: LeakyReLU with slope 0.2."""
    return nn.LeakyReLU(0.2)


def mlp(*widths: int, activation: Callable[[], nn.Module] = leaky) -> nn.Sequential:
    """Returns linear layers between ``widths``, with activations between them, none at the end.

    Example:
        >>> mlp(2, 8, 1, activation=nn.SiLU)
        Sequential(
          (0): Linear(in_features=2, out_features=8, bias=True)
          (1): SiLU()
          (2): Linear(in_features=8, out_features=1, bias=True)
        )
    """
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(widths):
        layers += [nn.Linear(wide, narrow), activation()]
    return nn.Sequential(*layers[:-1])
