"""What a model draws between the numbers and shares that it was trained on: dots and pies.

Source: Zhao et al., 2018, https://arxiv.org/abs/1811.03259.
Differs from the paper: images of 16 and 32 pixels in place of 64, and seconds of training.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from gantlet.data.drawings import Dots, Pies

DRAWN: Mapping[str, str] = {
    "pies": "pies:red=0.3+0.7,size=16,n=4000,held_out=1000",
    "dots": "dots:counts=2+4,size=32,n=4000,held_out=1000",
}
"""Pies of which 30 % or 70 % is red, and images of two or four dots, by name."""

DRAWN_FAMILIES: Mapping[str, str] = {
    "gan": "gan:latent=16,width=128,net=mlp,loss=ns,penalty=none,ema=0",
    "vae": "vae:latent=16,width=128,net=mlp,mixtures=1,ema=0.9",
    "flow": "flow:width=16,layers=2,arch=glow,ema=0.9",
}
"""The GAN of 2014, a VAE and a flow, small enough for a few hundred steps in seconds."""

DRAWN_TIMES = 16
"""So many times the FLOPs of the parts on modes and tails: an image is that much larger."""

TOLERANCE = 0.05
"""A share of red, a diameter or a place is right within so much, as measured from pixels."""


FARTHEST = 0.2
"""A pie is drawn again from what was measured of it: further away, in root mean square of 0 to 1,
it is none. Real images are within 0.07, discs of red and blue pixels at random beyond 0.23."""

COVERED = (1.0, 2.0)
"""What dots cover, in areas of as many discs: at 32 pixels 99 % of real images are within."""

_RADIUS = 0.08  # of a dot, relative to the image


def drawn_right(data: Dots | Pies, samples: Tensor) -> dict[str, float]:
    """Returns what share of images is as the training images are, and what share lies between.

    Dots are counted, and of pies the share of red, the diameter and the place are measured, all
    by rules on pixels. ``right`` is the share of images with a number of dots, or a share of red,
    of the training set; ``between`` the share with one that lies between two of them and is
    neither; ``outside`` all the rest: also pies of another diameter or place, and what is no pie
    (``FARTHEST``) and no dots (``COVERED``) but is measured as if it were, as noise is.
    ``rarest``, left out where none is right, is the share, among images that are right, of the
    training value that is seen least.

    Args:
        data: The data set.
        samples: Images, shape ``(n, 3, size, size)``, levels 0 to 255.
    """
    if isinstance(data, Dots):
        known = torch.tensor(data.counts, dtype=torch.float64)
        value = data.count_of(samples).double()
        disc = math.pi * (_RADIUS * data.size) ** 2
        covered = (samples.amin(1) < 0.9 * 255).sum((1, 2)) / (disc * value.clamp(min=1))
        is_whole, tolerance = (covered >= COVERED[0]) & (covered <= COVERED[1]), 0.0
    else:
        known = torch.tensor(data.red, dtype=torch.float64)
        measured = data.measure(samples)
        value, tolerance = measured["red"], TOLERANCE
        is_whole = torch.stack(
            [_gap(measured[name], getattr(data, name)) <= TOLERANCE for name in _PLACES]
        ).all(0)
        is_whole &= _redrawn(data, samples, measured) <= FARTHEST
    right = is_whole & (_gap(value, known.tolist()) <= tolerance)
    between = is_whole & ~right & (value > known.min()) & (value < known.max())
    nearest = (value[right, None] - known).abs().argmin(1)
    counts = torch.bincount(nearest, minlength=len(known))
    found = {
        "right": _share(right),
        "between": _share(between),
        "outside": _share(~right & ~between),
    }
    return found | ({"rarest": float(counts.min() / counts.sum())} if right.any() else {})


_PLACES = ("diameter", "x", "y")


def _gap(value: Tensor, known: tuple[float, ...] | list[float]) -> Tensor:
    """Returns the distance of each value, shape ``(n,)``, to the nearest known one."""
    return (value[:, None] - torch.tensor(known, dtype=value.dtype)).abs().amin(1)


def _share(which: Tensor) -> float:
    return float(which.double().mean())


def _redrawn(data: Pies, samples: Tensor, measured: Mapping[str, Tensor]) -> Tensor:
    """Returns how far images are from the pies that were measured of them, shape ``(n,)``.

    Red begins so that its middle is where the centre of the red pixels is.
    """
    unit = samples.double() / 255
    red = (unit[:, 0] - unit[:, 1:].amax(1)).clamp(min=0)
    place = (torch.arange(data.size, dtype=torch.float64) + 0.5) / data.size - 0.5
    mass = red.sum((1, 2)).clamp(min=1e-9)
    right = (red.sum(1) * place).sum(1) / mass - measured["x"]
    below = (red.sum(2) * place).sum(1) / mass - measured["y"]
    start = torch.atan2(below, right).rad2deg() - 180 * measured["red"]
    drawn = data.render({**measured, "start": start})
    return (unit - drawn.double() / 255).square().mean((1, 2, 3)).sqrt()
