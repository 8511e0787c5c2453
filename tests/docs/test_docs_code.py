"""Every Python block that a reader can copy from the documentation runs."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# A block that only shows the shape of something has this comment on the line before it.
SHOWN = "<!-- shown, not run -->\n"
BLOCK = re.compile(r"(?m)^(?P<note><!--[^\n]*-->\n)?```python\n(?P<code>.*?)^```$", re.DOTALL)


def blocks(page):
    """Returns the code of the blocks that are meant to run."""
    return [m["code"] for m in BLOCK.finditer(page.read_text()) if m["note"] != SHOWN]


@pytest.mark.parametrize(
    "page", [p for p in PAGES if blocks(p)], ids=lambda p: str(p.relative_to(ROOT))
)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    with torch.random.fork_rng():  # a reader's own networks may start where they like
        for code in blocks(page):
            exec(compile(code, page.name, "exec"), names)
    assert not re.search(r"\b(nan|inf|None)\b", capsys.readouterr().out), "pages print numbers"


def test_blocks_that_are_only_shown_say_so():
    assert blocks(ROOT / "docs/idea.md") == []
