"""Realism, alpha-precision, beta-recall, and the three that catch copies and collapse."""

import math

import numpy as np
import pytest
import torch

from gantlet.core.errors import UserError
from gantlet.core.metric import Groups
from gantlet.core.rng import Rng
from gantlet.metrics.collisions import Birthday, birthday_support
from gantlet.metrics.copying import (
    Authenticity,
    Ct,
    TrainNeighbourhoods,
    VoronoiCells,
    cells_of,
    copying,
    judged,
    nearest_training,
    rank_score,
)
from gantlet.metrics.neighbours import (
    OUTLYING,
    AlphaPrecision,
    BetaRecall,
    Coverage,
    Curve,
    Density,
    Precision,
    Realism,
    Recall,
    ranks,
    realism,
)


def draw(n=120, m=90, d=3, shift=0.4, seed=0):
    rng = Rng(seed).stream("features")
    x = torch.randn(n, d, generator=rng, dtype=torch.float64)
    return x, torch.randn(m, d, generator=rng, dtype=torch.float64) * 0.8 + shift


def stream():
    return Rng(0).stream("m")


def judge(metric, real, fake, train):
    return metric.judge(real, fake, train=train, rng=stream())


def table(x, y):
    return torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist")


def radii(x, k):
    return table(x, x).fill_diagonal_(torch.inf).topk(k, largest=False).values[:, -1]


# Realism


@pytest.mark.parametrize("d", [3, 90])
def test_realism_equals_its_definition(d):
    x, y = draw(d=d)
    r = radii(x, 3)
    small = r <= r.median()
    expected = (r[small, None] / table(x[small], y)).amax(0)
    found = realism(x, y)
    assert torch.allclose(found, expected, rtol=1e-7)
    share = Realism().measure(x, y, rng=stream())
    assert share.value == pytest.approx(float((expected >= 1).double().mean()))
    assert share.low < share.value < share.high


def test_realism_of_float32_features_is_that_of_float64():
    x, y = (z.float() for z in draw(d=100))
    assert torch.allclose(realism(x, y), realism(x.double(), y.double()), rtol=1e-9)


def test_a_copy_is_as_real_as_can_be_and_far_samples_are_not():
    x, _ = draw()
    copied = radii(x, 3).argmin()
    found = realism(x, torch.stack([x[copied], x[copied] + 1e6]))
    assert found[0] == math.inf
    assert found[1] < 1e-5
    assert Realism().measure(x, x + 1e6, rng=stream()).value == 0


def test_realism_says_what_it_needs():
    x, y = draw()
    with pytest.raises(UserError, match="at least 4 real"):
        realism(x[:3], y)
    assert realism(x, y[:0]).shape == (0,)


# Curves


def test_agreement_of_simple_curves():
    n = 1000
    uniform = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    assert Curve(uniform).agreement() == pytest.approx(1 - 0.5 / n)
    assert Curve(torch.zeros(n, dtype=torch.float64)).agreement() == pytest.approx(0)
    assert Curve(torch.full((n,), 2.0, dtype=torch.float64)).agreement() == pytest.approx(0)
    assert Curve(torch.full((n,), 0.5, dtype=torch.float64)).agreement() == pytest.approx(0.5)


def test_agreement_and_influence_equal_sums_over_a_fine_grid():
    u = torch.rand(57, generator=Rng(0).stream("u"), dtype=torch.float64) ** 2 * 1.1
    t = (torch.arange(50_000, dtype=torch.float64) + 0.5) / 50_000
    share = (u[:, None] <= t).double().mean(0)
    assert Curve(u).agreement() == pytest.approx(1 - 2 * float((share - t).abs().mean()), abs=1e-4)
    v = torch.tensor([0.0, 0.2, 0.77, 1.0, 3.0], dtype=torch.float64)
    expected = [-2 * float(((share - t).sign() * (t >= a)).mean()) for a in v]
    assert Curve(u).influence(v).tolist() == pytest.approx(expected, abs=1e-4)


def test_influence_is_the_derivative():
    u = torch.rand(400, generator=Rng(1).stream("u"), dtype=torch.float64) ** 3
    curve = Curve(u)
    for place in (0.1, 0.6):
        more = Curve(torch.cat([u, u.new_full((1,), place)])).agreement()
        slope = (
            curve.influence(torch.tensor([place], dtype=u.dtype))[0] - curve.influence(u).mean()
        )
        assert (more - curve.agreement()) * 401 == pytest.approx(float(slope), abs=0.02)


# Alpha and beta


