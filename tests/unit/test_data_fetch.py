"""What is fetched, and what is refused; the network is this machine's own."""

import errno
import gzip
import hashlib
import io
import shutil
import tarfile
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from gantlet.cli import tools as commands
from gantlet.core.errors import UserError
from gantlet.core.rng import cache_home
from gantlet.core.spec import datasets
from gantlet.data import catalogue
from gantlet.data import catalogue as fetching
from gantlet.data.catalogue import Entry, File, download, fetch


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


class _Short(BaseHTTPRequestHandler):
    """Promises a thousand bytes, sends three, and hangs up."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"abc")

    def log_message(self, *args):
        pass


def _serve(handler):
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    return server, thread


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    server, thread = _serve(partial(_Quiet, directory=str(folder)))
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def short():
    server, thread = _serve(_Short)
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def _file(name, raw):
    return File(name, len(raw), hashlib.sha256(raw).hexdigest())


def _put(site, name, raw):
    (site[0] / name).write_bytes(raw)
    return _file(name, raw)


def _entry(*files, **changes):
    settings = {"name": "toy", "space": "1x1x1", "samples": "1 + 1", "licence": "MIT"}
    settings |= {"page": "http://here", "needs": ("a.bin",), "url": None} | changes
    return Entry(**settings, files=files)


def _archive(**members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, raw in members.items():
            info = tarfile.TarInfo(name.replace("__", "/").replace("_", "."))
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))
    return out.getvalue()


def _nothing(n):
    pass


def test_a_file_is_brought_whole(site, tmp_path):
    raw = bytes(range(256)) * 9000
    seen = []
    path = download(
        site[1], _put(site, "a.bin", raw), tmp_path / "new" / "er", progress=seen.append
    )
    assert path.read_bytes() == raw
    assert sum(seen) == len(raw)
    assert [p.name for p in path.parent.iterdir()] == ["a.bin"]


def test_a_file_that_is_there_is_replaced_only_by_the_right_one(site, tmp_path):
    good = _put(site, "a.bin", b"good")
    (tmp_path / "a.bin").write_bytes(b"old")
    (site[0] / "a.bin").write_bytes(b"evil")
    with pytest.raises(UserError, match="not the published file"):
        download(site[1], good, tmp_path, progress=_nothing)
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    (site[0] / "a.bin").write_bytes(b"good")
    download(site[1], good, tmp_path, progress=_nothing)
    assert (tmp_path / "a.bin").read_bytes() == b"good"


@pytest.mark.parametrize("raw", [b"goot", b"goo", b"good and more", b""])
def test_a_wrong_file_is_deleted(site, tmp_path, raw):
    good = _file("a.bin", b"good")
    (site[0] / "a.bin").write_bytes(raw)
    with pytest.raises(UserError) as caught:
        download(site[1], good, tmp_path / "new", progress=_nothing)
    assert f"expected 4 bytes with SHA-256 {good.sha256}" in str(caught.value)
    assert "checksum mismatch" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_a_server_that_sends_too_much_is_cut_off(site, tmp_path):
    (site[0] / "a.bin").write_bytes(bytes(10 * 2**20))
    seen = []
    with pytest.raises(UserError, match="Got more"):
        download(site[1], _file("a.bin", b"good"), tmp_path / "new", progress=seen.append)
    assert sum(seen) <= 2**20


def test_a_broken_connection(short, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "DOWNLOAD_RETRIES", 1)
    seen = []
    with pytest.raises(UserError, match="the connection broke 2 times") as caught:
        download(short, _file("a.bin", bytes(1000)), tmp_path / "new", progress=seen.append)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200
    assert sum(seen) == 0
    assert not (tmp_path / "new").exists()


def test_a_connection_that_breaks_once_is_tried_again(tmp_path):
    raw, tries = bytes(1000), []

    class _Once(_Short):
        def do_GET(self):
            tries.append(self.headers["Accept-Encoding"])
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(raw if len(tries) > 1 else raw[:3])

    server, thread = _serve(_Once)
    seen = []
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        path = download(url, _file("a.bin", raw), tmp_path, progress=seen.append)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert path.read_bytes() == raw
    assert tries == ["identity"] * 2
    assert sum(seen) == 1000


def test_a_packed_file_stays_packed_whatever_the_server_calls_it(tmp_path):
    raw = gzip.compress(b"data")

    class _Encoded(_Short):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Encoding", "x-gzip")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

    server, thread = _serve(_Encoded)
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        path = download(url, _file("a.gz", raw), tmp_path, progress=_nothing)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert path.read_bytes() == raw


def test_a_file_that_is_there_is_not_fetched_again_and_has_the_usual_rights(site, tmp_path):
    file, seen = _put(site, "a.bin", b"good"), []
    path = download(site[1], file, tmp_path, progress=_nothing)
    (tmp_path / "usual").touch()
    assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode
    (site[0] / "a.bin").unlink()
    assert download(site[1], file, tmp_path, progress=seen.append) == path
    assert sum(seen) == 4


def test_a_proxy_of_the_environment_is_used(site, tmp_path, monkeypatch):
    file = _put(site, "a.bin", b"good")
    asked = []

    class _Proxy(_Short):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"good")

    server, thread = _serve(_Proxy)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("no_proxy", "")
    try:
        download("http://nowhere.invalid/", file, tmp_path, progress=_nothing)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        download(site[1], file, tmp_path / "other", progress=_nothing)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert asked == ["http://nowhere.invalid/a.bin"]


def test_no_network_leaves_nothing(site, tmp_path):
    cases = [
        (f"{site[1]}/", "a.bin", "404"),
        ("http://127.0.0.1:1/", "a.bin", "Connection refused"),
        ("http://nowhere.invalid/", "a.bin", "could not be fetched"),
        ("file:///etc/", "passwd", "must begin with http"),
        ("ftp://127.0.0.1/", "a.bin", "must begin with http"),
    ]
    for url, name, words in cases:
        with pytest.raises(UserError, match=words) as caught:
            download(url, _file(name, b"a"), tmp_path / "new", progress=_nothing)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_a_full_disk_is_said_and_leaves_nothing(site, tmp_path, monkeypatch):
    file = _put(site, "a.bin", b"good")

    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "move", full)
    with pytest.raises(UserError, match=r"a\.bin cannot be written: .*No space left"):
        download(site[1], file, tmp_path / "new", progress=_nothing)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_made(site, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        download(site[1], _put(site, "a.bin", b"a"), tmp_path / "file", progress=_nothing)


def test_an_archive_is_unpacked_and_removed(site, tmp_path):
    raw = _archive(inner__a_bin=b"first", inner__more_txt=b"second")
    entry = _entry(_put(site, "a.tar.gz", raw), url=site[1], inner="inner")
    for _ in range(2):  # a second time replaces the first
        fetch(entry, tmp_path / "toy", progress=_nothing)
        assert [p.name for p in (tmp_path / "toy").iterdir()] == ["inner"]
        assert (tmp_path / "toy" / "inner" / "a.bin").read_bytes() == b"first"


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (_archive(inner__b_bin=b"other"), "lacks a.bin"),
        (_archive(other__a_bin=b"other"), "lacks a.bin"),
        (_archive(inner__a_bin=b"x" * 5000)[:60], "cannot be unpacked"),
        (b"no archive", "cannot be unpacked"),
        (_archive(**{"..__escaped": b"x"}), "cannot be unpacked"),
    ],
    # An archive holds the second in which it was made, which must not be in a test's name.
    ids=["no such file", "another folder", "cut short", "no archive", "escapes"],
)
def test_archives_that_cannot_be_used(site, tmp_path, raw, words):
    entry = _entry(_put(site, "a.tar.gz", raw), url=site[1], inner="inner")
    with pytest.raises(UserError, match=words) as caught:
        fetch(entry, tmp_path / "toy", progress=_nothing)
    assert "\n" not in str(caught.value)
    assert [p.name for p in (tmp_path / "toy").iterdir()] == ["a.tar.gz"]
    assert not (tmp_path / "escaped").exists()


def test_a_licensed_set_is_not_fetched(tmp_path):
    for name in ("celeba", "imagenet"):
        with pytest.raises(UserError, match=r"cannot be fetched .*Get it from https://"):
            fetch(catalogue.entry(name), tmp_path, progress=_nothing)


# The catalogue


def test_the_catalogue_has_a_data_set_for_every_entry():
    for entry in catalogue.entries():
        assert entry.name in datasets.names()
        assert entry.licence
        assert entry.page
        assert (entry.url is None) == (not entry.files)
        for file in entry.files:
            assert file.size > 0
            assert len(bytes.fromhex(file.sha256)) == 32


def test_the_home_of_data(tmp_path, monkeypatch):
    monkeypatch.setenv("GANTLET_DATA", str(tmp_path))
    assert catalogue.home() == tmp_path
    monkeypatch.setenv("GANTLET_DATA", "~/x")
    assert catalogue.home() == Path.home() / "x"
    monkeypatch.delenv("GANTLET_DATA")
    assert catalogue.home().name in {"data", "gantlet"}


def test_homes_are_those_of_the_system_but_old_ones_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "__file__", str(tmp_path / "a/b/c/d/e/f.py"))
    for name in ("GANTLET_DATA", "GANTLET_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, folder in (("XDG_DATA_HOME", "data"), ("XDG_CACHE_HOME", "cache")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    for find, own, old in (
        (catalogue.home, "data", ".local/share"),
        (cache_home, "cache", ".cache"),
    ):
        assert find() == tmp_path / own / "gantlet"
        (tmp_path / old / "gantlet").mkdir(parents=True)
        assert find() == tmp_path / old / "gantlet"


# The commands


@pytest.fixture
def toy(site, tmp_path, monkeypatch):
    monkeypatch.setenv("GANTLET_DATA", str(tmp_path / "home"))
    entry = _entry(_put(site, "a.bin", b"good"), url=site[1])
    monkeypatch.setattr(catalogue, "PUBLISHED_SETS", (entry, catalogue.entry("celeba")))
    return tmp_path / "home" / "toy"


def test_fetch_command(toy, capsys):
    with pytest.raises(UserError, match="Run 'gantlet data fetch toy'"):
        commands.data_where("toy")
    commands.data_fetch("toy")
    assert (toy / "a.bin").read_bytes() == b"good"
    assert capsys.readouterr().out == f"toy is in {toy}. License: MIT (http://here).\n"
    commands.data_fetch("toy")
    assert capsys.readouterr().out == f"toy is already downloaded: {toy}\n"
    commands.data_where("toy")
    assert capsys.readouterr().out == f"{toy}\n"
    commands.data_where()
    assert capsys.readouterr().out == f"{toy.parent}\n"


def test_fetch_command_to_a_folder_and_from_elsewhere(toy, site, tmp_path, capsys):
    commands.data_fetch("toy", to=tmp_path / "there", url=site[1])
    assert (tmp_path / "there" / "a.bin").exists()
    assert "toy is in" in capsys.readouterr().out
    with pytest.raises(UserError, match="404"):
        commands.data_fetch("toy", to=tmp_path / "elsewhere", url=f"{site[1]}/nowhere")


def test_list_command(toy, capsys):
    commands.data_list()
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[:3]] == ["name", "toy", "celeba"]
    assert "digits" in out
    assert str(toy.parent) in out
    with pytest.raises(UserError, match=r"Unknown published data set 'toyy'\. Did you mean 'toy'"):
        commands.data_where("toyy")


def test_a_slow_server_is_given_up(monkeypatch, tmp_path):
    release = threading.Event()

    class _Slow(_Short):
        def do_GET(self):
            release.wait(5)

    server, thread = _serve(_Slow)
    monkeypatch.setattr(fetching, "DOWNLOAD_TIMEOUT", 0.1)
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(UserError, match="timed out"):
            download(url, _file("a.bin", b"a"), tmp_path, progress=_nothing)
    finally:
        release.set()
        server.shutdown()
        thread.join()
        server.server_close()
