"""Many metrics at once: those that look at the same neighbours do it together."""

from collections.abc import Mapping

import torch
from torch import Tensor

from gantlet.core.estimate import Estimate
from gantlet.core.measure import Metric, TrainMetric
from gantlet.core.rng import Rng
from gantlet.metrics.neighbour.plan import Shares, at_once
from gantlet.metrics.neighbour.train import SharesTrain, TrainScene, judged
from gantlet.metrics.paired import Detailed, Paired

NO_TRAIN = "needs the training samples: --train"
"""Why a metric that looks at training samples has no value without them."""


def measure_all(
    metrics: Mapping[str, Metric | TrainMetric],
    real: Tensor,
    fake: Tensor,
    *,
    train: Tensor | None = None,
    rng: Rng,
) -> dict[str, Estimate]:
    """Returns what each metric measures, by its name, as each would alone, but in less time.

    Args:
        metrics: Metrics that all see the same, by name.
        real: What they see of held-out samples, shape ``(n, ...)``.
        fake: What they see of the model's, shape ``(m, ...)``.
        train: What they see of the training's, or None where that is not known.
        rng: Each metric draws from the stream of its name.

    Raises:
        UserError: If the sets cannot be compared.
    """
    found = detail_all(metrics, real, fake, train=train, rng=rng)
    return {
        name: one.estimate if isinstance(one, Detailed) else one for name, one in found.items()
    }


def detail_all(
    metrics: Mapping[str, Metric | TrainMetric],
    real: Tensor,
    fake: Tensor,
    *,
    train: Tensor | None = None,
    rng: Rng,
) -> dict[str, Detailed | Estimate]:
    """Returns the same with where the uncertainty comes from, for metrics that know it.

    Raises:
        UserError: If the sets cannot be compared.
    """
    found: dict[str, Detailed | Estimate] = {}
    sharing = {name: m for name, m in metrics.items() if isinstance(m, Shares)}
    if sharing:
        streams = [rng.stream(name) for name in sharing]
        together = at_once(list(sharing.values()), real, fake, streams)
        found |= dict(zip(sharing, together, strict=True))
    found |= _of_training(metrics, real, fake, train, rng)
    for name, metric in metrics.items():
        if name not in found and isinstance(metric, Metric):
            found[name] = _alone(metric, real, fake, rng.stream(name))
    return {name: found[name] for name in metrics}


def _alone(
    metric: Metric, real: Tensor, fake: Tensor, rng: torch.Generator
) -> Detailed | Estimate:
    if isinstance(metric, Paired):
        return metric.detail(real, fake, rng=rng)
    return metric.measure(real, fake, rng=rng)


def _of_training(
    metrics: Mapping[str, Metric | TrainMetric],
    real: Tensor,
    fake: Tensor,
    train: Tensor | None,
    rng: Rng,
) -> dict[str, Estimate]:
    judges = {name: m for name, m in metrics.items() if isinstance(m, TrainMetric)}
    if train is None:
        return {
            name: Estimate.missing(NO_TRAIN, unit=m.unit, better=m.better)
            for name, m in judges.items()
        }
    found: dict[str, Estimate] = {}
    scene: TrainScene | None = None
    for name, metric in judges.items():
        if isinstance(metric, SharesTrain):
            scene = scene or TrainScene(real, fake, train)
            found[name] = judged(metric, scene, rng.stream(name))
        else:
            found[name] = metric.judge(real, fake, train=train, rng=rng.stream(name))
    return found
