"""Every command that the documentation prints is one that this version takes."""

import re
import shlex
from pathlib import Path

import pytest
from cyclopts import CycloptsError

from gantlet.cli.main import app
from gantlet.commands.converge.course import resolved
from gantlet.core.spec import datasets, extractors, families, metrics, probes, solvers, studies

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "src/gantlet/cli").glob("*.py")),
]
LINE = re.compile(r"(?m)^\s*(?:\$\(VENV\)/bin/|\.venv/bin/)?gantlet ((?:[^\n\\]|\\\n)+)$")
INLINE = re.compile(r"`+(?:\.venv/bin/)?gantlet ([^`]+)`+")
# Words in capitals stand for something that the reader fills in.
HOLE = re.compile(r"\b[A-Z]{2,}\b|\|")
# The family that CONTRIBUTING.md adds.
OWN = "independent"
READS = {
    "models": families,
    "model": families,
    "families": families,
    "data": datasets,
    "metrics": metrics,
    "probes": probes,
    "features": extractors,
    "solver": solvers,
}


def words(text):
    """Returns the words of a command line, as a shell parts them, up to a redirection."""
    found = shlex.split(text.replace("\\\n", " "), comments=True)
    return found[: found.index(">")] if ">" in found else found


def printed():
    """Yields page and command, of lines in blocks and of whole commands in sentences."""
    for page in PAGES:
        text = page.read_text()
        found = [m[1] for pattern in (LINE, INLINE) for m in pattern.finditer(text)]
        for command in dict.fromkeys(found):
            yield pytest.param(command, id=f"{page.relative_to(ROOT)}: {command}")


@pytest.fixture
def own_files(tmp_path, monkeypatch):
    """The files of the user's own that pages speak of."""
    (tmp_path / "my.py").write_text("def build():\n    raise NotImplementedError\n")
    for name in ("G.pt", "D.pt", "gan.pt"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("own_files")
@pytest.mark.parametrize("command", list(printed()))
def test_a_printed_command_is_understood(command):
    if HOLE.search(command) or len(words(command)) == 1:
        assert words(command)[0] in (*app, "COMMAND"), "no such command"
        return
    try:
        function, bound, _ = app.parse_args(
            words(command), print_error=False, exit_on_error=False, help_on_error=False
        )
    except CycloptsError as error:
        pytest.fail(str(error))
    if function.__name__ == "study":
        studies.load(bound.arguments["name"])
    for name, value in bound.arguments.items():
        if name in READS and function.__name__ not in ("sample", "show") and value != "auto":
            for text in (value,) if isinstance(value, str) else value:
                understood(function.__name__, name, text)


def understood(command, name, text):
    """Resolves what an argument of a command names."""
    if command == "forecast" and (name != "data" or Path(text).suffix):
        return  # names of the experiment, which its table has, or a file of the reader
    if command == "converge" and name == "model" and "@" not in text:
        resolved(text)
    elif text != OWN and "@" not in text:
        READS[name].resolve(text)
