"""gantlet verify: an untouched report is accepted, and each edited digit is refused."""

import json
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import gantlet
from gantlet.cli.main import run
from gantlet.run.store import read_sealed, write_sealed

EDITS = 50


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Samples, and a run that judged them."""
    folder = tmp_path_factory.mktemp("verify")
    rng = np.random.default_rng(0)
    np.save(folder / "fake.npy", rng.normal(0.2, 1, size=(60, 3)).astype(np.float32))
    np.save(folder / "real.npy", rng.normal(size=(90, 3)).astype(np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = ("fake.npy", "--against", "real.npy", "--features", "pixels", "--out", "run")
        wanted = [w for m in ("frechet", "kid", "precision") for w in ("--metric", m)]
        assert run(["evaluate", *words, *wanted]) == 0
    return folder


@pytest.fixture
def files(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def numbers(text):
    """Returns where the numbers of a JSON text are, those inside of strings left out."""
    blank = re.sub(r'"(?:[^"\\]|\\.)*"', lambda m: " " * len(m[0]), text)
    return [m.span() for m in re.finditer(r"-?[0-9][0-9.eE+-]*", blank)]


def edits(text, seed):
    """Yields texts with one digit of one number changed, valid JSON all of them."""
    draw, places = random.Random(seed), numbers(text)
    while True:
        start, end = draw.choice(places)
        at = draw.choice([i for i in range(start, end) if text[i].isdigit()])
        digit = draw.choice([d for d in "0123456789" if d != text[at]])
        edited = f"{text[:at]}{digit}{text[at + 1 :]}"
        try:
            found = json.loads(edited)
        except ValueError:
            continue
        if found != json.loads(text):  # 1e-30 less 1e-60 is no other number
            yield edited


def verified(*words):
    return run(["verify", *map(str, words)])


def test_an_untouched_report_is_accepted(files, capsys):
    assert verified("run", "fake.npy") == 0
    out = capsys.readouterr().out
    assert "run is what these samples give." in out
    assert int(re.search(r"([0-9,]+) numbers agree bit for bit", out)[1].replace(",", "")) > 50
    assert verified("run/report.json", "fake.npy") == 0
    assert verified("run") == 0


def test_fifty_edited_digits_are_each_refused(files, capsys):
    """As an editor leaves the file: its checksum does not fit, and the number is named."""
    file = files / "run" / "report.json"
    text = file.read_text()
    changed = edits(text, 0)
    for _ in range(EDITS):
        file.write_text(next(changed))
        code = verified("run", "fake.npy")
        said = capsys.readouterr()
        assert code in (1, 2), said
        if code == 1:
            assert "checksum of report.json" in said.out
            assert len(said.out.splitlines()) >= 4, said.out
    file.write_text(text)
    assert verified("run", "fake.npy") == 0


def test_fifty_forged_digits_are_each_refused_and_named(files, capsys):
    """As somebody leaves the file who writes the checksum anew: the number itself is wrong."""
    file = files / "run" / "report.json"
    text = file.read_text()
    changed = edits(text, 1)
    refused = 0
    for _ in range(EDITS):
        forged = json.loads(next(changed))
        forged.pop("checksum")
        write_sealed(file, forged)
        code = verified("run", "fake.npy")
        said = capsys.readouterr()
        if code == 2:  # a number of the format itself
            assert said.err.count("\n") == 1
        else:
            assert code == 1
            lines = said.out.splitlines()
            assert len(lines) == 3, said.out
            assert "report " in lines[0]
            assert ", recomputed " in lines[0]
        refused += code != 0
    assert refused == EDITS


def test_an_edited_outcome_and_an_edited_question_are_refused(files, capsys):
    outcome = next((files / "run" / "trials").glob("*/outcome.json"))
    text = outcome.read_text()
    outcome.write_text(next(edits(text, 2)))
    assert verified("run", "fake.npy") in (1, 2)
    outcome.write_text(text)
    settings = files / "run" / "run.json"
    text = settings.read_text()
    asked = json.loads(text)
    asked.pop("checksum")
    asked["question"]["seed"] = 1
    write_sealed(settings, asked)
    assert verified("run", "fake.npy") == 1
    assert "question.seed: report 0, recomputed 1" in capsys.readouterr().out


def test_an_outcome_that_does_not_say_what_is_a_proportion_is_accepted(files):
    """Earlier versions did not: verifying compares numbers, and that is none."""
    marked = 0
    for file in (files / "run" / "trials").glob("*/outcome.json"):
        raw = read_sealed(file)
        scores = {k: dict(e) for k, e in raw["scores"].items()}
        marked += sum(e.pop("is_proportion") for e in scores.values())
        write_sealed(file, raw | {"scores": scores})
    assert marked > 0
    assert verified("run", "fake.npy") == 0


def test_other_samples_are_refused_by_their_fingerprint(files, capsys):
    x = np.load("fake.npy")
    np.save("same.npy", x)
    x[7, 1] += 1e-3
    np.save("other.npy", x)
    assert verified("run", "same.npy") == 0
    assert verified("run", "mine=same.npy") == 0
    capsys.readouterr()
    assert verified("run", "other.npy") == 1
    out = capsys.readouterr().out
    assert "question.fingerprints.fake.npy: report " in out
    assert "frechet" in out
    assert "relative difference" in out


def test_a_moved_reference_is_given_again(files, capsys):
    Path("real.npy").rename("moved.npy")
    assert verified("run", "fake.npy") == 2
    assert "real.npy does not exist" in capsys.readouterr().err
    assert verified("run", "fake.npy", "--against", "moved.npy") == 0


def test_rounding_that_is_stated_is_accepted(files, capsys):
    file = files / "run" / "report.json"
    forged = json.loads(file.read_text())
    forged.pop("checksum")
    row = next(r for r in forged["rows"] if r["value"])
    row["value"] *= 1 + 1e-9
    write_sealed(file, forged)
    assert verified("run", "fake.npy") == 1
    assert "rows[0].value (frechet (pixels) of fake.npy)" in capsys.readouterr().out
    assert verified("run", "fake.npy", "--rounding", "1e-6") == 0
    assert "1 within a relative difference of 1e-06" in capsys.readouterr().out
    row["value"] *= 1.01
    write_sealed(file, forged)
    assert verified("run", "fake.npy", "--rounding", "1e-6") == 1


def test_python_and_json_say_the_same(files, capsys):
    x = np.load("fake.npy")
    assert gantlet.verify("run", x).extra["agrees"]
    report = gantlet.verify("run", {"fake.npy": -x})
    assert not report.extra["agrees"]
    assert report.blocks
    np.save("turned.npy", -x)
    assert verified("run", "turned.npy", "--json") == 1
    said = json.loads(capsys.readouterr().out)
    assert said["lines"] == report.extra["lines"]
    assert len(said["differences"]) == len(said["lines"])


def test_flaws_and_support_are_verified_too(files, capsys):
    words = ("fake.npy", "--against", "real.npy", "--features", "pixels")
    assert run(["flaws", *words, "--permutations", "99", "--out", "f"]) == 0
    assert run(["support", *words, "--invert", "0", "--out", "s"]) == 0
    for folder in ("f", "s"):
        capsys.readouterr()
        assert verified(folder, "fake.npy") == 0, capsys.readouterr().out
        file = files / folder / "report.json"
        forged = json.loads(file.read_text())
        forged.pop("checksum")
        row = next(r for r in forged["rows"] if r["value"])
        row["value"] += 1
        write_sealed(file, forged)
        assert verified(folder, "fake.npy") == 1


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["gone"], "gone has no report.json"),
        (["fake.npy"], "is not a JSON file"),
        (["run", "fake.npy", "real.npy"], "The report has 1 sets of samples: fake.npy. Got 2."),
        (["run", "nowhere.npy"], "nowhere.npy does not exist"),
        (["run", "fake.npy", "--train", "real.npy"], "has no training set"),
        (["run", "fake.npy", "--rounding", "2"], "rounding"),
    ],
)
def test_what_cannot_be_verified_is_one_line(files, capsys, words, line):
    assert verified(*words) == 2
    err = capsys.readouterr().err
    assert line in err
    assert err.count("\n") == 1


def test_a_report_of_another_command_is_not_verified(files, capsys):
    forged = json.loads((files / "run" / "report.json").read_text())
    forged["question"]["command"] = "compare"
    Path("c.json").write_text(json.dumps(forged))
    capsys.readouterr()
    assert verified("c.json") == 2
    assert "verify computes reports of evaluate, flaws, support again" in capsys.readouterr().err
