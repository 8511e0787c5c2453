"""A player that is nothing but numbers."""

from typing import final

from torch import Tensor, nn


@final
class Point(nn.Module):
    """A player whose only parameter is where it stands.

    Args:
        at: Where it begins, of any shape.
    """

    def __init__(self, at: Tensor) -> None:
        super().__init__()
        self.at = nn.Parameter(at.clone())
