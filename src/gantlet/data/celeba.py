"""CelebA, read from its aligned JPEG files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, final

import torch

from gantlet.core.dataset import Splits, notes_of
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between
from gantlet.data.catalogue import locate
from gantlet.data.pictures import Decoding, Pictures, files_in
from gantlet.data.splits import Subset, cpu_stream, sentences

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
        decoding = Decoding(size=self.size, crop=self.crop)
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
