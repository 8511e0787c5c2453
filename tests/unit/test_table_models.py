"""Families of tables, and the made table of known density."""

import math

import pytest
import torch
from scipy import stats

from gantlet.core.columns import columns_of
from gantlet.core.data import Part, Space, all_samples
from gantlet.core.errors import UserError
from gantlet.core.model import Tunable
from gantlet.core.rng import Rng
from gantlet.core.spec import solvers
from gantlet.domains.mixed_table import MixedTable
from gantlet.models.table_gan import RowCoding, TableGan
from gantlet.models.table_synthesizers import Copula, Independent, TreeChain
from gantlet.testing import check_family

GAPS = MixedTable(missing=0.2, n=3000, held_out=500)
PLANE = Space("vector", (2,))


@pytest.fixture(scope="module")
def table():
    return all_samples(GAPS.load(rng=Rng(0)).train)


def drawn(family, space, x, n=3000):
    return family.fit(space, x, rng=Rng(0)).model.sample(n, rng=Rng(1).stream("samples"))


def share(x, column):
    return torch.bincount(column.codes(x), minlength=column.values) / len(x)


def test_columns_are_numbers_with_and_without_gaps_and_categories():
    parts = (Part("flag"), Part("number"), Part("category", 3), Part("number"), Part("flag"))
    found = columns_of(Space("table", (7,), parts=parts))
    assert [(c.kind, c.start, c.width) for c in found] == [
        ("category", 0, 1),
        ("number", 1, 1),
        ("category", 2, 3),
        ("number", 5, 2),
    ]
    with pytest.raises(UserError, match="Rows of a table"):
        columns_of(Space("vector", (3,), 4))


# ----------------------------------------------------------------------------
# The made table.
# ----------------------------------------------------------------------------


def grid(data, region, job, outcome, *axes):
    """Returns rows at all points of three axes: age, log income, balance; and their number."""
    age, log_income, balance = (g.flatten() for g in torch.meshgrid(*axes, indexing="ij"))
    x = torch.zeros(len(age), data.space.size, dtype=torch.float64)
    at = {"age": 0, "region": 1, "job": 7, "income": 12, "balance": 13 + (data.missing > 0)}
    x[:, at["age"]], x[:, at["balance"]] = age, balance
    x[:, at["income"]] = log_income.exp()
    x[:, at["region"] + region] = x[:, at["job"] + job] = 1
    x[:, at["balance"] + 1 + outcome] = 1
    return x, log_income


def test_the_density_of_the_made_table_integrates_to_the_probability_of_its_categories():
    data = MixedTable()
    axes = [
        torch.arange(a, b, s).double() for a, b, s in ((0, 65, 2), (0, 6, 0.12), (-10, 10, 0.2))
    ]
    total = 0.0
    for outcome in (0, 1):
        x, log_income = grid(data, 0, 0, outcome, *axes)
        # d income = income d log income.
        total += float((data.log_density(x) + log_income).exp().sum()) * 2 * 0.12 * 0.2
    assert total == pytest.approx(0.4 * 0.6, abs=1e-4)


def test_where_an_income_is_missing_it_is_integrated_out():
    data = MixedTable(missing=0.2)
    axes = [torch.tensor([33.0]), torch.arange(-1, 8, 0.02), torch.tensor([1.25])]
    x, log_income = grid(data, 1, 2, 1, *(a.double() for a in axes))
    there = float((data.log_density(x) + log_income).exp().sum()) * 0.02 / 0.8
    x[:, 13] = 1
    assert float(data.log_density(x[:1]).exp()) / 0.2 == pytest.approx(there, rel=1e-6)


def test_one_row_has_the_density_of_scipy():
    x, _ = grid(MixedTable(), 0, 1, 1, *(torch.tensor([v]).double() for v in (50, 3.5, 2.0)))
    wanted = (
        math.log(0.4)
        + math.log(0.3)
        + stats.norm.logpdf(50, 42, 9)
        + stats.lognorm.logpdf(math.exp(3.5), 0.3, scale=math.exp(3.6 + 0.02 * 10))
        + stats.norm.logpdf(2.0, 2 * (3.5 - 3), 0.5)
        - math.log1p(math.exp(-(1.5 * 2.0 - 0.1 * 10)))
    )
    assert float(MixedTable().log_density(x)) == pytest.approx(wanted, abs=1e-5)


