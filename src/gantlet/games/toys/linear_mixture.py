"""A mixture of linear generators."""

from typing import final

import torch
from torch import Tensor, nn
from typing_extensions import override


@final
class LinearMixture(nn.Module):
    """``k`` linear generators of equal weight, the first component of the noise tells which.

    ``G(z) = A_c z' + b_c``: ``c`` is the slice of a standard normal, of ``k`` equally likely ones,
    in which the first component of ``z`` lies; ``z'`` is the rest.

    Args:
        dim: Components of a sample.
        parts: ``k``.
        rank: Components of ``z'``.
    """

    def __init__(self, dim: int, parts: int, rank: int) -> None:
        super().__init__()
        eye = torch.eye(dim, rank, dtype=torch.float64)
        self.scale = nn.Parameter(eye.repeat(parts, 1, 1))
        self.shift = nn.Parameter(torch.zeros(parts, dim, dtype=torch.float64))

    @override
    def forward(self, z: Tensor) -> Tensor:
        """Returns samples, shape ``(n, dim)``, from noise of shape ``(n, 1 + rank)``."""
        parts = len(self.shift)
        share = torch.special.ndtr(z[:, 0])
        slot = (share * parts).floor().clamp(max=parts - 1)
        # Not one_hot, which looks at its numbers and so cannot be traced.
        which = (slot[:, None] == torch.arange(parts, device=z.device)).to(z.dtype)
        all_of_them = torch.einsum("kij,nj->nki", self.scale, z[:, 1:]) + self.shift
        found: Tensor = (which[..., None] * all_of_them).sum(1)
        return found
