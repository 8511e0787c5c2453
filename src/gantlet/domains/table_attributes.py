"""Measurements of single rows of a table that have a name: that of their columns."""

import torch
from torch import Tensor

from gantlet.domains.attributes import (
    Attribute,
    AttributeTable,
    attribute,
    attribute_table,
    jitter,
)
from gantlet.domains.cells import Dependence, normal_scores
from gantlet.domains.table_code import TableCode, TableColumn

# Deviations: what lies farther out counts as so far.
_FAR, _TAMED = 10.0, 3.0
_THERE = 0.5
# What no real row has counts as if one in a hundred had it.
_SMALL = 0.1


def table_attributes(code: TableCode, x: Tensor) -> AttributeTable:
    """Returns measurements of rows, shape ``(n, components)``, which should be a whole set.

    How columns go together is told by ranks within the set, so that how each column is spread does
    not matter to it.

    Args:
        code: The columns of the real table.
        x: The components of the rows.
    """
    x = x.double()
    dust = jitter(x, _SMALL)
    measured: dict[Attribute, Tensor] = {}
    for column in code.columns:
        part = x[:, column.start : column.end]
        own = _categories if column.kind == "category" else _numbers
        measured |= own(column, part, dust)
    for bond in code.bonds:
        measured |= _together(code, bond, x)
    return attribute_table(measured)


def _numbers(column: TableColumn, part: Tensor, dust: Tensor) -> dict[Attribute, Tensor]:
    name = column.name
    z = ((part[:, 0] - column.middle) / column.spread).clamp(-_FAR, _FAR)
    there = part[:, 1] < _THERE if column.gaps else torch.ones_like(z, dtype=torch.bool)
    outside = (part[:, 0] < column.low) | (part[:, 0] > column.high)
    # On a logarithmic scale, so that a difference of means is never larger as one of spreads.
    spread = (z.abs() + 0.1).log()
    # What is missing counts as the mean of what is not: it is a flaw of its own.
    z, spread = (
        torch.where(there, v, v[there].sum() / there.sum().clamp_min(1)) for v in (z, spread)
    )
    found = {
        attribute(name, f"{name} too low", f"{name} too high"): z,
        attribute(
            f"spread of {name}", f"{name}: spread too small", f"{name}: spread too large", name
        ): spread,
        attribute(
            f"extremes of {name}",
            f"{name} without extremes",
            f"{name} out of range",
            name,
            rare=True,
        ): outside + dust,
    }
    return found | _missing(name, part[:, 1], dust) if column.gaps else found


def _categories(column: TableColumn, part: Tensor, dust: Tensor) -> dict[Attribute, Tensor]:
    name = column.name
    found: dict[Attribute, Tensor] = {}
    for i, category in enumerate(column.categories):
        summary = f"{name}={category}"
        less, more = f"{summary} missing or too rare", f"{summary} over-represented"
        found[attribute(f"share of {summary}", less, more, name)] = part[:, i]
    less, more = f"{name} without rare values", f"{name} with rare or unknown values"
    found[attribute(f"other values of {name}", less, more, name)] = part[:, -2] + dust
    return found | _missing(name, part[:, -1], dust)


def _missing(name: str, is_missing: Tensor, dust: Tensor) -> dict[Attribute, Tensor]:
    summary = f"missing values of {name}"
    return {attribute(summary, f"too few {summary}", f"too many {summary}"): is_missing + dust}


def _together(code: TableCode, bond: Dependence, x: Tensor) -> dict[Attribute, Tensor]:
    """Returns the agreement of each row with a dependence of the real table.

    The product of what goes together, less half of the correlation times the square of each side
    that is a column of numbers: the influence of a row on the correlation. Ranks are of the own
    set, and how they come out by chance does not change its mean to first order; with the product
    alone, or the squared difference, a test on it would find too much.

    Source: Hampel, 1974, https://doi.org/10.1080/01621459.1974.10482962, for influence; Devlin,
    Gnanadesikan and Kettenring, 1975, https://doi.org/10.1093/biomet/62.3.531, for that of a
    correlation.
    """
    first, second = (code.columns[i] for i in bond.columns)
    left, right = (
        _side(column, weight, x)
        for column, weight in zip((first, second), bond.weights, strict=True)
    )
    summary = f"correlation of {first.name} and {second.name}"
    fit = left * right
    for column, side in ((first, left), (second, right)):
        if column.kind != "category":
            fit = fit - bond.correlation / 2 * side.square()
    fit = fit / max(1 - bond.correlation**2, 0.01)
    return {
        attribute(summary, f"{summary} lost", f"{summary} too strong"): fit.clamp(
            -(_TAMED**2), _TAMED**2
        )
    }


def _side(column: TableColumn, weight: Tensor, x: Tensor) -> Tensor:
    """Returns the sum of a bond's side for each row, within three deviations."""
    part = x[:, column.start : column.start + len(weight)]
    if column.kind != "category":
        part = normal_scores(part[:, 0])[:, None]
        return (part @ weight).clamp(-_TAMED, _TAMED)
    sums = part @ weight
    return (sums - sums.mean()).clamp(-_TAMED, _TAMED)
