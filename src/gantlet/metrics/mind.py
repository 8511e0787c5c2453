"""MIND: the sliced Wasserstein distance in units that do not shrink with the dimension."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.estimate import Better
from gantlet.core.measure import Groups, Sees
from gantlet.core.spec import Between
from gantlet.metrics.inputs import pair
from gantlet.metrics.paired import ClusteredPaired, Detailed
from gantlet.metrics.sliced import SlicedWasserstein


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Mind(ClusteredPaired):
    """The Monge Inception Distance: ``3 d`` times the mean of ``W_2^2`` over random directions.

    A shift of the mean by ``m`` gives ``3 |m|^2`` whatever the number ``d`` of features is. The
    values of papers are on the features of Inception.

    Source: Berthet et al., 2026, https://arxiv.org/abs/2605.06797; torch-fidelity has it too.

    Differs from the paper: the bias is removed as in ``sliced-wasserstein``, so that it may be
    negative where the two are close; sets of unequal size are used whole.

    Attributes:
        directions: How many directions are drawn.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = True

    directions: Annotated[int, Between(2, 65536)] = 1000

    @override
    def detail(
        self, real: Tensor, fake: Tensor, *, rng: torch.Generator, groups: Groups | None = None
    ) -> Detailed:
        """Compares as ``measure`` does and tells what each real sample adds, to first order.

        Raises:
            UserError: If the features cannot be compared.
        """
        x, y = pair(real, fake)
        # The distance is quadratic in the features.
        unit = math.sqrt(3 * x.shape[1])
        sliced = SlicedWasserstein(directions=self.directions)
        return sliced.detail(x * unit, y * unit, rng=rng, groups=groups)
