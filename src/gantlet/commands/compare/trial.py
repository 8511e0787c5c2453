"""One model of a comparison: trained or fitted, sampled, and measured."""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, final

from torch import Tensor
from typing_extensions import override

from gantlet.commands import standings
from gantlet.commands.compare.memorization import NEAREST, Memorized, TrainingSet, memorized
from gantlet.commands.coverage import coverage_of, separated
from gantlet.commands.trained import ModelTrial, Training, build, draw
from gantlet.compute.machine import threads
from gantlet.core.data import Dataset, Splits, all_samples
from gantlet.core.errors import UserError
from gantlet.core.estimate import (
    CONTROL,
    INFLUENCE,
    REAL,
    Budget,
    Estimate,
    Note,
    Outcome,
    Trial,
)
from gantlet.core.metric import (
    DataProbe,
    Extract,
    FeatureProbe,
    Findings,
    Metric,
    Probe,
    Sees,
    TrainMetric,
    metric_on,
)
from gantlet.core.model import FittedFamily, Model
from gantlet.core.rng import Rng, StorageError
from gantlet.core.spec import datasets, families, metrics, probes
from gantlet.domains.domains import missing_features
from gantlet.features.base import full_precision
from gantlet.metrics.measure import detail_all
from gantlet.probes.likelihood import HeldOutLikelihood, true_likelihood
from gantlet.run.execute import Watch
from gantlet.run.store import TrialFolder
from gantlet.run.train import DivergedError
from gantlet.run.trials import RunData, TypedTrial, space_of
from gantlet.stats.jackknife import Detailed, estimates, influences


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonTrial(TypedTrial):
    """One model of a comparison, or real data.

    Attributes:
        model: The model in written form with all defaults, or ``REAL``.
        training: How it is trained; of real data only what all models share is written.
        data: The data set in written form.
        data_seed: Seed of the train/validation/test split.
        metrics: The distances between samples and held-out data.
        features: What the distances are measured on.
        probes: What is measured on the model itself.
        samples: How many samples are judged.
        threads: Threads of the trial; part of what decides the last digits.
        device: Where the model is trained and measured.
        budget: What training may spend.
        seed: From which every random number of the trial follows.
    """

    model: str
    training: Training
    data: str
    data_seed: int
    metrics: tuple[str, ...]
    features: tuple[str, ...]
    probes: tuple[str, ...]
    samples: int
    threads: int
    device: str
    budget: Budget = field(default_factory=Budget)
    seed: int = 0

    def plain(self) -> dict[str, str | list[str]]:
        """Returns the settings that all trials of a comparison share, as its question has them."""
        how = {k: v for k, v in self.training.parts().items() if k != "solver"}
        return {
            "data": self.data,
            "data_seed": str(self.data_seed),
            "metrics": list(self.metrics),
            "features": list(self.features),
            "probes": list(self.probes),
            "batch": how.pop("batch"),
            "samples": str(self.samples),
            **how,
            "threads": str(self.threads),
            "device": self.device,
        }

    @override
    def written(self) -> Trial:
        """Returns the trial as plain data; that of real data has no solver."""
        trial = TypedTrial.written(self)
        if self.model != REAL:
            return trial
        return replace(trial, parts={k: v for k, v in trial.parts.items() if k != "solver"})


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredTrial:
    """What the samples of one trial measure.

    Attributes:
        found: Every metric on every extractor, named ``metric (extractor)``.
        control: The same of as many samples as the noise floor rests on, where that is fewer.
        notes: What must be known of the extractors.
        copies: How the samples lie to training samples.
    """

    found: Mapping[str, Detailed | Estimate]
    control: Mapping[str, Detailed | Estimate] = field(default_factory=dict[str, Estimate])
    notes: tuple[Note, ...] = ()
    copies: Memorized = field(default_factory=lambda: Memorized(scores={}, tensors={}))

    def scores(self) -> dict[str, Estimate]:
        """Returns all scores of the samples."""
        return estimates(self.found) | dict(self.copies.scores)

    def save(self, folder: TrialFolder) -> None:
        """Keeps what paired differences and tests for copies need."""
        folder.save(INFLUENCE, self.influences())
        folder.save(NEAREST, self.copies.tensors)

    def details(self) -> dict[str, Any]:
        """Returns the numbers of the control as plain JSON values."""
        kept = {name: asdict(e) for name, e in estimates(self.control).items()}
        return {CONTROL: kept} if kept else {}

    def influences(self) -> dict[str, Tensor]:
        """Returns the influences for paired differences."""
        of_control = {f"{CONTROL}/{k}": v for k, v in influences(self.control).items()}
        return influences(self.found) | of_control


Known = tuple[Dataset, Splits]
"""A data set and its splits, as probes of a model see them."""


