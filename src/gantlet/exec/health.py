"""What an installation and its machine are, and what would make results wrong or slow."""

import os
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import final

import torch

from gantlet import __version__
from gantlet.compute.machine import machine, measure_peak
from gantlet.data.catalogue import home
from gantlet.report.numbers import text


@final
@dataclass(frozen=True, slots=True)
class Health:
    """What was found.

    Attributes:
        facts: What is there, by name.
        warnings: What to mend, one sentence each.
    """

    facts: dict[str, str]
    warnings: tuple[str, ...]


def health() -> Health:
    """Looks at the installation and measures the machine, in about two seconds."""
    here, folder = machine(), home()
    facts = {
        "gantlet": __version__,
        "torch": f"{torch.__version__}, {'CUDA' if torch.cuda.is_available() else 'CPU only'}",
        **{name: version(name) for name in ("numpy", "scipy", "scikit-learn", "cyclopts")},
        "python": here.python,
        "processor": f"{here.cpu}; cores: {here.cores}, threads of torch: {here.threads}",
        **{f"measured peak, {name}": _peak(name) for name in _devices()},
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "not set"),
        "data": str(folder) if folder.is_dir() else f"{folder} (not there; set GANTLET_DATA)",
        "browser": shutil.which(os.environ.get("GANTLET_CHROMIUM", "chromium")) or "none found",
    }
    return Health(facts, tuple(_warnings()))


def _devices() -> list[str]:
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def _peak(device: str) -> str:
    found = measure_peak(device)
    rates = {"fp32": found.fp32, "bf16": found.matmul_bf16}
    told = [f"{text(rate, 'FLOP/s')} in {name}" for name, rate in rates.items() if rate]
    return f"{' and '.join(told)}, {machine(device).device}"


def _warnings() -> list[str]:
    found = []
    if os.environ.get("OMP_WAIT_POLICY", "").upper() != "PASSIVE":
        found.append(
            "OMP_WAIT_POLICY is not PASSIVE: on a busy machine small steps take many times longer."
        )
    if find_spec("torchvision") is not None:
        found.append(
            "torchvision is installed; builds that do not fit torch break other packages."
        )
    return found
