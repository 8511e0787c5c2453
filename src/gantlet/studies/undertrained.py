"""Which models the budget left undertrained: no ranking is read without knowing that."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import final

from gantlet.store.run import Run
from gantlet.studies import names
from gantlet.studies.experience import nearest
from gantlet.studies.sources import source_of
from gantlet.studies.summary import Contestant

MARK = "†"
"""What stands beside an undertrained model in tables."""

RULE = (
    "Undertrained: the validation loss still falls over the last third of training (Mann-Kendall "
    "test over all seeds at 5 %, and by at least a quarter of what it fell in the third before), "
    "or fewer steps than such a family needed on the nearest published data, or fewer than 200."
)

_LEAST = 4  # points in a third
_Z = 1.645
_LOSING = 0.25
FEW_STEPS = 200
"""So many steps are few for any family where no published run can be compared with."""


@final
@dataclass(frozen=True, slots=True)
class Undertrained:
    """A model that had not been trained enough when its budget was spent.

    Attributes:
        contestant: The model.
        signs: What shows it, one phrase each.
    """

    contestant: Contestant
    signs: tuple[str, ...]


def undertrained(everyone: Sequence[Contestant], run: Run | None) -> list[Undertrained]:
    """Returns those models that are undertrained, with the signs."""
    found = [Undertrained(c, _signs(c, run)) for c in everyone if c.values(names.STEPS)]
    return [u for u in found if u.signs]


def _signs(c: Contestant, run: Run | None) -> tuple[str, ...]:
    steps = fmean(c.values(names.STEPS).values())
    if steps == 0:  # fitted directly
        return ()
    signs = []
    if run is not None and still_falls(_curves(c, run)):
        signs.append("validation loss still falling at the end")
    if few := _few(c, steps):
        signs.append(few)
    return tuple(signs)


def _curves(c: Contestant, run: Run) -> list[list[float]]:
    loaded = (run.folder(o.trial).load_curve() for o in c.outcomes.values())
    return [[float(p["validation"]) for p in x if p["validation"] is not None] for x in loaded]


def still_falls(curves: Sequence[Sequence[float]]) -> bool:
    """Returns whether validation losses still fall at their ends, by trend and by size.

    The trend is Mann and Kendall's over the last third of each curve, at 5 %, summed over curves.
    It knows no size, and a smooth curve has one whatever its slope; so the median fall over the
    last third, by the slope of Theil and Sen, must also be a quarter of that in the third before.

    Source: Mann, 1945, https://doi.org/10.2307/1907187; Sen, 1968,
    https://doi.org/10.1080/01621459.1968.10480934.

    Example:
        >>> still_falls([[9 - i for i in range(9)] + [0.9 - 0.3 * i for i in range(9)]])
        True
        >>> still_falls([[9 - i for i in range(9)] + [0, 0.01, 0, -0.01, 0, 0.01, 0, 0, 0.01]])
        False
    """
    thirds = [(_third(c, 1), _third(c, 2)) for c in curves if len(c) >= 2 * _LEAST]
    if not thirds:
        return False
    trend = sum(_kendall(last) for _, last in thirds)
    n = [len(last) for _, last in thirds]
    spread = math.sqrt(sum(k * (k - 1) * (2 * k + 5) / 18 for k in n))
    if trend > 0 or (-trend - 1) / spread < _Z:
        return False
    last = median(slope(last) for _, last in thirds)
    before = median(slope(before) for before, _ in thirds)
    return last < min(_LOSING * before, 0.0)


def _third(curve: Sequence[float], which: int) -> Sequence[float]:
    """Returns the middle (1) or the last (2) third, of at least four points."""
    size = max(_LEAST, len(curve) // 3)
    end = len(curve) - (2 - which) * size
    return curve[max(end - size, 0) : end]


def _kendall(y: Sequence[float]) -> int:
    return sum((y[j] > y[i]) - (y[j] < y[i]) for i in range(len(y)) for j in range(i + 1, len(y)))


def slope(y: Sequence[float]) -> float:
    """Returns the median of all slopes between two points."""
    n = len(y)
    return median((y[j] - y[i]) / (j - i) for i in range(n) for j in range(i + 1, n))


def _few(c: Contestant, steps: float) -> str:
    """Returns in words that a model made few steps, or nothing."""
    trial = next(iter(c.outcomes.values())).trial
    space, _ = source_of(trial)
    known = nearest(c.model, space)
    if known is None:
        return f"only {steps:,.0f} steps" if steps < FEW_STEPS else ""
    if steps >= (known.steps or known.most):
        return ""
    return f"{steps:,.0f} steps, and {known.text()}"
