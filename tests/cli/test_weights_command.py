"""gantlet weights."""

import hashlib
import os
import re
import threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest
import torch

from gantlet.cli.main import run
from gantlet.features import weights
from gantlet.features.weights import PublishedWeights

RAW = b"published weights"
SHA256 = hashlib.sha256(RAW).hexdigest()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    server = HTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def home(tmp_path, monkeypatch, site):
    """A catalogue of one file, a site that serves it, and an empty home."""
    known = PublishedWeights(
        name="toy",
        files=("toy.pth", "pt_toy.pth"),
        url=site[1],
        size=len(RAW),
        sha256=SHA256,
        licence="MIT",
        page="http://here",
    )
    monkeypatch.setattr(weights, "KNOWN_WEIGHTS", (known,))
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("GANTLET_WEIGHTS", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "home"


def told(capsys, *arguments, code=0):
    assert run(["weights", *map(str, arguments)]) == code
    out, err = capsys.readouterr()
    if code:
        assert out == ""
        assert err.count("\n") == 1
    return err if code else out


def test_fetch(home, site, capsys):
    (site[0] / "toy.pth").write_bytes(RAW)
    assert (
        told(capsys, "fetch", "toy")
        == f"toy is in {home / 'toy.pth'}. License: MIT (http://here).\n"
    )
    assert [p.name for p in home.iterdir()] == ["toy.pth"]
    assert told(capsys, "fetch", "toy") == f"toy is already downloaded: {home / 'toy.pth'}\n"
    assert told(capsys, "where", "toy") == f"{home / 'toy.pth'}\n"
    assert told(capsys, "where") == f"{home}\n"


@pytest.mark.parametrize("raw", [RAW[:-1], RAW + b"!", RAW.upper(), None])
def test_a_broken_fetch_leaves_nothing(home, site, capsys, raw):
    if raw is not None:
        (site[0] / "toy.pth").write_bytes(raw)
    line = told(capsys, "fetch", "toy", code=2)
    assert ("is not the published file" if raw else "404") in line
    assert not home.exists() or not list(home.iterdir())


def test_fetch_from_another_address(home, site, capsys):
    (site[0] / "mirror").mkdir()
    (site[0] / "mirror" / "toy.pth").write_bytes(RAW)
    told(capsys, "fetch", "toy", "--url", f"{site[1]}mirror")
    assert (home / "toy.pth").read_bytes() == RAW


def test_a_file_of_the_right_length_and_wrong_content_is_told(home, capsys):
    home.mkdir()
    (home / "toy.pth").write_bytes(RAW.upper())
    assert "is not the published file" in told(capsys, "fetch", "toy", code=2)


def test_add_a_published_file_under_any_name(home, tmp_path, capsys):
    (tmp_path / "some.bin").write_bytes(RAW)
    line = told(capsys, "add", tmp_path / "some.bin")
    assert line == f"toy is in {home / 'toy.pth'}. License: MIT (http://here).\n"
    assert (tmp_path / "some.bin").exists()
    assert "yes" in told(capsys, "list")
    told(capsys, "add", home / "toy.pth")  # it is there already
    assert [p.name for p in home.iterdir()] == ["toy.pth"]


def test_add_a_file_of_ones_own(home, tmp_path, capsys):
    torch.save({"a": torch.zeros(2)}, tmp_path / "own.pth")
    sha256 = hashlib.sha256((tmp_path / "own.pth").read_bytes()).hexdigest()
    line = told(capsys, "add", tmp_path / "own.pth")
    assert "own.pth is not a published file, so its origin is not verified" in line
    assert f"{sha256}. Use it with weights=own.pth." in line
    assert (home / "own.pth.sha256").read_text() == f"{sha256}  own.pth\n"
    assert told(capsys, "where", "own.pth") == f"{home / 'own.pth'}\n"
    assert "your own" in told(capsys, "list")
    (home / "own.pth").write_bytes(b"changed")
    assert "has changed since it was added" in told(capsys, "where", "own.pth", code=2)


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def test_what_is_not_added(home, tmp_path, capsys):
    (tmp_path / "text.pth").write_text("a text")
    torch.save({"a": torch.zeros(100)}, tmp_path / "half.pth")
    (tmp_path / "half.pth").write_bytes((tmp_path / "half.pth").read_bytes()[:500])
    torch.save({"a": Evil(tmp_path / "ran")}, tmp_path / "evil.pth")
    for name, words in (
        ("text.pth", "is not a complete file of weights"),
        ("half.pth", "is not a complete file of weights"),
        ("evil.pth", "contains code"),
        ("absent.pth", "cannot be read"),
        ("site", "cannot be read: Is a directory"),
    ):
        assert words in told(capsys, "add", tmp_path / name, code=2), name
    assert not home.exists()
    assert not (tmp_path / "ran").exists()


def test_mistakes(home, capsys):
    for command in ("fetch", "where"):
        known = "Did you mean 'toy'" if command == "fetch" else "There are no weights 'toyy'"
        assert known in told(capsys, command, "toyy", code=2)
    assert "gantlet weights fetch toy" in told(capsys, "where", "toy", code=2)


def test_list(home, capsys):
    lines = told(capsys, "list").splitlines()
    assert lines[0].split() == ["name", "MB", "downloaded", "license"]
    assert lines[1].split() == ["toy", "0", "no", "MIT"]
    assert str(home) in lines[-1]


def test_the_page_lists_the_catalogue():
    page = (Path(__file__).parents[2] / "docs/commands/weights.md").read_text()
    told = {row[0]: row for row in re.findall(r"\| `(\S+)` \| (.*?) \| (\S+) \| (\S+) \|", page)}
    known = {k.name: k for k in weights.catalogue()}
    assert told.keys() == known.keys()
    for name, (_, files, size, terms) in told.items():
        assert known[name].files[0] in files
        assert size == f"{known[name].size / 1e6:,.0f}"
        assert terms == known[name].licence
