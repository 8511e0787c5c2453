import itertools
import math

import pytest
import torch
from torch import nn

from gantlet.compute.machine import Clock
from gantlet.compute.meters import count
from gantlet.core.data import Space
from gantlet.core.metric import Probe
from gantlet.core.model import CachedModel, Decoder, Density, Invertible, LogProb, Model
from gantlet.core.rng import Rng
from gantlet.core.spec import probes
from gantlet.probes import likelihood, sampling
from gantlet.probes.inverse import Inverse
from gantlet.probes.likelihood import HeldOutLikelihood
from gantlet.probes.sampling import ParameterCount, Sampling, median, repeat
from gantlet.testing import check_probe

DIGITS = Space("image", (1, 8, 8), 17)
LINE = Space("vector", (3,))
QUICK = Sampling(batch=4, repeats=2, seconds=5)


def levels(n, space=DIGITS, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(space.levels, (n, *space.shape), generator=rng).float()


def reals(n, seed=0):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))


class Uniform(Density):
    """Every level is as likely as any other."""

    def __init__(self, space, kind="exact", method="by hand"):
        super().__init__()
        self.space, self.kind, self.method = space, kind, method
        self.blocks = []

    def _sample(self, n, context, *, rng):
        shape = (n, *self.space.shape)
        return torch.randint(self.space.levels, shape, generator=rng, device=rng.device).float()

    def _log_prob(self, x, context, *, rng):
        self.blocks.append(len(x))
        value = torch.full((len(x),), -self.space.size * math.log(self.space.levels))
        return LogProb(value, self.kind, self.method)


class Gaussian(Density):
    """A standard normal distribution of three numbers, whose log_prob is off by noise."""

    space = LINE

    def _sample(self, n, context, *, rng):
        return torch.randn(n, 3, generator=rng)

    def _log_prob(self, x, context, *, rng):
        noise = torch.randn(len(x), generator=rng)
        value = -0.5 * x.square().sum(1) - 1.5 * math.log(2 * math.pi)
        return LogProb(value + noise, "estimate")


class Affine(Invertible):
    """z = A x; decode and the log-determinant can be made wrong by a known amount."""

    space = LINE

    def __init__(self, off=0.0, log_det_off=0.0):
        super().__init__()
        self.a = nn.Parameter(torch.tensor([[2.0, 0, 0], [1, 0.5, 0], [-1, 3, 4]]))
        self.off, self.log_det_off = off, log_det_off

    def _encode(self, x, context):
        log_det = self.a.det().abs().log() + self.log_det_off
        return x.flatten(1) @ self.a.T, log_det.expand(len(x))

    def _decode(self, z, context):
        return torch.linalg.solve(self.a, z.T).T + self.off

    def _log_prob(self, x, context, *, rng):
        z, log_det = self.encode(x)
        return LogProb(-0.5 * z.square().sum(1) - 1.5 * math.log(2 * math.pi) + log_det, "exact")

    def _sample(self, n, context, *, rng):
        with torch.no_grad():
            return self.decode(torch.randn(n, 3, generator=rng, device=rng.device))


class Halves(Invertible):
    """Levels scaled to [0, 1): an inverse on a discrete space."""

    space = Space("image", (1, 2, 2), 4)

    def _encode(self, x, context):
        assert bool(((x >= 0) & (x < 4)).all())
        assert not torch.equal(x, x.round())
        return x.flatten(1) / 4, x.new_full((len(x),), -4 * math.log(4))

    def _decode(self, z, context):
        return z.view(-1, 1, 2, 2) * 4

    def _log_prob(self, x, context, *, rng):
        return LogProb(x.new_full((len(x),), -4 * math.log(4)), "exact")

    def _sample(self, n, context, *, rng):
        return levels(n, self.space)


class Chain(CachedModel, Decoder):
    """A sample is noise that went through one matrix several times; without the cache, twice."""

    space = LINE
    latent_dim = 3

    def __init__(self, links=5):
        super().__init__()
        self.links = links
        self.w = nn.Parameter(torch.eye(3))
        self.unused = nn.Parameter(torch.zeros(100))

    @property
    def sample_depth(self):
        return self.links

    def prior(self, n, *, rng):
        return torch.randn(n, 3, generator=rng)

    def _decode(self, z, context):
        for _ in range(self.links):
            z = z @ self.w
        return z

    def _sample(self, n, context, *, rng, cached=True):
        with torch.no_grad():
            x = self.decode(self.prior(n, rng=rng))
            return x if cached else self.decode(x)


class Memory(Model):
    """A model without parameters."""

    space = LINE

    def __init__(self):
        super().__init__()
        self.register_buffer("kept", torch.randn(10, 3, generator=torch.Generator()))

    def _sample(self, n, context, *, rng):
        return self.kept[torch.randint(10, (n,), generator=rng)]


def scores(probe, model, real):
    return probe.inspect(model, real, rng=Rng(0)).scores


