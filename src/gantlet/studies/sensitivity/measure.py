"""One trial: samples damaged in graded strength, and what each metric says of them."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias, final

from torch import Tensor

from gantlet.compute.machine import threads
from gantlet.core.components import metrics
from gantlet.core.estimate import Estimate
from gantlet.core.measure import Metric, Sees, TrainMetric
from gantlet.core.rng import Rng
from gantlet.core.trial import Outcome, Trial
from gantlet.data.damage import DAMAGES
from gantlet.features.frozen import exactly
from gantlet.metrics.paired import Detailed, difference, unpaired
from gantlet.metrics.together import detail_all
from gantlet.studies.base import Watch
from gantlet.studies.sensitivity.draw import Drawn, draw
from gantlet.studies.sensitivity.plan import NOTHING, SAMPLES, Key
from gantlet.studies.sources import features_of

TIME = "CPU time"
"""The name of what a trial took."""

_SAYS_SO = Estimate.exact(1.0, method="a number where the control gives none", better="lower")

_Found: TypeAlias = Mapping[str, Detailed | Estimate]


def measure(trial: Trial, watch: Watch) -> Outcome:
    """Compares damaged samples with the reference, and takes off what the control gives.

    Scores are named ``metric (extractor) @ strength``: the number of the damaged samples minus
    that of the control, with the interval of the difference. A metric that has a number for the
    damaged samples only, such as that of near-duplicates, says by this that they are worse.
    """
    start = time.process_time()
    with threads(int(trial.parts["threads"])), exactly():
        scores = dict(_scores(trial, watch))
    took = Estimate.exact(time.process_time() - start, unit="s", method="of this trial")
    return Outcome(trial=trial, scores=scores, clock={TIME: took})


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """One way to see samples, and the metrics that see them so."""

    name: str
    see: Callable[[Tensor], Tensor]
    device: str
    wanted: Mapping[str, Metric | TrainMetric]

    def compare(self, real: Tensor, fake: Tensor, train: Tensor, rng: Rng) -> _Found:
        """Returns what each metric says of samples."""
        x, y, z = (self.see(samples.to(self.device)) for samples in (real, fake, train))
        return detail_all(self.wanted, x, y, train=z, rng=rng)


def _scores(trial: Trial, watch: Watch) -> Iterator[tuple[str, Estimate]]:
    drawn, rng = draw(trial), Rng(trial.seed, trial.parts["device"])
    real, train = drawn.reference, drawn.victims.train
    looks, strengths = list(_looks(trial, drawn)), json.loads(trial.parts["strengths"])
    for i, look in enumerate(looks):
        control = look.compare(real, drawn.control, train, rng)
        for k, strength in enumerate(strengths):
            share = (i + k / len(strengths)) / len(looks)
            watch(share, f"{trial.parts['model']}, {look.name}")
            damaged = _damaged(trial, drawn, strength)
            found = look.compare(real, damaged, train, rng)
            for metric, one in found.items():
                yield (
                    Key(metric, look.name, strength).name,
                    difference_from_control(one, control[metric]),
                )


def _looks(trial: Trial, drawn: Drawn) -> Iterator[_Look]:
    """Yields every way to see samples that some metric wants."""
    for extractor in json.loads(trial.parts["features"]):
        seen, short = features_of(trial, extractor), extractor.partition(":")[0]
        yield _look(trial, short, seen.extract, "features")
        if seen.classify is not None:
            yield _look(trial, short, seen.classify, "probabilities")
    yield _look(trial, SAMPLES, drawn.victims.space.unit, "samples")


def _look(trial: Trial, name: str, see: Callable[[Tensor], Tensor], sees: Sees) -> _Look:
    made = {m: metrics.make(m) for m in json.loads(trial.parts["metrics"])}
    return _Look(
        name=name,
        see=see,
        device=trial.parts["device"],
        wanted={m: metric for m, metric in made.items() if metric.sees == sees},
    )


def _damaged(trial: Trial, drawn: Drawn, strength: float) -> Tensor:
    name = trial.parts["model"]
    if name == NOTHING:
        return drawn.victims.x
    # The same stream for all strengths: a stronger damage is the same one, stronger.
    x, _ = DAMAGES[name].apply(drawn.victims, strength, Rng(trial.seed).stream(name))
    return x


def difference_from_control(
    damaged: Detailed | Estimate, control: Detailed | Estimate
) -> Estimate:
    """Returns the difference: paired on the reference where the metric can tell."""
    match damaged, control:
        case Detailed(), Detailed() if damaged.real.shape == control.real.shape:
            return difference(damaged, control)
        case _:
            a, b = _estimate(damaged), _estimate(control)
            return _SAYS_SO if a.low is not None and b.value is None else unpaired(a, b)


def _estimate(found: Detailed | Estimate) -> Estimate:
    return found.estimate if isinstance(found, Detailed) else found
