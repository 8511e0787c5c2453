"""Question 2: which families can model these data, before any of them is trained?"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import final

from gantlet import options
from gantlet.commands.evaluate.inputs import NamedSamples, find_samples
from gantlet.commands.forecast.report import answer
from gantlet.commands.forecast.trial import FIT, PROFILE, fingerprint, fit_trial, profile_trial
from gantlet.core.arguments import check_fields
from gantlet.core.errors import UserError
from gantlet.core.estimate import Outcome, Trial
from gantlet.forecast.experiment import Experiment, parse, read
from gantlet.forecast.predictor import Predictor, check_families, shipped
from gantlet.forecast.profile import FEWEST
from gantlet.report.blocks import Report
from gantlet.run.execute import Watch, read_report
from gantlet.run.store import Run, TrialFolder

TABLE = "per_trial"
"""The key of the report of ``gantlet study distributions`` under which its table is."""


@final
@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The profile of a data set, and the error of each family that is predicted from it.

    One object is one run: what it has read is held by it.

    Attributes:
        data: The data, as on the command line, or empty to fit a predictor only.
        flops: Budget of each training, or None for the largest of the experiment.
        families: Families, or none for all of the experiment.
        refit: Table to which the predictor is fitted, or empty for the predictor that is shipped.
        seed: Draws the samples that are looked at.
        data_seed: Seed of the train/validation/test split.
        skip_bad: How many files of a folder that cannot be read may be left out.
        threads: Number of threads.
    """

    data: str = ""
    flops: float | None = None
    families: tuple[str, ...] = ()
    refit: str = ""
    seed: options.Seed = options.Forecast.seed
    data_seed: options.Seed = options.Forecast.data_seed
    skip_bad: options.Files = options.Forecast.skip_bad
    threads: options.Threads = options.Forecast.threads

    @cached_property
    def samples(self) -> NamedSamples:
        """The data: the training split of a data set, or all of a file."""
        return find_samples(self.data, "train", data_seed=self.data_seed, skip_bad=self.skip_bad)

    @cached_property
    def table(self) -> Experiment:
        """The table of ``refit``: that of a run, or of a file."""
        path = Path(self.refit)
        if not path.is_dir():
            return read(path)
        plain = read_report(path).extra.get(TABLE)
        if plain is None:
            raise UserError(
                f"{path} is not a run of gantlet study distributions: its report holds no table "
                "of an experiment. Give --refit such a run, or an experiment table (JSON)."
            )
        return parse(plain, str(path))

    @cached_property
    def predictor(self) -> Predictor:
        """The predictor that is shipped."""
        return shipped()

    def fresh(self) -> "Forecast":
        """Returns the same study, which has read nothing yet."""
        return replace(self)

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        return {
            "command": "forecast",
            "data": self.data,
            "data_seed": self.data_seed,
            "flops": self.flops or max(self._fitted.flops),
            "families": list(self.families or self._fitted.families),
            "refit": self.refit,
            "seed": self.seed,
            "threads": self.threads,
            "fingerprint": self._fingerprint,
        }

    def trials(self) -> Sequence[Trial]:
        """The profile of the data; and the fit of a predictor, where one is asked for."""
        self._check()
        shared = {"threads": str(self.threads), "device": "cpu"}
        found = []
        if self.data:
            parts = {"data": self.data, "fingerprint": fingerprint(self.samples)}
            parts |= {"data_seed": str(self.data_seed), "skip_bad": str(self.skip_bad)}
            found.append(Trial(parts={"model": PROFILE, **parts, **shared}, seed=self.seed))
        if self.refit:
            parts = {"table": self.refit, "fingerprint": self._fingerprint}
            found.append(Trial(parts={"model": FIT, **parts, **shared}))
        return found

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Describes the data, or fits a predictor."""
        if trial.parts["model"] == FIT:
            return fit_trial(trial, self.table, folder, watch)
        return profile_trial(trial, self.samples, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Says which family to try first, or that this cannot be said."""
        return answer(self.question(), outcomes, run, None if self.refit else self.predictor)

    def notes(self) -> Sequence[str]:
        """Says what of the files was left out, converted or guessed."""
        return [self.samples.note] if self.data and self.samples.note else []

    def _check(self) -> None:
        check_fields(self)
        if not self.data and not self.refit:
            raise UserError(
                "Name the data, such as digits or a file, or give --refit with the run directory "
                "of gantlet study distributions."
            )
        check_families(self.families, self._fitted.families)
        if self.data and len(self.samples.source) < FEWEST:
            raise UserError(
                f"A profile needs at least {FEWEST} samples. {self.data} has "
                f"{len(self.samples.source)}."
            )

    @property
    def _fitted(self) -> Experiment | Predictor:
        """What names the families and the budgets."""
        return self.table if self.refit else self.predictor

    @cached_property
    def _fingerprint(self) -> str:
        """Returns a short name for what is in the table, or in the predictor."""
        text = repr(self.table.results) if self.refit else self.predictor.to_json()
        return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
