"""Metrics of tables: columns, pairs, utility, distance to the closest record, an attack."""

import itertools

import pytest
import torch
from scipy import stats

from gantlet.core.columns import columns_of
from gantlet.core.data import Part, Space, all_samples
from gantlet.core.errors import UserError
from gantlet.core.metric import TrainMetric, metric_on
from gantlet.core.rng import Rng
from gantlet.core.spec import families, metrics
from gantlet.domains.mixed_table import MixedTable

DATA = MixedTable(missing=0.1, n=4000, held_out=1500)


def split():
    splits = DATA.load(rng=Rng(0))
    parts = (splits.train, splits.validation, splits.test)
    return splits.code, *(all_samples(p) for p in parts)


CODE, TRAIN, VALIDATION, REAL = split()


def measured(name, real, fake, train=None, *, space=DATA.space, code=CODE):
    metric, rng = metric_on(metrics.make(name), space, code), Rng(0).stream("metric")
    if isinstance(metric, TrainMetric):
        return metric.judge(real, fake, train=TRAIN if train is None else train, rng=rng)
    return metric.measure(real, fake, rng=rng)


def fakes(name, n=1500):
    fit = families.make(name).fit(DATA.space, TRAIN, rng=Rng(0))
    return fit.model.sample(n, rng=Rng(1).stream("samples"))


def total_variation(a, b):
    size = int(max(a.max(), b.max())) + 1
    p, q = (torch.bincount(z, minlength=size).double() / len(z) for z in (a, b))
    return float((p - q).abs().sum()) / 2


# ----------------------------------------------------------------------------
# Columns and pairs.
# ----------------------------------------------------------------------------


def test_columns_have_the_distances_of_scipy_and_of_counts():
    fake = fakes("independent").roll(1, 0)
    fake[:, 0] += 10
    wanted = []
    for column in columns_of(DATA.space):
        a, b = (column.of(z) for z in (REAL, fake))
        if column.kind == "category":
            wanted.append(total_variation(a.argmax(1), b.argmax(1)))
            continue
        # A missing number is lower than all others.
        low = (torch.where(column.present(z), z[:, column.start], -1e9) for z in (REAL, fake))
        wanted.append(stats.ks_2samp(*(z.numpy() for z in low)).statistic)
    found = measured("column-similarity", REAL, fake)
    assert found.value == pytest.approx(1 - sum(wanted) / len(wanted), abs=1e-6)
    assert "column age" in found.method


def deciles(column, real, x):
    own = real[column.present(real), column.start].double()
    edges = torch.quantile(own, torch.arange(1, 10).double() / 10)
    found = torch.bucketize(x[:, column.start].double(), edges)
    return torch.where(column.present(x), found, 10)


def test_pairs_have_the_correlations_of_scipy_and_the_counts_of_joint_tables():
    fake = fakes("copula")
    wanted = []
    for a, b in itertools.combinations(columns_of(DATA.space), 2):
        if a.kind == b.kind == "number":
            rho = []
            for z in (REAL, fake):
                both = a.present(z) & b.present(z)
                rho.append(stats.spearmanr(z[both, a.start], z[both, b.start]).statistic)
            wanted.append(abs(rho[0] - rho[1]) / 2)
            continue
        codes = [
            [c.codes(z) if c.kind == "category" else deciles(c, REAL, z) for c in (a, b)]
            for z in (REAL, fake)
        ]
        wanted.append(total_variation(*(20 * u + v for u, v in codes)))
    found = measured("pair-similarity", REAL, fake)
    assert found.value == pytest.approx(1 - sum(wanted) / len(wanted), abs=1e-4)
    assert len(wanted) == 15


@pytest.mark.parametrize("name", ["column-similarity", "pair-similarity"])
def test_real_rows_are_as_alike_as_chance_allows(name):
    found = measured(name, REAL, VALIDATION)
    assert found.low <= found.value <= found.high <= 1
    assert found.also["p"] > 0.05
    assert found.also["chance"] == pytest.approx(found.value, abs=0.01)


def test_columns_do_not_see_what_pairs_do():
    fake = fakes("independent")
    assert measured("column-similarity", REAL, fake).also["p"] > 0.05
    pairs = measured("pair-similarity", REAL, fake)
    assert pairs.also["p"] == pytest.approx(0.05)
    assert pairs.high < pairs.also["chance"] - 0.1


