"""An affine map that gives data of any scale zero mean and about unit variance."""

from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.nets.affine import AffineMap

# The smallest spread of a component, as a fraction of that of the whole. Without it a pixel that
# happens to be constant in the first batch would turn later values into hundreds of deviations.
_FLOOR = 0.1


@final
class Standardise(AffineMap):
    """Subtracts a mean and divides by a standard deviation that are set once from data.

    The identity until ``fit`` is called.

    Args:
        shape: The shape of one sample.
        each: Whether every component has a mean and deviation of its own, or all share one.
    """

    def __init__(self, shape: tuple[int, ...], *, each: bool) -> None:
        super().__init__(shape, each=each)
        self._each = each

    @override
    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Sets the map from samples, shape ``(n, *shape)``."""
        mean, whole = x.mean(), x.std(correction=0).clamp(min=1e-12)
        if self._each:
            self.shift.copy_(x.mean(0))
            self.scale.copy_(x.std(0, correction=0).clamp(min=_FLOOR * whole))
        else:
            self.shift.fill_(mean)
            self.scale.fill_(whole)
