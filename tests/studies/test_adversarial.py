"""The study of adversarial examples, from planted outcomes with a known answer; and run."""

import math
import random
from dataclasses import replace

import pytest

from gantlet.core.estimate import Estimate, Outcome
from gantlet.core.spec import families
from gantlet.models.gan import Gan
from gantlet.report.blocks import Report
from gantlet.report.documents import render
from gantlet.research.adversarial.arms import (
    ARMS,
    EARLY,
    KINDS,
    KNOWN,
    NONE,
    R1,
    RADII,
    ROBUST,
    SCALES,
    WAYS,
    AdversarialTrial,
    Probe,
    Scale,
    World,
    trained_at,
    trials_of,
)
from gantlet.research.adversarial.report import TOPICS, blocks, decided, verdicts
from gantlet.research.adversarial.study import Adversarial
from gantlet.research.adversarial.topics import (
    Claim,
    Results,
    as_ratio,
    claims_of,
    decide,
    slopes,
)
from gantlet.research.adversarial.trial import (
    COSINE,
    DENSITY,
    EFFICIENCY,
    GAP,
    HELD_COSINE,
    NEAREST,
    QUALITY,
    TO_REAL,
    at,
    judge,
    run_trial,
    transfer_of,
    worth_of,
)
from gantlet.run.trials import RunData
from gantlet.stats.intervals import mean

SMALL = SCALES["small"]
TINY = Probe(
    critics=8,
    critic_steps=4,
    critic_batch=8,
    updates=4,
    ablated_updates=2,
    held_out=6,
    real=16,
    attack_steps=2,
    samples=8,
    bisections=1,
    response=2,
    judged=64,
)


def planted_names():
    plain = (TO_REAL, NEAREST, QUALITY, GAP, COSINE, HELD_COSINE, EFFICIENCY, DENSITY)
    update, attack = (transfer_of(d) for d in ("update", "attack"))
    varied = [at(n, way=w) for n in (EFFICIENCY, update) for w in WAYS]
    return [*plain, update, attack, worth_of("update"), at(update, EARLY), *varied]


def planted(scores, seeds=5, noise=0.0, draw=None, data="digits"):
    """Returns outcomes whose scores are given by a function of arm and name, with noise."""
    draw = draw or random.Random(0)
    world = next(w for w in SMALL.worlds if w.data == data)
    scale = replace(SMALL, worlds=(world,))
    asked = trials_of(scale, seeds=seeds, threads=1, device="cpu")
    made = []
    for trial in asked:
        names = planted_names()
        found = {n: scores(trial.arm, n) for n in names}
        noisy = {
            n: Estimate(value=v * math.exp(noise * draw.gauss(0, 1)), method="planted")
            for n, v in found.items()
            if v is not None
        }
        made.append(Outcome(trial=trial.written(), scores=noisy))
    return made


def flat(_arm, name):
    """Nothing differs between arms or ways."""
    return 0.4 if name == HELD_COSINE else 0.5


def decision(outcomes, words):
    """Returns the decision on the one claim that holds or is contrary in these words."""
    tested = decided(Results(outcomes))
    named = {f"{d.claim.subject}: {d.claim.holds}": d for of in tested.values() for d in of}
    (found,) = [d for name, d in named.items() if words in name]
    return found


# ----------------------------------------------------------------------------
# Tests of claims.
# ----------------------------------------------------------------------------


def claim(*values, topic="exists"):
    return Claim(topic=topic, holds="up", contrary="down", values=values)


def test_a_clear_difference_is_decided_by_its_sign():
    up, down = claim(1.0, 1.1, 0.9, 1.05), claim(-1.0, -1.1, -0.9, -1.05)
    unclear = claim(1.0, -1.1, 0.9, -1.0)
    found = decide([up, down, unclear])
    assert [d.decision for d in found] == ["holds", "contrary", "open"]
    assert [d.says for d in found] == ["up", "down", "up"]


def test_many_claims_share_one_error_rate():
    """A difference that one test would call significant is not among forty."""
    weak = claim(1.0, 2.0, 0.4, 1.6, 0.3)
    assert decide([weak])[0].decision == "holds"
    noise = [claim(1.0, -1.0, 0.3, -0.2, 0.1) for _ in range(39)]
    assert decide([weak, *noise])[0].decision == "open"


def test_where_nothing_is_true_few_families_of_claims_find_anything():
    draw = random.Random(1)
    wrong = 0
    for _ in range(400):
        null = [claim(*(draw.gauss(0, 1) for _ in range(5))) for _ in range(10)]
        wrong += any(d.decision != "open" for d in decide(null))
    # 5 % of 400 and three standard errors.
    assert wrong <= 20 + 3 * math.sqrt(400 * 0.05 * 0.95)


def test_ratios_are_shown_as_geometric_means():
    ratio = replace(claim(math.log(2.0), math.log(8.0), math.log(4.0)), is_ratio=True)
    (found,) = decide([ratio])
    assert found.estimate.value == pytest.approx(4.0)
    assert found.estimate.low * found.estimate.high == pytest.approx(16.0)
    assert as_ratio(mean([])).value is None


