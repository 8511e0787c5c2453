"""The machine: hardware facts, peak rates, timers and threads."""

import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from threading import Condition, Lock, get_ident
from types import TracebackType
from typing import final

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from gantlet.compute.kernels import processor, running


def wait() -> None:
    """Waits until CUDA has finished all queued work; returns at once without CUDA."""
    if _cuda_in_use():
        torch.cuda.synchronize()


def peak_process_memory() -> int:
    """Returns the peak memory of this process so far, in bytes.

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
    """Source of times and memory readings; replaceable in tests.

    Attributes:
        wall: Wall-clock seconds, from any origin.
        cpu: CPU seconds of this process, over all threads.
        memory: Peak memory of this process, in bytes.
    """

    wall: Callable[[], float] = time.perf_counter
    cpu: Callable[[], float] = time.process_time
    memory: Callable[[], int] = peak_process_memory


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Time and memory of a piece of work, hardware-dependent.

    Attributes:
        wall: Wall-clock seconds.
        cpu: CPU seconds, over all threads.
        peak_memory: Peak memory of this process by the end, in bytes.
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
    """Measures the pieces of work that run inside it, one after the other.

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


_CGROUP = Path("/sys/fs/cgroup")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """Peak rates measured in short benchmarks, in FLOP/s.

    Each is measured at torch's current thread count. A convolution may exceed the matrix product,
    because some algorithms (Winograd's) need fewer operations than are counted.

    Attributes:
        matmul: A square matrix product of torch in fp32.
        convolution: A 3x3 convolution in fp32.
        matmul_bf16: The product in bf16, or None if the hardware does not support it.
        numpy: A square matrix product of NumPy in fp32, or None on an accelerator.
    """

    matmul: float
    convolution: float
    matmul_bf16: float | None = None
    numpy: float | None = None

    @property
    def fp32(self) -> float:
        """The highest fp32 rate, whoever reaches it: the reference for utilization."""
        return max(self.matmul, self.convolution, self.numpy or 0.0)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Properties of a machine on which timings depend.

    Attributes:
        cpu: Model of the processor.
        cores: Cores that this process may use.
        threads: Threads that torch uses.
        device: Name of the computing device: processor or accelerator.
        torch: Version of torch.
        python: Version of Python.
        system: Operating system and architecture.
        blas: Whose kernels compute the products of NumPy and SciPy; results differ by rounding.
    """

    cpu: str
    cores: int
    threads: int
    device: str
    torch: str
    python: str
    system: str
    blas: str

    def facts(self) -> dict[str, str | int]:
        """Returns everything as plain data, for ``run.json``."""
        return asdict(self)


def machine(device: torch.device | str = "cpu") -> Machine:
    """Returns the properties of this machine."""
    cpu = _cpu_model()
    on_gpu = torch.device(device).type == "cuda"
    return Machine(
        cpu=cpu,
        cores=_cores(),
        threads=torch.get_num_threads(),
        device=torch.cuda.get_device_name(device) if on_gpu else cpu,
        torch=str(torch.__version__),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        blas=", ".join(f"{k}: {core}" for k, core in sorted(running().items())) or "no OpenBLAS",
    )


def memory() -> int:
    """Returns the bytes that this process may use, those of its control group if it has one."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for place in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            text = (_CGROUP / place).read_text(encoding="ascii").strip()
        except (OSError, UnicodeError):
            continue
        found += [int(text)] if text.isdecimal() else []
    return min(found)


def measure_peak(
    device: torch.device | str = "cpu", *, seconds: float = 0.5, clock: Clock | None = None
) -> Peak:
    """Returns the peak rates of ``device`` at the current thread count.

    Args:
        device: The device.
        seconds: Approximate total duration.
        clock: Source of times.
    """
    read = (clock or Clock()).wall
    device = torch.device(device)
    share = seconds / 4
    bf16 = _best(_matmuls(device, torch.bfloat16), share, read) if has_bf16(device) else None
    with threadpool_limits(torch.get_num_threads(), "blas"):
        numpy = _best(_numpy_matmuls(), share, read) if device.type == "cpu" else None
    return Peak(
        matmul=_best(_matmuls(device, torch.float32), share, read),
        convolution=_best(_convolutions(device), share, read),
        matmul_bf16=bf16,
        numpy=numpy,
    )


