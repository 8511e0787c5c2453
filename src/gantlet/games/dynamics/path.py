"""What the field looks like on the straight line from one point to another."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.games.dynamics.field import GameField

# The line goes on beyond both ends by this share of its length.
_BEYOND = 0.1


@final
@dataclass(frozen=True, slots=True)
class Path:
    """The field along a line.

    Attributes:
        place: Where, 0 at the start and 1 at the end.
        cosine: Of the angle between the field and the direction of the line; NaN where the field
            is zero.
        norm: The length of the field.
    """

    place: tuple[float, ...]
    cosine: tuple[float, ...]
    norm: tuple[float, ...]


def path_angle(field: GameField, start: Tensor, end: Tensor, *, points: int = 61) -> Path:
    """Returns the angle between field and line on the line from ``start`` to ``end``.

    Where the cosine changes its sign at the end, the end attracts; a bump around it is rotation.
    The field is left at ``end``.

    Source: Berard et al., 2020, https://arxiv.org/abs/1906.04848, section 4.

    Args:
        field: The field; it is moved.
        start: Where training began, shape ``(size,)``.
        end: Where it ended.
        points: At how many places to look.
    """
    along = end - start
    length = float(along.norm())
    place = torch.linspace(-_BEYOND, 1 + _BEYOND, points).tolist()
    cosine, norm = [], []
    for a in place:
        field.move(torch.lerp(start, end, a))
        v = field.value()
        size = float(v.norm())
        norm.append(size)
        cosine.append(float(v @ along) / (size * length) if size * length > 0 else float("nan"))
    field.move(end)
    return Path(tuple(place), tuple(cosine), tuple(norm))
