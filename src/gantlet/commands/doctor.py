"""Diagnosis of the installation and the machine."""

import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import final

import torch

from gantlet import __version__
from gantlet.compute.kernels import CORE_TYPE, core_type, processor, running
from gantlet.compute.machine import machine, measure_peak, memory
from gantlet.core.rng import cache_home
from gantlet.data.catalogue import home
from gantlet.report.format import text
from gantlet.run.store import is_alive

LOW_SPACE = 2**30
"""Bytes free on a disk, or of memory, below which things fail."""

# Every worker is started with this setting, by which it is recognized.
_MARK = b"OMP_WAIT_POLICY=PASSIVE"


@final
@dataclass(frozen=True, slots=True)
class Health:
    """Result of ``doctor``.

    Attributes:
        facts: Properties of installation and machine, by name.
        warnings: Problems and how to fix them, one sentence each.
    """

    facts: dict[str, str]
    warnings: tuple[str, ...]


def health() -> Health:
    """Checks the installation and measures the machine; takes about two seconds."""
    here, folder = machine(), home()
    facts = {
        "gantlet": __version__,
        "torch": f"{torch.__version__}, {'CUDA' if torch.cuda.is_available() else 'CPU only'}",
        **{name: version(name) for name in ("numpy", "scipy", "scikit-learn", "cyclopts")},
        "python": here.python,
        "processor": f"{here.cpu}; cores: {here.cores}, threads of torch: {here.threads}",
        **{f"measured peak, {name}": _peak(name) for name in _devices()},
        "kernels of OpenBLAS": _kernels(here.blas),
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "not set"),
        "data": str(folder) if folder.is_dir() else f"{folder} (not there; set GANTLET_DATA)",
        "browser": shutil.which(os.environ.get("GANTLET_CHROMIUM", "chromium")) or "none found",
    }
    drafts, orphans = stale_drafts(cache_home()), orphaned_workers()
    facts |= {
        "memory": f"{memory() / 2**30:.1f} GB for this process",
        "cache": _cache(cache_home()),
        "stale drafts": f"{len(drafts)} in {cache_home()}" if drafts else "none",
        "orphaned workers": ", ".join(map(str, orphans)) if orphans else "none",
    }
    return Health(facts, (*_warnings(), *_of_storage(cache_home(), drafts, orphans)))


def stale_drafts(folder: Path) -> list[Path]:
    """Returns the drafts below a folder whose writers are gone: ``.NAME.PID`` or ``.draft``."""
    hidden = (p for p in _files(folder) if p.name.startswith("."))
    pairs = ((p, re.search(r"\.(\d+)(\.draft)?$", p.name)) for p in hidden)
    return sorted(p for p, match in pairs if match and not is_alive(int(match[1])))


def orphaned_workers(processes: Path = Path("/proc")) -> list[int]:
    """Returns the process ids of Gantlet's workers whose parent is gone.

    Args:
        processes: Where the system lists its processes; on systems without, none are found.
    """
    return sorted(
        int(folder.name) for folder in processes.glob("[0-9]*") if _is_orphaned_worker(folder)
    )


def _is_orphaned_worker(folder: Path) -> bool:
    try:
        words = (folder / "cmdline").read_bytes().split(b"\0")
        # The name of a program may hold blanks and brackets: the parent follows the last bracket.
        parent = int((folder / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[1])
        inherited = (folder / "environ").read_bytes()
    except (OSError, ValueError, IndexError):
        return False
    is_worker = b"--multiprocessing-fork" in words and b"spawn_main" in b" ".join(words)
    return is_worker and parent == 1 and _MARK in inherited


def _existing(folder: Path) -> Path:
    """Returns a folder, or the closest above it that exists."""
    return next(p for p in (folder, *folder.absolute().parents) if p.exists())


def _files(folder: Path) -> Iterator[Path]:
    """Yields all files below a folder; folders that go meanwhile are passed over."""
    for where, _, names in os.walk(folder):
        yield from (Path(where, name) for name in names)


def _size(file: Path) -> int:
    """Returns the bytes of a file: none of a draft that got its own name meanwhile."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _cache(folder: Path) -> str:
    used = sum(map(_size, _files(folder)))
    free = shutil.disk_usage(_existing(folder)).free
    return f"{folder}: {used / 2**30:.1f} GB used, {free / 2**30:.1f} GB free on its disk"


def _of_storage(folder: Path, drafts: list[Path], orphans: list[int]) -> Iterator[str]:
    """Yields problems with disk, memory, permissions and leftover files or processes."""
    place = _existing(folder)
    if not os.access(place, os.W_OK | os.X_OK):
        yield f"{place} cannot be written: set GANTLET_CACHE to a folder that can."
    elif folder.is_dir() and folder.stat().st_mode & (stat.S_IWOTH | stat.S_IWGRP):
        yield f"Others can write to {folder}, and so change results: run chmod go-w {folder}."
    if not os.access(Path.cwd(), os.W_OK):
        yield f"{Path.cwd()} cannot be written: run folders need --out."
    for where in dict.fromkeys((place, Path.cwd())):
        if shutil.disk_usage(where).free < LOW_SPACE:
            yield f"Less than {LOW_SPACE / 2**30:.0f} GB are free on the disk of {where}."
    if memory() < LOW_SPACE:
        yield f"This process may use {memory() / 2**30:.1f} GB of memory, which is little."
    if drafts:
        yield (
            f"{len(drafts)} drafts were left by processes that were killed: remove {drafts[0]}"
            + (" and the others." if len(drafts) > 1 else ".")
        )
    if orphans:
        yield f"Workers run on without their parent: kill {' '.join(map(str, orphans))}."


def _devices() -> list[str]:
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def _peak(device: str) -> str:
    found = measure_peak(device)
    rates = {
        "fp32": found.fp32,
        "NumPy": found.numpy,
        "torch products": found.matmul,
        "convolutions": found.convolution,
        "bf16": found.matmul_bf16,
    }
    told = [f"{text(rate, 'FLOP/s')} {name}" for name, rate in rates.items() if rate]
    return f"{told[0]} ({', '.join(told[1:])}), {machine(device).device}"


def _kernels(blas: str) -> str:
    """Returns whose kernels NumPy and SciPy run, and who chose them."""
    chosen = os.environ.get(CORE_TYPE)
    return f"{blas}; {f'{CORE_TYPE}={chosen}' if chosen else 'its own choice'}"


def slow_kernels(of: Mapping[str, str], runs: Mapping[str, str]) -> Iterator[str]:
    """Yields what to do where slower kernels run than the processor allows.

    Args:
        of: The processor.
        runs: Whose kernels run, by library.
    """
    wanted = core_type(of)
    slow = sorted(name for name, core in runs.items() if core != wanted)
    if wanted is not None and slow:
        yield (
            f"The OpenBLAS of {' and '.join(slow)} runs the kernels of {runs[slow[0]]}, at half "
            f"the speed of this processor: set {CORE_TYPE}={wanted} before Python starts."
        )


def _warnings() -> list[str]:
    found = list(slow_kernels(processor(), running()))
    if os.environ.get("OMP_WAIT_POLICY", "").upper() != "PASSIVE":
        found.append(
            "OMP_WAIT_POLICY is not PASSIVE: on a busy machine small steps take many times longer."
        )
    if find_spec("torchvision") is not None:
        found.append(
            "torchvision is installed; builds that do not fit torch break other packages."
        )
    return found
