"""What ``gantlet doctor`` says of storage and of what killed runs left behind."""

import os
import subprocess
import sys

import pytest

from gantlet.cli.main import run
from gantlet.commands import doctor


def test_drafts_of_processes_that_are_gone_are_stale(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / "features").mkdir()
    stale = [tmp_path / f"features/.a.npy.{gone.pid}", tmp_path / f".b.tar.{gone.pid}.draft"]
    for file in (*stale, tmp_path / f".c.npy.{os.getpid()}", tmp_path / ".hidden", tmp_path / "d"):
        file.write_bytes(b"x")
    assert doctor.stale_drafts(tmp_path) == sorted(stale)
    assert doctor.stale_drafts(tmp_path / "nowhere") == []


def process(folder, pid, *, parent, words, env="OMP_WAIT_POLICY=PASSIVE"):
    place = folder / str(pid)
    place.mkdir()
    (place / "cmdline").write_bytes(b"\0".join(w.encode() for w in words))
    (place / "stat").write_text(f"{pid} (a (b) c) S {parent} 1 1")
    (place / "environ").write_bytes(f"A=1\0{env}\0".encode())


def test_workers_without_a_parent_are_orphans(tmp_path):
    worker = ["python", "-c", "from multiprocessing.spawn import spawn_main; spawn_main()"]
    worker += ["--multiprocessing-fork"]
    process(tmp_path, 12, parent=1, words=worker)
    process(tmp_path, 13, parent=12, words=worker)
    process(tmp_path, 14, parent=1, words=["python", "server.py"])
    process(tmp_path, 15, parent=1, words=worker, env="B=2")
    (tmp_path / "16").mkdir()
    assert doctor.orphaned_workers(tmp_path) == [12]


def test_doctor_warns_of_storage(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GANTLET_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    monkeypatch.setattr(doctor, "orphaned_workers", lambda: [17])
    monkeypatch.setattr(doctor, "memory", lambda: 2**28)
    monkeypatch.setattr(doctor, "LOW_SPACE", 2**60)
    assert run(["doctor"]) == 0
    out = capsys.readouterr().out
    for words in (
        "Others can write to",
        "GB are free on the disk of",
        "0.2 GB of memory, which is little",
        "kill 17",
        "GB used",
    ):
        assert words in out


def test_files_that_vanish_under_it_do_not_end_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GANTLET_CACHE", str(tmp_path))
    (tmp_path / "here.npy").touch()
    os.truncate(tmp_path / "here.npy", 2**28)  # takes no place
    listed = [(str(tmp_path), [], ["here.npy", ".draft.npy.12"])]
    monkeypatch.setattr(os, "walk", lambda _: listed)
    assert run(["doctor"]) == 0
    assert "0.2 GB used" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("metric", "metrics"),
        ("Metrics", "metrics"),
        ("family", "families"),
        ("models", "families"),
        ("data set", "datasets"),
        ("dataset", "datasets"),
        ("feature", "features"),
        ("extractors", "features"),
        ("optimizer", "solvers"),
        ("study", "studies"),
        ("toy", "toys"),
    ],
)
def test_kinds_may_be_named_as_people_do(word, kind, capsys):
    assert run(["list", word]) == 0
    assert capsys.readouterr().out.startswith(kind)


def test_show_explains_aliases_and_pointers(capsys):
    assert run(["show", "wgan-gp"]) == 0
    assert "loss=wgan,penalty=gp,gamma=20.0" in capsys.readouterr().out
    assert run(["show", "FID"]) == 2
    assert "--metric frechet --features inception" in capsys.readouterr().err
    assert run(["show", "fidd"]) == 2
    assert "Did you mean 'fid'?" in capsys.readouterr().err
    assert run(["list", "metricc"]) == 2
    assert "Did you mean 'metric'?" in capsys.readouterr().err
