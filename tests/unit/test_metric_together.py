import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from gantlet.commands.copies import repeats
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.core.metric import Groups
from gantlet.core.rng import Rng
from gantlet.metrics import (
    kernel,
    kernel_sums,
    neighbour_search,
    neighbour_sharing,
    neighbours,
)
from gantlet.metrics.collisions import Birthday
from gantlet.metrics.copying import Authenticity, Ct, nearest_training
from gantlet.metrics.kernel import Cmmd, Energy, Kid, Mmd
from gantlet.metrics.measure import detail_all, measure_all
from gantlet.metrics.neighbour_search import points
from gantlet.metrics.neighbour_sharing import Searches
from gantlet.metrics.neighbours import (
    AlphaPrecision,
    BetaRecall,
    Coverage,
    Density,
    Precision,
    Realism,
    Recall,
)
from gantlet.stats.jackknife import Detailed, difference

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
    before = neighbours.for_each_pair
    monkeypatch.setattr(
        neighbours, "for_each_pair", lambda *s, **k: (passes.append(1), before(*s, **k))[1]
    )
    measure_all(PAIRS, *draw()[:2], rng=Rng(0))
    assert len(passes) == 1


KERNELS = {"kid": Kid(), "energy": Energy(), "mmd": Mmd(), "cmmd": Cmmd()}


@pytest.mark.parametrize(
    ("grouped_from", "exact", "tolerance"),
    [(50, 2**34, 1e-9), (2000, 2**34, 1e-9), (50, 0, 2e-3)],
    ids=["groups change sides", "samples change sides", "single precision"],
)
def test_kernels_that_share_products_say_what_each_says_alone(
    monkeypatch, grouped_from, exact, tolerance
):
    monkeypatch.setattr(kernel, "WORTH_SHARING", 60)
    monkeypatch.setattr(kernel, "GROUPED_FROM", grouped_from)
    monkeypatch.setattr(kernel, "EXACT_PRODUCTS", exact)
    monkeypatch.setattr(kernel_sums, "TILE", {"cpu": 64})
    monkeypatch.setattr(kernel_sums, "STRIP", {"cpu": 24})
    monkeypatch.setattr(kernel_sums, "LARGE_TILE", 40)
    x, y, _ = draw(shift=0.05)
    x, y = x + 3.0, y + 3.0  # KID sees where the features lie
    found = detail_all(KERNELS, x, y, rng=Rng(3))
    for name, metric in KERNELS.items():
        alone = metric.detail(x, y, rng=Rng(3).stream(name))
        one, other = found[name].estimate, alone.estimate
        width = other.high - other.low
        ends, alone_ends = ((e.low, e.value, e.high) for e in (one, other))
        for a, b in zip(ends, alone_ends, strict=True):
            assert a == pytest.approx(b, abs=tolerance * width), name
        assert one.also["p"] == other.also["p"], name
        assert torch.allclose(found[name].real, alone.real, rtol=1e-4, atol=tolerance * width)


def test_products_of_kernels_are_taken_once_and_in_pieces(monkeypatch):
    monkeypatch.setattr(kernel, "WORTH_SHARING", 60)
    monkeypatch.setattr(kernel_sums, "TILE", {"cpu": 50})
    taken = []
    before = kernel_sums.products

    def counted(a, b):
        taken.append(len(a) * len(b))
        return before(a, b)

    monkeypatch.setattr(kernel_sums, "products", counted)
    x, y, _ = draw()
    two = {k: KERNELS[k] for k in ("kid", "energy")}
    measure_all(two, x, y, rng=Rng(0))
    shared = sum(taken)
    assert len(x) * len(y) < shared < len(x) ** 2 + len(y) ** 2 + len(x) * len(y)
    assert max(taken) <= 50 * 50
    taken.clear()
    for name, metric in two.items():
        metric.measure(x, y, rng=Rng(0).stream(name))
    assert sum(taken) == 2 * shared


