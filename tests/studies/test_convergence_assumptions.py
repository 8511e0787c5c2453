"""Strategy 1 of the convergence study: its plan, its games, and what it says of made up cells."""

import math
from dataclasses import replace

import pytest
import torch

from gantlet.core.rng import Rng
from gantlet.report.blocks import Table
from gantlet.research.convergence import assumptions_plan
from gantlet.research.convergence.assumptions import (
    CONVERGED,
    ERROR,
    LEADING,
    STEPS,
    TURNING,
    Assumptions,
    middle,
    run_trial,
)
from gantlet.research.convergence.assumptions_plan import CaseTrial
from gantlet.research.convergence.games import setting
from toy_games import r1_ratio, ridge_ratio

STRATEGY = Assumptions()


def trial(case):
    return CaseTrial.filling(case).written()


def run(case):
    return run_trial(trial(case), lambda *_: None)


def case(part="table", **settings):
    some = {"row": "here", "column": "there", "solver": "simultaneous", "values": (1.0, 0.5)}
    return assumptions_plan.Case(part=part, **{**some, **settings})


def planned(part, **wanted):
    return [
        c
        for c in assumptions_plan.cases("small")
        if c.part == part and all(getattr(c, k) == v for k, v in wanted.items())
    ]


def made_up(of, converged):
    outcome = run(replace(of, steps=4, starts=2))
    return replace(
        outcome, trial=trial(of), details={"converged": converged, "curve": [[1, 2.0], [2, 1.0]]}
    )


def test_every_trial_can_be_read_back_and_none_is_listed_twice():
    for size in ("small", "full"):
        trials = STRATEGY.trials(size)
        assert len({t.written().key for t in trials}) == len(trials)
        assert [CaseTrial.of(t.written()) for t in trials] == trials
        assert [t.case for t in trials] == assumptions_plan.cases(size)


def test_the_table_has_every_solver_in_every_dimension_from_twenty_starts():
    table = [c for c in assumptions_plan.cases("full") if c.part == "table"]
    assert len(table) == 11 * 4
    assert {c.starts for c in table} == {20}
    assert {c.values[0] / c.values[-1] for c in table} == {1.0, 5.0, 10.0}
    assert sorted({len(c.values) for c in table}) == [1, 2, 4, 8]


def test_thresholds_are_planned_on_both_sides_with_the_ratios_of_the_closed_form():
    values = torch.tensor(assumptions_plan.SPECTRUM)
    cells = planned("thresholds")
    for c in cells:
        told = (
            ridge_ratio(values, 2, ridge=c.ridge, tau=c.tau)
            if c.ridge
            else r1_ratio(values, 2, gamma=c.gamma, tau=c.tau)
        )
        assert c.side == pytest.approx(told, rel=1e-6)
    assert {(c.row, c.side > 1) for c in cells} == {
        (row, side) for row in ("ridge", "R1") for side in (True, False)
    }


def test_a_rung_that_converges_says_when_and_how_near():
    (rung,) = planned("ladder", row="R0 mean known, d = 2", column="crossing the curl")
    found = run(replace(rung, starts=4, steps=1600))
    assert found.details["converged"] == 4
    assert 0 < found.scores[STEPS].value < 1600
    assert found.scores[ERROR].value < 1e-3
    assert found.scores[CONVERGED].value == 100
    # The game itself only turns at the solution: eigenvalues i * sqrt(2 (l_i + l_j)).
    assert found.scores[LEADING].value == pytest.approx(0, abs=1e-3)
    fastest = math.sqrt(2 * (rung.values[0] + rung.values[0]))
    assert found.scores[TURNING].value == pytest.approx(fastest, rel=1e-3)


def test_outcomes_repeat_bit_by_bit():
    (rung,) = planned("ladder", row="R3 batches of 16", column="R1 penalty")
    short = replace(rung, starts=3, steps=40)
    assert run(short).scores == run(short).scores


