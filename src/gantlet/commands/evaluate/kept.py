"""What was measured of sets before, kept by the content of all that decides it.

The reference, its noise floor and sets that were judged already cost nothing in the next run, or
beside another set in the same one: only what is new is measured.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from gantlet.core.estimate import Estimate, Outcome, Trial
from gantlet.core.metric import Metric, TrainMetric
from gantlet.core.rng import StorageError, cache_home, code_digest, private_folder
from gantlet.run.store import DamagedError, TrialFolder

_MOST = 2**30
# So many numbers are hashed at a time.
_BLOCK = 2**22


@final
@dataclass(frozen=True, slots=True)
class Measured:
    """What a trial finds.

    Attributes:
        scores: The numbers, by metric.
        details: Plain values for the report.
        tensors: What is large, by the name of its file.
    """

    scores: Mapping[str, Estimate]
    details: Mapping[str, float]
    tensors: Mapping[str, Mapping[str, Tensor]]


@final
@dataclass(frozen=True, slots=True)
class KeptMeasurements:
    """A folder of measurements by name; the least recently used go above a maximum size.

    They are sealed as those of a run are: what was damaged is measured again.

    Attributes:
        folder: The folder.
        most: Maximum size in bytes.
    """

    folder: Path
    most: int = _MOST

    @classmethod
    def usual(cls) -> "KeptMeasurements":
        """Returns the user's."""
        return cls(cache_home() / "measured")

    def get(self, key: str, trial: Trial, measure: Callable[[], Measured]) -> Measured:
        """Returns what is kept under ``key``, or measures and keeps it.

        Args:
            key: Names all that decides it.
            trial: For whoever looks into the folder.
            measure: Called if it is not there.
        """
        place = TrialFolder(self.folder / key)
        with suppress(DamagedError, StorageError, OSError):
            private_folder(self.folder)
            if (found := _read(place)) is not None:
                return found
        found = measure()
        if not any(e.has_failed for e in found.scores.values()):
            # What cannot be kept is measured again: numbers that are not finite, a full disk.
            with suppress(StorageError, OSError, ValueError, TypeError):
                self._keep(place, trial, found)
        return found

    def _keep(self, place: TrialFolder, trial: Trial, found: Measured) -> None:
        shutil.rmtree(place.path, ignore_errors=True)
        for name, tensors in found.tensors.items():
            place.save(name, tensors)
        details = {"values": dict(found.details), "files": list(found.tensors)}
        place.record(Outcome(trial=trial, scores=found.scores, details=details))
        self._tidy(place.path)

    def _tidy(self, newest: Path) -> None:
        """Removes what was not used for longest until the rest fits."""
        sized = [
            (own.stat().st_mtime, sum(f.stat().st_size for f in own.iterdir()), own)
            for own in self.folder.iterdir()
            if own != newest
        ]
        left = sum(size for _, size, _ in sized) + sum(f.stat().st_size for f in newest.iterdir())
        for _, size, own in sorted(sized):
            if left <= self.most:
                return
            shutil.rmtree(own, ignore_errors=True)
            left -= size


def _read(place: TrialFolder) -> Measured | None:
    outcome = place.outcome()
    if outcome is None:
        return None
    tensors = {name: place.load(name) for name in outcome.details["files"]}
    place.path.touch()
    return Measured(outcome.scores, outcome.details["values"], tensors)


def name_of(asked: Iterable[object], seen: Iterable[Tensor | None]) -> str:
    """Returns a short name for a measurement by this version of Gantlet.

    Args:
        asked: Plain settings, which are told apart by how they are written.
        seen: All numbers that it depends on, in their order; None where there are none.
    """
    found = blake2b(repr((code_digest(), *asked)).encode(), digest_size=16)
    for tensor in seen:
        if tensor is None:
            found.update(b"none")
            continue
        found.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        rows = max(1, _BLOCK // max(tensor[:1].numel(), 1))
        for part in torch.split(tensor, rows):
            found.update(part.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def can_be_kept(metrics: Iterable[Metric | TrainMetric]) -> bool:
    """Returns whether the code of all metrics is Gantlet's own, whose version is known."""
    return all(type(m).__module__.partition(".")[0] == "gantlet" for m in metrics)
