import math

import pytest
import torch

from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.metrics.diversity import ms_ssim
from gantlet.metrics.pairs import Pairs, diversity, feature_distance, paired_ms_ssim, psnr
from gantlet.stats.intervals import over_inputs


def images(n, seed=0, side=16):
    return torch.rand(n, 1, side, side, generator=Rng(seed).stream("x"), dtype=torch.float64)


def test_psnr_of_a_constant_error_is_known():
    """An error of 0.1 everywhere is 20 dB, of 0.01 40 dB."""
    x = images(3) * 0.5
    step = torch.tensor([0.1, 0.01, 0.1]).view(3, 1, 1, 1)
    found = psnr(x, x + step)
    assert found.value == pytest.approx((20 + 40 + 20) / 3)
    assert (found.n, found.unit, found.better) == (3, "dB", "higher")
    assert found.low < found.value < found.high


def test_equal_images_are_a_hundred_decibels_and_alike():
    x = images(4)
    assert psnr(x, x).value == pytest.approx(100)
    assert paired_ms_ssim(x, x).value == pytest.approx(1)


def test_psnr_needs_no_images():
    assert psnr(torch.zeros(5, 7), torch.full((5, 7), 0.1)).value == pytest.approx(20)


def test_similarity_is_the_mean_over_pairs():
    x, y = images(9), images(9, 1) * 0.3 + 0.2
    found = paired_ms_ssim(x, y)
    assert found.value == pytest.approx(float(ms_ssim(x, y).mean()), rel=1e-4)
    assert "1 of 5 scales" in found.method


def test_feature_distance_is_the_mean_length():
    x = torch.zeros(4, 2)
    y = torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, 1.0], [6.0, 8.0]])
    assert feature_distance(x, y).value == pytest.approx((5 + 0 + 1 + 10) / 4)


def test_diversity_counts_inputs_alike():
    """One input has three outputs 1, 1 and 2 apart, one has two outputs 5 apart, one a single."""
    y = torch.tensor([[0.0], [1.0], [2.0], [10.0], [15.0], [99.0]])
    found = diversity(y, torch.tensor([4, 4, 4, 7, 7, 1]))
    assert found.value == pytest.approx((4 / 3 + 5) / 2)
    assert found.n == 2
    assert found.better == "higher"


def test_a_model_that_ignores_its_noise_has_no_diversity():
    y = torch.randn(20, 5, generator=Rng(0).stream("x")).repeat_interleave(3, dim=0)
    assert diversity(y, torch.arange(20).repeat_interleave(3)).value == 0


@pytest.mark.parametrize("n", [0, 1, 3])
def test_diversity_of_single_outputs_is_missing(n):
    found = diversity(torch.zeros(n, 2), torch.arange(n))
    assert found.value is None
    assert "two outputs" in found.method


@pytest.mark.parametrize("outputs", [1, 5])
def test_the_interval_is_over_inputs(outputs):
    """Outputs share what their input adds: counting pairs would be sure of too much."""
    hits = 0
    for seed in range(200):
        rng = Rng(seed).stream("x")
        shared = torch.randn(25, 1, generator=rng)
        values = (shared + 0.3 * torch.randn(25, outputs, generator=rng)).flatten()
        inputs = torch.arange(25).repeat_interleave(outputs)
        found = over_inputs(values, inputs, unit="1", better="lower", what="")
        hits += found.low <= 0 <= found.high
        assert found.n == 25
    assert 180 <= hits <= 198


def test_an_input_each_gives_the_interval_of_a_mean():
    values = torch.randn(12, generator=Rng(0).stream("x"))
    known = {"unit": "1", "better": "lower", "what": ""}
    a = over_inputs(values, None, **known)
    b = over_inputs(values, torch.arange(12), **known)
    assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high))


def test_one_input_has_no_interval():
    found = psnr(images(3), images(3, 1), inputs=torch.zeros(3, dtype=torch.long))
    assert found.value is not None
    assert found.low is None
    assert "one input only" in found.method


def test_all_numbers_of_a_task():
    x, inputs = images(6), torch.arange(3).repeat_interleave(2)
    y = (x + 0.1 * images(6, 1)).clamp(0, 1)
    plain = Pairs(target=x, output=y).measure()
    assert list(plain) == ["psnr", "ms-ssim"]
    full = Pairs(target=x, output=y, inputs=inputs).measure((x.flatten(1), y.flatten(1)))
    assert list(full) == ["psnr", "ms-ssim", "feature distance", "diversity"]
    assert all(math.isfinite(e.value) and e.method for e in full.values())
    assert list(Pairs(target=x.flatten(1), output=y.flatten(1)).measure()) == ["psnr"]


@pytest.mark.parametrize("measure", [psnr, paired_ms_ssim])
@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_pairs_give_a_number_or_a_reason(measure, n):
    found = measure(images(n), images(n, 1))
    assert (found.value is None) == (n == 0)
    assert found.method


BAD = {
    "unequal": (torch.zeros(3, 1, 9, 9), torch.zeros(4, 1, 9, 9), "one shape"),
    "a vector": (torch.zeros(3), torch.zeros(3), "one shape"),
    "whole numbers": (torch.zeros(3, 1, 9, 9), torch.zeros(3, 1, 9, 9).long(), "floating"),
    "nan": (torch.zeros(3, 1, 9, 9), torch.full((3, 1, 9, 9), torch.nan), "3 of the 3 outputs"),
}


@pytest.mark.parametrize("measure", [psnr, paired_ms_ssim])
@pytest.mark.parametrize("case", BAD)
def test_what_are_no_pairs_is_refused(measure, case):
    target, output, message = BAD[case]
    with pytest.raises(UserError, match=message) as error:
        measure(target, output)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("inputs", [torch.zeros(2).long(), torch.zeros(3)])
def test_inputs_must_be_one_whole_number_each(inputs):
    with pytest.raises(UserError, match="one whole number for each of the 3 pairs"):
        psnr(images(3), images(3, 1), inputs=inputs)


def test_features_of_unequal_numbers_are_no_pairs():
    with pytest.raises(UserError, match="one shape"):
        feature_distance(torch.zeros(3, 2), torch.zeros(4, 2))
