"""The study of question 1, from outcomes made up so that the right answer is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from gantlet.commands import standings
from gantlet.commands.standings import model_results
from gantlet.core.estimate import Budget, Estimate, Outcome, Trial
from gantlet.research.tradeoffs.study import (
    Costs,
    Tradeoffs,
    article_table,
    break_even,
    cost_to_reach,
    flow_gan_sweep,
    slope,
    target,
)

QUALITY = "energy (pixels)"

# Quality at three budgets, dependent evaluations of a sample, error of the round trip.
MADE_UP = {
    "gan": ((0.9, 0.2, 0.1), 1, None),
    "flow": ((0.9, 0.8, 0.2), 1, 1e-6),
    "ar": ((0.3, 0.2, 0.1), 64, None),
    "vae": ((0.2, 0.2, 0.2), 1, None),
    "diffusion": ((0.9, 0.9, 0.9), 40, 1e-2),
    "flow-gan": ((0.2, 0.1, 0.1), 1, 1e-6),
}


def likelihood():
    return replace(Estimate.exact(2.0), kind="exact")


def exact(value):
    return Estimate.exact(value, better="lower")


def budgets(made_up=None):
    found = {}
    for i, budget in enumerate((1e9, 3e9, 9e9)):
        outcomes = []
        for family, (quality, depth, error) in (made_up or MADE_UP).items():
            scores = {
                QUALITY: exact(quality[i]),
                standings.TRAINING: exact(budget),
                standings.SAMPLING: exact(float(depth)),
                standings.DEPTH: exact(float(depth)),
            }
            if error is not None:
                scores[standings.INVERSE] = exact(error)
            if family == "ar":
                scores[standings.LIKELIHOOD] = likelihood()
            for seed in range(2):
                trial = Trial(parts={"model": family}, budget=Budget(flops=budget), seed=seed)
                outcomes.append(Outcome(trial=trial, scores=scores))
        found[budget] = model_results(outcomes)
    return found


def test_the_target_is_what_half_of_the_families_reach():
    assert target(budgets()) == pytest.approx(0.15)
    assert cost_to_reach(budgets(), "flow-gan", 0.15) == 3e9
    assert cost_to_reach(budgets(), "gan", 0.15) == 9e9
    assert cost_to_reach(budgets(), "diffusion", 0.15) is None


def test_the_articles_table_follows_its_rules():
    part = article_table(budgets())
    (table,) = part.blocks
    cells = {row[0]: [str(c).partition(":")[0] for c in row[1:4]] for row in table.rows}
    assert cells["gan"] == ["yes", "yes", "no"]
    assert cells["flow"] == ["yes", "no", "yes"]
    assert cells["ar"] == ["no", "yes", "yes"]
    assert cells["vae"] == ["yes", "no", "no"]
    assert cells["diffusion"] == ["no", "no", "no"]
    assert cells["flow-gan"] == ["yes", "yes", "yes"]
    assert part.verdicts[0].claim.startswith(
        "Yes, by these criteria and at these scales: flow-gan is"
    )


def test_no_family_with_all_three_is_an_answer_too():
    without = {k: v for k, v in MADE_UP.items() if k != "flow-gan"}
    claim = article_table(budgets(without)).verdicts[0].claim
    assert claim == "No family is parallel, efficient and reversible here."


def test_break_even_is_where_total_costs_are_equal():
    a, b = Costs("gan", 1000.0, 1.0), Costs("diffusion", 200.0, 5.0)
    n = break_even(a, b)
    assert a.training + n * a.sample == pytest.approx(b.training + n * b.sample)
    assert break_even(b, a) == n
    assert break_even(Costs("x", 10.0, 1.0), Costs("y", 20.0, 2.0)) is None
    assert break_even(a, a) is None


def test_slope_equals_scipys():
    rng = np.random.default_rng(0)
    sizes = np.repeat([100.0, 1000.0, 10000.0], 3)
    errors = sizes**-0.5 * np.exp(rng.normal(0, 0.1, 9))
    found = slope(list(zip(sizes, errors, strict=True)))
    fit = stats.linregress(np.log(sizes), np.log(errors))
    assert found.value == pytest.approx(fit.slope)
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, 7) * fit.stderr)
    assert slope([(10.0, 1.0)] * 9).value is None
    assert slope([(10.0, 1.0), (20.0, 1.0)]).value is None


def test_the_sweep_compares_both_ways_to_train_the_same_flow():
    def outcome(weight, seed, quality):
        scores = {
            standings.LIKELIHOOD: exact(30.0 if weight == 0 else 2.0),
            QUALITY: exact(quality + 0.01 * seed),
            "recall (pixels)": exact(0.1),
        }
        model = f"flow-gan:weight={weight}"
        return Outcome(trial=Trial(parts={"model": model}, seed=seed), scores=scores)

    found = [outcome(w, s, q) for w, q in ((0.0, 0.5), (math.inf, 0.1)) for s in range(2)]
    part = flow_gan_sweep(model_results(found))
    assert [row[0] for row in part.blocks[0].rows] == ["0", "inf"]
    assert any("maximum likelihood gives the better samples" in v.claim for v in part.verdicts)
    assert any("30" in v.claim and "it is 2" in v.claim for v in part.verdicts)


def test_the_study_lists_each_trial_once_and_pairs_by_seed():
    study = Tradeoffs(data="ring:n=600", seeds=2)
    trials = study.trials()
    assert len({t.key for t in trials}) == len(trials)
    models = {t.parts["model"].partition(":")[0] for t in trials}
    assert {"gan", "flow", "ar", "vae", "diffusion", "flow-gan", "gmm", "real"} <= models
    assert {t.seed for t in trials} == {0, 1}
    assert study.question()["size"] == "small"
