"""What the page of gantlet forecast says of the shipped predictor holds for the shipped table."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gantlet.forecast.candidates import best_candidates, out_of_fold, summed, targets_of
from gantlet.forecast.experiment import shipped as shipped_table
from gantlet.forecast.predictor import LEVEL, Predictor, shipped
from gantlet.forecast.validation import CAUTIOUS, PROFILE, held_out, leave_out

PAGE = (Path(__file__).parents[2] / "docs/commands/forecast.md").read_text()
TEXT = " ".join(PAGE.split())


def short(value):
    return f"{value:.2f}".replace("0.", ".")


def estimate(e):
    return f"{short(e.value)} [{short(e.low)}, {short(e.high)}]"


def regret(e):
    return f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]"


def row(found, score, family):
    """Returns a row of the page: the score, that of the best baseline, and the coverage."""
    scores = {name: getattr(by_family[family], score) for name, by_family in found.scores.items()}
    own = scores.pop(PROFILE)
    best = short(max(e.value for e in scores.values()))
    return f"| `{family}` | {estimate(own)} | {best} | {estimate(found.coverage[family])} |"


def share_of_best(cells, family):
    best = np.where(np.isnan(cells.errors), np.inf, cells.errors).argmin(1)
    return f"{np.mean(best == cells.families.index(family)):.0%}".replace("%", " %")


@pytest.fixture(scope="module")
def left():
    return out_of_fold(shipped_table().only(real=False).cells)


@pytest.fixture(scope="module")
def refitted(left):
    return Predictor.fit(shipped_table(), left)


def test_r2_is_that_of_the_shipped_predictor():
    own, told = shipped(), PAGE.partition("R2, unseen configurations")[2].partition("\n\n")[0]
    found = dict(re.findall(r"^\| `([\w-]+)` \| (\S+) ", told, flags=re.MULTILINE))
    assert found == {f: short(s["r2"]) for f, s in own.scores.items()}


def test_sets_budgets_and_the_best_family_are_those_of_the_shipped_table():
    table = shipped_table()
    synthetic, real = (table.only(real=r) for r in (False, True))
    budgets = " and ".join(", ".join(f"{f / 1e9:g}" for f in table.flops).rsplit(", ", 1))
    assert f"{len(synthetic.worlds)} sets" in TEXT
    assert f"at {budgets} GFLOP" in TEXT
    assert f"rank correlation, {len(real.worlds)} real sets" in TEXT
    fit, other = (share_of_best(t.cells, "diffusion") for t in (synthetic, real))
    assert (
        f"`diffusion` is best on {fit} of the sets and budgets of the fit and {other} of the real "
        "ones" in TEXT
    )


@pytest.mark.slow
def test_a_refit_to_the_shipped_table_is_the_shipped_predictor(refitted):
    own = shipped()
    assert refitted.chosen == own.chosen
    for family, scores in own.scores.items():
        assert refitted.scores[family] == pytest.approx(scores, abs=1e-3)
    for world in shipped_table().worlds[::9]:
        for family in own.families:
            a, b = (p.predict(world.profile, family, 3e9) for p in (refitted, own))
            assert a.value == pytest.approx(b.value, abs=0.01)
            assert a.high == pytest.approx(b.high, abs=0.01)
            assert a.applicability.is_inside == b.applicability.is_inside


@pytest.mark.slow
def test_the_tables_of_scores_and_regrets_are_those_of_a_refit(left, refitted):
    found, real = leave_out(shipped_table(), left), held_out(shipped_table(), refitted)
    for family in found.families:
        assert row(found, "r2", family) in PAGE
        assert (
            f"{row(real, 'spearman', family)} {estimate(real.scores[PROFILE][family].r2)} |"
            in PAGE
        )
    for name, label in (("constant", "constant"), (PROFILE, "profile"), (CAUTIOUS, "significant")):
        told = " | ".join(regret(v.regrets[name]) for v in (found, real))
        assert re.search(rf"^\| .*{label}.* \| {re.escape(told)} \|$", PAGE, flags=re.MULTILINE)
    assert f"The gain by the profile is {regret(found.gain)} and {regret(real.gain)}" in TEXT
    assert all(v.gain.low <= 0 <= v.gain.high for v in (found, real))
    low = {f for f, e in real.coverage.items() if e.high < LEVEL}
    assert low == {"vae"}
    for v in (found, real):  # the report never advises another family than the best on average
        assert v.regrets[CAUTIOUS].value == v.regrets["constant"].value
        assert v.inside == 1


@pytest.mark.slow
def test_coverage_without_inflation_is_what_the_page_says(left, refitted):
    """The same predictions with the residuals of unseen configurations alone."""
    absolute = {f: np.abs(left.residuals[:, i]) for i, f in enumerate(left.cells.families)}
    plain = {f: r[~np.isnan(r)].tolist() for f, r in absolute.items()}
    found = held_out(shipped_table(), replace(refitted, residuals=plain))
    told = ", ".join(f"{short(e.value)} for `{f}`" for f, e in found.coverage.items())
    assert f"without it {told}" in TEXT


@pytest.mark.slow
def test_the_best_model_of_each_family_does_not_choose_better_families(left):
    found = np.empty_like(targets_of(left.cells))
    for t in range(found.shape[1]):
        one = {name: p[:, [0, t]] for name, p in left.by_candidate.items()}
        targets = targets_of(left.cells)[:, [0, t]]
        for f in np.unique(left.fold):
            own = left.fold == f
            best = best_candidates(one, targets, left.fold, ~own)[1]
            found[own, t] = left.by_candidate[best][own, t]
    each = leave_out(shipped_table(), replace(left, chosen=summed(found)))
    baselines = {**left.baselines, "constant": summed(found)}
    gain = leave_out(shipped_table(), replace(left, baselines=baselines)).gain
    usual = leave_out(shipped_table(), left).regrets[PROFILE]
    told = f"regret {each.regrets[PROFILE].value:.3f} in place of {usual.value:.3f}, difference"
    assert f"{told} {-gain.value:.3f} [{-gain.high:.3f}, {-gain.low:.3f}]" in TEXT
