"""What a user can get wrong ends with one line, exit code 2, and nothing lost or left behind."""

import errno
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gantlet.cli.main import run

QUICK = ["--steps", "3", "--seeds", "1", "--workers", "1", "--metric", "energy"]
QUICK += ["--features", "pixels"]


@pytest.fixture
def refused(tmp_path, capsys, monkeypatch):
    """Runs a command that must fail, and returns its one line."""
    monkeypatch.chdir(tmp_path)

    def told(*arguments):
        before = sorted(tmp_path.rglob("*"))
        assert run([str(a) for a in arguments]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert err.startswith("gantlet: ")
        assert sorted(tmp_path.rglob("*")) == before, "a mistake leaves nothing behind"
        return err

    return told


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def photos(folder, sizes):
    folder.mkdir()
    for i, size in enumerate(sizes):
        pixels = np.random.default_rng(i).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.mark.parametrize("command", ["compare", "train", "cost"])
@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("gann", "Unknown family 'gann'. Did you mean 'gan'?"),
        ("gan:los=ns", "Unknown option of 'gan' 'los'. Did you mean 'loss'?"),
        ("gan:loss=nss", "Unknown value of gan:loss 'nss'. Did you mean 'ns'?"),
        ("gan:latent=0", "gan:latent must be at least 1. Got 0."),
        ("gan:latent=many", "gan:latent must be int. Got 'many'."),
        ("gan:ema=1", "gan:ema must be at least 0 and below 1. Got 1."),
        ("gan:latent", "needs the form key=value"),
        ("gan:latent=1,latent=2", "is given twice"),
    ],
)
def test_a_family_option_or_value_that_is_not_known(refused, command, model, message):
    assert message in refused(command, model, "--data", "ring")


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        ("flow", (60, 1), "A coupling needs 2 components or more"),
        ("ar:net=transformer", (60, 2), "needs discrete samples"),
        ("gan:net=conv", (60, 2), "net=conv needs images"),
        ("vae:net=conv", (60, 2), "net=conv needs images"),
        ("diffusion:net=unet", (60, 2), "net=unet needs images"),
        ("ar:net=made,mixtures=1000", (60, 3, 32, 32), "use smaller samples"),
    ],
)
def test_a_family_that_cannot_model_the_space(refused, tmp_path, model, shape, message):
    np.save(tmp_path / "a.npy", noise(*shape))
    assert message in refused("compare", model, "--data", "npy:path=a.npy", *QUICK)


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        ("gmm:covariance=full", (60, 3, 32, 32), "use gmm:covariance=diag"),
        ("gmm:components=99", (60, 2), "gmm:components=99 needs as many samples. Got 48."),
    ],
)
def test_a_baseline_that_cannot_model_the_space(tmp_path, capsys, model, shape, message):
    np.save(tmp_path / "a.npy", noise(*shape))
    # A baseline is asked when it is fitted; by then there is a run folder.
    asked = ["compare", model, "--data", f"npy:path={tmp_path / 'a.npy'}", *QUICK]
    assert run([*asked, "--out", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_in_arrays_is_told_with_its_place(refused, tmp_path, bad):
    x = noise(60, 3)
    x[7, 2] = x[9, 0] = bad
    np.save(tmp_path / "a.npy", x)
    np.savez(tmp_path / "a.npz", x=x)
    for data in ("npy:path=a.npy", "npz:path=a.npz"):
        told = refused("compare", "gmm", "--data", data, *QUICK)
        assert (
            "holds 2 NaN or infinite values of 180, the first in sample 7, component (2,)" in told
        )


def test_nan_in_a_table_is_told_with_its_line(refused, tmp_path):
    rows = ["a,b", *(f"{i},{i / 2}" for i in range(40))]
    (tmp_path / "a.csv").write_text("\n".join([*rows, "nan,1"]))
    assert "line 42, column 'a'" in refused("compare", "gmm", "--data", "csv:path=a.csv", *QUICK)
    (tmp_path / "a.csv").write_text("\n".join([*rows, "1,inf"]))
    told = refused("compare", "gmm", "--data", "csv:path=a.csv", *QUICK)
    assert "line 42, column 'b': 'inf' is infinite" in told


def test_an_image_folder_that_is_empty_or_not_there(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    told = refused("compare", "gan", "--data", "images:path=empty", *QUICK)
    assert "empty holds no image. Give files such as .png" in told
    told = refused("compare", "gan", "--data", "images:path=nowhere", *QUICK)
    assert "No folder nowhere" in told
    assert "images needs path=" in refused("compare", "gan", "--data", "images", *QUICK)


def test_an_image_folder_of_mixed_sizes_says_what_to_do(refused, tmp_path, capsys):
    photos(tmp_path / "mixed", [(8, 8)] * 20 + [(8, 9)])
    told = refused("compare", "gan", "--data", "images:path=mixed", *QUICK)
    assert "Images differ in size" in told
    assert "20.png is 9x8" in told
    assert "Give size=PIXELS" in told
    mended = ["compare", "gan", "--data", "images:path=mixed,size=8", "--dry-run"]
    assert run(mended) == 0
    capsys.readouterr()


@pytest.mark.parametrize("damage", ["cut", "foreign", "nothing"])
def test_a_corrupt_image_is_named(refused, tmp_path, damage):
    folder = photos(tmp_path / "photos", [(8, 8)] * 20)
    whole = (folder / "13.png").read_bytes()
    content = {"cut": whole[: len(whole) // 2], "foreign": b"GIF89a, no", "nothing": b""}
    (folder / "13.png").write_bytes(content[damage])
    told = refused("compare", "gan", "--data", "images:path=photos", *QUICK)
    assert "13.png cannot be read as an image" in told


@pytest.mark.parametrize("limit", ["flops", "examples", "steps", "seconds"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf"])
@pytest.mark.parametrize("command", ["compare", "train"])
def test_a_budget_that_is_none(refused, command, limit, value):
    told = refused(command, "gan", "--data", "ring", f"--{limit}", value)
    assert limit in told
    assert re.search(rf"Got '?{value}'?\.", told)


@pytest.mark.parametrize("time", ["20", "0s", "5x", "1e3min", "min", "1h 30m", "1e99h", "nans"])
@pytest.mark.parametrize("command", ["compare", "train"])
def test_a_time_that_is_none(refused, command, time):
    told = refused(command, "gan", "--data", "ring", "--time", time)
    assert "time must be a number with a unit (s, min or h), above 0, such as 20min" in told
    assert repr(time) in told


def test_a_time_beside_a_budget(refused):
    asked = ("train", "gan", "--data", "ring", "--time", "5s")
    assert "Give --time or a budget" in refused(*asked, "--flops", "1e9")
    assert "--async" in refused(*asked, "--async", "2")
    told = refused("train", "gan", "--data", "ring", "--precision", "bf16", "--async", "2")
    assert "--async computes gradients in fp32" in told
    assert "precision" in refused("train", "gan", "--data", "ring", "--precision", "bf15")


def test_a_budget_too_small_for_one_step_says_what_a_step_costs(tmp_path, capsys):
    # What a step costs is known when it has been made; by then there is a run folder.
    asked = ["compare", "gan", "--data", "ring:n=300", "--flops", "10", *QUICK[2:]]
    assert run([*asked, "--out", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert "The budget is too small: one step of critic and generator on 128 samples" in err
    assert err.count("\n") == 1


def test_numbers_of_options_that_make_no_sense(refused):
    for option, value in (
        ("--seeds", 0),
        ("--batch", 0),
        ("--samples", 1),
        ("--patience", 0),
        ("--threads", 0),
        ("--workers", 0),
        ("--device", "meta"),
        ("--device", "gpu"),
        ("--solver", "adam:beta1=1"),
    ):
        told = refused("compare", "gan", "--data", "ring", option, value)
        assert option.strip("-") in told or "beta1" in told


ASKED = ["compare", "histogram", "gmm:components=2", "gan:width=8", "--data", "ring:n=300"]


def outcomes(folder):
    return {f.parent.name: f.read_bytes() for f in folder.glob("trials/*/outcome.json")}


def test_an_output_folder_that_holds_another_question(refused, tmp_path, capsys):
    folder = tmp_path / "run"
    assert run([*ASKED, *QUICK, "--out", str(folder)]) == 0
    found = outcomes(folder)
    capsys.readouterr()
    told = refused(*ASKED, *QUICK, "--batch", "64", "--out", folder)
    assert "holds a run with another configuration. Give another --out, or remove it." in told
    assert outcomes(folder) == found
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("precious")
    told = refused(*ASKED, *QUICK, "--out", "thesis")
    assert "thesis is not empty and not a run directory of Gantlet" in told


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"question": 1}'])
def test_a_run_folder_that_is_damaged(refused, tmp_path, content):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(content)
    for command in ([*ASKED, *QUICK, "--out", "run"], ["sample", "run"]):
        assert "that Gantlet wrote" in refused(*command)


def test_an_output_folder_that_cannot_be_made(refused, tmp_path):
    (tmp_path / "file").write_text("")
    for out in ("file", "file/run"):
        assert "cannot be written" in refused(*ASKED, *QUICK, "--out", out)


def test_data_that_changed_under_its_path_is_another_question(refused, tmp_path, capsys):
    asked = ["compare", "histogram", "--data", "npy:path=a.npy", *QUICK, "--out", "run"]
    np.save(tmp_path / "a.npy", noise(60, 2))
    assert run(asked) == 0
    found = outcomes(tmp_path / "run")
    capsys.readouterr()
    np.save(tmp_path / "a.npy", noise(60, 2, seed=1))
    assert "holds a run with another configuration" in refused(*asked)
    assert outcomes(tmp_path / "run") == found


def test_a_full_disk_loses_no_finished_trial(tmp_path, capsys, monkeypatch):
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert run([*ASKED, *QUICK, "--out", str(whole)]) == 0
    capsys.readouterr()
    write = Path.write_bytes

    def full(self, content):
        """Leaves room for the outcomes of two trials, and then for none."""
        if len(outcomes(folder)) >= 2:
            write(self, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return write(self, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        assert run([*ASKED, *QUICK, "--out", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "The disk is full" in err
    assert "run the same command again" in err
    kept = outcomes(folder)
    assert len(kept) == 2
    assert all(json.loads(text)["error"] is None for text in kept.values())
    times = {f: f.stat().st_mtime_ns for f in folder.glob("trials/*/outcome.json")}
    assert not list(folder.rglob(".*.json.*")), "half a file is not left"

    assert run([*ASKED, *QUICK, "--out", str(folder)]) == 0
    assert outcomes(folder) == outcomes(whole)
    assert all(f.stat().st_mtime_ns == before for f, before in times.items()), "made again"


@pytest.mark.parametrize(
    "words",
    [
        ("compare", "gan", "--data", "ring", "--seeds", "1.5"),
        ("compare", "gan", "--data", "ring", "--workers", "1.5"),
        ("train", "gan", "--data", "ring", "--batch", "64.5"),
        ("evaluate", "x.npy", "--against", "ring", "--samples", "2.5"),
        ("flaws", "x.npy", "--against", "ring", "--max-directions", "1.5"),
        ("sample", "run", "-n", "2.5"),
        ("tournament", "run", "--samples", "many"),
    ],
)
def test_fractions_are_not_rounded(refused, words):
    assert f"Must be a whole number. Got {words[-1]!r}." in refused(*words)
