"""Several generators as one: a sample comes from one of them, drawn by weight."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.errors import UserError
from gantlet.core.model import Model


@final
class Mixture(Model):
    """A mixed strategy of generators, as a model.

    Args:
        parts: Models of samples of one space and on one kind of context, at least one.
        logits: Their weights are ``softmax(logits)``, shape ``(parts,)``. A parameter is shared,
            so that it can be trained by others; of any other tensor the values are kept.

    Raises:
        UserError: If there is no part, parts differ in a space, or logits do not fit.
    """

    def __init__(self, parts: Sequence[Model], logits: Tensor) -> None:
        super().__init__()
        spaces = {_spaces(part) for part in parts}
        if len(spaces) != 1 or logits.shape != (len(parts),):
            told = ", ".join(sorted(spaces)) or "no space"
            raise UserError(
                f"A mixture needs models of one space and a weight for each. Got {len(parts)} "
                f"models of {told} and {logits.numel()} weights."
            )
        self.space = parts[0].space
        self.context_space = parts[0].context_space
        self.parts = nn.ModuleList(parts)
        if isinstance(logits, nn.Parameter):
            self.logits = logits
        else:
            self.logits = nn.Parameter(logits.detach().clone(), requires_grad=False)

    @classmethod
    def weighted(cls, parts: Sequence[Model], weights: Tensor) -> "Mixture":
        """Returns the mixture with these weights, which may be zero, shape ``(parts,)``."""
        return cls(parts, weights.float().log())

    @property
    def weights(self) -> Tensor:
        """How often a sample comes from each part, shape ``(parts,)``."""
        return self.logits.softmax(0)

    @property
    @override
    def sample_depth(self) -> int:
        return max(part.sample_depth for part in self._models())

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        """Returns ``n`` samples in random order; parts are independent draws."""
        chosen = drawn(self.weights, n, rng=rng)
        x: Tensor | None = None
        for i, part in enumerate(self._models()):
            (where,) = (chosen == i).nonzero(as_tuple=True)
            if len(where) == 0:
                continue
            samples = part.sample(
                len(where), context=None if context is None else context[where], rng=rng
            )
            if x is None:
                x = samples.new_empty(n, *samples.shape[1:])
            x[where] = samples
        return torch.empty(0, *self.space.shape, device=rng.device) if x is None else x

    def _models(self) -> list[Model]:
        return [part for part in self.parts if isinstance(part, Model)]


def _spaces(model: Model) -> str:
    given = model.context_space
    return model.space.label + ("" if given is None else f" given {given.label}")


def drawn(weights: Tensor, n: int, *, rng: torch.Generator) -> Tensor:
    """Returns ``n`` independent indices with these probabilities, shape ``(n,)``.

    Of a single one, nothing is drawn from ``rng``.
    """
    if len(weights) == 1:
        return torch.zeros(n, dtype=torch.long, device=weights.device)
    return torch.multinomial(weights.detach(), n, replacement=True, generator=rng)
