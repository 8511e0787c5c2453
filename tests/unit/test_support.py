"""Collisions, effective support and modes, against closed forms, slow twins and simulation."""

import itertools
import math

import pytest
import torch
from scipy.stats import binom, chi2

from gantlet.commands.support.trial import permuted_p
from gantlet.core.data import Space
from gantlet.core.metric import Probe
from gantlet.core.model import Decoder
from gantlet.core.rng import Rng
from gantlet.core.spec import probes
from gantlet.metrics.collisions import FEWEST, equal_partners, partners, threshold
from gantlet.metrics.neighbour_search import points
from gantlet.models.nets import Scaling
from gantlet.probes.inversion import ERROR, RECALL, Inversion, Search, invert, reach
from gantlet.report.format import text
from gantlet.stats.support import (
    Collisions,
    divergence,
    effective_support,
    fewer_than,
    first_collisions,
    perfect_sampler,
    reverse_divergence,
    size_of_collision,
    summary_of_modes,
    support_ratio,
    wilson,
)


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(weights, n, rng):
    return torch.multinomial(weights, n, replacement=True, generator=rng)


def zipf(size):
    raw = 1 / torch.arange(1, size + 1, dtype=torch.float64)
    return raw / raw.sum()


# Collisions


def slow_collisions(near):
    """All pairs and all pairs of pairs, one by one."""
    n = len(near)
    pairs = [(i, j) for i, j in itertools.combinations(range(n), 2) if near[i, j]]
    wedges = sum(len(set(a) & set(b)) == 1 for a, b in itertools.combinations(pairs, 2))
    return Collisions(n, len(pairs), wedges)


def test_collisions_are_those_of_a_slow_count():
    x = torch.randn(40, 2, generator=stream())
    near = torch.cdist(x.double(), x.double()) <= 0.5
    (p,) = points(x)
    found = partners(p, 0.25)
    assert Collisions.of(found.count) == slow_collisions(near)
    latest = [max((i for i in range(j) if near[i, j]), default=-1) for j in range(40)]
    assert found.latest.tolist() == latest


def test_collisions_of_many_blocks_are_those_of_the_whole_matrix():
    x = torch.randn(2500, 3, generator=stream(1))
    distances = torch.cdist(x.double(), x.double()).fill_diagonal_(math.inf)
    (p,) = points(x)
    found = partners(p, 0.01)
    assert torch.equal(found.count, (distances <= 0.1).sum(1))
    i, j = found.closest[0].tolist()
    assert distances[i, j] == distances.min()
    assert len(set(found.closest.flatten().tolist())) == found.closest.numel()


def test_the_threshold_is_the_quantile_of_all_pairs():
    x = torch.randn(1500, 4, generator=stream(2))
    (p,) = points(x)
    closest = torch.pdist(x.double()).sort().values
    found = threshold(p, 1e-3)
    k = math.ceil(1e-3 * len(closest))
    assert math.sqrt(found.squared) == pytest.approx(float(closest[k - 1]), rel=1e-9)
    assert found.share == pytest.approx(1e-3, rel=1e-2)
    few = threshold(points(x[:50])[0], 1e-4)
    assert few.share == pytest.approx(FEWEST / (50 * 49 / 2))


def test_equal_samples_collide():
    numbers = torch.tensor([7, 3, 7, 7, 1, 3])
    found = equal_partners(numbers)
    assert found.count.tolist() == [2, 1, 2, 2, 0, 1]
    assert found.latest.tolist() == [-1, -1, 0, 2, -1, 1]
    assert all(numbers[i] == numbers[j] for i, j in found.closest.tolist())


def test_batches_end_with_their_first_collision():
    # 1 2 1 | 2 3 3 | 1: the 2 of the second batch has no partner in it.
    latest = equal_partners(torch.tensor([1, 2, 1, 2, 3, 3, 1])).latest
    assert first_collisions(latest) == [3, 3]


