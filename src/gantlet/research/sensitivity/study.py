"""Which metric detects which corruption, at which sample size? The study, whole."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import product
from typing import Any, Literal, NamedTuple, TypeAlias, final

import torch
from torch import Tensor

from gantlet import options
from gantlet.compute.machine import threads
from gantlet.core.data import Source, Splits
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate, Outcome, Trial
from gantlet.core.metric import Metric, Sees, TrainMetric
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, extractors, metrics
from gantlet.data.splits import Concatenated
from gantlet.domains.corruptions import CORRUPTIONS, CleanSamples, applicable_corruptions
from gantlet.domains.domains import metrics_of_one_kind
from gantlet.features.base import full_precision
from gantlet.metrics.measure import detail_all
from gantlet.report.blocks import (
    Caveat,
    Cell,
    Column,
    Facts,
    Report,
    Row,
    Section,
    Table,
    Verdict,
    failed_trials,
)
from gantlet.report.format import text as shown
from gantlet.run.execute import Watch, facts_of
from gantlet.run.store import Run, TrialFolder
from gantlet.run.trials import RunData, TypedTrial
from gantlet.stats.intervals import is_separated, percentage
from gantlet.stats.jackknife import Detailed, difference, unpaired

# ----------------------------------------------------------------------------
# The trials: corruptions, sizes, measurements.
# ----------------------------------------------------------------------------


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
        """Returns the value of each metric."""
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


# ----------------------------------------------------------------------------
# The report: which metric detects which corruption, at which sample size.
# ----------------------------------------------------------------------------


ENOUGH = 0.8
"""A metric detects a corruption if it does so in this share of the draws."""

Sign = Literal["worse", "better", "equal"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The detections of one corruption at one severity and sample size by a metric.

    Attributes:
        worse: Draws in which the corrupted samples are significantly worse than the control.
        better: Draws in which they are significantly better.
        draws: Draws with an interval.
    """

    worse: int = 0
    better: int = 0
    draws: int = 0

    def with_one(self, sign: Sign) -> "Tally":
        """Returns the tally with one more draw."""
        return Tally(
            worse=self.worse + (sign == "worse"),
            better=self.better + (sign == "better"),
            draws=self.draws + 1,
        )

    @property
    def is_noticed(self) -> bool:
        """Whether the corruption counts as detected."""
        return self.draws > 0 and self.worse >= ENOUGH * self.draws

    @property
    def is_praised(self) -> bool:
        """Whether the corruption counts as rated an improvement."""
        return self.draws > 0 and self.better >= ENOUGH * self.draws


Tallies: TypeAlias = Mapping[tuple[str, str, int], Mapping[float, Tally]]
"""By metric with extractor, damage and sample size: a tally for each strength."""


def tallies(outcomes: Sequence[Outcome]) -> Tallies:
    """Counts the draws in which each metric detects each corruption."""
    found: dict[tuple[str, str, int], dict[float, Tally]] = {}
    for o in outcomes:
        trial = SensitivityTrial.of(o.trial)
        damage, n = trial.model, trial.n
        which = {key.name: key for key in trial.score_keys()}
        for name, gap in o.scores.items():
            metric, look, strength = which[name]
            by_strength = found.setdefault((label(metric, look), damage, n), {})
            before = by_strength.setdefault(strength, Tally())
            # Where there is no number, nothing was noticed; a number without interval cannot tell.
            if gap.low is not None or gap.value is None:
                by_strength[strength] = before.with_one(sign(gap))
    return found


def sign(gap: Estimate) -> Sign:
    """Returns the sign of a difference, corrupted minus control, if significant."""
    if not is_separated(gap) or gap.value is None:
        return "equal"
    return "worse" if (gap.value > 0) == (gap.better != "higher") else "better"


@cache
def label(metric: str, look: str) -> str:
    """Returns metric and extractor as people write them."""
    return f"{metrics.short(metric)} ({look})"


def smallest(by_strength: Mapping[float, Tally], *, praised: bool = False) -> float | None:
    """Returns the smallest detected severity, or that rated better; None without any."""
    for strength, tally in sorted(by_strength.items()):
        if tally.is_praised if praised else tally.is_noticed:
            return strength
    return None


