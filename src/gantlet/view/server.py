"""A server of the page on this machine alone: loopback, GET, only what the page lists."""

import errno
import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import blake2b
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any, final
from urllib.parse import parse_qs, quote, unquote

from typing_extensions import override

from gantlet.core.errors import UserError
from gantlet.view.page import View
from gantlet.view.record import Record

PORT = 8765
"""The port that is used if none is given."""

ADDRESS = "127.0.0.1"

# Names of this machine that no foreign page can make a browser send: against DNS rebinding. Ports
# may differ, as they do behind a tunnel.
_HOST = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?", re.ASCII | re.IGNORECASE)

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_CLOSED = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
# A report may have been written by others: its scripts get no access to this server.
_SANDBOX = (
    "sandbox allow-scripts allow-downloads allow-modals; default-src 'none'; img-src data:; "
    f"style-src 'unsafe-inline'; script-src 'unsafe-inline'; {_CLOSED}"
)

# Seconds between two looks at the folder, at least; and how many times longer than a look takes.
_PAUSE, _REST = 1.0, 20.0


@final
class Answer(Exception):  # noqa: N818  (an answer, not an error)
    """An answer that is not the page: a status and a line.

    Args:
        status: Status of HTTP.
        line: One line for people.
    """

    def __init__(self, status: HTTPStatus, line: str) -> None:
        super().__init__(line)
        self.status = status


@final
class Site:
    """What the server answers.

    Args:
        view: The runs.
    """

    def __init__(self, view: View) -> None:
        self.view = view
        self._lock = Lock()
        self._next = time.monotonic() + _PAUSE
        self._pause = _PAUSE

    def answer(self, target: str) -> tuple[bytes, str, str]:
        """Returns content, type and policy for the target of a request.

        Raises:
            Answer: If there is nothing there.
        """
        path, _, query = target.partition("?")
        routes: dict[str, Callable[[str], tuple[bytes, str, str]]] = {
            "numbers": self._numbers,
            "report": self._report,
        }
        head, _, rest = path.removeprefix("/").partition("/")
        with self._lock:
            self._renew()
            if path == "/":
                page = self.view.html(link, live="serve")
                return page.encode(), "text/html", _CLOSED
            if path == "/rows":
                return self._rows(query)
            if head in routes:
                return routes[head](unquote(rest, errors="surrogateescape"))
        raise Answer(HTTPStatus.NOT_FOUND, "There is nothing here.")

    def _renew(self) -> None:
        """Looks at the folder again, so seldom that it takes a twentieth of a core at most."""
        start = time.monotonic()
        if start < self._next:
            return
        self.view.renew()
        end = time.monotonic()
        self._pause = max(_PAUSE, _REST * (end - start))
        self._next = end + self._pause

    def _rows(self, query: str) -> tuple[bytes, str, str]:
        part: dict[str, Any] = dict(self.view.part(link))
        stamp = blake2b((part["rows"] + part["remarks"]).encode(), digest_size=8).hexdigest()
        if parse_qs(query).get("since") == [stamp]:
            del part["rows"], part["remarks"]
        return _json({**part, "stamp": stamp, "pause": 2 * self._pause})

    def _numbers(self, name: str) -> tuple[bytes, str, str]:
        try:
            return _json(self.view.numbers(self._record(name)))
        except UserError as error:
            raise Answer(HTTPStatus.CONFLICT, str(error)) from error

    def _report(self, name: str) -> tuple[bytes, str, str]:
        record = self._record(name)
        try:
            return read_inside(self.view.root, record.name), "text/html", _SANDBOX
        except OSError as error:
            raise Answer(HTTPStatus.NOT_FOUND, "This run has no page.") from error

    def _record(self, name: str) -> Record:
        """Returns a run that the page lists; all other names lead nowhere.

        Raises:
            Answer: If it lists none of that name.
        """
        wanted = name or "."
        found = next((record for record in self.view.runs if record.name == wanted), None)
        if found is None:
            raise Answer(HTTPStatus.NOT_FOUND, "There is no such run.")
        return found


def _json(value: Mapping[str, Any]) -> tuple[bytes, str, str]:
    return json.dumps(value).encode(), "application/json", _CLOSED


def link(record: Record) -> str | None:
    """Returns where the server has the report of a run."""
    if not record.page:
        return None
    name = "" if record.name == "." else record.name
    return f"report/{quote(name, errors='surrogateescape')}"


def read_inside(root: Path, name: str) -> bytes:
    """Returns the page of a run, if no link leads there.

    Raises:
        OSError: If it is not there, or not a plain file below the root.
    """
    wanted = root.resolve() / name / "report.html"
    if wanted.resolve() != Path(os.path.normpath(wanted)):
        raise OSError(errno.ELOOP, "a link leads there")
    descriptor = os.open(wanted, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


@final
class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    server_version = "gantlet"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        """Answers with the page, a part of it, or a line that says what is wrong."""
        try:
            self._check()
            site = self.server.site  # type: ignore[attr-defined]
            content, kind, policy = site.answer(self.path)
            self._send(HTTPStatus.OK, content, kind, policy)
        except Answer as answer:
            self._say(answer.status, str(answer))
        except UserError as error:
            self._say(HTTPStatus.SERVICE_UNAVAILABLE, str(error))

    def _check(self) -> None:
        """Refuses requests that are not meant for this server.

        Raises:
            Answer: If they are not.
        """
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or _HOST.fullmatch(hosts[0].strip()) is None:
            line = "This server answers to the names 127.0.0.1 and localhost alone."
            raise Answer(HTTPStatus.FORBIDDEN, line)
        if not self.path.startswith("/") or self.path.startswith("//"):
            raise Answer(HTTPStatus.BAD_REQUEST, "A path is needed.")

    def do_POST(self) -> None:
        """Refuses whatever is not a GET."""
        self.close_connection = True
        self._say(HTTPStatus.METHOD_NOT_ALLOWED, "This server answers GET alone.")

    do_HEAD = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_POST  # noqa: N815

    def _say(self, status: HTTPStatus, line: str) -> None:
        self._send(status, f"{line}\n".encode(), "text/plain", _CLOSED)

    def _send(self, status: HTTPStatus, content: bytes, kind: str, policy: str) -> None:
        self.send_response(status)
        headers = {**_HEADERS, "Content-Type": f"{kind}; charset=utf-8"}
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = "GET"
        headers |= {"Content-Security-Policy": policy, "Content-Length": str(len(content))}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            with suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(content)

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Writes no log: the terminal is the user's."""


@final
class Server(ThreadingHTTPServer):
    """The server.

    Args:
        view: The runs.
        port: Port on the loopback address; 0 for any that is free.

    Raises:
        UserError: If the port is taken, or may not be used.
    """

    daemon_threads = True

    def __init__(self, view: View, port: int) -> None:
        self.site = Site(view)
        if not 0 <= port <= 65535:
            raise UserError(f"A port is a number from 0 to 65535. Got {port}.")
        try:
            super().__init__((ADDRESS, port), Handler)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            what = "is taken" if error.errno == errno.EADDRINUSE else "may not be used"
            raise UserError(
                f"Port {port} {what}. Give another, as --serve {max(port, 1024) + 1}, or "
                "--serve 0 for any that is free."
            ) from error

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{ADDRESS}:{self.server_address[1]}/"

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Passes over connections that broke; other errors of a request must not be silent."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)
