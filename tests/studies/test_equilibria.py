"""Game theory in the study of convergence: small trials, and verdicts on made-up outcomes."""

from dataclasses import replace

import pytest

from gantlet.core.estimate import Budget, Estimate, Outcome
from gantlet.core.spec import datasets, families, solvers
from gantlet.research.convergence.game_theory import Equilibria
from gantlet.research.convergence.game_theory_trial import (
    ARMS,
    AVERAGE_ROUNDS,
    BEST,
    ENERGY,
    FLOPS,
    GAP,
    LAST,
    LAST_ROUND,
    MATRIX,
    NETWORKS,
    ORACLE_ARM,
    RESPONSES,
    SOLVED,
    UNIFORM,
    EquilibriumSize,
    at,
    in_rounds,
)
from gantlet.run.store import TrialFolder

TINY = EquilibriumSize(
    flops=2e8,
    shares=(0.5, 1.0),
    snapshots=4,
    response=6,
    search=3,
    judged=64,
    batch=50,
    rounds=(100, 1000),
)


def trial(method, scale=TINY):
    found = next(t for t in Equilibria().trials("small") if t.approach == method)
    if method == MATRIX:
        return replace(found, scale=scale).written()
    ring = datasets.resolve("ring:n=600,held_out=200")
    return replace(found, scale=scale, data=ring, budget=Budget(flops=scale.flops)).written()


def run(method, path):
    return Equilibria().run(trial(method), TrialFolder(path), lambda share, what: None)


def test_trials_are_written_out_and_the_same_each_time():
    found = Equilibria().trials("small")
    assert found == Equilibria().trials("small")
    assert len({t.written().key for t in found}) == len(found)
    matrix, *trained = found
    assert matrix.approach == MATRIX
    for t in trained:
        assert families.resolve(t.model) == t.model
        assert solvers.resolve(t.solver) == t.solver
        assert t.budget.flops == t.scale.flops
    assert len({t.seed for t in trained}) == 3


@pytest.mark.parametrize("method", ["plain", "near past", "far past", "langevin", "mix-gan"])
def test_a_trained_method_is_judged_at_each_share_within_its_budget(method, tmp_path):
    outcome = run(method, tmp_path)
    arms = {a for a in ARMS if at(GAP, a, 1.0) in outcome.scores}
    assert arms
    for arm in arms:
        for share in TINY.shares:
            scores = {w: outcome.scores[at(w, arm, share)] for w in (GAP, ENERGY, FLOPS, NETWORKS)}
            assert scores[GAP].low < scores[GAP].high
            assert scores[ENERGY].value is not None
            assert scores[FLOPS].value <= share * TINY.flops * (1 + 1e-9)
            assert scores[NETWORKS].value >= 2
    assert outcome.spend.flops <= TINY.flops
    if method == "plain":
        assert arms == {LAST, BEST, UNIFORM, SOLVED, "average of weights"}
        assert outcome.scores[at(NETWORKS, UNIFORM, 1.0)].value == 4


def test_the_double_oracle_stops_at_its_budget(tmp_path):
    outcome = run("double oracle", tmp_path)
    half, whole = (outcome.scores[at(NETWORKS, ORACLE_ARM, s)].value for s in TINY.shares)
    assert 2 <= half <= whole + 2
    responses = [outcome.scores[at(RESPONSES, ORACLE_ARM, s)].value for s in TINY.shares]
    assert 0 < responses[0] < responses[1]
    for share in TINY.shares:
        assert 0 < outcome.scores[at(FLOPS, ORACLE_ARM, share)].value <= share * TINY.flops


def test_matching_pennies_is_part_of_it(tmp_path):
    scores = run(MATRIX, tmp_path).scores
    assert scores[in_rounds("hedge", LAST_ROUND, 1000)].value == pytest.approx(1.50, abs=0.005)
    assert scores[in_rounds("hedge", AVERAGE_ROUNDS, 100)].value == pytest.approx(0.166, abs=5e-4)


def made_up(seed, gaps, energies=None):
    """An outcome with these duality gaps at half and at the whole budget, arm by arm."""
    scores = {}
    for arm, (half, whole) in gaps.items():
        for share, gap in zip(TINY.shares, (half, whole), strict=True):
            scores[at(GAP, arm, share)] = Estimate.exact(gap + 0.001 * seed)
            energy = (energies or {}).get(arm, 0.01)
            scores[at(ENERGY, arm, share)] = Estimate.exact(energy + 0.001 * seed)
            scores[at(FLOPS, arm, share)] = Estimate.exact(share * TINY.flops, unit="FLOP")
            scores[at(NETWORKS, arm, share)] = Estimate.exact(2, unit="networks")
            scores[at("networks held on the way", arm, share)] = Estimate.exact(2)
            scores[at(RESPONSES, arm, share)] = Estimate.exact(0)
    return Outcome(trial=replace(trial("plain"), seed=seed), scores=scores)


GAPS = {LAST: (0.3, 0.1), SOLVED: (0.2, 0.05), ORACLE_ARM: (0.9, 0.4), BEST: (0.3, 0.1)}


def test_verdicts_follow_the_numbers():
    outcomes = [made_up(seed, GAPS, {SOLVED: 0.001}) for seed in range(3)]
    exploitable, far, mixture, cost = Equilibria().verdicts(outcomes)
    assert (
        "less exploitable than the last iterate: equilibrium of checkpoints" in exploitable.claim
    )
    assert "; more: double oracle" in exploitable.claim
    assert f"not significantly different: {BEST}." in exploitable.claim
    assert (
        "less distant from the data than the last iterate: equilibrium of checkpoints" in far.claim
    )
    assert "nearer to the data than last iterate" in mixture.claim
    assert cost.claim.startswith("The gap at which plain training ends, 0.101, costs least by")
    assert "Not reached: double oracle." in cost.because


def test_without_a_gain_the_verdicts_say_so():
    outcomes = [made_up(s, {LAST: (0.3, 0.1), SOLVED: (0.3, 0.1)}) for s in range(3)]
    exploitable, _, mixture, _ = Equilibria().verdicts(outcomes)
    assert "no method; more: none" in exploitable.claim
    assert f"not significantly different: {SOLVED}." in exploitable.claim
    assert "is not significantly different from what needs no game theory" in mixture.claim


def test_critics_without_a_penalty_are_told_of_apart():
    loose = [
        replace(o, trial=replace(trial("without penalty"), seed=o.trial.seed))
        for o in (made_up(s, {LAST: (0.3, 2.0), SOLVED: (0.3, 0.5)}) for s in range(3))
    ]
    held = [made_up(s, {LAST: (0.3, 0.1), SOLVED: (0.3, 0.2)}) for s in range(3)]
    claims = [v.claim for v in Equilibria().verdicts([*held, *loose])]
    told = [c for c in claims if "equilibrium of checkpoints plays" in c]
    assert [c.partition(",")[0] for c in told] == ["With a penalty", "Without a penalty"]
    assert "more exploitable than last iterate" in told[0]
    assert "less exploitable than last iterate" in told[1]
    tables = [b.title for b in Equilibria().blocks([*held, *loose])]
    assert tables[-1] == "Plain training without a critic penalty"


def test_parts_of_the_trials_are_enough_for_a_report():
    assert list(Equilibria().verdicts([])) == list(Equilibria().blocks([])) == []
    one = [made_up(0, {LAST: (0.3, 0.1)})]
    assert list(Equilibria().verdicts(one)) == []
    table, chart = Equilibria().blocks(one)
    assert [row[0] for row in table.rows] == [LAST]
    assert chart.series[0].y == pytest.approx([0.3, 0.1])
