"""Principal components: the directions in which the training samples vary most."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.dataset import Splits
from gantlet.core.errors import UserError
from gantlet.core.measure import Features
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between, Spec
from gantlet.features.frozen import blocks, frozen, scaling_of, some
from gantlet.features.spectrum import Spectrum, exact, leading
from gantlet.nets.scaling import Scaling

# Most numbers of training samples that are looked at: 64 MB as bytes.
_NUMBERS = 2**26
# Components of a sample up to which the whole covariance matrix is decomposed.
_EXACT = 1024


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Pca:
    """The leading principal components of the training split, in double precision.

    Levels are scaled to [-1, 1); the columns of a continuous vector are standardised, so that
    units do not matter. If some of them are constant over the training samples, the distance from
    these constants is one feature more: what is new in a sample may be in no direction of theirs.

    Source: Hotelling, 1933, https://doi.org/10.1037/h0071325.

    Attributes:
        components: Most components.
        variance: Share of the variance that is enough; no more components are taken.
        whiten: Whether every component is divided by its standard deviation.
    """

    learns: ClassVar[bool] = True

    components: Annotated[int, Between(1)] = 64
    variance: Annotated[float, Between(0, 1)] = 0.99
    whiten: bool = False

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the projection.

        At most 67 million numbers are looked at, which are 85,598 images of 28x28 pixels. Where
        samples have more than 1,024 components, the leading directions are found by iteration.

        Raises:
            UserError: If the training samples do not differ.
        """
        stream = Rng(rng.seed).stream("pca")
        scaling = scaling_of(space, data.train, rng=stream).to(rng.device, torch.float64)
        index = some(len(data.train), max(1, _NUMBERS // space.size), rng=stream)

        def rows() -> Iterable[Tensor]:
            for x in blocks(data.train, index, space, device=rng.device):
                yield scaling(x.double()).flatten(1)

        found = self._spectrum(rows, space, stream)
        # What is left of samples that are all alike is rounding.
        if found.total <= 1e-14 * (1 + float((found.mean**2).sum())):
            raise UserError(
                f"pca needs training samples that differ. Got {len(index)} that are all alike."
            )
        k = self._count(found)
        fixed = _fixed(found, space)
        net = _Projection(scaling, found, k, fixed, whiten=self.whiten)
        share = float(found.values[:k].sum()) / found.total
        return frozen(
            net,
            space,
            spec=Spec.of("pca", self),
            note=f"the first {k} principal components of {len(index)} training samples, with "
            f"{100 * share:.1f} % of their variance"
            + (f", and the distance from {int(fixed.sum())} constants" if fixed.any() else ""),
        )

    def _spectrum(
        self, rows: Callable[[], Iterable[Tensor]], space: Space, rng: torch.Generator
    ) -> Spectrum:
        if space.size <= _EXACT:
            return exact(rows())
        return leading(rows, min(self.components, space.size), rng=rng)

    def _count(self, found: Spectrum) -> int:
        """Returns how many components reach the share of the variance, with room for rounding."""
        reached = found.values.cumsum(0) / found.total
        needed = int((reached < self.variance - 1e-9).sum()) + 1
        rank = int((found.values > 1e-12 * found.total).sum())
        return min(needed, self.components, rank)


def _fixed(found: Spectrum, space: Space) -> Tensor:
    """Returns which components of rows do not vary, shape ``(d,)``; of other samples none."""
    # A component that varies was scaled to a variance of about 1.
    is_scaled = space.kind in {"vector", "table"} and space.levels is None
    if not is_scaled or space.size > _EXACT:
        return torch.zeros_like(found.mean, dtype=torch.bool)
    variance = (found.vectors.square() * found.values.clamp_min(0)).sum(1)
    return variance < 1e-6


@final
class _Projection(nn.Module):
    """Scales, centres and projects."""

    mean: Tensor
    basis: Tensor
    fixed: Tensor

    def __init__(
        self, scaling: Scaling, found: Spectrum, k: int, fixed: Tensor, *, whiten: bool
    ) -> None:
        super().__init__()
        self.scaling = scaling
        basis = found.vectors[:, :k]
        self.register_buffer("mean", found.mean)
        self.register_buffer("basis", basis / found.values[:k].sqrt() if whiten else basis)
        self.register_buffer("fixed", fixed)
        self._has_fixed = bool(fixed.any())

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns the components, shape ``(n, k)``, or ``(n, k + 1)`` with the distance."""
        scaled: Tensor = self.scaling(x.double())
        apart = scaled.flatten(1) - self.mean
        found = apart @ self.basis
        if not self._has_fixed:
            return found
        return torch.cat([found, apart[:, self.fixed].norm(dim=1, keepdim=True)], 1)
