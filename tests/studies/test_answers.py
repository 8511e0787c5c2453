"""What reports say, from outcomes made up so that the right answer is known."""

import json
from dataclasses import asdict, replace

import pytest
import torch

from gantlet.commands import standings
from gantlet.commands.compare.claims import MARK, Undertrained, still_falls, undertrained
from gantlet.commands.compare.report import (
    answer,
    charts,
    distance_columns,
    gap_to_best,
    likelihood_kinds,
    table_of_models,
)
from gantlet.commands.compare.study import Compare
from gantlet.commands.compare.verdicts import judged, verdicts
from gantlet.commands.cost import nearest
from gantlet.commands.standings import best_first, model_results, rank
from gantlet.core.data import Space
from gantlet.core.estimate import REAL, Budget, Estimate, Outcome, Spend, Trial
from gantlet.report.blocks import Scatter
from gantlet.run.store import Run
from gantlet.run.trials import RunData

QUALITY = "energy (pixels)"


def outcome(model, seed, *, energy, likelihood=None, flops=1e6, half=0.001, error=None):
    def score(value, unit="1"):
        return Estimate(
            value=value, low=value - half, high=value + half, n=100, unit=unit, better="lower",
            method="made up",
        )  # fmt: skip

    scores = {QUALITY: score(energy)}
    if model != REAL:
        scores[standings.SAMPLING] = Estimate.exact(flops, unit="FLOP", better="lower")
        scores[standings.DEPTH] = Estimate.exact(1.0)
    if likelihood is not None:
        scores[standings.LIKELIHOOD] = score(likelihood, "bits/dim")
    trial = Trial(parts={"model": model, "data": "digits"}, budget=Budget(flops=1), seed=seed)
    return Outcome(
        trial=trial, spend=Spend(flops=1.0), scores={} if error else scores, error=error
    )


GAN, FLOW, GMM = "gan", "flow", "gmm"


def made_up():
    found = [outcome(REAL, 0, energy=0.0)]
    for seed, shift in enumerate((0.0, 0.01, -0.01)):
        found.append(outcome(GAN, seed, energy=0.10 + shift, flops=1e3))
        found.append(outcome(FLOW, seed, energy=0.20 + shift, likelihood=2.0 + shift))
        found.append(outcome(GMM, seed, energy=0.101 + 5 * shift, likelihood=2.5))
    return found


def claims(outcomes):
    return [v.claim for v in verdicts(judged(model_results(outcomes)))]


def test_the_chart_of_quality_and_cost_has_the_intervals_of_the_table():
    everyone = model_results(made_up())
    scatter = next(b for b in charts(everyone, None) if isinstance(b, Scatter))
    table = table_of_models(everyone, [])
    shown = {row[0]: row[1] for row in table.rows}
    assert len(scatter.points) == 3
    for point in scatter.points:
        estimate = shown[point.name]
        assert (point.y, point.y_low, point.y_high) == (
            estimate.value,
            estimate.low,
            estimate.high,
        )


def test_models_are_ranked_by_their_means():
    _, gan, flow, gmm = model_results(made_up())
    assert rank([flow, gmm, gan], QUALITY, "lower") == [gan, gmm, flow]


def test_what_ranks_is_never_pixels_where_better_was_measured():
    def of(features):
        found = outcome(GAN, 0, energy=0.1)
        found.trial.parts["features"] = json.dumps(features)
        return standings.ranking_score(model_results([found]))

    assert of(["pixels", "classifier:features=64,steps=2000"]) == "energy (classifier)"
    assert of(["random-conv"]) == "energy (random-conv)"
    assert of(["pixels"]) == QUALITY


def test_the_interval_of_a_mean_is_never_narrower_than_that_of_one_trial():
    _, gan, *_ = model_results(made_up())
    whole = gan.estimate(QUALITY)
    spread = 4.302653 * 0.01 / 3**0.5
    assert whole.half_width == pytest.approx((spread**2 + 0.001**2) ** 0.5, rel=1e-5)
    assert whole.n == 3


def test_what_cannot_be_told_apart_is_said_first():
    found = claims(made_up())
    assert found[0] == (
        "Not significantly different: gan and gmm; gan has the lowest energy distance on the raw "
        "numbers, 0.100 ± 0.032, significantly lower than flow."
    )
    assert found[1] == (
        "As recipes, over 3 seeds, the energy distance on the raw numbers of gan is not "
        "significantly different from that of gmm, and significantly lower than that of flow."
    )
    assert any("flow has the best held-out likelihood" in c for c in found)


