"""The baseline that has learnt nothing but its training data by heart."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.family import Fit
from gantlet.core.model import Model
from gantlet.core.rng import Rng
from gantlet.core.space import Space


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Memorizer:
    """A baseline that returns training samples, drawn with replacement.

    A metric that prefers it to held-out data does not see overfitting. It has no density.
    """

    def fit(self, space: Space, train: Tensor, *, rng: Rng) -> Fit:
        """Returns the model that holds ``train``, shape ``(n, *space.shape)``, at no cost.

        Raises:
            UserError: If ``train`` is not of ``space``.
        """
        del rng  # nothing is random
        small = space.levels is not None and space.levels <= 256
        x = space.check(train, "train")
        return Fit(_Memory(space, x.to(torch.uint8) if small else x.clone()), 0.0)

    def restore(self, space: Space, state: Mapping[str, Tensor]) -> Model:
        """Returns the model from its saved tensors."""
        return _Memory(space, **state)


@final
class _Memory(Model):
    """All training samples, ``samples`` of shape ``(n, *space.shape)``."""

    samples: Tensor

    def __init__(self, space: Space, samples: Tensor) -> None:
        super().__init__()
        self.space = space
        self.register_buffer("samples", samples)

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        index = torch.randint(len(self.samples), (n,), generator=rng, device=rng.device)
        return self.samples[index].float()