def false_alarms(found: Tallies, metric: str, n: int) -> Estimate:
    """Returns the false positive rate of a metric, in %."""
    by_strength = found.get((metric, NOTHING, n), {})
    total = sum(t.draws for t in by_strength.values())
    raised = sum(t.worse + t.better for t in by_strength.values())
    return percentage(
        raised, total, of="undamaged draws", why="no interval, so nothing can be detected"
    )


def noticers(found: Tallies, damage: str, n: int) -> Iterator[tuple[float, str]]:
    """Yields the smallest detected severity and the metric, for metrics that detect it."""
    for (metric, what, size), by_strength in found.items():
        if (what, size) == (damage, n):
            strength = smallest(by_strength)
            if strength is not None:
                yield strength, metric


NEVER = "-"
"""What a table shows where a corruption is never detected."""


def answer(question: Mapping[str, Any], outcomes: Sequence[Outcome], run: Run) -> Report:
    """Returns the report from what has been measured so far."""
    found = tallies(outcomes)
    seen = {n for _, _, n in found}
    sizes = [n for n in sorted(question["n"], reverse=True) if n in seen]
    names = list(dict.fromkeys(metric for metric, _, _ in found))
    damages = [d for d in question["damages"] if any(what == d for _, what, _ in found)]
    return Report(
        title="Which metric detects which damage?",
        command="study sensitivity",
        question=question,
        facts=_facts(question, outcomes, run),
        verdicts=list(_verdicts(found, damages, names, sizes)),
        caveats=list(_caveats(question)),
        rows=list(_rows(question, found, names, sizes)),
        blocks=[
            *(_table(found, damages, names, n) for n in sizes[:1]),
            *(
                Section(title=f"With {n:,} samples", blocks=[_table(found, damages, names, n)])
                for n in sizes[1:]
            ),
            *failed_trials(outcomes, column="corruption"),
        ],
        extra={"noticed": _counts(found)},
    )


def _facts(question: Mapping[str, Any], outcomes: Sequence[Outcome], run: Run) -> Facts:
    seconds = sum(o.clock[TIME].value or 0.0 for o in outcomes if TIME in o.clock)
    setting = {
        "Size": str(question["size"]),
        "Data": f"{question['data']}, fingerprint {question['data fingerprint']}",
        "Samples per set": ", ".join(map(str, question["n"])),
        "Severities": ", ".join(f"{s:g}" for s in question["strengths"]),
        "Draws": f"{question['draws']} of each corruption, {question['controls']} uncorrupted, "
        "seeds from 0",
        **{f"Severity 1 of {d}": CORRUPTIONS[d].says for d in question["damages"]},
        "Total CPU time": shown(seconds, "s"),
    }
    absent = [d for d in CORRUPTIONS if d not in question["damages"]]
    if absent:
        setting["Not run, as it does not apply to the data"] = ", ".join(absent)
    wanted = {m.partition(":")[0] for m in question["metrics"]}
    left = [m for m in metrics.names() if m not in wanted | metrics_of_one_kind()]
    if left:
        setting["Metrics not run"] = ", ".join(left)
    # Nothing is trained here but extractors.
    return facts_of(setting, outcomes, run, trains=False)


def _verdicts(
    found: Tallies, damages: Sequence[str], names: Sequence[str], sizes: Sequence[int]
) -> Iterator[Verdict]:
    if not sizes:
        return
    n = sizes[0]
    for damage in damages:
        if not any((what, size) == (damage, n) for _, what, size in found):
            yield Verdict(claim=f"{damage}: not yet measured with {n:,} samples.")
            continue
        note = sorted(noticers(found, damage, n))
        praised = [
            metric
            for metric in names
            if smallest(found.get((metric, damage, n), {}), praised=True) is not None
        ]
        fooled = f" Called better by {', '.join(praised)}." if praised else ""
        if not note:
            yield Verdict(
                claim=f"{damage}: no metric detects it with {n:,} samples.",
                because=fooled.strip(),
            )
            continue
        least = note[0][0]
        first = [metric for strength, metric in note if strength == least]
        yield Verdict(
            claim=f"{damage}: detected from strength {least:g} on by {', '.join(first)}.",
            because=f"{len(note)} of {len(names)} metrics detect it at some strength, with {n:,} "
            f"samples of each set.{fooled}",
        )
    yield _alarms(found, names, sizes)


