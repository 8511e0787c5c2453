"""gantlet why: planted causes, sums of parts, reports, published values, and what it refuses."""

import json

import numpy as np
import pytest

import gantlet
from gantlet.cli.main import run

FEATURES = "random-conv:features=16"
PARTS = {
    "samples judged",
    "reference split",
    "n",
    "resizing",
    "JPEG",
    "dtype and range",
    "network",
    "bias correction",
    "seed",
}


def pictures(n, seed, bright=0.0):
    """Images of two waves each, with noise: bytes, 16x16 pixels."""
    rng = np.random.default_rng(seed)
    place = np.arange(16)
    phase = rng.uniform(0, 6, size=(2, n, 3))
    x = np.sin(place[None, :, None, None] / 2 + phase[0][:, None, None])
    x = x + np.sin(place[None, None, :, None] / 3 + phase[1][:, None, None])
    x = 128 + bright + 40 * x + 12 * rng.normal(size=x.shape)
    return np.rint(x).clip(0, 255).astype(np.uint8)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("fake.npz", x=pictures(300, 0))
    np.savez("real.npz", x=pictures(300, 1))
    np.savez("other.npz", x=pictures(300, 2))
    return tmp_path


BOTH = ("--fakes", "fake.npz", "--against", "real.npz", "--both", f"features={FEATURES}")


