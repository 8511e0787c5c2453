"""The panel of encoders: ratios, their mean, disagreement, and what was tuned against."""

import math

import pytest
import torch

import gantlet
from gantlet.commands.evaluate.panel import (
    Reading,
    apart,
    extractors_at_hand,
    gains,
    reading,
    together,
)
from gantlet.commands.evaluate.trial import TrialView
from gantlet.core.data import Space

ENCODERS = ("a", "b", "c", "d", "e", "f")


def normal(n, d, *, seed, shift=0.0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift


def made(name, value, noise=0.0, seed=0):
    draw = torch.Generator().manual_seed(seed)
    left = value + noise * torch.randn(10, generator=draw, dtype=torch.float64)
    return Reading(name, value, left, 500)


def test_fakes_as_good_as_real_have_ratio_one_and_worse_ones_more():
    real, floor = normal(4000, 3, seed=1), normal(2000, 3, seed=2)
    equal = together([reading("a", real, floor, normal(2000, 3, seed=3))])
    assert equal.low < 1 < equal.high
    assert equal.n == 2000
    worse = together([reading("a", real, floor, normal(2000, 3, seed=4, shift=0.5))])
    assert worse.low > 10


def test_the_ratio_is_that_of_plug_in_frechet_distances():
    real, floor, fake = (normal(300, 2, seed=k, shift=k / 9) for k in range(3))

    def frechet(x, y):
        a, b = torch.cov(x.double().T), torch.cov(y.double().T)
        roots = torch.linalg.eigvals(a @ b).real.clamp_min(0).sqrt().sum()
        mean = (x.double().mean(0) - y.double().mean(0)).square().sum()
        return float(mean + a.trace() + b.trace() - 2 * roots)

    expected = math.log(frechet(real, fake) / frechet(real, floor))
    assert reading("a", real, floor, fake).value == pytest.approx(expected, rel=1e-6)


def test_intervals_of_the_geometric_mean_hold_what_they_say():
    # The truth: both distances have equal parts by d = 2 shifts of known size.
    hits, runs = 0, 100
    truth = 0.0
    for k in range(runs):
        x, y, z = (normal(400, 2, seed=1000 * s + k, shift=m) for s, m in ((1, 0), (2, 1), (3, 1)))
        found = together([reading("a", x, y, z), reading("b", x[:, :1], y[:, :1], z[:, :1])])
        hits += found.low <= math.exp(truth) <= found.high
    assert hits >= 89  # of 95 expected: binomial, p < 0.01


def test_the_geometric_mean_is_of_all_encoders():
    found = together([made("a", math.log(2)), made("b", math.log(8))])
    assert found.value == pytest.approx(4)


def test_an_encoder_that_disagrees_stands_out():
    panel = [made(name, 0.1, 0.01, seed=i) for i, name in enumerate(ENCODERS[:-1])]
    panel.append(made("f", 2.0, 0.01, seed=9))
    odd = min(apart(panel), key=lambda found: found[2])
    assert odd[0] == "f"
    assert odd[1].value == pytest.approx(math.exp(1.9), rel=0.01)
    assert odd[2] < 0.01


def test_what_improves_on_one_encoder_alone_is_named():
    before = [made(name, 3.0) for name in ENCODERS]
    after = [made(name, 2.9 + 0.05 * i) for i, name in enumerate(ENCODERS)]
    after[2] = made("c", 0.5)
    after[3] = made("d", 4.0)  # a loss explains no gain
    (alarm,) = (g for g in gains(before, after) if g.is_tuned)
    assert alarm.extractor == "c"
    assert alarm.own == pytest.approx(math.exp(2.5))


def test_what_improves_on_all_or_gets_worse_on_one_is_not():
    before = [made(name, 3.0) for name in ENCODERS]
    better = [made(name, 1.0 + 0.05 * i) for i, name in enumerate(ENCODERS)]
    assert not any(g.is_tuned for g in gains(before, better))
    # By one encoder much worse, by all others alike: none of them was tuned against.
    worse = [*before[:-1], made("f", 6.0)]
    assert not any(g.is_tuned for g in gains(before, worse))
    # The noise of the samples alone would explain it.
    noisy = [made(name, 2.9 + 0.01 * i) for i, name in enumerate(ENCODERS)]
    noisy[2] = made("c", 2.0, noise=0.5)
    assert not any(g.is_tuned for g in gains(before, noisy))


def test_two_encoders_that_improve_alike_hide_each_other():
    before = [made(name, 3.0) for name in ENCODERS]
    alike = [made(name, 0.5 if name in "cd" else 2.9) for name in ENCODERS]
    assert not any(g.is_tuned for g in gains(before, alike))
    alone = [made(name, 0.5 if name == "c" else 2.9) for name in ENCODERS]
    assert [g.extractor for g in gains(before, alone) if g.is_tuned] == ["c"]


def test_gains_drawn_alike_rarely_alarm():
    alarms = 0
    for k in range(400):
        draw = torch.randn(6, generator=torch.Generator().manual_seed(k)).tolist()
        after = [made(name, 3.2 + 0.4 * g) for name, g in zip(ENCODERS, draw, strict=True)]
        alarms += any(g.is_tuned for g in gains([made(n, 3.0) for n in ENCODERS], after))
    assert alarms <= 30  # 5 % of 400 are 20


def test_three_encoders_are_too_few():
    three = [made(name, 1.0) for name in ENCODERS[:3]]
    assert gains(three, three) == []


def test_extractors_at_hand_suit_the_samples():
    grey = extractors_at_hand(Space("image", (1, 8, 8), 17), None, labelled=True)
    assert set(grey) >= {"classifier", "random-conv", "pca", "pixels"}
    assert "ngrams" not in grey
    tokens = extractors_at_hand(Space("tokens", (5,), 9), None, labelled=False)
    assert tokens == ("ngrams",)


def test_the_report_of_an_evaluation_has_a_panel(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sets = {k: normal(120, 4, seed=s, shift=m) for k, s, m in (("old", 1, 1), ("new", 2, 0.3))}
    report = gantlet.evaluate(
        {k: x.numpy() for k, x in sets.items()},
        normal(400, 4, seed=3).numpy(),
        metrics=["energy"],
        panel=True,
    )
    assert any("encoders together" in v.claim for v in report.verdicts)
    found = report.extra["panel"]
    assert found["sets"]["old"]["ratio"] > found["sets"]["new"]["ratio"] > 1
    assert len(found["sets"]["old"]["encoders"]) == 3
    assert any("4 encoders or more; here are 3" in c.text for c in report.caveats)


def test_an_encoder_that_failed_is_no_part_of_the_panel(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = TrialView.given

    def failing(view):
        if view.spec.extractor.startswith("pca"):
            raise RuntimeError("no memory left")
        return given(view)

    monkeypatch.setattr(TrialView, "given", failing)
    report = gantlet.evaluate(
        normal(120, 4, seed=1).numpy(),
        normal(400, 4, seed=3).numpy(),
        metrics=["energy"],
        features=["pixels", "pca"],
        groups={"real": list(range(400))},
        panel=True,
    )
    (encoders,) = (found["encoders"] for found in report.extra["panel"]["sets"].values())
    assert list(encoders) == ["pixels"]
    assert any("real samples are, by one encoder." in v.claim for v in report.verdicts)
    said = " ".join(c.text for c in report.caveats)
    assert "4 encoders or more; here are 1" in said
    assert "too short for samples that come in groups" in said
