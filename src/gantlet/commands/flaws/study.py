"""Question 5: what is wrong with these samples, the largest flaw first?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

from gantlet import options
from gantlet.commands.evaluate.inputs import EvaluationSpec
from gantlet.commands.evaluate.sets import EvaluationSets
from gantlet.commands.flaws.report import answer
from gantlet.commands.flaws.trial import FlawsTrial, forecasts, run_trial
from gantlet.core.arguments import check_fields
from gantlet.core.errors import UserError
from gantlet.core.estimate import Outcome, Trial
from gantlet.core.spec import extractors
from gantlet.domains.domains import domain_of
from gantlet.options import Search
from gantlet.report.blocks import Report
from gantlet.run.execute import Watch
from gantlet.run.store import Run, TrialFolder


@final
@dataclass(frozen=True, kw_only=True)
class FindFlaws:
    """Sets of samples, each with its list of flaws.

    One object is one run: the sets that it has resolved are held by it. ``dataclasses.replace``
    returns one that has resolved nothing.

    Attributes:
        asked: The sets; the training samples are what extractors may learn from.
        features: Feature extractor; empty for the default of the kind of data.
        search: Settings of the search.
        threads: Number of threads.
        device: Device on which features are computed.
    """

    asked: EvaluationSpec
    features: str = options.Flaws.features
    search: Search = options.Flaws.search
    threads: options.Threads = options.Flaws.threads
    device: str = options.Flaws.device

    @cached_property
    def sets(self) -> EvaluationSets:
        """The sets, resolved once."""
        return EvaluationSets(self.asked)

    def fresh(self) -> "FindFlaws":
        """Returns the same study, which has read nothing yet."""
        return replace(self)

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        return {
            "command": "flaws",
            **self.sets.written(),
            "features": self._features(),
            "search": self.search.stored(),
            "threads": self.threads,
            "device": self.device,
        }

    def trials(self) -> Sequence[Trial]:
        """One for each set."""
        self._check()
        return [self._trial(fake) for fake in self.asked.fakes]

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Lists the flaws of one set."""
        return run_trial(trial, self.sets, folder, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Says what is wrong, and what is not."""
        return answer(self.question(), self.sets, outcomes, run)

    def notes(self) -> Sequence[str]:
        """Says what of the files was left out, converted or guessed."""
        return self.sets.notes()

    def forecast(self) -> Sequence[str]:
        """Says of each set what its size lets be found, before anything is looked for."""
        return forecasts(self.sets, self.search.level)

    def _check(self) -> None:
        check_fields(self)
        _check_search(self.search)
        self.sets.check((self._features(),), self.device)

    def _trial(self, fake: str) -> Trial:
        return FlawsTrial(
            model=fake,
            extractor=self._features(),
            sets=self.asked,
            search=self.search,
            threads=self.threads,
            device=self.device,
        ).written()

    def _features(self) -> str:
        if self.features:
            return extractors.resolve(self.features)
        samples = self.sets.real.samples
        usual = domain_of(samples.space).features(samples.code, labelled=self.sets.has_classes())
        return extractors.resolve(usual[0])


def _check_search(search: Search) -> None:
    if search.mode == "pca" and (search.permutations + 1) * search.level < search.max_directions:
        raise UserError(
            f"{search.permutations} permutations cannot confirm any of {search.max_directions} "
            "components: raise --permutations or lower --max-directions."
        )
