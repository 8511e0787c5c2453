"""The published runs in numbers: what can be counted is counted, the rest says who said it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import final

from gantlet.core.estimate import Estimate
from gantlet.studies.published.cfm import CfmRun
from gantlet.studies.published.edm import EdmRun
from gantlet.studies.published.glow import GlowRun
from gantlet.studies.published.progan import ProGanRun
from gantlet.studies.published.r3gan import R3GanRun
from gantlet.studies.published.run import Claims, Run, Stated
from gantlet.studies.published.tarflow import TarFlowRun

_DAY = 86_400.0
_COUNTED = "counted on the authors' configuration, nothing run"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """One published run.

    Attributes:
        name: The model and its data.
        source: Paper and configuration.
        train_parameters: Numbers that training moves, the critic's included.
        sample_parameters: Numbers of the network that is sampled.
        forward: Operations of one forward pass of that network, for one image.
        step: Operations of training for one real image, at full resolution.
        total: Operations of the whole training, or why they are not known.
        sample: Operations of one sample.
        rate: Operations a second on each GPU, implied by ``total`` and the time stated.
        stated: What is repeated here and by whom, by name.
    """

    name: str
    source: str
    train_parameters: Estimate
    sample_parameters: Estimate
    forward: Estimate
    step: Estimate
    total: Estimate
    sample: Estimate
    rate: Estimate
    stated: Mapping[str, str]


def published_runs() -> tuple[Run, ...]:
    """Returns the runs, in the order in which they were published."""
    return GlowRun(), ProGanRun(), R3GanRun(), EdmRun(), CfmRun(), TarFlowRun()


def published_rows() -> Iterator[PublishedRow]:
    """Yields each run in numbers, one after the other: each takes seconds."""
    return map(row_of, published_runs())


def row_of(run: Run) -> PublishedRow:
    """Returns one run in numbers."""
    sizes = [sum(p.numel() for p in net.parameters()) for net in run.networks().values()]
    step = run.step()
    total = _total(run, step)
    return PublishedRow(
        name=run.name,
        source=run.source,
        train_parameters=_counted(sum(sizes), "parameters"),
        sample_parameters=_counted(sizes[0], "parameters"),
        forward=_counted(next(iter(run.forward().values())), "FLOP"),
        step=_counted(step, "FLOP"),
        total=total,
        sample=_counted(run.sample(), "FLOP", f"{_COUNTED}: {run.sampling}"),
        rate=_rate(total, run.claims),
        stated=_stated(run.claims),
    )


def _counted(value: float, unit: str, method: str = _COUNTED) -> Estimate:
    return Estimate.exact(value, unit=unit, method=method)


def _total(run: Run, step: float) -> Estimate:
    images, total = run.claims.images, run.total(step)
    if images is None or total is None:
        return Estimate.missing("how many images were shown is not stated", unit="FLOP")
    method = f"counted for so many images: {images.label}"
    if images.is_read:
        return _counted(total, "FLOP", method)
    return Estimate(value=total, n=1, unit="FLOP", method=method)


def _rate(total: Estimate, claims: Claims) -> Estimate:
    if total.value is None or claims.gpus is None or claims.days is None:
        return Estimate.missing("operations or time are not known", unit="FLOP/s")
    gpu_days = claims.gpus.value * claims.days.value
    method = f"over so many GPUs: {claims.gpus.label}; so many days: {claims.days.label}"
    return Estimate(value=total.value / (gpu_days * _DAY), n=1, unit="FLOP/s", method=method)


def _stated(claims: Claims) -> dict[str, str]:
    named: dict[str, Stated | None] = {
        "images": claims.images,
        "GPUs": claims.gpus,
        "days": claims.days,
    }
    lines = {name: stated.label for name, stated in named.items() if stated is not None}
    return {**lines, "note": claims.note} if claims.note else lines
