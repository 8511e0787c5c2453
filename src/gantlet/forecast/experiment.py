"""The table of a designed experiment: families trained on many worlds, at several budgets."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, final

import numpy as np
from cattrs import Converter
from cattrs.errors import BaseValidationError
from numpy.typing import NDArray

from gantlet.core.errors import UserError, input_errors
from gantlet.forecast.estimators import Array
from gantlet.forecast.profile import FEATURES

VERSION = 1
SHIPPED = "experiment.json"

NAMES = tuple(FEATURES)
"""The features, in the order of the columns of ``Cells.features``."""

Number = float | None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A data set of the experiment.

    Attributes:
        form: The data set in written form.
        n: Number of training samples.
        d: Ambient dimension.
        real: Whether it is a real set, which no predictor is fitted to.
        block: Number of its configuration; worlds of one block are left out together.
        profile: Its features, by name; missing ones are not there.
    """

    form: str
    n: int
    d: int
    real: bool
    block: int
    profile: Mapping[str, float]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One family on one world, with one seed, at one budget.

    Attributes:
        world: Index of the world.
        family: Name of the family.
        seed: Random seed of the training.
        flops: Budget in FLOPs.
        steps: Training steps that it paid for.
        error: Log10 of the energy distance over the mean distance of two test samples, or None
            for a training that diverged before it could be judged.
        floor: The noise floor of the energy distance at these sizes.
        diverged: Whether the training diverged.
        more: Further responses, by name.
    """

    world: int
    family: str
    seed: int
    flops: float
    steps: float
    error: Number
    floor: Number = None
    diverged: bool = False
    more: Mapping[str, Number] | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Worlds and results.

    Attributes:
        version: Version of the form of the table.
        command: The command that made it.
        flops: The budgets, ascending.
        worlds: The worlds.
        results: The results.
        forms: Families in written form, by their name in the results.
    """

    version: int
    command: str
    flops: Sequence[float]
    worlds: Sequence[World]
    results: Sequence[Result]
    forms: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def families(self) -> tuple[str, ...]:
        """The families that have results, in the order of the table."""
        return tuple(dict.fromkeys(r.family for r in self.results))

    def only(self, *, real: bool) -> "Experiment":
        """Returns the real worlds with their results, or the others."""
        kept = {
            old: new
            for new, old in enumerate(i for i, w in enumerate(self.worlds) if w.real == real)
        }
        return Experiment(
            version=self.version,
            command=self.command,
            flops=self.flops,
            worlds=[self.worlds[i] for i in kept],
            results=[replace(r, world=kept[r.world]) for r in self.results if r.world in kept],
            forms=self.forms,
        )

    @cached_property
    def cells(self) -> "Cells":
        """Mean errors by world and budget."""
        return Cells.of(self)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Worlds at budgets: one row for each pair with results.

    Attributes:
        world: Index of the world of each row, shape ``(m,)``.
        block: Number of its block, shape ``(m,)``.
        flops: Budget of each row, shape ``(m,)``.
        features: Coded features of the world, NaN where missing, shape ``(m, p)``.
        families: The families.
        errors: Mean error over seeds, NaN where there is none, shape ``(m, families)``.
        seeds: Error of each seed, NaN where there is none, shape ``(m, families, seeds)``.
        steps: Mean number of steps, NaN where there is none, shape ``(m, families)``.
    """

    world: NDArray[np.int64]
    block: NDArray[np.int64]
    flops: Array
    features: Array
    families: tuple[str, ...]
    errors: Array
    seeds: Array
    steps: Array

    @classmethod
    def of(cls, table: Experiment) -> "Cells":
        """Returns the cells of a table; a training that diverged has the family's worst error."""
        families = table.families
        keys = sorted({(r.world, r.flops) for r in table.results})
        row = {key: i for i, key in enumerate(keys)}
        count = 1 + max((r.seed for r in table.results), default=0)
        errors = np.full((len(keys), len(families), count), np.nan)
        steps = np.full_like(errors, np.nan)
        worst = _worst(table)
        for r in table.results:
            at = row[r.world, r.flops], families.index(r.family), r.seed
            errors[at] = worst.get(r.family, math.nan) if r.error is None else r.error
            steps[at] = r.steps or math.nan
        world = np.array([w for w, _ in keys], dtype=np.int64)
        coded = np.array([features_of(w.profile) for w in table.worlds]).reshape(-1, len(FEATURES))
        blocks = np.array([w.block for w in table.worlds], dtype=np.int64)
        return cls(
            world=world,
            block=blocks[world],
            flops=np.array([f for _, f in keys]),
            features=coded[world],
            families=families,
            errors=mean_of_known(errors),
            seeds=errors,
            steps=mean_of_known(steps),
        )

    def take(self, kept: Any) -> "Cells":
        """Returns some rows: a mask or indices."""
        return Cells(
            world=self.world[kept],
            block=self.block[kept],
            flops=self.flops[kept],
            features=self.features[kept],
            families=self.families,
            errors=self.errors[kept],
            seeds=self.seeds[kept],
            steps=self.steps[kept],
        )

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.world)


