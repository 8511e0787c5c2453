"""Finds a trial in a run folder by the name of its model and its seed."""

from pathlib import Path

from gantlet.core.components import label
from gantlet.core.errors import UserError, unknown
from gantlet.core.trial import REAL, Trial
from gantlet.store.run import Run, TrialFolder


def find_trial(path: Path, model: str | None, seed: int) -> tuple[Trial, TrialFolder]:
    """Returns a finished trial and its folder.

    Args:
        path: The run folder.
        model: The model's label, as the report gives it, or its family where that is enough;
            None where the run has only one.
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
    wanted = _choose(path, model, labels)
    seeds = {t.seed: t for t in trials if t.parts["model"] == wanted}
    if seed not in seeds:
        known = ", ".join(map(str, sorted(seeds)))
        raise UserError(f"{path} has no seed {seed} of {label(wanted)}. It has: {known}.")
    return seeds[seed], run.folder(seeds[seed])


def _choose(path: Path, model: str | None, labels: dict[str, str]) -> str:
    """Returns the model meant: by its label, or by its family where only one model is of it."""
    if model is None:
        if len(labels) > 1:
            known = ", ".join(sorted(labels))
            raise UserError(f"{path} has several models; give --model, one of {known}.")
        return next(iter(labels.values()))
    alike = [m for name, m in labels.items() if name.partition(":")[0] == model]
    if model not in labels and len(alike) != 1:
        raise unknown(f"model of {path}", model, labels)
    return labels[model] if model in labels else alike[0]