def test_unknown_categories_are_impossible(table):
    x = table[:1].clone()
    x[0, 1:7] = torch.tensor([0.0, 0, 0, 0, 1, 0])
    assert float(GAPS.log_density(x)) == -math.inf


def test_the_made_table_is_read_by_its_columns(table):
    splits = GAPS.load(rng=Rng(0))
    line = splits.code.read(table[:1])[0]
    assert [p.partition("=")[0] for p in line.split(", ")] == [
        "age",
        "region",
        "job",
        "income",
        "balance",
        "outcome",
    ]
    assert 0.17 < float(table[:, 13].mean()) < 0.23


# ----------------------------------------------------------------------------
# Families that are fitted.
# ----------------------------------------------------------------------------


@pytest.mark.parametrize("family", [Independent(), Copula(), TreeChain()])
def test_every_column_is_as_in_the_training_rows(family, table):
    fake = drawn(family, GAPS.space, table)
    for column in columns_of(GAPS.space):
        if column.kind == "category":
            assert (share(fake, column) - share(table, column)).abs().max() < 0.04
            continue
        real_there, fake_there = column.present(table), column.present(fake)
        assert float(real_there.double().mean() - fake_there.double().mean()) < 0.04
        own, made = table[real_there, column.start], fake[fake_there, column.start]
        assert torch.isin(made, own).all()
        assert stats.ks_2samp(own.numpy(), made.numpy()).statistic < 0.05
        gone = fake[~fake_there, column.start]
        assert len(gone) == 0 or torch.equal(
            gone.unique(), table[~real_there, column.start].unique()
        )


def correlation(x):
    return float(torch.corrcoef(x.T)[0, 1])


def test_a_copula_has_the_correlation_of_normal_columns_and_independent_columns_have_none():
    z = torch.randn(4000, 2, generator=Rng(0).stream("z"))
    x = torch.stack([z[:, 0], 0.8 * z[:, 0] + 0.6 * z[:, 1]], 1)
    assert correlation(drawn(Copula(), PLANE, x)) == pytest.approx(correlation(x), abs=0.03)
    assert abs(correlation(drawn(Independent(), PLANE, x))) < 0.06
    assert abs(correlation(drawn(TreeChain(), PLANE, x)) - correlation(x)) < 0.03


def test_a_chain_of_trees_learns_what_no_correlation_shows():
    x = 4 * torch.rand(4000, 1, generator=Rng(0).stream("x")) - 2
    x = torch.cat([x, x.square()], 1)
    chain, copula = (drawn(f, PLANE, x) for f in (TreeChain(leaf=5), Copula()))
    errors = [(y[:, 1] - y[:, 0].square()).abs().median() for y in (chain, copula)]
    assert errors[0] < 0.02
    assert errors[1] > 0.5


def test_rows_stop_at_the_leaves_of_the_trees_of_scikit_learn(table):
    from sklearn.tree import DecisionTreeRegressor

    x = torch.cat([table[:, 0:1], table[:, 14:15]], 1)
    model = TreeChain().fit(PLANE, x, rng=Rng(0)).model
    stream = Rng(0).stream("trees")
    seeds = [int(torch.randint(2**31 - 1, (), generator=stream)) for _ in range(2)]
    tree = DecisionTreeRegressor(min_samples_leaf=15, random_state=seeds[1])
    y = x[:, 1:].double()
    tree.fit(x[:, :1].numpy(), ((y - y.mean(0)) / y.std(0, correction=0)).numpy())
    node = model.nodes(1, x)
    assert torch.equal(node, torch.from_numpy(tree.apply(x[:, :1].numpy())))
    for leaf in node.unique()[:20]:
        first, count = int(model.first_1[leaf]), int(model.count_1[leaf])
        donors = model.donors_1[first : first + count, 0].sort().values
        assert torch.equal(donors, x[node == leaf, 1].sort().values)


