"""The sensitivity study: what counts as noticed, and a study whose answers are known."""

from pathlib import Path

import pytest

from gantlet.api import load_report, run_study
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate, Outcome
from gantlet.report.documents import markdown_table as as_markdown
from gantlet.research.sensitivity.study import (
    NOTHING,
    Sensitivity,
    SensitivityTrial,
    Tally,
    answer,
    difference_from_control,
    false_alarms,
    sign,
    smallest,
    tallies,
)

DOCS = Path(__file__).parents[2] / "docs"


def gap(value, half=1.0, better="lower"):
    return Estimate(value=value, low=value - half, high=value + half, better=better, method="")


def test_worse_is_where_the_direction_says():
    assert sign(gap(2.0)) == "worse"
    assert sign(gap(-2.0)) == "better"
    assert sign(gap(2.0, better="higher")) == "better"
    assert sign(gap(-2.0, better="higher")) == "worse"
    assert sign(gap(0.5)) == "equal"
    assert sign(Estimate.missing("none")) == "equal"


def test_four_of_five_draws_are_enough():
    def tally(worse, better=0):
        return Tally(worse=worse, better=better, draws=5)

    assert smallest({0.1: tally(1), 0.5: tally(4), 1.0: tally(5)}) == 0.5
    assert smallest({0.1: tally(3), 1.0: tally(3)}) is None
    assert smallest({0.1: tally(0, better=5)}, praised=True) == 0.1
    assert smallest({0.1: Tally()}) is None


def outcome(damage, seed, scores, n=50):
    trial = SensitivityTrial(
        model=damage,
        n=n,
        strengths=(0.2, 1.0),
        data="digits",
        data_seed=0,
        metrics=("energy", "precision", "c2st", "birthday"),
        features=("pixels",),
        threads=1,
        device="cpu",
        seed=seed,
    )
    return Outcome(trial=trial.written(), scores=scores)


def made_up(alarms):
    """Two metrics: energy notices noise, precision praises it; both are blind to jpeg."""
    found = []
    for seed in range(5):
        for damage, size in (("noise", 3.0), ("jpeg", 0.0)):
            scores = {
                "energy (pixels) @ 0.2": gap(size / 5),
                "energy (pixels) @ 1": gap(size),
                "precision (pixels) @ 0.2": gap(size, better="higher"),
                "precision (pixels) @ 1": gap(size, better="higher"),
                "c2st (pixels) @ 1": Estimate(value=1.0, method="no interval"),
                "birthday (pixels) @ 1": Estimate.missing("none"),
            }
            found.append(outcome(damage, seed, scores))
    for seed in range(40):
        alarm = 3.0 if seed < alarms else 0.0
        scores = {
            "energy (pixels) @ 1": gap(alarm),
            "precision (pixels) @ 1": gap(0.0, better="higher"),
            "c2st (pixels) @ 1": Estimate(value=0.0, method="no interval"),
            "birthday (pixels) @ 1": Estimate.missing("none"),
        }
        found.append(outcome(NOTHING, seed, scores))
    return found


@pytest.fixture
def run():
    machine = {"device": "cpu", "threads": 1, "peak": 1e9}
    facts = {"machine": machine, "gantlet": "0", "packages": {"torch": "2"}, "commit": None}
    facts |= {"started": "now", "command": "gantlet"}
    return type("R", (), {"facts": facts})()


def test_a_number_where_the_control_has_none_is_a_sign():
    none, some = Estimate.missing("no near-duplicates"), gap(30.0, better="higher")
    assert sign(difference_from_control(some, none)) == "worse"
    assert sign(difference_from_control(none, some)) == "equal"
    assert sign(difference_from_control(none, none)) == "equal"
    assert sign(difference_from_control(gap(3.0), gap(0.0))) == "worse"


QUESTION = {
    "size": "small",
    "data": "made up",
    "data fingerprint": "0",
    "n": [50],
    "strengths": [0.2, 1.0],
    "draws": 5,
    "controls": 40,
    "damages": ["noise", "jpeg"],
    "metrics": ["energy", "precision", "c2st"],
}


