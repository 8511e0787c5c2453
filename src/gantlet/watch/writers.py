"""Where the numbers of a watched training go: files here, and trackers of experiments.

A writer is a frozen dataclass of settings under the entry points ``gantlet.writers``. Trackers are
packages of others (the extras ``tensorboard``, ``trackio``, ``wandb``, ``mlflow``); what they keep
stays on this machine unless their settings say otherwise.
"""

import csv
import io
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, final

from typing_extensions import override

from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.run.store import write_bytes

# ----------------------------------------------------------------------------
# The contract.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One number of one look.

    Attributes:
        step: Step of the loop.
        name: Name of the number: ``kid``, ``loss/critic``.
        estimate: The number.
        floor: The same of held-out real samples, or None.
    """

    step: int
    name: str
    estimate: Estimate
    floor: Estimate | None = None

    def scalars(self) -> dict[str, float]:
        """Returns what a tracker of numbers can hold: value, ends of the interval, floor.

        Example:
            >>> e = Estimate(value=0.2, low=0.1, high=0.3)
            >>> Entry(step=1, name="kid", estimate=e).scalars()
            {'kid': 0.2, 'kid/low': 0.1, 'kid/high': 0.3}
        """
        found = {
            self.name: self.estimate.value,
            f"{self.name}/low": self.estimate.low,
            f"{self.name}/high": self.estimate.high,
            f"{self.name}/floor": None if self.floor is None else self.floor.value,
        }
        return {name: value for name, value in found.items() if value is not None}


class Sink(ABC):
    """An open writer."""

    @abstractmethod
    def write(self, entries: Sequence[Entry]) -> None:
        """Writes the numbers of one look."""

    def alarm(self, step: int, text: str) -> None:
        """Writes an alarm; by default nowhere."""
        del step, text

    def picture(self, step: int, png: bytes) -> None:
        """Writes samples as PNG; by default nowhere."""
        del step, png

    def close(self) -> None:
        """Ends the run; by default there is nothing to end."""


class Writer(ABC):
    """Settings of a writer; a frozen dataclass."""

    __slots__ = ()

    @abstractmethod
    def open(self, folder: Path, name: str, history: Sequence[Sequence[Entry]]) -> Sink:
        """Starts to write.

        Args:
            folder: The run folder.
            name: Name of the run.
            history: The looks before, of a run that goes on; later ones that were written by a
                process that was killed are to be replaced.

        Raises:
            UserError: If its package is not installed.
        """


def package(name: str, extra: str) -> Any:
    """Imports a package of others.

    Raises:
        UserError: If it is not installed, or cannot be imported.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(
            f"{name} cannot be imported ({error}). Install it: pip install 'gantlet[{extra}]'."
        ) from error


# ----------------------------------------------------------------------------
# Files: csv and JSON lines.
# ----------------------------------------------------------------------------

_COLUMNS = (
    *("step", "name", "value", "low", "high", "level", "n", "unit", "better"),
    *("floor", "floor_low", "floor_high", "method"),
)


