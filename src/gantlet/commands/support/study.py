"""Question 2: how much of the data does this generator reach?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

from gantlet import options
from gantlet.commands.evaluate.inputs import EvaluationSpec
from gantlet.commands.evaluate.sets import EvaluationSets
from gantlet.commands.support.modes import check_modes
from gantlet.commands.support.report import answer
from gantlet.commands.support.trial import SupportTrial, check_sizes, run_trial
from gantlet.core.arguments import check_fields
from gantlet.core.estimate import Outcome, Trial
from gantlet.core.spec import extractors
from gantlet.domains.domains import domain_of
from gantlet.features.base import check_ranking_features
from gantlet.options import SupportTests
from gantlet.report.blocks import Report
from gantlet.run.execute import Watch
from gantlet.run.store import Run, TrialFolder


@final
@dataclass(frozen=True, kw_only=True)
class FindSupport:
    """Sets of samples, each with the tests of its support.

    One object is one run: the sets that it has resolved are held by it. ``dataclasses.replace``
    returns one that has resolved nothing.

    Attributes:
        asked: The sets.
        features: Feature extractor; empty for the default of the kind of data.
        tests: Settings of the tests.
        threads: Number of threads.
        device: Device on which features are computed and models are run.
    """

    asked: EvaluationSpec
    features: str = options.Support.features
    tests: SupportTests = options.Support.tests
    threads: options.Threads = options.Support.threads
    device: str = options.Support.device

    @cached_property
    def sets(self) -> EvaluationSets:
        """The sets, resolved once; extractors leave the held-out samples alone."""
        return EvaluationSets(replace(self.asked, divides=True))

    def fresh(self) -> "FindSupport":
        """Returns the same study, which has read nothing yet."""
        return replace(self)

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        return {
            "command": "support",
            **self.sets.written(),
            "features": self._features(),
            "tests": self.tests.stored(),
            "threads": self.threads,
            "device": self.device,
        }

    def trials(self) -> Sequence[Trial]:
        """One for each set."""
        check_fields(self)
        check_ranking_features((self._features(),))
        self.sets.check((self._features(),), self.device)
        check_sizes(self.sets)
        check_modes(self.sets, self.tests, self._features())
        return [self._trial(fake) for fake in self.asked.fakes]

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Tests the support of one set."""
        return run_trial(trial, self.sets, folder, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Says which supports are significantly smaller, and which cannot be distinguished."""
        return answer(self.question(), self.sets, outcomes, run)

    def notes(self) -> Sequence[str]:
        """Says what of the files was left out, converted or guessed."""
        return self.sets.notes()

    def _trial(self, fake: str) -> Trial:
        return SupportTrial(
            model=fake,
            extractor=self._features(),
            sets=self.sets.asked,
            tests=self.tests,
            threads=self.threads,
            device=self.device,
        ).written()

    def _features(self) -> str:
        if self.features:
            return extractors.resolve(self.features)
        samples = self.sets.real.samples
        usual = domain_of(samples.space).features(samples.code, labelled=self.sets.has_classes())
        # Trained for as long as features of real samples alone ask for.
        chosen = "classifier:steps=1000" if usual[0] == "classifier" else usual[0]
        return extractors.resolve(chosen)
