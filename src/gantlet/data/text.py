"""A text file, a sample a line."""

import unicodedata
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Self, final

from torch import Tensor

from gantlet.core.code import Code
from gantlet.core.dataset import Splits
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between
from gantlet.data.checks import is_file
from gantlet.data.encodings import read_text
from gantlet.data.folders import counted
from gantlet.data.rows import Rows
from gantlet.data.splits import by_share
from gantlet.data.words import UNKNOWN, Level, TextCode, text_code


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Text:
    """The lines of a text file, as rows of words or of characters.

    A token that stands in no other line is unknown. Empty lines are left out. Characters are what
    a reader sees as one: letters with their marks, in the composed form (NFC).

    Attributes:
        path: The file: UTF-8, UTF-16 or Latin-1, packed (.gz) or not.
        level: What a token is; auto takes words where lines have two or more in the mean.
        length: How many tokens are kept of a line, or none for the longest, at most 512.
        validation: Share of the lines for validation.
        test: Share of the lines for the test.
        limit: Most lines for training, or none.
    """

    path: str
    level: Level = "auto"
    length: Annotated[int, Between(1)] | None = None
    validation: Annotated[float, Between(0, 1)] = 0.1
    test: Annotated[float, Between(0, 1)] = 0.1
    limit: Annotated[int, Between(1)] | None = None

    @property
    def space(self) -> Space:
        """Rows of tokens, as long as the longest line."""
        return self.code().space

    def load(self, *, rng: Rng) -> Splits:
        """Returns the splits.

        Raises:
            UserError: If the file cannot be read.
        """
        return by_share(
            self.whole(), validation=self.validation, test=self.test, limit=self.limit, rng=rng
        )

    def whole(self) -> Rows:
        """Returns all lines in the order of the file.

        Raises:
            UserError: If the file cannot be read.
        """
        lines, code = self._lines(), self.code()
        x, cut = code.encode(lines.lines, own=True)
        return Rows(x, notes=(*lines.notes, *self._cut(cut, code)))

    def code(self, rows: Tensor | None = None) -> TextCode:
        """Returns the tokens of the file.

        Args:
            rows: The lines that it is learned from, by their numbers from 0; None for all.

        Raises:
            UserError: If the file cannot be read.
        """
        lines = self._lines()
        if rows is None:
            return _code(lines, self.level, self.length)
        own = _Lines(tuple(lines.lines[i] for i in rows.tolist()), lines.notes)
        return _code(own, self.level, self.length)

    def roomy(self) -> Self:
        """Returns the same text with room for lines twice as long, unless a length is given."""
        return self if self.length is not None else replace(self, length=self.code().room)

    def coded(self, code: Code, own: Tensor | None = None) -> tuple[Rows, str]:
        """Returns all lines in the tokens of a code.

        Args:
            code: Of this text or of another.
            own: The lines that it was learned from, where they are of this text.

        Raises:
            UserError: If the file cannot be read, or the code is not that of a text.
        """
        found = text_code(code, self.path)
        x, cut = found.encode(self._lines().lines, own=False if own is None else own.numpy())
        unknown, n = int((x == UNKNOWN).sum()), int((x > 0).sum())
        told = f"{unknown:,} of the {n:,} {found.unit}s of {Path(self.path).name}"
        lost = (f"{told} are unknown to the real text",) if unknown else ()
        return Rows(x), "; ".join((*lost, *self._cut(cut, found)))

    def _cut(self, cut: int, code: TextCode) -> tuple[str, ...]:
        if not cut:
            return ()
        told = counted(cut, "line", "lines")
        long = f"longer than {code.length:,} {code.unit}s and cut there"
        return (f"{told} of {Path(self.path).name} {'is' if cut == 1 else 'are'} {long}",)

    def _lines(self) -> "_Lines":
        path = is_file(Path(self.path).expanduser())
        stat = path.stat()
        return _read_once(path, stat.st_mtime_ns, stat.st_size)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Lines:
    """The lines of a text, and what had to be guessed to read them."""

    lines: tuple[str, ...]
    notes: tuple[str, ...]


@lru_cache(maxsize=4)
def _read_once(path: Path, *_stamp: int) -> _Lines:
    text, notes = read_text(path, "text")
    composed = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    lines = tuple(line.strip() for line in composed.split("\n") if line.strip())
    if not lines:
        raise UserError(f"{path} holds no text. Write one sample a line.")
    return _Lines(lines, notes)


@lru_cache(maxsize=4)
def _code(lines: _Lines, level: Level, length: int | None) -> TextCode:
    return TextCode.of(lines.lines, level, length)