def test_alpha_precision_equals_its_definition():
    x, y = draw()
    from_x, from_y = ((z - x.mean(0)).norm(dim=1) for z in (x, y))
    ordered = from_x.sort().values
    t = (torch.arange(24_000, dtype=torch.float64) + 0.5) / 24_000
    radius = ordered[(t * len(x)).ceil().long() - 1]
    share = (from_y[:, None] <= radius).double().mean(0)
    expected = 1 - 2 * float((share - t).abs().mean())
    found = AlphaPrecision().measure(x, y, rng=stream())
    assert found.value == pytest.approx(expected, abs=1e-3)
    assert found.low < found.value < found.high


def test_beta_recall_equals_its_definition():
    x, y = draw()
    inside = table(x, y) <= radii(x, 5)[:, None]
    depth = (y - y.mean(0)).norm(dim=1)
    order = depth.argsort()
    area = 0.0
    for count in range(len(y)):  # R is constant while beta * m lies in (count, count + 1)
        share = float(inside[:, order[: count + 1]].any(1).double().mean())
        t = (count + (torch.arange(500, dtype=torch.float64) + 0.5) / 500) / len(y)
        area += float((share - t).abs().mean()) / len(y)
    found = BetaRecall().measure(x, y, rng=stream())
    assert found.value == pytest.approx(1 - 2 * area, abs=1e-4)
    assert found.low < found.value < found.high


def test_ranks():
    among = torch.tensor([3.0, 1.0, 2.0])
    found = ranks(torch.tensor([0.5, 1.0, 1.5, 3.0, 3.5]), among)
    assert found.tolist() == pytest.approx([0, 0, 1 / 3, 2 / 3, 1])


def test_what_alpha_and_beta_see():
    rng = Rng(0).stream("x")
    real, fake = torch.randn(2, 400, 4, generator=rng)
    measures = AlphaPrecision().measure, BetaRecall().measure
    equal = [m(real, fake, rng=stream()).value for m in measures]
    assert equal[0] > 0.9
    for bad in (fake * 5, fake * 0.01, fake + 9):
        assert AlphaPrecision().measure(real, bad, rng=stream()).value < equal[0] - 0.4
    for bad in (fake * 0.01, fake + 9):
        assert BetaRecall().measure(real, bad, rng=stream()).value < equal[1] - 0.3


@pytest.mark.parametrize("metric", [AlphaPrecision(), BetaRecall(), Realism()])
def test_intervals_hold_the_mean_over_repeats(metric):
    found = [
        metric.measure(*draw(120, 120, 6, seed=seed), rng=Rng(seed).stream("m"))
        for seed in range(60)
    ]
    mean = sum(e.value for e in found) / 60
    assert sum(e.low <= mean <= e.high for e in found) >= 51


# Authenticity


@pytest.mark.parametrize("d", [3, 90])
def test_authenticity_equals_its_definition(d):
    train, fake = draw(d=d)
    real = draw(d=d, seed=1)[0]
    distance, owner = table(fake, train).min(1)
    expected = float((distance > radii(train, 1)[owner]).double().mean())
    found = judge(Authenticity(), real, fake, train)
    assert found.value == pytest.approx(expected)
    assert found.low < found.value < found.high
    floor = table(real, train).min(1)
    share = float((floor.values > radii(train, 1)[floor.indices]).double().mean())
    assert f"{share:.3f}" in found.method


def test_a_memoriser_is_caught_and_a_good_model_is_not():
    rng = Rng(0).stream("x")
    train, real, new = torch.randn(3, 600, 8, generator=rng)
    copies = train[torch.randint(600, (600,), generator=rng)]
    close = copies + 0.05 * torch.randn(600, 8, generator=rng)
    for bad in (copies, close):
        assert judge(Authenticity(), real, bad, train).high < 0.05
        assert judge(Ct(), real, bad, train).high < -10
    good, floor = (judge(Authenticity(), real, z, train) for z in (new, real))
    assert abs(good.value - floor.value) < 0.1
    z = judge(Ct(), real, new, train)
    assert z.low < 0 < z.high
    assert abs(z.value) < 3


def test_far_samples_are_authentic_and_far():
    rng = Rng(0).stream("x")
    train, real, new = torch.randn(3, 300, 8, generator=rng)
    assert judge(Authenticity(), real, new + 9, train).value == 1
    assert judge(Ct(cells=1), real, new + 9, train).low > 5


@pytest.mark.parametrize("metric", [Authenticity(), Ct()])
def test_without_training_samples_there_is_no_number(metric):
    real, fake = draw()
    assert judge(metric, real, fake, real[:0]).value is None


