"""Image preprocessing of published networks: resizing and normalization."""

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gantlet.core.data import Space
from gantlet.core.errors import UserError

# ----------------------------------------------------------------------------
# Resizing as the first version of TensorFlow did it, which the published FID rests on.
# ----------------------------------------------------------------------------


def tf_resize(x: Tensor, size: int) -> Tensor:
    """Returns images ``(n, c, h, w)`` at ``(size, size)``, in the arithmetic of TensorFlow 1.

    Bilinear between the four nearest pixels, whatever the scale: shrinking leaves pixels out. The
    left upper corners of both images fall together, so that there is a shift of half a pixel
    against other libraries.

    Source: Abadi et al., 2016, https://arxiv.org/abs/1605.08695, whose ``ResizeBilinear`` it
        follows, with ``align_corners`` and ``half_pixel_centers`` both false; Parmar et al., 2022,
        https://arxiv.org/abs/2104.11222, on what this does to FID.
    """
    low, high, share = _places(x.shape[3], size, x)
    left, right = x.index_select(3, low), x.index_select(3, high)
    rows = left + (right - left) * share
    low, high, share = _places(x.shape[2], size, x)
    top, bottom = rows.index_select(2, low), rows.index_select(2, high)
    return top + (bottom - top) * share[:, None]


def _places(old: int, new: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the two neighbours of each new place, and how far it lies towards the second."""
    # In single precision throughout: TensorFlow's rounding decides which neighbours are taken.
    scale = torch.tensor(old / new, dtype=torch.float32)
    at = torch.arange(new, dtype=torch.float32) * scale
    low = at.long()
    high = (low + 1).clamp(max=old - 1)
    return low.to(like.device), high.to(like.device), (at - low).to(like)


# ----------------------------------------------------------------------------
# Samples as the networks of others want to see them.
# ----------------------------------------------------------------------------

Range = Literal["0..255", "0..1", "-1..1", "imagenet", "clip", "inception", "efficientnet"]
"""What pixel values a network wants.

``imagenet`` and ``clip`` are zero mean and unit deviation of each colour of those images;
``inception`` is (x - 128) / 128, ``efficientnet`` is (x - 127) / 128.
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
class NetworkInput:
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
            UserError: If they are not images with levels, or have other channels.
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
    if pixels == "efficientnet":
        return (x - 127) / 128
    if pixels == "-1..1":
        return x / 127.5 - 1
    if pixels == "0..1":
        return x / 255
    mean, std = (torch.tensor(c).to(x).view(-1, 1, 1) for c in _COLOURS[pixels])
    return (x / 255 - mean) / std
