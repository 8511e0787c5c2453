"""What gantlet evaluate says of samples that are as good as real ones, and of flawed ones."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gantlet
from gantlet.cli.main import run
from gantlet.commands.copies import occurs
from gantlet.commands.evaluate.inputs import EvaluationSpec
from gantlet.commands.evaluate.sets import EvaluationSets, SamplePart
from gantlet.core.data import all_samples
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def normal(n, seed, d=8):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def saved(**sets):
    for name, x in sets.items():
        np.savez(f"{name}.npz", x=x)


def asked(*arguments, capsys):
    assert run([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def said(report):
    return " | ".join(v["claim"] for v in report["verdicts"])


@pytest.mark.parametrize("sizes", [(400, 200), (150, 400), (200, 200)])
@pytest.mark.parametrize("train", [0, 150, 2000])
def test_samples_as_good_as_real_ones_are_not_said_to_be_otherwise(sizes, train, capsys):
    n, m = sizes
    saved(real=normal(n, 1), fake=normal(m, 2), train=normal(max(train, 1), 3))
    more = ["--train", "train.npz"] if train else []
    report = asked("evaluate", "fake.npz", "--against", "real.npz", *more, capsys=capsys)
    assert "is not significantly different from real data" in said(report)
    assert "copies" not in said(report)
    assert "variety" not in said(report)


COPIES = {
    "all": lambda train, fresh, _: train,
    "half": lambda train, fresh, _: np.concatenate([train[:100], fresh[:100]]),
    "noisy": lambda train, fresh, rng: train + 0.02 * rng.normal(size=train.shape),
}


@pytest.mark.parametrize("how", COPIES)
def test_copies_of_training_samples_are_found(how, capsys):
    train = normal(200, 3)
    fake = COPIES[how](train, normal(200, 4), np.random.default_rng(5)).astype(np.float32)
    saved(real=normal(300, 1), fake=fake, train=train)
    command = ["evaluate", "fake.npz", "--against", "real.npz", "--train", "train.npz"]
    report = asked(*command, "--metric", "kid", capsys=capsys)
    assert "fake.npz contains copies of training samples" in said(report)
    (found,) = (v["because"] for v in report["verdicts"] if "copies" in v["claim"])
    assert "against 0 of 150 held-out real samples" in found


def test_copied_graphs_are_found_with_their_nodes_renamed(capsys, here):
    from gantlet.research.calibration.worlds import WORLDS

    files = WORLDS["copies: graphs"].write(here, torch.Generator().manual_seed(0))
    command = ["evaluate", files["fake"], "--against", files["real"], "--train", files["train"]]
    assert "copies of training samples" in said(asked(*command, "--metric", "kid", capsys=capsys))


def test_copied_rows_of_a_table_are_found(capsys, here):
    from gantlet.research.calibration.worlds import WORLDS

    files = WORLDS["copies: rows"].write(here, torch.Generator().manual_seed(0))
    command = ["evaluate", files["fake"], "--against", files["real"], "--train", files["train"]]
    assert "copies of training samples" in said(asked(*command, "--metric", "kid", capsys=capsys))


def test_blurred_and_collapsed_samples_are_not_taken_for_copies(capsys):
    train, rng = normal(400, 3), np.random.default_rng(4)
    mild = 0.6 * normal(200, 5)
    point = train.mean(0) + 0.05 * rng.normal(size=(200, 8))
    saved(real=normal(400, 1), mild=mild, point=point.astype(np.float32), train=train)
    command = ["evaluate", "mild.npz", "point.npz", "--against", "real.npz"]
    report = asked(*command, "--train", "train.npz", capsys=capsys)
    assert "copies" not in said(report)
    assert "differ significantly" in said(report)
    assert "variety" in said(report)


def test_a_collapsed_set_lacks_variety(capsys):
    modes, which = normal(5, 3), np.random.default_rng(4).integers(5, size=200)
    fake = modes[which] + 0.05 * normal(200, 5)
    saved(real=normal(400, 1), fake=fake.astype(np.float32))
    report = asked("evaluate", "fake.npz", "--against", "real.npz", capsys=capsys)
    assert "fake.npz has too little variety" in said(report)
    assert "differs significantly from real data" in said(report)


def test_a_class_that_is_missing_is_found(capsys):
    splits = datasets.make("digits").load(rng=Rng(0))
    x = all_samples(splits.train).numpy().astype(np.uint8)
    labels = splits.train.labels.numpy()
    fake = x[600:][np.isin(labels[600:], [0, 1, 2, 3, 4])]
    saved(real=x[:600], fake=fake)
    command = ["evaluate", "fake.npz", "--against", "real.npz", "--features", "pixels"]
    assert "differs significantly from real data" in said(asked(*command, capsys=capsys))


def roles(asked):
    """Returns the digests of reference, floor and fakes in the comparison, and of the training."""
    sets = EvaluationSets(asked)
    floor = sets.floor(sets.fake(asked.fakes[0]).n)
    train = sets.train
    return (
        floor.real.digests(),
        floor.other.digests(),
        sets.fair_part(asked.fakes[0]).digests(),
        None if train is None else SamplePart(whole=train).digests(),
    )


SETS = {
    "divided": {"real": "real.npz", "train": "train.npz"},
    "thinned": {"real": "real.npz", "train": "train.npz", "samples": 100},
    "control": {"real": "real.npz", "train": "train.npz", "control": "control.npz"},
    "leaked": {"real": "leaked.npz", "train": "train.npz"},
    "one split trained on": {"real": "digits", "train": "digits@train"},
    "validation trained on": {"real": "digits", "train": "digits@validation"},
    "all splits": {"real": "digits@all", "train": "digits@train"},
    "training split judged by": {"real": "digits@train", "train": None},
}


@pytest.mark.parametrize("how", SETS)
@pytest.mark.parametrize("n", [30, 250])
def test_the_floor_shares_nothing_and_has_the_size_of_the_fakes(how, n):
    real, train = normal(300, 1), normal(200, 2)
    saved(real=real, train=train, control=normal(260, 3), fake=normal(n, 4))
    saved(leaked=np.concatenate([real[:200], train[:100]]))
    made = np.random.default_rng(5).integers(0, 17, size=(n, 8, 8)).astype(np.uint8)
    np.savez("digits.npz", x=made)
    fake = "digits.npz" if str(SETS[how]["real"]).startswith("digits") else "fake.npz"
    asked = EvaluationSpec(fakes=(fake,), **SETS[how])
    reference, floor, fair, trained = roles(asked)
    assert len(floor) == len(fair) <= n
    assert len(fair) == n or len(floor) >= min(100, len(reference) // 2)
    few = 0.01 if "digits" in fake else 0
    assert occurs(floor, reference).double().mean() <= few
    if trained is not None:
        assert occurs(floor, trained).double().mean() <= few
    assert not occurs(floor, fair).any()


def test_where_no_real_sample_is_left_there_is_no_floor_and_it_is_said(capsys):
    saved(real=normal(100, 1), fake=normal(80, 2))
    command = ["evaluate", "fake.npz", "--against", "real.npz", "--train", "real.npz"]
    report = asked(*command, "--metric", "kid", "--metric", "ct", capsys=capsys)
    assert "could not be tested" in said(report)
    assert {r["model"] for r in report["rows"]} == {"fake.npz"}
    assert any("training samples too" in c for c in report["caveats"])
    saved(few=normal(15, 1))
    report = asked("evaluate", "fake.npz", "--against", "few.npz", capsys=capsys)
    assert "too few to be divided" in " ".join(v["because"] for v in report["verdicts"])


def test_the_reference_itself_is_recognised(capsys):
    real = normal(120, 1)
    saved(real=real, fake=real[::-1], part=np.concatenate([real[:30], normal(90, 2)]))
    common = ["--against", "real.npz", "--metric", "kid", "--metric", "precision"]
    report = asked("evaluate", "fake.npz", *common, capsys=capsys)
    assert report["verdicts"][0]["claim"].startswith("fake.npz and the reference are the same")
    assert "significantly" not in said(report)
    assert any("All 120 samples of fake.npz are the same" in c for c in report["caveats"])
    report = asked("evaluate", "part.npz", *common, capsys=capsys)
    assert "30 of 120 samples of part.npz are samples of the reference" in said(report)


def test_rows_that_real_data_repeat_are_no_sign_of_anything(capsys):
    rng = np.random.default_rng(0)
    sets = {n: rng.integers(3, size=(200, 3)).astype(np.float32) for n in ("real", "fake")}
    saved(**sets, train=rng.integers(3, size=(200, 3)).astype(np.float32))
    command = ["evaluate", "fake.npz", "--against", "real.npz", "--train", "train.npz"]
    report = asked(*command, capsys=capsys)
    assert "not significantly different" in said(report)
    assert all(w not in said(report) for w in ("same samples", "copies", "variety"))


def test_samples_that_repeat_are_counted_and_stay_together(capsys):
    saved(real=np.repeat(normal(150, 1), 2, 0), fake=normal(150, 2))
    report = asked("evaluate", "fake.npz", "--against", "real.npz", capsys=capsys)
    assert any("150 of 300 samples of the reference repeat" in c for c in report["caveats"])
    assert "differs" not in said(report)
    assert "reference." not in said(report)
    found = roles(EvaluationSpec(real="real.npz", train=None, fakes=("fake.npz",)))
    assert not occurs(found[1], found[0]).any()


def test_nothing_measured_is_said_as_such(capsys):
    saved(real=normal(60, 1), fake=normal(1, 2) + 50)
    command = ["evaluate", "fake.npz", "--against", "real.npz", "--metric", "kid"]
    report = asked(*command, "--metric", "recall", capsys=capsys)
    assert said(report) == "Nothing could be measured of fake.npz on raw values."
    assert "kid: " in report["verdicts"][0]["because"]


def test_numbers_of_different_metrics_share_no_power_of_ten(capsys):
    rng = np.random.default_rng(0)
    saved(
        real=rng.random((80, 64)).astype(np.float32),
        fake=(255 * rng.random((80, 64))).astype(np.float32),
    )
    command = ["evaluate", "fake.npz", "--against", "real.npz", "--features", "pixels"]
    assert run([*command, "--metric", "kid", "--metric", "recall"]) == 0
    out = capsys.readouterr().out
    line = next(x for x in out.splitlines() if x.startswith("recall"))
    assert "0.000 [0.000, 0.046]" in line
    assert "0.0000000" not in out


def grouped_rows(n, seed):
    """Returns rows of three visits to each of ``n`` subjects, and the subjects."""
    rng = np.random.default_rng(seed)
    subjects = np.repeat(np.arange(n), 3)
    rows = np.repeat(rng.normal(size=(n, 3)), 3, 0) + 0.05 * rng.normal(size=(3 * n, 3))
    return rows, subjects


def written_table(name, n, seed, prefix):
    rows, subjects = grouped_rows(n, seed)
    lines = [
        f"{prefix}{s},{','.join(f'{v:.4f}' for v in r)}\n"
        for s, r in zip(subjects, rows, strict=True)
    ]
    Path(f"{name}.csv").write_text("".join(["subject,a,b,c\n", *lines]))
    return rows, subjects


def floor_groups(asked):
    sets = EvaluationSets(asked)
    floor = sets.floor(sets.fake(asked.fakes[0]).n)
    return floor.real.given_groups, floor.other.given_groups


def test_groups_of_a_column_stay_together_and_are_no_feature(capsys):
    written_table("real", 60, 1, "p")
    written_table("fake", 60, 2, "q")
    rows = [line.partition(",")[2] for line in Path("real.csv").read_text().splitlines()]
    Path("bare.csv").write_text("\n".join(rows))
    command = ["evaluate", "fake.csv", "--against", "real.csv", "--groups", "subject"]
    report = asked(*command, "--metric", "kid", capsys=capsys)
    assert "not significantly different" in said(report)
    kept = EvaluationSpec(real="real.csv", train=None, fakes=("fake.csv",), groups=("subject",))
    bare = replace(kept, real="table:path=bare.csv")
    assert EvaluationSets(kept).real.samples.space == EvaluationSets(bare).real.samples.space
    reference, floor = floor_groups(kept)
    assert not torch.isin(floor, reference).any()


def test_groups_come_from_files_names_and_labels(capsys):
    rng = np.random.default_rng(0)
    for folder in ("real", "fake"):
        (place := Path(folder)).mkdir()
        for subject in range(15):
            for visit in range(2):
                pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"s{subject:02d}_{visit}.png")
    name = EvaluationSpec(real="real", train=None, fakes=("fake",), groups=("(s[0-9]+)_",))
    reference, floor = floor_groups(name)
    assert len(torch.unique(EvaluationSets(name).real.groups)) == 15
    assert not torch.isin(floor, reference).any()
    rows, subjects = grouped_rows(60, 1)
    saved(real=rows.astype(np.float32), fake=normal(100, 2, d=3))
    Path("subjects.txt").write_text("".join(f"{s}\n" for s in subjects))
    command = ["evaluate", "fake.npz", "--against", "real.npz", "--metric", "kid"]
    asked(*command, "--groups", "real=subjects.txt", capsys=capsys)
    report = gantlet.evaluate(
        normal(100, 2, d=3),
        rows.astype(np.float32),
        metrics=["kid"],
        groups={"real": subjects},
        out="python",
    )
    assert report.question["groups"][0].startswith("real=")


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("nothing", "--groups nothing fits no set"),
        ("real=short.txt", "short.txt holds 3 labels, the set 50 samples"),
        ("other=short.txt", "Unknown set of --groups 'other'"),
    ],
)
def test_groups_that_fit_nothing_are_refused(groups, message, capsys):
    saved(real=normal(50, 1), fake=normal(50, 2))
    Path("short.txt").write_text("a\nb\nc\n")
    assert run(["evaluate", "fake.npz", "--against", "real.npz", "--groups", groups]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("control", "message"),
    [
        ("few.npz", "At least 10 are needed"),
        ("real.npz", "samples are in the reference too"),
        ("train.npz", "samples are in the training set"),
    ],
)
def test_a_control_that_is_none_is_refused(control, message, capsys):
    saved(real=normal(50, 1), fake=normal(50, 2), train=normal(50, 3), few=normal(4, 4))
    command = ["evaluate", "fake.npz", "--against", "real.npz", "--train", "train.npz"]
    assert run([*command, "--control", control]) == 2
    assert message in capsys.readouterr().err
