"""Options that several commands share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Flag = Annotated[bool, Parameter(show_default=False)]
"""An option that is given or not, and has no value."""


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


@Parameter(name="*", group="Running")
@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How and where to run, and what to print.

    Attributes:
        out: Run folder; one that holds the same question goes on. Default: one below runs/.
        workers: Processes that run trials side by side. Default: as many as fit the cores.
        threads: Threads of each trial; part of what decides the last digits.
        device: Where to train: cpu or cuda.
        json: Print one JSON object on stdout and nothing else.
        dry_run: Say what would be done, and stop.
    """

    out: Path | None = None
    workers: int | None = None
    threads: int = 1
    device: str = "cpu"
    json: Flag = False
    dry_run: Flag = False
