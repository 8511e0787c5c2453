"""One unit of work: everything that decides its outcome, and nothing else."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, final

from gantlet.core.budget import Budget, Spend
from gantlet.core.estimate import Estimate

REAL = "real"
"""The name of the model that is held-out real data: the noise floor of every distance."""

INFLUENCE = "influence"
"""Under which name a trial's folder keeps what paired differences need."""

CONTROL = "control"
"""What marks numbers of as many samples as the noise floor rests on."""

Failure = Literal["diverged", "cannot", "failed"]
"""Why a trial gave no numbers: its training diverged, which is a result; the model cannot be
trained or measured on this data, as a message for the user says; or anything else, such as a lack
of memory, which may pass."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One model on one data set with one seed under one budget, as plain data.

    Attributes:
        parts: The written form of each component with all defaults written out, by role, and
            plain settings as text: ``{"model": "gan:latent=32,...", "batch": "128"}``.
        budget: What the trial may spend.
        seed: From which every random number of the trial follows.
    """

    parts: Mapping[str, str]
    budget: Budget = field(default_factory=Budget)
    seed: int = 0

    @property
    def key(self) -> str:
        """A short name for the trial; equal trials have equal keys.

        Example:
            >>> Trial(parts={"model": "gan"}).key == Trial(parts={"model": "gan"}).key
            True
        """
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


Topic = Literal["training", "features", "meter", "pairs"]
"""What a note is about: how the model was made, what samples were seen as, operations that the
meter could not count, or which outputs were compared with which targets."""


@final
@dataclass(frozen=True, slots=True)
class Note:
    """What a reader must know of a trial.

    Attributes:
        text: One sentence, without a capital and without a full stop.
        about: What it is about, by which a report chooses.
    """

    text: str
    about: Topic


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a trial gave.

    Attributes:
        trial: What was run.
        spend: What training used. Its ``seconds`` are kept apart with the clock in files.
        scores: The measurements that repeat exactly, by name.
        clock: The measurements of this machine at this hour, by name: times, rates, memory.
        notes: What a reader must know of this trial.
        details: What else the study needs to conclude, plain JSON values.
        error: Why the trial failed or diverged, or None.
        failure: What kind of failure that is, or None where there is no error.
    """

    trial: Trial
    spend: Spend = field(default_factory=Spend)
    scores: Mapping[str, Estimate] = field(default_factory=dict[str, Estimate])
    clock: Mapping[str, Estimate] = field(default_factory=dict[str, Estimate])
    notes: tuple[Note, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])
    error: str | None = None
    failure: Failure | None = None

    def __post_init__(self) -> None:
        """Takes an error of no stated kind for one that may pass."""
        if (self.error is None) != (self.failure is None):
            object.__setattr__(self, "failure", None if self.error is None else "failed")
