"""Critics: planted flaws are found, named and ordered, and none where there is none."""

import math

import pytest
import torch
from scipy.stats import ks_2samp
from sklearn.datasets import load_digits

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.domains.attributes import AttributeTable
from gantlet.domains.domains import attributes_of
from gantlet.domains.images import IMAGE_ATTRIBUTES, block_edges, fine_detail, image_attributes
from gantlet.flaws.named import correlation, repeats_p
from gantlet.flaws.search import flaw_in_other_set, list_flaws, residual_accuracies, ridge_accuracy
from gantlet.flaws.split import DiscoveryValidation, Representation
from gantlet.options import Search
from gantlet.stats.permutation import (
    TwoSamples,
    accuracy,
    gap,
    p_value,
    p_values,
    score_of,
    smallest,
)
from gantlet.stats.wasserstein import wasserstein

RNG = Rng(0)
QUICK = {"permutations": 199}


def normal(name, *shape):
    return torch.randn(*shape, generator=RNG.stream(name), dtype=torch.float64)


def vectors(x):
    return Representation(probes=attributes_of(Space("vector", (x.shape[1],)), x), features=x)


def nameless(x):
    return Representation(probes=AttributeTable(words=(), values=x[:, :0].double()), features=x)


def test_a_gap_has_the_parts_of_normal_distributions():
    found = gap(normal("a", 4000), 1.5 * normal("b", 4000) + 1, rng=RNG.stream("g"))
    # W2^2 = 1^2 + 0.5^2
    assert found.size.low < math.sqrt(1.25) < found.size.high
    assert found.location == pytest.approx(0.8, abs=0.05)
    assert found.scale == pytest.approx(0.2, abs=0.05)
    assert found.kind == "location"
    same = gap(normal("a", 4000), normal("c", 4000), rng=RNG.stream("g"))
    assert same.size.value < 0.06


def test_p_values_are_even_where_nothing_differs():
    x, y = normal("p real", 60, 300), normal("p fake", 60, 300)
    p = p_values(x, y, permutations=199, rng=RNG.stream("p"))
    assert ks_2samp(p.numpy(), torch.rand(2000, generator=RNG.stream("u")).numpy()).pvalue > 0.01
    found = [
        p_value(x[:, j], y[:, j], permutations=99, rng=RNG.stream(f"p{j}")) for j in range(100)
    ]
    assert 0 <= sum(q <= 0.05 for q in found) <= 12
    far = p_value(x[:, 0], y[:, 0] + 3, permutations=99, rng=RNG.stream("far"))
    assert far == 0.01


def test_a_threshold_tells_as_many_as_the_normal_distribution_lets_it():
    real, fake = normal("r", 20000), normal("f", 20000) + 1
    score = score_of(real[:10000], fake[:10000])
    told = accuracy(score, real[10000:], fake[10000:])
    assert told.value == pytest.approx(0.6915, abs=0.015)


def test_probes_see_what_they_are_named_after():
    x = torch.rand(50, 3, 32, 32, generator=RNG.stream("x")).cumsum(3)
    x = x / x.amax((1, 2, 3), keepdim=True) * 0.8
    before = image_attributes(x)
    assert before.keys() == IMAGE_ATTRIBUTES.keys()
    assert bool((image_attributes(x + 0.1)["brightness"] > before["brightness"]).all())
    assert torch.allclose(image_attributes(x + 0.1)["fine detail"], before["fine detail"])
    low = image_attributes(0.5 * x)["contrast"] - before["contrast"]
    assert torch.allclose(low, torch.full_like(low, math.log(0.5)), atol=0.05)
    signs = torch.tensor([1.0, -1.0]).repeat(16)
    board = (
        image_attributes(x + 0.1 * signs[:, None] * signs)["checkerboard"] - before["checkerboard"]
    )
    assert torch.allclose(board, torch.full_like(board, 0.1), atol=1e-5)
    mirrored = image_attributes(x.flip(3))["mirror symmetry"]
    assert torch.allclose(mirrored, before["mirror symmetry"])
    noisy = x + 0.1 * torch.randn(x.shape, generator=RNG.stream("n"))
    assert float((fine_detail(noisy.mean(1)) - fine_detail(x.mean(1))).mean()) > 0
    blocks = torch.rand(20, 4, 4, generator=RNG.stream("b")).repeat_interleave(8, 1)
    blocks = blocks.repeat_interleave(8, 2)
    assert float(block_edges(blocks).min()) > 1
    assert "block edges" not in image_attributes(x[:, :, :8, :8])