def test_the_knob_of_a_chain_goes_from_its_leaves_to_independent_columns():
    z = torch.randn(3000, 1, generator=Rng(0).stream("z"))
    model = TreeChain().fit(PLANE, torch.cat([z, z], 1), rng=Rng(0)).model
    assert isinstance(model, Tunable)
    assert (model.knob.name, model.knob.neutral) == ("donors", 15)
    found = [
        correlation(model.tuned(v).sample(3000, rng=Rng(1).stream("s")))
        for v in (1e9, *model.knob.values, 15)
    ]
    assert abs(found[0]) < 0.06
    assert found[1:] == sorted(found[1:])
    assert torch.equal(
        model.tuned(15).sample(9, rng=Rng(2).stream("s")), model.sample(9, rng=Rng(2).stream("s"))
    )
    with pytest.raises(UserError, match="at least leaf=15"):
        model.tuned(3)


def test_a_family_of_tables_needs_rows():
    with pytest.raises(UserError, match="needs training rows"):
        Copula().fit(PLANE, torch.zeros(0, 2), rng=Rng(0))


# ----------------------------------------------------------------------------
# The GAN.
# ----------------------------------------------------------------------------


@pytest.mark.parametrize("numbers", ["quantile", "modes"])
def test_rows_come_back_from_their_coding(numbers, table):
    coding = RowCoding(GAPS.space, numbers)
    coding.fit(table, rng=Rng(0).stream("fit"))
    back = coding.decode(coding.encode(table, rng=Rng(0).stream("modes")))
    inside = torch.ones(len(table), dtype=torch.bool)
    for column in columns_of(GAPS.space):
        if column.kind == "number":
            own = table[:, column.start]
            inside &= (own > own.quantile(0.01)) & (own < own.quantile(0.99))
    assert inside.double().mean() > 0.9
    assert torch.allclose(back[inside], table[inside], atol=1e-3)
    flags = [i for i in range(GAPS.space.size) if i not in {0, 12, 14}]
    assert torch.equal(back[:, flags], table[:, flags])


def test_quantiles_of_normal_numbers_are_the_numbers():
    x = torch.randn(20_000, 2, generator=Rng(0).stream("x"))
    coding = RowCoding(PLANE, "quantile")
    coding.fit(x, rng=Rng(0).stream("fit"))
    middle = x.abs().amax(1) < 2
    assert (coding.encode(x)[middle] - x[middle]).abs().max() < 0.1


def test_equal_numbers_are_spread_over_their_share_and_stay_whole():
    x = torch.randint(4, (6000, 2), generator=Rng(0).stream("x")).float()
    coding = RowCoding(PLANE, "quantile")
    coding.fit(x, rng=Rng(0).stream("fit"))
    y = coding.encode(x, rng=Rng(1).stream("places"))
    assert stats.kstest(y[:, 0].numpy(), "norm").statistic < 0.03
    assert (coding.rounded(coding.decode(y)) == x).double().mean() > 0.98


def test_modes_of_a_mixture_are_found():
    z = torch.randn(2000, 2, generator=Rng(0).stream("z"))
    x = torch.where(torch.arange(2000)[:, None] % 2 == 0, -10 + z, 10 + 0.1 * z)
    coding = RowCoding(PLANE, "modes")
    coding.fit(x, rng=Rng(0).stream("fit"))
    found = coding.numbers
    means = found.means[0][found.shares[0] > 0.2].sort().values
    assert means[[0, -1]].tolist() == pytest.approx([-10, 10], abs=0.5)


