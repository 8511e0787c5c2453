"""One look at a generator: what is measured, counted and kept."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gantlet.core.estimate import Estimate
from gantlet.metrics.measure import Found
from gantlet.stats.intervals import proportion
from gantlet.stats.jackknife import Detailed, difference, estimates, influences
from gantlet.watch.alarms import Alarm, Alarms, Counts, Distance
from gantlet.watch.reference import Reference
from gantlet.watch.writers import Entry, entry_of

SUPPORT, COPIES = "effective-support", "copies"
"""Names of the two numbers that are counted for the alarms."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look.

    Attributes:
        step: Step of the loop.
        n: Samples drawn.
        entries: Every number, with its noise floor.
        changes: The change of each metric since the look before, on the same real samples.
        alarms: Alarms that this look raised.
        note: What went wrong, or empty.
    """

    step: int
    n: int
    entries: tuple[Entry, ...]
    changes: Mapping[str, Estimate] = field(default_factory=dict[str, Estimate])
    alarms: tuple[Alarm, ...] = ()
    note: str = ""

    def estimate(self, name: str) -> Estimate:
        """Returns one number, missing if it was not measured."""
        found = (e.estimate for e in self.entries if e.name == name)
        return next(found, Estimate.missing("not measured"))

    def plain(self) -> dict[str, Any]:
        """Returns plain values for ``of_plain``."""
        return asdict(self)

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> "Look":
        """Returns the look that ``plain`` described."""
        return cls(
            step=plain["step"],
            n=plain["n"],
            entries=tuple(map(entry_of, plain["entries"])),
            changes={name: Estimate(**e) for name, e in plain["changes"].items()},
            alarms=tuple(Alarm(**a) for a in plain["alarms"]),
            note=plain["note"],
        )


@final
@dataclass(slots=True)
class Last:
    """What the next look is paired with.

    Attributes:
        found: The numbers of the last look, with the influence of each real sample.
    """

    found: dict[str, Found] = field(default_factory=dict[str, Found])

    def changes(self, now: Mapping[str, Found]) -> dict[str, Estimate]:
        """Returns now minus then for each metric that can be paired."""
        found: dict[str, Estimate] = {}
        for name, one in now.items():
            before = self.found.get(name)
            if isinstance(one, Detailed) and isinstance(before, Detailed):
                found[name] = difference(one, before)
        return found

    def state(self) -> dict[str, Any]:
        """Returns plain values and tensors for ``load``."""
        named = {name: asdict(e) for name, e in estimates(self.found).items()}
        return {"estimates": named, "influences": influences(self.found)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on from what ``state`` returned."""
        from gantlet.stats.jackknife import detailed_from

        known = {name: Estimate(**e) for name, e in state["estimates"].items()}
        self.found = {n: detailed_from(n, e, state["influences"]) or e for n, e in known.items()}


def measured(step: int, x: Tensor, reference: Reference, alarms: Alarms, last: Last) -> Look:
    """Measures samples of the real space, shape ``(n, *space.shape)``, all finite.

    What fails is a missing estimate with its reason.
    """
    rows = reference.features(x)
    found, floor = reference.measure(rows), reference.floor(len(x))
    counts = counted(rows, reference)
    beside = estimates(floor)
    entries = [
        Entry(step=step, name=name, estimate=e, floor=beside.get(name))
        for name, e in estimates(found).items()
    ]
    entries += _counted_entries(step, rows, counts, reference)
    changes = last.changes(found)
    last.found = found
    raised = alarms.look(step, counts, distance_of(found.get("kid")))
    return Look(step=step, n=len(x), entries=tuple(entries), changes=changes, alarms=tuple(raised))


def counted(rows: Tensor, reference: Reference) -> Counts:
    """Counts what the alarms need, of features of independent samples, shape ``(n, d)``."""
    limit, _ = reference.near
    half = len(rows) // 2
    first, second = rows[:half].double(), rows[half : 2 * half].double()
    near = (first - second).norm(dim=1) <= limit
    copies = reference.copies(rows)
    return Counts(
        pairs=half,
        near=int(near.sum()),
        realistic=int(reference.realistic(first[near]).sum()),
        n=len(rows),
        far=int(reference.far(rows).sum()),
        copies=None if copies is None else int(copies.sum()),
    )


