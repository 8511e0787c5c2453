"""PNG pictures of samples: image grids and scatter plots."""

import io
import struct
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gantlet.core.errors import UserError

Bytes: TypeAlias = NDArray[np.uint8]

MOST_BYTES = 150_000  # of one picture; a report of ten stays under 2 MB
_GAP = 1  # between images of a grid
_LARGE = 2**17  # pixels
_CLOUD = 480  # of a cloud of points; shown at half that size, so that it is sharp on any screen
_INK = (0, 114, 178)
_DISC = [(x, y) for x in range(-2, 3) for y in range(-2, 3) if x * x + y * y <= 5]
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def grid(samples: Bytes | Sequence[Bytes], *, columns: int = 8, most: int = 64) -> bytes:
    """Returns the first samples side by side as PNG, in their order, none left out.

    Args:
        samples: Images, shape ``(n, height, width, channels)`` with 1 or 3 channels, 0 to 255.
        columns: How many stand in a row.
        most: How many are shown; fewer when the file would be larger than ``MOST_BYTES``.

    Raises:
        UserError: If there are none, or they are not such images.
    """
    images = _checked(samples)[:most]
    png = _grid_file(images, columns)
    while len(png) > MOST_BYTES and len(images) > columns:
        rows = -(-len(images) // columns)
        images = images[: max(rows // 2, 1) * columns]
        png = _grid_file(images, columns)
    return png


def points(xy: NDArray[Any], *, around: NDArray[Any] | None = None, most: int = 4000) -> bytes:
    """Returns a cloud of points as PNG; denser is darker.

    Args:
        xy: The points, shape ``(n, 2)``.
        around: Points that decide what part of the plane is shown, so that models and data
            are seen alike; by default ``xy``. Shape ``(m, 2)``.
        most: How many points are drawn, from the first on.

    Raises:
        UserError: If there are no finite points, or they do not have two coordinates.
    """
    shown, frame = _finite_pairs(xy)[:most], _finite_pairs(xy if around is None else around)
    low, high = frame.min(0), frame.max(0)
    middle, side = (low + high) / 2, 1.1 * max(float((high - low).max()), 1e-9)
    places = np.rint(((shown - middle) / side * (1, -1) + 0.5) * (_CLOUD - 1)).astype(int)
    cover = np.zeros((_CLOUD, _CLOUD))
    for dx, dy in _DISC:
        x, y = places[:, 0] + dx, places[:, 1] + dy
        inside = (x >= 0) & (x < _CLOUD) & (y >= 0) & (y < _CLOUD)
        np.add.at(cover, (y[inside], x[inside]), 1)
    alpha = (255 * (1 - 0.45**cover)).astype(np.uint8)
    picture = Image.new("RGBA", (_CLOUD, _CLOUD), (*_INK, 0))
    picture.putalpha(Image.fromarray(alpha))
    return _file(picture.quantize(16))


def size(png: bytes) -> tuple[int, int]:
    """Returns width and height of a PNG file.

    Raises:
        UserError: If it is none.
    """
    if len(png) < 24 or not png.startswith(_SIGNATURE):
        raise UserError("A picture of the report is not a PNG file.")
    width, height = struct.unpack(">II", png[16:24])
    return int(width), int(height)


def _checked(samples: Bytes | Sequence[Bytes]) -> Bytes:
    images = np.asarray(samples)
    if images.ndim != 4 or images.shape[3] not in {1, 3} or not len(images):
        raise UserError(
            "Pictures need at least one sample and shape (n, height, width, 1 or 3). "
            f"Got {images.shape}."
        )
    if images.dtype != np.uint8:
        raise UserError(f"Pictures need whole numbers from 0 to 255 (uint8). Got {images.dtype}.")
    return images


def _grid_file(images: Bytes, columns: int) -> bytes:
    n, height, width, channels = images.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    # The last channel is opacity: the gaps are as dark or as light as the page.
    shape = (rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, channels + 1)
    sheet = np.zeros(shape, dtype=np.uint8)
    for k, image in enumerate(images):
        y, x = k // columns * (height + _GAP), k % columns * (width + _GAP)
        sheet[y : y + height, x : x + width, :channels] = image
        sheet[y : y + height, x : x + width, channels] = 255
    return _file(Image.fromarray(sheet))


def _finite_pairs(xy: NDArray[Any]) -> NDArray[np.float64]:
    pairs = np.asarray(xy, dtype=np.float64)
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise UserError(f"Points need shape (n, 2). Got {pairs.shape}.")
    pairs = pairs[np.isfinite(pairs).all(1)]
    if not len(pairs):
        raise UserError("There are no finite points to draw.")
    return pairs


def _file(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    # The tightest packing of a sheet of photos takes ten times as long and saves a few per cent.
    if picture.width * picture.height > _LARGE:
        picture.save(out, "PNG", compress_level=6)
    else:
        picture.save(out, "PNG", optimize=True)
    return out.getvalue()
