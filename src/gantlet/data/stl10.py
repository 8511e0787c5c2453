"""STL-10, read from its binary version."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from gantlet.core.dataset import Source, Splits
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between
from gantlet.data.catalogue import locate
from gantlet.data.checks import Array, is_file, readable, same_length
from gantlet.data.rows import Rows
from gantlet.data.splits import official

_SIDE = 96
_IMAGE = 3 * _SIDE * _SIDE


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Stl10:
    """5,000 and 8,000 colour photos of 96x96 pixels, ten classes, and 100,000 without class.

    Source: Coates, Ng and Lee, 2011, https://cs.stanford.edu/~acoates/stl10/.

    Attributes:
        path: Folder of the ``.bin`` files, or none to look below ``GANTLET_DATA``.
        size: Height and width in pixels; smaller ones are averages over square blocks.
        unlabeled: Whether to train on the 100,000 images without class too; then there are no
            training labels.
        validation: How many training images become validation, chosen by the seed.
        limit: Most images for training, or none.
    """

    path: str | None = None
    size: Literal[96, 48, 32, 24] = 96
    unlabeled: bool = False
    validation: Annotated[int, Between(1)] = 500
    limit: Annotated[int, Between(1)] | None = None

    @property
    def space(self) -> Space:
        """Three channels with 256 levels."""
        return Space("image", (3, self.size, self.size), 256)

    def load(self, *, rng: Rng) -> Splits:
        """Returns the splits; the test is the official one.

        Raises:
            UserError: If the files are missing or damaged.
        """
        folder = locate("stl10", self.path)
        train: Source = self._labelled(folder, "train")
        if self.unlabeled:
            more = Rows(_images(is_file(folder / "unlabeled_X.bin")))
            train = _Joined(train, _Shrunk(more, self.size))
        test = self._labelled(folder, "test")
        return official(train, test, validation=self.validation, limit=self.limit, rng=rng)

    def _labelled(self, folder: Path, split: str) -> "_Shrunk":
        images = _images(is_file(folder / f"{split}_X.bin"))
        path = is_file(folder / f"{split}_y.bin")
        with readable(path, "classes of STL-10"):
            classes = np.fromfile(path, dtype=np.uint8)
        same_length(images, classes, path)
        if not len(classes) or not 1 <= int(classes.min()) <= int(classes.max()) <= 10:
            raise UserError(f"{path} should hold classes from 1 to 10. Fetch it again.")
        return _Shrunk(Rows(images, classes - 1), self.size)


def _images(path: Path) -> Array:
    """Returns the images of a file, mapped from disk; the file has them column by column."""
    size = path.stat().st_size
    if not size or size % _IMAGE:
        raise UserError(
            f"{path} should be images of {_IMAGE} bytes. Got {size} bytes; fetch it again."
        )
    array = np.memmap(path, dtype=np.uint8, mode="r", shape=(size // _IMAGE, 3, _SIDE, _SIDE))
    return array.transpose(0, 1, 3, 2)


@final
class _Shrunk:
    """Images whose square blocks are averaged."""

    def __init__(self, rows: Rows, size: int) -> None:
        self._rows = rows
        self._block = _SIDE // size

    @property
    def labels(self) -> Tensor | None:
        return self._rows.labels

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, index: Tensor) -> Tensor:
        x = self._rows.take(index)
        return x if self._block == 1 else avg_pool2d(x, self._block).round()


@final
class _Joined:
    """Two sources, one after the other, without labels."""

    def __init__(self, first: Source, second: Source) -> None:
        self._first = first
        self._second = second

    @property
    def labels(self) -> None:
        return None

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def take(self, index: Tensor) -> Tensor:
        late = index >= len(self._first)
        first = self._first.take(index[~late])
        second = self._second.take(index[late] - len(self._first))
        out = torch.empty(len(index), *first.shape[1:])
        out[~late], out[late] = first, second
        return out
