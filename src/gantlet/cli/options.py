"""Options that several commands share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, final

from cyclopts import Parameter, Token

if TYPE_CHECKING:
    from gantlet.studies.evaluation.sets import Asked

Flag = Annotated[bool, Parameter(show_default=False)]
"""An option that is given or not, and has no value."""


def _whole(_type: object, tokens: Sequence[Token]) -> int:
    """Returns a whole number, which may be written as 1e3: a fraction is never rounded."""
    text = tokens[0].value
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number.is_integer():
        raise ValueError(f"Must be a whole number. Got {text!r}.")
    return int(number)


def _whole_or_all(type_: object, tokens: Sequence[Token]) -> int | str:
    text = tokens[0].value
    return text if text == "all" else _whole(type_, tokens)


Whole = Annotated[int, Parameter(converter=_whole)]
"""A whole number."""

WholeOrNone = Annotated[int | None, Parameter(converter=_whole)]
"""A whole number, perhaps not given."""

WholeOrAll = Annotated[int | Literal["all"], Parameter(converter=_whole_or_all)]
"""A whole number, or all there are."""


@final
@Parameter(name="*", group="Budget (whatever runs out first; default 2e11 FLOPs)")
@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetOptions:
    """What each contestant may spend in training, validation included.

    Attributes:
        flops: Floating point operations, such as 2e11.
        examples: Training examples, repeats counted.
        steps: Training steps.
        seconds: Seconds; the only budget that does not repeat exactly.
    """

    flops: float | None = None
    examples: float | None = None
    steps: float | None = None
    seconds: float | None = None


@final
@Parameter(name="*", group="Samples")
@dataclass(frozen=True, slots=True, kw_only=True)
class SetOptions:
    """Against what samples are judged, and how many of them.

    Attributes:
        against: The real samples.
        train: What the models learned from, and extractors may; shows copies.
        samples: How many samples of a set to use at most, or all.
        seed: Draws the samples that are used, and all else that is random.
        data_seed: From which the splits of data sets follow.
        skip_bad: How many files of a folder that cannot be read may be left out; they are named.
    """

    against: str
    train: str | None = None
    samples: WholeOrAll = 10_000
    seed: Whole = 0
    data_seed: Whole = 0
    skip_bad: Whole = 0

    def asked(
        self, fakes: tuple[str, ...], *, pairs: str | None = None, outputs: int = 1
    ) -> "Asked":
        """Returns what decides the sets, for a study."""
        from gantlet.studies.evaluation.sets import Asked, forget

        # Files may have changed since another command of this process read them.
        forget()
        return Asked(
            fakes=fakes,
            real=self.against,
            train=self.train,
            samples=None if self.samples == "all" else self.samples,
            seed=self.seed,
            data_seed=self.data_seed,
            pairs=pairs,
            outputs=outputs,
            skip_bad=self.skip_bad,
        )


@final
@Parameter(name="*", group="Running")
@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How and where to run, and what to print.

    Attributes:
        out: Run folder; one that holds the same question goes on. Default: one below runs/.
        workers: Processes that run trials side by side. Default: what suits command and cores.
        threads: Threads of each trial; part of what decides the last digits.
        retry: Trials that failed before and run again: failed (for lack of memory, for one),
            all (also those that diverged or cannot be run), or none.
        device: Where to train: cpu or cuda.
        json: Print one JSON object on stdout and nothing else.
        dry_run: Say what would be done, and stop.
    """

    out: Path | None = None
    workers: WholeOrNone = None
    threads: Whole = 1
    retry: Literal["failed", "all", "none"] = "failed"
    device: str = "cpu"
    json: Flag = False
    dry_run: Flag = False