def test_a_kernel_that_fails_takes_no_other_along(monkeypatch):
    monkeypatch.setattr(kernel, "WORTH_SHARING", 60)
    x, y, _ = draw()

    def fails(self, x, y, *, rng):
        raise RuntimeError("no median")

    monkeypatch.setattr(Mmd, "statistic", fails)
    found = measure_all(KERNELS, x, y, rng=Rng(3))
    assert found["mmd"].method == "failed: RuntimeError: no median"
    for name in ("kid", "energy", "cmmd"):
        assert found[name] == KERNELS[name].measure(x, y, rng=Rng(3).stream(name))


# Neighbours that what is shown asks for again


NEIGHBOURS = {name: m for name, m in PAIRS.items() if name not in ("energy", "alpha")}


def counted(monkeypatch):
    """Counts the pairs whose products are taken for neighbours."""
    taken = []
    before = neighbour_search.products

    def products(a, b):
        taken.append(len(a) * len(b))
        return before(a, b)

    monkeypatch.setattr(neighbour_search, "products", products)
    return taken


@pytest.mark.parametrize("d", [4, 70])
def test_neighbours_are_searched_for_once_and_are_the_same_to_the_last_bit(d, monkeypatch):
    x, y, _ = draw(d=d)
    searches = Searches()
    alone = detail_all(NEIGHBOURS, x, y, rng=Rng(3))
    shared = detail_all(NEIGHBOURS, x, y, rng=Rng(3), searches=searches, across=True)
    for name, one in alone.items():
        other = shared[name]
        if isinstance(one, Detailed):
            assert one.estimate == other.estimate, name
            assert torch.equal(one.real, other.real), name
        else:
            assert one == other, name
    for k, wanted in enumerate(nearest_training(y, x)):
        assert torch.equal(nearest_training(y, x, searches=searches)[k], wanted)
    assert torch.equal(repeats(x, y, searches), repeats(x, y))
    taken = counted(monkeypatch)
    # Sets that were read again, and another set against the same reference.
    again, other = y.clone(), y + 1
    nearest_training(again, x.clone(), searches=searches)
    repeats(x.clone(), again, searches)
    assert not taken
    detail_all({"recall": Recall(), "coverage": Coverage()}, x, other, rng=Rng(3))
    without = sum(taken)
    taken.clear()
    pair = {"recall": Recall(), "coverage": Coverage()}
    detail_all(pair, x, y, rng=Rng(3), searches=searches)
    taken.clear()
    detail_all(pair, x, other, rng=Rng(3), searches=searches)
    assert sum(taken) < without
    # One sample that differs in one digit makes another set.
    again[3, 0] += 1e-6
    taken.clear()
    repeats(x, again, searches)
    assert taken


def test_searches_keep_so_much_and_no_more(monkeypatch):
    monkeypatch.setattr(neighbour_sharing, "KEPT", 2 * 150 * 20)
    searches, sets = Searches(), [points(draw(seed=s)[0])[0] for s in range(4)]
    for x in sets:
        assert searches.within(x, 3, 20).index.shape == (150, 20)
    taken = counted(monkeypatch)
    searches.within(sets[3], 3, 20)
    assert not taken
    searches.within(sets[0], 3, 20)
    assert taken
    copy = pickle.loads(pickle.dumps(searches))
    assert isinstance(copy, Searches)
    assert copy.across(sets[0], sets[1]) is None


def test_without_training_samples_their_metrics_say_so():
    found = measure_all(PAIRS | JUDGES, *draw()[:2], train=None, rng=Rng(0))
    for name in JUDGES:
        assert found[name].value is None
        assert found[name].method == "needs the training set: --train"
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


@dataclass(frozen=True)
class Foreign:
    """A metric of another package, which knows nothing of groups."""

    does: Callable[[], Estimate]

    better: ClassVar[str] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[str] = "features"
    quadratic: ClassVar[bool] = False

    def measure(self, real, fake, *, rng):
        return self.does()


