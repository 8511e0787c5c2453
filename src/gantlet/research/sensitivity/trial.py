"""The trials of the study of metrics: corruptions, sizes, measurements."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Literal, NamedTuple, TypeAlias, final

import torch
from torch import Tensor

from gantlet.commands.trained import RunData
from gantlet.compute.machine import threads
from gantlet.core.data import Source, Splits
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate, Outcome, Trial
from gantlet.core.metric import Metric, Sees, TrainMetric
from gantlet.core.rng import Rng
from gantlet.core.spec import metrics
from gantlet.data.splits import Concatenated
from gantlet.domains.corruptions import CORRUPTIONS, CleanSamples
from gantlet.features.base import full_precision
from gantlet.metrics.measure import detail_all
from gantlet.run.execute import Watch
from gantlet.run.trials import TypedTrial
from gantlet.stats.jackknife import Detailed, difference, unpaired

# Reference, control, victims and training set; spare samples are what is left, at most as many.
_SETS = 4


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Sets of real samples that share none, of equal size.

    Attributes:
        reference: What all are compared with.
        control: Samples that stay as they are.
        victims: Samples that are damaged, with what the damage may use.
    """

    reference: Tensor
    control: Tensor
    victims: CleanSamples


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SensitivityTrial(TypedTrial):
    """One corruption at all its strengths, of samples of one size, drawn once.

    Attributes:
        model: The corruption, or ``NOTHING``.
        n: Samples of each set.
        strengths: How strong the corruption is.
        data: The data set in written form.
        data_seed: Seed of its split, and so of the extractors.
        metrics: What is measured, in written form.
        features: What metrics look at, in written form.
        threads: Threads of the trial.
        device: Where extractors and metrics are computed.
        seed: Draws the samples.
    """

    model: str
    n: int
    strengths: tuple[float, ...]
    data: str
    data_seed: int
    metrics: tuple[str, ...]
    features: tuple[str, ...]
    threads: int
    device: str
    seed: int

    def score_keys(self) -> Iterator["ScoreKey"]:
        """Yields every number that the trial may have."""
        looks = [*(extractor.partition(":")[0] for extractor in self.features), SAMPLES]
        yield from map(ScoreKey._make, product(self.metrics, looks, self.strengths))


def draw(trial: SensitivityTrial, data: RunData) -> Drawn:
    """Returns the sets of one trial: the same for all damages of one size and seed."""
    n = trial.n
    space, splits = data.of(trial)
    pool = pool_of(splits)
    order = torch.randperm(len(pool), generator=Rng(trial.seed).stream(f"draw/{n}"))
    where = [order[k * n : (k + 1) * n] for k in range(_SETS + 1)]
    reference, control, victims, train, spare = (pool.take(index) for index in where)
    labels = pool.labels
    return Drawn(
        reference=reference,
        control=control,
        victims=CleanSamples(
            space=space,
            x=victims,
            labels=None if labels is None else labels[where[2]],
            spare=spare,
            spare_labels=None if labels is None else labels[where[4]],
            train=train,
        ),
    )


def pool_of(splits: Splits) -> Source:
    """Returns all samples of a data set: which split they came from does not matter here."""
    return Concatenated(splits.train, splits.validation, splits.test)


def check_size(data: str, held: int, n: int) -> None:
    """Checks that a data set holds enough samples.

    Args:
        data: The data set.
        held: How many samples it holds.
        n: How many each set is to have.

    Raises:
        UserError: If it does not.
    """
    # A class to be dropped is rarely more than a seventh of all.
    needed = _SETS * n + n // 7
    if n < 2 or held < needed:
        raise UserError(
            f"ns must be from 2 to {held * 7 // (_SETS * 7 + 1)}: {data} holds {held} "
            f"samples and four sets are drawn. Got {n}."
        )


Size = Literal["small", "full"]

NOTHING = "nothing"
"""No corruption: how often a metric detects it is its false positive rate."""

SAMPLES = "samples"
"""What metrics are said to look at that see the samples themselves."""


