"""The sliced Wasserstein distance."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import normalize
from typing_extensions import override

from gantlet.core.estimate import Better, Estimate
from gantlet.core.measure import Groups, Sees
from gantlet.core.spec import Between
from gantlet.metrics.groups import checked_groups, drawn, too_few_groups
from gantlet.metrics.influence import by_group
from gantlet.metrics.inputs import about_zero, pair, too_few
from gantlet.metrics.intervals import Variance, around, total
from gantlet.metrics.paired import ClusteredPaired, Detailed
from gantlet.metrics.sliced_transport import transport

_METHOD = (
    "{} random directions; plain {:.4g}, less its bias; bias and interval by block jackknife, "
    "the choice of directions included; where the two are nearly equal {}"
)
# Order 1 is the mean size of a difference, which noise always makes larger.
_NEAR = {
    1: "the value stays too high and the interval misses",
    2: "the interval is too wide, and next to that, where they differ by little along one "
    "direction, it lies too low in up to a tenth",
}


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class SlicedWasserstein(ClusteredPaired):
    """The mean over random directions of ``W_p^p`` along each: squared for order 2, no root.

    Freed of its bias by leaving out one fold of samples at a time, it may be negative when the
    two are close. For normal distributions with covariances ``s^2 I`` and ``t^2 I`` the order 2
    is ``|m1 - m2|^2 / d + (s - t)^2``.

    Source: Bonneel et al., 2015, https://doi.org/10.1007/s10851-014-0506-3.

    Differs from the paper: bias removed, no root.

    Attributes:
        directions: How many directions are drawn.
        order: The power of the distance that is carried.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = True

    directions: Annotated[int, Between(2, 65536)] = 256
    order: Annotated[int, Between(1, 2)] = 2

    @override
    def detail(
        self, real: Tensor, fake: Tensor, *, rng: torch.Generator, groups: Groups | None = None
    ) -> Detailed:
        """Compares as ``measure`` does and tells what each real sample adds, to first order.

        Raises:
            UserError: If the features cannot be compared.
        """
        x, y = about_zero(*pair(real, fake))
        groups = checked_groups(groups, len(x), len(y))
        if reason := too_few(x, y, 2) or too_few_groups(groups, 2):
            return _nothing(reason, len(x))
        real_group, fake_group = (None, None) if groups is None else (groups.real, groups.fake)
        u = random_directions(x.shape[1], self.directions, rng=rng, like=x)
        found = transport(x, y, u, self.order, rng=rng, groups=groups)
        variance = total([found.variance, _of_directions(found.along)])
        made = around(
            found.plain - found.bias,
            variance,
            n=min(drawn(real_group, len(x)), drawn(fake_group, len(y))),
            method=_METHOD.format(self.directions, found.plain, _NEAR[self.order]),
        )
        named = made.named(unit=self.unit, better=self.better).beside(plain=found.plain)
        of_real = by_group(found.of_real, real_group)
        of_fake = by_group(found.of_fake, fake_group)
        return Detailed(named, of_real, found.rest(variance, of_real, of_fake))


def random_directions(d: int, count: int, *, rng: torch.Generator, like: Tensor) -> Tensor:
    """Returns unit vectors drawn evenly from the sphere, shape ``(d, count)``."""
    u = torch.randn(d, count, generator=rng, device=rng.device, dtype=torch.float64).to(like)
    return normalize(u, dim=0)


def _nothing(reason: str, n: int) -> Detailed:
    missing = Estimate.missing(reason, better=SlicedWasserstein.better)
    return Detailed(missing, torch.zeros(n, dtype=torch.float64), Variance(0.0))


def _of_directions(along: Tensor) -> Variance:
    """Returns the variance of the mean that comes from which directions were drawn."""
    folds_, count = len(along) - 1, along.shape[1]
    unbiased = folds_ * along[0] - (folds_ - 1) * along[1:].mean(0)
    return Variance.of_squares(float(unbiased.var()) / count, count - 1)
