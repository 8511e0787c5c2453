"""How images come to an evaluation: conversion of numbers, JPEG files, resizing.

The steps between a generator, or a camera, and a metric that papers seldom state. Each can be
redone here, so that what it does to a metric can be measured.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Literal, final, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.features.preprocess import tf_resize

Filter = Literal[
    "bicubic", "bilinear", "lanczos", "box", "nearest", "bilinear-plain", "bicubic-plain", "tf1"
]
"""How images are resized. The first four widen the filter when they shrink (no aliasing), as
Pillow does; the ``plain`` ones do not, as PyTorch by default; ``tf1`` is that of TensorFlow 1."""

Numbers = Literal["uint8", "truncate", "float32", "float16"]
"""What numbers images are kept in: bytes that are rounded or truncated, or floating point."""

Reading = Literal["right", "signed-as-unit", "unit-as-signed", "video"]
"""How the range of numbers is read: right; numbers in [-1, 1] as if in [0, 1], which cuts the dark
half off; numbers in [0, 1] as if in [-1, 1], which halves the contrast; or full range written into
16 to 235, as video files do."""

FILTERS: tuple[Filter, ...] = get_args(Filter)
NUMBERS: tuple[Numbers, ...] = get_args(Numbers)
READINGS: tuple[Reading, ...] = get_args(Reading)

_TOP = 255.0

_READ: Mapping[str, Callable[[Tensor], Tensor]] = {
    "right": lambda u: u,
    "signed-as-unit": lambda u: (2 * u - 1).clamp(0, 1),
    "unit-as-signed": lambda u: (u + 1) / 2,
    "video": lambda u: (16 + 219 * u) / _TOP,
}
_KEPT: Mapping[str, Callable[[Tensor], Tensor]] = {
    "uint8": lambda x: x.round().clamp(0, _TOP),
    # A number that rounding left just below a whole one is that whole number.
    "truncate": lambda x: (x + 1e-4).floor().clamp(0, _TOP),
    "float32": lambda x: x,
    "float16": lambda x: (x / _TOP).half().float() * _TOP,
}
_OF_PILLOW = {
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    # Half way between two pixels each library rounds its own way.
    "nearest": Image.Resampling.NEAREST,
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """What is done to images, in this order: range, numbers, JPEG, resizing, numbers again.

    Attributes:
        reading: How the range of their numbers is read.
        numbers: What numbers they are kept in.
        jpeg: Quality of the JPEG file that each goes through, from 1 to 100, or None.
        size: Height and width in pixels that they are resized to, or None.
        resize: How they are resized.
    """

    reading: Reading = "right"
    numbers: Numbers = "uint8"
    jpeg: int | None = None
    size: int | None = None
    resize: Filter = "bicubic"

    @property
    def is_nothing(self) -> bool:
        """Whether images of bytes stay as they are."""
        is_read = self.reading == "right" and self.numbers in ("uint8", "truncate", "float32")
        return is_read and self.jpeg is None and self.size is None

    @property
    def label(self) -> str:
        """What is done, for the names of cached features."""
        return f"{self.reading} {self.numbers} jpeg {self.jpeg} {self.resize} {self.size}"

    def check(self, space: Space) -> None:
        """Checks that samples can be prepared.

        Raises:
            UserError: If they are not images of 256 levels in one or three channels.
        """
        if self.is_nothing:
            return
        if space.kind != "image" or space.levels != 256 or space.shape[0] not in (1, 3):
            raise UserError(
                "size, resize, jpeg, dtype and range are for images of 256 levels in one or three "
                f"channels. Got {space.label}."
            )

    def space(self, space: Space) -> Space:
        """Returns the space of the prepared images."""
        if self.size is None:
            return space
        shape = (space.shape[0], self.size, self.size)
        return Space(space.kind, shape, space.levels)

    def __call__(self, x: Tensor) -> Tensor:
        """Returns prepared images, float32 from 0 to 255, for ``(n, c, h, w)`` levels."""
        if self.is_nothing:
            return x
        keep = _KEPT[self.numbers]
        y = keep(_READ[self.reading](x.float() / _TOP) * _TOP)
        if self.jpeg is not None:
            y = through_jpeg(y, self.jpeg)
        if self.size is not None:
            y = keep(resized(y, self.size, self.resize))
        return y


def through_jpeg(x: Tensor, quality: int) -> Tensor:
    """Returns images, shape ``(n, c, h, w)`` from 0 to 255, as their JPEG files show them.

    Args:
        x: The images; a file holds bytes, so that they are rounded.
        quality: From 1 to 100; colours are kept at half resolution, as Pillow does by default.
    """
    pixels = x.round().clamp(0, _TOP).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    back = np.empty_like(pixels)
    for i, one in enumerate(pixels):
        file = BytesIO()
        Image.fromarray(one if one.shape[2] == 3 else one[:, :, 0]).save(
            file, "JPEG", quality=quality
        )
        with Image.open(file) as opened:
            back[i] = np.asarray(opened).reshape(one.shape)
    return torch.from_numpy(back).permute(0, 3, 1, 2).to(x)


def resized(x: Tensor, size: int, how: Filter) -> Tensor:
    """Returns images, shape ``(n, c, h, w)`` from 0 to 255, at ``(size, size)``, not rounded.

    Args:
        x: The images.
        size: Height and width in pixels; images that have it stay as they are.
        how: The filter. Lanczos, box and nearest come from Pillow, in single precision.
    """
    if x.shape[2:] == (size, size) or not len(x):
        return x.reshape(len(x), x.shape[1], size, size)
    if how == "tf1":
        return tf_resize(x, size)
    if how in _OF_PILLOW:
        return _by_pillow(x, size, _OF_PILLOW[how]).clamp(0, _TOP)
    mode, _, plain = how.partition("-")
    y = interpolate(x, (size, size), mode=mode, antialias=not plain, align_corners=False)
    return y.clamp(0, _TOP)


def _by_pillow(x: Tensor, size: int, how: Image.Resampling) -> Tensor:
    planes = x.flatten(0, 1).cpu().numpy().astype(np.float32)
    made = [np.asarray(Image.fromarray(p, mode="F").resize((size, size), how)) for p in planes]
    return torch.from_numpy(np.stack(made)).view(*x.shape[:2], size, size).to(x)