# A piece of work, with the operations that it takes.
_Work = tuple[Callable[[], object], float]


def _matmuls(device: torch.device, dtype: torch.dtype) -> Iterator[_Work]:
    for n in (4096, 8192) if device.type == "cuda" else (256, 512):
        a = torch.ones(n, n, device=device, dtype=dtype)
        yield partial(torch.mm, a, a), 2.0 * n**3


def _numpy_matmuls() -> Iterator[_Work]:
    for n in (256, 512):
        # Two matrices: of one and its transpose NumPy computes only half.
        a, b = np.ones((2, n, n), np.float32)
        yield partial(np.matmul, a, b), 2.0 * n**3


def _convolutions(device: torch.device) -> Iterator[_Work]:
    n, c, size = (64, 256, 64) if device.type == "cuda" else (2, 64, 32)
    x = torch.ones(n, c, size, size, device=device)
    weight = torch.ones(c, c, 3, 3, device=device)
    yield lambda: torch.conv2d(x, weight, padding=1), 2.0 * n * size * size * c * c * 9


def _best(works: Iterator[_Work], seconds: float, read: Callable[[], float]) -> float:
    """Returns the highest rate over sizes and repeats, in FLOP/s."""
    rates: list[float] = []
    for run, flops in works:
        run()  # The first call sets up kernels and memory.
        end = read() + seconds / 2
        rates.append(flops / _timed(run, read))
        while read() < end:
            rates.append(flops / _timed(run, read))
    return max(rates)


def _timed(run: Callable[[], object], read: Callable[[], float]) -> float:
    wait()
    start = read()
    run()
    wait()
    return max(read() - start, 1e-9)


def has_bf16(device: torch.device) -> bool:
    """Returns whether a device computes in bf16 itself, rather than by way of fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return "bf16" in _cpu_facts("flags") or "bf16" in _cpu_facts("Features")


def _cores() -> int:
    # Not the memory of the machine, but what this process may use, if the system reports it.
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _cpu_model() -> str:
    return _cpu_facts("model name") or platform.processor() or platform.machine()


def _cpu_facts(key: str) -> str:
    """Returns what the system says of the processor under ``key``, or an empty string."""
    return processor().get(key, "")


@final
class Shared:
    """A setting of the whole process that blocks of several threads may want at a time.

    The first block makes it and the last one takes it back, so that no run ends the setting of
    another one in the same process.

    Args:
        make: Returns a context in which the setting holds.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[object]]) -> None:
        self._make = make
        self._lock = Lock()
        self._inside = 0
        self._held = ExitStack()

    @contextmanager
    def __call__(self) -> Generator[None]:
        """Holds the setting inside the block."""
        with self._lock:
            if not self._inside:
                self._held.enter_context(self._make())
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside:
                    self._held.close()


@final
class _Threads:
    """How many threads torch uses, for all blocks of this process that set it.

    The number decides the last digits of a result, and a part of it holds for the whole process
    (that of MKL). So blocks of several threads that want the same number run side by side, and
    one that wants another number waits. A block inside another one of its thread never waits.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._inside: list[tuple[int, int]] = []  # thread and number, of each block

    @contextmanager
    def using(self, n: int) -> Generator[None]:
        """Uses ``n`` threads inside the block."""
        mine = (get_ident(), n)
        with self._changed:
            self._changed.wait_for(lambda: self._may_enter(n))
            before = torch.get_num_threads()
            torch.set_num_threads(n)
            self._inside.append(mine)
        try:
            yield
        finally:
            with self._changed:
                self._inside.remove(mine)
                # Others that are inside would lose their number by that of before.
                if all(who == mine[0] for who, _ in self._inside):
                    torch.set_num_threads(before)
                self._changed.notify_all()

    def _may_enter(self, n: int) -> bool:
        return any(who == get_ident() for who, _ in self._inside) or all(
            m == n for _, m in self._inside
        )


# What they set holds for the process, and so do they; they hold nothing of a run.
_THREADS = _Threads()


def threads(n: int) -> AbstractContextManager[None]:
    """Uses ``n`` threads inside the block; waits for blocks that want another number."""
    return _THREADS.using(n)
