"""Small critics: they see what no direction shows, one flaw after another, none in noise."""

import math

import pytest
import torch
from scipy.stats import binom, ks_2samp

from gantlet.core.rng import Rng
from gantlet.domains.attributes import AttributeTable
from gantlet.flaws.critics import (
    LabelledSamples,
    ProjectionDeflator,
    ResidualDeflator,
    SmallCritic,
    TrainingBudget,
    logistic,
    simplest_critic,
    train_critics,
)
from gantlet.flaws.search import flaw_in_other_set, list_flaws
from gantlet.flaws.split import DiscoveryValidation, Representation
from gantlet.options import Search
from gantlet.stats.permutation import TwoSamples, strata_of, stratified

RNG = Rng(0)
QUICK = {"permutations": 199, "level": 0.05, "smallest": 0.2, "most": 6}
BRIEF = TrainingBudget(ranks=(1, 3), restarts=3, steps=300)


def normal(name, *shape):
    return torch.randn(*shape, generator=RNG.stream(name), dtype=torch.float64)


def seen(x):
    return Representation(probes=AttributeTable(words=(), values=x[:, :0].double()), features=x)


def turned(x):
    turn, _ = torch.linalg.qr(normal("turn", x.shape[1], x.shape[1]))
    return x @ turn


def on_a_sphere(x):
    """All directions as before, but one length."""
    return x / x.norm(dim=1, keepdim=True) * math.sqrt(x.shape[1])


def of_one_sign(x):
    """The product of the first three is positive; any two of them are independent."""
    y = x.clone()
    y[:, 2] *= y[:, :3].prod(1).sign()
    return y


def listed(real, fake, *, blind="residual", seed=0, effort=BRIEF, **more):
    halves = DiscoveryValidation.of(seen(real), seen(fake), rng=Rng(seed))
    return train_critics(halves, blind=blind, rng=Rng(seed), effort=effort, **{**QUICK, **more})[0]


@pytest.mark.parametrize("plant", [on_a_sphere, of_one_sign])
def test_a_flaw_that_no_direction_shows_is_found(plant):
    real, fake = turned(normal("real", 3000, 6)), turned(plant(normal("fake", 3000, 6)))
    line = Search(mode="linear", permutations=199)
    assert list_flaws(seen(real), seen(fake), line, rng=Rng(0)).flaws == []
    first, *_ = listed(real, fake, most=1)
    assert first.size.low > 0.4
    assert first.accuracy.low > 0.57
    assert first.p == 1 / 200


@pytest.mark.parametrize("blind", ["residual", "project"])
def test_the_first_flaw_does_not_hide_the_second(blind):
    real, fake = normal("two real", 3000, 7), of_one_sign(normal("two fake", 3000, 7))
    fake[:, 6] += 1.5
    halves = DiscoveryValidation.of(seen(turned(real)), seen(turned(fake)), rng=Rng(1))
    found, _ = train_critics(halves, blind=blind, rng=Rng(1), effort=BRIEF, **{**QUICK, "most": 2})
    assert len(found) == 2
    shift, sign = found[:2]
    shifted = fake[halves.places.fake, 6]
    assert _agree(shift.judge.fake, shifted) > 0.9
    assert abs(_agree(sign.judge.fake, shifted)) < 0.35
    sure = real[halves.places.real, :3].prod(1).sign()
    mean = [float(sign.judge.real[sure == s].mean()) for s in (-1, 1)]
    assert mean[1] - mean[0] > 0.5 * float(sign.judge.real.std())


def _agree(a, b):
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])


def test_lists_on_flawless_samples_are_rarely_not_empty():
    times, wrong = 60, 0
    for i in range(times):
        x = normal(f"null{i}", 2, 120, 4)
        quick = TrainingBudget(ranks=(1, 2), restarts=2, steps=25)
        wrong += bool(
            listed(x[0], x[1], seed=i, effort=quick, smallest=0.0, permutations=59, most=1)
        )
    # Of 60 lists at level 0.05; beyond these lies one case in a thousand.
    assert wrong <= binom.ppf(0.999, times, 0.05)


