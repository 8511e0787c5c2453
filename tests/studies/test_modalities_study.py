"""The study of other kinds of data: it runs, and finds what was planted and nothing else."""

import json
import math

import pytest
import torch

from gantlet.cli.main import run
from gantlet.commands.standings import SAMPLING_CPU, model_results
from gantlet.core.estimate import REAL, Estimate, Outcome
from gantlet.core.rng import Rng
from gantlet.core.spec import families
from gantlet.probes.network_probe import AUC, OVERLAP, STATISTIC
from gantlet.research.modalities.equal_overlap import NetworkPoint, at_overlap, common, point_of
from gantlet.research.modalities.kind_claims import KindResults, claims_of, decided, matched_claims
from gantlet.research.modalities.kind_designs import (
    BOTH,
    COURSES,
    DESIGNS,
    TEXT,
    THEN_RELAXED,
    WALKS,
)
from gantlet.research.modalities.report import StudyFindings, answers, blocks
from gantlet.research.modalities.study import Modalities
from gantlet.research.modalities.variance_components import DesignCell, Layout, difference
from gantlet.run.store import TrialFolder

ROWS = "mixed-table:n=300,held_out=100"


def normal(*name, n=1):
    g = Rng(0).stream("/".join(map(str, name)))
    return torch.randn(n, generator=g, dtype=torch.float64).tolist()


def known(value):
    return Estimate(value=value, method="made up")


# ----------------------------------------------------------------------------
# The design.
# ----------------------------------------------------------------------------


@pytest.mark.parametrize("design", DESIGNS, ids=lambda d: d.kind)
def test_a_design_has_pairs_of_both_kinds_and_a_line_up(design):
    cells = {DesignCell(a.prior, a.technique): [0.0, 1.0] for a in design.crossed()}
    assert len(cells) == len(list(design.crossed()))
    layout = Layout(cells)
    assert layout.is_comparable()
    assert len(layout.pairs(prior=True)) >= 3
    assert len(layout.pairs(prior=False)) >= 3
    for role in ("trivial", "likelihood", "adversarial"):
        assert families.make(design.of_role(role).model)


def test_models_of_one_kind_spend_the_same():
    study = Modalities(size="tiny", seeds=2)
    trials = study.trials()
    assert len({t.key for t in trials}) == len(trials)
    assert [t.seed for t in trials] == sorted(t.seed for t in trials)
    whole = [t for t in trials if t.model != REAL and "network" not in t.model]
    budgets = {(t.parts["data"], t.budget.flops) for t in whole}
    walks = {flops for data, flops in budgets if data.startswith("sbm-network")}
    assert walks == {1e9, 5e8, 2.5e8}
    assert len(budgets) == len(DESIGNS) + 2


def test_the_walk_models_that_are_compared_at_equal_overlap_are_one_generator():
    games = [families.make(course.model) for course in COURSES.values()][:3]
    sizes = {(g.net, g.width, g.embed) for g in games}
    assert sizes == {("lstm", 64, 64)}
    designed = {a.model for a in WALKS.arms}
    assert COURSES["likelihood"].model in designed
    assert COURSES["NetGAN"].model in designed


# ----------------------------------------------------------------------------
# Through the command.
# ----------------------------------------------------------------------------


def test_the_command_answers_for_data_of_one_kind(tmp_path, capsys):
    asked = ["study", "modalities", "--size", "tiny", "--data", ROWS, "--out", str(tmp_path)]
    assert run([*asked, "--workers", "1"]) == 0
    told = capsys.readouterr().out
    assert "Does the distance depend more on the prior or on the technique?" in told
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["command"] == "study modalities"
    found = {row["model"].partition(":")[0] for row in report["rows"]}
    assert {"flow-gan", "table-gan", "tree-chain", "independent"} <= found
    assert "lm" not in found


