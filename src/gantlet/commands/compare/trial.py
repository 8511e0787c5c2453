"""One model of a comparison: trained or fitted, sampled, and measured."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, final

from torch import Tensor
from typing_extensions import override

from gantlet.commands import standings
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
from gantlet.core.metric import Findings, Probe
from gantlet.core.model import FittedFamily, Model
from gantlet.core.rng import Rng, StorageError
from gantlet.core.spec import datasets, families, probes
from gantlet.domains.domains import missing_features
from gantlet.features.base import full_precision
from gantlet.metrics.measure import detail_all, two_sample
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
    """

    found: Mapping[str, Detailed | Estimate]
    control: Mapping[str, Detailed | Estimate] = field(default_factory=dict[str, Estimate])
    notes: tuple[Note, ...] = ()

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
            folder.save(INFLUENCE, measured.influences())
            return Outcome(trial=trial, scores=estimates(measured.found), notes=measured.notes)
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
    folder.save(INFLUENCE, measured.influences())
    scores, clock = estimates(measured.found), built.clock()
    known = (datasets.make(spec.data), data.of(spec)[1])
    for probe in spec.probes:
        watch(0.97, f"probing {probe}")
        found = _probed(probe, built.model, real, known, rng)
        scores |= found.scores
        clock |= found.clock
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
        details=measured.details() | built.details(),
    )


def _probed(name: str, model: Model, real: Tensor, known: Known, rng: Rng) -> Findings:
    probe = probes.make(name)
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


def _measure(
    spec: ComparisonTrial, data: RunData, real: Tensor, fake: Tensor, watch: Watch
) -> MeasuredTrial:
    """Compares samples with the reference, and a part of them where the floor has only so many."""
    found: dict[str, Detailed | Estimate] = {}
    control: dict[str, Detailed | Estimate] = {}
    notes: list[Note] = []
    few = _control_size(spec, data, len(real))
    for extractor in spec.features:
        seen = data.features(spec.data, spec.data_seed, extractor, spec.device)
        x, y = seen.extract(real), seen.extract(fake)
        short = extractor.partition(":")[0]
        wanted = {
            standings.distance(metric, extractor): two_sample(metric) for metric in spec.metrics
        }
        watch(0.92, f"measuring distances on {short}")
        found |= detail_all(wanted, x, y, rng=Rng(spec.seed, x.device))
        if few < len(fake):
            control |= detail_all(wanted, x, y[:few], rng=Rng(spec.seed, x.device))
        notes.append(Note(f"features {short}: {seen.note}", "features"))
    notes += _advice(spec, data)
    return MeasuredTrial(found=found, control=control, notes=tuple(notes))
