"""How numbers are written for people."""

import math

import pytest

from gantlet.core.estimate import Estimate
from gantlet.report import format as fmt
from gantlet.report.format import UnitScale, Written


def around(value, half, **rest):
    return Estimate(value=value, low=value - half, high=value + half, **rest)


@pytest.mark.parametrize(
    ("number", "unit", "shown"),
    [
        (1.2e9, "FLOP", "1.20 GFLOP"),
        (1.2e9, "FLOPs", "1.20 GFLOP"),
        (2e11, "FLOP/sample", "200 GFLOP/sample"),
        (340_000, "bytes", "340 kB"),
        (999_999, "B", "1.00 MB"),
        (512, "B", "512 B"),
        (0.0021, "s", "2.10 ms"),
        (3.1e-7, "seconds", "310 ns"),
        (59.0, "s", "59 s"),
        (218.0, "s", "3.63 min"),
        (10_000.0, "s", "2.78 h"),
        (86_400, "parameters", "86.4 k parameters"),
        (1830.0, "samples/s", "1.83 k samples/s"),
        (0.0, "FLOP", "0 FLOP"),
        (2.41, "bits/dim", "2.41 bits/dim"),
        (12_345_678, "1", "12,345,678"),
        (-0.0412, "1", "−0.0412"),
        (3.21e-7, "1", "3.21 ×10⁻⁷"),
        (4.2e12, "1", "4.20 ×10¹²"),
    ],
)
def test_units_and_three_digits(number, unit, shown):
    assert fmt.text(number, unit) == shown


@pytest.mark.parametrize(
    ("estimate", "shown"),
    [
        (around(2.42134, 0.01322), "2.421 ± 0.013"),
        (around(2.42134, 0.3), "2.42 ± 0.30"),
        (around(2.42134, 0.0996), "2.42 ± 0.10"),
        (around(12345.6, 678.0), "12,346 ± 678"),
        (around(-0.001, 0.5), "0.00 ± 0.50"),
        (around(1.2e9, 3e7, unit="FLOP"), "1.200 ± 0.030 GFLOP"),
        (around(3.2e-7, 4e-8), "3.20 ± 0.40 ×10⁻⁷"),
        (Estimate(value=0.95, low=0.88, high=0.97), "0.950 [0.880, 0.970]"),
        (Estimate(value=2.0, method="one seed only"), "2.00 (no interval)"),
        (Estimate(value=1.5, low=-math.inf, high=2.0), "1.50 [−∞, 2.00]"),
        (Estimate.exact(1088.0), "1,088"),
        (Estimate.exact(0.5), "0.500"),
        (Estimate.missing("no density"), "–"),
        (Estimate(value=math.nan, method="diverged"), "–"),
        (Estimate(value=math.inf, method="overflow"), "∞ (no interval)"),
    ],
)
def test_interval_decides_the_digits(estimate, shown):
    assert fmt.text(estimate) == shown


def test_nothing_is_written_in_programmers_notation():
    for exponent in range(-30, 31):
        for unit in ("1", "FLOP", "s", "B", "bits/dim", "samples/s"):
            assert "e" not in fmt.text(1.234 * 10.0**exponent, unit).replace("samples", "")


def test_a_column_shares_one_prefix_if_it_can():
    assert fmt.common_scale([3.4e9, 2e11], "FLOP") == UnitScale(1e9, "GFLOP")
    assert fmt.common_scale([2e6, 2e11], "FLOP") == UnitScale(1e6, "MFLOP")
    assert fmt.common_scale([2e4, 2e11], "FLOP") is None
    assert fmt.common_scale([2e-7, 2e-3], "nats") is None
    assert fmt.common_scale([0.0, math.nan, 2e-3], "s") == UnitScale(1e-3, "ms")
    assert fmt.common_scale([], "bits/dim").suffix == "bits/dim"
    assert fmt.common_scale([1e-4, 1e6], "1").suffix == ""
    assert fmt.common_scale([2e-7, 3e-6], "1").size < 1e-5


def test_write_divides_by_the_scale():
    assert fmt.write(around(2.5e9, 1e8), UnitScale(1e9, "GFLOP")) == Written("2.50", "± 0.10")
    assert fmt.write(None, UnitScale(1.0, "")) == Written("–")


def test_origin_says_where_a_number_comes_from():
    estimate = around(2.4, 0.013, n=3, method="mean of 3 seeds, Student's t")
    assert fmt.origin(estimate) == (
        "95% interval 2.387 to 2.413; n = 3; mean of 3 seeds, Student's t"
    )
    assert fmt.origin(Estimate.missing("a GAN has no density")) == "a GAN has no density"
    assert fmt.origin(Estimate.exact(3.0, method="counted")) == "counted"


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0"), (1e11, "100G"), (1500, "1.5k"), (0.3, "0.3"), (-2, "−2"), (2e-5, "2×10⁻⁵")],
)
def test_ticks(number, shown):
    assert fmt.tick(number) == shown