def test_a_clear_winner_is_one_as_trained_and_as_a_recipe():
    sure = [o for o in made_up() if o.trial.parts["model"] != GMM]
    first, second, *_ = claims(sure)
    assert first.startswith("Of these trained models gan has the best samples: energy distance")
    assert first.endswith("significantly lower than that of every other.")
    assert (
        second == "As recipes, over 3 seeds, the energy distance on the raw numbers of gan is "
        "significantly lower than that of flow."
    )


def test_one_seed_separates_trained_models_and_says_nothing_of_recipes():
    one = [outcome(m, 0, energy=e) for m, e in ((GAN, 0.1), (FLOW, 0.2))]
    first, second, *_ = claims(one)
    assert first.startswith("Of these trained models gan has the best samples")
    assert "one seed says nothing about recipes" in second
    both = [outcome(m, 0, energy=e, likelihood=e) for m, e in ((GAN, 0.1), (FLOW, 0.2))]
    assert any("best held-out likelihood" in c for c in claims(both))
    assert sum("one seed says nothing about recipes" in c for c in claims(both)) == 1
    level = [outcome(m, 0, energy=e) for m, e in ((GAN, 0.1), (FLOW, 0.1002))]
    assert claims(level)[0] == (
        "Which of these trained models has the best samples cannot be said: gan and flow are not "
        "significantly different."
    )


def test_a_gan_that_does_not_reach_the_mixture_is_told():
    def told(gan, gmm):
        found = [
            outcome(m, s, energy=e + 0.0001 * s)
            for s in range(3)
            for m, e in ((GAN, gan), (GMM, gmm))
        ]
        return next(c for c in claims(found) if "a baseline of almost no cost" in c)

    assert told(0.2, 0.1).startswith("gan does not reach gmm")
    assert told(0.1, 0.2).startswith("gan beats gmm")
    assert told(0.1, 0.1001).startswith("gan is not significantly different from gmm")


def with_axes(found, **axes):
    for name, value in axes.items():
        found.scores[f"{name} (pixels)"] = Estimate(
            value=value, low=value - 0.02, high=value + 0.02, n=100, better="higher",
            method="made up",
        )  # fmt: skip
    return found


def floored(**models):
    """Real data and models by energy, Frechet distance and precision."""
    found = []
    for name, (energy, frechet, precision) in {"real": (0.0, 0.0, 0.9), **models}.items():
        one = with_axes(outcome(name, 0, energy=energy), precision=precision, recall=0.9)
        one.scores["frechet (classifier)"] = Estimate(
            value=frechet, low=frechet - 1, high=frechet + 1, n=100, better="lower", method="x"
        )
        found.append(one)
    return found


def test_one_metric_that_separates_is_enough_to_differ_from_real_data():
    found = claims(floored(flow=(0.0005, 0.1, 0.9), gan=(0.0, 133.0, 0.9), gmm=(0.5, 0.0, 0.9)))
    assert (
        "Not significantly different from held-out real data: flow; gan and gmm differ "
        "significantly from it."
    ) in found
    found = claims(floored(gan=(0.0, 133.0, 0.9), gmm=(0.5, 0.0, 0.9)))
    assert "Every model differs significantly from held-out real data." in found


def test_a_histogram_without_one_realistic_sample_is_not_best():
    found = claims(floored(histogram=(0.01, 600.0, 0.0), vae=(0.05, 300.0, 0.9)))
    assert found[0].startswith("histogram has the lowest energy distance on the raw numbers")
    assert found[0].endswith(
        "but cannot be called best: precision 0.000 ± 0.020 against 0.900 ± 0.020 of real data. "
        "vae is the only one that can."
    )


def test_models_are_compared_with_real_data_by_as_many_samples():
    few = outcome(GAN, 0, energy=0.5)
    thin = Estimate(value=0.0, low=-0.01, high=0.01, n=50, better="lower", method="thin")
    details = {"control": {QUALITY: asdict(thin)}}
    few = Outcome(trial=few.trial, scores=few.scores, details=details)
    (gan,) = model_results([few])
    assert gan.as_control().estimate(QUALITY).n == 50
    assert any(
        c.startswith("Not significantly different from held-out")
        for c in claims([outcome(REAL, 0, energy=0.0), few])
    )


FALLING = [*(10 - 0.5 * i for i in range(12)), *(4 - 0.4 * i for i in range(6))]
FLAT = [*(10 - 0.8 * i for i in range(12)), 1.0, 1.02, 0.99, 1.01, 1.0, 1.01]