def as_row(entry: Entry) -> dict[str, Any]:
    """Returns a number as one flat row; what is missing is None."""
    e, floor = entry.estimate, entry.floor
    known = {name: getattr(e, name) for name in ("value", "low", "high", "level", "n", "unit")}
    return {
        "step": entry.step,
        "name": entry.name,
        **known,
        "better": e.better,
        "floor": None if floor is None else floor.value,
        "floor_low": None if floor is None else floor.low,
        "floor_high": None if floor is None else floor.high,
        "method": e.method,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _TextFile(Writer):
    """A file of text in the run folder, which grows look by look.

    Attributes:
        file: Name of the file in the run folder.
    """

    file: str

    @abstractmethod
    def lines(self, entries: Sequence[Entry]) -> str:
        """Returns the numbers of one look as whole lines."""

    @property
    def head(self) -> str:
        """What stands above all lines."""
        return ""

    @final
    @override
    def open(self, folder: Path, name: str, history: Sequence[Sequence[Entry]]) -> Sink:
        return _FileSink(folder / self.file, self, history)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Csv(_TextFile):
    """A file ``looks.csv``, one number a row.

    Attributes:
        file: Name of the file in the run folder.
    """

    file: str = "looks.csv"

    @property
    @override
    def head(self) -> str:
        return ",".join(_COLUMNS) + "\n"

    @override
    def lines(self, entries: Sequence[Entry]) -> str:
        out = io.StringIO()
        rows = csv.DictWriter(out, _COLUMNS, lineterminator="\n")
        rows.writerows({k: "" if v is None else v for k, v in as_row(e).items()} for e in entries)
        return out.getvalue()


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class JsonLines(_TextFile):
    """A file ``looks.jsonl``, one number a line.

    Attributes:
        file: Name of the file in the run folder.
    """

    file: str = "looks.jsonl"

    @override
    def lines(self, entries: Sequence[Entry]) -> str:
        return "".join(f"{json.dumps(as_row(e), allow_nan=False)}\n" for e in entries)


@final
class _FileSink(Sink):
    """A file that is open only while a look is written, so that there is nothing to close.

    What a killed process left beyond the state is cut.
    """

    def __init__(self, file: Path, writer: _TextFile, history: Sequence[Sequence[Entry]]) -> None:
        self._file, self._lines = file, writer.lines
        write_bytes(file, "".join((writer.head, *map(writer.lines, history))).encode())

    @override
    def write(self, entries: Sequence[Entry]) -> None:
        # One write, so that a reader finds whole looks.
        with self._file.open("ab", buffering=0) as file:
            file.write(self._lines(entries).encode())


# ----------------------------------------------------------------------------
# Trackers of others.
# ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class TensorBoard(Writer):
    """Event files for TensorBoard, in ``tensorboard`` of the run folder.

    Attributes:
        folder: Name of the folder in the run folder.
    """

    folder: str = "tensorboard"

    @override
    def open(self, folder: Path, name: str, history: Sequence[Sequence[Entry]]) -> Sink:
        package("tensorboard", "tensorboard")
        board = package("torch.utils.tensorboard", "tensorboard")
        last = history[-1][0].step if history else None
        purge = None if last is None else last + 1
        return _TensorBoardSink(board.SummaryWriter(str(folder / self.folder), purge_step=purge))


@final
class _TensorBoardSink(Sink):
    def __init__(self, board: Any) -> None:
        self._board = board

    @override
    def write(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            for name, value in entry.scalars().items():
                self._board.add_scalar(name, value, entry.step)
        self._board.flush()

    @override
    def alarm(self, step: int, text: str) -> None:
        self._board.add_text("alarm", text, step)

    @override
    def picture(self, step: int, png: bytes) -> None:
        self._board.add_image("samples", _pixels(png), step, dataformats="HWC")

    @override
    def close(self) -> None:
        self._board.close()


def _pixels(png: bytes) -> Any:
    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Trackio(Writer):
    """A run of trackio, kept on this machine.

    Attributes:
        project: Name of the project.
    """

    project: str = "gantlet"

    @override
    def open(self, folder: Path, name: str, history: Sequence[Sequence[Entry]]) -> Sink:
        trackio = package("trackio", "trackio")
        run = trackio.init(
            project=self.project, name=name, resume="allow" if history else "never", embed=False
        )
        return _LogSink(run)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class WeightsAndBiases(Writer):
    """A run of Weights & Biases, in ``wandb`` of the run folder; nothing is sent by default.

    Attributes:
        project: Name of the project.
        mode: Whether the run is sent to the service while it goes on.
    """

    project: str = "gantlet"
    mode: Literal["offline", "online"] = "offline"

    @override
    def open(self, folder: Path, name: str, history: Sequence[Sequence[Entry]]) -> Sink:
        wandb = package("wandb", "wandb")
        run = wandb.init(
            project=self.project,
            name=name,
            dir=str(folder),
            mode=self.mode,
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off", disable_git=True),
        )

        def picture(png: bytes) -> Any:
            return wandb.Image(_pixels(png))

        return _LogSink(run, picture)


@final
class _LogSink(Sink):
    """A run object with ``log`` and ``finish``."""

    def __init__(self, run: Any, picture: Any = None) -> None:
        self._run, self._picture = run, picture

    @override
    def write(self, entries: Sequence[Entry]) -> None:
        for step, values in _by_step(entries):
            self._run.log(values, step=step)

    @override
    def picture(self, step: int, png: bytes) -> None:
        if self._picture is not None:
            self._run.log({"samples": self._picture(png)}, step=step)

    @override
    def close(self) -> None:
        self._run.finish()


def _by_step(entries: Sequence[Entry]) -> Iterator[tuple[int, dict[str, float]]]:
    found: dict[int, dict[str, float]] = {}
    for entry in entries:
        found.setdefault(entry.step, {}).update(entry.scalars())
    yield from found.items()


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class MlFlow(Writer):
    """A run of MLflow, in ``mlruns`` of the run folder unless ``MLFLOW_TRACKING_URI`` is set.

    Attributes:
        experiment: Name of the experiment.
    """

    experiment: str = "gantlet"

    @override
    def open(self, folder: Path, name: str, history: Sequence[Sequence[Entry]]) -> Sink:
        package("mlflow", "mlflow")
        tracking = package("mlflow.tracking", "mlflow")
        uri = os.environ.get("MLFLOW_TRACKING_URI") or (folder / "mlruns").resolve().as_uri()
        with _files_allowed():
            client = tracking.MlflowClient(tracking_uri=uri)
            known = client.get_experiment_by_name(self.experiment)
            where = known and known.experiment_id
            where = client.create_experiment(self.experiment) if where is None else where
            run = client.create_run(where, run_name=name)
        return _MlFlowSink(client, run.info.run_id)


@contextmanager
def _files_allowed() -> Generator[None]:
    """Lets MLflow keep runs in files, which its newest versions do only if they are told to."""
    name = "MLFLOW_ALLOW_FILE_STORE"
    before = os.environ.get(name)
    os.environ[name] = before or "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]


@final
class _MlFlowSink(Sink):
    def __init__(self, client: Any, run: str) -> None:
        self._client, self._run = client, run

    @override
    def write(self, entries: Sequence[Entry]) -> None:
        for step, values in _by_step(entries):
            for name, value in values.items():
                # In its files, "kid" is a file and cannot be the folder of "kid/low".
                self._client.log_metric(self._run, name.replace("/", "."), value, step=step)

    @override
    def alarm(self, step: int, text: str) -> None:
        self._client.set_tag(self._run, f"alarm at step {step}", text)

    @override
    def close(self) -> None:
        self._client.set_terminated(self._run)


def entry_of(plain: Mapping[str, Any]) -> Entry:
    """Returns the number that ``dataclasses.asdict`` made plain."""
    floor = plain["floor"]
    return Entry(
        step=plain["step"],
        name=plain["name"],
        estimate=Estimate(**plain["estimate"]),
        floor=None if floor is None else Estimate(**floor),
    )