@pytest.mark.parametrize("mode", ["guided", "linear", "transport"])
def test_planted_flaws_of_features_are_found(mode):
    real, fake = normal("real", 1600, 20), normal("fake", 1600, 20)
    fake[:, 3] += 1.0
    fake[:, 7] *= 2.0
    turn, _ = torch.linalg.qr(normal("turn", 20, 20))
    found = list_flaws(
        nameless(real @ turn), nameless(fake @ turn), Search(mode=mode, **QUICK), rng=Rng(1)
    )
    for kind, axis in (("location", 3), ("scale", 7)):
        own = real[found.places.real, axis]
        agreement = {
            k: abs(float(torch.corrcoef(torch.stack([f.judge.real, own]))[0, 1]))
            for k, f in enumerate(found.flaws)
        }
        best = max(agreement, key=agreement.get)
        assert agreement[best] > 0.9
        assert found.flaws[best].kind == kind
    assert found.total.value > 0.65
    assert found.left[-1].value < found.total.value - 0.1


def test_a_correlation_that_is_lost_is_found():
    real, fake = normal("lost real", 2000, 4), normal("lost fake", 2000, 4)
    real[:, 1] = 0.95 * real[:, 0] + (1 - 0.95**2) ** 0.5 * real[:, 1]
    found = list_flaws(nameless(real), nameless(fake), Search(mode="linear", **QUICK), rng=Rng(0))
    assert found.flaws[0].kind == "scale"


@pytest.mark.parametrize("mode", ["guided", "linear", "transport", "pca"])
def test_nothing_is_found_where_nothing_is_wrong(mode):
    found = list_flaws(
        vectors(normal("null a", 600, 12)),
        vectors(normal("null b", 600, 12)),
        Search(mode=mode, **QUICK),
        rng=Rng(2),
    )
    assert list(found.flaws) == []


def test_without_a_difference_a_critic_is_right_half_of_the_time():
    told = [
        residual_accuracies(
            DiscoveryValidation.of(
                vectors(normal(f"even a{i}", 200, 6)),
                vectors(normal(f"even b{i}", 200, 6)),
                rng=Rng(i),
            ),
            [],
        )[0].value
        for i in range(60)
    ]
    # Each has the deviation 1 / (2 sqrt(200)); the mean of 60 lies within three of its own.
    assert abs(sum(told) / 60 - 0.5) < 3 * 0.5 / (200 * 60) ** 0.5


@pytest.mark.parametrize(("n", "m"), [(40, 40), (30, 50), (1, 7)])
def test_p_values_of_permutations_are_those_of_sorting_every_time(n, m):
    real, fake = normal("sorted/real", n), normal("sorted/fake", m) + 0.3
    both = torch.cat([real, fake])
    keys = torch.rand(199, n + m, generator=RNG.stream("sorted"))
    order = keys.argsort(1)
    x, y = (both.sort().values[part].sort(1).values for part in (order[:, :n], order[:, n:]))
    seen = wasserstein(real.sort().values[None], fake.sort().values[None], 2)
    expected = (1 + int((wasserstein(x, y, 2) >= seen - 1e-12).sum())) / 200
    assert p_value(real, fake, permutations=199, rng=RNG.stream("sorted")) == expected
    centred = both - both.mean()
    shifts = torch.stack([centred[row[:m]].sum() for row in order]).abs()
    expected = (1 + int((shifts >= float(centred[n:].sum().abs()) - 1e-9).sum())) / 200
    found = p_values(real[:, None], fake[:, None], permutations=199, rng=RNG.stream("sorted"))
    assert found.tolist() == [expected]


