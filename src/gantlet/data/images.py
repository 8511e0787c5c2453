"""A folder of image files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, final

from gantlet.core.dataset import Splits
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between
from gantlet.data.folders import Found
from gantlet.data.pictures import (
    Colour,
    Decoding,
    Pictures,
    classes,
    files_in,
    numbered,
    space_of,
)
from gantlet.data.splits import by_share, official

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
    def _decoding(self) -> Decoding:
        return Decoding(size=self.size, crop=self.crop, colour=self.colour)

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
            return by_share(
                train, validation=self.validation, test=self.test, limit=self.limit, rng=rng
            )
        apart = Path(self.test_path).expanduser()
        tests = files_in(apart)
        test = self._pictures(tests, classes(tests.files, apart), known, like=train.first)
        validation = max(1, round(self.validation * len(train)))
        return official(train, test, validation=validation, limit=self.limit, rng=rng)

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
        found: Found,
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