def run_model(trial: Trial, data: RunData, folder: TrialFolder, watch: Watch) -> Outcome:
    """Trains or fits the model of ``trial``, samples it, measures it and saves both.

    Raises:
        UserError: If the family cannot model such samples, or the budget pays for no step.
    """
    spec = ComparisonTrial.of(trial)
    watch = _naming(spec.model.partition(":")[0], watch)
    with threads(spec.threads), full_precision():
        if spec.model == REAL:
            measured = _measure_real(spec, data, watch)
            measured.save(folder)
            scores = measured.scores() | _truth(spec, data)
            return Outcome(trial=trial, scores=scores, notes=measured.notes)
        return _run(trial, data, folder, watch)


def _run(trial: Trial, data: RunData, folder: TrialFolder, watch: Watch) -> Outcome:
    spec = ComparisonTrial.of(trial)
    rng = Rng(spec.seed, spec.device)
    built = build(spec, folder, watch, data=data, rng=rng)
    real = _held_out(spec, data)
    watch(0.9, "sampling")
    with _fault_of_the_model():
        fake = draw(built.model, len(real), rng=rng.stream("sample"))
        built.model.space.check(fake, "the model")
        measured = _measure(spec, data, real, fake, watch)
    folder.save("samples", {"samples": fake})
    folder.save("model", built.model.state_dict())
    measured.save(folder)
    scores, clock = measured.scores(), built.clock()
    known = (datasets.make(spec.data), data.of(spec)[1])
    details = measured.details() | built.details()
    for probe in spec.probes:
        watch(0.97, f"probing {probe}")
        found = _probed(_made(probe, spec, data), built.model, real, known, rng)
        scores |= found.scores
        clock |= found.clock
        details |= found.details
    world = separated(spec.data)
    if world is not None:
        watch(0.99, "mode coverage")
        scores = coverage_of(world, built.model, fake, real, rng=rng, measured=scores)
    return Outcome(
        trial=trial,
        spend=built.spend,
        scores=scores | built.scores(),
        clock=clock,
        notes=(*built.notes, *measured.notes),
        details=details,
    )


def _truth(spec: ComparisonTrial, data: RunData) -> dict[str, Estimate]:
    """Returns the likelihood of the true distribution, where models have theirs measured."""
    asked = [p for p in map(probes.make, spec.probes) if isinstance(p, HeldOutLikelihood)]
    if not asked:
        return {}
    real = _held_out(spec, data)
    found = true_likelihood(datasets.make(spec.data), real, asked[0].most)
    return {} if found is None else {standings.LIKELIHOOD: found}


def _made(name: str, spec: ComparisonTrial, data: RunData) -> Probe | DataProbe:
    """Returns a probe, on the features that rank where it measures on features."""
    probe = probes.make(name)
    if not isinstance(probe, FeatureProbe):
        return probe
    extractor = _ranking(spec)
    return probe.on(extractor, data.features(spec.data, spec.data_seed, extractor, spec.device))


def _ranking(spec: ComparisonTrial) -> str:
    """Returns the features that rank, in written form."""
    ranking = standings.ranking_features(spec.features)
    return next(f for f in spec.features if f.partition(":")[0] == ranking)


def _probed(
    probe: Probe | DataProbe, model: Model, real: Tensor, known: Known, rng: Rng
) -> Findings:
    if isinstance(probe, Probe):
        return probe.inspect(model, real, rng=rng)
    data, splits = known
    return probe.examine(model, real, data=data, splits=splits, rng=rng)


def _naming(model: str, watch: Watch) -> Watch:
    """Tells of which model it is that something is being done."""

    def tell(share: float, what: str) -> None:
        watch(share, f"{model}, {what}")

    return tell


@contextmanager
def _fault_of_the_model() -> Generator[None]:
    """Makes samples that cannot be measured the failure of one trial.

    They are no mistake in the question, which would end the trials of all others. Extractors that
    do not fit the data are: the trial of real data finds them.

    Raises:
        DivergedError: In place of a user's error.
    """
    try:
        yield
    except StorageError:
        raise
    except UserError as error:
        raise DivergedError(f"diverged: {error}") from error


def restore(trial: Trial, folder: TrialFolder) -> Model:
    """Returns the finished model of a trial.

    Raises:
        UserError: If its weights are of another version.
    """
    spec = ModelTrial.of(trial)
    space = space_of(spec.data)
    family = families.make(spec.model)
    state = folder.load("model")
    if isinstance(family, FittedFamily):
        return family.restore(space, state)
    model = family.build(space, rng=Rng(spec.seed)).model
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(
            f"The weights in {folder.path} do not fit {spec.model}: another version of "
            "Gantlet trained them. Use that version, or train again."
        ) from error
    return model


def _held_out(spec: ComparisonTrial, data: RunData) -> Tensor:
    _, splits = data.load(spec.data, spec.data_seed)
    return all_samples(splits.test, spec.samples).to(spec.device)


def _advice(spec: ComparisonTrial, data: RunData) -> list[Note]:
    """Returns what to install for better features, where there is something."""
    space, splits = data.load(spec.data, spec.data_seed)
    advice = missing_features(space, splits.code, spec.features[0])
    return [Note(advice, "features")] if advice else []


