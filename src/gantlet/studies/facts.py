"""Where and with what a question was asked, for ``run.json`` and the head of the report."""

import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any

from gantlet import __version__
from gantlet.compute.machine import machine, measure_peak
from gantlet.compute.machine import threads as using
from gantlet.core.trial import Outcome
from gantlet.report import format as fmt
from gantlet.report.blocks import Fact, Facts
from gantlet.store.run import Run

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


def facts_of(
    setting: Mapping[str, str], outcomes: Sequence[Outcome], run: Run, *, trains: bool = True
) -> Facts:
    """Returns the head of a report: what was asked, what it took, where it ran.

    Args:
        setting: What was asked, by name.
        outcomes: What the trials took.
        run: Where and with what it ran.
        trains: Whether the study trains models; else nothing is said of training.
    """
    was = run.facts
    seconds = sum(o.spend.seconds for o in outcomes) if trains else 0.0
    machine = was["machine"]
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''} a trial"
    peak = fmt.text(machine["peak"], "FLOP/s")
    known = {
        **setting,
        **({"Training, all together": str(timedelta(seconds=round(seconds)))} if seconds else {}),
        "Machine": f"{machine['device']}, {threads}, measured peak {peak} in fp32",
        "Versions": f"gantlet {was['gantlet']}, torch {was['packages']['torch']}",
        "Commit": was["commit"] or "not in a git repository",
        "Started": was["started"],
        "Command": was["command"],
    }
    return Facts(items=[Fact(name=name, value=value) for name, value in known.items()])