def test_a_validation_loss_that_still_falls_is_seen():
    assert still_falls([FALLING])
    assert not still_falls([FLAT])
    # Slower and slower: not flat, but past most of its improvement.
    assert not still_falls([[10 * 0.5**i for i in range(18)]])
    assert not still_falls([FALLING[:5]])
    assert still_falls([FALLING, FALLING, FLAT])


def test_noise_alone_seldom_counts_as_falling():
    rng = torch.Generator().manual_seed(0)
    runs = [still_falls([torch.randn(20, generator=rng).tolist()]) for _ in range(400)]
    assert sum(runs) / len(runs) < 0.08


def trained(name, steps, seed=0, score=0.1):
    found = outcome(name, seed, energy=score)
    found.scores[standings.STEPS] = Estimate.exact(float(steps), unit="steps")
    found.trial.parts["data_seed"] = "0"
    return found


def test_undertrained_models_are_marked_and_told_before_any_ranking(tmp_path):
    run, found = Run(tmp_path), [trained(GAN, 5000), trained("vae", 9000), trained(GMM, 0)]
    run.folder(found[0].trial).save_curve([{"validation": v} for v in FALLING])
    run.folder(found[1].trial).save_curve([{"validation": v} for v in FLAT])
    everyone = model_results(found)
    (under,) = undertrained(everyone, run)
    assert under.contestant.label == GAN
    tests = judged(everyone)
    first, second, *_ = verdicts(tests, [under])
    # One sentence for both: who is undertrained, then what can be distinguished.
    assert first.claim.startswith("Undertrained at this budget: gan. Which of these trained")
    assert "are not significantly different" in first.claim
    assert second.claim.startswith("gan is undertrained at this budget")
    assert "still falling" in second.because
    table = table_of_models(everyone, [under], tests)
    assert [row[0] for row in table.rows] == [f"gan {MARK}", "vae", "gmm"]
    assert "training steps" in [c.name for c in table.columns if c.group == "Cost"]
    assert "Mann-Kendall" in table.note
    assert "Mann-Kendall" not in table_of_models(everyone, [], tests).note


def test_a_score_that_only_real_data_has_is_no_column():
    found = [outcome(REAL, 0, energy=0.0, likelihood=1.0), outcome(GAN, 0, energy=0.1)]
    table = table_of_models(model_results(found), [])
    assert "negative log-likelihood" not in [c.name for c in table.columns]
    more = [*found, outcome(FLOW, 0, energy=0.2, likelihood=2.0)]
    table = table_of_models(model_results(more), [])
    assert "negative log-likelihood" in [c.name for c in table.columns]


def test_models_are_sorted_and_only_a_significant_best_is_bold():
    def shown(*values):
        trials = [trained(name, 0, score=v) for name, v in values]
        everyone = best_first(model_results(trials))
        table = table_of_models(everyone, [], judged(everyone))
        energy = next(c for c in table.columns if c.name.startswith("energy distance"))
        return [row[0] for row in table.rows], list(energy.best)

    # Intervals are ± 0.02: the first pair differs significantly, the second does not.
    assert shown(("vae", 0.9), ("gmm", 0.1), ("memorizer", 0.0)) == (
        ["gmm", "vae", "memorizer"],
        ["gmm"],
    )
    assert shown(("vae", 0.101), ("gmm", 0.1)) == (["gmm", "vae"], [])
    assert shown(("vae", 0.9), ("gmm", 0.1), ("ar", 0.1)) == (["gmm", "ar", "vae"], [])


def test_few_steps_are_told_beside_what_published_data_needed():
    (under,) = undertrained(model_results([trained("ar", 20)]), None)
    assert under.signs == (
        "20 steps, and on digits ar had made 90 % of its improvement after 33 steps",
    )
    assert not undertrained(model_results([trained("ar", 34)]), None)
    other = trained("mix-gan", 150)
    (under,) = undertrained(model_results([other]), None)
    assert under.signs == ("only 150 steps",)
    assert isinstance(under, Undertrained)


def test_the_price_of_a_sample_is_compared():
    sure = [o for o in made_up() if o.trial.parts["model"] != GMM]
    assert "A sample of flow takes 1,000 times as many FLOPs as one of gan." in claims(sure)


