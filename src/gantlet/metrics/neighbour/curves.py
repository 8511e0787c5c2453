"""How far the distribution of numbers in [0, 1] lies from the uniform one."""

from typing import final

import torch
from torch import Tensor


@final
class Curve:
    """The share of numbers that are at most ``t``, as a function of ``t`` in [0, 1].

    Args:
        u: The numbers, shape ``(n,)``; those above 1 are never reached.
    """

    def __init__(self, u: Tensor) -> None:
        inner = u.sort().values.clamp(0, 1)
        self.places = torch.cat([u.new_zeros(1), inner, u.new_ones(1)])
        self.heights = torch.arange(len(u) + 1, device=u.device, dtype=u.dtype) / len(u)

    def agreement(self) -> float:
        """Returns 1 less twice the area between the curve and the diagonal, exactly.

        1 where the numbers are uniform, 0 where all are 0 or never reached, 0.5 where all are
        in the middle.
        """
        above, below = self.places[1:] - self.heights, self.places[:-1] - self.heights
        return 1 - float((above * above.abs() - below * below.abs()).sum())

    def influence(self, u: Tensor) -> Tensor:
        """Returns how the agreement leans on single numbers, to first order, shape as ``u``.

        With ``s(t)`` the sign of the curve less the diagonal, ``-2 int_u^1 s(t) dt``: more mass at
        ``u`` lifts the curve from there on, which is good only where it lies below.
        """
        signs = (self.places[:-1] - self.heights).abs() - (self.places[1:] - self.heights).abs()
        tail = torch.cat([signs.flip(0).cumsum(0).flip(0), signs.new_zeros(1)])
        inside = u.clamp(0, 1).contiguous()
        piece = torch.searchsorted(self.places, inside, right=True).sub_(1)
        piece = piece.clamp_(0, len(signs) - 1)
        c = self.heights[piece]
        rest = (inside - c).abs() - (self.places[piece + 1] - c).abs()
        return -2 * (tail[piece + 1] + rest)