def test_categories_are_drawn_with_the_probabilities_of_the_logits():
    space = Space("table", (3,), parts=(Part("category", 3),))
    game = TableGan(latent=2, width=8).build(space, rng=Rng(0))
    logits = torch.tensor([0.5, 0.3, 0.2]).log()
    with torch.no_grad():
        last = game.model.net[-1]
        last.weight.zero_()
        last.bias.copy_(logits)
    x = game.model.sample(20_000, rng=Rng(0).stream("x"))
    assert stats.chisquare(x.sum(0).numpy(), [10_000, 6_000, 4_000]).pvalue > 0.001
    raw = game.model(game.model.prior(5000, rng=Rng(1).stream("z")))
    sharp = game.model.relaxed(raw, rng=Rng(2).stream("g"))
    assert torch.allclose(sharp.sum(1), torch.ones(5000), atol=1e-5)
    assert torch.bincount(sharp.argmax(1)).div(5000).tolist() == pytest.approx(
        [0.5, 0.3, 0.2], abs=0.03
    )


def test_training_brings_the_rows_nearer(table):
    family = TableGan(width=64)
    game = family.build(GAPS.space, rng=Rng(0))
    game.prepare(table[:512], rng=Rng(0).stream("prepare"))
    before = float(game.validate(table[-500:], rng=Rng(0).stream("validate")))
    play, rng = solvers.make(family.solver).start(game), Rng(0).stream("train")
    for _ in range(150):
        index = torch.randint(len(table), (128 * play.batches,), generator=rng)
        play.step(table[index], rng=rng)
    after = float(game.validate(table[-500:], rng=Rng(0).stream("validate")))
    assert after < 0.5 * before


RARE = Space("table", (3,), parts=(Part("category", 2), Part("number")))


def rare(n, share=0.02):
    x = torch.randn(n, 3, generator=Rng(3).stream("rare"))
    x[:, 0] = (torch.rand(n, generator=Rng(4).stream("rare")) >= share).float()
    x[:, 1] = 1 - x[:, 0]
    return x


def test_balanced_training_asks_for_rare_categories_by_the_logarithm_of_their_count():
    game = TableGan(balanced=True).build(RARE, rng=Rng(0))
    x = rare(5000)
    places, asked = game.model.condition.sampled(x, rng=Rng(0).stream("rows"))
    assert torch.equal(x[places, :2], asked)
    few = int((x[:, 1] == 1).sum())
    wanted = math.log1p(few) / (math.log1p(few) + math.log1p(5000 - few))
    assert float(asked[:, 1].mean()) == pytest.approx(wanted, abs=0.03)


def test_balanced_samples_ask_for_categories_as_often_as_they_occur():
    family = TableGan(balanced=True, width=16)
    game, x = family.build(RARE, rng=Rng(0)), rare(5000)
    game.prepare(x[:512], rng=Rng(0).stream("prepare"))
    play, rng = solvers.make(family.solver).start(game), Rng(0).stream("train")
    for _ in range(10):
        play.step(torch.cat([x[:500]] * play.batches), rng=rng)
        game.advance(rng=rng)
    counts = game.model.condition.counts
    assert float(counts.sum()) == 2 + 10 * 500
    assert float(counts[1] / counts.sum()) == pytest.approx(float(x[:500, 1].mean()), abs=1e-3)
    drawn = game.model.condition.drawn(torch.randn(20_000, 2, generator=Rng(5).stream("z")))
    assert float(drawn[:, 1].mean()) == pytest.approx(float(counts[1] / counts.sum()), abs=5e-3)


def test_the_loss_of_what_is_asked_for_is_the_cross_entropy():
    game = TableGan(balanced=True).build(RARE, rng=Rng(0))
    raw = torch.randn(50, 3, generator=Rng(0).stream("raw"))
    code = torch.randint(2, (50,), generator=Rng(1).stream("codes"))
    asked = torch.nn.functional.one_hot(code, 2).float()
    wanted = torch.nn.functional.cross_entropy(raw[:, :2], code)
    assert torch.allclose(game.model.condition.missed(raw, asked), wanted)


def test_balanced_training_keeps_the_contract_and_needs_categories():
    check_family(TableGan(balanced=True), GAPS.space)
    with pytest.raises(UserError, match="needs a column of categories"):
        TableGan(balanced=True).build(PLANE, rng=Rng(0))
