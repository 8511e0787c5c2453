"""Finds a trial in a run folder by the name of its model and its seed."""

from pathlib import Path

from gantlet.core.errors import UserError, unknown
from gantlet.core.trial import Trial
from gantlet.store.run import Run, TrialFolder
from gantlet.studies.contest import REAL
from gantlet.studies.summary import label


def find_trial(path: Path, model: str | None, seed: int) -> tuple[Trial, TrialFolder]:
    """Returns a finished trial and its folder.

    Args:
        path: The run folder.
        model: The model's label, as the report gives it; None where the run has only one.
        seed: The trial's seed.

    Raises:
        UserError: If there is no such trial, or several.
    """
    run = Run.open(path)
    trials = [
        o.trial for o in run.outcomes() if o.error is None and o.trial.parts["model"] != REAL
    ]
    labels = {label(t.parts["model"]): t.parts["model"] for t in trials}
    if not labels:
        raise UserError(f"{path} has no finished model. Run its command again to go on.")
    if model is None and len(labels) > 1:
        raise UserError(f"{path} has several models; give --model, one of {', '.join(labels)}.")
    if model is not None and model not in labels:
        raise unknown(f"model of {path}", model, labels)
    wanted = labels[model] if model is not None else next(iter(labels.values()))
    seeds = {t.seed: t for t in trials if t.parts["model"] == wanted}
    if seed not in seeds:
        known = ", ".join(map(str, sorted(seeds)))
        raise UserError(f"{path} has no seed {seed} of {label(wanted)}. It has: {known}.")
    return seeds[seed], run.folder(seeds[seed])
