"""Files as they lie about: what commands read, refuse and say of them."""

import json
from itertools import count

import numpy as np
import pytest
from PIL import Image

from gantlet.cli.main import run


@pytest.fixture
def asked(tmp_path, monkeypatch, capsys):
    """Runs a command and returns its exit code, its report and what it said on stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANTLET_CACHE", str(tmp_path / "cache"))

    number = count()

    def told(*arguments):
        out = tmp_path / f"o{next(number)}"
        code = run([*map(str, arguments), "--json", "--out", str(out)])
        out, err = capsys.readouterr()
        return code, json.loads(out) if out.startswith("{") else {}, err

    return told


BRIEF = ("--metric", "kid", "--features", "pixels")


def pictures(folder, seeds, name="{}.png", side=8):
    folder.mkdir(parents=True, exist_ok=True)
    for i, seed in enumerate(seeds):
        pixels = np.random.default_rng(seed).integers(0, 255, (side, side)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name.format(i))


def test_what_was_not_read_is_said_on_stderr_and_in_the_report(asked, tmp_path):
    pictures(tmp_path / "real", range(20))
    pictures(tmp_path / "fake", range(50, 70))
    (tmp_path / "fake" / "notes.txt").write_text("x")
    (tmp_path / "real" / "stray.wav").write_text("x")
    code, report, err = asked("evaluate", "fake", "--against", "real", *BRIEF)
    assert code == 0
    for told in (
        "fake: 1 file is not an image and was not read: notes.txt",
        "real: 1 file is not an image and was not read: stray.wav",
    ):
        assert f"Note: {told}.\n" in err
        assert f"{told}." in report["caveats"]


@pytest.mark.parametrize("command", ["evaluate", "flaws"])
def test_unreadable_files_are_left_out_on_demand(asked, tmp_path, command):
    pictures(tmp_path / "real", range(60))
    pictures(tmp_path / "fake", range(100, 160))
    (tmp_path / "fake" / "7.png").write_bytes(b"damaged")
    more = BRIEF if command == "evaluate" else ("--features", "pca", "--permutations", "49")
    code, _, err = asked(command, "fake", "--against", "real", *more)
    assert code == 2
    assert "7.png cannot be read" in err
    assert "--skip-bad N" in err
    code, report, err = asked(command, "fake", "--against", "real", *more, "--skip-bad", "1")
    assert code == 0, err
    assert "1 unreadable file skipped: 7.png." in " ".join(report["caveats"])
    assert "fake (59 samples" in json.dumps(report) or command == "flaws"


@pytest.mark.parametrize(
    ("real", "fake"),
    [((0, 1), (-1, 1)), ((0, 1), (0, 255)), ((-1, 1), (0, 1)), ((0, 255), (0, 1))],
)
def test_images_of_another_range_are_refused_with_a_hint(asked, tmp_path, real, fake):
    for name, (low, high), seed in (("real", real, 0), ("fake", fake, 1)):
        x = np.random.default_rng(seed).random((40, 8, 8)).astype("f4")
        np.savez(tmp_path / f"{name}.npz", x=low + (high - low) * x)
    code, _, err = asked("evaluate", "fake.npz", "--against", "real.npz", *BRIEF)
    assert code == 2
    assert "fake.npz holds numbers from" in err
    assert f"as in [{fake[0]}, {fake[1]}]" in err
    assert "Bring both to one range, or save both as bytes." in err
    # A set that does not fill its range may be what a model makes.
    np.savez(tmp_path / "fake.npz", x=np.full((40, 8, 8), 0.3, "f4") + 0.01 * x[0, 0, 0])
    assert asked("evaluate", "fake.npz", "--against", "real.npz", *BRIEF, "--seed", "1")[0] == 0


def test_images_of_four_channels_are_measured_and_drawn(asked, tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        x = np.random.default_rng(seed).integers(0, 255, (40, 8, 8, 4)).astype("u1")
        np.savez(tmp_path / f"{name}.npz", x=x)
    sets = ("npz:path=a.npz,layout=nhwc", "--against", "npz:path=b.npz,layout=nhwc")
    code, report, err = asked("evaluate", *sets, *BRIEF)
    assert code == 0, err
    assert "data:image/png" in (tmp_path / "o0" / "report.html").read_text()
    assert [r["value"] for r in report["rows"]]


@pytest.mark.parametrize("names", ["{}.png", "{:05}.jpg.png", "A/{:02}.png"])
def test_pairs_of_files_are_matched_by_name(asked, tmp_path, names):
    for folder, form in (("wanted", names.replace("{}", "{:03}").lower()), ("outputs", names)):
        (tmp_path / folder / form).parent.mkdir(parents=True)
        pictures(tmp_path / folder, range(30), form, 16)
    command = ("evaluate", "outputs", "--against", "wanted", "--pairs", "wanted", *BRIEF)
    code, report, err = asked(*command)
    assert code == 0, err
    assert next(r["value"] for r in report["rows"] if r["name"] == "psnr (pairs)") == 100
    assert "matched by name" in " ".join(report["caveats"])
    file = sorted((tmp_path / "outputs").rglob("*.png"))[4]
    file.rename(file.with_name("else.png"))
    code, _, err = asked(*command, "--seed", "1")
    assert code == 2
    assert "has 0 outputs for" in err


@pytest.mark.parametrize("names", ["{0}_{1}.png", "{0}-{1}.png", "{0}/{1}.png"])
def test_several_outputs_bear_the_name_of_their_target(asked, tmp_path, names):
    pictures(tmp_path / "wanted", range(12), "t{:02}.png", 16)
    for i in range(12):
        for k in range(2):
            path = tmp_path / "outputs" / names.format(f"t{i}", k)
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(i).integers(0, 255, (16, 16)).astype(np.uint8)
            Image.fromarray(pixels).save(path)
    command = ("evaluate", "outputs", "--against", "wanted", "--pairs", "wanted")
    code, report, err = asked(*command, "--outputs", "2", *BRIEF)
    assert code == 0, err
    assert next(r["value"] for r in report["rows"] if r["name"] == "psnr (pairs)") == 100


def test_suffixes_in_any_case_and_of_other_tables(asked, tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 2))
    np.savez(tmp_path / "real.npz", x=x)
    (tmp_path / "real.npz").rename(tmp_path / "F.NPZ")
    text = "a,b\n" + "\n".join(f"{u:.3f},{v:.3f}" for u, v in x)
    (tmp_path / "real.csv").write_text(text)
    (tmp_path / "F.CSV").write_text(text)
    (tmp_path / "f.tsv").write_text(text.replace(",", "\t"))
    for i, (fake, real) in enumerate((("F.NPZ",) * 2, ("F.CSV", "real.csv"), ("f.tsv", "F.CSV"))):
        sets = (f"fake={fake}", "--against", real, "--metric", "energy", "--seed", i)
        assert asked("evaluate", *sets)[0] == 0


AGES = {"real": 40, "fake": 60}


def test_units_of_columns_do_not_decide(asked, tmp_path):
    draw = np.random.default_rng(3)
    drawn = {name: draw.normal([age, 50], [5, 15], (200, 2)) for name, age in AGES.items()}
    scores = {}
    for unit in (1, 1000):
        for name, rows in drawn.items():
            text = "\n".join(f"{a:.4f},{unit * b:.4f}" for a, b in rows)
            (tmp_path / f"{name}{unit}.csv").write_text(f"age,income\n{text}\n")
        sets = (f"fake{unit}.csv", "--against", f"real{unit}.csv", "--metric", "energy")
        _, report, _ = asked("evaluate", *sets, "--data-seed", 0)
        scores[unit] = next(r for r in report["rows"] if r["model"].startswith("fake"))
    assert scores[1]["name"] == "energy (columns)"
    assert scores[1000]["low"] > 1
    assert scores[1]["value"] == pytest.approx(scores[1000]["value"], rel=1e-3)


def test_lines_longer_than_every_real_one_are_seen(asked, tmp_path):
    words = [
        "the",
        "cat",
        "sat",
        "on",
        "a",
        "mat",
        "and",
        "dog",
        "ran",
        "to",
        "old",
        "house",
        "with",
        "red",
        "door",
    ]
    draw = np.random.default_rng(0)
    for name, tail in (("real", ""), ("fake", " junk" * 20)):
        lines = [" ".join(draw.choice(words, 8)) + tail for _ in range(200)]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines))
    _, report, err = asked("flaws", "fake.txt", "--against", "real.txt")
    assert "200 lines of fake.txt are longer than 16 words and cut there" in err
    assert "largest flaw" in " ".join(v["claim"] for v in report["verdicts"])