def test_sizes_of_batches_follow_the_birthday_law():
    """Of 365 days, the median is 23 people, and the formula gives its usual approximation."""
    days = torch.randint(365, (200_000,), generator=stream(3))
    sizes = first_collisions(equal_partners(days).latest)
    assert sorted(sizes)[len(sizes) // 2] == 23
    assert size_of_collision(365) == pytest.approx(23, abs=0.1)


# Effective support


def test_few_collisions_have_the_exact_poisson_interval():
    found = effective_support(Collisions(n=1000, count=3, wedges=0))
    assert found.value == pytest.approx(499500 / 3)
    assert found.low == pytest.approx(499500 / 8.767, rel=1e-3)
    assert found.high == pytest.approx(499500 / 0.6187, rel=1e-3)


def test_without_a_collision_there_is_a_bound():
    found = effective_support(Collisions(n=1000, count=0, wedges=0))
    assert found.value is None
    assert "at least 1.67e+05" in found.method  # 499500 / ln 20


def test_the_variance_is_that_of_a_u_statistic():
    """By simulation of counts: uniform, where pairs are uncorrelated, and Zipf, where not."""
    rng, n = stream(4), 300
    for weights in (torch.full((200,), 1 / 200, dtype=torch.float64), zipf(200)):
        made = [Collisions.of(equal_partners(drawn(weights, n, rng)).count) for _ in range(600)]
        counts = torch.tensor([c.count for c in made], dtype=torch.float64)
        wide = sum(c.widening for c in made) / len(made)
        assert wide == pytest.approx(float(counts.var() / counts.mean()), rel=0.15)


@pytest.mark.parametrize("weights", [torch.full((400,), 1 / 400), zipf(1000)])
def test_intervals_hold_known_supports(weights):
    """Small twin of benchmarks/support.py."""
    rng, truth = stream(5), float(1 / (weights.double() ** 2).sum())
    held = 0
    for _ in range(200):
        found = effective_support(Collisions.of(equal_partners(drawn(weights, 300, rng)).count))
        held += found.low <= truth <= found.high
    assert 183 <= held <= 199  # within 3 standard deviations of 95 %, and one more


def test_the_rate_of_near_pairs_is_unbiased():
    """The squared distance of two Gaussian vectors, halved, is chi-squared."""
    rng, d, rate = stream(6), 5, 2e-3
    limit = 2 * float(chi2.ppf(rate, d))
    rates = []
    for _ in range(60):
        (p,) = points(torch.randn(300, d, generator=rng))
        rates.append(Collisions.of(partners(p, limit).count).rate)
    error = torch.tensor(rates).std() / math.sqrt(len(rates))
    assert abs(sum(rates) / len(rates) - rate) < 4 * error


def test_the_ratio_of_poisson_counts_is_the_conditional_binomial():
    a, b = Collisions(1000, 12, 0), Collisions(1000, 30, 0)
    found = support_ratio(a, b)
    assert found.value == pytest.approx(30 / 12)
    # Both counts have the same exposure, up to the binomial variance of each.
    assert found.also["p"] == pytest.approx(binom.sf(11, 42, 0.5), rel=1e-2)
    assert support_ratio(b, a).also["p"] == pytest.approx(binom.sf(29, 42, 0.5), rel=1e-2)
    assert support_ratio(Collisions(100, 5, 0), Collisions(100, 0, 0)).also["p"] < 0.05
    assert support_ratio(Collisions(100, 0, 0), Collisions(100, 5, 0)).also["p"] == 1


def test_the_ratio_is_seldom_significant_of_equal_supports():
    rng, weights = stream(7), zipf(500)
    p = []
    for _ in range(300):
        a, b = (Collisions.of(equal_partners(drawn(weights, 200, rng)).count) for _ in range(2))
        p.append(support_ratio(a, b).also["p"])
    assert sum(v <= 0.05 for v in p) <= 26  # 15 expected, 3 standard deviations


# Modes


def test_shares_have_wilsons_interval():
    found = wilson(8, 10)
    assert (round(found.low, 4), round(found.high, 4)) == (0.4902, 0.9433)
    assert wilson(0, 0).value is None


def test_fewer_is_the_lower_tail():
    assert fewer_than(2, 10, 0.3) == pytest.approx(binom.cdf(2, 10, 0.3))


def test_a_perfect_sampler_has_the_known_floor_of_the_divergence():
    """(modes - 1) / (2 n) for 1,000 modes and 26,000 samples: what stacked digits report."""
    weights = torch.full((1000,), 1e-3)
    found = perfect_sampler(26_000, weights, 1.0, rng=stream(8))
    assert found.divergence.value == pytest.approx(999 / 52_000, rel=0.01)
    assert found.modes.value == 1000
    counted = summary_of_modes(
        torch.tensor([5, 3, 0]),
        10,
        torch.tensor([0.4, 0.4, 0.2]).double(),
        rng=stream(),
    ).modes
    assert text(counted) == "2 modes"  # a count of these samples, without a question mark


def test_a_perfect_sampler_of_the_plane_has_high_quality_in_989_of_1000():
    found = perfect_sampler(2500, torch.full((8,), 1 / 8), 1 - math.exp(-4.5), rng=stream(9))
    low, high = (binom.ppf(q, 2500, 1 - math.exp(-4.5)) / 2500 for q in (0.025, 0.975))
    assert (found.high_quality.low, found.high_quality.high) == pytest.approx((low, high))


def test_divergences_of_a_dropped_mode():
    counts, truth = torch.tensor([50, 50, 0, 0]), torch.full((4,), 0.25)
    assert divergence(counts, truth) == pytest.approx(math.log(2))
    smoothed = torch.tensor([50.5, 50.5, 0.5, 0.5]) / 102
    expected = float((truth * (truth / smoothed).log()).sum())
    assert reverse_divergence(counts, truth) == pytest.approx(expected)


def test_intervals_of_the_divergence_hold_its_expectation():
    """The mean over samples of this size, by simulation."""
    truth = torch.full((10,), 0.1)
    weights = torch.tensor([0.05] * 5 + [0.15] * 5)
    rng, held = stream(10), 0
    draws = [drawn(weights, 400, rng).bincount(minlength=10) for _ in range(400)]
    expected = sum(divergence(c, truth) for c in draws) / len(draws)
    for counts in draws[:60]:
        found = summary_of_modes(counts, 400, truth, rng=rng).divergence
        held += found.low <= expected <= found.high
    assert held >= 52


def test_without_samples_on_the_support_divergences_are_missing():
    found = summary_of_modes(
        torch.zeros(3, dtype=torch.int64), 10, torch.ones(3) / 3, rng=stream()
    )
    assert found.divergence.value is None
    assert found.high_quality.value == 0


# Inversion


class Disc(Decoder):
    """The unit square of the first two of three coordinates; the third is always 0."""

    space, latent_dim = Space("vector", (3,)), 2

    def prior(self, n, *, rng):
        return torch.randn(n, 2, generator=rng)

    def _decode(self, z, context):
        return torch.cat([z.tanh(), torch.zeros_like(z[:, :1])], 1)

    def _sample(self, n, context, *, rng):
        return self.decode(self.prior(n, rng=rng))


def test_inversion_finds_the_distance_to_the_range_of_a_decoder():
    x = torch.tensor([[0.3, -0.5, 0.0], [0.3, -0.5, 0.7], [0.0, 0.0, -2.0]])
    scaling = Scaling(Disc.space)
    found = invert(Disc(), x, scaling, rng=stream(), search=Search(candidates=200, starts=2))
    assert found.distance.tolist() == pytest.approx([0.0, 0.7, 2.0], abs=1e-3)
    assert found.nearest[1].tolist() == pytest.approx([0.3, -0.5, 0.0], abs=1e-2)


def test_latent_vectors_stay_where_the_prior_has_mass():
    """The corner at tanh = 1 is at infinity: what is found stays inside."""
    found = invert(
        Disc(),
        torch.tensor([[1.0, 1.0, 0.0]]),
        Scaling(Disc.space),
        rng=stream(),
        search=Search(candidates=50, starts=1),
    )
    most = Disc().prior(50, rng=stream()).norm(dim=1).max()
    assert float(found.nearest[0, :2].atanh().norm()) <= float(most) * 1.001
    assert found.distance > 0


def test_the_probe_counts_what_is_reached():
    inside = torch.rand(60, 3, generator=stream(1)) - 0.5
    inside[:, 2] = 0
    probe = probes.make("inversion:most=40,candidates=200,steps=60")
    assert isinstance(probe, Probe)
    found = probe.inspect(Disc(), inside, rng=Rng(0)).scores
    assert found[RECALL].value == 1
    assert found[ERROR].value < 0.1
    outside = inside + torch.tensor([0.0, 0.0, 5.0])
    both = torch.cat([inside[:20], outside[:20]])
    mixed = Inversion(most=40, candidates=200, steps=60).inspect(Disc(), both, rng=Rng(0)).scores
    assert mixed[RECALL].value == pytest.approx(0.5, abs=0.05)


def test_reach_is_the_quantile_of_nearest_distances():
    x = torch.randn(100, 3, generator=stream(2))
    distances = torch.cdist(x.double(), x.double()).fill_diagonal_(math.inf).amin(1)
    assert reach(x, Scaling(Disc.space)) == pytest.approx(float(distances.sort().values[95]))


# Permutation of samples and reference


def test_the_sequential_permutation_test_is_that_of_all_permutations():
    """Six samples of each set, seven held-out ones: all 924 ways to deal them out."""
    index = torch.randint(12, (7, 3), generator=stream(11))
    inside = torch.rand(7, 3, generator=stream(12)) < 0.7
    inside[:, 0] = True
    is_fake = torch.arange(12) < 6
    ways = torch.zeros(924, 12, dtype=torch.bool)
    for row, chosen in enumerate(itertools.combinations(range(12), 6)):
        ways[row, list(chosen)] = True
    reached = (ways[:, index] & inside).any(2).sum(1)
    observed = (inside & is_fake[index]).any(1).sum()
    exact = float((reached <= observed).double().mean())
    found = [permuted_p(inside, index, is_fake, stream(seed)) for seed in range(200)]
    mean = sum(found) / len(found)
    # Stopped at 20 of them, a p-value has a relative deviation of about 1 / sqrt(20).
    assert mean == pytest.approx(exact, rel=0.1)
