"""Lists the flaws of one set of samples."""

import json
from collections.abc import Mapping, Sequence

from gantlet.compute.machine import threads
from gantlet.core.estimate import Estimate
from gantlet.core.rng import Rng
from gantlet.core.trial import Note, Outcome, Trial
from gantlet.critics.causes import Causes
from gantlet.critics.flaw import Flaw, Flaws
from gantlet.critics.halves import Halves, Seen, check_number
from gantlet.critics.listing import Search, list_flaws
from gantlet.critics.shared import gap_of
from gantlet.features.frozen import exactly
from gantlet.store.run import TrialFolder
from gantlet.studies.base import Watch
from gantlet.studies.evaluation.inputs import named
from gantlet.studies.evaluation.sets import asked_of, other_set
from gantlet.studies.flaws.seen import Sight
from gantlet.studies.flaws.shown import exhibits
from gantlet.studies.flaws.tried import BEFORE, Key, Quantity, causes_for


def run_trial(trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
    """Finds the flaws of a set and saves what pictures need."""
    asked = asked_of(trial)
    with threads(int(trial.parts["threads"])), exactly():
        sight, fake = Sight(trial), other_set(asked, trial.parts["model"], "fake")
        real = sight.real
        check_number(real.n, fake.n)
        seen_real, seen = sight.seen(real, watch), sight.seen(fake, watch)
        watch(0.6, "looking for flaws")
        search, rng = Search(**json.loads(trial.parts["search"])), Rng(trial.seed)
        causes = _causes(sight, trial) if search.mode == "guided" else None
        found = list_flaws(seen_real, seen, search, rng=rng, causes=causes)
        watch(0.9, "choosing samples to show")
        folder.save("exhibits", exhibits(found, real, fake))
        others = {
            named(text)[0]: sight.seen(other_set(asked, text, "fake"), watch)
            for text in asked.fakes
            if text != trial.parts["model"]
        }
        shared = _shared(seen_real, others, found.flaws, rng)
    return Outcome(
        trial=trial,
        scores={**_scores(found), **shared},
        notes=(Note(sight.extractor.note, "features"),),
        details={
            "flaws": list(map(_told, found.flaws)),
            "stop": found.ending.stop.value,
            "examined": found.ending.examined,
            "detectable": found.detectable,
        },
    )


def _causes(sight: Sight, trial: Trial) -> Causes | None:
    return causes_for(
        sight.real,
        sight.extractor,
        among=sight.places,
        device=trial.parts["device"],
        rng=Rng(trial.seed).stream("causes"),
    )


def _scores(found: Flaws) -> dict[str, Estimate]:
    scores = {BEFORE.name: found.total}
    for k, (flaw, left) in enumerate(zip(found.flaws, found.left, strict=True), 1):
        p = Estimate(value=flaw.p, method="p-value by permutation, corrected: no interval")
        scores |= {
            Key(k, Quantity.SIZE).name: flaw.size,
            Key(k, Quantity.ALONE).name: flaw.accuracy,
            Key(k, Quantity.P).name: p,
            Key(k, Quantity.RESIDUAL).name: left,
        }
    return scores


def _shared(
    real: Seen, others: Mapping[str, Seen], flaws: Sequence[Flaw], rng: Rng
) -> dict[str, Estimate]:
    """Returns how large each flaw is in the other sets, where it can be measured there."""
    scores: dict[str, Estimate] = {}
    for name, seen in others.items():
        halves = Halves.of(real, seen, rng=rng)
        for k, flaw in enumerate(flaws, 1):
            apart = gap_of(flaw, halves, rng=rng.stream(f"shared/{name}/{k}"))
            if apart is not None:
                size = apart.size
                opposite = flaw.kind == "location" and apart.shift * flaw.shift < 0
                scores[Key(k, Quantity.SIZE, name).name] = _opposite(size) if opposite else size
    return scores


def _opposite(size: Estimate) -> Estimate:
    if size.value is None or size.low is None or size.high is None:
        return size
    method = f"{size.method}; negative: the means differ the other way"
    return Estimate(value=-size.value, low=-size.high, high=-size.low, n=size.n, method=method)


def _told(flaw: Flaw) -> dict[str, str | float]:
    told: dict[str, str | float] = {"title": flaw.title, "kind": flaw.kind, "shift": flaw.shift}
    if flaw.cause is not None:
        told["cause"] = flaw.cause
    if flaw.naming is None:
        return told
    agreement = flaw.naming.agreement.value or 0.0
    return {**told, "probe": flaw.naming.probe, "agreement": agreement}
