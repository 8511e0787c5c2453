import pytest
import torch

from gantlet.core.rng import Rng
from gantlet.metrics.alpha_beta import AlphaPrecision, BetaRecall
from gantlet.metrics.authenticity import Authenticity
from gantlet.metrics.birthday import Birthday
from gantlet.metrics.ct import Ct
from gantlet.metrics.energy import Energy
from gantlet.metrics.neighbour import look
from gantlet.metrics.neighbours import Coverage, Density, Precision, Recall
from gantlet.metrics.paired import Detailed, difference
from gantlet.metrics.realism import Realism
from gantlet.metrics.together import detail_all, measure_all

PAIRS = {
    "precision (a)": Precision(),
    "wide": Precision(k=9),
    "recall": Recall(),
    "density": Density(),
    "coverage": Coverage(),
    "realism": Realism(),
    "alpha": AlphaPrecision(),
    "beta": BetaRecall(),
    "birthday": Birthday(),
    "energy": Energy(),
}
JUDGES = {"authenticity": Authenticity(), "ct": Ct()}


def draw(n=150, m=130, d=70, shift=0.0, seed=0):
    rng = Rng(seed).stream("features")
    x = torch.randn(n, d, generator=rng)
    y = torch.randn(m, d, generator=rng) + shift
    return x, torch.cat([y, y[:5]]), torch.randn(160, d, generator=rng)


@pytest.mark.parametrize("d", [4, 70])
def test_together_is_the_same_as_alone_to_the_last_bit(d):
    x, y, train = draw(d=d)
    rng = Rng(3)
    found = measure_all(PAIRS | JUDGES, x, y, train=train, rng=rng)
    assert list(found) == [*PAIRS, *JUDGES]
    for name, metric in PAIRS.items():
        assert found[name] == metric.measure(x, y, rng=rng.stream(name)), name
    for name, metric in JUDGES.items():
        assert found[name] == metric.judge(x, y, train=train, rng=rng.stream(name)), name


def test_the_pass_is_made_once(monkeypatch):
    passes = []
    before = look.go_over
    monkeypatch.setattr(look, "go_over", lambda *s: (passes.append(1), before(*s)))
    measure_all(PAIRS, *draw()[:2], rng=Rng(0))
    assert len(passes) == 1


def test_without_training_samples_their_metrics_say_so():
    found = measure_all(PAIRS | JUDGES, *draw()[:2], train=None, rng=Rng(0))
    for name in JUDGES:
        assert found[name].value is None
        assert found[name].method == "needs the training samples: --train"
        assert found[name].better == "higher"


def test_some_may_have_too_few_samples():
    x, y, _ = draw()
    found = measure_all(PAIRS, x[:8], y[:8], rng=Rng(0))
    assert found["wide"].value is None
    assert "at least 11" in found["wide"].method
    assert found["recall"].value is not None


def test_detail_tells_where_the_uncertainty_comes_from():
    found = detail_all(PAIRS, *draw()[:2], rng=Rng(0))
    for name in PAIRS:
        if name in ("birthday", "energy"):
            continue
        one = found[name]
        assert isinstance(one, Detailed)
        assert abs(float(one.real.mean())) < 1e-9
        assert one.rest.value >= 0


@pytest.mark.parametrize(
    "metric", [Precision(), Recall(), Density(), Coverage(), BetaRecall(), AlphaPrecision()]
)
def test_differences_hold_and_are_no_wider_than_those_of_independent_samples(metric):
    """The two generators are the same, so the truth is zero."""
    held, paired, apart = 0, 0.0, 0.0
    for seed in range(50):
        rng = Rng(seed)
        x, y, z = torch.randn(3, 300, 8, generator=rng.stream("x"))
        a, b = (metric.detail(x, w * 0.8, rng=rng.stream("m")) for w in (y, z))
        found = difference(a, b)
        held += found.low <= 0 <= found.high
        paired += found.half_width
        apart += (a.estimate.half_width**2 + b.estimate.half_width**2) ** 0.5
    assert held >= 44
    assert paired < apart * 1.02