def _alarms(found: Tallies, names: Sequence[str], sizes: Sequence[int]) -> Verdict:
    rates = {(m, n): false_alarms(found, m, n) for m in names for n in sizes}
    high = [
        f"{m} at n = {n:,} ({shown(rate)})"
        for (m, n), rate in rates.items()
        if rate.low is not None and rate.low > 5
    ]
    known = [r.value for r in rates.values() if r.value is not None]
    if not known:
        return Verdict(claim="The false positive rate was not measured.")
    mean = sum(known) / len(known)
    if not high:
        return Verdict(
            claim="No metric raises significantly more false alarms than the nominal 5 %.",
            because=f"{mean:.1f} % on average, on undamaged samples.",
        )
    return Verdict(
        claim=f"{len(high)} of {len(known)} pairs of metric and sample size raise "
        "significantly more false alarms than the nominal 5 %.",
        because=f"{'; '.join(high)}. {mean:.1f} % on average.",
    )


def _table(found: Tallies, damages: Sequence[str], names: Sequence[str], n: int) -> Table:
    rows: list[Sequence[Cell]] = [
        [
            metric,
            *(_cell(found.get((metric, damage, n))) for damage in damages),
            false_alarms(found, metric, n),
        ]
        for metric in names
    ]
    return Table(
        title=f"Smallest strength that is detected, {n:,} samples",
        columns=[
            Column(name="metric"),
            *(
                Column(
                    name=d,
                    help=f"At strength 1: {CORRUPTIONS[d].says}.",
                    group="Smallest strength detected",
                )
                for d in damages
            ),
            Column(
                name="false alarms",
                unit="%",
                help="Undamaged samples detected.",
                group="Undamaged",
            ),
        ],
        rows=rows,
        note=f"Detected: in at least {100 * ENOUGH:g} % of the draws damaged samples are "
        "significantly worse than undamaged ones, against the same reference. "
        f'"{NEVER}": at no strength; "better": significantly better from that strength on; '
        '"no interval": no test is possible.',
    )


def _cell(by_strength: Mapping[float, Tally] | None) -> str | None:
    if by_strength is None:
        return None
    if not any(t.draws for t in by_strength.values()):
        return "no interval"
    worse, better = smallest(by_strength), smallest(by_strength, praised=True)
    clauses = [] if worse is None else [f"{worse:g}"]
    clauses += [] if better is None else [f"better {better:g}"]
    return ", ".join(clauses) or NEVER


def _caveats(question: Mapping[str, Any]) -> Iterator[Caveat]:
    yield Caveat(
        text=f"One data set ({question['data']}) and these extractors: another extractor detects "
        "other damages."
    )
    yield Caveat(
        text="Strengths of different damages are not comparable; compare metrics within a column."
    )
    if "swapped labels" in question["damages"]:
        yield Caveat(
            text="Swapped labels leave the samples as they are, and no metric here uses "
            "labels: only one that compares class by class could detect them."
        )
    yield Caveat(
        text=(
            "All samples, the training set included, are redrawn from all splits; the "
            "extractors saw some of them."
        )
    )


def _rows(
    question: Mapping[str, Any], found: Tallies, names: Sequence[str], sizes: Sequence[int]
) -> Iterator[Row]:
    for n in sizes:
        for metric in names:
            yield Row(
                data=str(question["data"]),
                model=f"{NOTHING}:n={n}",
                seed=None,
                name=f"false alarms of {metric}",
                estimate=false_alarms(found, metric, n),
            )


def _counts(found: Tallies) -> dict[str, Any]:
    """Returns every count as plain JSON: worse, better and draws, by strength."""
    counts: dict[str, Any] = {}
    for (metric, damage, n), by_strength in found.items():
        cells = {f"{s:g}": [t.worse, t.better, t.draws] for s, t in sorted(by_strength.items())}
        counts.setdefault(metric, {}).setdefault(damage, {})[str(n)] = cells
    return counts


