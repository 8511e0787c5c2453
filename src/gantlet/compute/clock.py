"""How long something took and how much memory the process has needed."""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import final

import torch


def wait() -> None:
    """Returns once CUDA has done all that it was given; at once where it is not in use."""
    if _cuda_in_use():
        torch.cuda.synchronize()


def peak_process_memory() -> int:
    """Returns the most memory that this process has held so far, in bytes.

    Resident memory of the host, and the peak of torch's CUDA allocator where it is in use.
    """
    # Linux counts in kibibytes, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return host + sum(torch.cuda.max_memory_allocated(d) for d in _devices())


def _devices() -> range:
    return range(torch.cuda.device_count() if _cuda_in_use() else 0)


def _cuda_in_use() -> bool:
    return torch.cuda.is_available() and bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


@final
@dataclass(frozen=True, slots=True)
class Clock:
    """Where times and memory are read; tests put in their own.

    Attributes:
        wall: Seconds of the clock on the wall, from any start.
        cpu: Seconds that this process has computed, over all its threads.
        memory: The most memory this process has held, in bytes.
    """

    wall: Callable[[], float] = time.perf_counter
    cpu: Callable[[], float] = time.process_time
    memory: Callable[[], int] = peak_process_memory


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the clock saw of a stretch of work; none of it repeats exactly.

    Attributes:
        wall: Seconds of the clock on the wall.
        cpu: Seconds that this process computed, over all its threads.
        peak_memory: The most memory this process had held by the end, in bytes.
    """

    wall: float = 0.0
    cpu: float = 0.0
    peak_memory: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        """Returns both stretches together: times are added, the larger peak is kept."""
        return Usage(
            wall=self.wall + other.wall,
            cpu=self.cpu + other.cpu,
            peak_memory=max(self.peak_memory, other.peak_memory),
        )


@final
class Stopwatch:
    """Measures the stretches of work that run inside it, one after the other.

    Waits for CUDA at both ends where it is in use, so that work still under way is counted.

    Example:
        >>> ticks = iter([1.0, 4.0])
        >>> watch = Stopwatch(Clock(lambda: next(ticks), lambda: 0.0, lambda: 9))
        >>> with watch:
        ...     pass
        >>> watch.usage
        Usage(wall=3.0, cpu=0.0, peak_memory=9)
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = Clock() if clock is None else clock
        self._start = (0.0, 0.0)
        self.usage = Usage()

    def __enter__(self) -> "Stopwatch":
        """Starts a stretch."""
        wait()
        self._start = self._clock.wall(), self._clock.cpu()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the stretch and adds it to ``usage``."""
        wait()
        wall, cpu = self._start
        self.usage += Usage(
            wall=self._clock.wall() - wall,
            cpu=self._clock.cpu() - cpu,
            peak_memory=self._clock.memory(),
        )
