"""The study of annealing, from made up numbers whose right answer is known; and run for real."""

import pytest
import torch

from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget, Estimate, Outcome
from gantlet.core.rng import Rng
from gantlet.research.ais.study import AisStudy, blocks, findings, verdicts
from gantlet.research.ais.trial import (
    ACCEPTANCE,
    AIS,
    EXACT,
    GAP,
    OFF,
    SHORT,
    SMOOTH,
    TUNING,
    AnnealingGrid,
    AnnealingTrial,
    DataPart,
    at,
    run_trial,
    smoothed,
    trials,
)
from gantlet.run.trials import RunData

GRID = AnnealingGrid(
    sigmas=(0.01, 0.5), temperatures=(10, 100), chains=2, tuning=4, points=6, simulated=4
)
DATA = "ring:std=0.2,n=400,held_out=50"
FLOW = "flow:layers=2,width=8,depth=1"


def asked(models=(FLOW,), grid=GRID):
    return trials(
        {DATA: DataPart(models=models, flops=1e7, grid=grid)},
        seeds=1,
        data_seed=0,
        threads=1,
        device="cpu",
    )


def near(value, half=0.1):
    return Estimate(value=value, low=value - half, high=value + half, n=9, unit="nats")


def outcome(off, gap, *, model=FLOW, exact=-2.0, tuning=(-3.0, -4.0), plane=None):
    """Returns an outcome; ``off`` and ``gap`` are by width and, within, by temperatures."""
    (trial,) = asked((model,))
    scores = {EXACT: near(exact)}
    for i, sigma in enumerate(GRID.sigmas):
        for j, n in enumerate(GRID.temperatures):
            scores |= {
                at(TUNING, sigma, n): near(tuning[i]),
                at(AIS, sigma, n): near(exact + off[i][j]),
                at(OFF, sigma, n): near(off[i][j]),
                at(GAP, sigma, n): near(gap[i][j]),
                at(ACCEPTANCE, sigma, n): Estimate.exact(0.65),
            }
            if plane is not None:
                scores[at(SHORT, sigma, n)] = near(plane[i] - off[i][j])
        if plane is not None:
            scores[at(SMOOTH, sigma)] = near(plane[i])
    return Outcome(trial=trial, scores=scores)


def claims(*outcomes):
    return " | ".join(f"{v.claim} {v.because}" for v in verdicts(findings(outcomes)))


def test_causes_in_the_plane_are_known():
    (found,) = findings(
        [outcome([[-900, -5], [-1.2, -1]], [[900, 5], [0.2, 0.01]], plane=(0, -1))]
    )
    assert {(p.sigma, p.temperatures): p.cause for p in found.points} == {
        (0.01, 10): "chains",
        (0.01, 100): "chains",
        (0.5, 10): "noise",
        (0.5, 100): "noise",
    }
    (mixed,) = findings([outcome([[-2, -2], [-2, 0.05]], [[1, 1], [1, 1]], plane=(-1, 0.05))])
    assert mixed.points[0].cause == "both"
    assert mixed.points[3].cause == "none"


def test_causes_on_images_follow_from_the_gap():
    (found,) = findings([outcome([[-900, -20], [9, -60]], [[2000, 4], [3, 0.5]])])
    assert [p.cause for p in found.points] == ["chains", "noise", "noise", "noise"]
    (found,) = findings([outcome([[-900, -6], [2, 0.05]], [[2000, 4], [3, 0.5]])])
    assert [p.cause for p in found.points] == ["chains", "both", "both", "none"]


def test_the_tuned_width_is_that_of_validation():
    off, gap = [[-9, -3], [-4, -4]], [[9, 3], [0, 0]]
    (narrow,) = findings([outcome(off, gap, tuning=(-3, -4))])
    (wide,) = findings([outcome(off, gap, tuning=(-4, -3))])
    assert (narrow.tuned, wide.tuned) == (0.01, 0.5)
    assert narrow.at_tuned.off.value == -3
    assert wide.at_tuned.off.value == -4


def test_both_answers_can_be_given():
    off = outcome([[-90, -30], [-9, -9]], [[90, 30], [0, 0.05]])
    fine = outcome([[-90, 0.01], [-0.02, -0.01]], [[90, 0.1], [0.1, 0.05]])
    yes = claims(off)
    assert "Yes: AIS is significantly biased for every flow here." in yes
    assert "100 temperatures still leave a bias" in yes
    assert "A small sandwich gap does not show" in yes
    no = claims(fine)
    assert "No: AIS is not significantly biased for any flow here." in no
    assert "100 temperatures are enough" in no
    assert "No error exceeded its sandwich gap" in no
    assert "biased for 1 of 2 flows" in claims(off, fine)


