"""What the discovery half of the real samples alone says of their code.

A reader learns categories, vocabulary and ranges from all real samples. Those that are judged
later are then never unknown, and fakes of the same source are: a flaw that is none. So the code
is learned again from the discovery half, and judged samples of both sets are written in it. What
only judged real samples hold is as unknown as what only fakes hold.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from gantlet.core.code import Code
from gantlet.core.space import Space
from gantlet.data.bonds import bonds
from gantlet.data.columns import Column, TableCode
from gantlet.data.words import END, FIRST, UNKNOWN, TextCode

Write = Callable[[Tensor], Tensor]
"""Writes samples anew, shape ``(n, *shape)``."""

# Vectors of more columns than this are not named column by column.
_COLUMNS = 64
# A category or a token is known that so many samples of the discovery half have.
_KNOWN = 2
# Readers keep so many categories of a column at most.
_CATEGORIES = 32
# The order of tokens is that of so many kinds at most, so many pairs for each of their table.
_KINDS, _PER_PAIR = 32, 25
# Below and above these shares of the numbers of the discovery half a number is extreme.
_SIDES = (0.01, 0.5, 0.99)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Relearned:
    """A code learned from the discovery half, and what writes samples in it.

    Attributes:
        code: The code.
        space: What one sample is in it.
        write: Writes samples of the reader's code.
        write_own: Writes the samples of the discovery half: each as if it had not been learned
            from, so that what it alone holds is as unknown as it would be elsewhere.
    """

    code: Code
    space: Space
    write: Write
    write_own: Write


def relearned(code: Code | None, space: Space, whole: Tensor, places: Tensor) -> Relearned | None:
    """Returns the code of the discovery half, or None where a code learns nothing from samples.

    Args:
        code: That of the reader.
        space: What one sample is in it.
        whole: All real samples, shape ``(n, *space.shape)``.
        places: Where the discovery half is.
    """
    match code:
        case TextCode():
            return _text(code, whole[places].long())
        case TableCode():
            return _table(code, whole, places)
        case None if space.kind == "vector" and space.size <= _COLUMNS:
            columns = (Column(f"column {i}", "number", i, gaps=False) for i in range(space.size))
            plain = TableCode(tuple(columns), plain=True)
            return replace(_table(plain, whole.flatten(1), places), space=space)
        case _:
            return None


def _text(code: TextCode, x: Tensor) -> Relearned:
    size = len(code.tokens) + FIRST
    lines = _lines_with(x, size)
    known = [i for i in range(FIRST, size) if lines[i] >= _KNOWN]
    known.sort(key=lambda i: (-lines[i], code.tokens[i - FIRST]))
    levels, once = (torch.full((size,), UNKNOWN) for _ in range(2))
    levels[END] = once[END] = END
    for place, i in enumerate(known, FIRST):
        levels[i] = place
        # A line of its own counts out.
        once[i] = place if lines[i] > _KNOWN else UNKNOWN
    found = replace(
        code,
        tokens=tuple(code.tokens[i - FIRST] for i in known),
        counts=tuple(lines[i] for i in known),
        half=_half(levels[x], len(known)),
        following=_following(levels[x], len(known)),
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


def _half(x: Tensor, known: int) -> int:
    """Returns how many of the first tokens make up half of the text, at most all of them."""
    counts = torch.bincount(x[x != END], minlength=known + FIRST)
    reached = counts[FIRST:].cumsum(0) >= counts.sum() / 2
    return int(reached.to(torch.uint8).argmax()) + 1 if bool(reached.any()) else known


def _following(x: Tensor, known: int) -> Tensor:
    """Returns the table of ``TextCode.following``, one count added to the mean of each pair."""
    n = (x != END).sum(1)
    k = min(max(round((int(n.sum()) / _PER_PAIR) ** 0.5), 3), _KINDS, known + 2)
    kind = torch.where(x == UNKNOWN, k - 1, (x - FIRST + 1).clamp(max=k - 1))
    kind = torch.where(x == END, 0, kind)
    before, after = pad(kind, (1, 0)), pad(kind, (0, 1))
    counted = torch.arange(after.shape[1]) <= n[:, None]
    pairs = (before * k + after)[counted]
    counts = torch.bincount(pairs, minlength=k * k).double().view(k, k)
    expected = torch.outer(counts.sum(1), counts.sum(0)) / counts.sum()
    return ((counts + 1) / (expected + 1)).log()


def _table(code: TableCode, whole: Tensor, places: Tensor) -> Relearned:
    changed: list[_Changed] = []
    for column in code.columns:
        start = changed[-1].column.end if changed else 0
        part = whole[:, column.start : column.end]
        learn = _categories if column.kind == "category" else _numbers
        changed.append(learn(column, start, part, places))
    columns = tuple(c.column for c in changed)
    own = _written(changed, whole[places], own=False)
    parts = [
        (own[:, c.start : (c.end if c.kind == "category" else c.start + 1)], c.kind != "category")
        for c in columns
    ]
    tied = bonds([(part.numpy(), is_number) for part, is_number in parts])
    found = replace(code, columns=columns, bonds=tied)
    return Relearned(
        code=found,
        space=found.space,
        write=lambda x: _written(changed, x, own=False),
        write_own=lambda x: _written(changed, x, own=True),
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Changed:
    """A column as the discovery half knows it.

    Attributes:
        column: The column.
        before: What it was.
        kept: Which of its categories are known, by their places before.
        once: Which of these no row of the discovery half may lose.
    """

    column: Column
    before: Column
    kept: tuple[int, ...] = ()
    once: tuple[int, ...] = ()

    def write(self, part: Tensor, *, own: bool) -> Tensor:
        """Returns its components, shape ``(n, width)``, of those before."""
        if self.column.kind != "category":
            there = part[:, 1:] < 0.5
            middle = torch.full_like(part[:, :1], self.column.middle)
            value = torch.where(there, part[:, :1], middle) if self.column.gaps else part[:, :1]
            return torch.cat([value, part[:, 1:]], 1)
        known = part[:, list(self.kept)]
        if own:
            known = known * torch.tensor([i in self.once for i in self.kept]).to(known)
        missing = part[:, -1:]
        return torch.cat([known, 1 - missing - known.sum(1, keepdim=True), missing], 1)


def _written(changed: list[_Changed], x: Tensor, *, own: bool) -> Tensor:
    parts = [c.write(x[:, c.before.start : c.before.end], own=own) for c in changed]
    return torch.cat(parts, 1)


def _numbers(column: Column, start: int, part: Tensor, places: Tensor) -> _Changed:
    x = part[places].double().numpy()
    x = x[x[:, 1] < 0.5, 0] if column.gaps else x[:, 0]
    found = replace(column, start=start)
    if len(x):
        low, middle, high = np.quantile(x, _SIDES).tolist()
        spread = float(x.std()) or 1.0
        found = replace(found, middle=middle, spread=spread, low=low, high=high)
    return _Changed(column=found, before=column)


def _categories(column: Column, start: int, part: Tensor, places: Tensor) -> _Changed:
    """Returns a column with the categories that several rows of the discovery half have.

    Where the reader has left out the rarer ones by their number among all rows, those are known
    that it would have kept whatever the judged rows hold.
    """
    everyone, own = (p[:, : len(column.categories)].sum(0) for p in (part, part[places]))
    least = _KNOWN
    if len(column.categories) >= _CATEGORIES:
        least = max(_KNOWN, int(everyone.min()) + 1)
    kept = tuple((own >= least).nonzero()[:, 0].tolist())
    return _Changed(
        column=replace(column, start=start, categories=tuple(column.categories[i] for i in kept)),
        before=column,
        kept=kept,
        once=tuple((own > least).nonzero()[:, 0].tolist()),
    )
