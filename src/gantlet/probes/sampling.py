"""The cost of a sample: operations, memory, time, sequential depth; parameters."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, final

import torch
from torch import Tensor

from gantlet.compute.machine import Clock, Stopwatch, Usage
from gantlet.compute.meters import (
    DepthMeter,
    FlopMeter,
    MemoryMeter,
    count,
    critical_path,
    parameters_read,
)
from gantlet.core.estimate import Better, Estimate
from gantlet.core.metric import Findings
from gantlet.core.model import CachedModel, Density, Model
from gantlet.core.rng import Rng
from gantlet.core.spec import Between


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class ParameterCount:
    """How many parameters are read when a sample is drawn.

    Of a GAN those of the generator, of a VAE those of the decoder. Of a model without parameters
    (a fitted baseline) the numbers that are saved count: of a memorizer, its training data.
    """

    def inspect(self, model: Model, real: Tensor, *, rng: Rng) -> Findings:  # noqa: ARG002
        """Returns the score ``parameters to sample``."""
        read = parameters_read(lambda: model.sample(1, rng=rng.stream("parameters")), model)
        estimate = Estimate.exact(
            read,
            method="parameters read during sampling",
            unit="parameters",
            better="lower",
        )
        return Findings(scores={"parameters to sample": estimate}, clock={})


def repeat(
    run: Callable[[], object], *, repeats: int, seconds: float, clock: Clock | None = None
) -> list[Usage]:
    """Returns the usage of each of several calls of ``run``.

    The first call sets up memory and kernels and is left out, unless it alone takes longer than
    ``seconds``. No call is begun after that time, so slow work is repeated less often.

    Args:
        run: The work.
        repeats: How many calls to time, at most.
        seconds: For how long to go on.
        clock: Where times are read.
    """
    usages = [_timed(run, clock)]
    spent = usages[0].wall
    while len(usages) <= repeats and spent < seconds:
        usages.append(_timed(run, clock))
        spent += usages[-1].wall
    return usages[1:] or usages


def _timed(run: Callable[[], object], clock: Clock | None) -> Usage:
    watch = Stopwatch(clock)
    with watch:
        run()
    return watch.usage


def median(
    values: Sequence[float],
    *,
    unit: str,
    better: Better,
    of: str,
    method: str = "",
    level: float = 0.95,
) -> Estimate:
    """Returns the median with the interval between two order statistics.

    The interval covers the median of the distribution with at least ``level``, whatever the
    distribution (sign test); fewer than 6 values have none at 0.95.

    Example:
        >>> e = median([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 70.0], unit="s", better="lower", of="runs")
        >>> e.low, e.value, e.high
        (1.0, 4.0, 70.0)
    """
    ordered, n = sorted(values), len(values)
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    rank = _rank(n, level)
    words = "; ".join(filter(None, [method, f"median of {n} {of}"]))
    if rank == 0:
        words = f"{words} (too few for an interval)"
        return Estimate(value=middle, n=n, unit=unit, better=better, method=words)
    return Estimate(
        value=middle,
        low=ordered[rank - 1],
        high=ordered[n - rank],
        level=level,
        n=n,
        unit=unit,
        better=better,
        method=f"{words}, order statistics",
    )


def _rank(n: int, level: float) -> int:
    """The largest rank from either end whose interval covers enough, or 0."""
    from scipy.special import bdtr

    return sum(2 * float(bdtr(k, n, 0.5)) <= 1 - level for k in range(n // 2))


MOST_BUDGETS = 10
"""Without its cache a model is timed only if that should take no longer than this many budgets."""


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Sampling:
    """What it takes to sample, and of a density to evaluate it.

    Scores: operations for a sample; the sequential depth, how many evaluations of the network
    must wait for one another, as the model declares it; the critical path, how many heavy
    operators (products of matrices, convolutions, attention) must, as it is measured. With any
    number of processors, sampling could not take less time than its critical path. Clock: CPU time
    for a sample in a batch, latency of one sample alone, throughput, peak memory of a batch.

    A model with a cache is also measured without it.

    Attributes:
        batch: How many samples are drawn together.
        repeats: How often each time is taken, at most.
        seconds: How long each time may be taken for; slow models are repeated less often.
    """

    batch: Annotated[int, Between(1)] = 64
    repeats: Annotated[int, Between(1)] = 9
    seconds: Annotated[float, Between(0)] = 1.0

    @torch.no_grad()
    def inspect(self, model: Model, real: Tensor, *, rng: Rng) -> Findings:
        """Returns operations and depths as scores, times and memory with the clock."""
        draw = partial(_draw, model, rng=rng)
        with FlopMeter() as flops, MemoryMeter() as memory, DepthMeter() as depth:
            draw(self.batch)
        cost = _operations(flops.flops / self.batch, flops.unknown, f"batch of {self.batch}")
        scores = {
            "FLOPs per sample": cost,
            "sequential depth of sampling": _steps(
                model.sample_depth, "network evaluations, as declared by the model"
            ),
            "critical path of sampling": _steps(depth.depth, "heavy operators in a chain"),
            **_density(model, real, rng),
        }
        clock = {
            **self._times(draw),
            "peak memory of sampling": Estimate.exact(
                memory.peak,
                method=f"bytes of tensors held at one time, batch of {self.batch}",
                unit="B",
                better="lower",
            ),
        }
        if isinstance(model, CachedModel):
            naive, naive_clock = self._naive(model, clock["CPU time per sample"], cost, rng)
            scores, clock = scores | naive, clock | naive_clock
        return Findings(scores=scores, clock=clock)

    def _times(self, draw: Callable[[int], object]) -> dict[str, Estimate]:
        together = repeat(lambda: draw(self.batch), repeats=self.repeats, seconds=self.seconds)
        alone = repeat(lambda: draw(1), repeats=self.repeats, seconds=self.seconds)
        return {
            "CPU time per sample": self.cpu([usage.cpu for usage in together]),
            "latency of one sample": median(
                [usage.wall for usage in alone],
                unit="s",
                better="lower",
                of="runs",
                method=f"wall clock, batch of 1{_threads()}",
            ),
            "throughput of sampling": median(
                [self.batch / max(usage.wall, 1e-9) for usage in together],
                unit="samples/s",
                better="higher",
                of="runs",
                method=f"wall clock, batch of {self.batch}{_threads()}",
            ),
        }

    def cpu(self, seconds: Sequence[float]) -> Estimate:
        """Returns the CPU time for a sample, from that of each run of a batch, in seconds."""
        return median(
            [s / self.batch for s in seconds],
            unit="s",
            better="lower",
            of="runs",
            method=f"CPU time of the host over all threads, batch of {self.batch}",
        )

    def _naive(
        self, model: CachedModel, cached: Estimate, cost: Estimate, rng: Rng
    ) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
        """Returns operations and CPU time for a sample without the cache."""

        def draw(n: int) -> object:
            return model.sample(n, rng=rng.stream("sampling"), cached=False)

        found = count(lambda: draw(1))
        scores = {"FLOPs per sample, naive": _operations(found.flops, found.unknown, "batch of 1")}
        times = (found.flops / cost.value) if cost.value else 1.0
        expected = times * self.batch * (cached.value or 0.0)
        if expected > MOST_BUDGETS * self.seconds:
            cpu = Estimate.missing(
                f"would take about {expected:.0f} s for a batch of {self.batch}",
                unit="s",
                better="lower",
            )
        else:
            runs = repeat(lambda: draw(self.batch), repeats=self.repeats, seconds=self.seconds)
            cpu = self.cpu([usage.cpu for usage in runs])
        return scores, {"CPU time per sample, naive": cpu}


def _draw(model: Model, n: int, *, rng: Rng) -> Tensor:
    # A fresh stream for each call: every repeat draws the same samples.
    return model.sample(n, rng=rng.stream("sampling"))


def _density(model: Model, real: Tensor, rng: Rng) -> dict[str, Estimate]:
    declared, measured = "sequential depth of density", "critical path of density"
    if not isinstance(model, Density):
        missing = Estimate.missing("the model has no density", better="lower")
        return {declared: missing, measured: missing}
    path = critical_path(lambda: model.log_prob(real[:1], rng=rng.stream("density")))
    return {
        declared: _steps(model.density_depth, "network evaluations, as declared by the model"),
        measured: _steps(path, "heavy operators in a chain"),
    }


def _operations(flops: float, unknown: object, batch: str) -> Estimate:
    beside = f", without {unknown}, which could not be counted" if unknown else ""
    return Estimate.exact(flops, method=f"counted, {batch}{beside}", unit="FLOP", better="lower")


def _steps(n: int, method: str) -> Estimate:
    return Estimate.exact(n, method=method, better="lower")


def _threads() -> str:
    return f", {torch.get_num_threads()} threads"
