"""Samples as the networks of others want to see them."""

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gantlet.core.errors import UserError
from gantlet.core.space import Space
from gantlet.features.tf_resize import tf_resize

Range = Literal["0..255", "0..1", "-1..1", "imagenet", "clip", "inception"]
"""What pixel values a network wants.

``imagenet`` and ``clip`` are zero mean and unit deviation of each colour of those images;
``inception`` is (x - 128) / 128.
"""

Resize = Literal["bilinear", "bicubic", "bicubic-plain", "tf1"]
"""How images are resized. ``bilinear`` and ``bicubic`` are antialiased, as Pillow does it."""

# Mean and deviation of red, green and blue in [0, 1].
_COLOURS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """How samples become the input of a network.

    Attributes:
        space: The space of the samples.
        channels: How many channels it wants: 3 repeats a grey image; None leaves them.
        size: Height and width that it wants, or None to leave them.
        resize: How to get there.
        pixels: What pixel values it wants.
    """

    space: Space
    channels: int | None
    size: int | None
    resize: Resize
    pixels: Range

    def check(self) -> None:
        """Checks that samples can be shown to the network.

        Raises:
            UserError: If they are no images with levels, or of other channels.
        """
        if self.space.kind != "image" or self.space.levels is None:
            raise UserError(
                f"This network sees images with levels. Got {self.space.label}; use the features "
                "pixels, pca or random-conv."
            )
        own = self.space.shape[0]
        if self.channels not in {None, own} and (own, self.channels) != (1, 3):
            raise UserError(f"This network sees {self.channels} channels. Got {self.space.label}.")
        if self.pixels in _COLOURS and (self.channels or own) != 3:
            raise UserError(
                f"The means of {self.pixels} are those of three colours. Got {self.space.label}; "
                "channels=3 repeats a grey image."
            )

    @property
    def label(self) -> str:
        """What is done, for fingerprints and notes."""
        size = f"{self.resize} to {self.size}x{self.size}" if self.size else "own size"
        grey = " grey repeated" if self.channels == 3 and self.space.shape[0] == 1 else ""
        return f"{size} pixels {self.pixels}{grey}"

    def __call__(self, x: Tensor) -> Tensor:
        """Returns samples ``(n, *space.shape)`` as float32 images ``(n, channels, h, w)``."""
        x = x.float()
        if self.space.levels != 256:
            x = self.space.unit(x) * 255
        if self.channels == 3 and x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        return _ranged(self._resized(x), self.pixels)

    def _resized(self, x: Tensor) -> Tensor:
        if self.size is None:
            return x
        if not len(x):  # torch does not resize nothing
            return x.new_empty(0, x.shape[1], self.size, self.size)
        if self.resize == "tf1":
            return tf_resize(x, self.size)
        mode = "bilinear" if self.resize == "bilinear" else "bicubic"
        smooth = self.resize != "bicubic-plain"
        shape = (self.size, self.size)
        y = interpolate(x, shape, mode=mode, antialias=smooth, align_corners=False)
        # Bicubic curves leave the range of the pixels beside edges.
        return y.clamp(0, 255) if smooth else y


def _ranged(x: Tensor, pixels: Range) -> Tensor:
    """Returns images with values from 0 to 255 in another range."""
    if pixels == "0..255":
        return x
    if pixels == "inception":
        return (x - 128) / 128
    if pixels == "-1..1":
        return x / 127.5 - 1
    if pixels == "0..1":
        return x / 255
    mean, std = (torch.tensor(c).to(x).view(-1, 1, 1) for c in _COLOURS[pixels])
    return (x / 255 - mean) / std
