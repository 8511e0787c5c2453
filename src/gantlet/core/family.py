"""What a model family is: frozen settings that build a game, or fit a model outright."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

from torch import Tensor

from gantlet.core.errors import UserError
from gantlet.core.game import Generative
from gantlet.core.model import Model
from gantlet.core.rng import Rng
from gantlet.core.space import Space


@runtime_checkable
class Family(Protocol):
    """Settings of one kind of model that is trained as a game; a frozen dataclass."""

    @property
    def solver(self) -> str:
        """The written form of the solver that suits the family, used unless another is asked."""
        ...

    @property
    def ema(self) -> float:
        """Decay of the running average of weights that is sampled and judged; 0 is none."""
        ...

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> Generative:
        """Returns an untrained game for samples of ``space``, on the device of ``rng``.

        Args:
            space: What one sample is.
            context_space: What samples are conditioned on, or None.
            rng: Its stream "init" gives the first weights.

        Raises:
            UserError: If the family cannot model such samples, or not on such a context.
        """
        ...


def refuse_context(name: str, context_space: Space | None) -> None:
    """Refuses what a family without conditional models is asked to condition on.

    Raises:
        UserError: If ``context_space`` is not None.
    """
    if context_space is not None:
        raise UserError(
            f"{name} has no conditional models: context_space must be None. "
            f"Got {context_space.label}."
        )


@final
@dataclass(frozen=True, slots=True)
class Fit:
    """A model fitted without a game.

    Attributes:
        model: The fitted model.
        flops: What fitting cost, counted from the algorithm.
    """

    model: Model
    flops: float


@runtime_checkable
class Fitted(Protocol):
    """Settings of an honest baseline that is fitted outright; a frozen dataclass."""

    def fit(self, space: Space, train: Tensor, *, rng: Rng) -> Fit:
        """Returns the model fitted to ``train``, shape ``(n, *space.shape)``.

        Raises:
            UserError: If it cannot model such samples.
        """
        ...

    def restore(self, space: Space, state: Mapping[str, Tensor]) -> Model:
        """Returns a fitted model from its saved tensors."""
        ...