def test_p_values_within_strata_are_even_though_strata_differ():
    found = []
    for i in range(300):
        known = normal(f"k{i}", 200)
        fake = torch.rand(200, generator=RNG.stream(f"f{i}")) < torch.sigmoid(2 * known)
        # What is measured goes along with what is known and with nothing else.
        z = (known * 3).round() + normal(f"z{i}", 200)
        order = (~fake).argsort(descending=True, stable=True)
        pair = TwoSamples(real=z[~fake], fake=z[fake])
        strata = (known[order] * 3).round().long() + 20
        found.append(stratified(pair, strata, permutations=99, rng=RNG.stream(f"p{i}"))[0])
    even = torch.rand(2000, generator=RNG.stream("u")).numpy()
    assert ks_2samp(found, even).pvalue > 0.01


def test_a_difference_within_strata_has_its_size_and_sign():
    known, noise = normal("known", 20_000), normal("noise", 20_000)
    fake = torch.arange(20_000) >= 10_000
    z = 5 * known + noise + 0.5 * fake
    pair = TwoSamples(real=z[:10_000], fake=z[10_000:])
    p, shift = stratified(pair, strata_of(known), permutations=99, rng=RNG.stream("p"))
    assert p == 0.01
    assert shift * float(pair.real.std()) == pytest.approx(0.5, abs=0.06)
    other = TwoSamples(real=pair.fake, fake=pair.real)
    swapped = strata_of(known)[torch.arange(20_000).roll(10_000)]
    assert stratified(other, swapped, permutations=99, rng=RNG.stream("q"))[0] == 1.0


def test_the_simplest_critic_that_tells_is_taken():
    real, fake = normal("simple real", 1200, 5), normal("simple fake", 1200, 5)
    fake[:, 1] += 1.5
    parts = [
        LabelledSamples(
            x=torch.cat([real[s], fake[s]]), known=torch.zeros(1200, dtype=torch.float64)
        )
        for s in (slice(600), slice(600, None))
    ]
    critic = simplest_critic(*parts, BRIEF, rng=Rng(0), name="c")
    assert critic.rank == 1
    (moved,) = critic.looks_at(real, 0.9).T
    assert abs(float(moved[1])) > 0.95
    assert (
        ProjectionDeflator().after(critic, TwoSamples(real=real, fake=fake)).show(real)[:, 1].std()
        < 0.3
    )


def test_logistic_regression_is_that_of_sklearn():
    from sklearn.linear_model import LogisticRegression

    x = normal("logistic", 500, 3)
    label = (torch.rand(500, generator=RNG.stream("l")) < torch.sigmoid(x[:, 0] - 1)).double()
    peer = LogisticRegression(C=1 / 0.5, fit_intercept=False, tol=1e-10).fit(x, label)
    assert torch.allclose(logistic(x, label), torch.from_numpy(peer.coef_[0]), atol=1e-5)


def test_what_is_known_is_regressed_out():
    rng = RNG.stream("weights")
    weights = [(5, 1), (1, 32), (1, 32), (32, 32), (1, 32), (32, 1), (1, 1)]
    a, b = (SmallCritic(tuple(torch.randn(s, generator=rng) for s in weights)) for _ in range(2))
    real, fake = normal("r", 800, 5), normal("f", 800, 5)
    blinding = ResidualDeflator().after(a, TwoSamples(real=real, fake=fake))
    own = blinding.own(b, real)(real)
    for power in (1, 2, 3):
        assert abs(_agree(own, a(real) ** power)) < 0.1
    assert torch.equal(ResidualDeflator().own(b, real)(real), b(real))


def test_a_critics_flaw_is_measured_in_another_set():
    real = normal("s real", 2000, 5)
    a, b = (on_a_sphere(normal(name, 2000, 5)) for name in ("s a", "s b"))
    (flaw, *_) = listed(real, a, most=1)
    other = DiscoveryValidation.of(seen(real), seen(b), rng=Rng(0))
    none = DiscoveryValidation.of(seen(real), seen(normal("s c", 2000, 5)), rng=Rng(0))
    assert flaw_in_other_set(flaw, other, rng=RNG.stream("g")).size.low > 0.5
    assert flaw_in_other_set(flaw, none, rng=RNG.stream("g")).size.value < 0.2
