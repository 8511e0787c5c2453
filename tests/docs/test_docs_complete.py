"""The documentation names everything that there is, and nothing that there is not."""

import re
from pathlib import Path

import pytest

from gantlet.cli.main import app
from gantlet.core.spec import datasets, extractors, families, metrics, options, probes, studies

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def rows(text, *heads):
    """Yields the rows of all tables that have these heads, as mappings from head to cell."""
    names = []
    for line in text.splitlines():
        if not line.startswith("|"):
            names = []
            continue
        cells = [c.strip() for c in line.strip("|").split("|")]
        if not names:
            names = cells
        elif not set(line) <= set("|-: ") and set(heads) <= set(names):
            yield dict(zip(names, cells, strict=True))


def codes(cell):
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize("name", families.names())
def test_a_page_of_a_family_lists_its_options(name):
    text = (DOCS / f"families/{name}.md").read_text()
    told = {}
    for row in rows(text, "option", "default"):
        told |= dict.fromkeys(codes(row["option"]), row["default"])
    real = {o.name: o.default for o in options(families.load(name))}
    if not real:
        assert "no options" in text
        return
    assert set(told) == set(real)
    for option, default in told.items():
        plain = default.strip("`")
        if re.fullmatch(r"[\w.+-]+", plain):
            assert same(plain, real[option]), option


def same(told, real):
    """Returns whether two defaults are equal, as numbers where they are numbers."""
    try:
        return float(told) == float(real)
    except ValueError:
        return told == real


def test_every_family_is_in_the_index():
    found = {codes(r["name"])[0] for r in rows((DOCS / "families/index.md").read_text(), "name")}
    assert found == set(families.names())


def test_every_metric_is_in_the_index_with_its_direction():
    found = {
        codes(r["name"])[0]: (r["unit"], r["better"])
        for r in rows((DOCS / "metrics/index.md").read_text(), "name", "unit", "better")
    }
    known = {name: metrics.load(name) for name in metrics.names()}
    assert found == {name: (m.unit, m.better) for name, m in known.items()}


def test_every_data_set_and_extractor_is_described():
    data, seen = (DOCS / "data.md").read_text(), (DOCS / "features.md").read_text()
    assert [n for n in datasets.names() if not re.search(rf"`{n}[:`]", data)] == []
    assert [n for n in extractors.names() if not re.search(rf"`{n}[:`]", seen)] == []


def test_every_probe_has_its_section_and_options():
    sections = re.split(r"(?m)^## ", (DOCS / "probes.md").read_text())[1:]
    by_name = {s.split()[0]: s for s in sections}
    assert set(by_name) == set(probes.names())
    for name, text in by_name.items():
        told = {codes(r["option"])[0]: r["default"] for r in rows(text, "option", "default")}
        real = {o.name: o.default for o in options(probes.load(name))}
        assert told.keys() == real.keys(), name
        assert all(same(told[k], real[k]) for k in told), name


def test_every_command_has_a_page():
    commands = {name for name in app if not name.startswith("-")}
    pages = {p.stem for p in (DOCS / "commands").glob("*.md")} - {"index", "components"}
    assert commands - {"list", "show"} == pages
    assert all(name in (DOCS / "commands/components.md").read_text() for name in ("list", "show"))


def taken(command):
    """Returns the options that a command takes."""
    names = {n for a in app[command].assemble_argument_collection() for n in a.names}
    return {n for n in names if re.match("--(?!no-|empty-)", n)} - {"--n"}


@pytest.mark.parametrize(
    "command", ["compare", "train", "sample", "cost", "study", "report", "export", "doctor"]
)
def test_a_page_of_a_command_names_its_options_and_no_others(command):
    text = (DOCS / f"commands/{command}.md").read_text()
    told = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))
    shared = taken("compare") if "compare.md" in text else set()
    assert taken(command) - shared <= told
    assert told <= taken(command) | shared


def test_every_study_is_the_page_of_a_question():
    assert all((DOCS / f"questions/{name}.md").exists() for name in studies.names())


# Sphinx follows the links below docs.
@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")), ids=lambda p: p.name)
def test_links_to_files_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    inside = [link for link in links if "://" not in link]
    assert [link for link in inside if not (page.parent / link).exists()] == []
