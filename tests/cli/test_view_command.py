"""``gantlet view``: the page as a file, the table as text and JSON, two runs, and the server."""

import html
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from gantlet.cli.main import run
from gantlet.run.store import Run, hold
from gantlet.view.page import View
from gantlet.view.server import Server
from run_folders import change, make_run, numbers, outcome, serving


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs" / "a")
    make_run(tmp_path / "runs" / "deep" / "b c", rows=numbers(shift=0.1))
    make_run(tmp_path / "runs" / "half", done=1, report=False, ended=None)
    return tmp_path / "runs"


# ----------------------------------------------------------------------------
# Files and tables.
# ----------------------------------------------------------------------------


def test_the_page_is_written_into_the_folder(runs, capsys):
    assert run(["view"]) == 0
    out = capsys.readouterr().out
    assert "3 runs in runs: 2 finished, 1 stopped." in out
    assert "Page: runs/index.html" in out
    page = (runs / "index.html").read_text()
    assert "compare gan and flow on digits, 200 GFLOP, 3 seeds" in page
    assert 'href="./deep/b%20c/report.html"' in page
    assert 'http-equiv="refresh"' not in page
    assert run(["view", "runs"]) == 0, "its own page is replaced"


def test_the_table_as_json(runs, capsys):
    assert run(["view", "runs", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["command"] == "view"
    assert told["question"] == {"folder": "runs"}
    by_name = {r["run"]: r for r in told["runs"]}
    assert by_name["a"]["state"] == "finished"
    assert by_name["a"]["report"] == "runs/a/report.html"
    assert (by_name["a"]["seconds"], by_name["a"]["cpu"], by_name["a"]["flops"]) == (100, 60, 2e9)
    half = by_name["half"]
    assert (half["state"], half["done"], half["total"], half["report"]) == ("stopped", 1, 2, None)
    assert not (runs / "index.html").exists()


def test_the_table_as_text(runs, capsys):
    assert run(["view", "runs", "--format", "text"]) == 0
    out = capsys.readouterr().out
    assert "3 runs in runs: 2 finished, 1 stopped." in out
    assert re.search(r"half .*stopped", out)


def test_a_table_in_a_file(runs, tmp_path):
    assert run(["view", "runs", "--format", "json", "--out", "table.json"]) == 0
    assert len(json.loads((tmp_path / "table.json").read_text())["runs"]) == 3


def test_two_runs_in_a_terminal_as_json_and_as_a_page(runs, tmp_path, capsys):
    two = ["--compare", "runs/a", "runs/deep/b c"]
    assert run(["view", "runs", *two]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "4 numbers are in both: the intervals of 3 overlap, of 0 they do not; 1 have no" in out
    assert "number by number, without a test" in out
    assert run(["view", "runs", *two, "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [p["intervals"] for p in told["pairs"]] == ["overlap"] * 3 + ["no interval"]
    assert told["pairs"][0]["difference"] == pytest.approx(0.1)
    assert run(["view", "runs", *two, "--out", "two.html"]) == 0
    assert "Numbers that both have" in (tmp_path / "two.html").read_text()


def test_a_page_that_is_followed_is_written_until_nothing_runs(runs, capsys, monkeypatch):
    held = hold(runs / "half")
    pages = []

    def sleep(_):
        pages.append((runs / "index.html").read_text())
        held.release()

    monkeypatch.setattr("time.sleep", sleep)
    assert run(["view", "runs", "--follow"]) == 0
    assert 'data-live="file"' in pages[0]
    assert 'http-equiv="refresh"' in pages[0]
    assert 'data-live=""' in (runs / "index.html").read_text()
    assert capsys.readouterr().out.splitlines()[-1] == "3 runs in runs: 2 finished, 1 stopped."


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["none"], "none does not exist. Give a folder that holds run folders."),
        (["runs/a/run.json"], "runs/a/run.json is a file. Give a folder"),
        (["runs", "--out", "x.txt"], "--out must be a file that ends in .html. Got x.txt."),
        (["runs", "--compare", "runs/a", "runs/x"], "Unknown run 'runs/x'."),
        (["runs", "--compare", "runs/a", "a"], "a would be compared with itself."),
        (["runs", "--serve", "--out", "x.html"], "--serve and --out do not go together."),
        (["runs", "--serve", "--format", "json"], "--serve and --format do not go together."),
        (["runs", "--serve", "99999"], "A port is a number from 0 to 65535. Got 99999."),
        (["runs", "--serve", "x"], 'unable to convert "x" into int'),
        (["runs", "--format", "pdf"], "pdf"),
        (["runs", "--format", "text", "--follow"], "--format text and --follow do not go"),
    ],
)
def test_mistakes_are_one_line(runs, capsys, arguments, line):
    assert run(["view", *arguments]) == 2
    err = capsys.readouterr().err
    assert line in err
    assert err.count("\n") == 1
    assert not (runs / "index.html").exists()


def test_a_port_that_is_taken_is_one_line(runs, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(["view", "runs", "--serve", str(port)]) == 2
    err = capsys.readouterr().err
    assert f"Port {port} is taken. Give another, as --serve {port + 1}" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_server_is_ended_with_a_sentence(runs, number):
    process = subprocess.Popen(
        [sys.executable, "-m", "gantlet.cli", "view", "runs", "--serve", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        # What is started in the background ignores Ctrl-C, and so would this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    try:
        process.stdout.readline()
        url = re.search(r"http://127\.0\.0\.1:(\d+)/", process.stdout.readline())
        with closing(http.client.HTTPConnection("127.0.0.1", int(url[1]), timeout=30)) as asked:
            asked.request("GET", "/")
            assert asked.getresponse().status == 200
            process.send_signal(number)
            out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert out == "\nStopped serving runs.\n"
    assert (err, process.returncode) == ("", 0)


# ----------------------------------------------------------------------------
# The server: what it answers, and what it does not.
# ----------------------------------------------------------------------------


@pytest.fixture
def port(runs):
    with serving(runs) as server:
        yield server.server_port


def ask(port, target, *, method="GET", host=None, headers=()):
    """Sends a request as it is written, without tidying the target, and returns the answer."""
    lines = [f"{method} {target} HTTP/1.1", "Connection: close", *headers]
    lines += [] if host == "" else [f"Host: {host or f'127.0.0.1:{port}'}"]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        answer = http.client.HTTPResponse(connection, method=method)
        answer.begin()
        return answer.status, answer.read().decode(), answer.headers


def test_the_page_its_parts_and_reports_are_served(port, runs):
    status, page, headers = ask(port, "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert 'href="report/deep/b%20c"' in page
    assert ask(port, "/report/deep/b%20c")[1] == (runs / "deep/b c/report.html").read_text()
    found = json.loads(ask(port, "/rows")[1])
    assert found["rows"].count("<tr") == 3
    assert "2</b> finished" in found["glance"]
    again = json.loads(ask(port, f"/rows?since={found['stamp']}")[1])
    assert "rows" not in again
    assert again["stamp"] == found["stamp"]
    told = json.loads(ask(port, "/numbers/a")[1])
    assert len(told["rows"]) == 4
    assert told["settings"]["models 1: latent"] == "32"


def test_a_run_that_is_the_folder_itself_is_served(tmp_path):
    make_run(tmp_path)
    with serving(tmp_path) as server:
        port = server.server_port
        assert 'href="report/"' in ask(port, "/")[1]
        assert ask(port, "/report/")[1] == (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    "target",
    [
        "/report/../secret",
        "/report/a/../../secret",
        "/report/%2e%2e/secret",
        "/report/%2e%2e%2fsecret",
        "/report/..%2fsecret",
        "/report/%252e%252e/secret",
        "/report/..\\secret",
        "/report//{secret}",
        "/report/{secret}",
        "/report/%2f{secret}",
        "/report/a/report.html",
        "/report/a/run.json",
        "/report/a%00",
        "/report/a/.",
        "/report/./a",
        "/report/link",
        "/report/inner",
        "/report/none",
        "/numbers/../secret",
        "/numbers/link",
        "/a/report.html",
        "/index.html",
        "/../secret/report.html",
        "//etc/passwd",
        "/%2e%2e/secret/report.html",
        "report/a",
        "http://127.0.0.1/report/a",
        "file:///etc/passwd",
    ],
)
def test_no_path_escapes_the_folder(tmp_path, target):
    runs = tmp_path / "runs"
    make_run(runs / "a", claim="The one in the list.")
    make_run(tmp_path / "secret", claim="The secret one.")
    (runs / "link").symlink_to(tmp_path / "secret")
    make_run(runs / "inner")
    (runs / "inner" / "report.html").unlink()
    (runs / "inner" / "report.html").symlink_to(tmp_path / "secret" / "report.html")
    with serving(runs) as server:
        port = server.server_port
        wanted = target.format(secret=str(tmp_path / "secret").lstrip("/"))
        status, text, _ = ask(port, wanted)
    assert status in (400, 403, 404)
    assert "secret" not in text.replace(target, "")
    assert "root:" not in text


def test_a_folder_that_becomes_a_link_leads_nowhere(runs, tmp_path):
    make_run(tmp_path / "secret", claim="The secret one.")
    with serving(runs) as server:
        port = server.server_port
        assert ask(port, "/report/a")[0] == 200
        (runs / "a").rename(tmp_path / "was")
        (runs / "a").symlink_to(tmp_path / "secret")
        status, text, _ = ask(port, "/report/a")
    assert status == 404
    assert "secret" not in text


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil", "",
             "127.0.0.2", "[::2]", "localhost:80@evil", "127.0.0.1:x", "0.0.0.0", "localhost\t.x"]
)  # fmt: skip
@pytest.mark.parametrize("target", ["/", "/rows", "/report/a", "/numbers/a"])
def test_a_name_that_others_can_point_here_is_refused(port, host, target):
    status, text, _ = ask(port, target, host=host)
    assert status in (400, 403)
    assert "digits" not in text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1", "[::1]:8765"])
def test_names_of_this_machine_are_answered_behind_any_port(port, host):
    assert ask(port, "/", host=host)[0] == 200


def test_two_names_are_refused(port):
    assert ask(port, "/", headers=["Host: evil.example"])[0] == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
def test_nothing_but_get_is_answered(port, method):
    status, text, headers = ask(port, "/", method=method)
    assert (status, headers["Allow"]) == (405, "GET")
    assert "digits" not in text
    assert ask(port, "/", method="BREW")[0] == 501


def test_it_listens_on_the_loopback_address_alone(runs):
    with Server(View(runs), 0) as server:
        assert server.server_address[0] == "127.0.0.1"


def test_answers_cannot_be_framed_sniffed_kept_or_read_by_others(port):
    for target in ("/", "/rows", "/report/a", "/numbers/a", "/none"):
        headers = ask(port, target)[2]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in headers
        assert "Python" not in headers["Server"]
    # A report may be of others: it runs in an origin of its own and reaches nothing.
    policy = ask(port, "/report/a")[2]["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-scripts")
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in policy


def test_the_server_sees_what_changes(runs, port, monkeypatch):
    first = json.loads(ask(port, "/rows")[1])
    held = hold(runs / "half")
    clock = time.monotonic
    monkeypatch.setattr("time.monotonic", lambda: clock() + 60)
    second = json.loads(ask(port, f"/rows?since={first['stamp']}")[1])
    assert "running" in second["rows"]
    found = outcome(1)
    Run(runs / "half").record(found)
    Run(runs / "half").log("finished", trial=found.trial.key, error=None)
    monkeypatch.setattr("time.monotonic", lambda: clock() + 120)
    third = json.loads(ask(port, "/rows")[1])
    assert "2 of 2" in third["rows"]
    held.release()


def test_a_folder_that_is_gone_is_said(runs, port, monkeypatch):
    runs.rename(runs.with_name("moved"))
    clock = time.monotonic
    monkeypatch.setattr("time.monotonic", lambda: clock() + 60)
    status, text, _ = ask(port, "/rows")
    assert status == 503
    assert "does not exist" in text


def test_numbers_of_a_damaged_report_are_not_served(runs, port):
    change(runs / "a" / "report.json", '"value": 1.0', '"value": 2.0')
    status, text, _ = ask(port, "/numbers/a")
    assert status == 409
    assert "checksum mismatch" in text


def test_the_page_asks_nobody_else(port):
    page = html.unescape(ask(port, "/")[1])
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", page)
    assert "default-src 'none'" in page
    assert "connect-src 'self'" in page
    assert str(Path.home()) not in page