# C_T


def test_rank_score_is_that_of_mann_and_whitney():
    from scipy.stats import mannwhitneyu

    a, b = torch.arange(30.0) ** 1.5, torch.arange(40.0) * 3 + 0.1
    u = float(mannwhitneyu(b.numpy(), a.numpy()).statistic)
    expected = (u - 600) / math.sqrt(1200 * 71 / 12)
    assert rank_score(a, b).score == pytest.approx(expected)


def test_under_equality_the_score_has_variance_one():
    rng = Rng(0).stream("z")
    found = [rank_score(*torch.rand(2, 60, generator=rng)) for _ in range(300)]
    scores = torch.tensor([f.score for f in found])
    assert float(scores.mean()) == pytest.approx(0, abs=0.2)
    assert float(scores.var()) == pytest.approx(1, abs=0.25)
    assert sum(f.variance for f in found) / 300 == pytest.approx(1, abs=0.1)


def test_cells_are_weighed_by_their_reals_and_small_ones_left_out():
    rng = Rng(0).stream("z")
    real, fake = torch.rand(2, 200, generator=rng)
    cell = torch.zeros(200, dtype=torch.int64)
    cell[:60] = 1
    cell[-5:] = 2
    parts = [rank_score(real[cell == c], fake[cell == c]).score for c in (0, 1)]
    found = copying(real, fake, cell, cell)
    assert found.score == pytest.approx((135 * parts[0] + 60 * parts[1]) / 195)
    assert copying(real[:9], fake, cell[:9], cell) is None


def test_the_number_hangs_little_on_where_k_means_began():
    """Three cells for two clusters, of which either may be the one that is divided."""
    rng = Rng(0).stream("x")
    train, real, fake = torch.randn(3, 300, 8, generator=rng)
    for z in (train, real, fake):
        z[::2] += 3
    fake = torch.where(torch.arange(300)[:, None] % 2 == 0, 0.5 * (fake - 3) + 3, fake)
    found = [Ct().judge(real, fake, train=train, rng=Rng(s).stream("m")) for s in range(12)]
    values = torch.tensor([e.value for e in found])
    assert float(values.std()) < 0.4 * found[0].half_width / 1.96
    assert "over 10 divisions" in found[0].method


def test_cells_are_the_clusters():
    rng = Rng(0).stream("k")
    x = torch.randn(90, 2, generator=rng) * 0.1 + torch.arange(3).repeat(30)[:, None] * 5
    cells = VoronoiCells.fit(x, 3, rng=rng)
    found = cells_of(x, cells)
    assert len(found.unique()) == 3
    assert all(len(found[i::3].unique()) == 1 for i in range(3))
    assert len(VoronoiCells.fit(torch.ones(9, 2), 3, rng=rng).centres) == 1


# Birthday


def test_the_support_of_equally_likely_samples_is_found():
    held, places = 0, torch.eye(250) * 90
    rng = Rng(0).stream("b")
    real = torch.randn(150, 250, generator=rng) * 3
    for _ in range(40):
        fake = places[torch.randint(250, (150,), generator=rng)]
        found = Birthday().measure(real, fake, rng=stream())
        held += found.low <= 250 <= found.high
    assert held >= 35


def test_pairs_and_interval_of_a_count():
    # Three pairs, one of them counted from both ends: degrees 1 1 1 1 1 1 of 101.
    found = birthday_support(torch.tensor([1] * 6 + [0] * 95))
    assert found.value == pytest.approx(101 * 100 / 2 / 3)
    # Exact Poisson limits for a count of 3: 0.619 and 8.767.
    assert found.low == pytest.approx(5050 / 8.767, rel=1e-3)
    assert found.high == pytest.approx(5050 / 0.6187, rel=1e-3)


def test_a_collapsed_model_is_caught():
    rng = Rng(0).stream("x")
    real, fake = torch.randn(2, 300, 16, generator=rng)
    one = Birthday().measure(real, fake[:1].repeat(300, 1), rng=stream())
    assert one.value == 1
    assert one.high < 1.1
    few = fake[torch.randint(12, (300,), generator=rng)] + 0.01 * fake
    found = Birthday().measure(real, few, rng=stream())
    assert found.low < 12 < found.high
    assert found.high < 20
    whole = Birthday().measure(real, fake, rng=stream())
    assert whole.value is None
    assert "at least 1.5e+04 different samples" in whole.method