def distance_of(found: Found | None) -> Distance | None:
    """Returns the KID with its variance over fakes, or None where it was not measured."""
    if not isinstance(found, Detailed) or found.estimate.value is None:
        return None
    return Distance(value=found.estimate.value, variance=max(found.rest.value, 0.0))


def _counted_entries(step: int, rows: Tensor, counts: Counts, reference: Reference) -> list[Entry]:
    floor = reference.support_of_floor(len(rows))
    found = [Entry(step=step, name=SUPPORT, estimate=reference.support(rows), floor=floor)]
    if counts.copies is not None:
        share = proportion(counts.copies, counts.n, better="lower", of="samples are copies")
        count, n = reference.copies_of_floor
        usual = proportion(count, n, better="lower", of="held-out real samples look like copies")
        found.append(Entry(step=step, name=COPIES, estimate=share, floor=usual))
    return found


def failed(step: int, n: int, names: Sequence[str], reason: str) -> Look:
    """Returns a look at which nothing could be measured."""
    missing = Estimate.missing(reason)
    entries = tuple(Entry(step=step, name=name, estimate=missing) for name in names)
    return Look(step=step, n=n, entries=entries, note=reason)


def raising(look: Look, alarms: Sequence[Alarm]) -> Look:
    """Returns a look with the alarms that it raised."""
    return replace(look, alarms=(*look.alarms, *alarms))


def not_finite(array: NDArray[Any]) -> int:
    """Returns how many samples hold NaN or infinity."""
    if array.dtype.kind != "f":
        return 0
    return int((~np.isfinite(array.reshape(len(array), -1))).any(1).sum())


# ----------------------------------------------------------------------------
# Numbers of every call: losses and norms, as means over stretches of the run.
# ----------------------------------------------------------------------------

_POINTS = 400


@final
class Curve:
    """A long series as the means of at most 400 stretches of equal length."""

    def __init__(self) -> None:
        self._stride = 1
        self._steps: list[int] = []
        self._means: list[float] = []
        self._sum, self._count, self._last = 0.0, 0, 0
        self._total, self._calls = 0.0, 0

    def add(self, step: int, value: float) -> None:
        """Adds the value of one step."""
        self._total, self._calls = self._total + value, self._calls + 1
        self._sum, self._count, self._last = self._sum + value, self._count + 1, step
        if self._count >= self._stride:
            self._steps.append(step)
            self._means.append(self._sum / self._count)
            self._sum, self._count = 0.0, 0
            if len(self._means) >= _POINTS:
                self._halve()

    def _halve(self) -> None:
        self._means = [(a + b) / 2 for a, b in zip(*[iter(self._means)] * 2, strict=True)]
        self._steps = self._steps[1::2]
        self._stride *= 2

    def since(self) -> float | None:
        """Returns the mean of all values since the last call of this method, None without any."""
        found = self._total / self._calls if self._calls else None
        self._total, self._calls = 0.0, 0
        return found

    @property
    def points(self) -> tuple[list[int], list[float]]:
        """Steps and means; the unfinished stretch at the end included."""
        if not self._count:
            return self._steps, self._means
        return [*self._steps, self._last], [*self._means, self._sum / self._count]

    def state(self) -> dict[str, Any]:
        """Returns plain values for ``load``."""
        return {
            "stride": self._stride,
            "steps": list(self._steps),
            "means": list(self._means),
            "open": [self._sum, self._count, self._last, self._total, self._calls],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on from what ``state`` returned."""
        self._stride = int(state["stride"])
        self._steps, self._means = list(state["steps"]), list(state["means"])
        self._sum, self._count, self._last, self._total, self._calls = state["open"]


def number(value: float | Tensor) -> float:
    """Returns a loss as a number, the mean of it where it holds several."""
    if isinstance(value, Tensor):
        return float(value.detach().float().mean())
    return float(value)


def with_numbers(look: Look, numbers: Mapping[str, float | None], method: str) -> Look:
    """Returns a look with further numbers that have no interval, and why."""
    more = [
        Entry(step=look.step, name=name, estimate=Estimate(value=value, method=method))
        for name, value in numbers.items()
        if value is not None and math.isfinite(value)
    ]
    return replace(look, entries=(*look.entries, *more))


def shown(x: Tensor) -> Tensor:
    """Returns samples fit for a picture: what is not finite is 0."""
    return torch.nan_to_num(x, 0.0, 0.0, 0.0)
