"""ImageNet (ILSVRC 2012), read from its JPEG files."""

from dataclasses import dataclass
from typing import Annotated, final

from gantlet.core.dataset import Splits
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between
from gantlet.data.catalogue import locate
from gantlet.data.pictures import Decoding, Pictures, classes, files_in, numbered
from gantlet.data.splits import official


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
        decoding = Decoding(size=self.size, crop=self.crop)
        test = numbered(classes(tests.files, folder / "val"), known)
        return official(
            Pictures(trains.files, decoding, numbered(names, known), notes=trains.notes),
            Pictures(tests.files, decoding, test, notes=tests.notes),
            validation=self.validation,
            limit=self.limit,
            rng=rng,
        )
