"""Copies of training samples in a comparison: counts, tests against held-out data, words."""

import pytest
import torch

from gantlet.api import load_report
from gantlet.cli.main import run as command
from gantlet.commands.compare.memorization import (
    TrainingSet,
    memorization_section,
    memorization_tests,
    memorization_verdict,
    memorized,
)
from gantlet.commands.standings import EXACT_COPIES, NEAR_COPIES, NEARER, model_results
from gantlet.core.data import Space
from gantlet.core.estimate import REAL, Outcome, Trial
from gantlet.run.store import Run

PLANE = Space("vector", (3,))
WORDS = Space("tokens", (4,), 3)


def normal(n, seed, d=3):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def judged(x, train, reference, space=PLANE):
    training = TrainingSet(train, train.float().flatten(1), total=len(train))
    return memorized(space, x, (reference.float().flatten(1), x.float().flatten(1)), training)


def test_copies_are_counted_as_by_hand():
    train, reference, fresh = normal(300, 0), normal(100, 1), normal(60, 2)
    x = torch.cat([train[:25], train[25:35] + 1e-4, fresh])
    found = judged(x, train, reference).scores
    assert found[EXACT_COPIES].value == pytest.approx(25 / 95)
    assert (found[EXACT_COPIES].low, found[EXACT_COPIES].high) == pytest.approx(
        (0.1778, 0.3637), abs=1e-3
    )  # Clopper and Pearson, from a table
    assert found[NEAR_COPIES].value >= 35 / 95
    distance = torch.cdist(x.double(), torch.cat([train, reference]).double())
    assert found[NEARER].value == pytest.approx(float((distance.argmin(1) < 300).double().mean()))
    assert "0.75 is expected" in found[NEARER].method


def test_equal_sequences_are_copies_whatever_the_file_held():
    draw = torch.Generator().manual_seed(0)
    train = torch.randint(0, 3, (40, 4), generator=draw).float()
    fake = torch.randint(0, 3, (200, 4), generator=draw).float()
    known = {tuple(row) for row in train.tolist()}
    count = sum(tuple(row) in known for row in fake.tolist())
    found = judged(fake, train, fake[:50], WORDS).scores
    assert 0 < count < 200
    assert found[EXACT_COPIES].value == count / 200


def outcomes(folder, sets, train, reference):
    """A run of one trial for each set."""
    run, found = Run(folder), []
    for name, each in sets.items():
        for seed, x in enumerate(each):
            trial = Trial(parts={"model": name, "data": "made"}, seed=seed)
            copies = judged(x, train, reference)
            run.folder(trial).save("nearest", copies.tensors)
            found.append(Outcome(trial=trial, scores=dict(copies.scores)))
    return run, found


def test_a_model_that_copies_is_named_and_one_that_does_not_is_not(tmp_path):
    train, reference = normal(400, 0), normal(200, 1)
    half = torch.cat([train[:100], normal(100, 3)])
    jittered = [train[:200] + 0.01 * normal(200, s) for s in (4, 5)]
    sets = {
        REAL: [normal(150, 2)],
        "histogram": [normal(200, 6), normal(200, 7)],
        "gmm": [half, half],
        "vae": jittered,
    }
    run, found = outcomes(tmp_path, sets, train, reference)
    everyone = model_results(found)
    tests = memorization_tests(everyone, run)
    assert len(tests) == 9
    sure = {(t.model.model, t.sign) for t in tests if t.is_significant}
    assert {m for m, _ in sure} == {"gmm", "vae"}
    assert ("gmm", "exact") in sure
    assert ("vae", "exact") not in sure
    assert ("vae", "near") in sure
    (verdict,) = memorization_verdict(tests)
    assert verdict.claim == (
        "gmm and vae copy training samples, significantly more than held-out data; histogram is "
        "not seen to."
    )
    assert "gmm: 200 of 400 samples equal a training sample, of held-out ones 0 of 150" in (
        verdict.because
    )
    (section,) = memorization_section(everyone, tests)
    assert section.open
    assert [row[-1].split(",")[0] for row in section.blocks[0].rows] == [
        "–",
        "no",
        "exact",
        "near",
    ]


def test_fresh_samples_and_collapsed_ones_are_rarely_called_copies(tmp_path):
    """Of the same distribution, and all near its middle: in 60 comparisons of two models."""
    wrong = 0
    for k in range(60):
        train, reference = normal(150, 10 * k), normal(80, 10 * k + 1)
        sets = {
            REAL: [normal(80, 10 * k + 2)],
            "gmm": [normal(80, 10 * k + 3)],
            "vae": [0.2 * normal(80, 10 * k + 4)],
        }
        run, found = outcomes(tmp_path / str(k), sets, train, reference)
        wrong += any(t.is_significant for t in memorization_tests(model_results(found), run))
    assert wrong <= 6  # 5 % are 3; 6 has a probability of 3 % of being passed


def test_a_copied_table_is_caught_by_the_command(tmp_path, capsys):
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(400, 2, generator=draw).tolist()
    kinds = torch.randint(0, 3, (400,), generator=draw).tolist()
    table = tmp_path / "t.csv"
    lines = (f"{a:.4f},{b:.4f},{'xyz'[k]}" for (a, b), k in zip(rows, kinds, strict=True))
    table.write_text("a,b,kind\n" + "\n".join(lines) + "\n")
    words = ["compare", "memorizer", "histogram", "--data", f"table:path={table}", "--seeds", "1"]
    words += ["--metric", "energy", "--probe", "parameters", "--workers", "1"]
    assert command([*words, "--out", str(tmp_path / "run")]) == 0
    report = load_report(tmp_path / "run")
    claims = [v.claim for v in report.verdicts]
    assert any(c.startswith("memorizer copies training samples") for c in claims)
    rows_ = {r.model.partition(":")[0]: r.estimate for r in report.rows if r.name == EXACT_COPIES}
    assert rows_["memorizer"].value == 1
    assert rows_["real"].value == rows_["histogram"].value == 0
    capsys.readouterr()
