"""The images of MNIST as a population to draw from, of which every distance is known."""

from dataclasses import dataclass
from functools import cache
from typing import final

import torch
from torch import Tensor

from gantlet.core.errors import UserError
from gantlet.data.catalogue import locate
from gantlet.data.idx import TRAIN, find, read_pair

_DARKER = 0.97


@final
@dataclass(frozen=True, slots=True, eq=False)
class Finite:
    """A distribution over so many points, each as likely as the others.

    Attributes:
        points: In float64, shape ``(k, d)``.
    """

    points: Tensor

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Returns ``n`` samples in float32, shape ``(n, d)``; the same one may come again."""
        return self.points[torch.randint(len(self.points), (n,), generator=rng)].float()

    def groups(self, n: int) -> Tensor | None:
        """Returns None: each of them is drawn alone."""
        del n
        return None

    def moments(self) -> tuple[Tensor, Tensor]:
        """Returns mean and covariance, shapes ``(d,)`` and ``(d, d)``."""
        return self.points.mean(0), torch.cov(self.points.T, correction=0).reshape(
            self.points.shape[1], -1
        )


def digits(d: int) -> tuple[Finite, Finite]:
    """Returns the first 30,000 training images of MNIST, and the others, a little darker.

    As their ``d`` leading principal components, over the root of the first one's variance.

    Raises:
        UserError: If the files are not there, or there are not so many components.
    """
    centred, axes, centre = _axes()
    if d > axes.shape[1]:
        raise UserError(f"Images of MNIST have {axes.shape[1]} components. Got d = {d}.")
    axes = axes[:, :d]
    half = len(centred) // 2
    seen = (centred @ axes).double()
    scale = seen[:, 0].std()
    # Darker pixels: all of them smaller, about zero and not about their mean.
    darker = _DARKER * seen[half:] - (1 - _DARKER) * (centre @ axes).double()
    return Finite(seen[:half] / scale), Finite(darker / scale)


@cache
def _axes() -> tuple[Tensor, Tensor, Tensor]:
    """Returns the images less their mean, their principal axes, largest first, and the mean."""
    folder = locate("mnist", None)
    images, labels = (find(folder, name) for name in TRAIN)
    if images is None:
        raise UserError(f"{folder / TRAIN[0]} is not a file.")
    pixels = torch.tensor(read_pair(images, labels).array.reshape(60_000, -1)).float() / 255
    centre = pixels.mean(0)
    pixels -= centre
    return pixels, torch.linalg.eigh(pixels.T @ pixels).eigenvectors.flip(1), centre
