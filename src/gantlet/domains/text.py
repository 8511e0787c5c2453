"""Text: reading, tokens, features, attributes."""

import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self, final

import numpy as np
import regex
import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from typing_extensions import override

from gantlet.core.data import Code, Readable, Source, Space, Splits
from gantlet.core.errors import UserError
from gantlet.core.metric import Features
from gantlet.core.rng import Rng
from gantlet.core.spec import Between, Spec
from gantlet.data.arrays import counted
from gantlet.data.delimited import read_text
from gantlet.data.splits import Array, ArraySplit, random_split, read_once, stamp_of
from gantlet.domains.attributes import (
    Attribute,
    AttributeTable,
    attribute,
    attribute_table,
    jitter,
)
from gantlet.domains.domains import (
    Adapted,
    Domain,
    Packaged,
    Relearned,
    Writer,
    columns,
    ending,
    lengthened,
)
from gantlet.features.base import blocks, frozen, subsample_indices
from gantlet.features.minilm import WEIGHTS, is_installed

# ----------------------------------------------------------------------------
# How often tokens and pairs of tokens are there, in a short vector.
# ----------------------------------------------------------------------------

# Most training samples that tell how common a token or a pair is.
_SAMPLES = 20_000
# Numbers by which tokens and pairs are counted.
_BUCKETS = 2**16
# What fewer training samples have is as rare as what so many have.
_FEWEST = 5
_PRIME = 2_147_483_647


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Ngrams:
    """Tokens and pairs of neighbours, weighted by how rare they are, as a random projection.

    Each token, and each pair, has a place and a sign in the vector, drawn by ``seed``; the number
    of times that it is in a sample is weighted by the log of how few training samples have it,
    five at least, and the whole is divided by the root of the length. Half of the places are for
    tokens, half for pairs.

    Source: Weinberger et al., 2009, https://arxiv.org/abs/0902.2206, for the hashing; Sparck
        Jones, 1972, https://doi.org/10.1108/eb026526, for the weights.

    Attributes:
        features: How many numbers.
        seed: Which projection.
    """

    learns: ClassVar[bool] = True

    features: Annotated[int, Between(2)] = 256
    seed: Annotated[int, Between(0)] = 0

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the projection; only the weights come from the training split.

        Raises:
            UserError: If samples are no rows of tokens.
        """
        if space.kind != "tokens":
            raise UserError(f"ngrams sees text alone. Got {space.label}.")
        own = Rng(self.seed)
        index = subsample_indices(len(data.train), _SAMPLES, rng=own.stream("samples"))
        net = _Sketch(self.features, rng=own).to(rng.device)
        for x in blocks(data.train, index, space, device=rng.device):
            net.learn(x)
        net.settle()
        return frozen(
            net,
            space,
            spec=Spec.of("ngrams", self),
            note=f"{self.features} random sums of tokens and of pairs of them, weighted by how "
            f"rare they are among {len(index)} training samples",
        )


@final
class _Sketch(nn.Module):
    """Sums of weighted tokens and pairs under random signs."""

    seen: Tensor
    known: Tensor
    place: Tensor
    sign: Tensor

    def __init__(self, features: int, *, rng: Rng) -> None:
        super().__init__()
        half = features // 2
        generator = rng.stream("hash")
        places = [
            torch.randint(0, size, (_BUCKETS,), generator=generator)
            for size in (half, features - half)
        ]
        signs = torch.randint(0, 2, (2, _BUCKETS), generator=generator) * 2 - 1
        self.register_buffer("place", torch.stack([places[0], places[1] + half]))
        self.register_buffer("sign", signs.float())
        # In how many training samples a bucket is; the first number of them all.
        self.register_buffer("seen", torch.zeros(2, _BUCKETS, dtype=torch.float64))
        self.register_buffer("known", torch.zeros((), dtype=torch.float64))
        self._features = features

    def learn(self, x: Tensor) -> None:
        """Counts in how many samples, shape ``(n, length)``, each bucket is."""
        row = torch.arange(len(x), device=x.device)[:, None] * _BUCKETS
        for i, (bucket, present) in enumerate(_grams(x)):
            once = torch.unique((row + bucket)[present]) % _BUCKETS
            self.seen[i] += torch.bincount(once, minlength=_BUCKETS)
        self.known += len(x)

    def settle(self) -> None:
        """Counts what is in fewer than five samples as if it were in five.

        What only one sample of the source has is in one of them where it was learned from, and in
        none where it was not: both must weigh alike, or samples that were learned from differ
        from fresh ones of the same source.
        """
        self.seen.clamp_(min=_FEWEST)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns the features of samples, shape ``(n, features)``."""
        flat = x.flatten(1)
        out = flat.new_zeros(len(flat), self._features)
        for i, (bucket, present) in enumerate(_grams(flat)):
            rarity = ((1 + self.known) / (1 + self.seen[i])).log().float() + 1
            weight = rarity[bucket] * self.sign[i][bucket] * present
            out.scatter_add_(1, self.place[i][bucket], weight.to(out))
        length = (flat != 0).sum(1, keepdim=True).clamp_min(1)
        return out / length.sqrt()


