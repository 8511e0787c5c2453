"""Quality against coverage: the probe, the reading of curves, and the test at matched quality."""

import copy
import math

import pytest
import torch

from gantlet.commands.compare.quality_coverage import (
    Curve,
    trade_off_section,
    trade_off_verdicts,
    trade_offs,
)
from gantlet.commands.standings import ModelResults
from gantlet.core.data import InMemory, Space, Splits
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate, Outcome, Trial
from gantlet.core.metric import DataProbe
from gantlet.core.model import Knob, Model, Tunable
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families, metrics, probes
from gantlet.probes.tradeoff import TRADE_OFF, TradeOff, score_name

PLANE = Space("vector", (2,))


class Normal(Model):
    """The standard normal distribution."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.space, self.scale = PLANE, scale

    def _sample(self, n, context, *, rng):
        return self.scale * torch.randn(n, 2, generator=rng)


class Scaled(Normal, Tunable):
    """The same with its width as a knob."""

    knob = Knob("width", (0.7, 0.4, 0.2), 1.0)

    def tuned(self, value):
        return Scaled(value)


class Broken(Scaled):
    """A model that has no samples at one value."""

    def tuned(self, value):
        return Broken(value)

    def _sample(self, n, context, *, rng):
        return super()._sample(n, context, rng=rng) + (math.nan if self.scale == 0.4 else 0.0)


def normal(n, seed):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))


class Data:
    space = PLANE


SPLITS = Splits(
    train=InMemory(normal(500, 0)),
    validation=InMemory(normal(400, 1)),
    test=InMemory(normal(600, 2)),
)


def examined(model, probe=None, seed=0):
    probe = probe or TradeOff()
    assert isinstance(probe, DataProbe)
    return probe.examine(model, normal(600, 2), data=Data(), splits=SPLITS, rng=Rng(seed))


def test_points_are_what_the_metrics_say_alone():
    found = examined(Scaled())
    curve = found.details[TRADE_OFF]
    assert [p["value"] for p in curve["points"]] == [1.0, 0.7, 0.4, 0.2]
    assert [p["as trained"] for p in curve["points"]] == [True, False, False, False]
    assert curve["samples"] == 400
    real = normal(600, 2)[:400]
    for p in curve["points"]:
        x = Scaled(p["value"]).sample(400, rng=Rng(0).stream(f"trade-off/{p['value']}"))
        for which, name in (("quality", "precision"), ("coverage", "recall")):
            alone = metrics.make(name).measure(real, x, rng=torch.Generator())
            assert p[which]["value"] == pytest.approx(alone.value)
            where = None if p["as trained"] else p["value"]
            score = found.scores[score_name(f"{name} (pixels)", "width", where)]
            assert score.value == p[which]["value"]
    floor = [
        metrics.make(m).measure(real, normal(400, 1), rng=torch.Generator())
        for m in ("precision", "recall")
    ]
    assert [e["value"] for e in curve["floor"]] == pytest.approx([e.value for e in floor])


def test_less_variety_gives_more_quality_and_less_coverage():
    points = examined(Scaled()).details[TRADE_OFF]["points"]
    quality, coverage = ([p[k]["value"] for p in points] for k in ("quality", "coverage"))
    assert quality[0] < min(quality[1:])
    assert coverage == sorted(coverage, reverse=True)
    assert coverage[-1] < 0.3
    assert coverage[0] > 0.9


def test_a_model_without_a_knob_is_one_point_and_repeats():
    found, again = examined(Normal()), examined(Normal())
    assert found.details == again.details
    (point,) = found.details[TRADE_OFF]["points"]
    assert point["value"] is None
    assert point["as trained"]
    assert found.details[TRADE_OFF]["knob"] is None
    # Samples of the truth are as good as held-out ones.
    assert point["quality"]["value"] == pytest.approx(
        found.details[TRADE_OFF]["floor"][0]["value"], abs=0.06
    )


def test_samples_that_are_not_numbers_are_one_missing_point():
    points = examined(Broken()).details[TRADE_OFF]["points"]
    assert [p["quality"]["value"] is None for p in points] == [False, False, True, False]
    assert "NaN" in points[2]["quality"]["method"]
    assert [p.value for p in Curve(examined(Broken()).details[TRADE_OFF]).points] == [
        1.0,
        0.7,
        0.2,
    ]


def test_metrics_and_features_can_be_named():
    probe = probes.make("trade-off:quality=kid,coverage=coverage,features=pca")
    found = examined(Scaled(), probe).details[TRADE_OFF]
    assert (found["quality"], found["coverage"]) == ("kid (pca)", "coverage (pca)")
    with pytest.raises(UserError, match=r"need no training set\. Got fld"):
        examined(Scaled(), probes.make("trade-off:quality=fld"))


@pytest.mark.parametrize("name", ["gan:width=8", "flow:width=8,layers=2", "gmm:components=3"])
def test_own_families_have_a_knob_that_narrows_samples(name):
    data = datasets.make("ring:n=400")
    splits = data.load(rng=Rng(0))
    x = splits.train.take(torch.arange(200))
    family = families.make(name)
    if hasattr(family, "fit"):
        model = family.fit(data.space, x, rng=Rng(0)).model
    else:
        game = family.build(data.space, rng=Rng(0))
        game.prepare(x, rng=Rng(0).stream("prepare"))
        model = game.model
    assert isinstance(model, Tunable)
    state = copy.deepcopy(model.state_dict())
    wide, narrow = (m.sample(500, rng=Rng(0).stream("x")) for m in (model, model.tuned(0.3)))
    same = model.tuned(1.0).sample(500, rng=Rng(0).stream("x"))
    assert torch.equal(wide, same)
    assert narrow.var(0).sum() < wide.var(0).sum()
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    with pytest.raises(UserError, match="must be above 0"):
        model.tuned(0.0)


# ----------------------------------------------------------------------------
# Curves of which everything is known.
# ----------------------------------------------------------------------------


def estimate(value, half=0.01):
    return {
        "value": value,
        "low": value - half,
        "high": value + half,
        "n": 100,
        "method": "made",
        "better": "higher",
    }


def plain(points, knob="temperature"):
    return {
        "quality": "precision",
        "coverage": "recall",
        "knob": knob,
        "samples": 100,
        "points": [
            {
                "value": v,
                "as trained": v in (1.0, None),
                "quality": estimate(q),
                "coverage": estimate(c),
            }
            for v, q, c in points
        ],
        "floor": [estimate(0.95), estimate(0.95)],
    }


def results(model, curves):
    """A model with one curve for each seed."""
    outcomes = {}
    for seed, one in enumerate(curves):
        scores = {
            score_name(t, one["knob"], None if p["as trained"] else p["value"]): Estimate(**p[k])
            for p in one["points"]
            for t, k in (("precision", "quality"), ("recall", "coverage"))
        }
        trial = Trial(parts={"model": model}, seed=seed)
        outcomes[seed] = Outcome(trial=trial, scores=scores, details={TRADE_OFF: one})
    return ModelResults(model, model, outcomes, ())


def line(shift=0.0, noise=0.0, rng=None):
    """A curve on the line ``coverage = 1.5 - quality + shift``, each number with some noise."""
    draw = (lambda: noise * float(torch.randn((), generator=rng))) if rng is not None else float
    return plain(
        [(t, 1.2 - 0.5 * t + draw(), 0.3 + 0.5 * t + shift + draw()) for t in (1.0, 0.8, 0.6)]
    )


@pytest.mark.parametrize("level", [0.7, 0.75, 0.8, 0.87, 0.899])
def test_between_two_values_of_the_knob_the_curve_is_straight(level):
    found = Curve(line()).at(Estimate(**estimate(level, 0.0)))
    assert found.value == pytest.approx(1.5 - level)
    # Both errors of a point between two, at a slope of -1.
    w = min((level - a) / 0.1 for a in (0.7, 0.8) if level >= a)
    w = w if w <= 1 else w - 1
    assert found.half_width == pytest.approx(0.01 * math.sqrt(2 * (w**2 + (1 - w) ** 2)))


def test_a_curve_reaches_no_further_than_its_ends_and_their_errors():
    curve = Curve(line())
    assert curve.at(Estimate(**estimate(0.5))) is None
    assert curve.at(Estimate(**estimate(0.95))) is None
    near = curve.at(Estimate(**estimate(0.69)))
    assert near.value == pytest.approx(0.8)


def test_the_better_of_two_crossings_counts():
    curve = Curve(plain([(1.0, 0.5, 0.9), (0.8, 0.8, 0.8), (0.6, 0.4, 0.2)]))
    assert curve.at(Estimate(**estimate(0.6, 0.0))).value == pytest.approx(0.9 - 0.1 / 3)


def test_a_better_curve_is_found_at_the_quality_of_a_point():
    rng = torch.Generator().manual_seed(0)
    good = results("good", [line(0.2, 0.005, rng) for _ in range(3)])
    bad = results("bad", [plain([(None, 0.8 + 0.01 * k, 0.7)], knob=None) for k in range(3)])
    found = trade_offs([good, bad])
    (level,) = found.levels
    assert level.of is bad
    assert found.of_recipes
    (verdict,) = trade_off_verdicts(found)
    assert verdict.claim.startswith("At the precision of bad, 0.81")
    assert "good has significantly better recall than bad" in verdict.claim
    assert "Holm's procedure over 1 pair," in verdict.because
    (section,) = trade_off_section(found)
    chart, matched, points = section.blocks
    assert [s.name for s in chart.series] == ["good", "bad", "held-out real data"]
    assert matched.rows[0][3] == "bad"
    assert len(points.rows) == 3 + 1 + 1


def test_one_seed_speaks_of_trained_models_and_far_curves_of_nothing():
    good, bad = (
        results("good", [line(0.2)]),
        results("bad", [plain([(None, 0.8, 0.7)], knob=None)]),
    )
    found = trade_offs([good, bad])
    assert not found.of_recipes
    (verdict,) = trade_off_verdicts(found)
    assert "good has significantly better recall than bad" in verdict.claim
    assert "trained models" in verdict.because
    far = results("far", [plain([(None, 0.1, 0.7)], knob=None)])
    (verdict,) = trade_off_verdicts(trade_offs([good, far]))
    assert verdict.claim.startswith("No two models reach the same precision")
    assert trade_offs([ModelResults("none", "none", {}, ())]) is None


def test_many_pairs_without_a_difference_are_counted():
    same = [results(name, [line(0.001 * k)]) for k, name in enumerate("abcd")]
    bad = results("bad", [plain([(None, 0.8, 0.4)], knob=None)])
    (verdict,) = trade_off_verdicts(trade_offs([*same, bad]))
    assert "6 of 10 pairs of models are not significantly different in recall" in verdict.claim
    assert "a has significantly better recall than bad" in verdict.claim
    (verdict,) = trade_off_verdicts(trade_offs([*same[:2], bad]))
    assert "not significantly different in recall: a / b;" in verdict.claim


def test_equal_recipes_are_rarely_called_different():
    """Three models on one curve, of which seeds differ: some pair differs in at most 5 % or so."""
    rng = torch.Generator().manual_seed(1)
    wrong = 0
    for _ in range(200):
        everyone = [
            results(
                name,
                [line(0.03 * float(torch.randn((), generator=rng)), 0.005, rng) for _ in range(3)],
            )
            for name in "abc"
        ]
        found = trade_offs(everyone)
        wrong += any(g.is_sure for claims in found.claims for g in claims.gaps)
    assert wrong <= 18  # 5 % are 10; two standard errors more are 16