def fail(error):
    raise error


@pytest.mark.parametrize(
    ("does", "says"),
    [
        (lambda: fail(UserError("too many\nfeatures")), "too many features"),
        (lambda: fail(MemoryError("20 GB")), "failed: MemoryError: 20 GB"),
        (lambda: Estimate(value=math.nan, method="a ratio"), "gave nan, not a finite number"),
        (lambda: Estimate(value=math.inf, method="a ratio"), "gave inf, not a finite number"),
    ],
)
def test_a_metric_that_fails_takes_no_other_along(does, says):
    x, y, _ = draw()
    found = measure_all({"bad": Foreign(does), **PAIRS}, x, y, rng=Rng(0))
    assert found["bad"].value is None
    assert says in found["bad"].method
    assert {name: found[name] for name in PAIRS} == measure_all(PAIRS, x, y, rng=Rng(0))


def test_ends_that_are_no_numbers_are_left_out():
    found = measure_all(
        {"bad": Foreign(lambda: Estimate(value=1.0, low=math.nan, high=math.nan))},
        *draw()[:2],
        rng=Rng(0),
    )["bad"]
    assert (found.value, found.low) == (1.0, None)
    assert "not numbers" in found.method


def test_one_that_fails_in_the_shared_pass_takes_no_other_along(monkeypatch):
    x, y, _ = draw()
    wanted = {"birthday": Birthday(), "recall": Recall()}
    alone = Recall().measure(x, y, rng=Rng(0).stream("recall"))
    monkeypatch.setattr(Birthday, "begin", lambda *_: fail(RuntimeError("gone")))
    found = measure_all(wanted, x, y, rng=Rng(0))
    assert found["birthday"].method == "failed: RuntimeError: gone"
    assert found["birthday"].better == "higher"
    assert found["recall"] == alone


def test_one_that_fails_on_training_samples_takes_no_other_along(monkeypatch):
    x, y, train = draw()
    monkeypatch.setattr(Ct, "plan_train", lambda *_: fail(UserError("no")))
    found = measure_all(JUDGES, x, y, train=train, rng=Rng(0))
    assert found["ct"].method == "no"
    assert found["authenticity"].value is not None


def test_sets_that_no_metric_can_compare_are_an_error():
    x, y, train = draw()
    with pytest.raises(UserError, match="equally many features"):
        measure_all(PAIRS, x, y[:, :3], rng=Rng(0))
    with pytest.raises(UserError, match="equally many features"):
        measure_all(JUDGES, x, y, train=train[:, :3], rng=Rng(0))
    with pytest.raises(UserError, match="NaN"):
        measure_all({"energy": Energy()}, x.log(), y, rng=Rng(0))


def test_one_that_knows_nothing_of_groups_loses_its_interval_where_there_are_some():
    x, y, _ = draw()
    plain = Estimate(value=1.0, low=0.0, high=2.0, method="counted")
    wanted = {"foreign": Foreign(lambda: plain)}
    twos = Groups(real=torch.arange(len(x)) // 2)
    found = measure_all(wanted, x, y, rng=Rng(0), groups=twos)["foreign"]
    assert (found.value, found.low) == (1.0, None)
    assert found.method.startswith("counted; no interval")
    each = Groups(real=torch.arange(len(x)) + 5, fake=torch.arange(len(y)))
    assert measure_all(wanted, x, y, rng=Rng(0), groups=each)["foreign"] == plain


@pytest.mark.parametrize("bad", [torch.zeros(3, dtype=torch.int64), torch.zeros(150)])
def test_groups_that_are_not_those_of_the_samples(bad):
    with pytest.raises(UserError, match="one whole number for each of its 150 samples"):
        measure_all({}, *draw()[:2], rng=Rng(0), groups=Groups(real=bad))
