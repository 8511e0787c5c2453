"""MNIST and Fashion-MNIST, read from their own files."""

from dataclasses import dataclass
from typing import Annotated, final

from gantlet.core.dataset import Splits
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between
from gantlet.data.catalogue import locate
from gantlet.data.idx import TEST, TRAIN, find, read_pair
from gantlet.data.rows import Rows, space_of
from gantlet.data.splits import official

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

    def pair(images: str, labels: str) -> Rows:
        where = find(folder, images)
        if where is None:
            raise UserError(f"{folder / images} is not a file.")
        rows = read_pair(where, find(folder, labels))
        space = space_of(rows.array, None, str(where))
        if space != _SPACE:
            raise UserError(f"{where} should hold {_SPACE.label}. Got {space.label}.")
        return rows

    return official(pair(*TRAIN), pair(*TEST), validation=validation, limit=limit, rng=rng)
