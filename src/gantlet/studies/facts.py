"""Where and with what a question was asked, for ``run.json`` and the head of the report."""

import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from gantlet import __version__
from gantlet.compute.machine import machine, measure_peak
from gantlet.studies.contest import threads as using

_PACKAGES = ("torch", "numpy", "scipy", "scikit-learn")


def facts(device: str, threads: int, command: Sequence[str]) -> dict[str, Any]:
    """Returns versions, commit, machine, threads, command and time of the start."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(command),
        "gantlet": __version__,
        "commit": _commit(),
        "packages": {name: version(name) for name in _PACKAGES},
        "machine": {**machine(device).facts(), "threads": threads, "peak": _peak(device, threads)},
    }


def _peak(device: str, threads: int) -> float:
    """The measured peak in fp32, in FLOP/s, with which achieved rates can be compared."""
    with using(threads):
        return measure_peak(device, seconds=0.2).fp32


def _commit() -> str | None:
    """The git commit of the working folder, marked where it was changed since."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],  # noqa: S607  (git is found by PATH)
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