def _grams(x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Returns the buckets of tokens and of pairs, and which of them count."""
    level = x.flatten(1).long()
    # Level 0 follows the last token: a pair with it is the end of a sample.
    single = (level * 40_503 + 17) % _PRIME % _BUCKETS
    both = ((level[:, :-1] * 73_856_093 + level[:, 1:] * 19_349_663 + 29) % _PRIME) % _BUCKETS
    return [(single, level != 0), (both, level[:, :-1] != 0)]


# ----------------------------------------------------------------------------
# Lines of text as rows of whole numbers.
# ----------------------------------------------------------------------------

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
    """Returns the number of first tokens that make up half of the text."""
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


# ----------------------------------------------------------------------------
# Measurements of single lines of text that have a name.
# ----------------------------------------------------------------------------

# So many of the commonest tokens have a share of their own.
_COMMON = 24
_ENDS = frozenset(".!?…")
# A share that no real line has counts as if its deviation were this.
_SMALL = 0.01


def text_attributes(code: TextCode, x: Tensor) -> AttributeTable:
    """Returns measurements of lines, shape ``(n, length)``.

    All shares are of the tokens of a line. Only what other lines tell of a line is measured by
    the code, and only where it rests on many of them.

    Args:
        code: The tokens of the real text.
        x: Levels.
    """
    x = x.long()
    n = (x != END).sum(1).double()
    measured = {
        attribute("length", "too short", "too long"): n.log1p(),
        **_repeats(x, n),
        **_spelling(code, x, n),
        **_order(code, x, n),
    }
    for i, token in enumerate(code.tokens[:_COMMON]):
        name = f"{code.unit} {token!r}"
        common = attribute(
            f"share of the {name}", f"{name} too rare", f"{name} too frequent", name
        )
        measured[common] = (x == i + FIRST).sum(1) / n.clamp_min(1)
    return attribute_table(measured)


def _where(x: Tensor, flags: Sequence[bool]) -> Tensor:
    """Returns where tokens with a flag stand, shape ``(n, length)``."""
    return torch.tensor([False] * FIRST + [*flags], device=x.device)[x]


def _repeats(x: Tensor, n: Tensor) -> dict[Attribute, Tensor]:
    """Returns the share of repeated tokens and bigrams in a line.

    Two unknown tokens need not be the same.
    """
    known = (x != END) & (x != UNKNOWN)
    again = _seen_before(x, known)
    # One number for each pair; those of the end of a line are left out.
    pairs = x[:, :-1] * (int(x.max()) + 1 if x.numel() else 1) + x[:, 1:]
    phrases = _seen_before(pairs, known[:, 1:] & known[:, :-1])
    twice = (x[:, 1:] == x[:, :-1]) & known[:, 1:]
    topic = "repetition"
    few, many = "too few different words", "too many different words"
    return {
        attribute("repeated phrases", "too few repeated phrases", "repeated phrases", topic): (
            phrases.sum(1) / (n - 1).clamp_min(1) + jitter(x, _SMALL)
        ),
        attribute("variety", few, many, topic): (1 - again.sum(1) / n.clamp_min(1)),
        attribute(
            "tokens twice in a row", "nothing twice in a row", "the same twice in a row", topic
        ): (twice.sum(1) / (n - 1).clamp_min(1) + jitter(x, _SMALL)),
    }


def _seen_before(x: Tensor, counted: Tensor) -> Tensor:
    """Returns where a row holds what it held before, among the places that count."""
    order = x.masked_fill(~counted, -1).sort(dim=1, stable=True)
    same = torch.zeros_like(counted)
    same[:, 1:] = (order.values[:, 1:] == order.values[:, :-1]) & (order.values[:, 1:] >= 0)
    return torch.zeros_like(same).scatter(1, order.indices, same)


def _spelling(code: TextCode, x: Tensor, n: Tensor) -> dict[Attribute, Tensor]:
    """Returns the attributes of the characters of tokens."""
    tokens, whole = code.tokens, n.clamp_min(1)

    def share(flags: Sequence[bool]) -> Tensor:
        return _where(x, flags).sum(1) / whole

    found: dict[Attribute, Tensor] = {}
    if code.words:
        sizes = torch.tensor([0.0] * FIRST + [float(len(t)) for t in tokens], device=x.device)
        is_word = _where(x, [t[0].isalnum() for t in tokens])
        mean = (sizes[x] * is_word).sum(1) / is_word.sum(1).clamp_min(1)
        found[attribute("word length", "words too short", "words too long")] = mean
    marks = [not any(map(str.isalnum, t)) and not t.isspace() for t in tokens]
    last = x.gather(1, (n.long() - 1).clamp_min(0)[:, None])
    ends = _where(last, [t in _ENDS for t in tokens])[:, 0].double()
    unknown = (x == UNKNOWN).sum(1) / whole
    unit = f"{code.unit}s"
    return found | {
        attribute("punctuation", "too little punctuation", "too much punctuation"): (
            share(marks) + jitter(x, _SMALL)
        ),
        attribute("capitals", "capitals missing", "too many capitals"): (
            share([t[0].isupper() for t in tokens]) + jitter(x, _SMALL)
        ),
        attribute("digits", "too few numbers", "too many numbers"): (
            share([t[0].isdigit() for t in tokens]) + jitter(x, _SMALL)
        ),
        attribute("sentence end", "sentences without an end", "too often a sentence end"): (
            ends + jitter(x, 10 * _SMALL)
        ),
        attribute("unknown", f"too few rare {unit}", f"too many rare or unknown {unit}", "rare"): (
            unknown + jitter(x, _SMALL)
        ),
        attribute("rare", f"too few rare {unit}", f"too many rare {unit}", "rare"): (
            1 - share([i < code.half for i in range(len(tokens))])
        ),
    }


def _order(code: TextCode, x: Tensor, n: Tensor) -> dict[Attribute, Tensor]:
    """Returns the log-lift of each token given the one before it.

    The mean of ``log p(b | a) / p(b)`` in nats over the pairs of a line, its start and its end
    included. All but the commonest tokens count as one, so that it rests on many lines.
    """
    table = code.following.to(x.device)
    k = len(table)
    # The code's classes: 0 for start and end, then the commonest tokens, then all others.
    kind = torch.where(x == END, 0, torch.where(x == UNKNOWN, k - 1, x - FIRST + 1)).clamp(
        max=k - 1
    )
    before = pad(kind, (1, 0))
    after = pad(kind, (0, 1))
    # A pair counts up to the one that ends the line.
    place = torch.arange(after.shape[1], device=x.device)
    counted = place <= n[:, None]
    score = (table[before, after] * counted).sum(1) / (n + 1)
    name = f"order of {code.unit}s"
    return {attribute(name, f"wrong {name}", f"{name} too regular"): score}


# ----------------------------------------------------------------------------
# A text file, a sample a line.
# ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Text:
    """The lines of a text file, as rows of words or of characters.

    A token that stands in no other line is unknown. Empty lines are left out. Characters are what
    a reader sees as one: letters with their marks, in the composed form (NFC).

    Attributes:
        path: The file: UTF-8, UTF-16 or Latin-1, packed (.gz) or not.
        level: What a token is; auto takes words where lines have two or more on average.
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
        made = random_split(
            self.whole(), validation=self.validation, test=self.test, limit=self.limit, rng=rng
        )
        return replace(made, code=self.code())

    def whole(self) -> ArraySplit:
        """Returns all lines in the order of the file.

        Raises:
            UserError: If the file cannot be read.
        """
        lines, code = self._lines(), self.code()
        x, cut = code.encode(lines.lines, own=True)
        return ArraySplit(x, notes=(*lines.notes, *self._cut(cut, code)))

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

    def coded(self, code: Code, own: Tensor | None = None) -> tuple[ArraySplit, str]:
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
        summary = f"{unknown:,} of the {n:,} {found.unit}s of {Path(self.path).name}"
        lost = (f"{summary} are unknown to the real text",) if unknown else ()
        return ArraySplit(x), "; ".join((*lost, *self._cut(cut, found)))

    def _cut(self, cut: int, code: TextCode) -> tuple[str, ...]:
        if not cut:
            return ()
        count = counted(cut, "line", "lines")
        long = f"longer than {code.length:,} {code.unit}s and cut there"
        return (f"{count} of {Path(self.path).name} {'is' if cut == 1 else 'are'} {long}",)

    def _lines(self) -> "_Lines":
        return _lines_of(Path(self.path).expanduser())


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Lines:
    """The lines of a text, and what had to be guessed to read them."""

    lines: tuple[str, ...]
    notes: tuple[str, ...]


@read_once(4, stamp_of)
def _lines_of(path: Path) -> _Lines:
    text, notes = read_text(path, "text")
    composed = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    lines = tuple(line.strip() for line in composed.split("\n") if line.strip())
    if not lines:
        raise UserError(f"{path} holds no text. Write one sample a line.")
    return _Lines(lines, notes)


# A function of the lines alone.
@lru_cache(maxsize=4)
def _code(lines: _Lines, level: Level, length: int | None) -> TextCode:
    return TextCode.of(lines.lines, level, length)


# ----------------------------------------------------------------------------
# A vocabulary learned again from some lines.
# ----------------------------------------------------------------------------

# A token is known that so many of them have.
_IN_LINES = 2
# Pairs for each of the table of the order of tokens: half as many as from a whole text.
_PER_PAIR_OF_FEW = 25


def relearned_text(code: TextCode, x: Tensor) -> Relearned:
    """Returns the tokens that two of some lines have, shape ``(n, length)``, and their order.

    What only other lines hold is unknown, in whichever set they are.
    """
    size = len(code.tokens) + FIRST
    lines = _lines_with(x, size)
    known = [i for i in range(FIRST, size) if lines[i] >= _IN_LINES]
    known.sort(key=lambda i: (-lines[i], code.tokens[i - FIRST]))
    levels, once = (torch.full((size,), UNKNOWN) for _ in range(2))
    levels[END] = once[END] = END
    for place, i in enumerate(known, FIRST):
        levels[i] = place
        # A line of its own counts out.
        once[i] = place if lines[i] > _IN_LINES else UNKNOWN
    found = replace(
        code,
        tokens=tuple(code.tokens[i - FIRST] for i in known),
        counts=tuple(lines[i] for i in known),
        half=_half_of_levels(levels[x], len(known)),
        following=_following_of_levels(levels[x], len(known)),
    )
    return Relearned(
        code=found,
        space=found.space,
        write=lambda z: levels[z.long()].to(z.dtype),
        write_own=lambda z: once[z.long()].to(z.dtype),
    )


def _lines_with(x: Tensor, size: int) -> list[int]:
    """Returns in how many rows each level is."""
    order = x.sort(1).values
    first = torch.ones_like(order, dtype=torch.bool)
    first[:, 1:] = order.diff(dim=1) != 0
    found: list[int] = torch.bincount(order[first], minlength=size).tolist()
    return found


def _half_of_levels(x: Tensor, known: int) -> int:
    """Returns the number of first tokens that make up half of the text, at most all of them."""
    counts = torch.bincount(x[x != END], minlength=known + FIRST)
    reached = counts[FIRST:].cumsum(0) >= counts.sum() / 2
    return int(reached.to(torch.uint8).argmax()) + 1 if bool(reached.any()) else known


def _following_of_levels(x: Tensor, known: int) -> Tensor:
    """Returns the table of ``TextCode.following``, one count added to the mean of each pair."""
    n = (x != END).sum(1)
    k = min(max(round((int(n.sum()) / _PER_PAIR_OF_FEW) ** 0.5), 3), _KINDS, known + 2)
    kind = torch.where(x == UNKNOWN, k - 1, (x - FIRST + 1).clamp(max=k - 1))
    kind = torch.where(x == END, 0, kind)
    before, after = pad(kind, (1, 0)), pad(kind, (0, 1))
    counted = torch.arange(after.shape[1]) <= n[:, None]
    pairs = (before * k + after)[counted]
    counts = torch.bincount(pairs, minlength=k * k).double().view(k, k)
    expected = torch.outer(counts.sum(1), counts.sum(0)) / counts.sum()
    return ((counts + 1) / (expected + 1)).log()


# ----------------------------------------------------------------------------
# The kind of sample.
# ----------------------------------------------------------------------------


@final
class TextDomain(Domain):
    """Lines of text as rows of tokens, followed by zeros where they are short."""

    endings: ClassVar[tuple[str, ...]] = (".txt",)
    metrics: ClassVar[tuple[str, ...]] = (
        "bleu",
        "self-bleu",
        "lm-forward",
        "lm-reverse",
        "verbatim",
        "longest-copy",
    )
    is_metric: ClassVar[bool] = False
    models: ClassVar[tuple[str, ...]] = ("histogram", "ngram", "lm", "text-gan", "scratch-gan")
    trade_off: ClassVar[tuple[str, str]] = ("lm-forward", "lm-reverse")

    @override
    def attributes(self, space: Space, x: Tensor, code: Code | None) -> AttributeTable:
        """Returns length, spelling, repetition and the like, which need the vocabulary."""
        return text_attributes(code, x) if isinstance(code, TextCode) else columns(space, x)

    @override
    def reader(self, path: Path, *, skip_bad: int = 0) -> Text | None:
        """Reads files of lines."""
        return Text(path=str(path)) if ending(path) in self.endings else None

    @override
    def features(self, code: Code | None, *, labelled: bool) -> tuple[str, ...]:
        """Frequencies of tokens and of pairs of them."""
        return ("ngrams",)

    @override
    def packaged(self, space: Space, code: Code | None) -> Packaged | None:
        """A network trained on sentences, for text whose tokens are words."""
        if not isinstance(code, TextCode) or not code.words:
            return None
        return Packaged(
            extractor=WEIGHTS.name,
            seen="sentences",
            is_installed=is_installed(),
            command=WEIGHTS.advice,
        )

    @override
    def relearned(
        self, code: Code | None, space: Space, source: Source, places: Tensor
    ) -> Relearned | None:
        """Learns the vocabulary and the order of tokens."""
        if not isinstance(code, TextCode):
            return None
        return relearned_text(code, source.take(places).long())

    @override
    def adapted(self, space: Space, wanted: Space) -> Adapted | None:
        """Leaves room for more tokens."""
        return lengthened(space, wanted)

    @override
    def writers(self, space: Space, code: Code | None) -> Mapping[str, Writer]:
        """Writes a line for each sample, where the vocabulary is known."""
        if not isinstance(code, TextCode):
            return {}
        return {".txt": lambda path, x: _write_lines(path, code.read(x))}


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    empty = sum(not line.strip() for line in lines)
    if empty:
        raise UserError(
            f"{counted(empty, 'sample is', 'samples are')} without any text, which a file of "
            "lines cannot hold. Give a name that ends in .npz."
        )
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