def report(outcomes, run):
    return answer(QUESTION, outcomes, run)


def test_the_report_says_who_noticed_what(run):
    made = report(made_up(alarms=2), run)
    claims = [v.claim for v in made.verdicts]
    assert claims[0] == "noise: detected from strength 1 on by energy (pixels)."
    assert "Called better by precision (pixels)." in made.verdicts[0].because
    assert claims[1] == "jpeg: no metric detects it with 50 samples."
    assert claims[2].startswith("No metric raises significantly more false alarms")
    rows = {row[0]: list(row[1:3]) for row in made.blocks[0].rows}
    assert rows == {
        "energy (pixels)": ["1", "-"],
        "precision (pixels)": ["better 0.2", "-"],
        "c2st (pixels)": ["no interval", "no interval"],
        "birthday (pixels)": ["-", "-"],
    }
    assert made.extra["noticed"]["energy (pixels)"]["noise"]["50"]["1"] == [5, 0, 5]
    left = {f.name: f.value for f in made.facts.items}["Metrics not run"].split(", ")
    assert "recall" in left
    assert not {"energy", "self-bleu", "tstr", "degree-mmd"} & set(left)


def test_what_is_not_measured_yet_is_not_concluded(run):
    some = [o for o in made_up(alarms=2) if o.trial.model != "jpeg"]
    some.append(outcome("jpeg", 0, {"energy (pixels) @ 1": gap(0.0)}, n=20))
    question = {**QUESTION, "n": [20, 50]}
    claims = [v.claim for v in answer(question, some, run).verdicts]
    assert "jpeg: not yet measured with 50 samples." in claims


def test_false_alarms_beyond_chance_are_told(run):
    outcomes = made_up(alarms=20)
    found = tallies(outcomes)
    assert false_alarms(found, "energy (pixels)", 50).value == 50
    assert false_alarms(found, "c2st (pixels)", 50).value is None
    assert false_alarms(found, "birthday (pixels)", 50).value == 0
    last = report(outcomes, run).verdicts[-1]
    assert last.claim.startswith("1 of 3 pairs of metric and sample size raise")
    assert "energy (pixels) at n = 50" in last.because


def test_strong_noise_is_noticed_and_copies_of_training_data_are_not(tmp_path):
    study = Sensitivity(
        data="ring:n=2000", ns=(200,), seeds=2, metrics=("energy", "kid"), features=("pixels",)
    )
    first = run_study(study, tmp_path / "a")
    seen = first.extra["noticed"]["energy (pixels)"]
    assert {"noise", "duplicates", "memorised", NOTHING} <= set(seen)
    assert seen["noise"]["200"]["1"] == [2, 0, 2]
    assert seen["duplicates"]["200"]["1"] == [2, 0, 2]
    assert seen["memorised"]["200"]["1"][0] == 0
    assert run_study(study, tmp_path / "b").extra == first.extra
    next((tmp_path / "a").glob("trials/*/outcome.json")).unlink()
    assert run_study(study, tmp_path / "a").extra == first.extra


def test_pictures_suffer_all_that_they_can():
    study = Sensitivity(metrics=("energy",))
    damages = {t.model for t in study.trials()}
    assert {"blur", "jpeg", "dropped class", "swapped labels"} < damages
    assert "hue" not in damages, "the digits have no colour"
    assert [f.partition(":")[0] for f in study.question()["features"]] == ["pixels", "classifier"]


def test_too_small_a_data_set_is_told():
    with pytest.raises(UserError, match="holds 1797"):
        Sensitivity(ns=(500,), metrics=("energy",)).trials()
    with pytest.raises(UserError, match="seeds"):
        Sensitivity(seeds=0, metrics=("energy",)).trials()
    largest = 1797 * 7 // 29
    assert Sensitivity(ns=(largest,), metrics=("energy",)).trials()


def test_the_page_shows_the_table_of_the_committed_result():
    page = (DOCS / "metrics/which.md").read_text()
    main = load_report(DOCS / "results/sensitivity-small.json").blocks[0]
    assert as_markdown(main) in page, "copy the first table of questions/sensitivity_results.md"
