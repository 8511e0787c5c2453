"""How many steps a family needed on published data, for those who plan a training.

``experience.json`` is made from the committed results by ``benchmarks/experience.py``, which says
how.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import final

from gantlet.core.space import Kind, Space

# Data of so many times the components, or a part of them, can be compared with.
_COMPARABLE = 4.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The course of one family on one published set of data.

    Attributes:
        family: The family, with its default settings.
        data: The data.
        kind: What its samples are.
        size: How many components a sample has.
        steps: From how many steps on at most a tenth of the gain was left, or None where that was
            not seen.
        most: How many steps were made.
    """

    family: str
    data: str
    kind: Kind
    size: int
    steps: int | None
    most: int

    def text(self) -> str:
        """Returns what is known, in one sentence."""
        who = f"on {self.data} {self.family} was"
        if self.steps is None:
            return f"{who} still in its steep part after {self.most:,} steps"
        return f"{who} past its steep part from {self.steps:,} steps on"


@cache
def experience() -> Sequence[Known]:
    """Returns all that is known."""
    text = files("gantlet.studies").joinpath("experience.json").read_text(encoding="utf-8")
    return tuple(Known(**row) for row in json.loads(text)["rows"])


def nearest(model: str, space: Space) -> Known | None:
    """Returns the course of a model's family on the data most like ``space``.

    None where nothing can be compared: another kind of samples, or more than four times as many
    components or as few.

    Args:
        model: The model in written form.
        space: What one sample is.
    """
    family = model.partition(":")[0]
    alike = [k for k in experience() if k.family == family and k.kind == space.kind]
    known = min(alike, key=lambda k: _apart(k, space), default=None)
    return known if known and _apart(known, space) <= math.log(_COMPARABLE) else None


def _apart(known: Known, space: Space) -> float:
    return abs(math.log(known.size / space.size))