def test_starts_that_are_lost_are_no_numbers():
    found = run(case(step=50.0, steps=80, starts=6))
    assert found.details["converged"] == 0
    assert found.scores[STEPS].value is None
    assert found.scores[ERROR].value is None
    assert "diverged" in found.scores[ERROR].method


@pytest.mark.parametrize(
    "row", ["R4 skewed", "R5 mixture, quadratic D", "R6 mixture, MLP G, MLP D"]
)
def test_every_later_rung_moves_and_is_measured(row):
    (rung,) = planned("ladder", row=row, column="R1 penalty")
    found = run(replace(rung, starts=2, steps=8, batch=32))
    assert all(found.scores[k].value is not None for k in (ERROR, LEADING, TURNING))
    assert len(found.details["curve"]) == 8


@pytest.mark.parametrize("data", ["gaussian", "t", "skewed"])
def test_samples_have_the_moments_that_are_aimed_at(data):
    rung = case(game="sampled", has_mean=True, data=data, batch=8)
    world = setting(rung, Rng(0))
    x = world.draw(200_000, Rng(0).stream("x"))
    values = torch.linalg.eigvalsh(x.T.cov())
    assert torch.allclose(x.mean(0), torch.full((2,), 0.5**0.5).double(), atol=0.01)
    assert values.tolist() == pytest.approx([0.5, 1.0], rel=0.03)


def test_the_median_has_the_interval_of_order_statistics():
    found = middle([float(k) for k in range(1, 21)])
    # Textbook: of 20, the 6th and the 15th hold the median with 95.9 %.
    assert (found.value, found.low, found.high) == (10.5, 6.0, 15.0)
    assert middle([1.0, math.inf, math.inf]).value is None
    few = middle([1.0, 2.0, 3.0])
    assert (few.value, few.low) == (2.0, None)
    lost = middle([1.0] * 12 + [math.inf] * 8)
    assert (lost.value, lost.low) == (1.0, None)
    assert "diverged" in lost.method


def test_verdicts_follow_what_was_counted():
    curl = case(row="crossing the curl", solver="crossing the curl")
    plain = case(row="simultaneous")
    first, *_ = STRATEGY.verdicts([made_up(curl, 20), made_up(plain, 0)])
    assert first.claim.endswith("converges from every start, plain descent from none.")
    first, *_ = STRATEGY.verdicts([made_up(curl, 19), made_up(plain, 0)])
    assert "crossing-the-curl converges from 19/20 starts" in first.claim
    (below,), (above, *_) = (
        planned("thresholds", tau=1.0, ridge=0.5),
        planned("thresholds", tau=1.0, ridge=1.5),
    )
    (said,) = STRATEGY.verdicts([made_up(below, 0), made_up(above, 20)])
    assert said.claim.startswith("Both thresholds are confirmed")
    (said,) = STRATEGY.verdicts([made_up(below, 1), made_up(above, 20)])
    assert said.claim == "The thresholds are confirmed in 1 of 2 settings."
    rungs = [case("ladder", row=row, column="R1 penalty") for row in ("low", "high")]
    (said,) = STRATEGY.verdicts([made_up(rungs[0], 20), made_up(rungs[1], 3)])
    assert "1 of 2 rungs; the first it fails on is 'high'" in said.claim


def test_tables_show_every_cell():
    found = [made_up(case("ladder", row=row), 20) for row in ("low", "high")]
    found += [made_up(case("far"), 3), *(made_up(c, 0) for c in planned("thresholds")[:2])]
    found += [made_up(case(), 7), made_up(case("forms"), 0)]
    blocks = list(STRATEGY.blocks(found))
    shares = [b for b in blocks if isinstance(b, Table) and "starts that converge" in b.title]
    assert [row[1].split()[0] for table in shares for row in table.rows] == ["7/20"] + [
        "20/20"
    ] * 2
    assert len(blocks) == 7
