"""gantlet evaluate --labels: where labels come from, what is said, and what is refused."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gantlet
from gantlet.cli.main import run
from gantlet.report.documents import render


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(n, seed, kinds=4):
    """Samples of four classes in four dimensions."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, kinds, n)
    return (rng.normal(size=(n, 4)) + 4 * np.eye(4)[y % 4]).astype(np.float32), y


REAL, FAKE = rows(240, 1), rows(160, 2)
# One class of the fakes is another.
SWAPPED = np.where(FAKE[1] == 1, 2, np.where(FAKE[1] == 2, 1, FAKE[1]))


def asked(*arguments, capsys):
    assert run(["evaluate", *arguments, "--metric", "kid", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(*arguments, capsys):
    assert run(["evaluate", *arguments, "--metric", "kid"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def differ(report):
    (found,) = report["classes"]
    return [c["class"] for c in found["classes"] if c["differs in"]]


def test_labels_of_npz_files_by_key_and_by_themselves(capsys):
    np.savez("real.npz", x=REAL[0], labels=REAL[1])
    np.savez("fake.npz", x=FAKE[0], y=SWAPPED.astype(float), labels=FAKE[1])
    good = asked("fake.npz", "--against", "real.npz", "--labels", "auto", capsys=capsys)
    assert not differ(good)
    claims = [v["claim"] for v in good["verdicts"]]
    assert any(
        "none of 4 classes is significantly different from real data" in claim for claim in claims
    )
    command = ["fake.npz", "--against", "real.npz", "--labels", "fake=y", "--labels", "labels"]
    bad = asked(*command, capsys=capsys)
    assert sorted(differ(bad)) == ["1", "2"]
    (claim,) = (v["claim"] for v in bad["verdicts"] if v["claim"].startswith("Class by class"))
    assert "2 of 4 classes are not significantly different from real data (0, 3); 2 are" in claim
    names = {row["name"] for row in bad["rows"]}
    assert {"kid, class 1 (pixels)", "share difference, class 0 (pixels)"} <= names
    found = {r["name"]: r for r in bad["rows"]}
    right = (FAKE[1] == SWAPPED).mean()
    assert found["label accuracy (pixels)"]["value"] == pytest.approx(right, abs=0.02)
    assert found["kid, class 1 (pixels)"]["level"] == pytest.approx(1 - 0.05 / 4)


def test_columns_of_labels_and_of_groups_are_no_features(capsys):
    for name, (x, y) in (("real", REAL), ("fake", (FAKE[0], SWAPPED))):
        lines = [
            ",".join([*(f"{v:.4f}" for v in row), f"kind {label}", f"s{i // 2}"])
            for i, (row, label) in enumerate(zip(x, y, strict=True))
        ]
        Path(f"{name}.csv").write_text("\n".join(["a,b,c,d,kind,subject", *lines]) + "\n")
    command = ["fake.csv", "--against", "real.csv", "--labels", "kind"]
    alone = asked(*command, capsys=capsys)
    assert sorted(differ(alone)) == ["kind 1", "kind 2"]
    grouped = asked(*command, "--groups", "subject", capsys=capsys)
    # One sample of each subject is used.
    assert sum(c["generated"] for c in grouped["classes"][0]["classes"]) == 80
    assert "'kind'" not in json.dumps(grouped["question"]["features"])


def test_folders_of_folders_are_classes_and_their_worst_samples_are_shown(capsys):
    rng = np.random.default_rng(0)
    for name, n in (("real", 60), ("fake", 30)):
        for k, kind in enumerate(("cat", "dog")):
            folder = Path(name) / kind
            folder.mkdir(parents=True)
            swap = k if name == "real" else 1 - k
            for i in range(n):
                pixels = rng.integers(0, 80, (8, 8, 3)) + 120 * swap
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    command = ["fake", "--against", "real", "--features", "pixels", "--labels", "auto"]
    report = asked(*command, capsys=capsys)
    assert sorted(differ(report)) == ["cat", "dog"]
    page = Path(report["report"]).read_text()
    assert "Worst classes of fake" in page
    assert "class cat: real above, generated below" in page
    again = asked(*command[:-1], "([^/]+)/.*", capsys=capsys)
    assert sorted(differ(again)) == ["cat", "dog"]


def test_labels_from_python_and_fakes_without_any():
    kept = FAKE[1] != 3
    given = {"real": REAL[1], "fake": torch.from_numpy(FAKE[1][kept])}
    settings = {"metrics": ["kid"], "against": REAL[0]}
    report = gantlet.evaluate(FAKE[0][kept], labels=given, **settings)
    (found,) = report.extra["classes"]
    worst = found["classes"][0]
    assert (worst["class"], worst["generated"], worst["differs in"]) == ("3", 0, ["share"])
    assert any("3 (no generated sample)" in v.claim for v in report.verdicts)
    unlabelled = gantlet.evaluate(FAKE[0][kept], labels={"real": REAL[1]}, **settings)
    (found,) = unlabelled.extra["classes"]
    assert found["labels"] == "predicted"
    assert found["classes"][0]["class"] == "3"
    assert any("has no labels: its classes are predicted" in c.text for c in unlabelled.caveats)
    assert not any("label accuracy" in r.name for r in unlabelled.rows)
    with pytest.raises(gantlet.UserError, match="labels must be one label per sample, shape"):
        gantlet.evaluate(FAKE[0], labels={"real": REAL[0]}, **settings)


def test_several_sets_share_the_level_and_a_class_may_be_in_one_set_only(capsys):
    np.savez("real.npz", x=REAL[0], labels=REAL[1])
    np.savez("good.npz", x=FAKE[0], labels=np.where(np.arange(160) < 12, 7, FAKE[1]))
    np.savez("bad.npz", x=FAKE[0], labels=SWAPPED)
    command = ["good.npz", "bad.npz", "--against", "real.npz", "--labels", "auto"]
    report = asked(*command, capsys=capsys)
    good, bad = report["classes"]
    assert [c["class"] for c in good["classes"] if c["differs in"]] == ["7"]
    assert sorted(c["class"] for c in bad["classes"] if c["differs in"]) == ["1", "2"]
    claims = [v for v in report["verdicts"] if v["claim"].startswith("Class by class")]
    assert "1 is: 7 (no real sample)" in claims[0]["claim"]
    assert "7 (0 real, 12 generated)" in claims[0]["because"]
    assert "4 % / 2 sets" in claims[0]["because"]


def test_lines_of_text_have_labels_too(capsys):
    words = {"animal": ["cat", "dog", "cow"], "fruit": ["fig", "plum", "pear"]}
    for name, n, seed in (("real", 200, 1), ("fake", 120, 2)):
        rng = np.random.default_rng(seed)
        kinds = rng.choice(list(words), n)
        lines = [" ".join(rng.choice(words[kind], 5)) for kind in kinds]
        Path(f"{name}.txt").write_text("\n".join(lines) + "\n")
        Path(f"{name}_kinds.txt").write_text("\n".join(kinds) + "\n")
    command = ["fake.txt", "--against", "real.txt", "--labels", "real=real_kinds.txt"]
    report = asked(*command, "--labels", "fake=fake_kinds.txt", capsys=capsys)
    assert {c["class"] for c in report["classes"][0]["classes"]} == {"animal", "fruit"}
    assert not differ(report)
    page = Path(report["report"]).read_text()
    assert "animal, real" in page


def test_many_classes_are_listed_and_their_confusions_too(capsys):
    rng = np.random.default_rng(0)
    for name, n in (("real", 900), ("fake", 600)):
        y = rng.integers(0, 15, n)
        x = (rng.normal(size=(n, 15)) + 5 * np.eye(15)[y]).astype(np.float32)
        y[y == 14] = rng.integers(13, 15, (y == 14).sum())
        np.savez(f"{name}.npz", x=x, labels=y)
    report = gantlet.evaluate("fake.npz", against="real.npz", labels="auto", metrics=["kid"])
    text = render(report, "markdown")
    assert "predicted as" in text
    assert re.search(r"\| *14 *\|", text)
    assert not any(c["differs in"] for c in report.extra["classes"][0]["classes"])


def test_a_control_without_labels_is_named_where_features_learn_from_the_reference():
    rng = np.random.default_rng(0)
    for name, n in (("real", 120), ("fake", 60), ("control", 60)):
        y = rng.integers(0, 2, n)
        x = (rng.integers(0, 80, (n, 1, 8, 8)) + 100 * y[:, None, None, None]).astype(np.uint8)
        np.savez(f"{name}.npz", x=x, **({} if name == "control" else {"labels": y}))
    report = gantlet.evaluate(
        "fake.npz",
        against="real.npz",
        control="control.npz",
        labels="auto",
        features=["classifier:steps=5"],
        metrics=["kid"],
    )
    (said,) = (v for v in report.verdicts if "could not be compared class by class" in v.claim)
    assert "control.npz has no labels: give them as --labels control=WHAT" in said.because


def test_classes_of_a_few_samples_are_said_to_be_too_small_for_a_distance():
    labels = {"real": np.arange(60) % 7, "fake": np.arange(25) % 7}
    given = {"against": REAL[0][:60], "metrics": ["kid"]}
    report = gantlet.evaluate(FAKE[0][:25], labels=labels, **given)
    by_class, together = (v for v in report.verdicts if "class" in v.claim)
    assert "none of 7 classes has enough samples for a distance, and none is" in by_class.claim
    assert "samples given their class" not in together.claim


BAD = {
    "another length": (
        ["--labels", "real=short.txt"],
        "gantlet: --labels real=short.txt: short.txt holds 3 labels, the set 240 samples.",
    ),
    "a length of no set": (
        ["--labels", "short.txt"],
        "fits no set: it holds 3 labels; real.npz 240 samples and fake.npz 160 samples.",
    ),
    "an unknown set": (["--labels", "rael=y"], "Did you mean 'real'?"),
    "an unknown array": (["--labels", "real=labelz"], "Did you mean 'labels'?"),
    "an array of no set": (["--labels", "labelz"], "fits no set. Did you mean 'labels'?"),
    "no labels of real samples": (["--labels", "fake=labels"], "real samples of real.npz have no"),
    "NaN": (
        ["--labels", "real=nan"],
        "1 of the 240 labels of real.npz are missing (empty or NaN)",
    ),
    "gaps": (["--labels", "real=gaps.txt"], "the first that of sample 2"),
    "one class": (["--labels", "real=one"], "are of the class '1'. At least two classes"),
    "no class of both": (
        ["--labels", "real=labels", "--labels", "fake=names"],
        "no class of fake.npz ('a', 'b') is one of real.npz ('0', '1', '2', '3')",
    ),
    "a matrix": (["--labels", "real=x"], "x of real.npz has shape (240, 4). One label for each"),
}


@pytest.mark.parametrize("what", BAD)
def test_labels_that_cannot_be_meant_are_refused(what, capsys):
    nan = REAL[1].astype(float)
    nan[7] = np.nan
    one = np.ones(240, int)
    np.savez("real.npz", x=REAL[0], labels=REAL[1], nan=nan, one=one)
    names = np.array(["a", "b"] * 80)
    np.savez("fake.npz", x=FAKE[0], labels=FAKE[1], names=names)
    Path("short.txt").write_text("1\n2\n3\n")
    Path("gaps.txt").write_text("\n".join(["1", "", *map(str, REAL[1][2:])]) + "\n")
    options, words = BAD[what]
    assert words in refused("fake.npz", "--against", "real.npz", *options, capsys=capsys)


def test_labels_are_refused_where_nobody_brings_any_or_there_are_too_many(capsys):
    np.savez("real.npz", x=REAL[0])
    np.savez("fake.npz", x=FAKE[0])
    command = ["fake.npz", "--against", "real.npz", "--labels"]
    assert "neither real.npz nor fake.npz bring labels along" in refused(
        *command, "auto", capsys=capsys
    )
    np.savez("fake.npz", x=REAL[0])
    Path("y.txt").write_text("\n".join(map(str, REAL[1])) + "\n")
    assert "Say whose they are: real=y.txt or fake=y.txt." in refused(
        *command, "y.txt", capsys=capsys
    )
    np.savez("many.npz", x=np.zeros((1500, 4), np.float32), labels=np.arange(1500))
    found = refused("fake.npz", "--against", "many.npz", "--labels", "auto", capsys=capsys)
    assert "many.npz has 1,500 different labels; at most 1,000 classes are compared" in found
