"""Outputs beside what was wanted: translation, infilling, edits of attributes."""

import json
import re
from dataclasses import replace

import torch
from torch import Tensor

from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.trial import Note, Outcome, Trial
from gantlet.data.splits import Subset
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
    """Returns the targets and a set of outputs, those of the first target first.

    Files are matched by their names, whatever order those sort in; arrays by their order.

    Raises:
        UserError: If there are not ``outputs`` outputs for each target, or names do not match.
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
    if not (targets.names and outputs.names):
        return targets, outputs
    order = torch.tensor(_order(targets, outputs, asked.outputs))
    return targets, replace(
        outputs,
        source=Subset(outputs.source, order),
        names=[outputs.names[i] for i in order.tolist()],
    )


def _order(targets: Samples, outputs: Samples, k: int) -> list[int]:
    """Returns the places of the outputs in the order of the targets whose names they bear.

    Numbers are compared as such, so that ``7`` is ``007``. Of several outputs each is called as
    its target and a mark of its own behind it: ``7_0``, ``7-b`` or ``7/0``.
    """
    own = [_key(name) if k == 1 else _key(_mark(name)[0]) for name in outputs.names]
    places: dict[str, list[int]] = {}
    for i, key in enumerate(own):
        places.setdefault(key, []).append(i)
    order: list[int] = []
    for name in targets.names:
        found = places.pop(_key(name), [])
        if len(found) != k:
            raise UserError(
                f"{outputs.name} has {len(found)} outputs for {name!r} of {targets.name}, and {k} "
                f"{'is' if k == 1 else 'are'} needed. Pairs of files are matched by their names: "
                f"call each output as its target{', and a mark behind it: NAME_0' * (k > 1)}."
            )
        order += sorted(found, key=lambda i: _natural(outputs.names[i]))
    return order


def _mark(name: str) -> tuple[str, str]:
    """Returns the name of a target and the mark of one of its outputs."""
    head, _, tail = re.sub(r"[-_./ ](?=[^-_./ ]*$)", "\0", name).partition("\0")
    return head, tail


def _key(name: str) -> str:
    """Returns a name in which numbers are written without zeros before them.

    Example:
        >>> _key("a/007") == _key("A/7"), _key("img12") == _key("img21")
        (True, False)
    """
    return re.sub(r"0*([0-9]+)", lambda found: str(int(found[1])), name).casefold()


def _natural(name: str) -> list[tuple[int, str]]:
    """Returns what names are sorted by so that 9 comes before 10."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in parts]


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
    note += f"distances on {extractor.partition(':')[0]} features; "
    note += "matched by name" if targets.names and outputs.names else "matched by order"
    return Outcome(
        trial=trial,
        scores=found,
        notes=(Note(note, "pairs"),),
        details={FINGERPRINT: features.fingerprint},
    )


def first_pairs(asked: Asked, fake: str, n: int) -> tuple[Tensor, Tensor]:
    """Returns the first targets and one output for each, to be looked at."""
    targets, outputs = matched(asked, fake)
    index = torch.arange(min(n, len(targets.source)))
    return targets.source.take(index), outputs.source.take(index * asked.outputs)
