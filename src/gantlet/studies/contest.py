"""One contestant: trained or fitted, sampled, and measured."""

import json
from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor

from gantlet.core.components import families, probes
from gantlet.core.dataset import everything
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.core.family import Fitted
from gantlet.core.model import Model
from gantlet.core.places import StorageError
from gantlet.core.rng import Rng
from gantlet.core.trial import Outcome, Trial
from gantlet.features.frozen import exactly
from gantlet.metrics.together import measure_all
from gantlet.metrics.two_sample import two_sample
from gantlet.store.run import TrialFolder
from gantlet.studies.base import Watch
from gantlet.studies.build import build
from gantlet.studies.sources import features_of, source_of
from gantlet.train.loop import DivergedError

REAL = "real"
"""The name of the contestant that is held-out real data: the noise floor of every distance."""

# Samples are drawn in blocks, so that memory does not grow with their number.
_BLOCK = 500


def run_contestant(trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
    """Trains or fits the model of ``trial``, samples it, measures it and saves both."""
    watch = _naming(trial.parts["model"].partition(":")[0], watch)
    with threads(int(trial.parts["threads"])), exactly():
        if trial.parts["model"] == REAL:
            return _measure_real(trial, watch)
        rng = Rng(trial.seed, trial.parts["device"])
        built = build(trial, folder, watch, rng=rng)
        real = _held_out(trial)
        watch(0.9, "sampling")
        with _fault_of_the_model():
            fake = draw(built.model, len(real), rng=rng.stream("sample"))
            built.model.space.check(fake, "the model")
            scores, notes = _distances(trial, real, fake, watch)
        folder.save("samples", {"samples": fake})
        folder.save("model", built.model.state_dict())
        clock = built.clock()
        for name in json.loads(trial.parts["probes"]):
            watch(0.97, f"probing {name}")
            found = probes.make(name).inspect(built.model, real, rng=rng)
            scores |= found.scores
            clock |= found.clock
    return Outcome(
        trial=trial,
        spend=built.spend,
        scores=scores | built.scores(),
        clock=clock,
        notes=(*built.notes, *notes),
    )


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


@contextmanager
def threads(n: int) -> Generator[None]:
    """Uses ``n`` threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
def draw(model: Model, n: int, *, rng: torch.Generator) -> Tensor:
    """Returns ``n`` samples, drawn in blocks of 500."""
    blocks = [model.sample(min(_BLOCK, n - i), rng=rng) for i in range(0, n, _BLOCK)]
    return torch.cat(blocks)


def restore(trial: Trial, folder: TrialFolder) -> Model:
    """Returns the finished model of a trial.

    Raises:
        UserError: If its weights are of another version.
    """
    space, _ = source_of(trial)
    family = families.make(trial.parts["model"])
    state = folder.load("model")
    if isinstance(family, Fitted):
        return family.restore(space, state)
    model = family.build(space, rng=Rng(trial.seed)).model
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(
            f"The weights in {folder.path} do not fit {trial.parts['model']}: another version of "
            "Gantlet trained them. Use that version, or train again."
        ) from error
    return model


def _held_out(trial: Trial) -> Tensor:
    _, splits = source_of(trial)
    return everything(splits.test, int(trial.parts["samples"])).to(trial.parts["device"])


def _measure_real(trial: Trial, watch: Watch) -> Outcome:
    """Compares held-out with held-out data: validation samples stand in for a model's."""
    _, splits = source_of(trial)
    real = _held_out(trial)
    fake = everything(splits.validation, len(real)).to(real.device)
    scores, notes = _distances(trial, real, fake, watch)
    if len(fake) < len(real):
        few = f"the noise floor rests on {len(fake)} validation samples, models on {len(real)} of "
        notes = (*notes, few + "their own; precision, recall, density and coverage depend on that")
    return Outcome(trial=trial, scores=scores, notes=notes)


def _distances(
    trial: Trial, real: Tensor, fake: Tensor, watch: Watch
) -> tuple[dict[str, Estimate], tuple[str, ...]]:
    """Returns every metric on every extractor, named ``metric (extractor)``, and their notes."""
    scores: dict[str, Estimate] = {}
    notes: list[str] = []
    for extractor in json.loads(trial.parts["features"]):
        seen = features_of(trial, extractor)
        x, y = seen.extract(real), seen.extract(fake)
        short = extractor.partition(":")[0]
        wanted = {
            f"{metric.partition(':')[0]} ({short})": two_sample(metric)
            for metric in json.loads(trial.parts["metrics"])
        }
        watch(0.92, f"measuring distances on {short}")
        scores |= measure_all(wanted, x, y, rng=Rng(trial.seed, x.device))
        notes.append(f"features {short}: {seen.note}")
    return scores, tuple(notes)
