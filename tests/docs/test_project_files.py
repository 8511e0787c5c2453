"""Citation, issue templates, hooks and changelog are well formed and agree with the code."""

import re
import shutil
import sys
from datetime import date
from pathlib import Path

import pytest

import gantlet
from gantlet.core.spec import metrics, solvers

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parents[2]
TEMPLATES = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
VERSIONS = re.findall(r"(?m)^## (\d+\.\d+\.\d+) \(([\w-]+)\)$", CHANGELOG)


def read(name):
    return yaml.safe_load((ROOT / name).read_text())


def test_the_changelog_has_one_open_version_on_top():
    (newest, state), *closed = VERSIONS
    assert state == "unreleased"
    assert gantlet.__version__ == f"{newest}.dev0"
    assert closed, "a version has been released"
    assert [day for _, day in closed] == sorted((day for _, day in closed), reverse=True)
    for _, day in closed:
        date.fromisoformat(day)


def test_the_citation_is_that_of_the_last_release():
    told = read("CITATION.cff")
    assert told["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "type"} <= told.keys()
    assert told["authors"] == [{"name": "The Gantlet developers"}]
    assert (str(told["version"]), str(told["date-released"])) == VERSIONS[1]
    assert told["license"] in (ROOT / "pyproject.toml").read_text()
    (article,) = told["references"]
    assert article["doi"] in (ROOT / "README.md").read_text()


def test_issues_ask_for_the_installation_and_the_run():
    forms = {p.stem: yaml.safe_load(p.read_text()) for p in TEMPLATES if p.stem != "config"}
    assert set(forms) == {"bug", "wrong-number", "feature"}
    for form in forms.values():
        assert {"name", "description", "body"} <= form.keys()
        fields = [f["attributes"] for f in form["body"]]
        told = " ".join(f.get("description", "") for f in fields)
        assert "`gantlet doctor --json`" in told
        assert "`run.json`" in told
        ids = [f["id"] for f in form["body"]]
        assert len(ids) == len(set(ids))


def test_hooks_call_tools_of_the_environment_and_fetch_nothing():
    (repo,) = read(".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local"
    for hook in repo["hooks"]:
        assert hook["language"] == "system"
        folder, _, tool = hook["entry"].partition(" ")[0].rpartition("/")
        assert folder == ".venv/bin"
        assert shutil.which(tool, path=str(Path(sys.executable).parent)), tool


def test_every_decision_is_in_the_index_and_has_its_four_parts():
    pages = {p.stem: p.read_text() for p in (ROOT / "docs/decisions").glob("*.md")}
    listed = pages.pop("index").partition("```{toctree}")[2]
    assert set(re.findall(r"(?m)^([\w-]+)$", listed)) == set(pages)
    for name, text in pages.items():
        parts = re.findall(r"(?m)^\*\*([\w ]+)\.\*\*", text)
        told = ["Context", "Decision", "Consequences", "What would change our mind"]
        assert parts == told, name


def test_the_readme_counts_the_components_that_there_are():
    text = (ROOT / "README.md").read_text()
    assert f"`gantlet evaluate`: {len(metrics.names())} metrics" in text
    assert f"| metrics of samples | {len(metrics.names())} |" in text
    assert f"{len(solvers.names())} solvers (`--solver`)" in text