def _worst(table: Experiment) -> dict[str, float]:
    found: dict[str, float] = {}
    for r in table.results:
        if r.error is not None:
            found[r.family] = max(r.error, found.get(r.family, -math.inf))
    return found


def mean_of_known(values: Array) -> Array:
    """Returns the mean over the last axis of what is not NaN; NaN where nothing is known."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0).sum(-1)
    counts = known.sum(-1)
    found: Array = np.where(counts > 0, total / np.maximum(counts, 1), np.nan)
    return found


def features_of(profile: Mapping[str, float]) -> Array:
    """Returns the features of a profile as predictors use them, NaN where missing, ``(p,)``."""
    return np.array(
        [f.coded(profile[f.name]) if f.name in profile else math.nan for f in FEATURES.values()]
    )


# ----------------------------------------------------------------------------
# Files.
# ----------------------------------------------------------------------------


def shipped() -> Experiment:
    """Returns the table that comes with Gantlet.

    Raises:
        UserError: If this installation has none.
    """
    return parse(json.loads(text_of_shipped(SHIPPED, "experiment table")), SHIPPED)


def text_of_shipped(name: str, what: str) -> str:
    """Returns the text of a file that comes with Gantlet.

    Args:
        name: Its name.
        what: What it is, for the message.

    Raises:
        UserError: If this installation has none.
    """
    file = files("gantlet.forecast").joinpath(name)
    if not file.is_file():
        raise UserError(
            f"This installation has no {what}. Run gantlet study distributions, and give its run "
            "directory with --refit."
        )
    return file.read_text(encoding="utf-8")


def read(path: Path) -> Experiment:
    """Returns the table in a file.

    Raises:
        UserError: If there is none, or it has another form.
    """
    if not path.is_file():
        raise UserError(
            "--refit needs an experiment table (JSON), or a run directory of gantlet study "
            f"distributions. {path} does not exist."
        )
    with input_errors(path, "an experiment table", (ValueError, RecursionError)):
        plain = json.loads(path.read_text(encoding="utf-8"))
    return parse(plain, str(path))


def parse(plain: object, name: str) -> Experiment:
    """Returns the table of plain data.

    Raises:
        UserError: If it has another form.
    """
    if not isinstance(plain, dict) or plain.get("version") != VERSION:
        got = plain.get("version") if isinstance(plain, dict) else type(plain).__name__
        raise UserError(
            f"{name} must be an experiment table of version {VERSION}, as gantlet study "
            f"distributions writes it. Got {got!r}."
        )
    try:
        table = Converter().structure({**plain, "forms": plain.get("families", {})}, Experiment)
    except (BaseValidationError, TypeError, ValueError) as error:
        raise UserError(
            f"{name} is not an experiment table: {_first(error)}. Run gantlet study distributions "
            "again."
        ) from error
    _check(table, name)
    return table


def _first(error: Exception) -> str:
    """Returns the innermost message of nested errors."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__} {error}"


def _check(table: Experiment, name: str) -> None:
    bad = [r for r in table.results if not 0 <= r.world < len(table.worlds) or r.flops <= 0]
    bad += [r for r in table.results if r.error is not None and not math.isfinite(r.error)]
    if bad:
        raise UserError(
            f"{name} has {len(bad)} results without a world, a budget or a finite error, the "
            f"first of {bad[0].family}. Run gantlet study distributions again."
        )
    if not any(not w.real for w in table.worlds) or not table.results:
        raise UserError(f"{name} has no results to fit. Run gantlet study distributions longer.")