@pytest.mark.parametrize("name", ["likelihood", "parameters", "sampling", "inverse"])
def test_probes_are_found_by_name(name):
    assert isinstance(probes.make(name), Probe)


@pytest.mark.parametrize(
    "model", [Affine(), Chain(), Memory(), Gaussian()], ids=lambda m: type(m).__name__
)
@pytest.mark.parametrize(
    "probe", [HeldOutLikelihood(), ParameterCount(), QUICK, Inverse()], ids=str
)
def test_probes_keep_the_laws(probe, model):
    check_probe(probe, model, reals(20))
    assert all(p.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize(
    "space", [DIGITS, Space("image", (3, 4, 4), 256), Space("vector", (5,), 2)]
)
def test_uniform_model_has_exactly_the_bits_of_a_level(space):
    found = scores(HeldOutLikelihood(), Uniform(space), levels(300, space))["likelihood"]
    assert found.value == pytest.approx(math.log2(space.levels), rel=1e-6)
    assert found.low == pytest.approx(found.high, rel=1e-6)
    assert found.n == 300
    assert (found.unit, found.better) == ("bits/dim", "lower")
    assert found.method == "exact, by hand; mean of 300 samples, Student's t"
    assert found.kind == "exact"


def test_a_lower_bound_is_named_an_upper_bound_of_the_negative():
    model = Uniform(DIGITS, "lower", "IWAE, 64 samples")
    found = scores(HeldOutLikelihood(), model, levels(5))["likelihood"]
    assert found.kind == "upper"
    assert found.method.startswith("upper bound, IWAE, 64 samples; ")


def test_likelihood_looks_at_so_many_samples_in_blocks():
    model = Uniform(DIGITS)
    assert scores(HeldOutLikelihood(most=200), model, levels(300))["likelihood"].n == 200
    assert model.blocks == [2, 128, 72], "two tell what a sample costs"


def test_a_costly_likelihood_looks_at_fewer_samples(monkeypatch):
    class Costly(Uniform):
        def _log_prob(self, x, context, *, rng):
            x.flatten(1) @ torch.ones(64, 64)
            return super()._log_prob(x, context, rng=rng)

    monkeypatch.setattr(likelihood, "MOST_FLOPS", 40 * 2 * 64 * 64)
    assert scores(HeldOutLikelihood(), Costly(DIGITS), levels(300))["likelihood"].n == 40


def test_likelihood_of_a_density_is_in_nats_with_a_sound_interval():
    hits = 0
    truth = 1.5 * (1 + math.log(2 * math.pi))
    for seed in range(60):
        found = scores(HeldOutLikelihood(), Gaussian(), reals(50, seed))["likelihood"]
        assert found.unit == "nats"
        hits += found.low <= truth <= found.high
    assert 51 <= hits <= 60


def test_probability_zero_is_said_and_not_averaged():
    class Never(Uniform):
        def _log_prob(self, x, context, *, rng):
            value = super()._log_prob(x, context, rng=rng).value
            value[0] = -math.inf
            return LogProb(value, "exact")

    found = scores(HeldOutLikelihood(), Never(DIGITS), levels(9))["likelihood"]
    assert found.value is None
    assert found.method.startswith("1 of 9 samples have probability 0")


def test_likelihood_is_missing_without_a_density():
    found = scores(HeldOutLikelihood(), Chain(), reals(5))["likelihood"]
    assert found.value is None
    assert found.method == "the model has no density"


def test_only_parameters_that_sampling_reads_count():
    assert scores(ParameterCount(), Chain(), reals(2))["parameters to sample"].value == 9
    assert scores(ParameterCount(), Memory(), reals(2))["parameters to sample"].value == 30
    assert scores(ParameterCount(), Uniform(DIGITS), levels(2))["parameters to sample"].value == 0


def test_cost_of_a_chain_of_products_is_known():
    found = scores(QUICK, Chain(5), reals(2))
    assert found["FLOPs per sample"].value == 5 * 2 * 3 * 3
    assert found["FLOPs per sample, naive"].value == 10 * 2 * 3 * 3
    assert found["sequential depth of sampling"].value == 5
    assert found["critical path of sampling"].value == 5
    assert found["sequential depth of density"].value is None
    assert found["critical path of density"].value is None


def test_density_has_a_depth_too():
    found = scores(QUICK, Affine(), reals(2))
    assert found["sequential depth of density"].value == 1
    assert found["critical path of density"].value >= 1


def test_times_are_positive_and_have_units():
    clock = QUICK.inspect(Chain(), reals(2), rng=Rng(0)).clock
    units = {name: e.unit for name, e in clock.items()}
    assert units == {
        "CPU time per sample": "s",
        "latency of one sample": "s",
        "throughput of sampling": "samples/s",
        "peak memory of sampling": "B",
        "CPU time per sample, naive": "s",
    }
    assert all(e.value is not None and e.value >= 0 for e in clock.values())
    assert clock["throughput of sampling"].n == 2
    # Three products of 4 x 3 floats live at one time at most, and the noise.
    assert 48 <= clock["peak memory of sampling"].value <= 4 * 48


def test_naive_sampling_that_would_take_too_long_is_not_tried(monkeypatch):
    monkeypatch.setattr(sampling, "MOST_BUDGETS", 0)
    monkeypatch.setattr(
        Sampling, "cpu", lambda *_: median([1.0], unit="s", better="lower", of="x")
    )
    clock = QUICK.inspect(Chain(), reals(2), rng=Rng(0)).clock
    assert clock["CPU time per sample, naive"].method == "would take about 8 s for a batch of 4"


def fake_clock(wall):
    return Clock(iter(wall).__next__, lambda: 0.0, lambda: 0)


def test_the_first_run_is_left_out():
    calls = []
    wall = itertools.chain.from_iterable((10 * i, 10 * i + i + 1) for i in itertools.count())
    usages = repeat(lambda: calls.append(1), repeats=3, seconds=100, clock=fake_clock(wall))
    assert len(calls) == 4
    assert [usage.wall for usage in usages] == [2, 3, 4]


def test_slow_work_is_repeated_less_often():
    wall = itertools.count(0, 4)
    usages = repeat(lambda: None, repeats=9, seconds=10, clock=fake_clock(wall))
    assert [usage.wall for usage in usages] == [4, 4]
    usages = repeat(lambda: None, repeats=9, seconds=3, clock=fake_clock(wall))
    assert [usage.wall for usage in usages] == [4]


@pytest.mark.parametrize(
    ("n", "low", "high"), [(6, 1, 6), (9, 2, 8), (11, 2, 10), (100, 40, 61), (2000, 956, 1045)]
)
def test_interval_of_the_median_is_that_of_the_sign_test(n, low, high):
    found = median(range(1, n + 1), unit="s", better="lower", of="runs")
    assert (found.low, found.high) == (low, high)
    assert found.value == (n + 1) / 2


def test_too_few_values_have_no_interval():
    found = median([3.0, 1.0, 2.0, 5.0, 4.0], unit="s", better="lower", of="runs")
    assert (found.value, found.low) == (3.0, None)
    assert found.method == "median of 5 runs (too few for an interval)"


def test_an_exact_inverse_has_rounding_errors_only():
    found = scores(Inverse(), Affine(), reals(40))
    assert found["round-trip error fp32"].value < 1e-6
    assert found["round-trip error of codes fp32"].value < 1e-6
    assert found["round-trip error fp64"].value < 1e-14
    assert found["median round-trip error fp64"].value <= found["round-trip error fp64"].value
    assert found["round-trip error fp32"].n == 40
    assert found["log-determinant error"].value < 1e-12
    assert found["log-determinant error"].unit == "nats"


def test_costly_models_make_fewer_round_trips():
    one = count(lambda: Affine().encode(reals(1))).flops
    found = scores(Inverse(flops=6 * 12 * one), Affine(), reals(40))
    assert found["round-trip error fp64"].n == 12
    found = scores(Inverse(flops=1), Affine(), reals(40))
    assert found["round-trip error fp64"].n == 8


def test_a_wrong_inverse_shows_by_how_much_it_is_wrong():
    x = reals(40)
    found = scores(Inverse(), Affine(off=0.01), x)
    wanted = 0.01 / float(x.abs().max())
    for precision in ("fp32", "fp64"):
        assert found[f"round-trip error {precision}"].value == pytest.approx(wanted, rel=1e-3)
        assert found[f"median round-trip error {precision}"].value == pytest.approx(
            wanted, rel=1e-3
        )
    assert found["log-determinant error"].value < 1e-12


def test_a_wrong_log_determinant_shows_by_how_much_it_is_wrong():
    found = scores(Inverse(), Affine(log_det_off=-0.25), reals(4))
    assert found["log-determinant error"].value == pytest.approx(0.25)
    assert found["log-determinant error"].n == 2


def test_discrete_samples_are_dequantised_first():
    found = scores(Inverse(), Halves(), levels(10, Halves.space))
    assert found["round-trip error fp32"].value < 1e-7
    assert found["log-determinant error"].value < 1e-12


def test_an_inverse_that_breaks_down_is_said():
    class Broken(Affine):
        def _decode(self, z, context):
            return super()._decode(z, context) / 0

    found = scores(Inverse(), Broken(), reals(4))
    assert found["round-trip error fp32"].value is None
    assert "became NaN or infinite" in found["round-trip error fp32"].method


def test_large_jacobians_are_not_computed():
    class Wide(Halves):
        space = Space("image", (1, 12, 12), 4)

        def _decode(self, z, context):
            return z.view(-1, 1, 12, 12) * 4

    found = scores(Inverse(), Wide(), levels(3, Wide.space))["log-determinant error"]
    assert found.value is None
    assert found.method == "the Jacobian of 144 components is too large to compute"


def test_what_is_not_invertible_is_said():
    found = scores(Inverse(), Uniform(DIGITS), levels(3))
    assert {e.method for e in found.values()} == {"the model is not invertible"}
    assert len(found) == 9
