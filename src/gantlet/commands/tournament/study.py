"""Question 5: which generator fools which critic, and who is getting better?"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, final

from gantlet import options
from gantlet.commands.tournament.play import (
    Contender,
    TournamentTrial,
    courses_of,
    run_tournament,
)
from gantlet.commands.tournament.report import answer
from gantlet.commands.trained import ModelTrial, RunData
from gantlet.core.arguments import check_fields
from gantlet.core.errors import UserError
from gantlet.core.estimate import Outcome, Trial
from gantlet.core.spec import Between
from gantlet.report.blocks import Report
from gantlet.run.execute import Watch
from gantlet.run.store import Run, TrialFolder


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Tournament:
    """Generators and critics of some runs, all against all.

    Attributes:
        runs: Run folders of ``train`` or ``compare``, of the same data.
        samples: Most samples of each generator; never more than the test split has.
        seed: Draws the samples.
        threads: Threads; part of what decides the last digits.
    """

    runs: tuple[str, ...]
    samples: Annotated[int, Between(20, 2**31)] = options.Tournament.samples
    seed: options.Seed = options.Tournament.seed
    threads: options.Threads = options.Tournament.threads

    @classmethod
    def of(cls, asked: options.Tournament) -> "Tournament":
        """Returns the study that ``gantlet tournament`` asks for."""
        return cls(
            runs=asked.folders,
            samples=asked.samples,
            seed=asked.seed,
            threads=asked.threads,
        )

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        trial = self._trial()
        return {
            "command": "tournament",
            "runs": list(self.runs),
            "data": trial.data,
            "data_seed": trial.data_seed,
            "samples": self.samples,
            "seed": self.seed,
            "threads": self.threads,
            "fingerprint": trial.fingerprint,
        }

    def trials(self) -> Sequence[Trial]:
        """One: all matches together take seconds."""
        return [self._trial().written()]

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Plays all matches."""
        return run_tournament(trial, RunData(), folder, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Rates everybody."""
        return answer(self.question(), outcomes, run)

    def _trial(self) -> TournamentTrial:
        if not self.runs:
            raise UserError("Name at least one run folder, such as runs/demo.")
        check_fields(self)
        courses = courses_of(self.runs)
        trained = ModelTrial.of(courses[0].trial)
        return TournamentTrial(
            runs=self.runs,
            data=trained.data,
            data_seed=trained.data_seed,
            samples=self.samples,
            fingerprint=_fingerprint(courses),
            threads=self.threads,
            seed=self.seed,
        )


def _fingerprint(courses: Sequence[Contender]) -> str:
    """Returns a short name for what is in the runs, which may grow."""
    text = json.dumps([[c.name, c.trial.key, c.snapshots] for c in courses])
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
