"""How many numbers a model must keep in order to sample."""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from gantlet.compute.reads import parameters_read
from gantlet.core.estimate import Estimate
from gantlet.core.measure import Findings
from gantlet.core.model import Model
from gantlet.core.rng import Rng


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Parameters:
    """How many parameters are read when a sample is drawn.

    Of a GAN those of the generator, of a VAE those of the decoder. Of a model without parameters
    (a fitted baseline) the numbers that are saved count: of a memorizer, its training data.
    """

    def inspect(self, model: Model, real: Tensor, *, rng: Rng) -> Findings:  # noqa: ARG002
        """Returns the score ``parameters to sample``."""
        read = parameters_read(lambda: model.sample(1, rng=rng.stream("parameters")), model)
        estimate = Estimate.exact(
            read,
            method="parameters that are read when a sample is drawn",
            unit="parameters",
            better="lower",
        )
        return Findings(scores={"parameters to sample": estimate}, clock={})
