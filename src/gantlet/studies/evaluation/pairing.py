"""Outputs beside what was wanted: translation, infilling, edits of attributes."""

import json

import torch
from torch import Tensor

from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.trial import Outcome, Trial
from gantlet.features.frozen import some
from gantlet.metrics.pairs.all import Pairs
from gantlet.studies.base import Watch
from gantlet.studies.evaluation.inputs import Samples
from gantlet.studies.evaluation.sets import Asked, extractor_of, whole_set

PAIRS = "pairs"
"""The extractor of trials that look at pairs."""

FINGERPRINT = "fingerprint"
"""The detail of an outcome that names extractor, weights and preprocessing."""

# So many inputs are looked at.
_INPUTS = 2_000


def matched(asked: Asked, fake: str) -> tuple[Samples, Samples]:
    """Returns the targets and a set of outputs, in their order.

    Raises:
        UserError: If there are not ``outputs`` outputs for each target.
    """
    if asked.pairs is None:
        raise UserError("Give --pairs: what the outputs should have been.")
    targets, outputs = whole_set(asked, asked.pairs), whole_set(asked, fake)
    n, m = len(targets.source), len(outputs.source)
    if m != n * asked.outputs:
        name, wanted = outputs.name, targets.name
        raise UserError(
            f"{name} holds {m} samples, {wanted} {n} targets with --outputs {asked.outputs}. "
            f"{n * asked.outputs} outputs are needed, those of the first target first."
        )
    return targets, outputs


def run_pairs(trial: Trial, asked: Asked, watch: Watch) -> Outcome:
    """Measures a set of outputs against its targets."""
    watch(0.1, "reading pairs")
    targets, outputs = matched(asked, trial.parts["model"])
    k, device = asked.outputs, trial.parts["device"]
    chosen = some(len(targets.source), _INPUTS, rng=Rng(trial.seed).stream("pairs"))
    inputs = chosen.repeat_interleave(k)
    places = (chosen[:, None] * k + torch.arange(k)).flatten()
    x, y = targets.source.take(inputs).to(device), outputs.source.take(places).to(device)
    extractor = json.loads(trial.parts["extractors"])[0]
    features = extractor_of(asked, extractor, device)
    watch(0.5, "measuring pairs")
    unit = targets.space.unit
    pairs = Pairs(target=unit(x), output=unit(y), inputs=inputs if k > 1 else None)
    found = pairs.measure((features.extract(x), features.extract(y)))
    note = f"{PAIRS}: {len(chosen):,} inputs with {k} output{'s' if k > 1 else ''} each; "
    note += f"distances on {extractor.partition(':')[0]} features"
    return Outcome(
        trial=trial, scores=found, notes=(note,), details={FINGERPRINT: features.fingerprint}
    )


def first_pairs(asked: Asked, fake: str, n: int) -> tuple[Tensor, Tensor]:
    """Returns the first targets and one output for each, to be looked at."""
    targets, outputs = matched(asked, fake)
    index = torch.arange(min(n, len(targets.source)))
    return targets.source.take(index), outputs.source.take(index * asked.outputs)