def test_a_limit_other_than_zero_is_what_a_number_is_compared_with():
    values = [math.log(v) for v in (11.0, 13.0, 12.0, 12.5)]
    above = replace(claim(*values), is_ratio=True, limit=math.log(10.0))
    twice = replace(above, limit=math.log(20.0))
    small = replace(claim(0.02, 0.03, 0.02, 0.03), limit=0.05, is_below=True)
    found = decide([above, twice, small])
    assert [d.decision for d in found] == ["holds", "contrary", "holds"]
    assert found[0].estimate == found[1].estimate
    assert found[2].number.startswith("0.025")


def test_the_slope_over_doses_is_that_of_a_line():
    scores = {"a": {0: 1.0, 1: 5.0}, "b": {0: 3.0, 1: 5.0}, "c": {0: 5.0, 1: 5.0, 2: 9.0}}
    assert slopes(lambda arm, _: scores[arm], ["a", "b", "c"], "x") == pytest.approx([2.0, 0.0])
    powers = {"a": {0: 1.0}, "b": {0: 2.0}, "c": {0: 4.0}}
    found = slopes(lambda arm, _: powers[arm], ["a", "b", "c"], "x", log=True)
    assert found == pytest.approx([math.log(2.0)])
    powers["a"] = {0: -1.0}
    assert slopes(lambda arm, _: powers[arm], ["a", "b", "c"], "x", log=True) == []


# ----------------------------------------------------------------------------
# Planted outcomes.
# ----------------------------------------------------------------------------


def test_a_critic_that_is_harder_to_fool_is_called_so_and_the_contrary():
    words = f"{R1}: fakes look real farther away than with the plain critic"
    for factor, expected in ((3.0, "holds"), (1 / 3, "contrary")):
        plant = planted(
            lambda arm, name, f=factor: (f if arm == R1 else 1.0) if name == TO_REAL else 0.5,
            noise=0.05,
        )
        found = decision(plant, words)
        assert found.decision == expected
        assert found.estimate.value == pytest.approx(factor, rel=0.1)


def test_what_does_not_differ_is_not_decided():
    outcomes = planted(flat, noise=0.3)
    tested = decided(Results(outcomes))
    between = [d for d in tested["robustness"] if "than with the plain critic" in d.claim.holds]
    assert between
    assert all(d.decision == "open" for d in between)
    first = verdicts(tested)[0]
    assert "Not decided" in first.claim


def test_what_is_not_decided_is_said_before_what_is():
    plant = planted(lambda arm, n: 9.0 if (arm, n) == (NONE, QUALITY) else 0.5, noise=0.05)
    found = verdicts(decided(Results(plant)))
    (answer,) = [v for v in found if v.claim.startswith(TOPICS["robustness"])]
    nearer = "The generator is nearer to the data than with the plain critic (6 of 6)"
    assert answer.claim.index("Not decided") < answer.claim.index(nearer)
    assert f"{ROBUST} factor 1" in answer.because
    assert "Not decided, the duality gap is smaller" in answer.because


def test_an_accidental_attack_is_told_from_an_improvement():
    update, attack = transfer_of("update"), transfer_of("attack")
    for share, expected in ((0.9, "holds"), (0.0, "contrary")):
        plant = planted(
            lambda _, name, s=share: {update: s, attack: 0.3}.get(name, 0.5), noise=0.02
        )
        words = f"{NONE}: fresh critics confirm more of the update than of the strongest attack"
        assert decision(plant, words).decision == expected
        half = decision(plant, f"{NONE}: fresh critics confirm less than half of what the update")
        assert half.decision == {"holds": "contrary", "contrary": "holds"}[expected]
        assert half.estimate.value == pytest.approx(share, rel=0.1)


def test_the_three_reasons_are_told_apart():
    plan = {
        at(EFFICIENCY, way="20 steps"): 0.9,
        at(EFFICIENCY, way="1 step"): 0.3,
        at(EFFICIENCY, way="20 steps, same z"): 0.9,
        at(transfer_of("update"), way="1 step on samples"): 0.05,
    }
    plant = planted(lambda _, name: plan.get(name, 0.5), noise=0.02)
    steps = "20 steps against one critic fools the critic better"
    assert decision(plant, f"{R1}: {steps}").decision == "holds"
    latents = "the same latents for 20 steps fools the critic better"
    assert decision(plant, f"{R1}: {latents}").decision == "open"
    space = "fresh critics confirm less of moving samples by themselves"
    assert decision(plant, f"{R1}: {space}").decision == "holds"


def test_doses_are_tested_over_all_of_them():
    dose = {NONE: 0.0, **{trained_at(r): r for r in RADII}}
    plant = planted(
        lambda arm, name: 0.1 + dose.get(arm, 0.2) if name == transfer_of("attack") else 0.5,
        noise=0.02,
    )
    words = "attacks transfer the better to fresh critics, the larger the radius"
    assert decision(plant, words).decision == "holds"