def test_the_interval_of_column_similarity_holds_the_truth():
    # A shift of 1 is a Kolmogorov-Smirnov distance of 0.3829, 19 times in 20.
    truth, held = 1 - 0.38292, 0
    space = Space("vector", (1,))
    for seed in range(100):
        x = torch.randn(2, 400, 1, generator=Rng(seed).stream("x"))
        found = measured("column-similarity:permutations=1", x[0], x[1] + 1, space=space)
        held += found.low <= truth <= found.high
    assert held >= 88


def test_the_share_of_false_alarms_is_the_level():
    space, p = Space("vector", (2,)), []
    for seed in range(100):
        x = torch.randn(2, 60, 2, generator=Rng(seed).stream("x"))
        found = measured("pair-similarity", x[0], x[1], space=space)
        p.append(found.also["p"])
    assert sum(v <= 0.05 for v in p) <= 11


def test_more_than_32_columns_are_said_to_be_left_out():
    x = torch.randn(2, 40, 34, generator=Rng(0).stream("x"))
    found = measured("pair-similarity:permutations=1", *x, space=Space("vector", (34,)))
    assert "those of the first 32 of 34 columns" in found.method
    assert "496 pairs" in found.method


@pytest.mark.parametrize("name", ["column-similarity", "pair-similarity", "tstr", "disclosure"])
def test_samples_that_are_no_rows_are_refused_in_one_line(name):
    with pytest.raises(UserError, match="Rows of a table") as caught:
        metric_on(metrics.make(name), Space("image", (1, 8, 8), 17), None)
    assert "\n" not in str(caught.value)


# ----------------------------------------------------------------------------
# Train on synthetic, test on real.
# ----------------------------------------------------------------------------


def test_fake_rows_are_worth_what_trees_learn_from_them():
    from sklearn.ensemble import HistGradientBoostingClassifier

    fake = fakes("copula")
    seed = int(torch.randint(2**31 - 1, (), generator=Rng(0).stream("metric")))
    model = HistGradientBoostingClassifier(early_stopping=False, random_state=seed)
    given, asked = (z[:, :15].numpy() for z in (fake, REAL))
    model.fit(given, fake[:, 15:].argmax(1).numpy())
    accuracy = (model.predict(asked) == REAL[:, 15:].argmax(1).numpy()).mean()
    found = measured("tstr", REAL, fake)
    assert found.value == pytest.approx(accuracy)
    assert found.also["real"] > found.high
    assert "column outcome" in found.method


def test_copies_are_worth_as_much_as_the_training_rows_and_independent_columns_nothing():
    copies = measured("tstr", REAL, TRAIN)
    assert copies.value == copies.also["real"]
    assert measured("tstr", REAL, fakes("independent")).value < 0.6


def test_numbers_are_predicted_by_name_and_missing_ones_left_out():
    good, bad = (
        measured("tstr:target=income,rounds=30", REAL, f) for f in (TRAIN, fakes("independent"))
    )
    assert good.n == int(column_of("income").present(REAL).sum())
    assert good.low > 0.4
    assert bad.high < 0.1
    assert measured("tstr:target=4,rounds=30", REAL, TRAIN).value == good.value
    with pytest.raises(UserError, match="Did you mean 'income'"):
        metric_on(metrics.make("tstr:target=incme"), DATA.space, CODE)


def column_of(name):
    return columns_of(DATA.space)[CODE.column_names.index(name)]


# ----------------------------------------------------------------------------
# What is given away.
# ----------------------------------------------------------------------------


def standard(x):
    scale = TRAIN.std(0)
    return x / torch.where(scale > 0, scale, 1.0)


def closest(fake, train=TRAIN):
    return measured("dcr", standard(REAL), standard(fake), standard(train))


def test_copies_are_nearer_to_the_training_rows_and_fresh_rows_are_not():
    copied = closest(fakes("memorizer"))
    assert copied.value == 1
    assert copied.low > 0.95
    assert copied.also["p"] < 1e-6
    fresh = closest(VALIDATION)
    assert fresh.low < 0.5 < fresh.high
    assert fresh.also["p"] > 0.01


def test_half_of_the_rows_copied_is_found_though_training_rows_are_more():
    fake = torch.cat([fakes("memorizer", 300), VALIDATION[:300]])
    assert closest(fake).low > 0.55


def test_the_share_is_that_of_a_slow_search_and_is_rescaled():
    x, t, y = (z[:200] for z in (standard(REAL), standard(TRAIN), standard(fakes("tree-chain"))))
    t = t[:150]
    found = measured("dcr", x, y, t)
    nearer = (torch.cdist(y, t).amin(1) < torch.cdist(y, x).amin(1)).double().mean()
    a, b = nearer / 150, (1 - nearer) / 200
    assert found.value == pytest.approx(float(a / (a + b)), abs=1e-9)


