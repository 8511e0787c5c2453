"""What an installation and its machine are, and what would make results wrong or slow."""

import os
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec

import torch

from gantlet import __version__
from gantlet.compute.machine import machine, measure_peak
from gantlet.data.catalogue import home


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
    here, peak = machine(), measure_peak()
    folder = home()
    facts = {
        "gantlet": __version__,
        "torch": f"{torch.__version__}, {'CUDA' if torch.cuda.is_available() else 'CPU only'}",
        **{name: version(name) for name in ("numpy", "scipy", "scikit-learn", "cyclopts")},
        "python": here.python,
        "processor": f"{here.cpu}; cores: {here.cores}, threads of torch: {here.threads}",
        "measured peak": f"{peak.fp32 / 1e9:.0f} GFLOP/s in fp32",
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "not set"),
        "data": str(folder) if folder.is_dir() else f"{folder} (not there; set GANTLET_DATA)",
        "browser": shutil.which(os.environ.get("GANTLET_CHROMIUM", "chromium")) or "none found",
    }
    return Health(facts, tuple(_warnings()))


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
