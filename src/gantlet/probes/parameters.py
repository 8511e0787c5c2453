"""How many numbers a model must keep in order to sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor
from typing_extensions import override

from gantlet.compute.meter import Meter
from gantlet.compute.storages import key, tensors
from gantlet.core.estimate import Estimate
from gantlet.core.measure import Findings
from gantlet.core.model import Model
from gantlet.core.rng import Rng


@final
class _Reads(Meter):
    """Notes which storages operators read."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: set[int] = set()

    @override
    def call(
        self, name: str, operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        self.keys.update(key(x) for x in tensors((args, kwargs)))
        return operator(*args, **kwargs)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Parameters:
    """How many parameters are read when a sample is drawn.

    Of a GAN those of the generator, of a VAE those of the decoder. Of a model without parameters
    (a fitted baseline) the numbers that are saved count: of a memorizer, its training data.
    """

    def inspect(self, model: Model, real: Tensor, *, rng: Rng) -> Findings:  # noqa: ARG002
        """Returns the score ``parameters to sample``."""
        saved = list(model.parameters()) or list(model.state_dict().values())
        # These live throughout, so that no other storage can take the place of theirs.
        kept = {key(x): x for x in saved}
        with _Reads() as reads:
            model.sample(1, rng=rng.stream("parameters"))
        count = sum(x.numel() for k, x in kept.items() if k in reads.keys)
        estimate = Estimate.exact(
            count,
            method="parameters that are read when a sample is drawn",
            better="lower",
        )
        return Findings(scores={"parameters to sample": estimate}, clock={})
