"""Lines of text as rows of whole numbers."""

import re
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self, final

import numpy as np
import regex
import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.code import Readable
from gantlet.core.errors import UserError
from gantlet.core.space import Space
from gantlet.data.checks import Array

Level = Literal["auto", "words", "characters"]

END, UNKNOWN, FIRST = 0, 1, 2
"""The levels that are no token: what follows the last one, what the code does not know, and the
level of the most frequent token."""

# Marks belong to the letter before them, which re does not know; a sign is what is seen as one.
_WORD = regex.compile(r"\w+(?:[-'’]\w+)*|(?!\s)\X")
_CHARACTER = regex.compile(r"\X")
_SHOWN = "□"
_LONGEST = 512
# Lines of so many words, in the mean, are cut into words.
_WORDS = 2
# The order of tokens is told by so many kinds at most, and so many pairs for each of their table.
_KINDS, _PER_PAIR = 32, 50


@final
@dataclass(frozen=True, slots=True, eq=False)
class TextCode(Readable):
    """The tokens of a text, by which others are written.

    Attributes:
        tokens: Words, or characters, the most frequent first; the first has level 2.
        counts: In how many lines each stands.
        length: How many tokens are kept of a line.
        words: Whether the tokens are words.
        half: So many of the first tokens make up half of the text.
        following: How much likelier one kind of token is after another than at any place, as the
            log of the ratio, shape ``(kinds, kinds)``. Kind 0 is the start or the end of a line,
            the last one every token but the commonest.
    """

    tokens: tuple[str, ...]
    counts: tuple[int, ...]
    length: int
    words: bool
    half: int
    following: Tensor

    @classmethod
    def of(cls, lines: Sequence[str], level: Level, length: int | None) -> Self:
        """Returns the code of a text."""
        words = level == "words" or (level == "auto" and _has_words(lines))
        split = [cut(line, words=words) for line in lines]
        found = Counter(token for tokens in split for token in dict.fromkeys(tokens))
        order = sorted(found, key=lambda token: (-found[token], token))
        longest = min(max(map(len, split)), _LONGEST)
        return cls(
            tokens=tuple(order),
            counts=tuple(found[token] for token in order),
            length=length or longest,
            words=words,
            half=_half(order, split),
            following=_following(order, split),
        )

    @property
    @override
    def space(self) -> Space:
        """Rows of tokens, 0 from the end of a line on."""
        return Space("tokens", (self.length,), len(self.tokens) + FIRST)

    @property
    def unit(self) -> str:
        """What a token is called."""
        return "word" if self.words else "character"

    @override
    def relearned(self, x: Tensor) -> Self:
        """Returns the code with counts and order learned from lines, shape ``(n, length)``."""
        levels, words = x.long(), len(self.tokens) + FIRST
        row = torch.arange(len(levels))[:, None] * words
        once = torch.unique(row + levels.cpu()) % words
        counts = torch.bincount(once, minlength=words)[FIRST:].tolist()
        split = [[i for i in line if i != END] for line in levels.tolist()]
        order = range(FIRST, words)
        return replace(
            self,
            counts=tuple(counts),
            half=_half(order, split),
            following=_following(order, split),
        )

    @property
    def room(self) -> int:
        """For how many tokens there is room where lines twice as long are not cut, up to 512."""
        return max(self.length, min(2 * self.length, _LONGEST))

    def write(self, lines: Sequence[str], *, own: bool | Array) -> Array:
        """Returns lines as levels, shape ``(n, length)``; see ``encode``."""
        return self.encode(lines, own=own)[0]

    def encode(self, lines: Sequence[str], *, own: bool | Array) -> tuple[Array, int]:
        """Returns lines as levels, shape ``(n, length)``, and how many were cut.

        Args:
            lines: The text.
            own: Whether they are the lines that the code was made from, or the places of those
                that are. There a token which stands in a single one is unknown: so it is to all
                others, and a line of the same source is unknown as often as one of these.
        """
        level = dict(zip(self.tokens, range(FIRST, len(self.tokens) + FIRST), strict=True))
        several = {t: level[t] for t, n in zip(self.tokens, self.counts, strict=True) if n > 1}
        long = 0
        is_own = np.full(len(lines), own) if isinstance(own, bool) else _flags(own, len(lines))
        kind = np.uint16 if len(self.tokens) + FIRST < 2**16 else np.int32
        x = np.zeros((len(lines), self.length), kind)
        for row, line, its in zip(x, lines, is_own.tolist(), strict=True):
            known = several if its else level
            found = [known.get(token, UNKNOWN) for token in cut(line, words=self.words)]
            row[: len(found)] = found[: self.length]
            long += len(found) > self.length
        return x, long

    @override
    def read(self, x: Tensor) -> Sequence[str]:
        """Returns lines of text; what the code does not know is a box."""
        known = ["", _SHOWN, *self.tokens]
        rows = ([known[i] for i in row if i != END] for row in x.long().tolist())
        if not self.words:
            return ["".join(row) for row in rows]
        return [re.sub(r" ([.,;:!?])", r"\1", " ".join(row)) for row in rows]


def cut(line: str, *, words: bool) -> list[str]:
    """Returns the tokens of a line: words and punctuation marks, or characters.

    Letters keep their marks, and emoji their parts.

    Source: the Unicode Consortium, UAX 29, https://www.unicode.org/reports/tr29/.

    Example:
        >>> cut("A dog's life, they say.", words=True)
        ['A', "dog's", 'life', ',', 'they', 'say', '.']
    """
    found: list[str] = (_WORD if words else _CHARACTER).findall(line)
    return found


def text_code(code: object, name: str) -> TextCode:
    """Returns ``code``, having checked that it is of text.

    Raises:
        UserError: If it is of something else.
    """
    if isinstance(code, TextCode):
        return code
    raise UserError(f"{name} is text; the real samples are not. Give text, as a file of lines.")


def _has_words(lines: Sequence[str]) -> bool:
    return sum(len(line.split()) for line in lines) >= _WORDS * len(lines)


def _flags(places: Array, n: int) -> Array:
    """Returns which of ``n`` rows are at some of these places."""
    flags = np.zeros(n, bool)
    flags[places] = True
    return flags


def _half(order: Sequence[Hashable], split: Sequence[Sequence[Hashable]]) -> int:
    """Returns how many of the first tokens make up half of the text."""
    counts = Counter(token for tokens in split for token in tokens)
    sums = np.cumsum([counts[token] for token in order])
    return int(np.searchsorted(sums, sums[-1] / 2)) + 1


def _following(order: Sequence[Hashable], split: Sequence[Sequence[Hashable]]) -> Tensor:
    """Returns the table of ``TextCode.following``, one count added to the mean of each pair."""
    size = sum(map(len, split))
    # So few kinds that about fifty pairs are there for each of the table.
    k = min(max(round((size / _PER_PAIR) ** 0.5), 3), _KINDS, len(order) + 2)
    kind = {token: i for i, token in enumerate(order[: k - 2], 1)}
    rows = [[0, *(kind.get(token, k - 1) for token in tokens), 0] for tokens in split]
    first = np.array([a for row in rows for a in row[:-1]])
    second = np.array([b for row in rows for b in row[1:]])
    counts = np.zeros((k, k))
    np.add.at(counts, (first, second), 1.0)
    expected = np.outer(counts.sum(1), counts.sum(0)) / counts.sum()
    return torch.from_numpy(np.log((counts + 1) / (expected + 1)))
