"""What a flaw can be called: measurements of single samples that have a name."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.core.space import Space
from gantlet.critics.vocabulary_images import image_probes

# Vectors and tables of more columns than this are not named column by column.
_COLUMNS = 64


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """The name of a measurement of single samples.

    Attributes:
        name: What it measures: "brightness".
        less: What fakes are called whose measurements are too low.
        more: What fakes are called whose measurements are too high.
        topic: Words of one topic are one flaw: the two axes of a colour cast.
    """

    name: str
    less: str
    more: str
    topic: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """Named measurements of a set of samples.

    Attributes:
        words: One for each column.
        values: Shape ``(n, len(words))``, float64.
    """

    words: tuple[Word, ...]
    values: Tensor

    def with_more(self, other: "Probes") -> "Probes":
        """Returns these and others of the same samples."""
        both = torch.cat([self.values, other.values], 1)
        return Probes(words=(*self.words, *other.words), values=both)

    def at(self, places: Tensor) -> "Probes":
        """Returns those of some of the samples."""
        return Probes(words=self.words, values=self.values[places])


def probes_of(space: Space, x: Tensor, probabilities: Tensor | None = None) -> Probes:
    """Returns the named measurements of samples, shape ``(n, *space.shape)``.

    Args:
        space: What one sample is.
        x: The samples.
        probabilities: Class probabilities, shape ``(n, classes)``: the share of each class then
            has a name too.
    """
    found = _own(space, space.unit(x))
    return found if probabilities is None else found.with_more(_classes(probabilities.double()))


def _own(space: Space, x: Tensor) -> Probes:
    if space.kind == "image" and min(space.shape[1:]) >= 4 and space.shape[0] in (1, 3):
        named = image_probes(x)
        words = tuple(IMAGE_WORDS[name] for name in named)
        return Probes(words=words, values=torch.stack(list(named.values()), 1))
    values = x.flatten(1).double()
    if values.shape[1] > _COLUMNS:
        return Probes(words=(), values=values[:, :0])
    return Probes(words=tuple(map(_column, range(values.shape[1]))), values=values)


def _column(i: int) -> Word:
    name = f"column {i}"
    return Word(name=name, less=f"{name} too low", more=f"{name} too high", topic=name)


def _classes(p: Tensor) -> Probes:
    words = (
        Word(
            name=f"share of class {k}",
            less=f"class {k} missing or too rare",
            more=f"class {k} over-represented",
            topic=f"class {k}",
        )
        for k in range(p.shape[1])
    )
    return Probes(words=tuple(words), values=p)


def _word(name: str, less: str, more: str, topic: str = "") -> Word:
    return Word(name=name, less=less, more=more, topic=topic or name)


def _by_name(words: Sequence[Word]) -> dict[str, Word]:
    return {word.name: word for word in words}


_PATTERN = "a checkerboard pattern"

IMAGE_WORDS = _by_name(
    [
        _word("brightness", "too dark", "too bright"),
        _word("contrast", "contrast too low", "contrast too high"),
        _word("fine detail", "blurred: fine detail missing", "noisy: too much fine detail"),
        _word("checkerboard", _PATTERN, _PATTERN),
        _word("column stripes", _PATTERN, _PATTERN, "checkerboard"),
        _word("row stripes", _PATTERN, _PATTERN, "checkerboard"),
        _word(
            "block edges", "block edges too weak", "block edges, as lossy compression leaves them"
        ),
        _word("mirror symmetry", "not symmetric enough", "too symmetric"),
        _word("middle seam", "middle too smooth", "halves that do not fit together"),
        _word("saturation", "colours too pale", "colours too strong"),
        _word("red against green", "a green cast", "a red cast", "colour"),
        _word("blue against yellow", "a yellow cast", "a blue cast", "colour"),
        _word("hue axis", "wrong hues", "wrong hues", "colour"),
        _word("hue diagonal", "wrong hues", "wrong hues", "colour"),
        _word("colour agreement", "colours that do not go together", "colours too much alike"),
    ]
)
"""By the name of the measurement."""

REPEATS = _word("distance to the nearest other", "repeated samples", "samples too far apart")
"""What is called of the distance of a sample to the nearest other one of its own set."""
