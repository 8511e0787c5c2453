"""Annealing is held to decoders whose likelihood is known: in closed form or by quadrature."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from gantlet.core.data import Space
from gantlet.core.metric import Probe
from gantlet.core.model import Decoder, Invertible, LogProb, Model
from gantlet.core.rng import Rng
from gantlet.core.spec import probes
from gantlet.probes import annealing
from gantlet.probes.ais import (
    ABOVE,
    ACCEPTANCE,
    BELOW,
    BITS,
    EXACT,
    GAP,
    LOWER,
    OFF,
    SIGMA,
    Ais,
    spread,
    tune,
)
from gantlet.probes.annealing import (
    Adapting,
    Annealer,
    Bernoulli,
    Fixed,
    FlatDecoder,
    GaussianNoise,
    Hmc,
    Posterior,
    anneal,
    decoding_of,
    log_mean_exp,
    schedule,
    simulate,
    stretched,
)
from gantlet.testing.contracts import untouched_global_state


class Linear(Decoder):
    """G(z) = z W + b, so that x is normal with covariance W^T W + sigma^2."""

    def __init__(self, size=20, latent=3, space=None, dtype=torch.float64):
        super().__init__()
        self.space = space or Space("vector", (size,))
        self.latent_dim = latent
        rng = torch.Generator().manual_seed(0)
        w = torch.randn(latent, self.space.size, generator=rng, dtype=dtype)
        self.w = nn.Parameter(w / math.sqrt(latent))
        self.b = nn.Parameter(torch.randn(self.space.size, generator=rng, dtype=dtype))

    def prior(self, n, *, rng):
        return torch.randn(n, self.latent_dim, generator=rng, dtype=self.w.dtype)

    def _decode(self, z, context):
        return torch.addmm(self.b, z, self.w).view(-1, *self.space.shape)

    def _sample(self, n, context, *, rng):
        with torch.no_grad():
            return self.decode(self.prior(n, rng=rng))

    def exact(self, x, sigma):
        w = self.w.detach().double()
        noise = torch.as_tensor(sigma, dtype=torch.float64).square().expand(self.space.size)
        normal = torch.distributions.MultivariateNormal(
            self.b.detach().double(), w.T @ w + noise.diag()
        )
        return normal.log_prob(x.double())


class Curve(Decoder):
    """One latent number to the probabilities of eight bits."""

    space = Space("vector", (8,), 2)
    latent_dim = 1

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.linspace(-3, 3, 8, dtype=torch.float64))

    def prior(self, n, *, rng):
        return torch.randn(n, 1, generator=rng, dtype=torch.float64)

    def _decode(self, z, context):
        return (self.slope * z + (3 * z).sin()).sigmoid()

    def _sample(self, n, context, *, rng):
        with torch.no_grad():
            return torch.bernoulli(self.decode(self.prior(n, rng=rng)), generator=rng)

    def exact(self, x):
        node, weight = np.polynomial.hermite_e.hermegauss(200)
        p = self.decode(torch.from_numpy(node)[:, None]).detach().numpy()
        x = x.double().numpy()[:, None]
        each = np.prod(np.where(x == 1, p, 1 - p), 2)
        return torch.from_numpy(np.log(each @ weight / math.sqrt(2 * math.pi)))


class Stretch(Invertible):
    """z = (x - 1) / s: a flow whose smoothed density is normal too."""

    space = Space("vector", (2,))

    def __init__(self, base=1.0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([0.5, 2.0], dtype=torch.float64))
        self.base = base

    def _encode(self, x, context):
        return (x - 1) / self.scale, -self.scale.log().sum().expand(len(x))

    def _decode(self, z, context):
        return z * self.scale + 1

    def _log_prob(self, x, context, *, rng):
        z, log_det = self.encode(x)
        base = torch.distributions.Normal(0.0, self.base).log_prob(z).sum(1)
        return LogProb(base + log_det, "exact")

    def _sample(self, n, context, *, rng):
        with torch.no_grad():
            z = torch.randn(n, 2, generator=rng, dtype=torch.float64)
            return self.decode(self.base * z)


class Changed(Decoder):
    """A linear decoder with something wrong with it."""

    space = Space("vector", (20,))
    latent_dim = 3

    def __init__(self, wrong):
        super().__init__()
        self.inner = Linear(dtype=torch.float32)
        self.wrong = wrong

    def prior(self, n, *, rng):
        if self.wrong == "uniform":
            return 2 * torch.rand(n, 3, generator=rng) - 1
        return torch.randn(n, 3, generator=rng)

    def _decode(self, z, context):
        if self.wrong == "detached":
            with torch.no_grad():
                return self.inner.decode(z)
        y = self.inner.decode(z)
        return torch.where(z[:, :1] > 0, torch.nan, y) if self.wrong == "nan" else y

    def _sample(self, n, context, *, rng):
        return self.decode(self.prior(n, rng=rng)).detach()


class Memory(Model):
    space = Space("vector", (2,))

    def _sample(self, n, context, *, rng):
        return torch.randn(n, 2, generator=rng)


def stream(name="test", seed=0):
    return Rng(seed).stream(name)


def both(model, observation, n, *, rng, dequantised=True, **settings):
    """Returns simulated samples with their bounds."""
    decoding = FlatDecoder(model, dequantised=dequantised)
    how = Annealer(**settings)
    z, x = simulate(decoding, observation, n, rng=rng)
    below = how.lower(decoding, observation, x, rng=rng)
    above = how.upper(decoding, observation, x, z, pace=below.pace, rng=rng)
    return x, below, above


@pytest.mark.parametrize("name", ["sigmoid", "linear"])
def test_schedules_rise_from_the_prior_to_the_posterior_and_are_symmetric(name):
    betas = schedule(name, 101)
    assert betas[0] == 0
    assert betas[-1] == 1
    assert bool((betas.diff() > 0).all())
    assert torch.allclose(betas + betas.flip(0), torch.ones_like(betas))
    s = 1 / (1 + math.exp(2))
    low, high = 1 / (1 + math.exp(4)), 1 / (1 + math.exp(-4))
    assert float(schedule("sigmoid", 5)[1]) == pytest.approx((s - low) / (high - low))


@pytest.mark.parametrize("sigma", [torch.tensor([0.3]), torch.linspace(0.1, 2, 20)])
def test_gaussian_noise_is_torchs(sigma):
    sigma = sigma.double()
    rng = stream()
    x, y = (torch.randn(5, 20, generator=rng, dtype=torch.float64) for _ in range(2))
    y.requires_grad_()
    true = torch.distributions.Normal(y, sigma).log_prob(x).sum(1)
    found = GaussianNoise(sigma)
    assert torch.allclose(found.log_prob(x, y), true)
    (slope,) = torch.autograd.grad(true.sum(), y)
    assert torch.allclose(found.slope(x, y.detach()), slope)


def test_widths_of_rows_are_those_of_the_chains_of_a_row():
    rows = GaussianNoise(torch.tensor([[0.1], [1.0]]).double())
    x, y = torch.ones(2, 3).double(), torch.zeros(2, 3).double()
    index = torch.tensor([0, 0, 1])
    found = rows.rows(index).log_prob(x[index], y[index])
    each = [
        GaussianNoise(torch.tensor([s]).double()).log_prob(x[:1], y[:1]) for s in (0.1, 0.1, 1.0)
    ]
    assert torch.allclose(found, torch.cat(each))


def test_bernoulli_noise_is_torchs_and_keeps_off_the_ends():
    x = torch.tensor([[0.0, 1.0, 1.0]]).double()
    y = torch.tensor([[0.2, 0.7, 0.9]], dtype=torch.float64, requires_grad=True)
    true = torch.distributions.Bernoulli(y).log_prob(x).sum(1)
    assert torch.allclose(Bernoulli().log_prob(x, y), true)
    (slope,) = torch.autograd.grad(true.sum(), y)
    assert torch.allclose(Bernoulli().slope(x, y.detach()), slope)
    ends = torch.tensor([[1.0, 0.0, 1.5]])
    assert bool(Bernoulli().log_prob(x.float(), ends).isfinite().all())
    assert bool(Bernoulli().slope(x.float(), ends).isfinite().all())


def test_moves_leave_the_posterior_as_it_is():
    model = Linear(size=4, latent=2)
    rng = stream()
    sigma = torch.tensor([0.7]).double()
    x = model.sample(1, rng=rng)
    w = model.w.detach()
    precision = torch.eye(2).double() + w @ w.T / 0.49
    centre = torch.linalg.solve(precision, w @ (x - model.b.detach()).T / 0.49).T
    root = torch.linalg.cholesky(precision.inverse())
    z = centre + torch.randn(4000, 2, generator=rng, dtype=torch.float64) @ root.T
    posterior = Posterior(
        FlatDecoder(model, dequantised=True), GaussianNoise(sigma), x.expand(4000, -1)
    )
    state, hmc = posterior.at(z), Hmc()
    step = torch.full((4000,), math.log(0.5), dtype=torch.float64)
    for _ in range(5):
        state, chance = hmc.move(posterior, state, 1.0, step, rng=rng)
    assert 0.3 < float(chance.mean()) < 0.999
    assert not torch.allclose(state.z, z)
    white = torch.linalg.solve_triangular(root, (state.z - centre).T, upper=False).T
    assert float(white.mean(0).abs().max()) < 4 / math.sqrt(4000)
    assert torch.allclose(white.T.cov(), torch.eye(2).double(), atol=0.1)
    assert torch.allclose(state.log_likelihood, posterior.at(state.z).log_likelihood)


def test_steps_adapt_to_the_acceptance_that_is_wanted_for_each_point_and_temperature():
    model = Linear(size=50, latent=5)
    widths = torch.tensor([[0.02], [2.0]]).double()
    x = model.sample(2, rng=stream())
    how = Annealer(temperatures=400, chains=16)
    found = how.lower(FlatDecoder(model, dequantised=True), GaussianNoise(widths), x, rng=stream())
    assert found.pace.shape == (398, 2)
    narrow, wide = found.pace.T
    assert float(narrow[-1] - wide[-1]) < -3
    assert float(narrow[-1] - narrow[0]) < -2
    assert found.acceptance.tolist() == pytest.approx([0.65, 0.65], abs=0.1)


def test_fixed_steps_follow_their_path_and_adapting_ones_their_chance():
    adapting = Adapting(torch.zeros(2), target=0.6, rate=0.5)
    adapting.adapt(torch.tensor([1.0, 0.0]))
    assert adapting.log_step(1).tolist() == pytest.approx([0.2, -0.3])
    adapting.adapt(torch.tensor([0.6, 0.6]))
    path = adapting.path()
    assert path.shape == (2, 2)
    assert torch.allclose(path[1], path[0])
    fixed = Fixed(torch.tensor([[1.0], [2.0]]))
    fixed.adapt(torch.tensor([0.0]))
    assert [float(fixed.log_step(i)) for i in (0, 1)] == [1.0, 2.0]
    assert stretched(torch.tensor([[0.0], [1.0]]), 5).flatten().tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_the_exact_likelihood_of_a_linear_decoder_is_inside_the_sandwich():
    model = Linear()
    sigma = torch.tensor([0.2]).double()
    x, below, above = both(
        model, GaussianNoise(sigma), 60, rng=stream(), temperatures=250, chains=8
    )
    exact = model.exact(x, 0.2)
    low, high = below.value - exact, above.value - exact
    error = float(torch.cat([low, high]).std()) / math.sqrt(60)
    assert -0.5 < float(low.mean()) < 2 * error
    assert -2 * error < float(high.mean()) < 0.5
    assert float((high - low).mean()) > 0


def test_weights_are_unbiased_up_and_down_since_no_step_looks_at_its_own_chain():
    model = Linear()
    x, below, above = both(
        model,
        GaussianNoise(torch.tensor([0.2]).double()),
        300,
        rng=stream(),
        temperatures=150,
        chains=8,
    )
    exact = model.exact(x, 0.2)
    for ratio in ((below.value - exact).exp(), (exact - above.value).exp()):
        error = float(ratio.std()) / math.sqrt(300)
        assert float(ratio.mean()) == pytest.approx(1, abs=3 * error)
        assert error < 0.1


def test_the_sandwich_closes_with_temperatures_and_sooner_with_the_sigmoid_schedule():
    model = Linear(size=100, latent=8)
    noise = GaussianNoise(torch.tensor([0.1]).double())

    def gap(temperatures, name="sigmoid"):
        _, below, above = both(
            model, noise, 8, rng=stream(), temperatures=temperatures, chains=4, schedule=name
        )
        return float((above.value - below.value).mean())

    few, many, linear = gap(40), gap(300), gap(300, "linear")
    assert few > 4 * many > 0
    assert linear > 2 * many


def test_bernoulli_likelihood_of_a_curve_is_that_of_quadrature():
    model = Curve()
    x, below, above = both(
        model, Bernoulli(), 30, rng=stream(), dequantised=False, temperatures=100, chains=16
    )
    exact = model.exact(x)
    assert torch.allclose(below.value, exact, atol=0.5)
    assert torch.allclose(above.value, exact, atol=0.5)
    assert float((below.value - exact).mean()) == pytest.approx(0, abs=0.06)
    assert float((above.value - exact).mean()) == pytest.approx(0, abs=0.06)


def test_weights_are_unbiased_even_with_few_temperatures():
    model = Linear(size=3, latent=2)
    x = model.sample(1, rng=stream())
    decoding = FlatDecoder(model, dequantised=True)
    how = Annealer(temperatures=8, chains=20_000)
    noise = GaussianNoise(torch.tensor([0.8]).double())
    found = how.lower(decoding, noise, x, rng=stream())
    assert float(found.value) == pytest.approx(float(model.exact(x, 0.8)), abs=0.03)


def test_chains_that_adapt_to_their_own_past_are_why_there_is_a_pilot():
    model = Linear()
    noise = GaussianNoise(torch.tensor([0.2]).double())
    decoding = FlatDecoder(model, dequantised=True)
    _, x = simulate(decoding, noise, 200, rng=stream())
    rows = x.repeat_interleave(8, 0)
    pace = Adapting(torch.full((1600,), -2.0).double(), rate=0.1)
    found = anneal(
        Posterior(decoding, noise, rows),
        decoding.prior(1600, rng=stream()),
        schedule("sigmoid", 400),
        hmc=Hmc(),
        pace=pace,
        rng=stream(),
    )
    ratio = (log_mean_exp(found.log_weight, 8) - model.exact(x, 0.2)).exp()
    error = float(ratio.std()) / math.sqrt(200)
    assert float(ratio.mean()) > 1 + 5 * error


def test_log_mean_exp_is_over_the_chains_of_a_point():
    weights = torch.tensor([1.0, 3.0, 1000.0, 1000.0]).double().log()
    assert log_mean_exp(weights, 2).exp().tolist() == pytest.approx([2.0, 1000.0])


def test_blocks_bound_memory_and_change_little(monkeypatch):
    model = Linear()
    noise = GaussianNoise(torch.tensor([1.0]).double())
    rows = []
    decode = Linear.decode
    monkeypatch.setattr(Linear, "decode", lambda self, z: rows.append(len(z)) or decode(self, z))
    settings = {"temperatures": 100, "chains": 4}
    x, whole, _ = both(model, noise, 10, rng=stream(), **settings)
    assert max(rows) == 40
    monkeypatch.setattr(annealing, "DECODED_AT_ONCE", 3 * 4 * 20)
    rows.clear()
    decoding = FlatDecoder(model, dequantised=True)
    parted = Annealer(**settings).lower(decoding, noise, x, rng=stream("other"))
    assert max(rows) == 12
    assert torch.corrcoef(torch.stack([whole.value, parted.value]))[0, 1] > 0.9


def test_the_width_is_that_of_the_noise_in_the_data():
    model = Linear(size=50, latent=3)
    rng = stream()
    clean = model.sample(40, rng=rng)
    x = clean + 0.3 * torch.randn(clean.shape, generator=rng, dtype=torch.float64)
    unit = torch.tensor([2.0]).double()
    found = tune(
        FlatDecoder(model, dequantised=True),
        x,
        unit,
        temperatures=400,
        chains=4,
        hmc=Hmc(),
        rng=rng,
    )
    assert found * 2.0 == pytest.approx(0.3, rel=0.1)


def test_spread_is_of_each_component_or_of_all():
    x = torch.tensor([[0.0, 10.0, 5.0], [2.0, 30.0, 5.0]])
    assert spread(x, each=True).tolist() == pytest.approx([math.sqrt(2), math.sqrt(200), 1.0])
    assert spread(x, each=False).tolist() == pytest.approx([float(x.std())])


QUICK = Ais(temperatures=200, chains=4, points=30, simulated=16, tuning=16)


def scores(probe, model, real, seed=0):
    return probe.inspect(model, real, rng=Rng(seed)).scores


def noisy(model, n=60, sigma=0.3):
    rng = stream("noisy")
    clean = model.sample(n, rng=rng)
    return clean + sigma * torch.randn(clean.shape, generator=rng, dtype=clean.dtype)


def test_the_probe_is_found_by_name_and_is_no_default():
    from gantlet.commands.compare.study import PROBES

    assert isinstance(probes.make("ais:temperatures=10,sigma=0.1"), Probe)
    assert "ais" not in PROBES


def test_the_probe_reports_the_exact_likelihood_of_a_linear_decoder_with_everything_said():
    model = Linear()
    real = noisy(model)
    found = scores(QUICK, model, real)
    exact = model.exact(real[:30], found[SIGMA].value * real[30:].std(0))
    assert found[LOWER].n == 30
    assert found[LOWER].value == pytest.approx(float(exact.mean()), abs=0.3)
    assert found[LOWER].low < found[LOWER].value < found[LOWER].high
    bits = -found[LOWER].value / 20 / math.log(2)
    assert found[BITS].value == pytest.approx(bits)
    assert found[GAP].value == pytest.approx(found[ABOVE].value - found[BELOW].value)
    assert found[GAP].value < 1
    assert 0.5 < found[ACCEPTANCE].value < 0.85
    for word in ("4 chains", "200 temperatures", "sigmoid", "acceptance 0.", "gap", "tuned on 16"):
        assert word in found[LOWER].method
    assert found[EXACT].value is None
    assert "no exact density" in found[OFF].method


def test_a_given_width_is_used():
    found = scores(Ais(temperatures=20, points=8, sigma=0.25), Linear(), noisy(Linear()))
    assert found[SIGMA].value == 0.25
    assert "as given" in found[LOWER].method


def test_the_width_is_tuned_on_samples_that_are_not_judged():
    model = Linear()
    real = noisy(model)
    moved = torch.cat([real[:30] + 5, real[30:]])
    short = replace(QUICK, temperatures=40)
    a, b = (scores(short, model, x) for x in (real, moved))
    assert a[SIGMA] == b[SIGMA]
    assert a[LOWER].value > b[LOWER].value


def test_the_same_seed_gives_the_same_numbers_and_leaves_everything_as_it_was():
    model = Linear(dtype=torch.float32)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    real = noisy(model)
    untouched = real.clone()
    probe = Ais(temperatures=20, points=8, simulated=8, tuning=8)
    with untouched_global_state():
        first, second = (scores(probe, model, real) for _ in range(2))
    assert first == second
    assert scores(probe, model, real, seed=1)[LOWER] != first[LOWER]
    assert torch.equal(real, untouched)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_bits_are_a_bernoulli_observation():
    model = Curve()
    real = model.sample(60, rng=stream()).float()
    found = scores(Ais(temperatures=100, points=30, chains=16), model, real)
    assert found[LOWER].value == pytest.approx(float(model.exact(real[:30]).mean()), abs=0.1)
    assert "bernoulli" in found[LOWER].method
    assert found[SIGMA].value is None


def test_of_a_flow_the_exact_likelihood_is_beside_it():
    model = Stretch()
    real = model.sample(80, rng=stream())
    found = scores(Ais(temperatures=150, chains=8, points=40, sigma=0.5), model, real)
    width = 0.5 * real[40:].std(0)
    smooth = torch.distributions.Normal(1.0, (model.scale.detach() ** 2 + width**2).sqrt())
    exact = torch.distributions.Normal(1.0, model.scale.detach())
    smoothed = float(smooth.log_prob(real[:40]).sum(1).mean())
    true = float(exact.log_prob(real[:40]).sum(1).mean())
    assert found[EXACT].value == pytest.approx(true)
    assert found[LOWER].value == pytest.approx(smoothed, abs=0.1)
    assert found[OFF].value == pytest.approx(found[LOWER].value - true)


def test_discrete_samples_are_dequantised_and_levels_of_a_decoder_shifted():
    space = Space("image", (1, 2, 2), 4)
    model = Linear(space=space)
    decoding = decoding_of(model, dequantised=True)
    z = decoding.prior(3, rng=stream())
    assert torch.allclose(decoding(z), model.decode(z).flatten(1) + 0.5)
    x = torch.full((5, 1, 2, 2), 2.0)
    flat = decoding.flat(x, rng=stream())
    assert flat.shape == (5, 4)
    assert bool(((flat >= 2) & (flat < 3)).all())
    assert not torch.equal(flat, flat.round())
    plain = FlatDecoder(model, dequantised=False)
    assert torch.equal(plain(z), model.decode(z).flatten(1))
    assert torch.equal(plain.flat(x, rng=stream()), x.flatten(1).double())


@pytest.mark.parametrize(
    ("model", "real", "reason"),
    [
        (Memory(), torch.randn(60, 2), "no latent vectors"),
        (Changed("nan"), torch.randn(60, 20), "the decoder gave NaN or infinity for"),
        (Changed("detached"), torch.randn(60, 20), "is not differentiable"),
        (Changed("uniform"), torch.randn(60, 20), "not standard normal"),
        (Stretch(base=2.0), torch.randn(60, 2), "not standard normal"),
        (Linear(), torch.randn(3, 20), "needs 6 held-out samples"),
    ],
    ids=["memory", "nan", "detached", "uniform", "wide", "few"],
)
def test_what_cannot_be_annealed_is_missing_and_says_why(model, real, reason):
    found = scores(QUICK, model, real)
    assert {LOWER, BITS, GAP, BELOW, ABOVE, ACCEPTANCE, SIGMA, EXACT, OFF} == set(found)
    assert all(e.value is None and reason in e.method for e in found.values())


def test_bernoulli_noise_needs_two_levels():
    found = scores(Ais(observation="bernoulli"), Linear(), noisy(Linear()))
    assert "two levels" in found[LOWER].method


def test_cost_is_bounded_by_fewer_samples_and_then_said():
    model = Linear()
    real = noisy(model, 300)
    one = 2 * 2 * 3 * 20
    chains = 4 * 10 * 20 * one
    probe = Ais(temperatures=20, points=100, simulated=8, tuning=8, flops=60 * chains)
    found = scores(probe, model, real)
    assert 8 <= found[LOWER].n < 100
    costly = Ais(temperatures=20, points=100, simulated=8, tuning=8, flops=8 * chains)
    method = scores(costly, model, real)[LOWER].method
    assert method.startswith("would take")
    assert "fewer temperatures or chains" in method


def test_a_trajectory_into_nan_is_rejected():
    class Cliff(Linear):
        def _decode(self, z, context):
            y = super()._decode(z, context)
            return torch.where(z[:, :1] > 2.5, torch.nan, y)

    model = Cliff()
    decoding = FlatDecoder(model, dequantised=True)
    x = model.sample(4, rng=stream())
    found = Annealer(temperatures=50, chains=2).lower(
        decoding, GaussianNoise(torch.tensor([0.5]).double()), x, rng=stream()
    )
    assert bool(found.value.isfinite().all())
