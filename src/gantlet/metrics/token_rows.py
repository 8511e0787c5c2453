"""Rows of tokens as metrics see them: numbered, and cut at their end."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.core.errors import UserError
from gantlet.metrics.checks import checked
from gantlet.stats.witten_bell import END, events, zeros_trail


@final
@dataclass(frozen=True, eq=False)
class TokenRows:
    """Sets of token rows under one numbering.

    Attributes:
        sets: The tokens of each set, int64, shape ``(n, length)``: 0 behind the end.
        levels: Number of different tokens in all sets, and one more: token 0 is the end.
        ends: Whether rows end before they are full, anywhere.
        beyond: How many rows of each set held tokens behind their end, which are not read.
    """

    sets: tuple[Tensor, ...]
    levels: int
    ends: bool
    beyond: tuple[int, ...]

    @property
    def note(self) -> str:
        """What is said after a method where fakes, the second set, hold tokens behind an end."""
        fakes = self.beyond[1]
        return f"; {fakes} fakes hold tokens behind their end, which are not read" if fakes else ""


def token_rows(metric: str, **sets: Tensor) -> TokenRows:
    """Numbers the tokens of several sets; the first one tells whether level 0 ends a row.

    It does unless tokens follow it there. Behind the end of a row nothing is read.

    Args:
        metric: Name of the metric, for errors.
        sets: Levels scaled to [0, 1], shape ``(n, length)``, by the name that errors call them.

    Raises:
        UserError: If they are not rows of tokens, or of different lengths.
    """
    first, *others = sets.items()
    for name, x in sets.items():
        _check(metric, name, x)
    for name, x in others:
        checked(first[1], x, names=(first[0], name))
    whole = torch.cat([x.detach().double() for x in sets.values()])
    values, number = torch.unique(whole, return_inverse=True)
    # Zero is always there, so that token 0 means the end and nothing else.
    added = int(not len(values) or float(values[0]) != 0)
    parts = (number + added).split([len(x) for x in sets.values()])
    levels = len(values) + added
    if not zeros_trail(parts[0]):
        return TokenRows(
            tuple(x + 1 for x in parts), levels + 1, ends=False, beyond=(0,) * len(parts)
        )
    cut = tuple(x * events(x, ends=True) for x in parts)
    beyond = tuple(int((a != b).any(1).sum()) for a, b in zip(parts, cut, strict=True))
    return TokenRows(cut, levels, ends=any(bool((x == END).any()) for x in cut), beyond=beyond)


def _check(metric: str, name: str, x: Tensor) -> None:
    if x.ndim != 2 or not x.shape[1]:
        raise UserError(
            f"{metric} compares rows of tokens, shape (n, length). Got {name} of shape "
            f"{tuple(x.shape)}."
        )
    if x.is_floating_point() and len(x):
        low, high = (float(v) for v in torch.aminmax(x.detach()))
        if low < 0 or high > 1:
            raise UserError(
                f"{metric} compares rows of tokens, levels scaled to [0, 1]. "
                f"Got {name} from {low:g} to {high:g}."
            )


def grams(x: Tensor, levels: int, order: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields for each order the row and the number of every n-gram; equal n-grams are one number.

    The end of a row is in none of them.

    Args:
        x: The tokens, shape ``(n, length)``, 0 behind the end.
        levels: Number of tokens.
        order: Tokens of the longest.
    """
    row = torch.arange(len(x), device=x.device)[:, None].expand_as(x)
    place, number = torch.arange(x.numel(), device=x.device).view_as(x), x
    valid = x != END
    row, place, number = row[valid], place[valid], number[valid]
    yield row, number
    flat, length = x.flatten(), x.shape[1]
    for k in range(2, order + 1):
        last = place + k - 1
        inside = place % length + k <= length
        inside &= flat[last.clamp(max=max(len(flat) - 1, 0))] != END
        row, place, number, last = row[inside], place[inside], number[inside], last[inside]
        number = torch.unique(number * levels + flat[last], return_inverse=True)[1]
        yield row, number
