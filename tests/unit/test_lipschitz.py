"""Slopes of decoders whose slopes are known."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from gantlet.core.data import Space
from gantlet.core.metric import Probe
from gantlet.core.model import Decoder
from gantlet.core.rng import Rng
from gantlet.core.spec import families, probes
from gantlet.models.nets import seeded
from gantlet.probes.annealing import decoding_of
from gantlet.probes.lipschitz import Lipschitz, jacobians, quantile, spectral_norms
from gantlet.testing.contracts import untouched_global_state


class Map(Decoder):
    """Any map of standard normal latent vectors."""

    def __init__(self, latent, size, decode, context_space=None):
        super().__init__()
        self.space = Space("vector", (size,))
        self.latent_dim = latent
        self.context_space = context_space
        self.weight = nn.Parameter(torch.zeros(1))
        self._f = decode

    def prior(self, n, *, rng):
        return torch.randn(n, self.latent_dim, generator=rng)

    def _decode(self, z, context):
        return self._f(z)

    def _sample(self, n, context, *, rng):
        return self._f(self.prior(n, rng=rng))


def inspect(model, **options):
    found = Lipschitz(**options).inspect(model, torch.zeros(1), rng=Rng(0))
    assert not found.clock
    return found.scores


@pytest.mark.parametrize(("latent", "size"), [(3, 7), (7, 3), (4, 4)])
def test_the_slope_of_a_linear_map_is_its_spectral_norm(latent, size):
    W = torch.randn(size, latent, generator=Rng(0).stream("w"))
    scores = inspect(Map(latent, size, lambda z: z @ W.T + 1), points=50, secants=400)
    norm = float(torch.linalg.matrix_norm(W.double(), 2))
    for name in ("largest slope", "median slope", "Lipschitz constant, lower bound"):
        assert scores[name].value == pytest.approx(norm, rel=1e-5)
    assert 0.9 * norm < scores["largest secant"].value <= norm * (1 + 1e-5)


def test_the_slope_of_a_nonlinear_map_of_one_number():
    """G(z) = (sin 3z, z^2): the slope at z is sqrt(9 cos^2 3z + 4 z^2)."""
    model = Map(1, 2, lambda z: torch.cat([(3 * z).sin(), z.square()], 1))
    scores = inspect(model, points=4000, secants=300)
    z = np.random.default_rng(0).normal(size=400_000)
    slope = np.hypot(3 * np.cos(3 * z), 2 * z)
    for name, p in (("median slope", 0.5), ("slope, 99 % quantile", 0.99)):
        estimate = scores[name]
        assert estimate.low <= np.quantile(slope, p) <= estimate.high
        assert estimate.high - estimate.low < 0.7
    largest = scores["largest slope"].value
    assert np.quantile(slope, 0.999) < largest <= np.hypot(3, 2 * 5)
    assert scores["largest secant"].value <= np.hypot(3, 2 * 5)


def test_jacobians_equal_those_of_torch_func():
    with seeded(Rng(0).stream("net")):
        net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 5))
    for latent, size in ((3, 5), (3, 2)):
        model = Map(latent, size, lambda z, size=size: net(z)[:, :size])
        z = torch.randn(6, latent, generator=Rng(1).stream("z"))
        found = jacobians(decoding_of(model, dequantised=False), z)
        slow = torch.func.vmap(torch.func.jacrev(lambda one, k=size: net(one)[:k]))(z)
        assert torch.allclose(found, slow, atol=1e-6)
        exact = torch.linalg.matrix_norm(slow.double(), 2)
        assert torch.allclose(spectral_norms(found), exact, rtol=1e-5)


def test_secants_see_a_cliff_that_no_slope_does():
    """A staircase is flat everywhere, and its steps are seen between two points."""
    scores = inspect(Map(1, 1, lambda z: (z > 0.3).float() + 0 * z), points=200, secants=500)
    assert scores["largest slope"].value == 0
    assert scores["largest secant"].value > 20
    both = scores["Lipschitz constant, lower bound"]
    assert both.value == scores["largest secant"].value


def test_largest_values_say_that_they_are_lower_bounds():
    scores = inspect(Map(2, 2, lambda z: z), points=30, secants=5)
    for name in ("Lipschitz constant, lower bound", "largest slope", "largest secant"):
        assert scores[name].kind == "lower"
        assert "lower bound of the true constant" in scores[name].method
        assert scores[name].low is None
    assert "too few for an interval" in scores["slope, 99 % quantile"].method


def test_the_intervals_of_quantiles_have_their_coverage():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(400):
        estimate = quantile(torch.from_numpy(rng.exponential(size=1000)), 0.99)
        hits += estimate.low <= -math.log(0.01) <= estimate.high
    assert hits >= stats.binom.ppf(0.001, 400, 0.95)


def test_a_costly_model_is_looked_at_in_fewer_places():
    with seeded(Rng(0).stream("net")):
        net = nn.Linear(10, 10)
    scores = inspect(Map(10, 10, net), flops=1e5, points=1000, secants=10)
    assert scores["largest slope"].n == 1e5 / (2 * 200 * 10)
    assert inspect(Map(10, 10, net), flops=0, secants=10)["largest slope"].n == 20


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (Map(2, 2, lambda z: z / 0), "NaN or infinity"),
        (Map(2, 2, lambda z: z, Space("vector", (), 3)), "conditional"),
        (Map(2, 2, lambda z: z.detach()), "not differentiable"),
    ],
)
def test_what_cannot_be_measured_says_why(model, why):
    for estimate in inspect(model, points=20, secants=5).values():
        assert estimate.value is None
        assert why in estimate.method


@pytest.mark.parametrize("family", ["gan:width=8", "vae:width=8", "flow:width=8", "diffusion"])
def test_every_family_with_latent_vectors_is_measured(family):
    space = Space("vector", (3,))
    game = families.make(family).build(space, rng=Rng(0))
    before = {k: v.clone() for k, v in game.model.state_dict().items()}
    with untouched_global_state(), torch.no_grad():
        scores = inspect(game.model, points=20, secants=20)
    assert all(e.value is not None and math.isfinite(e.value) for e in scores.values())
    after = game.model.state_dict()
    assert all(torch.equal(v, after[k]) for k, v in before.items())
    again = inspect(game.model, points=20, secants=20)
    assert [e.value for e in again.values()] == [e.value for e in scores.values()]


def test_a_model_without_latent_vectors_has_none():
    game = families.make("ar").build(Space("vector", (3,)), rng=Rng(0))
    assert all("no latent vectors" in e.method for e in inspect(game.model).values())


def test_it_is_registered():
    assert isinstance(probes.make("lipschitz:points=30"), Probe)
