"""The page of all runs below a folder, and the same as a table for terminals and programs."""

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from os.path import relpath
from pathlib import Path
from typing import Any, final
from urllib.parse import quote

from gantlet.core.errors import UserError, unknown
from gantlet.report import format as fmt
from gantlet.report.blocks import Caveat, Cell, Column, Report, Table, Verdict
from gantlet.report.format import Markup
from gantlet.report.html import MOST_BYTES, as_fragment, asset, pages, script_of
from gantlet.run.store import write_bytes
from gantlet.view.contrast import NO_TEST, compact, contrast, numbers_of
from gantlet.view.record import STATES, ForeignError, Reader, Record
from gantlet.view.scan import first_of, relative, remarks, search

GENERATOR = "gantlet view"
"""By which a page that this command wrote is recognized, before it is replaced."""

MOST_NUMBERS = 2_500_000
"""Bytes of numbers that a page holds at most, those of the newest runs first."""

_STATES = """Running: a process holds the lock of the folder. Finished: the report is there.
Failed: it ended with an error, or trials failed. Stopped: no process holds the lock, and the
report or trials are missing. Damaged: a file is truncated or was changed."""
_PROGRESS = """Trials done, of how many where the run recorded it; a watched training counts
steps."""
_CPU = "CPU time of all sessions and their workers; of earlier versions, of training alone."

