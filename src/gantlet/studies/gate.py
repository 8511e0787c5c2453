"""Who may be called best: nobody who loses to real data where another does not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from gantlet.core.estimate import Estimate
from gantlet.core.intervals import holm, p_value
from gantlet.core.trial import REAL
from gantlet.report.format import text as shown
from gantlet.studies.claims import LEVEL, trained_gap
from gantlet.studies.summary import Contestant, on_ranking_features

AXES = ("precision", "recall")
_HALF = 0.5


@final
@dataclass(frozen=True, slots=True, eq=False)
class Loss:
    """A metric on which a model significantly loses to held-out real data.

    Attributes:
        axis: ``precision`` or ``recall``.
        model: The model's number.
        real: That of as many held-out real samples.
        is_grave: Whether the model surely has less than half of it.
    """

    axis: str
    model: Estimate
    real: Estimate
    is_grave: bool

    @property
    def words(self) -> str:
        """The loss in words."""
        return f"{self.axis} {shown(self.model)} against {shown(self.real)} of real data"


@final
@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """The losses of all models.

    Attributes:
        losses: By the written form of the model; none for a model that loses on nothing.
        is_measured: Whether precision and recall were measured of real data and of models.
    """

    losses: dict[str, tuple[Loss, ...]]
    is_measured: bool

    def bars(self, c: Contestant) -> list[Loss]:
        """Returns why a model cannot be best, or nothing where it can.

        Where some model loses on nothing, any loss bars. Where all lose on something, less than
        half of real data's precision or recall bars, unless all have that.
        """
        own = self.losses.get(c.model, ())
        if any(not of for of in self.losses.values()):
            return list(own)
        return [x for x in own if x.is_grave and not self._all_grave(x.axis)]

    def _all_grave(self, axis: str) -> bool:
        return all(any(x.is_grave and x.axis == axis for x in of) for of in self.losses.values())


def gate(everyone: Sequence[Contestant], competing: Sequence[Contestant]) -> Gate:
    """Compares precision and recall of all models with those of held-out real data.

    On the features that rank, with as many samples of both, by Holm's procedure over all models
    and both metrics.
    """
    real = next((c for c in everyone if c.model == REAL), None)
    scores = {axis: on_ranking_features(everyone, axis) for axis in AXES}
    if real is None or any(not real.values(s) for s in scores.values()):
        return Gate({}, is_measured=False)
    found = [
        (c, axis, thin.sampled(score), real.sampled(score), trained_gap(thin, real, score))
        for c in competing
        for thin in (c.as_control(),)
        for axis, score in scores.items()
        if thin.values(score)
    ]
    sure = holm([p_value(apart) for *_, apart in found], level=LEVEL)
    losses: dict[str, tuple[Loss, ...]] = {c.model: () for c, *_ in found}
    for (c, axis, ours, theirs, apart), is_sure in zip(found, sure, strict=True):
        if is_sure and (apart.value or 0.0) < 0:
            grave = (ours.high or 0.0) < _HALF * (theirs.low or 0.0)
            losses[c.model] += (Loss(axis, ours, theirs, grave),)
    return Gate(losses, is_measured=bool(found))