# ----------------------------------------------------------------------------
# The study: its question, its trials, its answer.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """Known corruptions of graded severity on real samples: which metric detects them?

    Three sets of real samples are drawn: reference, control and one to corrupt. A metric detects a
    corruption if its interval separates the corrupted set from the control, both compared with the
    reference. Without a corruption that is a false positive.

    Attributes:
        size: small: minutes; full: hours, and larger data than the digits.
        data: The data set: images, or vectors, for which fewer corruptions make sense.
        seeds: Draws of each corruption, or None for what the size says.
        metrics: Which metrics; empty means every metric, but for the two slowest ones if small.
        features: What they look at; empty means pixels, and for images with labels the classifier,
            without labels random-conv.
        ns: Samples of each set; empty for those of the size.
        data_seed: Seed of the train/validation/test split, and so of the extractors.
        threads: Threads of each trial.
        device: Where extractors and metrics are computed.
    """

    size: Size = "small"
    data: str = "digits"
    seeds: options.Seeds | None = None
    metrics: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    ns: tuple[int, ...] = ()
    data_seed: options.Seed = 0
    threads: options.Threads = 1
    device: str = "cpu"

    @cached_property
    def loaded(self) -> RunData:
        """The data of this run, loaded once."""
        return RunData()

    def fresh(self) -> "Sensitivity":
        """Returns the same study, which has read nothing yet."""
        return replace(self)

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        scale, data = self._scale, datasets.resolve(self.data)
        return {
            "command": "study sensitivity",
            "size": self.size,
            "n": list(scale.ns),
            "strengths": list(scale.strengths),
            "draws": scale.draws,
            "controls": scale.controls,
            "damages": self._damages,
            "data": data,
            "data_seed": str(self.data_seed),
            "metrics": list(self._metrics),
            "features": list(self._features),
            "threads": str(self.threads),
            "device": self.device,
            "data fingerprint": self.loaded.fingerprint(data, self.data_seed),
        }

    def trials(self) -> Sequence[Trial]:
        """One for each damage, sample size and draw; more draws without damage.

        Raises:
            UserError: If the data cannot be used, or hold too few samples.
        """
        scale = self._scale
        if scale.draws < 1:
            raise UserError(f"seeds must be at least 1. Got {scale.draws}.")
        for n in scale.ns:
            check_size(datasets.resolve(self.data), len(self._pool), n)
        damaged = product(range(scale.draws), scale.ns, self._damages)
        alone = product(range(scale.controls), scale.ns, [NOTHING])
        return [self._trial(*which) for which in (*damaged, *alone)]

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Draws, damages and measures."""
        del folder  # samples can be drawn again
        return measure(trial, self.loaded, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Says who notices what."""
        return answer(self.question(), outcomes, run)

    @property
    def _scale(self) -> SensitivitySize:
        scale = SCALES[self.size]
        return SensitivitySize(
            ns=self.ns or scale.ns,
            strengths=scale.strengths,
            draws=scale.draws if self.seeds is None else self.seeds,
            controls=scale.controls,
        )

    @property
    def _metrics(self) -> tuple[str, ...]:
        without = {*SCALES[self.size].without, *metrics_of_one_kind()}
        wanted = self.metrics or [m for m in metrics.names() if m not in without]
        return tuple(metrics.resolve(m) for m in wanted)

    @property
    def _damages(self) -> list[str]:
        space = datasets.make(self.data).space
        return applicable_corruptions(space, labelled=self._pool.labels is not None)

    @property
    def _pool(self) -> Source:
        _, splits = self.loaded.load(datasets.resolve(self.data), self.data_seed)
        return pool_of(splits)

    @property
    def _features(self) -> tuple[str, ...]:
        return tuple(extractors.resolve(f) for f in self.features or self._default_features)

    @property
    def _default_features(self) -> tuple[str, ...]:
        if datasets.make(self.data).space.kind != "image":
            return ("pixels",)
        return ("pixels", "random-conv" if self._pool.labels is None else "classifier")

    def _trial(self, seed: int, n: int, damage: str) -> Trial:
        # Labels are not seen by any metric, so that their strength makes no difference.
        strengths = (1.0,) if damage in (NOTHING, "swapped labels") else self._scale.strengths
        return SensitivityTrial(
            model=damage,
            n=n,
            strengths=strengths,
            data=datasets.resolve(self.data),
            data_seed=self.data_seed,
            metrics=self._metrics,
            features=self._features,
            threads=self.threads,
            device=self.device,
            seed=seed,
        ).written()
