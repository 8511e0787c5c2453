"""Strategy 2 of the convergence study: stationary points of small games."""

from dataclasses import replace

import pytest

from gantlet.research.convergence import landscape
from gantlet.research.convergence.landscape import Landscape, LandscapeTrial, bad_from

MODELS = ("one player:width=2", "two players:width=1", "two players:width=2")


@pytest.fixture(scope="module")
def outcomes():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(landscape, "DUEL_STEPS", 150)
        patch.setattr(landscape, "SETTLE_STEPS", 40)
        trials = [
            replace(t, plays=4).written() for t in Landscape().trials("small") if t.model in MODELS
        ]
        return [Landscape().run(t, None, lambda *_: None) for t in trials]


def test_sizes_of_both_games_are_equal_up_to_one_parameter(outcomes):
    sizes = {o.trial.model: o.scores["parameters"].value for o in outcomes}
    assert sizes["one player:width=2"] == 7
    assert sizes["two players:width=1"] == 8
    assert sizes["two players:width=2"] == 14


def test_points_are_found_and_described(outcomes):
    for outcome in outcomes:
        points = outcome.details["points"]
        assert points, outcome.trial.model
        for p in points:
            assert (p["kind"] == "unstable") == (p["index"] > 0)
        if LandscapeTrial.of(outcome.trial).game == "one player":
            # A gradient field does not rotate, and its stable points are minima.
            assert all(p["turning"] < 1e-6 for p in points)
            assert outcome.scores["stable but no Nash point"].value in {0.0, None}


def test_bad_is_what_misses_a_mode():
    assert bad_from() == pytest.approx(0.153, abs=0.001)


def test_the_report_holds_a_table_a_chart_each_and_verdicts(outcomes):
    blocks = list(Landscape().blocks(outcomes))
    assert len(blocks) == 3
    assert len(blocks[0].rows) == len(outcomes)
    claims = [v.claim for v in Landscape().verdicts(outcomes)]
    assert any("one player" in c for c in claims)
    assert any("two players" in c for c in claims)
    assert any("Nash" in c for c in claims)
