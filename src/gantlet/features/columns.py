"""The columns of a table, each in its own unit of spread."""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.dataset import Splits
from gantlet.core.measure import Features
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Spec
from gantlet.features.frozen import frozen, scaling_of
from gantlet.nets.scaling import Scaling


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The components of a vector, less their mean and divided by their standard deviation.

    Both are those of the training split, of at most 20,000 samples. So units do not matter: metres
    and millimetres give the same distances. A column that is constant there keeps its unit. Images
    have one mean and deviation for all components, and levels are scaled to [-1, 1).

    Source: none needed; z-scores.
    """

    learns: ClassVar[bool] = False

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the extractor."""
        scaling = scaling_of(space, data.train, rng=Rng(rng.seed).stream("columns"))
        return frozen(
            _Standardised(scaling).to(rng.device),
            space,
            spec=Spec.of("columns", self),
            note=f"the {space.size} components of {space.label}, standardised by training samples",
        )


@final
class _Standardised(nn.Module):
    """Scales in double precision, as units may be far from 1."""

    def __init__(self, scaling: Scaling) -> None:
        super().__init__()
        self.scaling = scaling.double()

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns z-scores, shape ``(n, d)``."""
        scaled: Tensor = self.scaling(x.double())
        return scaled.flatten(1)
