"""What a flaw can be called: measurements of single samples that have a name."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gantlet.core.data import Code, Space
from gantlet.domains.attributes import Probes, Word
from gantlet.domains.attributes import word as _word
from gantlet.domains.audio import AudioCode, audio_probes
from gantlet.domains.graphs import GraphCode, graph_probes
from gantlet.domains.images import image_probes
from gantlet.domains.tables import TableCode, table_probes
from gantlet.domains.text import TextCode, text_probes

__all__ = ["IMAGE_WORDS", "REPEATS", "Probes", "Word", "probes_of"]

# Vectors and tables of more columns than this are not named column by column.
_COLUMNS = 64


def probes_of(
    space: Space, x: Tensor, probabilities: Tensor | None = None, code: Code | None = None
) -> Probes:
    """Returns the named measurements of samples, shape ``(n, *space.shape)``.

    Args:
        space: What one sample is.
        x: The samples.
        probabilities: Class probabilities, shape ``(n, classes)``: the share of each class then
            has a name too.
        code: What the numbers of a sample stand for, where they are no plain numbers.
    """
    found = _coded(code, x) or _own(space, space.unit(x))
    return found if probabilities is None else found.with_more(_classes(probabilities.double()))


def can_name_images(space: Space) -> bool:
    """Says whether samples are images that have measurements of their own."""
    return space.kind == "image" and min(space.shape[1:]) >= 4 and space.shape[0] in (1, 3)


def _coded(code: Code | None, x: Tensor) -> Probes | None:
    """Returns the measurements of what is told by a code, or None."""
    match code:
        case TextCode():
            return text_probes(code, x)
        case TableCode():
            return table_probes(code, x)
        case AudioCode():
            return audio_probes(code, x)
        case GraphCode():
            return graph_probes(x)
        case _:
            return None


def _own(space: Space, x: Tensor) -> Probes:
    if can_name_images(space):
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
            label=k,
        )
        for k in range(p.shape[1])
    )
    return Probes(words=tuple(words), values=p)


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
        _word(
            "coarse structure", "large shapes too weak", "large shapes too strong", follows=True
        ),
        _word("edge density", "too few edges", "too many edges", follows=True),
        _word(
            "colour count", "too few tones or colours", "too many tones or colours", follows=True
        ),
    ]
)
"""By the name of the measurement."""

REPEATS = _word("distance to the nearest other", "repeated samples", "samples too far apart")
"""What is called of the distance of a sample to the nearest other one of its own set."""