def test_copies_among_the_reals_are_told():
    rng = Rng(0).stream("x")
    real, fake = torch.randn(2, 300, 16, generator=rng)
    real[1] = real[0]
    found = Birthday().measure(real, fake, rng=stream())
    assert "1 of 300 reals" in found.method


# Nearest training samples


@pytest.mark.parametrize("d", [3, 90])
def test_nearest_training_samples(d):
    train, fake = draw(d=d)
    which, far = nearest_training(fake.float(), train.float(), k=4)
    expected = table(fake.float(), train.float()).topk(4, largest=False)
    assert torch.allclose(far, expected.values, rtol=1e-12)
    assert torch.equal(which, expected.indices)


def test_nearest_training_samples_of_none_or_too_many():
    train, fake = draw()
    assert nearest_training(fake[:0], train)[0].shape == (0, 1)
    with pytest.raises(UserError, match="k must be from 1 to the 2"):
        nearest_training(fake, train[:2], k=3)


def test_a_set_mapped_from_disk(tmp_path):
    train, fake = (z.float() for z in draw(d=80))
    np.save(tmp_path / "train.npy", train.numpy())
    mapped = torch.from_numpy(np.load(tmp_path / "train.npy", mmap_mode="c"))
    assert torch.equal(nearest_training(fake, mapped)[0], nearest_training(fake, train)[0])


# Ties and groups


@pytest.mark.parametrize("metric", [AlphaPrecision(), BetaRecall()])
def test_equal_constants_agree(metric):
    """To the letter each ball holds everything, and the area is that of a lone step: 0."""
    same = torch.full((60, 5), 2.1)
    assert metric.measure(same, same[:40], rng=stream()).value == pytest.approx(1, abs=0.02)


def test_constants_elsewhere_do_not_agree():
    one, other = torch.zeros(60, 5), torch.ones(60, 5)
    assert AlphaPrecision().measure(one, other, rng=stream()).value == pytest.approx(0, abs=0.02)
    assert BetaRecall().measure(one, other, rng=stream()).value == pytest.approx(0, abs=0.02)


def test_ranks_spread_ties_evenly_and_leave_others():
    among = torch.tensor([1.0, 2.0, 2.0, 2.0, 5.0])
    assert ranks(torch.tensor([0.0, 1.0, 3.0, 9.0]), among).tolist() == [0, 0, 0.8, 1]
    assert ranks(torch.tensor([2.0, 7.0, 2.0]), among).tolist() == pytest.approx([0.35, 1, 0.65])


def test_authenticity_counts_groups():
    train, fake = draw(n=300, m=60)
    fakes, group = fake.repeat_interleave(5, 0), torch.arange(60).repeat_interleave(5)
    real = draw(n=100, seed=3)[0]

    by_scene = [
        judged(Authenticity(), TrainNeighbourhoods(real, fakes, train, groups=g), stream())
        for g in (None, Groups(fake=group))
    ]
    single = judge(Authenticity(), real, fake, train)
    assert by_scene[0].value == by_scene[1].value == pytest.approx(single.value)
    assert by_scene[1].half_width == pytest.approx(single.half_width, rel=0.15)
    assert by_scene[1].half_width > 1.8 * by_scene[0].half_width


def test_ct_takes_groups_together():
    train, fake = draw(n=300, m=60)
    real = draw(n=60, seed=3)[0]
    group = torch.arange(60).repeat_interleave(5)
    sets = real.repeat_interleave(5, 0), fake.repeat_interleave(5, 0), train
    plain, grouped = (
        judged(Ct(cells=1), TrainNeighbourhoods(*sets, groups=g), stream())
        for g in (None, Groups(group, group))
    )
    assert grouped.value == plain.value
    assert grouped.half_width == pytest.approx(plain.half_width * 5**0.5, rel=0.05)


# Outliers


BALLS = (Precision(), Recall(), Density(), Coverage())


def test_an_outlier_whose_ball_holds_much_is_told():
    x, y = draw(n=120, m=120, d=8, shift=0)
    y *= 0.3
    quiet = Recall().measure(x, y, rng=stream())
    assert not any(OUTLYING in m.measure(x, y, rng=stream()).method for m in BALLS)
    y[5] = 8
    found = Recall().measure(x, y, rng=stream())
    assert found.value > quiet.value + 0.2
    said = found.method.split(OUTLYING)[1]
    assert float(said.split("without them ")[1].split()[0]) == pytest.approx(quiet.value, abs=0.03)
    for metric in (Precision(), Density()):
        assert OUTLYING in metric.measure(y, x, rng=stream()).method
    assert Realism().measure(y, x, rng=stream()).value < 0.1