def test_data_of_a_kind_without_a_design_are_an_error_of_one_line(capsys):
    assert run(["study", "modalities", "--size", "tiny", "--data", "ring"]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    kinds = "tokens, walk, graph, audio, table"
    assert told[-1].endswith(f"one of the kinds {kinds}. Got ring, of kind vector.")


def test_a_course_of_walks_is_measured(tmp_path):
    study = Modalities(size="tiny", seeds=2)
    courses = [t for t in study.trials() if t.parts["probes"].startswith('["network')]
    assert {families.resolve(c.model) for c in COURSES.values()} <= {t.model for t in courses}
    lm = next(t for t in courses if t.model.startswith("lm:"))
    outcome = study.run(lm, TrialFolder(tmp_path), lambda *_: None)
    point = point_of(outcome)
    assert 0 <= point.overlap <= 1
    assert set(point.values) == {"triangles", "path length", AUC}


# ----------------------------------------------------------------------------
# What was planted.
# ----------------------------------------------------------------------------


def planted(study, log_distance, *, floor=1e-4):
    """Returns results of all kinds whose distances are made up."""
    made = []
    for design in DESIGNS:
        trials = study.comparisons[design.kind].trials()
        outcomes = [outcome(t, design, log_distance, floor) for t in trials]
        made.append(KindResults(design, model_results(outcomes)))
    return made


def outcome(trial, design, log_distance, floor):
    extractor = json.loads(trial.parts["features"])
    name = next(f for f in (e.partition(":")[0] for e in extractor) if f != "pixels")
    if trial.model == REAL:
        value = Estimate(value=0.0, low=-floor, high=floor)
    else:
        arm = next(a for a in design.arms if families.resolve(a.model) == trial.model)
        (noise,) = normal(design.kind, trial.model, trial.seed)
        value = known(math.exp(log_distance(design, arm) + 0.1 * noise))
    scores = {f"energy ({name})": value, SAMPLING_CPU: known(1.0)}
    return Outcome(trial=trial.written() if hasattr(trial, "written") else trial, scores=scores)


STUDY = Modalities(size="tiny", seeds=5)


def test_where_nothing_differs_nothing_is_found():
    found = StudyFindings(planted(STUDY, lambda *_: -2.0), {})
    assert len(found.claims) > 25
    assert [c.found for c in found.claims if c.sign] == []
    for verdict in answers(found):
        assert verdict.claim.endswith("Distinguished: none.")


def test_what_is_below_the_noise_floor_does_not_differ():
    def log_distance(design, arm):
        return -9.0 - 3.0 * len(arm.model)

    found = StudyFindings(planted(STUDY, log_distance, floor=0.01), {})
    assert {c.sign for c in found.claims} == {0}


def by_prior(design, arm):
    """Half of the priors are worse by a factor of seven; techniques hardly differ."""
    priors = sorted({a.prior for a in design.crossed()})
    worse = arm.prior in priors[::2] or not arm.prior
    return -2.0 + 2.0 * worse + 0.05 * len(arm.technique) / 10


def by_technique(design, arm):
    techniques = sorted({a.technique for a in design.crossed()})
    return -2.0 + 2.0 * (arm.technique in techniques[::2])


@pytest.mark.parametrize(("plant", "sign"), [(by_prior, 1), (by_technique, -1)])
def test_a_planted_prior_or_technique_is_told_from_the_other(plant, sign):
    found = StudyFindings(planted(STUDY, plant), {})
    against = [c for c in found.claims if c.topic == "against"]
    assert [c.sign for c in against] == [sign] * len(DESIGNS)
    what = "prior" if sign > 0 else "technique"
    told = answers(found)[0].claim.partition("?")[2]
    assert told.count(f"more on the {what}") == len(DESIGNS)
    assert "Not distinguished: none." in told
    share = [r.layout.share() for r in found.kinds]
    assert all(s.low > 0.5 if sign > 0 else s.high < 0.5 for s in share)


def test_the_line_up_and_reinforcement_of_both_players_are_told_either_way():
    def log_distance(design, arm):
        return (
            -2.0
            + {"trivial": 2.0, "likelihood": -2.0}.get(arm.role, 0.0)
            - (1.5 if arm.technique == BOTH else 0.0)
        )

    found = StudyFindings(planted(STUDY, log_distance), {})
    told = {c.found for c in found.claims if c.topic == "line-up"}
    assert "text: lm is nearer to the data than text-gan" in told
    assert "text: text-gan is nearer to the data than histogram" in told
    assert len(told) == 2 * len(DESIGNS)
    players = [c for c in found.claims if c.topic == "players"]
    assert [c.sign for c in players] == [-1]
    assert "critic by reinforcement is nearer" in players[0].found


def test_a_training_that_failed_leaves_its_cell_out():
    kinds = planted(STUDY, by_prior)
    text = next(r for r in kinds if r.design is TEXT)
    gone = families.resolve(TEXT.arms[5].model)
    kept = [m for m in text.models if m.model != gone]
    fewer = KindResults(TEXT, kept)
    assert len(fewer.layout.values) == len(text.layout.values) - 1
    assert {c.topic for c in claims_of(fewer)} == {"against", "levels", "players"}


def test_the_report_has_a_chart_of_every_kind():
    found = StudyFindings(planted(STUDY, by_prior), {})
    titles = [b.title for b in blocks(found)]
    assert titles[0] == "Prior against technique"
    assert [d.title.capitalize() for d in DESIGNS] == titles[2:-2]
    assert titles[-1] == "All tests"


# ----------------------------------------------------------------------------
# Prior against technique: the test keeps its level.
# ----------------------------------------------------------------------------

TIE = {DesignCell(p, t): float(p == "a") + float(t == "x") for p in "ab" for t in "xy"}
EQUAL = {DesignCell(p, t): 0.0 for p in "ab" for t in "xyz"}


@pytest.mark.parametrize(("means", "most"), [(TIE, 0.075), (EQUAL, 0.02)])
def test_a_tie_of_prior_and_technique_is_rarely_taken_for_a_difference(means, most):
    rejected = held = 0
    for k in range(600):
        values = {c: [m + 0.3 * e for e in normal(k, *c, n=4)] for c, m in means.items()}
        test = Layout(values).against()
        rejected += test.p < 0.05
        held += test.estimate.low <= 0 <= test.estimate.high
    assert rejected / 600 <= most
    assert held == 600 - rejected


def test_a_spread_is_the_variance_of_levels_without_noise():
    exact = Layout(
        {
            DesignCell(p, t): [2.0 * i + 0.5 * j] * 2
            for i, p in enumerate("abc")
            for j, t in enumerate("xy")
        }
    )
    assert exact.prior == pytest.approx(4.0)
    assert exact.technique == pytest.approx(0.125)
    assert exact.factors()[1] == pytest.approx(math.exp(0.5))
    assert exact.share().value == pytest.approx(4 / 4.125)


def test_noise_does_not_add_to_a_spread_on_average():
    spreads = [
        Layout({DesignCell(p, t): normal("s", k, p, t, n=3) for p in "ab" for t in "xy"}).prior
        for k in range(2000)
    ]
    error = torch.tensor(spreads).std() / math.sqrt(len(spreads))
    assert abs(sum(spreads) / len(spreads)) < 3 * error


def test_the_difference_of_two_groups_is_that_of_scipy():
    from scipy.stats import ttest_ind

    a, b = normal("a", n=4), [3 * v for v in normal("b", n=6)]
    peer = ttest_ind(a, b, equal_var=False)
    mine = difference(a, b)
    assert mine.p == pytest.approx(peer.pvalue)
    interval = peer.confidence_interval()
    assert (mine.estimate.low, mine.estimate.high) == pytest.approx(tuple(interval))


# ----------------------------------------------------------------------------
# Walk models at equal overlap.
# ----------------------------------------------------------------------------


def course(name, reached, *, triangles=1.0, auc=0.0):
    """Returns a model whose networks become better with the edges that they copy."""
    found = {}
    for seed in range(5):
        noise = normal(name, seed, n=2)
        points = []
        for k in range(1, 6):
            o = reached * k / 5
            values = {
                "triangles": triangles * (0.4 + 0.6 * o) * math.exp(0.03 * noise[0]),
                "path length": 0.9 + 0.1 * o + 0.003 * noise[1],
                AUC: 0.6 + 0.3 * o + auc + 0.01 * noise[1],
            }
            points.append(NetworkPoint(o, values))
        found[seed] = points
    return found


def test_models_that_only_copy_at_another_pace_are_equal_at_equal_overlap():
    quick, slow = course("quick", 0.9), course("slow", 0.4)
    assert common(quick, slow) == pytest.approx(0.4)
    claims = decided(list(matched_claims({"likelihood": quick, THEN_RELAXED: slow})))
    assert {c.sign for c in claims} == {0}
    assert at_overlap(quick, 0.36, "path length")[0] == pytest.approx(
        0.936 + 0.003 * normal("quick", 0, n=2)[1]
    )


def test_a_model_with_better_networks_at_equal_overlap_is_told():
    better = course("better", 0.4, triangles=1.5, auc=0.15)
    claims = decided(list(matched_claims({"likelihood": course("quick", 0.9), "NetGAN": better})))
    told = [c.found for c in claims if c.sign]
    assert any(f.startswith("NetGAN has the better triangles than likelihood") for f in told)
    assert any(f.startswith(f"NetGAN has the better {AUC}") for f in told)
    assert not any("path length" in f for f in told)


def test_models_without_a_common_overlap_are_not_compared():
    high = {s: [p for p in points if p.overlap > 0.5] for s, points in course("a", 0.9).items()}
    assert common(high, course("b", 0.4)) is None
    assert list(matched_claims({"likelihood": high, "NetGAN": course("b", 0.4)})) == []


def test_statistics_are_read_relative_to_the_real_network():
    scores = {
        OVERLAP: known(0.3),
        AUC: known(0.8),
        f"{STATISTIC}triangles": known(20.0).beside(real=40.0),
    }
    trial = STUDY.trials()[0]
    point = point_of(Outcome(trial=trial, scores=scores))
    assert point == NetworkPoint(0.3, {AUC: 0.8, "triangles": 0.5})