def test_of_equal_records_the_share_of_training_ones_counts():
    ones, twos = torch.ones(30, 1), 2 * torch.ones(10, 1)
    real = torch.cat([torch.ones(10, 1), twos])
    found = measured("dcr", real, torch.ones(20, 1), torch.cat([ones, twos]))
    # 30 of the 40 equal records are of the training, as are 40 of all 60.
    a, b = 0.75 / (40 / 60), 0.25 / (20 / 60)
    assert found.value == pytest.approx(a / (a + b))


def test_the_interval_holds_a_half_for_fresh_rows_and_false_alarms_keep_the_level():
    held = alarms = 0
    for seed in range(200):
        z = torch.randn(1000, 3, generator=Rng(seed).stream("x"))
        found = measured("dcr", z[:100], z[100:400], z[400:])
        held += found.low <= 0.5 <= found.high
        alarms += found.also["p"] < 0.05
    assert held >= 180
    assert alarms <= 20


def test_an_attack_finds_out_training_rows_from_copies_and_none_from_fresh_rows():
    copied, fresh = (measured("disclosure", REAL, f) for f in (fakes("memorizer"), VALIDATION))
    assert copied.low > 0.1
    assert fresh.low < 0 < fresh.high
    assert "column" in copied.method


def test_an_attack_guesses_what_a_slow_search_does():
    parts = (Part("number"), Part("category", 3), Part("number"), Part("flag"))
    space = Space("table", (6,), parts=parts)
    rng = Rng(0).stream("rows")

    def some(n):
        x = torch.randn(n, 2, generator=rng)
        k = torch.nn.functional.one_hot(torch.randint(3, (n,), generator=rng), 3)
        gap = (torch.rand(n, 1, generator=rng) < 0.2).float()
        return torch.cat([x[:, :1], k, x[:, 1:], gap], 1)

    real, fake, train = some(40), some(50), some(60)
    there = real[real[:, 5] == 0, 4].double()
    ends = torch.tensor([0.05, 0.95]).double()
    scale = [float(v.quantile(ends).diff()) for v in (real[:, 0].double(), there)]

    def apart(u, v):
        if u[5] == v[5] == 0:
            last = min(1, abs(float(u[4]) - float(v[4])) / scale[1])
        else:
            last = float(u[5] != v[5])
        first = min(1, abs(float(u[0]) - float(v[0])) / scale[0])
        return [first, float(u[1:4].argmax() != v[1:4].argmax()), last]

    def rate(rows):
        hits = 0
        for u in rows:
            d = [apart(u, v) for v in fake]
            for k in range(3):
                best = min(range(len(d)), key=lambda i: sum(d[i]) - d[i][k])
                hits += d[best][k] <= 0.05
        return hits / (3 * len(rows))

    a, b = rate(train), rate(real)
    found = measured("disclosure", real, fake, train, space=space, code=None)
    assert found.value == pytest.approx((a - b) / (1 - b), abs=1e-9)


# ----------------------------------------------------------------------------
# The area under the ROC curve.
# ----------------------------------------------------------------------------


def test_the_area_is_near_that_of_the_best_score_of_two_normal_distributions():
    x = torch.randn(2, 3000, 2, generator=Rng(0).stream("x"))
    x[1, :, 0] += 1
    found = measured("c2st-auc:rounds=40", *x)
    best = float(stats.norm.cdf(1 / 2**0.5))
    assert best - 0.06 < found.value < best + 0.01
    assert found.high - found.low < 0.05


def test_equal_distributions_have_a_half_and_chains_of_trees_little_more():
    fresh = measured("c2st-auc:rounds=30", standard(REAL), standard(VALIDATION))
    assert fresh.low < 0.5 < fresh.high
    chain = measured("c2st-auc:rounds=30", standard(REAL), standard(fakes("tree-chain")))
    copula = measured("c2st-auc:rounds=30", standard(REAL), standard(fakes("copula")))
    assert chain.value < 0.6
    assert copula.low > 0.85


def test_the_interval_of_the_area_holds_a_half_of_equal_distributions():
    held = 0
    for seed in range(100):
        x = torch.randn(2, 60, 2, generator=Rng(seed).stream("x"))
        found = measured("c2st-auc:rounds=2", *x)
        held += found.low <= 0.5 <= found.high
    assert held >= 89
