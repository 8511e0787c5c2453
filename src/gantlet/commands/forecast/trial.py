"""The trials of a forecast: the profile of the data, and the fit of a predictor."""

import hashlib
from typing import Any

import torch
from torch import Tensor

from gantlet.commands.evaluate.inputs import NamedSamples
from gantlet.compute.machine import threads
from gantlet.core.data import InMemory, Splits
from gantlet.core.estimate import Estimate, Outcome, Trial
from gantlet.core.rng import Rng
from gantlet.core.spec import extractors
from gantlet.domains.domains import domain_of
from gantlet.features.base import block_of, feature_set, full_precision, subsample_indices
from gantlet.forecast.candidates import out_of_fold
from gantlet.forecast.experiment import Experiment
from gantlet.forecast.predictor import Predictor
from gantlet.forecast.profile import MOST, Profile, image_profile, profile
from gantlet.forecast.validation import Validation, held_out, leave_out
from gantlet.run.execute import Watch
from gantlet.run.store import TrialFolder, write_bytes

PROFILE, FIT = "profile", "fit"
"""The names of the trials."""

PREDICTOR = "predictor.json"
"""The file of a fitted predictor, in the folder of its trial."""

# Their numbers are themselves coordinates; other kinds are described by features.
_RAW = ("vector", "image")

_TELLING = 256


def fingerprint(samples: NamedSamples) -> str:
    """Returns a short name for what a set holds, by its size and its first 256 samples."""
    n = len(samples.source)
    digest = hashlib.blake2b(f"{samples.space.label}; {n}".encode(), digest_size=6)
    digest.update(samples.source.take(torch.arange(min(n, _TELLING))).numpy().tobytes())
    return digest.hexdigest()


# ----------------------------------------------------------------------------
# The profile.
# ----------------------------------------------------------------------------


def profile_trial(trial: Trial, samples: NamedSamples, watch: Watch) -> Outcome:
    """Describes at most 1,500 samples; no others are read."""
    watch(0.1, "reading")
    n, rng = len(samples.source), Rng(trial.seed)
    index = subsample_indices(n, MOST, rng=rng.stream("samples"))
    x = samples.source.take(index)
    with threads(int(trial.parts["threads"])), full_precision():
        rows, how = vectors(samples, x, rng)
        watch(0.4, "measuring the profile")
        found = profile(rows, rng=rng, n=n)
        if samples.space.kind == "image":
            found = found.joined(image_profile(samples.space.unit(x)))
    return Outcome(trial=trial, scores=_scores(found), details=_details(samples, found, how))


def _scores(found: Profile) -> dict[str, Estimate]:
    method = f"of {found.sampled:,} samples; a statistic of one subsample, without interval"
    return {name: Estimate(value=v, n=found.sampled, method=method) for name, v in found.items()}


def _details(samples: NamedSamples, found: Profile, how: str) -> dict[str, Any]:
    return {
        "profile": dict(found),
        "missing": dict(found.missing),
        "sampled": found.sampled,
        "n": len(samples.source),
        "name": samples.name,
        "kind": samples.space.kind,
        "space": samples.space.label,
        "levels": samples.space.levels,
        "shape": list(samples.space.shape),
        "how": how,
        "note": samples.note,
    }


def vectors(samples: NamedSamples, x: Tensor, rng: Rng) -> tuple[Tensor, str]:
    """Returns samples as vectors, shape ``(n, d)``, and what the vectors are.

    Vectors and images are taken as they are; other kinds by the default features of their kind,
    which learn from the same samples where they learn.

    Args:
        samples: The set.
        x: Some of its samples, shape ``(n, *space.shape)``.
        rng: Random seed of the features.
    """
    space = samples.space
    if space.kind in _RAW:
        return space.unit(x).flatten(1), "raw values"
    name = domain_of(space).features(samples.code, labelled=False)[0]
    own = InMemory(x)
    features = extractors.make(name).fit(
        space, Splits(train=own, validation=own, test=own), rng=rng
    )
    rows = feature_set(features, own, block=block_of(space), classes=False).rows
    return rows, f"features {extractors.short(name)}"


# ----------------------------------------------------------------------------
# The fit.
# ----------------------------------------------------------------------------


def _estimate(e: Estimate) -> dict[str, Any]:
    return {"value": e.value, "low": e.low, "high": e.high, "n": e.n, "method": e.method}


def fit_trial(trial: Trial, table: Experiment, folder: TrialFolder, watch: Watch) -> Outcome:
    """Fits a predictor to a table, judges it on what it has not seen, and writes it."""
    with threads(int(trial.parts["threads"])):
        watch(0.05, "leaving out each configuration")
        found = out_of_fold(table.only(real=False).cells)
        watch(0.7, "fitting")
        predictor = Predictor.fit(table, found)
        write_bytes(folder.path / PREDICTOR, predictor.to_json().encode())
        watch(0.8, "validating")
        details: dict[str, Any] = {"left out": _plain(leave_out(table, found))}
        if any(w.real for w in table.worlds):
            real = held_out(table, predictor)
            details["real"] = _plain(real)
            if 0 < real.inside < 1:
                details["real, inside"] = _plain(held_out(table, predictor, only_inside=True))
    return Outcome(trial=trial, details=details)


def _plain(found: Validation) -> dict[str, Any]:
    return {
        "worlds": found.worlds,
        "inside": found.inside,
        "regrets": {name: _estimate(e) for name, e in found.regrets.items()},
        "gain": _estimate(found.gain),
        "coverage": {name: _estimate(e) for name, e in found.coverage.items()},
        "scores": {
            name: {
                family: {k: _estimate(getattr(s, k)) for k in ("r2", "spearman", "mae")}
                for family, s in by_family.items()
            }
            for name, by_family in found.scores.items()
        },
    }
