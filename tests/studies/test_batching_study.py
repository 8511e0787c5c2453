"""The study of batch size and staleness: its parts do their work and say what was planted."""

from dataclasses import replace

import pytest
import torch

from gantlet.core.estimate import Budget, Estimate, Outcome
from gantlet.core.rng import Rng
from gantlet.games.noise import Ledger
from gantlet.research.batching.differences import all_tested, which
from gantlet.research.batching.matched import DISTANCE, Transport, TransportTrial
from gantlet.research.batching.staleness import ALL, OPPONENT, WAYS, Staleness
from gantlet.research.batching.study import PARTS, Batching
from gantlet.research.batching.sweep import BASE, BATCHES, BatchSweep, SweepTrial
from gantlet.run.store import TrialFolder
from gantlet.stats.intervals import paired

ONE = ("diffusion, ring", "VAE, digits")
TWO = ("GAN, no penalty, ring", "GAN, R1, ring", "GAN, R1, digits")


def noise(*name, spread):
    g = Rng(0).stream("/".join(map(str, name)))
    return spread * float(torch.randn((), generator=g))


def test_every_trial_is_of_one_part_and_of_five_seeds():
    for size in ("small", "full"):
        trials = Batching(size=size).trials()
        assert len({t.key for t in trials}) == len(trials)
        assert {t.parts["part"] for t in trials} == {p.name for p in PARTS}
        assert len({t.seed for t in trials}) >= 5


@pytest.mark.parametrize("part", PARTS, ids=lambda p: p.name)
def test_a_trial_of_each_part_runs(part, tmp_path):
    study, trials = Batching(), part.trials("small")
    some = {t.model: t for t in trials[:40]}
    for i, trial in enumerate(some.values()):
        short = replace(trial, budget=Budget(steps=3), batch=32).written()
        outcome = study.run(short, TrialFolder(tmp_path / str(i)), lambda *_: None)
        assert outcome.error is None
        value = outcome.scores.get("last", outcome.scores.get(DISTANCE))
        assert value is None or value.value > 0
        assert part.name != "sweep" or outcome.details["curve"]


def test_a_planted_effect_of_staleness_is_told():
    def distance(trial, kind):
        base = 0.1 + noise(trial.way, trial.seed, trial.model, spread=0.01)
        late = {way.name: 0.02 * d for d, way in ALL.items()}
        late |= {way.name: 0.2 * d for d, way in OPPONENT.items()}
        value = base + late.get(trial.way, 0.0)
        return value - 0.05 if kind == "exponential" else value

    outcomes = []
    for trial in Staleness().trials("small"):
        scores = {
            k: Estimate(value=distance(trial, k), method="one", better="lower")
            for k in ("last", "exponential", "uniform")
        }
        outcomes.append(Outcome(trial=trial.written(), scores=scores, details={"floor": 0.01}))
    first, second, between, averages = Staleness().verdicts(outcomes)
    for verdict in (first, second):
        before, after = verdict.claim.split("Farther from the data: ")
        assert "elastic averaging" in before
        farther, nearer = after.split(" Nearer: ")
        assert nearer == "none."
        assert all(way.name in farther for way in OPPONENT.values())
        assert ALL[64].name in farther
    assert "delay 64: 11.5" in between.because
    undecided, farther = between.claim.split("Farther from the data: ")
    assert "Not distinguished: none." in undecided
    assert farther.endswith("Nearer: none.")
    assert "EMA 0.995: −0.05" in averages.because.replace("-", "−")
    undecided, nearer = averages.claim.split("Nearer to the data: ")
    assert undecided.count("mean of last half") == nearer.count("EMA 0.995") == 6
    assert nearer.endswith("Farther: none.")
    tables = list(Staleness().blocks(outcomes))
    assert len(tables[0].rows) == len(WAYS)


def test_a_planted_gain_of_transport_is_told():
    outcomes = []
    for trial in Transport().trials("small"):
        value = 0.1 + noise("t", trial.model, trial.batch, trial.equal, trial.seed, spread=0.003)
        if trial.model.startswith("ot-gan") and trial.batch == 256:
            value -= 0.05
        if trial.model.startswith("sinkhorn") and trial.batch == 32:
            value += 0.05
        score = {DISTANCE: Estimate(value=value, method="one", better="lower")}
        outcomes.append(Outcome(trial=trial.written(), scores=score))
    unclear, answer, _ = Transport().verdicts(outcomes)
    assert "OT-GAN, batch 64, equal samples" in unclear.claim
    nearer, farther = answer.claim.split("Farther: ")
    assert "OT-GAN, batch 256, equal samples; OT-GAN, batch 256, equal FLOPs" in nearer
    assert farther == (
        "Sinkhorn-GAN, batch 32, equal samples; Sinkhorn-GAN, batch 32, equal FLOPs."
    )
    assert TransportTrial.of(outcomes[0].trial).batch == 32