def test_rankings_are_compared_on_the_same_data():
    gap = [[1, 1], [1, 1]]

    def pair(a, b, exact_a, exact_b):
        first = outcome([[a, a]] * 2, gap, exact=exact_a)
        second = outcome([[b, b]] * 2, gap, exact=exact_b, model="flow:layers=2,width=9,depth=1")
        return claims(first, second)

    assert "AIS agrees with the exact likelihood" in pair(0, 0, -2, -5)
    assert "gives the order of, but not the difference in," in pair(-1, 1, -2, -8)
    assert "AIS contradicts the exact likelihood" in pair(-9, 0, -2, -5)
    assert "neither significantly agrees nor disagrees" in pair(0, 0, -2, -2.05)


def test_missing_bounds_and_failed_trials_are_left_out_and_told():
    good = outcome([[-9, -3], [-4, -4]], [[9, 3], [0, 0]])
    scores = dict(good.scores)
    for n in GRID.temperatures:
        scores[at(OFF, 0.01, n)] = Estimate.missing("not finite", unit="nats")
    (found,) = findings([Outcome(trial=good.trial, scores=scores)])
    assert {p.sigma for p in found.points} == {0.5}
    failed = Outcome(trial=good.trial, error="diverged at step 3")
    assert findings([failed]) == []
    assert verdicts([])[0].claim == "No flow gave finite bounds."
    assert any("diverged at step 3" in str(b) for b in blocks([], [failed]))


def test_the_study_lists_a_trial_for_each_flow_and_seed():
    study = AisStudy(seeds=2)
    found = study.trials()
    assert len(found) == len({t.key for t in found}) == 6
    assert study.question()["size"] == "small"
    assert AnnealingTrial.of(asked()[0]).grid == GRID
    with pytest.raises(UserError, match="seeds must be at least 1"):
        AisStudy(seeds=0).trials()
    with pytest.raises(UserError, match="needs a flow"):
        asked(("gmm",))


class Nowhere:
    """A trial's folder that keeps nothing."""

    def save(self, name, tensors):
        assert name == "model"
        assert tensors

    def save_curve(self, curve):
        assert curve

    def save_state(self, state):
        raise AssertionError

    def load_state(self):
        return None


def test_a_trial_trains_a_flow_and_measures_everything():
    grid = AnnealingGrid(
        sigmas=(0.3,),
        temperatures=(10, 30),
        chains=2,
        tuning=4,
        points=6,
        simulated=4,
        draws=500,
    )
    (trial,) = asked(grid=grid)
    shares = []
    runs = [
        run_trial(trial, RunData(), Nowhere(), lambda share, _: shares.append(share))
        for _ in range(2)
    ]
    assert runs[0].scores == runs[1].scores
    assert 0 < max(shares) < 1
    scores = runs[0].scores
    for n in grid.temperatures:
        off, smooth = scores[at(OFF, 0.3, n)], scores[at(SMOOTH, 0.3)]
        assert off.value == pytest.approx(smooth.value - scores[at(SHORT, 0.3, n)].value, abs=1e-3)
        assert scores[at(AIS, 0.3, n)].value == pytest.approx(
            scores[EXACT].value + off.value, abs=1e-3
        )
    (found,) = findings(runs[:1])
    assert found.tuned == 0.3
    assert trial.budget == Budget(flops=1e7)


def test_what_is_no_flow_cannot_be_annealed():
    (trial,) = asked(("gan:width=8",))
    with pytest.raises(UserError, match="needs an exact density"):
        run_trial(trial, RunData(), Nowhere(), lambda *_: None)


class Scaled:
    """The exact density of a flow that is nothing but scaling."""

    def exact(self, x):
        return torch.distributions.Normal(1.0, torch.tensor([0.5, 2.0])).log_prob(x).sum(1)


def test_a_smoothed_density_of_a_normal_one_has_both_variances():
    x = torch.randn(5, 2, generator=Rng(0).stream("x"))
    width = torch.tensor([0.5, 0.1])
    found = smoothed(Scaled(), x, width, draws=200_000, rng=Rng(0).stream("noise"))
    both = (torch.tensor([0.5, 2.0]).square() + width.square()).sqrt()
    true = torch.distributions.Normal(1.0, both).log_prob(x).sum(1)
    assert torch.allclose(found, true, atol=0.02)
