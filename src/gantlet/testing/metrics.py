"""The contract of metrics."""

import torch

from gantlet.core.measure import Metric
from gantlet.core.rng import Rng
from gantlet.testing.families import untouched_global_state


def check_metric(metric: Metric, *, n: int = 200, d: int = 8, place_matters: bool = True) -> None:
    """Checks that ``metric`` keeps the contract on Gaussian features.

    Args:
        metric: The metric, which must see features.
        n: How many samples.
        d: How many features.
        place_matters: Whether samples in another place must score worse; False for metrics of
            shape or variety alone.

    Raises:
        AssertionError: If it does not; the message names the broken clause.
    """
    rng = Rng(0).stream("features")
    real, near = torch.randn(2, n, d, generator=rng)
    far = near + 3
    with untouched_global_state():
        close, again, apart = (
            metric.measure(real, fake, rng=Rng(0).stream("m")) for fake in (near, near, far)
        )
    assert close == again, "same generator state, same estimate"
    assert close.better == metric.better, "the estimate says which direction is better"
    assert close.value is not None, f"{n} samples are enough: {close.method}"
    assert apart.value is not None, f"{n} samples are enough: {apart.method}"
    worse = apart.value > close.value if metric.better == "lower" else apart.value < close.value
    assert worse or not place_matters, "samples three standard deviations away are worse"
    assert close.n > 0, "the estimate says how many samples it rests on"
    if close.low is not None and close.high is not None:
        assert close.low <= close.high, "the interval is the right way round"
    for few in (0, 1, 2):
        nothing = metric.measure(real[:few], near[:few], rng=Rng(0).stream("m"))
        assert nothing.value is None or nothing.method, f"{few} samples give a reason or a number"