def training(trial, end, *, pace=10.0, lost=False):
    """Returns a training that falls to a level, and rises again where it is lost."""
    values = [end + 2.0 ** (-4.0 * k / pace) for k in range(1, 41)]
    values = values[:30] + [9.0] * 10 if lost else values
    details = {
        "curve": [[4.0 * k, v] for k, v in enumerate(values, 1)],
        "floor": 0.01 if trial.model.startswith("gan") else None,
        "ledger": Ledger().state_dict(),
        "diverged": None,
        "step flops": 1.0,
        "players": ["critic", "generator"],
        "couples": "",
    }
    return Outcome(trial=trial.written(), details=details)


def jitter(trial, spread=0.001):
    return noise("s", trial.model, trial.data, trial.batch, trial.seed, spread=spread)


def test_a_planted_bottleneck_of_the_sweep_is_told():
    outcomes = [
        training(t, 0.05 + (6.4 / t.batch if t.model.startswith("gan") else 0.0) + jitter(t))
        for t in BatchSweep().trials("small")
        if t.rate == "constant"
    ]
    verdicts = list(BatchSweep().verdicts(outcomes))
    unclear, noisy = verdicts[0].claim, verdicts[1].claim
    assert all(f"{a}, {b} to {4 * b}" in unclear for a in ONE for b in (8, 32, 128))
    assert noisy.startswith("Noise holds back GAN, no penalty, ring, 8 to 32")
    assert all(f"{a}, {b} to {4 * b}" in noisy for a in TWO for b in (8, 32, 128))
    assert any("0 (0 to" in v.claim and "without a penalty" in v.claim for v in verdicts)
    titles = [b.title for b in BatchSweep().blocks(outcomes)]
    assert titles[0] == "Noise and instability at equal steps"
    assert SweepTrial.of(outcomes[0].trial).batch in BATCHES


def varied(trial):
    cell = trial.model, trial.data, trial.rate, trial.base, trial.batch, trial.seed
    return noise("varied", *cell, spread=0.001)


def claim_of(outcomes, head):
    return next(v.claim for v in BatchSweep().verdicts(outcomes) if v.claim.startswith(head))


def test_planted_effects_of_rate_and_penalty_are_told_with_what_is_not_distinguished():
    outcomes = []
    for t in BatchSweep().trials("small"):
        # Of the diffusion model alone, the higher rate wins; the batch itself wins nothing.
        gain = 0.02 if t.rate == "linear" and t.model.startswith("diffusion") else 0.0
        lost = "penalty=none" in t.model and t.rate == "constant" and t.batch < BASE
        outcomes.append(training(t, 0.1 - gain + varied(t), lost=lost))
    raised = claim_of(outcomes, "Final loss")
    assert raised.endswith("Lower: diffusion, ring, the rate. Higher: none.")
    assert raised.count("then the batch") == 3
    # 10 of 10 pairs: twice 2^-10.
    lost = claim_of(outcomes, "Trainings of GANs that lose their progress")
    assert "R1 is distinguished from no penalty: in 10 pairs" in lost
    assert f"p = {2**-9:.2g} (exact McNemar)" in lost


def test_a_planted_effect_of_a_rule_on_steps_is_told():
    outcomes = []
    for t in BatchSweep().trials("small"):
        is_fast = t.rate != "constant" and "penalty=none" in t.model
        pace, end = (5.0 if is_fast else 10.0), (0.05 if t.batch > BASE else 0.1)
        outcomes.append(training(t, end + varied(t), pace=pace))
    told = claim_of(outcomes, "The rule for the learning rate")
    unclear, fewer = told.split("Fewer steps: ")
    assert fewer == "GAN, no penalty, ring, sqrt; GAN, no penalty, ring, linear. More steps: none."
    assert all(f"{a}, {r}" in unclear for a in (TWO[1], ONE[0]) for r in ("sqrt", "linear"))


def test_of_several_differences_one_is_falsely_distinguished_as_rarely_as_said():
    false, runs = 0, 400
    for run in range(runs):
        g = Rng(run).stream("null")
        table = torch.randn(12, 2, 5, generator=g).tolist()
        tests = all_tested({i: paired(a, b) for i, (a, b) in enumerate(table)})
        false += any(t.sign for t in tests.values())
    # At 5 % more than 36 of 400 has probability below 5e-4.
    assert false <= 36
    strong = all_tested(
        {"a": paired([5.0, 5.1, 4.9], [0.0, 0.1, 0.0]), "b": paired([0.0, 1.0], [1.0, 0.0])}
    )
    assert (which(strong, 1), which(strong, 0), which(strong, -1)) == ("a", "b", "none")
