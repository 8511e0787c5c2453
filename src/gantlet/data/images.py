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
from gantlet.data.pictures import (
    Colour,
    Decoding,
    Pictures,
    classes,
    files_in,
    numbered,
    size_of,
    space_of,
)
from gantlet.data.splits import by_share, official

_TESTS = ("test", "val", "valid", "validation")


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Images:
    """PNG, JPEG and WebP files in a folder and its sub-folders, with 256 levels.

    Where every file lies in a sub-folder, the first sub-folder is its class. Hidden files are left
    out. A photo is turned as its camera says, transparency is dropped.

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
    """

    path: str
    test_path: str | None = None
    size: Annotated[int, Between(1)] | None = None
    crop: Annotated[int, Between(1)] | None = None
    colour: Colour = "rgb"
    validation: Annotated[float, Between(0, 1)] = 0.1
    test: Annotated[float, Between(0, 1)] = 0.1
    limit: Annotated[int, Between(1)] | None = None

    @property
    def _decoding(self) -> Decoding:
        return Decoding(size=self.size, crop=self.crop, colour=self.colour)

    @property
    def space(self) -> Space:
        """Images of the given size, or of that of the first file."""
        return space_of(files_in(Path(self.path).expanduser()), self._decoding)

    def load(self, *, rng: Rng) -> Splits:
        """Returns the splits; files are decoded once if a gigabyte holds them, else when needed.

        Raises:
            UserError: If there are no images, a file is damaged, or sizes differ without ``size``.
        """
        folder = Path(self.path).expanduser()
        files = files_in(folder)
        _refuse_splits(folder)
        names = classes(files, folder)
        known = None if names is None else sorted(set(names))
        train = self._pictures(files, names, known)
        if self.test_path is None:
            return by_share(
                train, validation=self.validation, test=self.test, limit=self.limit, rng=rng
            )
        apart = Path(self.test_path).expanduser()
        tests = files_in(apart)
        test = self._pictures([*tests], classes(tests, apart), known, like=files[0])
        validation = max(1, round(self.validation * len(train)))
        return official(train, test, validation=validation, limit=self.limit, rng=rng)

    def whole(self) -> Pictures:
        """Returns all images of ``path``, sorted by name.

        Raises:
            UserError: If there are no images, a file is damaged, or sizes differ without ``size``.
        """
        folder = Path(self.path).expanduser()
        files = files_in(folder)
        names = classes(files, folder)
        return self._pictures(files, names, None if names is None else sorted(set(names)))

    def _pictures(
        self,
        files: Sequence[Path],
        names: Sequence[str] | None,
        known: Sequence[str] | None,
        like: Path | None = None,
    ) -> Pictures:
        if self._decoding.size is None and self._decoding.crop is None:
            _check_sizes(files, like or files[0])
        pictures = Pictures(files, self._decoding, numbered(names, known))
        pictures.check()
        return pictures


def _check_sizes(files: Sequence[Path], like: Path) -> None:
    wanted = size_of(like)
    for path in files:
        size = size_of(path)
        if size != wanted:
            raise UserError(
                f"Images differ in size: {like} is {wanted[0]}x{wanted[1]}, {path} is "
                f"{size[0]}x{size[1]}. Give size=PIXELS to cut and resize them."
            )


def _refuse_splits(folder: Path) -> None:
    test = next((name for name in _TESTS if (folder / name).is_dir()), None)
    if test and (folder / "train").is_dir():
        raise UserError(
            f"{folder} holds its own train and {test} folders, which must not be mixed. "
            f"Give path={folder / 'train'} and test_path={folder / test}."
        )