def test_density_counts_where_it_is_known():
    world = SMALL.worlds[1]
    assert world.data == KNOWN
    worse = planted(
        lambda arm, n: {worth_of("update"): -1.0}.get(n, 0.5), noise=0.05, data=world.data
    )
    words = f"{NONE}: the update raises the true log-density of fakes"
    assert decision(worse, words).decision == "contrary"
    assert not any("log-density" in d.holds for d in claims_of(Results(planted(flat))))


def test_trainings_that_failed_or_miss_a_score_are_left_out():
    outcomes = planted(flat, noise=0.1)
    first = AdversarialTrial.of(outcomes[0].trial)
    lost = [
        Outcome(trial=o.trial, error="diverged", failure="diverged")
        if AdversarialTrial.of(o.trial).seed == 0
        else o
        for o in outcomes
    ]
    results = Results(lost)
    assert set(results.values(first.data, NONE, QUALITY)) == {1, 2, 3, 4}
    assert all(len(c.values) <= 4 for c in claims_of(results))
    assert "No training gave numbers" in verdicts(decided(Results([])))[0].claim


@pytest.mark.parametrize("form", ["html", "markdown"])
def test_the_report_can_be_drawn(form):
    outcomes = planted(flat, noise=0.1)
    results = Results(outcomes)
    tested = decided(results)
    made = render(
        Report(
            title="t",
            command="study adversarial",
            verdicts=verdicts(tested),
            blocks=list(blocks(results, tested)),
        ),
        form,
    )
    for title in ("Transfer to fresh critics", "How far fakes are", "Dose and response"):
        assert title in made
    assert "The three reasons: steps, latents, space" in made


# ----------------------------------------------------------------------------
# The design, and a trial for real.
# ----------------------------------------------------------------------------


def test_the_design_has_what_the_question_asks_for():
    assert set(KINDS) <= set(ARMS)
    assert SMALL.seeds >= 5
    assert SMALL.probe.critics >= 8
    assert SMALL.probe.updates >= 50
    assert {w.steps for w in WAYS.values()} == {1, 5, 20}
    assert {w.data for w in SCALES["full"].worlds} == {"digits", KNOWN, "mnist", "cifar10"}
    study = Adversarial()
    assert len({t.key for t in study.trials()}) == len(study.trials())
    assert len(Adversarial(seeds=2).trials()) * 5 == len(study.trials()) * 2


def test_arms_differ_in_what_their_names_say_alone():
    made = {
        name: families.make(f"gan:width=64,loss=ns,{arm.options}") for name, arm in ARMS.items()
    }
    assert made[trained_at(1.0)] == replace(made[NONE], adversarial="both", attack_radius=1.0)
    assert made["4 critics"] == replace(made[NONE], critics=4)
    assert made["spectral norm"] == replace(made[NONE], spectral=True)
    assert len({str(m) for n, m in made.items() if not n.startswith("R1 1, ")}) == len(ARMS) - 3


def test_fresh_critics_are_the_same_for_all_arms():
    found = {judge(families.make(f"gan:width=64,loss=ns,{arm.options}")) for arm in ARMS.values()}
    assert found == {Gan(width=64, loss="ns", penalty="r1", gamma=1.0)}


def tiny(arm, *, steps=6, stages=(1.0,), data="gaussians:dimension=4,n=200,held_out=64"):
    world = World(
        data=data, shared="latent=4,width=8,loss=ns", arms=(arm,), staged=(), steps=steps
    )
    scale = Scale(worlds=(world,), seeds=1, probe=TINY)
    (trial,) = trials_of(scale, seeds=1, threads=1, device="cpu")
    return replace(trial, stages=stages)


@pytest.mark.parametrize("arm", [NONE, ROBUST, "4 critics", "spectral norm", "R1 1, momentum"])
def test_a_trial_measures_all_that_the_report_shows(arm):
    found = run_trial(tiny(arm).written(), RunData(), lambda *_: None)
    names = {TO_REAL, QUALITY, GAP, DENSITY, EFFICIENCY, COSINE, transfer_of("attack")}
    names |= {worth_of(d) for d in ("update", "attack", "oracle")}
    if ARMS[arm].ablated:
        names |= {at(EFFICIENCY, way=way) for way in WAYS}
    assert names <= set(found.scores)
    assert found.spend.steps == 6
    assert found.spend.flops > 0


def test_a_trial_repeats_and_a_look_in_between_changes_nothing():
    def scores(stages):
        return run_trial(tiny(R1, stages=stages).written(), RunData(), lambda *_: None).scores

    once, again, looked = scores((1.0,)), scores((1.0,)), scores((0.5, 1.0))
    assert once == again
    assert {name: looked[name] for name in once} == once
    assert at(EFFICIENCY, 0.5) in looked
