"""Images: reading and attributes."""

import math
import mmap
import re
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, ClassVar, Literal, final

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d
from typing_extensions import override

from gantlet.core.data import Code, Space, Splits, averaged
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.data.arrays import (
    STUBS,
    FolderContents,
    Unreadable,
    counted,
    image_files,
    image_suffixes,
    listed,
)
from gantlet.data.splits import Array, published_split, random_split, readable
from gantlet.domains.attributes import Attribute, AttributeTable, attribute
from gantlet.domains.corruptions import Cause, image_causes
from gantlet.domains.domains import Adapted, Domain, Packaged, columns
from gantlet.features.efficientnet import WEIGHTS
from gantlet.report.pictures import grid

# ----------------------------------------------------------------------------
# Measurements of single images that have a name, each as blind to the others as it can be.
# ----------------------------------------------------------------------------

# Keeps logarithms finite: an amplitude that no eye sees, for pixels in [0, 1].
_TINY = 1e-3
_BLOCK = 8  # of JPEG files
# Noise of single pixels does not matter to how colours go together.
_COARSE = 8
_IMAGES = 1024  # that are measured together
# Tones that are told apart in each colour, and the lowest frequencies, in cycles a pixel.
_TONES, _LOWEST = 32, 0.1


def image_attributes(x: Tensor) -> dict[str, Tensor]:
    """Returns measurements of images by name, each of shape ``(n,)``, float64.

    Args:
        x: Images, shape ``(n, c, h, w)`` with 1 or 3 channels, values in [0, 1].
    """
    parts = [_measured(block.double()) for block in torch.split(x, _IMAGES)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _measured(x: Tensor) -> dict[str, Tensor]:
    luma = x.mean(1)
    coarse = adaptive_avg_pool2d(luma[:, None], 4).flatten(1)
    found = {
        "brightness": luma.mean((1, 2)),
        "contrast": (coarse.std(1) + _TINY).log(),
        "fine detail": fine_detail(luma),
        "edge density": edge_density(luma),
        "colour count": colour_count(x),
        "mirror symmetry": _agreement(luma.flatten(1), luma.flip(2).flatten(1)),
        **_nyquist(luma),
    }
    if min(luma.shape[1:]) >= 2 * _BLOCK:
        found["block edges"] = block_edges(luma)
    found["middle seam"] = _seam(luma)
    if min(luma.shape[1:]) * _LOWEST > 1:
        found["coarse structure"] = coarse_structure(luma)
    return found | (_colour(x, coarse) if x.shape[1] == 3 else {})


def fine_detail(luma: Tensor) -> Tensor:
    """Returns the log ratio of amplitudes above 0.35 cycles a pixel to those of 0.1 to 0.25.

    A ratio, so that contrast does not matter; the frequencies of checkerboards are left out.
    """
    fy, fx = _frequencies(luma)
    is_edge = ((fy == 0.5) & ((fx == 0) | (fx == 0.5))) | ((fx == 0.5) & (fy == 0))
    return _beside_middle(luma, ((fy**2 + fx**2).sqrt() > 0.35) & ~is_edge)


def coarse_structure(luma: Tensor) -> Tensor:
    """Returns the log ratio of amplitudes below 0.1 cycles a pixel to those of 0.1 to 0.25.

    Waves longer than ten pixels; the mean of the image, frequency zero, is left out.
    """
    fy, fx = _frequencies(luma)
    radius = (fy**2 + fx**2).sqrt()
    return _beside_middle(luma, (radius > 0) & (radius < _LOWEST))


def edge_density(luma: Tensor) -> Tensor:
    """Returns the share of pixels that differ from the next by more than the image's deviation.

    In units of the deviation, so that contrast does not matter; next down or to the right.
    """
    least = luma.flatten(1).std(1)[:, None, None] + _TINY
    across, down = luma.diff(dim=2)[:, :-1].abs(), luma.diff(dim=1)[:, :, :-1].abs()
    found: Tensor = (torch.maximum(across, down) > least).double().mean((1, 2))
    return found


def colour_count(x: Tensor) -> Tensor:
    """Returns the log of how many colours an image has, 32 tones of each channel told apart."""
    tones = (x.flatten(2) * _TONES).floor().clamp(0, _TONES - 1)
    place = _TONES ** torch.arange(x.shape[1], device=x.device)
    code = (tones * place[:, None]).sum(1).sort(1).values
    return (1.0 + (code.diff(dim=1) > 0).sum(1)).double().log()


def _frequencies(luma: Tensor) -> tuple[Tensor, Tensor]:
    h, w = luma.shape[1:]
    fy, fx = (torch.fft.fftfreq(k, device=luma.device).abs() for k in (h, w))
    return fy[:, None], fx[None]


def _beside_middle(luma: Tensor, band: Tensor) -> Tensor:
    """Returns the log ratio of amplitudes in a band to those of 0.1 to 0.25 cycles a pixel."""
    fy, fx = _frequencies(luma)
    radius = (fy**2 + fx**2).sqrt()
    power = torch.fft.fft2(luma).abs() ** 2 / luma[0].numel()
    middle = power[:, (radius >= 0.1) & (radius <= 0.25)].mean(1)
    ratio: Tensor = (power[:, band].mean(1) + _TINY**2) / (middle + _TINY**2)
    return ratio.log() / 2


def block_edges(luma: Tensor) -> Tensor:
    """Returns the log-ratio of steps across the edges of 8x8 blocks to other steps."""
    across, inside = luma.new_zeros(len(luma)), luma.new_zeros(len(luma))
    for axis in (1, 2):
        size = luma.shape[axis]
        steps = luma.diff(dim=axis).abs()
        place = torch.arange(1, size, device=luma.device)
        edge = (place % _BLOCK == 0) & (place != size // 2)
        edge = edge if bool(edge.any()) else place % _BLOCK == 0
        # Beside an edge the block is as it was: only next neighbours are a fair comparison.
        beside = ((place % _BLOCK == 1) | (place % _BLOCK == _BLOCK - 1)) & (place > 1)
        other = 3 - axis
        across += steps.index_select(axis, edge.nonzero()[:, 0]).mean((axis, other))
        inside += steps.index_select(axis, beside.nonzero()[:, 0]).mean((axis, other))
    return ((across + _TINY) / (inside + _TINY)).log()


def _nyquist(luma: Tensor) -> dict[str, Tensor]:
    """Returns the signed amplitudes of patterns that repeat every two pixels."""
    h, w = luma.shape[1:]
    rows = torch.tensor([1.0, -1.0]).repeat(h)[:h].to(luma)
    columns = torch.tensor([1.0, -1.0]).repeat(w)[:w].to(luma)
    return {
        "checkerboard": (luma * rows[:, None] * columns).mean((1, 2)),
        "column stripes": (luma * columns).mean((1, 2)),
        "row stripes": (luma * rows[:, None]).mean((1, 2)),
    }


def _seam(luma: Tensor) -> Tensor:
    """Returns the ratio of the step between the two halves to the steps beside it.

    Where the middle is the edge of a block, other edges of blocks take the place of its
    neighbours.
    """
    steps = luma.diff(dim=2).abs().mean(1)
    middle = luma.shape[2] // 2
    others = [place for place in range(_BLOCK, luma.shape[2], _BLOCK) if place != middle]
    if middle % _BLOCK or not others:
        others = [middle - 1, middle + 1]
    beside = steps[:, [place - 1 for place in others]].mean(1)
    return ((steps[:, middle - 1] + _TINY) / (beside + _TINY)).log()


def _colour(x: Tensor, coarse: Tensor) -> dict[str, Tensor]:
    red, green, blue = x.unbind(1)
    a, b = (red - green) / 2**0.5, (2 * blue - red - green) / 6**0.5
    strength = (a**2 + b**2).mean((1, 2))
    even, odd = (a**2 - b**2).mean((1, 2)), (2 * a * b).mean((1, 2))
    floor = strength + _TINY**2
    return {
        "saturation": floor.log() / 2 - (coarse.std(1) + _TINY).log(),
        "red against green": a.mean((1, 2)),
        "blue against yellow": b.mean((1, 2)),
        "hue axis": even / floor,
        "hue diagonal": odd / floor,
        "colour agreement": _colour_agreement(x),
    }


def _colour_agreement(x: Tensor) -> Tensor:
    red, green, blue = adaptive_avg_pool2d(x, min(_COARSE, *x.shape[2:])).flatten(2).unbind(1)
    found = [_agreement(red, green), _agreement(green, blue), _agreement(red, blue)]
    return torch.stack(found).mean(0)


def _agreement(a: Tensor, b: Tensor) -> Tensor:
    """Returns the correlation of each row of ``a`` with that of ``b``, as Fisher's z."""
    a, b = (v - v.mean(1, keepdim=True) for v in (a, b))
    size = (a.norm(dim=1) * b.norm(dim=1)).clamp_min(_TINY**2)
    found: Tensor = (a * b).sum(1) / size
    return found.clamp(-0.999, 0.999).atanh()


def has_image_attributes(space: Space) -> bool:
    """Returns whether images are large enough, and of as many channels, to have attributes."""
    return min(space.shape[1:]) >= 4 and space.shape[0] in (1, 3)


def _by_name(words: Sequence[Attribute]) -> dict[str, Attribute]:
    return {word.name: word for word in words}


_PATTERN = "a checkerboard pattern"

IMAGE_ATTRIBUTES = _by_name(
    [
        attribute("brightness", "too dark", "too bright"),
        attribute("contrast", "contrast too low", "contrast too high"),
        attribute("fine detail", "blurred: fine detail missing", "noisy: too much fine detail"),
        attribute("checkerboard", _PATTERN, _PATTERN),
        attribute("column stripes", _PATTERN, _PATTERN, "checkerboard"),
        attribute("row stripes", _PATTERN, _PATTERN, "checkerboard"),
        attribute(
            "block edges", "block edges too weak", "block edges, as lossy compression leaves them"
        ),
        attribute("mirror symmetry", "not symmetric enough", "too symmetric"),
        attribute("middle seam", "middle too smooth", "halves that do not fit together"),
        attribute("saturation", "colours too pale", "colours too strong"),
        attribute("red against green", "a green cast", "a red cast", "colour"),
        attribute("blue against yellow", "a yellow cast", "a blue cast", "colour"),
        attribute("hue axis", "wrong hues", "wrong hues", "colour"),
        attribute("hue diagonal", "wrong hues", "wrong hues", "colour"),
        attribute("colour agreement", "colours that do not go together", "colours too much alike"),
        attribute(
            "coarse structure", "large shapes too weak", "large shapes too strong", follows=True
        ),
        attribute("edge density", "too few edges", "too many edges", follows=True),
        attribute(
            "colour count", "too few tones or colours", "too many tones or colours", follows=True
        ),
    ]
)
"""By the name of the measurement."""

# ----------------------------------------------------------------------------
# Image files, decoded when they are needed.
# ----------------------------------------------------------------------------

Colour = Literal["rgb", "grey"]

MOST_PIXELS = 2**26
"""Pixels of the largest image that is decoded: 8,192 by 8,192."""

MOST_KEPT = 2**30
"""Bytes of decoded images that one split keeps in memory."""

_FOREIGN = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # more than eight bits a value
# How modes are written into three channels where that is more than a copy.
_CONVERTED = ("CMYK", "LAB", "YCbCr", "HSV")

TRAITS = {
    "alpha": "transparency, which was dropped",
    "frames": "several frames, of which the first was read",
    "ink": "colours of print (CMYK) or of another kind, converted to RGB without a profile",
}
"""What of an image does not reach its sample, in words."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDecoding:
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
            UserError: If the file is damaged, holds more than eight bits a channel, or is larger
                than ``MOST_PIXELS``.
        """
        return self.decode_fully(path)[0]

    def decode_fully(self, path: Path) -> tuple[Array, frozenset[str]]:
        """Returns the image at ``path``, and which of ``TRAITS`` it has.

        Raises:
            UserError: As ``decode`` does.
        """
        with readable(path, "an image"), opened(path) as file:
            traits = _traits(file)
            # Pillow warns of palettes with transparency unless they pass through RGBA.
            image = file.convert("RGBA") if file.mode in {"P", "PA"} else file
            if "A" in image.getbands() and _is_see_through(image):
                traits |= {"alpha"}
            image = ImageOps.exif_transpose(image).convert("RGB" if self.colour == "rgb" else "L")
        pixels = np.asarray(self._shaped(image, path))
        return (pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)), traits

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
    with readable(path, "an image"), opened(path) as image:
        turned = image.getexif().get(0x0112, 1) in {5, 6, 7, 8}
        return (image.height, image.width) if turned else image.size


@contextmanager
def opened(path: Path) -> Generator[Image.Image]:
    """Opens an image, of which nothing but the header is read yet.

    Raises:
        UserError: If it is larger than ``MOST_PIXELS``, or holds more than 8 bits a channel.
    """
    with warnings.catch_warnings():
        # The bound is our own, and is told below.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            image = Image.open(path, formats=_formats())
        except Image.DecompressionBombError as error:
            raise UserError(f"{path} is too large: {_AT_MOST} Make it smaller.") from error
        with image:
            if image.width * image.height > MOST_PIXELS:
                raise UserError(
                    f"{path} says that it is {image.width}x{image.height}: {_AT_MOST} Make it "
                    "smaller."
                )
            if image.mode in _FOREIGN or _is_deep(image, path):
                raise UserError(
                    f"{path} holds more than 8 bits a channel. Images are read with 256 levels: "
                    "convert it to 8 bits, or save the numbers as an array (npz)."
                )
            yield image


_AT_MOST = f"at most {MOST_PIXELS:,} pixels are decoded."


@cache
def _formats() -> tuple[str, ...]:
    """Returns the formats that Pillow decodes itself, those of most files first."""
    image_suffixes()
    first = ("PNG", "JPEG", "WEBP")
    return (*first, *(f for f in Image.ID if f in Image.OPEN and f not in {*first, *STUBS}))


def _is_deep(image: Image.Image, path: Path) -> bool:
    """Returns whether Pillow would drop bits of a colour image: it reads those as 8 bits."""
    if image.format in _DEPTHS:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
            return _DEPTHS[image.format](raw)
    for tile in getattr(image, "tile", ()):
        args = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if tile[0] == "SGI16" or any(isinstance(a, str) and _DEEP.search(a) for a in args):
            return True
        # The largest value of a PPM file.
        if tile[0].startswith("ppm") and any(isinstance(a, int) and a > 255 for a in args):
            return True
    return False


# How Pillow calls what it unpacks; BGR;16 has 16 bits a pixel, BC6H halves of 16 bits.
_DEEP = re.compile(r"(?<!^BGR);(16|32|12)|^BC6H")
_SIZES = b"\xff\x4f\xff\x51"  # the first two markers of a stream of JPEG 2000
_AV1 = re.compile(rb"av1C\x81.[\x40-\x7f\xc0-\xff]", re.DOTALL)


def _is_deep_jpeg(raw: mmap.mmap) -> bool:
    """Returns whether a component has more than 8 bits by the first header of JPEG 2000.

    Source: ITU-T Recommendation T.800, A.5.1, https://www.itu.int/rec/T-REC-T.800.
    """
    start = raw.find(_SIZES, max(raw.find(b"jp2c"), 0))
    if start < 0:
        return False
    header = raw[start + 4 : start + 4 + int.from_bytes(raw[start + 4 : start + 6], "big")]
    return any(size & 127 > 7 for size in header[38::3])


def _is_deep_av1(raw: mmap.mmap) -> bool:
    """Returns whether the settings of a coder (av1C) have the mark of 10 or 12 bits.

    Source: Alliance for Open Media, AV1 Codec ISO Media File Format Binding, 2.3,
    https://aomediacodec.github.io/av1-isobmff/.
    """
    return _AV1.search(raw) is not None


_DEPTHS = {"JPEG2000": _is_deep_jpeg, "AVIF": _is_deep_av1}


def _traits(image: Image.Image) -> frozenset[str]:
    found = {"frames": getattr(image, "is_animated", False), "ink": image.mode in _CONVERTED}
    return frozenset(name for name, is_so in found.items() if is_so)


def _is_see_through(image: Image.Image) -> bool:
    low, _ = image.getchannel("A").getextrema()
    return float(str(low)) < 255


@final
class Pictures:
    """A split of image files; what was decoded is kept in memory as far as a gigabyte goes.

    Args:
        files: One file for each sample.
        decoding: How a file becomes a sample.
        labels: The class of each sample, shape ``(n,)``.
        names: What each sample is called, or nothing.
        notes: What is to be said of the files.
    """

    def __init__(
        self,
        files: Sequence[Path],
        decoding: ImageDecoding,
        labels: Tensor | None = None,
        *,
        names: Sequence[str] = (),
        notes: Sequence[str] = (),
    ) -> None:
        self.names = names
        self._files = files
        self._decoding = decoding
        self._labels = labels
        self._notes = notes
        self._kept: dict[int, Array] = {}
        self._room = MOST_KEPT
        self._traits: dict[str, set[int]] = {}

    @property
    def first(self) -> Path:
        """The file of the first sample."""
        return self._files[0]

    @property
    def kept(self) -> int:
        """How many samples are held in memory, decoded."""
        return len(self._kept)

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

    @property
    def notes(self) -> Sequence[str]:
        """What of the files was not read, or not as it is: known of those decoded so far."""
        traits = [
            f"{counted(len(places), 'image has', 'images have')} {TRAITS[trait]}: "
            f"{listed([self._files[i].name for i in sorted(places)])}"
            for trait, places in sorted(self._traits.items())
        ]
        return (*self._notes, *traits)

    def _image(self, i: int) -> Array:
        if i in self._kept:
            return self._kept[i]
        image, traits = self._decoding.decode_fully(self._files[i])
        for trait in traits:
            self._traits.setdefault(trait, set()).add(i)
        if image.nbytes <= self._room:
            self._kept[i] = image
            self._room -= image.nbytes
        return image

    def check(self, *, like: Path | None = None, skip: int = 0) -> None:
        """Decodes every file, if a gigabyte holds them all; else looks at every header.

        Args:
            like: An image whose size all must have where none is asked for; None for the first.
            skip: So many files that cannot be read are left out. Then each is decoded.

        Raises:
            UserError: If more files are damaged, or sizes differ.
        """
        fits, bad = True, Unreadable(skip)
        wanted = None if like is None else (like, self._decoding.shape(like))
        good: list[int] = []
        for i, path in enumerate(self._files):
            try:
                shape = self._image(i).shape if fits or skip else self._decoding.shape(path)
            except UserError as error:
                bad.add(path.name, error)
                continue
            wanted = wanted or (path, shape)
            if shape != wanted[1]:
                raise _sizes_differ(*wanted, path, shape)
            fits = fits and len(self) * math.prod(shape) <= MOST_KEPT
            good.append(i)
        if bad.names:
            self._keep(good)
            self._notes = (*self._notes, *bad.notes)

    def _keep(self, good: Sequence[int]) -> None:
        """Leaves out all files but some."""
        place = {i: k for k, i in enumerate(good)}
        self._files = [self._files[i] for i in good]
        self.names = [self.names[i] for i in good] if self.names else ()
        self._labels = None if self._labels is None else self._labels[torch.tensor(good)]
        self._kept = {place[i]: x for i, x in self._kept.items()}
        self._traits = {t: {place[i] for i in own} for t, own in self._traits.items()}


def _sizes_differ(
    one: Path, shape: tuple[int, ...], other: Path, its: tuple[int, ...]
) -> UserError:
    return UserError(
        f"Images differ in size: {one} is {shape[2]}x{shape[1]}, {other} is {its[2]}x{its[1]}. "
        "Give size=PIXELS to cut and resize them."
    )


def files_in(folder: Path) -> FolderContents:
    """Returns the image files in ``folder`` and below, sorted; hidden ones are left out.

    Raises:
        UserError: If there is no such folder, or no image in it.
    """
    found = image_files(folder)
    if not found.files:
        what = f" ({'; '.join(found.notes)})" if found.notes else ""
        raise UserError(f"{folder} holds no image{what}. Give files such as .png, .jpg or .tif.")
    return found


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


def space_of(files: Sequence[Path], decoding: ImageDecoding, *, skip: int = 0) -> Space:
    """Returns the space of the samples, told by the first file that can be read.

    Raises:
        UserError: If more than ``skip`` files before it cannot.
    """
    for path in files[:skip]:
        try:
            return Space("image", decoding.shape(path), 256)
        except UserError:
            continue
    return Space("image", decoding.shape(files[min(skip, len(files) - 1)]), 256)


# ----------------------------------------------------------------------------
# A folder of image files.
# ----------------------------------------------------------------------------

_TESTS = ("test", "val", "valid", "validation")


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Images:
    """The image files in a folder and its sub-folders, with 256 levels.

    All that Pillow decodes: PNG, JPEG, WebP, TIFF, BMP, GIF, ... Where every file lies in a
    sub-folder, the first sub-folder is its class. Links to folders are followed; hidden files are
    left out. A photo is turned as its camera says; transparency is dropped, and of several frames
    the first is read. What is left out or changed is said.

    Attributes:
        path: The folder.
        test_path: Folder of the test images, or none to take a share of ``path``.
        size: Height and width in pixels; may be left out where all images have one size.
        crop: Side in pixels of the square that is cut from the centre before resizing, or none
            for the largest.
        colour: Three channels, or one.
        validation: Share of the samples for validation.
        test: Share of the samples for the test where there is no ``test_path``.
        limit: Most samples for training, or none.
        skip_bad: How many files that cannot be read may be left out.
    """

    path: str
    test_path: str | None = None
    size: Annotated[int, Between(1)] | None = None
    crop: Annotated[int, Between(1)] | None = None
    colour: Colour = "rgb"
    validation: Annotated[float, Between(0, 1)] = 0.1
    test: Annotated[float, Between(0, 1)] = 0.1
    limit: Annotated[int, Between(1)] | None = None
    skip_bad: Annotated[int, Between(0)] = 0

    @property
    def _decoding(self) -> ImageDecoding:
        return ImageDecoding(size=self.size, crop=self.crop, colour=self.colour)

    @property
    def space(self) -> Space:
        """Images of the given size, or of that of the first file."""
        found = files_in(Path(self.path).expanduser())
        return space_of(found.files, self._decoding, skip=self.skip_bad)

    def load(self, *, rng: Rng) -> Splits:
        """Returns the splits; files are decoded once if a gigabyte holds them, else when needed.

        Raises:
            UserError: If there are no images, a file is damaged, or sizes differ without ``size``.
        """
        folder = Path(self.path).expanduser()
        found = files_in(folder)
        _refuse_splits(folder)
        names = classes(found.files, folder)
        known = None if names is None else sorted(set(names))
        train = self._pictures(found, names, known)
        if self.test_path is None:
            return random_split(
                train, validation=self.validation, test=self.test, limit=self.limit, rng=rng
            )
        apart = Path(self.test_path).expanduser()
        tests = files_in(apart)
        test = self._pictures(tests, classes(tests.files, apart), known, like=train.first)
        validation = max(1, round(self.validation * len(train)))
        return published_split(train, test, validation=validation, limit=self.limit, rng=rng)

    def whole(self) -> Pictures:
        """Returns all images of ``path``, sorted by name.

        Raises:
            UserError: If there are no images, a file is damaged, or sizes differ without ``size``.
        """
        folder = Path(self.path).expanduser()
        found = files_in(folder)
        names = classes(found.files, folder)
        return self._pictures(found, names, None if names is None else sorted(set(names)))

    def _pictures(
        self,
        found: FolderContents,
        names: Sequence[str] | None,
        known: Sequence[str] | None,
        like: Path | None = None,
    ) -> Pictures:
        pictures = Pictures(
            found.files,
            self._decoding,
            numbered(names, known),
            names=found.names,
            notes=found.notes,
        )
        pictures.check(like=like, skip=self.skip_bad)
        if not len(pictures):
            raise UserError(f"{found.folder} holds no image that can be read.")
        return pictures


def _refuse_splits(folder: Path) -> None:
    test = next((name for name in _TESTS if (folder / name).is_dir()), None)
    if test and (folder / "train").is_dir():
        raise UserError(
            f"{folder} holds its own train and {test} folders, which must not be mixed. "
            f"Give path={folder / 'train'} and test_path={folder / test}."
        )


# ----------------------------------------------------------------------------
# The kind of sample.
# ----------------------------------------------------------------------------


@final
class ImageDomain(Domain):
    """Images, shape ``(channels, height, width)``, of levels or of numbers in one range."""

    metrics: ClassVar[tuple[str, ...]] = ("ms-ssim",)
    models: ClassVar[tuple[str, ...]] = ("histogram", "gmm", "flow", "gan")
    shown: ClassVar[int] = 64
    is_ranged: ClassVar[bool] = True
    is_spatial: ClassVar[bool] = True

    @override
    def attributes(self, space: Space, x: Tensor, code: Code | None) -> AttributeTable:
        """Returns brightness, contrast and the like; of tiny images each pixel."""
        if not has_image_attributes(space):
            return columns(space, x)
        named = image_attributes(space.unit(x))
        words = tuple(IMAGE_ATTRIBUTES[name] for name in named)
        return AttributeTable(words=words, values=torch.stack(list(named.values()), 1))

    @override
    def reader(self, path: Path, *, skip_bad: int = 0) -> Images | None:
        """Reads folders, those of other kinds having been recognized before."""
        return Images(path=str(path), skip_bad=skip_bad) if path.is_dir() else None

    @override
    def features(self, code: Code | None, *, labelled: bool) -> tuple[str, ...]:
        """A classifier where there are classes, or else random convolutions; pixels too."""
        return ("classifier" if labelled else "random-conv", "pixels")

    @override
    def packaged(self, space: Space, code: Code | None) -> Packaged | None:
        """A network trained on photographs, for images in colour."""
        if space.shape[0] != 3 or space.levels is None:
            return None
        return Packaged(
            extractor=WEIGHTS.name,
            seen="photographs",
            is_installed=WEIGHTS.find() is not None,
            command=WEIGHTS.advice,
        )

    @override
    def causes(self, space: Space) -> Sequence[Cause]:
        """Returns blur, noise, colour casts and the like."""
        return image_causes(space) if has_image_attributes(space) else ()

    @override
    def adapted(self, space: Space, wanted: Space) -> Adapted | None:
        """Repeats grey images in three channels."""
        if space.shape[1:] != wanted.shape[1:] or (space.shape[0], wanted.shape[0]) != (1, 3):
            return None
        note = "is grey and was repeated in three channels"
        return Adapted(change=lambda x: x.expand(-1, 3, -1, -1), note=note)

    @override
    def picture(self, space: Space, x: Tensor) -> bytes | None:
        """Shows images in a grid; sides above 96 pixels are averaged by a whole factor."""
        # Of four channels the last is transparency, of two as well; of others three are drawn.
        some = x[: self.shown, : 3 if space.shape[0] >= 3 else 1]
        unit = averaged(_in_unit_range(space, some), _SHOWN_SIDE)
        pixels = (unit.clamp(0, 1) * 255).round().to(torch.uint8)
        return grid(pixels.movedim(1, -1).numpy())


# Larger images are shown smaller, so that a page shows more than a few.
_SHOWN_SIDE = 96


def _in_unit_range(space: Space, x: Tensor) -> Tensor:
    """Returns images in [0, 1], continuous ones stretched from their own range."""
    if space.levels is not None:
        return space.unit(x)
    low, high = x.min(), x.max()
    return (x - low) / (high - low).clamp_min(1e-12)
