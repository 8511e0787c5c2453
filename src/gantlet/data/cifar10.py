"""CIFAR-10, read from its binary version."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, final

import numpy as np

from gantlet.core.dataset import Splits
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between
from gantlet.data.catalogue import locate
from gantlet.data.checks import readable
from gantlet.data.rows import Rows
from gantlet.data.splits import official

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
        return official(train, test, validation=self.validation, limit=self.limit, rng=rng)


def _read(paths: list[Path]) -> Rows:
    records = np.concatenate([_records(path) for path in paths])
    return Rows(records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0])


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
