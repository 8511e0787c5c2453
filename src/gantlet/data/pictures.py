"""Image files, decoded when they are needed."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from gantlet.core.errors import UserError
from gantlet.core.space import Space
from gantlet.data.checks import Array, is_folder, readable

Colour = Literal["rgb", "grey"]

SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")
_KEPT = 2**30  # bytes of decoded images that one split keeps in memory
_FOREIGN = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # more than eight bits a value
# What Pillow raises on damaged files.
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How a file becomes a sample.

    Attributes:
        size: Height and width in pixels, or None to leave images as they are.
        crop: Side in pixels of the square that is cut from the centre before resizing, or None
            for the largest.
        colour: Three channels, or one.
    """

    size: int | None
    crop: int | None = None
    colour: Colour = "rgb"

    @property
    def channels(self) -> int:
        """How many channels a sample has."""
        return 3 if self.colour == "rgb" else 1

    def decode(self, path: Path) -> Array:
        """Returns the image at ``path``, shape ``(channels, height, width)``, as bytes.

        Raises:
            UserError: If the file is damaged or holds more than eight bits a channel.
        """
        with readable(path, "an image", _UNREADABLE), Image.open(path) as opened:
            image = self._converted(opened, path)
        pixels = np.asarray(self._shaped(image, path))
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)

    def _converted(self, image: Image.Image, path: Path) -> Image.Image:
        if image.mode in _FOREIGN:
            raise UserError(f"{path} holds more than 8 bits a channel. Convert it.")
        # Pillow warns of palettes with transparency unless they pass through RGBA.
        full = image.convert("RGBA") if image.mode == "P" else image
        return ImageOps.exif_transpose(full).convert("RGB" if self.colour == "rgb" else "L")

    def _shaped(self, image: Image.Image, path: Path) -> Image.Image:
        if self.size is None and self.crop is None:
            return image
        side = self.crop or min(image.size)
        if side > min(image.size):
            raise UserError(
                f"{path} is {image.width}x{image.height}, too small for crop={self.crop}."
            )
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.crop((left, top, left + side, top + side))
        size = self.size or side
        # Pillow widens the filter when it shrinks an image, so nothing is aliased.
        return square.resize((size, size), Image.Resampling.LANCZOS)

    def shape(self, path: Path) -> tuple[int, int, int]:
        """Returns the shape of the sample that the file at ``path`` becomes.

        Raises:
            UserError: If the file is damaged.
        """
        side = self.size or self.crop
        width, height = (side, side) if side else size_of(path)
        return self.channels, height, width


def size_of(path: Path) -> tuple[int, int]:
    """Returns width and height of the image at ``path``, from its header.

    Raises:
        UserError: If the file is damaged.
    """
    with readable(path, "an image", _UNREADABLE), Image.open(path) as image:
        turned = image.getexif().get(0x0112, 1) in {5, 6, 7, 8}
        return (image.height, image.width) if turned else image.size


@final
class Pictures:
    """A split of image files; what was decoded is kept in memory as far as a gigabyte goes.

    Args:
        files: One file for each sample.
        decoding: How a file becomes a sample.
        labels: The class of each sample, shape ``(n,)``.
    """

    def __init__(
        self, files: Sequence[Path], decoding: Decoding, labels: Tensor | None = None
    ) -> None:
        self._files = files
        self._decoding = decoding
        self._labels = labels
        self._kept: dict[int, Array] = {}
        self._room = _KEPT

    @property
    def labels(self) -> Tensor | None:
        """The class of each sample, shape ``(n,)``."""
        return self._labels

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self._files)

    def take(self, index: Tensor) -> Tensor:
        """Returns the samples at ``index`` as float32."""
        images = [self._image(i) for i in index.tolist()]
        return torch.from_numpy(np.stack(images)).float()

    def _image(self, i: int) -> Array:
        if i in self._kept:
            return self._kept[i]
        image = self._decoding.decode(self._files[i])
        if image.nbytes <= self._room:
            self._kept[i] = image
            self._room -= image.nbytes
        return image

    def check(self) -> None:
        """Decodes every file, if a gigabyte holds them all.

        Raises:
            UserError: If a file is damaged.
        """
        if self._files and len(self) * self._image(0).nbytes <= _KEPT:
            for i in range(len(self)):
                self._image(i)


def files_in(folder: Path) -> list[Path]:
    """Returns the image files in ``folder`` and below, sorted; hidden ones are left out.

    Raises:
        UserError: If there is no such folder, or no image in it.
    """
    files = sorted(_visible(is_folder(folder)))
    if not files:
        raise UserError(f"{folder} holds no image. Wanted files end in {', '.join(SUFFIXES)}.")
    return files


def _visible(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            inner = path.relative_to(folder).parts
            if not any(part.startswith(".") for part in inner):
                yield path


def classes(files: Sequence[Path], folder: Path) -> list[str] | None:
    """Returns the first sub-folder of each file, or None if some lie in ``folder`` itself."""
    parts = [path.relative_to(folder).parts for path in files]
    return [p[0] for p in parts] if all(len(p) > 1 for p in parts) else None


def numbered(names: Sequence[str] | None, known: Sequence[str] | None) -> Tensor | None:
    """Returns the place of each name among ``known``, or None where either is missing.

    Raises:
        UserError: If a name is not known.
    """
    if names is None or known is None:
        return None
    place = {name: i for i, name in enumerate(known)}
    strange = next((name for name in names if name not in place), None)
    if strange is not None:
        raise UserError(f"The class {strange!r} of the test images has no training images.")
    return torch.tensor([place[name] for name in names])


def space_of(files: Sequence[Path], decoding: Decoding) -> Space:
    """Returns the space of the samples, told by the first file."""
    return Space("image", decoding.shape(files[0]), 256)
