import math

import pytest
import torch

from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.metrics.diversity import MsSsim, Pyramid, Scales, ms_ssim, similarity


def images(n, c=1, h=16, w=16, seed=0):
    return torch.rand(n, c, h, w, generator=Rng(seed).stream("x"), dtype=torch.float64)


def slow_ssim(x, y, scales):
    """One scale, one channel, by the formula, window by window."""
    side, sigma = scales.window, scales.sigma
    weight = [
        [
            math.exp(-((i - side // 2) ** 2 + (j - side // 2) ** 2) / (2 * sigma**2))
            for j in range(side)
        ]
        for i in range(side)
    ]
    weight = torch.tensor(weight, dtype=torch.float64)
    weight /= weight.sum()
    found = []
    for i in range(x.shape[0] - side + 1):
        for j in range(x.shape[1] - side + 1):
            a, b = x[i : i + side, j : j + side], y[i : i + side, j : j + side]
            ma, mb = (weight * a).sum(), (weight * b).sum()
            va, vb = (weight * (a - ma) ** 2).sum(), (weight * (b - mb) ** 2).sum()
            cov = (weight * (a - ma) * (b - mb)).sum()
            light = (2 * ma * mb + 1e-4) / (ma**2 + mb**2 + 1e-4)
            found.append(light * (2 * cov + 9e-4) / (va + vb + 9e-4))
    return float(torch.stack(found).mean())


@pytest.mark.parametrize(("h", "w"), [(8, 8), (5, 9), (12, 16), (3, 3)])
def test_one_scale_equals_a_slow_twin(h, w):
    x = images(1, h=h, w=w)
    y = (x + 0.3 * images(1, h=h, w=w, seed=1)).clamp(0, 1)
    scales = Scales.of(h, w)
    assert scales.weights == (1.0,)
    expected = max(slow_ssim(x[0, 0], y[0, 0], scales), 0)
    assert float(ms_ssim(x, y)) == pytest.approx(expected, rel=1e-10)


def test_two_scales_are_weighed_by_their_powers():
    """On smooth images contrast is near 1 on the fine scale, whose power is small."""
    x, y = images(2, h=22, w=22), images(2, h=22, w=22, seed=1) * 0.2 + 0.4
    coarse = slow_ssim(
        *(torch.nn.functional.avg_pool2d(z, 2)[0, 0] for z in (x, y)), Scales((1.0,), 11, 1.5)
    )
    fine = Scales.of(22, 22).weights[0]
    assert fine == pytest.approx(0.0448 / (0.0448 + 0.2856))
    whole = float(ms_ssim(x, y)[0])
    assert whole <= max(coarse, 0) ** (1 - fine) + 1e-12


@pytest.mark.parametrize("side", [3, 8, 28, 64, 180])
def test_an_image_is_itself(side):
    x = images(3, c=3, h=side, w=side)
    assert ms_ssim(x, x).tolist() == pytest.approx([1.0] * 3)


def test_a_negative_counts_as_nothing_alike():
    x = images(1, h=32, w=32)
    assert float(ms_ssim(x, 1 - x)) == 0


def test_it_is_symmetric_and_falls_with_noise():
    x = images(4, c=3, h=32, w=32)
    noise = images(4, c=3, h=32, w=32, seed=1) - 0.5
    near, far = x + 0.1 * noise, x + 0.5 * noise
    assert torch.allclose(ms_ssim(x, near), ms_ssim(near, x))
    assert (ms_ssim(x, near) > ms_ssim(x, far)).all()


def test_a_pyramid_compares_as_the_function_does():
    x = images(5, c=3, h=24, w=30)
    i, j = torch.tensor([0, 1, 4]), torch.tensor([2, 1, 3])
    assert torch.allclose(Pyramid.of(x).similarity(i, j), ms_ssim(x[i], x[j]))


def test_the_weights_of_the_scales_sum_to_one():
    for side in (16, 30, 50, 100, 176, 500):
        assert sum(Scales.of(side, side).weights) == pytest.approx(1, abs=2e-4)
    assert [len(Scales.of(s, s).weights) for s in (21, 22, 44, 88, 175, 176, 999)] == [
        *(1, 2, 3, 4, 4, 5, 5)
    ]


@pytest.mark.parametrize("n", [4, 5, 7, 12])
def test_all_pairs_or_nearly_all_of_few_images(n):
    x = images(n)
    found = similarity(x, 10_000, rng=Rng(0).stream("m"))
    pairs = [(i, j) for i in range(n) for j in range(i)]
    assert found.pairs == n * ((n - 1) // 2)
    if n % 2:  # with an even number each image lacks its opposite
        i, j = torch.tensor(pairs).T
        assert found.value == pytest.approx(float(ms_ssim(x[i], x[j]).mean()), rel=1e-5)


@pytest.mark.parametrize(("n", "pairs"), [(20, 1000), (60, 60), (60, 180)])
def test_the_variance_is_that_of_new_images(n, pairs):
    """Images with one random grey level each: similarity is a kernel of two numbers."""
    found = []
    for seed in range(150):
        grey = torch.rand(n, 1, 1, 1, generator=Rng(seed).stream("g"), dtype=torch.float64)
        x = grey.expand(n, 1, 5, 5) * 0.5 + 0.05 * images(n, h=5, w=5, seed=seed)
        found.append(similarity(x, pairs, rng=Rng(seed).stream("m")))
    spread = torch.tensor([f.value for f in found]).std()
    told = torch.tensor([f.variance.value for f in found]).mean().sqrt()
    assert float(told / spread) == pytest.approx(1, abs=0.2)


def measure(real, fake, **options):
    return MsSsim(**options).measure(real.float(), fake.float(), rng=Rng(0).stream("m"))


def test_a_collapsed_model_is_less_diverse_than_the_data():
    real = images(60)
    fake = (images(1) + 0.05 * images(60, seed=2)).clamp(0, 1)
    found = measure(real, fake, pairs=200)
    assert found.value > 0.9
    assert found.low <= found.value <= found.high
    told = found.also["real"]
    assert told < 0.3
    assert "1 of 5 scales, window 11" in found.method


def test_images_stay_as_they_are():
    real, fake = images(30), images(40, seed=1)
    kept = real.clone()
    MsSsim(pairs=50).measure(real, fake, rng=Rng(0).stream("m"))
    assert torch.equal(real, kept)


@pytest.mark.parametrize("few", range(4))
def test_too_few_images_are_a_reason(few):
    for pair in ((images(few), images(9)), (images(9), images(few))):
        found = measure(*pair)
        assert found.value is None
        assert "samples" in found.method


@pytest.mark.parametrize("n", [4, 5, 6, 9])
def test_few_images_give_a_number(n):
    found = measure(images(n), images(n, seed=1))
    assert found.low <= found.value <= found.high


def test_equal_images_are_no_more_than_one():
    found = measure(images(9), images(1).expand(9, 1, 16, 16))
    assert found.value == pytest.approx(1)
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(9, 5), "compares images"),
        (torch.zeros(9, 1, 2, 9), "at least 3 x 3"),
        (torch.full((9, 1, 9, 9), torch.nan), "finite"),
    ],
)
def test_what_are_no_images_is_refused(bad, message):
    with pytest.raises(UserError, match=message) as error:
        measure(bad, bad)
    assert "\n" not in str(error.value)


def test_large_images_are_compared_on_averages_of_blocks():
    x = torch.rand(8, 3, 24, 16, generator=torch.Generator().manual_seed(1))
    small = x.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    whole = MsSsim(side=12).measure(x, x, rng=torch.Generator().manual_seed(0))
    known = MsSsim().measure(small, small, rng=torch.Generator().manual_seed(0))
    assert whole.value == pytest.approx(known.value, rel=1e-5)
    assert "averages of 2x2 pixels" in whole.method
    assert "averages" not in known.method