# Name of each column, its class, and what it means.
_COLUMNS = (
    ("question", "", "Command and data; leads to the report. Below it: the folder."),
    ("state", "", " ".join(_STATES.split())),
    ("progress", "n", " ".join(_PROGRESS.split())),
    ("headline", "", "First sentence of the report."),
    ("started", "n", "First start, UTC."),
    ("time", "n", "Wall time of all sessions."),
    ("CPU", "n", _CPU),
    ("FLOPs", "n", "Operations of training, where they were metered."),
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class NumberView:
    """A number in a row of the page.

    Attributes:
        label: Name of its column.
        text: As it is shown.
        sort: What it is sorted by, or None.
        small: A second line, or empty.
        help: What it leaves out, or empty.
    """

    label: str
    text: str
    sort: float | None
    small: str = ""
    help: str = ""


@final
class RowView:
    """A row of the page.

    Args:
        record: The run.
        href: Where its report is, or None.
        now: Seconds since 1970.
    """

    def __init__(self, record: Record, href: str | None, now: float) -> None:
        self.name, self.question, self.href = record.name, record.question, href
        self.state, self.headline = record.state, record.headline
        self.why = (
            "" if record.state in ("running", "finished") and not record.failed else record.why
        )
        self.done, self.total = record.done, record.total
        self.progress = progress_of(record)
        self.is_unknown = self.progress == fmt.MISSING
        self.bar = record.state == "running" and bool(record.total)
        self.share = record.done / record.total if record.total else None
        seconds = record.elapsed(now)
        self.numbers = [
            _started(record.started),
            NumberView(label="Time", text=_amount(seconds, "s"), sort=seconds),
            NumberView(
                label="CPU",
                text=_amount(record.cpu, "s"),
                sort=record.cpu,
                small=record.scope if record.cpu is not None else "",
            ),
            NumberView(label="FLOPs", text=_amount(record.flops, "FLOP"), sort=record.flops),
        ]


def progress_of(record: Record) -> str:
    """Returns the progress of a run in words: "3 of 9", "3 of ?", "step 1,200"."""
    if record.unit == "steps":
        return f"step {record.done:,}"
    if record.total is None and (record.done or record.state == "running"):
        return f"{record.done:,} of ?"
    if not record.total:
        return fmt.MISSING
    return f"{record.done:,} of {record.total:,}"


def _amount(value: float | None, unit: str) -> str:
    return fmt.MISSING if value is None else fmt.text(value, unit)


def _started(moment: str) -> NumberView:
    try:
        found = datetime.fromisoformat(moment).astimezone(UTC)
    except ValueError:
        return NumberView(label="Started", text=fmt.MISSING, sort=None)
    return NumberView(
        label="Started",
        text=f"{found:%Y-%m-%d}",
        small=f"{found:%H:%M:%S}",
        sort=found.timestamp(),
    )


# ----------------------------------------------------------------------------
# All runs below a folder.
# ----------------------------------------------------------------------------

_FOREIGN = "folders hold files of other programs"

Link = Callable[[Record], str | None]
"""Returns where the report of a run is found from the page, or None where there is none."""


@final
class View:
    """All runs below a folder.

    Args:
        root: The folder.
        check: Whether the checksums of reports and outcomes are compared too.

    Attributes:
        root: The folder.
        runs: Its runs, the newest first.
        remarks: A sentence on each kind of folder that is not listed.
        now: When the folder was looked at, in seconds since 1970.
    """

    def __init__(self, root: Path, *, check: bool = False) -> None:
        self.root = root
        self._reader = Reader(root, check=check)
        self.runs: Sequence[Record] = ()
        self.remarks: Sequence[str] = ()
        self.now = 0.0
        self.renew()

    def renew(self) -> None:
        """Looks at the folder again; runs that did not change are not read again.

        Raises:
            UserError: If the folder is gone or cannot be read.
        """
        found, records, foreign = search(self.root), list[Record](), list[str]()
        for folder in found.folders:
            try:
                records.append(self._reader.read(folder))
            except ForeignError as error:
                foreign.append(f"{relative(folder, self.root)}: {str(error).rstrip('.')}.")
        self._reader.forget(found.folders)
        self.runs = sorted(records, key=lambda r: (r.started, r.name), reverse=True)
        self.remarks = [*remarks(found, self.root), *first_of(foreign, _FOREIGN)]
        self.now = time.time()

    @property
    def counts(self) -> list[tuple[str, int]]:
        """The states that occur, and how many runs are in each."""
        counts = Counter(r.state for r in self.runs)
        return [(state, counts[state]) for state in STATES if counts[state]]

    @property
    def is_running(self) -> bool:
        """Whether any run goes on."""
        return any(r.state == "running" for r in self.runs)

    @property
    def claim(self) -> str:
        """How many runs there are, and in which states."""
        told = ", ".join(f"{n:,} {state}" for state, n in self.counts)
        n = len(self.runs)
        return f"{n:,} run{'s' * (n != 1)} in {self.root}{': ' * bool(told)}{told}."

    def find(self, name: str | Path) -> Record:
        """Returns a run by its path, below the folder or as it is.

        Raises:
            UserError: If there is no such run.
        """
        known = {record.name: record for record in self.runs}
        for path in (Path(name), self.root / name):
            inside = relpath(path.resolve(), self.root.resolve())
            if inside in known:
                return known[inside]
        if str(name) in known:
            return known[str(name)]
        raise unknown("run", str(name), known)

    def compare(self, a: str | Path, b: str | Path) -> Report:
        """Returns two runs beside each other: settings that differ, and results, without a test.

        Args:
            a: Path of the first run.
            b: Path of the second run.

        Raises:
            UserError: If there is no such run, or its report is damaged.
        """
        return contrast(self.find(a), self.find(b), self.root).report()

    # ------------------------------------------------------------------------
    # For terminals and programs.
    # ------------------------------------------------------------------------

    def report(self) -> Report:
        """Returns the table as a report."""
        columns = [Column(name=name, help=text) for name, _, text in _COLUMNS]
        return Report(
            title=f"Runs in {self.root}",
            command="view",
            question={"folder": str(self.root)},
            verdicts=[Verdict(claim=self.claim)],
            caveats=[Caveat(text=text) for text in self.remarks],
            blocks=[
                Table(
                    title="Runs",
                    columns=[Column(name="folder"), *columns],
                    rows=[self._cells(record) for record in self.runs],
                )
            ]
            if self.runs
            else [],
        )

    def _cells(self, record: Record) -> list[Cell]:
        row = RowView(record, None, self.now)
        started = row.numbers[0]
        texts = [record.name, record.question, record.state, row.progress, record.headline]
        return [
            *texts,
            f"{started.text} {started.small}".strip(),
            *(n.text for n in row.numbers[1:]),
        ]

    def as_json(self) -> dict[str, Any]:
        """Returns the table as plain data, numbers in SI units; None where nothing is known."""
        return {
            "command": "view",
            "question": {"folder": str(self.root)},
            "runs": [self._plain(record) for record in self.runs],
            "caveats": list(self.remarks),
        }

    def _plain(self, record: Record) -> dict[str, Any]:
        found = {k: v for k, v in asdict(record).items() if k not in ("page", "since", "name")}
        page = self.root / record.name / "report.html"
        more = {"seconds": record.elapsed(self.now), "report": str(page) if record.page else None}
        return {"run": record.name, **found, **more}

    # ------------------------------------------------------------------------
    # The page.
    # ------------------------------------------------------------------------

    def html(self, link: Link, *, live: str = "") -> str:
        """Returns the page.

        Args:
            link: Where the report of a run is.
            live: "serve" for a page that asks its server for news, "file" for one that is written
                anew while runs go on, or empty.
        """
        script, digest = script_of("sort.js", "view.js")
        numbers = "{}" if live == "serve" else self._numbers()
        shown = self._shown(link)
        return pages().get_template("view.html").render(
            **shown,
            title=f"Runs in {self.root.resolve().name or self.root}",
            generator=GENERATOR,
            live=live,
            connect="'self'" if live == "serve" else "'none'",
            css=Markup(asset("page.css") + asset("view.css")),
            script=script,
            digest=digest,
            states=STATES,
            columns=_COLUMNS,
            key=[(name, text) for name, _, text in _COLUMNS],
            no_test=NO_TEST,
            numbers=in_page(numbers),
        )  # fmt: skip

    def part(self, link: Link) -> dict[str, str]:
        """Returns what changes while runs go on, as HTML."""
        shown, macros = self._shown(link), pages().get_template("view_rows.html").module
        made: Any = macros
        return {
            "glance": str(made.glance(shown["counts"], shown["asof"])),
            "rows": str(made.rows(shown["rows"])),
            "remarks": str(made.remarks(shown["remarks"])),
        }

    def _shown(self, link: Link) -> dict[str, Any]:
        moment = datetime.fromtimestamp(self.now, UTC)
        return {
            "counts": self.counts,
            "asof": f"{moment:%Y-%m-%d %H:%M:%S} UTC",
            "rows": [RowView(record, link(record), self.now) for record in self.runs],
            "remarks": self.remarks,
        }

    def numbers(self, record: Record, *, check: bool = True) -> dict[str, Any]:
        """Returns the settings and the numbers of a run, as a page needs them to compare it.

        Raises:
            DamagedError: If its report is damaged.
        """
        found = compact(numbers_of(self.root / record.name, check=check))
        return {"settings": dict(record.settings), **found}

    def _numbers(self) -> str:
        """Returns the numbers of as many runs as fit, the newest first, as JSON."""
        found, room = list[str](), MOST_NUMBERS
        for record in self.runs:
            try:
                numbers = self.numbers(record, check=False)
            except (UserError, OSError):
                continue
            text = json.dumps(numbers, separators=(",", ":"))
            room -= len(text)
            if room < 0:
                break
            found.append(f"{json.dumps(record.name)}:{text}")
        return f"{{{','.join(found)}}}"

    def write(self, out: str | Path | None = None, *, live: bool = False) -> Path:
        """Writes the page to a file and returns its path.

        Args:
            out: The file; ``index.html`` in the folder by default.
            live: Whether it will be written again while runs go on.

        Raises:
            UserError: If another file is there, or the page is too large.
        """
        file = self.root / "index.html" if out is None else Path(out)
        check_is_ours(file)
        page = self.html(_from(file, self.root), live="file" if live else "")
        if len(page.encode()) > MOST_BYTES:
            raise UserError(
                f"The page of {len(self.runs):,} runs would have {fmt.text(len(page), 'B')}. Give "
                "a folder further down, or use --serve."
            )
        write_bytes(file, page.encode())
        return file

    def _repr_html_(self) -> str:
        """Returns the table without style, for a notebook."""
        return as_fragment(self.report())


def in_page(text: str) -> Markup:
    """Returns JSON for a script element, which no text inside can end."""
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def check_is_ours(file: Path) -> None:
    """Checks that a page may be written.

    Raises:
        UserError: If another file is there, or its folder is not.
    """
    if file.is_dir() or not file.suffix == ".html":
        raise UserError(f"--out must be a file that ends in .html. Got {file}.")
    if not file.parent.is_dir():
        raise UserError(f"{file.parent} does not exist. Make it, or give another --out.")
    if file.exists() and f'content="{GENERATOR}"' not in _beginning(file):
        raise UserError(
            f"{file} was not written by gantlet view, and is kept. Give another --out."
        )


def _beginning(file: Path) -> str:
    with file.open("rb") as opened:
        return opened.read(2000).decode("utf-8", "replace")


def _from(file: Path, root: Path) -> Link:
    """Returns the links of a page that is a file: relative, so that both can be moved together."""
    base = relpath(root.resolve(), file.parent.resolve())

    def link(record: Record) -> str | None:
        if not record.page:
            return None
        # A leading "./" keeps a name with a colon from being read as a scheme.
        path = Path(base, record.name, "report.html").as_posix()
        return quote(path if path.startswith("..") else f"./{path}", errors="surrogateescape")

    return link


def view(
    folder: str | Path = "runs", *, out: str | Path | None = None, check: bool = False
) -> View:
    """Returns all runs below a folder; see ``gantlet view``.

    Args:
        folder: The folder.
        out: A page that is written, .html; None writes none.
        check: Whether the checksums of reports and outcomes are compared too.

    Raises:
        UserError: If the folder cannot be read, or the page cannot be written.

    Example:
        >>> import gantlet, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     len(gantlet.view(folder).runs)
        0
    """
    found = View(Path(folder), check=check)
    if out is not None:
        found.write(out)
    return found
