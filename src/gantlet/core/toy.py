"""What a toy is: frozen settings of a game so small that its answer is known."""

from typing import Protocol, runtime_checkable

from torch import Tensor

from gantlet.core.game import Game


@runtime_checkable
class Toy(Protocol):
    """Settings of one small game; a frozen dataclass."""

    @property
    def solver(self) -> str:
        """The written form of the solver that plays it unless another is asked."""
        ...

    @property
    def real(self) -> Tensor:
        """All real samples, which are every batch; one that nobody looks at where none is needed.

        Shape ``(n, ...)``.
        """
        ...

    def build(self) -> Game:
        """Returns the game at its start, in double precision."""
        ...
