"""Samples of the models in run folders, and those with given values of columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from gantlet import options
from gantlet.commands.compare.trial import restore
from gantlet.commands.exhibits import code_of, save_samples
from gantlet.commands.trained import ModelTrial, draw, find_trial
from gantlet.core.errors import UserError, unknown
from gantlet.core.model import Model
from gantlet.core.rng import Rng
from gantlet.domains.table_code import TableCode

_TRIED = 1000  # rows that are drawn for each that is asked for, at most
_LEAST = 20_000  # or so many, if that is more
_BLOCK = 5000  # rows that are drawn before it is looked which are kept


@final
@dataclass(frozen=True, slots=True, eq=False)
class DrawnSamples:
    """Samples of a model.

    Attributes:
        samples: Shape ``(n, *space.shape)``.
        family: The name of the family.
        drawn: How many were drawn to have these.
    """

    samples: Tensor
    family: str
    drawn: int


def draw_and_save(asked: options.Sample) -> DrawnSamples:
    """Draws and saves samples of a model in a run folder.

    Raises:
        UserError: If the model is not in the run, the file format is unknown, or a condition
            cannot be met.
    """
    trial, folder = find_trial(Path(asked.run), asked.model, asked.seed)
    data, rng = ModelTrial.of(trial).data, Rng(asked.noise).stream("sample")
    conditions = [_condition(text, code_of(data)) for text in asked.where]
    model, drawn = restore(trial, folder), asked.n
    if conditions:
        x, drawn = draw_where(model, asked.n, conditions, rng=rng)
    else:
        x = draw(model, asked.n, rng=rng)
    save_samples(Path(asked.out), x, data)
    return DrawnSamples(x, trial.model.partition(":")[0], drawn)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """A value of a column that rows must have.

    Attributes:
        code: The columns.
        column: The name of the column.
        value: The value, as a table of the rows would hold it, ``missing`` or ``another``.
    """

    code: TableCode
    column: str
    value: str

    def holds(self, x: Tensor) -> Tensor:
        """Returns which rows have the value, bool, shape ``(n,)``.

        Raises:
            UserError: If the column does not exist or cannot have the value.
        """
        return self.code.having(x, self.column, self.value)


def _condition(text: str, code: object) -> Condition:
    if not isinstance(code, TableCode):
        raise UserError(
            f"--where={text} needs rows of a table, whose columns have names. The samples of this "
            "run have none; leave it out."
        )
    # The longest name first: names of columns may hold the sign themselves.
    names = sorted(code.column_names, key=len, reverse=True)
    for name in names:
        if text.startswith(f"{name}="):
            found = Condition(code, name, text.removeprefix(f"{name}="))
            found.holds(torch.zeros(1, code.space.size))
            return found
    column, sign, _ = text.partition("=")
    if not sign:
        raise UserError(f"--where must be COLUMN=VALUE. Got {text!r}.")
    raise unknown("column of the rows", column, names)


def draw_where(
    model: Model, n: int, conditions: Sequence[Condition], *, rng: torch.Generator
) -> tuple[Tensor, int]:
    """Returns rows of a model that meet conditions, and how many were drawn to have them.

    By rejection: rows are drawn, and those that meet all conditions are kept. So they follow the
    model's distribution of rows given these values, exactly and for every model of tables.

    Source: von Neumann, 1951, "Various techniques used in connection with random digits".

    Args:
        model: The model.
        n: How many rows are wanted.
        conditions: What they must have.
        rng: From which every random number follows.

    Raises:
        UserError: If too few of the rows that are drawn meet the conditions.
    """
    kept: list[Tensor] = []
    have = drawn = 0
    most = max(_TRIED * n, _LEAST)
    while have < n:
        if drawn >= most:
            asked = " and ".join(f"{c.column}={c.value}" for c in conditions)
            raise UserError(
                f"{have:,} of {drawn:,} rows of the model have {asked}, and {n:,} are asked for. "
                "Give a smaller -n, or values that are more frequent."
            )
        x = draw(model, min(_BLOCK, most - drawn), rng=rng)
        # Of the last block only those up to the n-th row count as drawn.
        place = torch.stack([c.holds(x) for c in conditions]).all(0).nonzero()[:, 0][: n - have]
        kept.append(x[place])
        have += len(place)
        drawn += int(place[-1]) + 1 if have == n else len(x)
    return torch.cat(kept), drawn