MOST_SAMPLES = 2_000
"""So many samples of each set, at most, are given to metrics that see samples themselves."""


def _control_size(spec: ComparisonTrial, data: RunData, reference: int) -> int:
    """How many samples a model and held-out real data are compared with, the same of both."""
    _, splits = data.load(spec.data, spec.data_seed)
    return min(len(splits.validation), reference)


def _measure_real(spec: ComparisonTrial, data: RunData, watch: Watch) -> MeasuredTrial:
    """Compares real data with the reference: validation samples stand in for a model's.

    No model learned from them; they only selected which of its weights are judged.
    """
    _, splits = data.load(spec.data, spec.data_seed)
    real = _held_out(spec, data)
    stand_in = all_samples(splits.validation, _control_size(spec, data, len(real))).to(real.device)
    return _measure(spec, data, real, stand_in, watch)


@final
@dataclass(frozen=True, slots=True)
class _View:
    """One kind of input of metrics.

    Attributes:
        where: The extractor in written form, or ``SAMPLES``.
        sees: The kind.
        see: Returns the input of samples.
        train: Returns the input of training samples.
    """

    where: str
    sees: Sees
    see: Callable[[Tensor], Tensor]
    train: Callable[[], Tensor]


def _views(spec: ComparisonTrial, data: RunData) -> Iterator[_View]:
    """Yields what metrics may see: features and classes of each extractor, then samples."""
    space, splits = data.of(spec)
    at = (spec.data, spec.data_seed)
    places = data.training_places(*at)
    for extractor in spec.features:
        seen = data.features(*at, extractor, spec.device)
        train = partial(data.training_features, *at, extractor, spec.device)
        yield _View(extractor, "features", seen.extract, train)
        if seen.classify is not None:
            raw = partial(splits.train.take, places)
            train = partial(_classified, seen.classify, raw, spec.device)
            yield _View(extractor, "probabilities", seen.classify, train)

    def scaled(x: Tensor) -> Tensor:
        return space.unit(x[:MOST_SAMPLES])

    def training() -> Tensor:
        return space.unit(splits.train.take(places)).to(spec.device)

    yield _View(standings.SAMPLES, "samples", scaled, training)


def _classified(classify: Extract, take: Callable[[], Tensor], device: str) -> Tensor:
    return classify(take().to(device))


def _measure(
    spec: ComparisonTrial, data: RunData, real: Tensor, fake: Tensor, watch: Watch
) -> MeasuredTrial:
    """Compares samples with the reference, and a part of them where the floor has only so many."""
    found: dict[str, Detailed | Estimate] = {}
    control: dict[str, Detailed | Estimate] = {}
    copies = Memorized(scores={}, tensors={})
    few = _control_size(spec, data, len(real))
    made = _metrics(spec, data)
    for view in _views(spec, data):
        wanted = {
            standings.distance(text, view.where): metric
            for text, metric in made.items()
            if metric.sees == view.sees
        }
        if not wanted:
            continue
        watch(0.92, f"measuring distances on {view.where.partition(':')[0]}")
        x, y = view.see(real), view.see(fake)
        learns = any(isinstance(m, TrainMetric) for m in wanted.values())
        measure = partial(detail_all, wanted, x, train=view.train() if learns else None)
        found |= measure(y, rng=Rng(spec.seed, x.device))
        if few < len(y):
            control |= measure(y[:few], rng=Rng(spec.seed, x.device))
        if view.sees == "features" and view.where == _ranking(spec):
            watch(0.95, "looking for copies of training samples")
            copies = _copies(spec, data, fake, (x, y), view.train())
    notes = _about_features(spec, data)
    return MeasuredTrial(found=found, control=control, notes=notes, copies=copies)


def _copies(
    spec: ComparisonTrial,
    data: RunData,
    fake: Tensor,
    seen: tuple[Tensor, Tensor],
    features: Tensor,
) -> Memorized:
    space, splits = data.of(spec)
    places = data.training_places(spec.data, spec.data_seed)
    training = TrainingSet(splits.train.take(places), features, total=len(splits.train))
    return memorized(space, fake, seen, training)


def _metrics(spec: ComparisonTrial, data: RunData) -> dict[str, Metric | TrainMetric]:
    """Returns the metrics of a trial for its samples, by written form."""
    space, splits = data.of(spec)
    return {text: metric_on(metrics.make(text), space, splits.code) for text in spec.metrics}


def _about_features(spec: ComparisonTrial, data: RunData) -> tuple[Note, ...]:
    at = (spec.data, spec.data_seed)
    known = {f: data.features(*at, f, spec.device).note for f in spec.features}
    said = [
        Note(f"features {name.partition(':')[0]}: {note}", "features")
        for name, note in known.items()
    ]
    return (*said, *_advice(spec, data))


def check_metrics(spec: ComparisonTrial, data: RunData) -> None:
    """Checks that all metrics of a comparison support its samples.

    Raises:
        UserError: If one does not.
    """
    _metrics(spec, data)