class ScoreKey(NamedTuple):
    """Which number of a trial it is.

    Attributes:
        metric: The metric, in written form.
        look: Through which extractor, by name, or ``SAMPLES``.
        strength: How strong the damage is.
    """

    metric: str
    look: str
    strength: float

    @property
    def name(self) -> str:
        """What outcomes call it.

        Example:
            >>> ScoreKey("kid:degree=3", "pca", 0.5).name
            'kid:degree=3 (pca) @ 0.5'
        """
        return f"{self.metric} ({self.look}) @ {self.strength:g}"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SensitivitySize:
    """What is damaged how often.

    Attributes:
        ns: Sizes of each sample.
        strengths: How strong each damage is, above 0 and at most 1.
        draws: How often samples are drawn and damaged.
        controls: How often they are drawn and left alone.
        without: Metrics that are left out, as they would take most of the time.
    """

    ns: tuple[int, ...]
    strengths: tuple[float, ...]
    draws: int
    controls: int
    without: tuple[str, ...] = ()


SCALES: Mapping[Size, SensitivitySize] = {
    "small": SensitivitySize(
        ns=(100, 400),
        strengths=(0.05, 0.2, 0.5, 1.0),
        draws=5,
        controls=25,
        without=("frechet-infinity", "geometry-score"),
    ),
    "full": SensitivitySize(
        ns=(250, 1000, 4000),
        strengths=(0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
        draws=10,
        controls=200,
    ),
}
"""The sizes of the study."""


TIME = "CPU time"
"""The name of what a trial took."""

_SAYS_SO = Estimate.exact(1.0, method="a value where the control has none", better="lower")

_Found: TypeAlias = Mapping[str, Detailed | Estimate]


def measure(written: Trial, data: RunData, watch: Watch) -> Outcome:
    """Compares damaged samples with the reference, and takes off what the control gives.

    Scores are named ``metric (extractor) @ strength``: the number of the damaged samples minus
    that of the control, with the interval of the difference. A metric that has a number for the
    damaged samples only, such as that of near-duplicates, says by this that they are worse.
    """
    start, trial = time.process_time(), SensitivityTrial.of(written)
    with threads(trial.threads), full_precision():
        scores = dict(_scores(trial, data, watch))
    took = Estimate.exact(time.process_time() - start, unit="s", method="of this trial")
    return Outcome(trial=written, scores=scores, clock={TIME: took})


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


def _scores(
    trial: SensitivityTrial, data: RunData, watch: Watch
) -> Iterator[tuple[str, Estimate]]:
    drawn, rng = draw(trial, data), Rng(trial.seed, trial.device)
    real, train = drawn.reference, drawn.victims.train
    looks, strengths = list(_looks(trial, data, drawn)), trial.strengths
    for i, look in enumerate(looks):
        control = look.compare(real, drawn.control, train, rng)
        for k, strength in enumerate(strengths):
            share = (i + k / len(strengths)) / len(looks)
            watch(share, f"{trial.model}, {look.name}")
            damaged = _damaged(trial, drawn, strength)
            found = look.compare(real, damaged, train, rng)
            for metric, one in found.items():
                yield (
                    ScoreKey(metric, look.name, strength).name,
                    difference_from_control(one, control[metric]),
                )


def _looks(trial: SensitivityTrial, data: RunData, drawn: Drawn) -> Iterator[_Look]:
    """Yields every way to see samples that some metric wants."""
    for extractor in trial.features:
        seen = data.features(trial.data, trial.data_seed, extractor, trial.device)
        short = extractor.partition(":")[0]
        yield _look(trial, short, seen.extract, "features")
        if seen.classify is not None:
            yield _look(trial, short, seen.classify, "probabilities")
    yield _look(trial, SAMPLES, drawn.victims.space.unit, "samples")


def _look(
    trial: SensitivityTrial, name: str, see: Callable[[Tensor], Tensor], sees: Sees
) -> _Look:
    made = {m: metrics.make(m) for m in trial.metrics}
    return _Look(
        name=name,
        see=see,
        device=trial.device,
        wanted={m: metric for m, metric in made.items() if metric.sees == sees},
    )


def _damaged(trial: SensitivityTrial, drawn: Drawn, strength: float) -> Tensor:
    name = trial.model
    if name == NOTHING:
        return drawn.victims.x
    # The same stream for all strengths: a stronger damage is the same one, stronger.
    x, _ = CORRUPTIONS[name].apply(drawn.victims, strength, Rng(trial.seed).stream(name))
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
