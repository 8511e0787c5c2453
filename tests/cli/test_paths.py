"""Names of files, folders and sets: an existing path is that path, whatever signs it holds."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gantlet.cli.main import run
from gantlet.commands.evaluate.inputs import find_samples, named, spec_with_name
from gantlet.core.data import all_samples
from gantlet.core.errors import UserError

ODD = [
    "a,limit=30",
    "lr=0.1,seed=3",
    "lr=0.1",
    "a=b",
    "images:path=a",
    "a:b",
    "digits",
    "a@train",
    "run@gan#1",
    "#1",
    'say "so"',
    '"quoted"',
    "it's",
    "two  words ",
    " ",
    "line\nbreak",
    "tab\there",
    "\x1b[31mred",
    ".hidden",
    "-dash",
    "--flag",
    "~",
    "~root",
    "~/x",
    "$HOME",
    "*",
    "[a]",
    "a\\b",
    "é ü 漢",
    "\u202eevil",
    os.fsdecode(b"caf\xe9"),
    "x" * 200,
]


def folder_of_images(path, level):
    path.mkdir(parents=True)
    for i in range(4):
        Image.fromarray(np.full((8, 8, 3), level + i, np.uint8)).save(path / f"{i}.png")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # What a wrong reading of the grammar would find instead.
    for decoy in ("a", "b", "0.1", "run", "x"):
        folder_of_images(tmp_path / decoy, 100)
    return tmp_path


@pytest.mark.parametrize("name", ODD)
def test_folders_files_and_sets_of_any_name(here, name):
    folder_of_images(here / "in" / name, 7)
    for text in (f"in/{name}", f"{here}/in/{name}"):
        samples = find_samples(text, "fake")
        assert samples.name in (text, Path(text).name)
        assert int(all_samples(samples.source).min()) == 7
        assert named(spec_with_name("mine", text)) == ("mine", text)
        assert int(all_samples(find_samples(spec_with_name(name, text), "real").source).min()) == 7
    if name != "~/x":
        folder_of_images(here / name, 9)
        assert int(all_samples(find_samples(name, "fake").source).min()) == 9
    np.save(here / "in" / f"{name[:100]}.npy".replace("/", ""), np.full((3, 2), 5.0))
    text = f"in/{name[:100]}.npy".replace("~/", "~")
    assert all_samples(find_samples(text, "fake").source).unique().tolist() == [5]


def test_a_path_wins_over_a_name_and_a_split(here):
    np.save("x=real.npy", np.full((3, 2), 1.0))
    np.save("real.npy", np.full((3, 2), 2.0))
    assert all_samples(find_samples("x=real.npy", "fake").source).unique().tolist() == [1]
    assert all_samples(find_samples("y=real.npy", "fake").source).unique().tolist() == [2]
    assert all_samples(find_samples("y=x=real.npy", "fake").source).unique().tolist() == [1]
    folder_of_images(here / "a@test", 7)
    with pytest.raises(UserError, match='Put the path in double quotes: path="a@test"'):
        find_samples("images:path=a@test", "fake")
    samples = find_samples('images:path="a@test"', "fake")
    assert int(all_samples(samples.source).min()) == 7


def test_what_cannot_be_a_file_is_refused_in_one_line(here, capsys):
    os.mkfifo(here / "pipe")
    (here / "loop").symlink_to("loop")
    (here / "gone").symlink_to("nowhere")
    np.save("real.npy", np.random.default_rng(0).normal(size=(30, 2)))
    for text, message in {
        "pipe": "pipe is a pipe",
        "/dev/zero": "/dev/zero is a device",
        "loop": "Too many levels of symbolic links",
        "gone": "gone is a link to something that does not exist",
        "x" * 300 + ".npy": "File name too long",
        "npy:path=pipe": "pipe is a pipe",
        "real.npy/x": "does not exist",
        "a.npy\x1b]0;title\x07": "\ufffd]0;title\ufffd does not exist",
        "": "does not exist",
    }.items():
        assert run(["evaluate", text, "--against", "real.npy", "--metric", "energy"]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert message in err
        assert "\x1b" not in err


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_closed_folder_says_so(here, capsys):
    (here / "closed").mkdir(mode=0o000)
    for text in ("closed", "closed/a.npy"):
        assert run(["evaluate", text, "--against", "a", "--metric", "energy"]) == 2
        assert "closed cannot be read: Permission denied" in capsys.readouterr().err


def test_a_run_whose_names_are_no_utf8(here, capsysbinary):
    names = [os.fsdecode(b"fake\xff.npy"), "real\x1b[1m.npy"]
    for seed, name in enumerate(names):
        np.save(name, np.random.default_rng(seed).normal(size=(60, 2)))
    asked = ["evaluate", names[0], "--against", names[1], "--metric", "energy"]
    asked += ["--features", "pixels", "--out", "o"]
    assert run([*asked, "--json"]) == 0
    found = json.loads(capsysbinary.readouterr().out)
    assert found["question"]["fakes"] == [names[0]]
    assert json.loads((here / "o/run.json").read_text())["question"]["fakes"] == [names[0]]
    for fmt in ("html", "json", "markdown", "latex", "csv", "text"):
        assert run(["report", "o", "--format", fmt]) == 0
        out, err = capsysbinary.readouterr()
        out.decode()
        assert not err
        assert b"\x1b" not in out
    assert run(asked) == 0, "the same question is found again"
