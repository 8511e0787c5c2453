"""Published data sets, read from their own files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from gantlet.core.data import InMemory, Source, Space, Splits, notes_of
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.data.arrays import TEST, TRAIN, find, read_pair
from gantlet.data.catalogue import locate
from gantlet.data.splits import (
    Array,
    ArraySplit,
    Subset,
    cpu_stream,
    is_file,
    published_split,
    readable,
    same_length,
    sentences,
    space_of,
)
from gantlet.domains.images import ImageDecoding, Pictures, classes, files_in, numbered

# ----------------------------------------------------------------------------
# STL-10, read from its binary version.
# ----------------------------------------------------------------------------

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
            more = ArraySplit(_images(is_file(folder / "unlabeled_X.bin")))
            train = _Joined(train, _Shrunk(more, self.size))
        test = self._labelled(folder, "test")
        return published_split(train, test, validation=self.validation, limit=self.limit, rng=rng)

    def _labelled(self, folder: Path, split: str) -> "_Shrunk":
        images = _images(is_file(folder / f"{split}_X.bin"))
        path = is_file(folder / f"{split}_y.bin")
        with readable(path, "classes of STL-10"):
            classes = np.fromfile(path, dtype=np.uint8)
        same_length(images, classes, path)
        if not len(classes) or not 1 <= int(classes.min()) <= int(classes.max()) <= 10:
            raise UserError(f"{path} should hold classes from 1 to 10. Fetch it again.")
        return _Shrunk(ArraySplit(images, classes - 1), self.size)


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

    def __init__(self, rows: ArraySplit, size: int) -> None:
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


# ----------------------------------------------------------------------------
# Handwritten digits of 8x8 pixels, from scikit-learn; no file is needed.
# ----------------------------------------------------------------------------

_TEST = 360


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Digits:
    """1,797 handwritten digits, 8x8 pixels with 17 grey levels, ten classes.

    The test split is the same for every seed: the last 360 of
    ``numpy.random.RandomState(0).permutation(1797)``. Validation is taken from the other 1,437.

    Source: Alpaydin and Kaynak, 1998, https://archive.ics.uci.edu/dataset/80, the test part, as
    scikit-learn ships it.

    Attributes:
        validation: How many of the 1,437 samples become validation, chosen by the seed.
        limit: Most samples for training, or none.
    """

    validation: Annotated[int, Between(1, 1436)] = 180
    limit: Annotated[int, Between(1)] | None = None

    @property
    def space(self) -> Space:
        """One grey channel of 8x8 pixels with 17 levels."""
        return Space("image", (1, 8, 8), 17)

    def load(self, *, rng: Rng) -> Splits:
        """Returns the splits; the labels are the digits."""
        from sklearn.datasets import load_digits

        pixels, digits = load_digits(return_X_y=True)
        x = torch.from_numpy(pixels.astype(np.uint8)).reshape(-1, 1, 8, 8)
        everything = InMemory(x, torch.from_numpy(digits.astype(np.int64)))
        order = torch.from_numpy(np.random.RandomState(0).permutation(len(x)))
        return published_split(
            Subset(everything, order[:-_TEST]),
            Subset(everything, order[-_TEST:]),
            validation=self.validation,
            limit=self.limit,
            rng=rng,
        )


# ----------------------------------------------------------------------------
# CelebA, read from its aligned JPEG files.
# ----------------------------------------------------------------------------

_LAST_TRAIN, _LAST_VALIDATION = 162_770, 182_637


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class CelebA:
    """202,599 aligned photos of faces, 178x218 pixels, cut square and resized; no labels.

    The splits are the official ones, which go by the number in the file name: up to 162,770 train,
    up to 182,637 validation, the rest test. No person is in two of them.

    Source: Liu et al., 2015, https://arxiv.org/abs/1411.7766.

    Attributes:
        path: Folder that holds ``img_align_celeba``, or none to look below ``GANTLET_DATA``.
        size: Height and width in pixels.
        crop: Side in pixels of the square that is cut from the centre before resizing.
        limit: Most images for training, chosen by the seed, or none.
    """

    path: str | None = None
    size: Annotated[int, Between(1)] = 64
    crop: Annotated[int, Between(1, 178)] = 178
    limit: Annotated[int, Between(1)] | None = None

    @property
    def space(self) -> Space:
        """Three channels with 256 levels."""
        return Space("image", (3, self.size, self.size), 256)

    def load(self, *, rng: Rng) -> Splits:
        """Returns the official splits; images are decoded when they are needed.

        Raises:
            UserError: If the images are missing or damaged.
        """
        found = files_in(locate("celeba", self.path) / "img_align_celeba")
        parts: list[list[Path]] = [[], [], []]
        for path in found.files:
            number = _number(path)
            parts[(number > _LAST_TRAIN) + (number > _LAST_VALIDATION)].append(path)
        if not all(parts):
            raise UserError(
                f"{found.folder} must hold images of all three splits, numbered up to "
                f"{_LAST_TRAIN}, up to {_LAST_VALIDATION} and above. Got "
                f"{', '.join(str(len(p)) for p in parts)} of them."
            )
        decoding = ImageDecoding(size=self.size, crop=self.crop)
        train, validation, test = (Pictures(p, decoding, notes=found.notes) for p in parts)
        order = torch.randperm(len(train), generator=cpu_stream(rng, "split"))[: self.limit]
        return Splits(
            train=Subset(train, order),
            validation=validation,
            test=test,
            note=sentences(
                f"{len(order)} train, {len(validation)} validation and {len(test)} test samples "
                f"of the official splits; the train samples were chosen by seed {rng.seed}",
                train,
            ),
            notes=notes_of(train),
        )


def _number(path: Path) -> int:
    if not path.stem.isdecimal():
        raise UserError(f"{path} should be named by a number, such as 000001.jpg.")
    return int(path.stem)


# ----------------------------------------------------------------------------
# CIFAR-10, read from its binary version.
# ----------------------------------------------------------------------------

_RECORD = 1 + 3 * 32 * 32  # a byte of label, then the red, green and blue planes


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Cifar10:
    """50,000 and 10,000 colour photos of 32x32 pixels, ten classes.

    The files are those of the "binary version", which needs no pickle.

    Source: Krizhevsky, 2009, https://www.cs.toronto.edu/~kriz/cifar.html.

    Attributes:
        path: Folder of the six ``.bin`` files, or none to look below ``GANTLET_DATA``.
        validation: How many training images become validation, chosen by the seed.
        limit: Most images for training, or none.
    """

    path: str | None = None
    validation: Annotated[int, Between(1)] = 5_000
    limit: Annotated[int, Between(1)] | None = None

    @property
    def space(self) -> Space:
        """Three channels of 32x32 pixels with 256 levels."""
        return Space("image", (3, 32, 32), 256)

    def load(self, *, rng: Rng) -> Splits:
        """Returns the splits; the test is the official one.

        Raises:
            UserError: If the files are missing or damaged.
        """
        folder = locate("cifar10", self.path)
        train = _read([folder / f"data_batch_{i}.bin" for i in range(1, 6)])
        test = _read([folder / "test_batch.bin"])
        return published_split(train, test, validation=self.validation, limit=self.limit, rng=rng)


def _read(paths: list[Path]) -> ArraySplit:
    records = np.concatenate([_records(path) for path in paths])
    return ArraySplit(records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0])


def _records(path: Path) -> "np.ndarray[tuple[int, int], np.dtype[np.uint8]]":
    with readable(path, "CIFAR-10"):
        raw = np.fromfile(path, dtype=np.uint8)
    if not len(raw) or len(raw) % _RECORD:
        raise UserError(
            f"{path} should be records of {_RECORD} bytes. Got {len(raw)} bytes; "
            "fetch the binary version again."
        )
    records = raw.reshape(-1, _RECORD)
    if int(records[:, 0].max()) > 9:
        raise UserError(
            f"{path} holds a class {int(records[:, 0].max())}; CIFAR-10 has 0 to 9. "
            "Fetch the binary version again."
        )
    return records


# ----------------------------------------------------------------------------
# ImageNet (ILSVRC 2012), read from its JPEG files.
# ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class ImageNet:
    """1,281,167 photos of 1,000 classes, cut square and resized.

    The official validation images are the test split, as the labels of the official test were
    never published. They have labels where they lie in folders named as the training classes are.

    Source: Russakovsky et al., 2015, https://arxiv.org/abs/1409.0575.

    Attributes:
        path: Folder that holds ``train/CLASS/*.JPEG`` and ``val``, or none to look below
            ``GANTLET_DATA``.
        size: Height and width in pixels.
        crop: Side in pixels of the square that is cut from the centre before resizing, or none
            for the largest.
        validation: How many training images become validation, chosen by the seed.
        limit: Most images for training, or none.
    """

    path: str | None = None
    size: Annotated[int, Between(1)] = 64
    crop: Annotated[int, Between(1)] | None = None
    validation: Annotated[int, Between(1)] = 10_000
    limit: Annotated[int, Between(1)] | None = None

    @property
    def space(self) -> Space:
        """Three channels with 256 levels."""
        return Space("image", (3, self.size, self.size), 256)

    def load(self, *, rng: Rng) -> Splits:
        """Returns the splits; images are decoded when they are needed.

        Raises:
            UserError: If the images are missing or damaged.
        """
        folder = locate("imagenet", self.path)
        trains, tests = (files_in(folder / part) for part in ("train", "val"))
        names = classes(trains.files, folder / "train")
        if names is None:
            raise UserError(f"{folder / 'train'} must hold one folder of images for each class.")
        known = sorted(set(names))
        decoding = ImageDecoding(size=self.size, crop=self.crop)
        test = numbered(classes(tests.files, folder / "val"), known)
        return published_split(
            Pictures(trains.files, decoding, numbered(names, known), notes=trains.notes),
            Pictures(tests.files, decoding, test, notes=tests.notes),
            validation=self.validation,
            limit=self.limit,
            rng=rng,
        )


# ----------------------------------------------------------------------------
# MNIST and Fashion-MNIST, read from their own files.
# ----------------------------------------------------------------------------

_SPACE = Space("image", (1, 28, 28), 256)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Mnist:
    """60,000 and 10,000 handwritten digits of 28x28 grey pixels, ten classes.

    Source: LeCun, Cortes and Burges, 1998, http://yann.lecun.com/exdb/mnist/.

    Attributes:
        path: Folder of the four files, or none to look below ``GANTLET_DATA``.
        validation: How many training images become validation, chosen by the seed.
        limit: Most images for training, or none.
    """

    path: str | None = None
    validation: Annotated[int, Between(1)] = 5_000
    limit: Annotated[int, Between(1)] | None = None

    @property
    def space(self) -> Space:
        """One grey channel of 28x28 pixels with 256 levels."""
        return _SPACE

    def load(self, *, rng: Rng) -> Splits:
        """Returns the splits; the test is the official one.

        Raises:
            UserError: If the files are missing or damaged.
        """
        return _load("mnist", self.path, self.validation, self.limit, rng)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class FashionMnist:
    """60,000 and 10,000 pictures of clothes of 28x28 grey pixels, ten classes.

    Source: Xiao, Rasul and Vollgraf, 2017, https://arxiv.org/abs/1708.07747.

    Attributes:
        path: Folder of the four files, or none to look below ``GANTLET_DATA``.
        validation: How many training images become validation, chosen by the seed.
        limit: Most images for training, or none.
    """

    path: str | None = None
    validation: Annotated[int, Between(1)] = 5_000
    limit: Annotated[int, Between(1)] | None = None

    @property
    def space(self) -> Space:
        """One grey channel of 28x28 pixels with 256 levels."""
        return _SPACE

    def load(self, *, rng: Rng) -> Splits:
        """Returns the splits; the test is the official one.

        Raises:
            UserError: If the files are missing or damaged.
        """
        return _load("fashion-mnist", self.path, self.validation, self.limit, rng)


def _load(name: str, path: str | None, validation: int, limit: int | None, rng: Rng) -> Splits:
    folder = locate(name, path)

    def pair(images: str, labels: str) -> ArraySplit:
        where = find(folder, images)
        if where is None:
            raise UserError(f"{folder / images} is not a file.")
        rows = read_pair(where, find(folder, labels))
        space = space_of(rows.array, None, str(where))
        if space != _SPACE:
            raise UserError(f"{where} should hold {_SPACE.label}. Got {space.label}.")
        return rows

    return published_split(pair(*TRAIN), pair(*TEST), validation=validation, limit=limit, rng=rng)
