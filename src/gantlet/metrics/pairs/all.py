"""All numbers of a paired task: translation, infilling, edits of attributes."""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from gantlet.core.estimate import Estimate
from gantlet.metrics.pairs.features import diversity, feature_distance
from gantlet.metrics.pairs.pixels import paired_ms_ssim, psnr


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Targets and outputs of a paired task.

    Attributes:
        target: What was wanted, in [0, 1], shape ``(n, ...)``.
        output: What came out, of the same shape.
        inputs: The number of the input of each pair, shape ``(n,)``, where there are several
            outputs for one input.
    """

    target: Tensor
    output: Tensor
    inputs: Tensor | None = None

    def measure(self, features: tuple[Tensor, Tensor] | None = None) -> dict[str, Estimate]:
        """Returns ``psnr``, ``ms-ssim`` for images, and from features the distance and diversity.

        Args:
            features: Those of the targets and of the outputs, shapes ``(n, d)``; without them
                there are numbers of pixels only.

        Raises:
            UserError: If these are no pairs.
        """
        found = {"psnr": psnr(self.target, self.output, inputs=self.inputs)}
        if self.target.ndim == 4:
            found["ms-ssim"] = paired_ms_ssim(self.target, self.output, inputs=self.inputs)
        if features is None:
            return found
        found["feature distance"] = feature_distance(*features, inputs=self.inputs)
        if self.inputs is not None:
            found["diversity"] = diversity(features[1], self.inputs)
        return found
