"""The kernels of OpenBLAS in NumPy and SciPy: which suit this processor, and which run.

OpenBLAS chooses its kernels when it is loaded, and on processors with AVX-512 that are not
Intel's it takes those of AVX2, at half the speed. The command line names the right ones before
NumPy loads; importing this module changes nothing, and loads neither NumPy nor torch. For programs
of one's own it prints what to set: env $(python -m gantlet.compute.kernels) python program.py
"""

import os
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

CORE_TYPE = "OPENBLAS_CORETYPE"
"""The variable by which OpenBLAS is told whose kernels to take."""

_CPUINFO = Path("/proc/cpuinfo")
_NEEDED = frozenset(f"avx512{part}" for part in ("f", "cd", "bw", "dq", "vl"))
"""What the kernels of SkylakeX use; without one of them they are illegal instructions."""


def processor(source: Path = _CPUINFO) -> Mapping[str, str]:
    """Returns what the system says of the first processor, by name; nothing where it does not."""
    found: dict[str, str] = {}
    try:
        with source.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                name, colon, value = line.partition(":")
                if not colon:
                    break  # the next processor
                found[name.strip()] = value.strip()
    except OSError:
        return {}
    return found


def core_type(of: Mapping[str, str]) -> str | None:
    """Returns whose kernels OpenBLAS must be told to take on a processor; None for its own choice.

    On an AMD EPYC with AVX-512 (family 25, model 17; OpenBLAS 0.3.31 of NumPy 2) a product of
    float32 matrices makes 231 GFLOP/s with the kernels of SkylakeX and 123 with the ones chosen;
    Frechet distance, kernel distance, precision and recall of 10,000 x 2048 take 34.2 CPU s in
    place of 47.7, and print the same. Intel's own processors are recognised.

    Args:
        of: The processor, as ``processor`` returns it.

    Example:
        >>> flags = "avx2 avx512f avx512cd avx512bw avx512dq avx512vl"
        >>> core_type({"vendor_id": "AuthenticAMD", "flags": flags})
        'SkylakeX'
        >>> core_type({"vendor_id": "AuthenticAMD", "flags": "avx2"}) is None
        True
    """
    vendor, flags = of.get("vendor_id", ""), frozenset(of.get("flags", "").split())
    # On other architectures there is neither.
    return "SkylakeX" if vendor not in {"", "GenuineIntel"} and flags >= _NEEDED else None


def choose(environment: MutableMapping[str, str] = os.environ) -> None:
    """Names the kernels that suit this processor, unless the user has named some.

    For the entry of a program, before NumPy loads; processes that it starts inherit the choice. It
    does nothing once NumPy is there: a process and its workers would round differently.
    """
    if CORE_TYPE in environment or "numpy" in sys.modules:
        return
    wanted = core_type(processor())
    if wanted is not None:
        environment[CORE_TYPE] = wanted


def setting() -> str:
    """Returns what to set in the environment on this processor, ``NAME=VALUE``, or nothing."""
    wanted = core_type(processor())
    return "" if wanted is None or CORE_TYPE in os.environ else f"{CORE_TYPE}={wanted}"


def running() -> Mapping[str, str]:
    """Returns whose kernels each loaded OpenBLAS takes, by library, such as numpy and scipy."""
    from threadpoolctl import threadpool_info

    info: list[dict[str, Any]] = threadpool_info()
    return {
        _owner(str(found.get("filepath", ""))): str(found.get("architecture") or "unknown")
        for found in info
        if found.get("internal_api") == "openblas"
    }


def _owner(path: str) -> str:
    """Returns the package that brings a library, such as numpy for numpy.libs/libscipy_....so."""
    folder = Path(path).parent.name.partition(".")[0]
    return folder or "openblas"


if __name__ == "__main__":
    sys.stdout.write(f"{setting()}\n")
