"""Intervals of metrics of nearest neighbours where samples come in groups."""

import pytest
import torch

from gantlet.core.metric import Groups
from gantlet.core.rng import Rng
from gantlet.core.spec import metrics
from gantlet.metrics import neighbours
from gantlet.metrics.measure import detail_all, measure_all

NAMES = (
    *("precision", "recall", "density", "coverage"),
    *("realism", "alpha-precision", "beta-recall"),
)
MADE = {name: metrics.make(name) for name in NAMES}


def draw(n, group, seed=0, d=3, shift=0.3):
    """Samples of two sets whose groups correlate by 0.9."""
    rng = Rng(seed).stream("x")
    sets = []
    for move in (0.0, shift):
        shared, own = (torch.randn(n, d, generator=rng, dtype=torch.float64) for _ in range(2))
        sets.append(0.9**0.5 * shared[group] + 0.1**0.5 * own + move)
    return sets


def measured(x, y, groups, names=NAMES, seed=0):
    wanted = {name: MADE[name] for name in names}
    return measure_all(wanted, x, y, rng=Rng(seed), groups=groups)


def test_groups_change_no_value_and_lose_no_interval():
    group = torch.arange(120) // 3
    x, y = draw(120, group)
    plain = measured(x, y, None)
    for groups in (Groups(group, group), Groups(real=group), Groups(fake=group)):
        for name, found in measured(x, y, groups).items():
            assert found.value == plain[name].value
            assert found.low < found.value < found.high
            assert "fake groups, leave-one-group-out; caution: few groups" in found.method
    assert measured(x, y, Groups(torch.arange(120), torch.arange(120))) == plain


def inside(x, y, k):
    """Whether each ball of ``x`` to the k-th neighbour holds each of ``y``, from full tables."""
    radius = torch.cdist(x, x).fill_diagonal_(torch.inf).sort(1).values[:, k - 1, None]
    return torch.cdist(x, y) <= radius * (1 + 1e-9)


def added(terms, group):
    return torch.stack([terms[..., group == g].sum(-1) for g in range(20)], -1)


def between(changes):
    """The variance of a mean from products of changes of different groups of its terms."""
    centred = changes - changes.mean(0)
    both = torch.einsum("fg,fh->gh", centred, centred) * 19 / 20
    return float(both.sum() - both.trace())


def of_groups(terms, group):
    sums = added(terms - terms.mean(), group) / len(terms)
    return float(sums.square().sum()) * 20 / 19


GROUP = torch.arange(60) % 20


@pytest.mark.parametrize("name", ["precision", "density"])
def test_the_mean_over_fakes_against_leaving_out_one_group_by_brute_force(name):
    x, y = draw(60, GROUP, seed=3)
    k = MADE[name].k

    def terms(real):
        held = inside(real, y, k)
        return held.any(0).double() if name == "precision" else held.sum(0).double() / k

    z = terms(x)
    left_out = torch.stack([terms(x[g != GROUP]) for g in range(20)])
    own, common = of_groups(z, GROUP), between(added(left_out - z, GROUP) / 60)
    assert common > 0
    found = detail_all({name: MADE[name]}, x, y, rng=Rng(0), groups=Groups(GROUP, GROUP))[name]
    assert found.estimate.value == pytest.approx(float(z.mean()), rel=1e-12)
    assert found.estimate.n == 20
    assert found.rest.value == pytest.approx(own, rel=1e-9)
    assert float(found.real.var()) / 20 == pytest.approx(common, rel=1e-9)


@pytest.mark.parametrize("name", ["recall", "coverage"])
def test_the_mean_over_reals_against_leaving_out_one_group_by_brute_force(name):
    x, y = draw(60, GROUP, seed=4)
    k = MADE[name].k

    def terms(real, fake):
        return (
            inside(fake, real, k).any(0) if name == "recall" else inside(real, fake, k).any(1)
        ) * 1.0

    z = terms(x, y)
    by_fake = torch.stack([terms(x, y[g != GROUP]) for g in range(20)])
    common = between(added(by_fake - z, GROUP) / 60)
    if name == "coverage":  # the only one of the two whose balls are those of its terms
        by_real = (z.mean() - z).repeat(20, 1).double()
        for g in range(20):
            left = g != GROUP
            by_real[g, left] = (terms(x[left], y) - z[left]).double()
        common += between(added(by_real * 60 / 57, GROUP) / 60)
    found = detail_all({name: MADE[name]}, x, y, rng=Rng(0), groups=Groups(GROUP, GROUP))[name]
    assert found.estimate.value == pytest.approx(float(z.mean()), rel=1e-6)
    assert len(found.real) == found.estimate.n == 20
    assert float(found.real.var()) / 20 == pytest.approx(of_groups(z.double(), GROUP), rel=1e-6)
    assert found.rest.value == pytest.approx(max(common, 0.0), rel=1e-6, abs=1e-9)


def test_as_many_neighbours_are_kept_as_leaving_out_groups_takes(monkeypatch):
    group = torch.arange(200) // 10
    x, y = (z + 50 * (group[:, None] % 7) for z in draw(200, group))
    groups = Groups(group, group)
    usual = measured(x, y, groups)
    monkeypatch.setattr(neighbours, "reserve", lambda k, _together=1: k)
    monkeypatch.setattr(neighbours, "SPARE_NEIGHBOURS", 0)
    assert measured(x, y, groups) == usual
    # Too many to be kept: no interval rather than a wrong one.
    monkeypatch.setattr(neighbours, "KEPT_NEIGHBOURS", 200)
    for name, found in measured(x, y, groups).items():
        assert found.value == usual[name].value
        if name != "alpha-precision":
            assert found.low is None
            assert "groups too large" in found.method


@pytest.mark.parametrize(
    ("group", "says"),
    [
        (torch.zeros(60, dtype=torch.int64), "needs at least 4 groups of real samples, got 1"),
        (torch.arange(60) % 3, "needs at least 4 groups of real samples, got 3"),
        ((torch.arange(60) - 56).clamp_min(0), "leave-one-group-out must leave"),
    ],
)
def test_few_or_huge_groups_have_no_interval_but_the_value(group, says):
    x, y = draw(60, torch.arange(60))
    plain, names = (
        measured(x, y, None),
        [n for n in NAMES if n not in ("recall", "alpha-precision")],
    )
    for name, found in measured(x, y, Groups(real=group), names).items():
        assert found.value == plain[name].value
        assert found.low is None
        assert says in found.method


@pytest.mark.parametrize("kind", ["twice", "fives"])
def test_intervals_hold_the_mean_over_repeats_of_groups(kind):
    """Of 60 intervals of 95 % each, fewer than 52 hold it with a probability of 1 in 1000."""
    found = {name: [] for name in NAMES[:4]}
    group = torch.arange(150) // (2 if kind == "twice" else 5)
    for seed in range(60):
        x, y = draw(150, group, seed=seed, d=6)
        if kind == "twice":
            x, y = x[::2][group], y[::2][group]
        for name, e in measured(x, y, Groups(group, group), NAMES[:4], seed).items():
            found[name].append(e)
    for estimates in found.values():
        mean = sum(e.value for e in estimates) / 60
        assert sum(e.low <= mean <= e.high for e in estimates) >= 52