def test_differences_to_the_best_are_shown_with_how_sure_they_are():
    (section,) = gap_to_best(judged(model_results(made_up())))
    chart, table, *_ = section.blocks
    assert [d.name for d in chart.groups[0].dots] == ["gmm", "flow"]
    assert chart.reference == 0.0
    near, far = table.rows
    assert (near[0], near[2], near[4]) == ("gmm", "no", "no")
    assert (far[0], far[2], far[4]) == ("flow", "yes", "yes")
    assert near[5] is None
    assert far[5] <= 3
    assert not list(gap_to_best(judged(model_results([outcome(GAN, 0, energy=0.1)]))))


def test_likelihoods_of_different_kinds_are_told_apart():
    def of(model, kind):
        found = outcome(model, 0, energy=0.1, likelihood=2.0)
        found.scores[standings.LIKELIHOOD] = replace(Estimate.exact(2.0), kind=kind)
        return found

    mixed = [of(FLOW, "upper"), of(GMM, "exact")]
    (caveat,) = likelihood_kinds(model_results(mixed))
    assert "upper bound: flow; exact: gmm" in caveat.text
    assert not list(likelihood_kinds(model_results(mixed[:1])))


def test_few_distances_are_all_shown_and_many_by_choice():
    few = [outcome(GAN, 0, energy=0.1)]
    few[0].trial.parts["metrics"] = json.dumps(["energy", "kid", *(f"kid{i}" for i in range(5))])
    few[0].trial.parts["features"] = json.dumps(["pixels", "pca"])
    few[0].scores["kid (pca)"] = Estimate.exact(1.0, better="lower")
    few[0].scores["not a distance (pca)"] = Estimate.exact(1.0, better="lower")
    assert [c[0] for c in distance_columns(model_results(few))] == [QUALITY, "kid (pca)"]
    for i in range(5):
        few[0].scores[f"kid{i} (pca)"] = Estimate.exact(1.0, better="lower")
    assert "kid (pca)" not in [c[0] for c in distance_columns(model_results(few))]


def test_what_ranks_is_always_measured():
    asked = Compare(
        models=("histogram",), data="ring", budget=Budget(flops=1), metrics=("kid",),
        features=("pca",),
    ).question()  # fmt: skip
    assert [m.partition(":")[0] for m in asked["metrics"]] == ["energy", "kid"]
    assert [m.partition(":")[0] for m in asked["features"]] == ["pixels", "pca"]


def test_failures_are_told_and_excluded():
    found = [*made_up(), outcome("vae", 0, energy=0, error="diverged at step 3: the loss is nan")]
    assert "vae failed in 1 of 1 trials." in claims(found)
    assert not any("vae has" in c for c in claims(found))


def test_the_report_is_whole_and_is_json(tmp_path):
    from gantlet.report.json import dumps

    run = Run.create(
        tmp_path / "run",
        {},
        {
            "machine": {"device": "x", "threads": 1, "peak": 1e9},
            "gantlet": "0",
            "packages": {"torch": "0"},
            "commit": None,
            "started": "now",
            "command": "gantlet",
        },
    )
    question = Compare(models=("histogram",), data="ring", budget=Budget(flops=1)).question()
    found = [o for o in made_up() if o.trial.parts["model"] != REAL]
    for o in found:
        x = torch.zeros(4, 1, 8, 8)
        o.trial.parts["data_seed"] = "0"
        run.folder(o.trial).save("samples", {"samples": x})
    report = answer("compare", question, found, run, data=RunData())
    told = json.loads(dumps(report, "report.html"))
    assert told["verdicts"]
    assert told["caveats"]
    assert len(told["rows"]) == sum(len(o.scores) for o in found)


def test_the_table_of_steps_is_that_of_the_committed_results():
    import runpy
    from importlib.resources import files
    from pathlib import Path

    script = Path(__file__).parents[2] / "benchmarks" / "experience.py"
    shipped = files("gantlet.commands").joinpath("experience.json")
    before = shipped.read_text(encoding="utf-8")
    made = runpy.run_path(str(script))["made"]()
    assert made == json.loads(before)


def test_only_like_data_is_compared_with():
    def near(model, kind, shape):
        found = nearest(model, Space(kind, shape))
        return None if found is None else found.data

    assert near("gan", "image", (1, 8, 8)) == "digits"
    assert near("gan:width=3", "image", (3, 32, 32)) == "mnist"
    assert near("gan", "image", (3, 64, 64)) is None
    assert near("gan", "vector", (64,)) is None
    assert near("histogram", "image", (1, 8, 8)) is None
