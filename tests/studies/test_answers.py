"""What reports say, from outcomes made up so that the right answer is known."""

import json

import pytest
import torch

from gantlet.core.budget import Budget, Spend
from gantlet.core.estimate import Estimate
from gantlet.core.trial import Outcome, Trial
from gantlet.store.run import Run
from gantlet.studies import names
from gantlet.studies.answer import _distances, _kinds, answer
from gantlet.studies.compare import Compare
from gantlet.studies.contest import REAL
from gantlet.studies.pairs import behind_the_best
from gantlet.studies.summary import contestants, difference, rank, rivals, seeds_needed
from gantlet.studies.verdicts import verdicts


def outcome(model, seed, *, energy, likelihood=None, flops=1e6, half=0.001, error=None):
    def score(value, unit="1"):
        return Estimate(
            value=value, low=value - half, high=value + half, n=100, unit=unit, better="lower",
            method="made up",
        )  # fmt: skip

    scores = {names.QUALITY: score(energy)}
    if model != REAL:
        scores[names.SAMPLING] = Estimate.exact(flops, unit="FLOP", better="lower")
        scores[names.DEPTH] = Estimate.exact(1.0)
    if likelihood is not None:
        scores[names.LIKELIHOOD] = score(likelihood, "bits/dim")
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
    return [v.claim for v in verdicts(contestants(outcomes))]


def test_paired_differences_see_through_what_seeds_share():
    _, gan, flow, gmm = contestants(made_up())
    gap = difference(flow, gan, names.QUALITY)
    assert gap.value == pytest.approx(0.1)
    assert gap.half_width == pytest.approx(0, abs=1e-9)
    assert rank([flow, gmm, gan], names.QUALITY, "lower") == [gan, gmm, flow]
    assert rivals(gan, [gmm, flow], names.QUALITY) == [gmm]
    assert seeds_needed(gan, gmm, names.QUALITY) > 1000


def test_the_interval_of_a_mean_is_never_narrower_than_that_of_one_trial():
    _, gan, *_ = contestants(made_up())
    whole = gan.estimate(names.QUALITY)
    spread = 4.302653 * 0.01 / 3**0.5
    assert whole.half_width == pytest.approx((spread**2 + 0.001**2) ** 0.5, rel=1e-5)
    assert whole.n == 3


def test_the_winner_is_named_with_those_it_is_not_separated_from():
    found = claims(made_up())
    assert found[0].startswith("gan has the best energy distance")
    assert found[0].endswith("not separated from gmm.")
    assert any(c.startswith("flow has the best held-out likelihood") for c in found)
    assert any("separated from all others" in c for c in found)


def test_a_gan_that_does_not_reach_the_mixture_is_told():
    worse = [
        outcome(m, s, energy=e + 0.001 * s) for s in range(3) for m, e in ((GAN, 0.2), (GMM, 0.1))
    ]
    assert "gan does not reach gmm in energy distance." in claims(worse)
    better = [
        outcome(m, s, energy=e + 0.001 * s) for s in range(3) for m, e in ((GAN, 0.1), (GMM, 0.2))
    ]
    assert "gan beats gmm in energy distance." in claims(better)
    assert "gan is not separated from gmm in energy distance." in claims(made_up())


def test_the_noise_floor_is_compared_with():
    sure = [o for o in made_up() if o.trial.parts["model"] != GMM]
    assert any(
        c.startswith("Every contestant is worse than the noise floor") for c in claims(sure)
    )
    close = [outcome(REAL, 0, energy=0.0), *(outcome(FLOW, s, energy=0.0005) for s in range(2))]
    close += [outcome(GAN, s, energy=0.5) for s in range(2)]
    assert any(c.startswith("Not separated from the noise floor") for c in claims(close))
    assert any(c.endswith(": flow.") for c in claims(close))


def test_the_price_of_a_sample_is_compared():
    sure = [o for o in made_up() if o.trial.parts["model"] != GMM]
    assert "A sample of flow costs 1,000 times one of gan." in claims(sure)


def test_differences_to_the_best_are_shown_with_how_sure_they_are():
    (section,) = behind_the_best(contestants(made_up()))
    chart, table, *_ = section.blocks
    assert [d.name for d in chart.groups[0].dots] == ["gmm", "flow"]
    assert chart.reference == 0.0
    near, far = table.rows
    assert (near[0], near[2], far[0], far[2]) == ("gmm", "no", "flow", "yes")
    assert near[3] > 1000
    assert far[3] == 2
    assert not list(behind_the_best(contestants([outcome(GAN, 0, energy=0.1)])))


def test_likelihoods_of_different_kinds_are_told_apart():
    def of(model, method):
        found = outcome(model, 0, energy=0.1, likelihood=2.0)
        found.scores[names.LIKELIHOOD] = Estimate.exact(2.0, method=method)
        return found

    mixed = [of(FLOW, "upper bound, one draw"), of(GMM, "exact, by hand")]
    (caveat,) = _kinds(contestants(mixed))
    assert "upper bound: flow; exact: gmm" in caveat.text
    assert not list(_kinds(contestants(mixed[:1])))


def test_few_distances_are_all_shown_and_many_by_choice():
    few = [outcome(GAN, 0, energy=0.1)]
    few[0].scores["kid (pca)"] = Estimate.exact(1.0, better="lower")
    assert [c[0] for c in _distances(contestants(few))] == [names.QUALITY, "kid (pca)"]
    for i in range(5):
        few[0].scores[f"kid{i} (pca)"] = Estimate.exact(1.0, better="lower")
    assert "kid (pca)" not in [c[0] for c in _distances(contestants(few))]


def test_what_ranks_is_always_measured():
    asked = Compare(
        models=("histogram",), data="ring", budget=Budget(flops=1), metrics=("kid",),
        features=("pca",),
    ).question()  # fmt: skip
    assert [m.partition(":")[0] for m in asked["metrics"]] == ["energy", "kid"]
    assert [m.partition(":")[0] for m in asked["features"]] == ["pixels", "pca"]


def test_failures_are_told_and_excluded():
    found = [*made_up(), outcome("vae", 0, energy=0, error="diverged at step 3: the loss is nan")]
    assert "vae failed in 1 of its trials." in claims(found)
    assert not any("vae has" in c for c in claims(found))


def test_one_seed_has_no_separation():
    one = [outcome(m, 0, energy=e) for m, e in ((GAN, 0.1), (FLOW, 0.2))]
    assert claims(one)[0].endswith("but is separated from no other contestant.")


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
    report = answer("compare", question, found, run)
    told = json.loads(dumps(report, "report.html"))
    assert told["verdicts"]
    assert told["caveats"]
    assert len(told["rows"]) == sum(len(o.scores) for o in found)