def test_exactly_so_many_numbers_are_the_smallest_where_some_tie():
    keys = torch.randint(0, 4, (500, 20), generator=RNG.stream("ties")).float()
    for k in (1, 7, 20):
        found = smallest(keys, k)
        assert found.sum(1).tolist() == [k] * 500
        rest = keys.masked_fill(found, torch.inf).amin(1)
        assert bool((keys.masked_fill(~found, -torch.inf).amax(1) <= rest).all())


def test_the_p_values_of_repeats_are_even_where_nothing_repeats():
    found = []
    for i in range(60):
        x = normal(f"repeats{i}", 2, 120, 5)
        found.append(repeats_p(TwoSamples(real=x[0], fake=x[1]), permutations=39, rng=Rng(i)))
    # Of 60 with chance 0.1 each; more than 13 come once in a thousand times.
    assert sum(p <= 0.1 for p in found) <= 13
    copies = normal("copies", 60, 5).repeat(2, 1)
    real = normal("no copies", 120, 5)
    assert repeats_p(TwoSamples(real=real, fake=copies), permutations=39, rng=RNG) == 1 / 40


def digits():
    pixels = torch.from_numpy(load_digits().images).float()[:, None]
    return pixels[torch.randperm(len(pixels), generator=RNG.stream("digits"))]


def seen(x):
    space = Space("image", (1, 8, 8), 17)
    return Representation(probes=attributes_of(space, x), features=x.flatten(1) / 16)


SIGNS = torch.tensor([1.0, -1.0] * 4)


@pytest.mark.parametrize(
    ("damage", "title"),
    [
        (lambda x: (x + 2).clamp(0, 16), "too bright"),
        (lambda x: x + SIGNS[:, None] * SIGNS / 4, "a checkerboard pattern"),
        (lambda x: x[torch.arange(len(x)) % (len(x) // 3)], "repeated samples"),
    ],
)
def test_damaged_digits_are_called_by_their_flaw(damage, title):
    x = digits()
    found = list_flaws(seen(x[:898]), seen(damage(x[898:])), Search(**QUICK), rng=Rng(0))
    assert title in [f.title for f in found.flaws]
    sizes = [f.size.value for f in found.flaws]
    assert sizes == sorted(sizes, reverse=True)


def test_digits_have_no_flaws():
    x = digits()
    assert not list_flaws(seen(x[:898]), seen(x[898:]), Search(**QUICK), rng=Rng(0)).flaws


def test_a_flaw_is_measured_in_another_set():
    real, a, b = normal("s real", 800, 5), normal("s a", 800, 5), normal("s b", 800, 5)
    a[:, 0] += 1
    b[:, 0] += 1
    found = list_flaws(vectors(real), vectors(a), Search(**QUICK), rng=Rng(0))
    halves = DiscoveryValidation.of(vectors(real), vectors(b), rng=Rng(0))
    (first, *_) = found.flaws
    assert first.title == "column 0 too high"
    assert flaw_in_other_set(first, halves, rng=RNG.stream("h")).size.low > 0.5


def test_few_samples_are_refused():
    with pytest.raises(UserError, match="at least 40"):
        list_flaws(vectors(normal("few", 10, 3)), vectors(normal("few", 10, 3)), Search(), rng=RNG)


def test_constant_features_and_the_ends_of_the_range_do_no_harm():
    x = torch.zeros(80, 6, dtype=torch.float64)
    found = list_flaws(vectors(x), vectors(x + 1), Search(**QUICK), rng=RNG)
    assert found.total.value is not None
    assert correlation(1.0, 10).high <= 1.0
    assert ridge_accuracy(x, x).value is not None


def test_the_linear_critic_is_the_same_from_either_system():
    h, d = 30, 59
    z = torch.randn(4 * h, d, generator=RNG.stream("left"), dtype=torch.float64)
    z[h : 2 * h] += 0.2
    z[3 * h :] += 0.2
    seek, judge = z[: 2 * h], z[2 * h :]
    # Columns of zeros change nothing but which of the two systems is smaller.
    wide = [torch.cat([v, torch.zeros(2 * h, 5, dtype=v.dtype)], 1) for v in (seek, judge)]
    assert ridge_accuracy(*wide).value == ridge_accuracy(seek, judge).value
    assert ridge_accuracy(seek, judge).value > 0.5