def asked(*words, capsys):
    assert run(["why", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_planted_cause_is_named_first_and_parts_add_up(files, capsys):
    a = "samples=250,jpeg=none,bias=plain"
    b = "samples=240,jpeg=98,bias=plain,range=unit-as-signed/right,against=other.npz"
    found = asked(a, b, *BOTH, "--out", "run", capsys=capsys)
    parts = found["parts"]
    assert {p["name"] for p in parts} == {"n", "JPEG", "dtype and range", "reference split"}
    assert parts[0]["name"] == "dtype and range"
    assert parts[0]["significant"]
    assert parts[0]["low"] > 0
    assert sum(p["value"] for p in parts) == pytest.approx(found["difference"]["value"], abs=1e-9)
    sizes = [abs(p["value"]) for p in parts]
    assert sizes == sorted(sizes, reverse=True)
    claim = found["verdicts"][0]["claim"]
    assert claim.startswith("Not significantly different from zero: ")
    assert "The largest part of the frechet difference is dtype and range" in claim
    assert found["orders"] == "all 24 orders"
    assert found["unexplained"] is None
    page = (files / "run" / "report.html").read_text()
    assert "From A to B: frechet" in page
    assert "<rect" in page


def test_each_value_is_that_of_evaluate(files, capsys):
    """Recorded values are computed again bit for bit, so that nothing is left unexplained."""
    for name, samples in (("a", "250"), ("b", "120")):
        words = ("fake.npz", "--against", "real.npz", "--features", FEATURES, "--out", name)
        assert run(["evaluate", *words, "--samples", samples, "--metric", "frechet"]) == 0
    capsys.readouterr()
    found = asked("a", "b", capsys=capsys)
    assert [p["name"] for p in found["parts"]] == ["n"]
    assert found["parts"][0]["change"] == "samples=250 to 120"
    assert found["unexplained"] == 0.0
    assert found["question"]["a"]["report"] == "a"
    again = asked("report=a,samples=60", "report=b,features=random-conv", capsys=capsys)
    assert again["question"]["a"]["value"] == ""
    assert again["unexplained"] == 0.0
    words = ("fake.npz", "--against", "real.npz", "--features", FEATURES, "--metric", "frechet")
    assert run(["evaluate", *words, "--train", "other.npz", "--out", "t"]) == 0
    capsys.readouterr()
    trained = asked("a", "t", "--out", "at", capsys=capsys)
    assert {p["name"] for p in trained["parts"]} == {"n", "network"}
    assert trained["unexplained"] == pytest.approx(0.0, abs=1e-12)
    assert run(["why", "a", "report=a,value=90"]) == 2
    assert "all of the difference of " in capsys.readouterr().err


def test_a_published_value_leaves_an_unexplained_rest(files, capsys):
    found = asked(
        "samples=250", "value=50,samples=120,bias=plain", *BOTH, "--out", "run", capsys=capsys
    )
    again = next(r["value"] for r in found["rows"] if r["name"] == "frechet: B")
    assert found["unexplained"] == pytest.approx(50 - again)
    # It is most of the difference, so it is said first.
    assert found["verdicts"][0]["claim"].startswith("Unexplained rest: +")
    assert {p["name"] for p in found["parts"]} == {"n", "bias correction"}
    by_name = {p["name"]: p["value"] for p in found["parts"]}
    assert by_name["bias correction"] > 0


def test_python_is_the_same(files, capsys):
    a, b = {"samples": 200}, {"samples": 200, "jpeg": "20/none"}
    said = asked(
        "samples=200", "samples=200,jpeg=20/none", *BOTH, "--metric", "kid", capsys=capsys
    )
    report = gantlet.why(
        a,
        b,
        fakes="fake.npz",
        against="real.npz",
        both=f"features={FEATURES}",
        metric="kid",
        out="python",
    )
    assert json.loads(json.dumps(report.extra["parts"])) == said["parts"]
    assert said["parts"][0]["name"] == "JPEG"
    x, y = (np.load(name)["x"] for name in ("fake.npz", "real.npz"))
    arrays = gantlet.why(
        a, b, fakes=x, against=y, both=f"features={FEATURES}", metric="kid", out="arrays"
    )
    assert arrays.extra["parts"][0]["value"] == report.extra["parts"][0]["value"]


def test_a_split_of_a_file_and_many_settings(files, capsys):
    a = "samples=60,against=real.npz,split=train"
    b = (
        "samples=55,against=real.npz,split=all,size=12,resize=bilinear,jpeg=90,dtype=truncate,"
        "features=random-conv:features=24,bias=plain,seed=1"
    )
    words = ("--fakes", "fake.npz", "--both", f"features={FEATURES}", "--out", "run")
    found = asked(a, b, *words, capsys=capsys)
    assert {p["name"] for p in found["parts"]} == PARTS - {"samples judged"}
    assert found["orders"].startswith("48 orders drawn at random")
    total = sum(p["value"] for p in found["parts"])
    assert total == pytest.approx(found["difference"]["value"], abs=1e-9)
    assert any("different scales" in c for c in found["caveats"])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["samples=100", "samples=100", *BOTH], "A and B are the same setting"),
        (["samples=100", "jpg=75", *BOTH], "Did you mean 'jpeg'?"),
        (["samples=100", "jpeg=0", *BOTH], "jpeg must be a whole number from 1 to 100, or none"),
        (["samples=100", "seed=1e3", *BOTH], "seed must be a whole number. Got '1e3'."),
        (["samples=100", "data_seed=-1", *BOTH], "data_seed must be from 0"),
        (["samples=100", "jpeg=75/80/90", *BOTH], "must be VALUE or FAKES/REALS"),
        (["samples=100", "resize=box", *BOTH], "give size=PIXELS too"),
        (["samples=100", "size=8,resize=cubic", *BOTH], "Unknown value of resize 'cubic'"),
        (["samples=100", "size=8/12", *BOTH], "give one size"),
        (["samples=100", "samples=30", *BOTH], "needs at least 40"),
        (["samples=100", "value=nan", *BOTH], "value must be a finite number"),
        (["samples=100", "nowhere", *BOTH], "neither a report that exists nor a setting"),
        (["samples=100", "samples=90", "--fakes", "fake.npz"], "does not say against"),
        (["samples=100", "fakes=gone.npz", *BOTH], "gone.npz does not exist"),
        (["samples=100", "bias=plain", *BOTH, "--metric", "kid"], "which has a plug-in value"),
        (["samples=100", "samples=90", *BOTH, "--metric", "ct"], "not a distance between two"),
        (["samples=100", "against=real.npz,split=tset", *BOTH], "Did you mean 'test'?"),
    ],
)
def test_what_cannot_be_compared_is_one_line(files, capsys, words, line):
    assert run(["why", *words]) == 2
    err = capsys.readouterr().err
    assert line in err
    assert err.count("\n") == 1


def test_a_report_without_the_metric_or_of_another_command_is_one_line(files, capsys):
    words = ("fake.npz", "--against", "real.npz", "--features", FEATURES, "--samples", "60")
    assert run(["evaluate", *words, "--metric", "kid", "--out", "a"]) == 0
    two = ("one=fake.npz", "two=other.npz", *words[1:])
    assert run(["evaluate", *two, "--metric", "frechet", "--out", "two"]) == 0
    assert run(["flaws", *words, "--permutations", "19", "--out", "f"]) == 0
    capsys.readouterr()
    for a, said in (
        ("a", "a has no value of frechet on random-conv features; it measured kid."),
        ("two", "two judges 2 sets: one, two. Say which: report=two,fakes=NAME."),
        ("f", "f is a report of flaws; why compares reports of evaluate."),
    ):
        assert run(["why", a, "samples=70", *BOTH]) == 2
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1
    found = asked("report=two,fakes=one", "report=two,fakes=two", "--out", "w", capsys=capsys)
    assert [p["name"] for p in found["parts"]] == ["samples judged"]
