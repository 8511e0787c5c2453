"""The page with the study's result is made from the committed result, and by the command."""

from pathlib import Path

import pytest

from gantlet.cli.main import run
from gantlet.studies.tradeoffs import Tradeoffs
from gantlet.studies.tradeoffs.plan import SCALES

DOCS = Path(__file__).parents[2] / "docs"
RESULT = DOCS / "results/tradeoffs-small.json"
PAGE = DOCS / "questions/tradeoffs_results.md"


def test_the_result_page_is_what_the_command_makes(tmp_path):
    if not RESULT.exists():
        assert "has not been run" in PAGE.read_text()
        pytest.skip(f"{RESULT} is not there yet: run the study and copy its report.json")
    made = tmp_path / "page.md"
    assert run(["report", str(RESULT), "--format", "markdown", "--out", str(made)]) == 0
    told = "make it again: gantlet report docs/results/tradeoffs-small.json --format markdown"
    assert PAGE.read_text() == made.read_text(), f"{told} --out docs/questions/{PAGE.name}"


def test_the_page_of_the_study_says_how_large_it_is():
    text = " ".join((DOCS / "questions/tradeoffs.md").read_text().split())
    small, full = (len(Tradeoffs(size=size).trials()) for size in ("small", "full"))
    assert f"The small size is {small} trials, the full one {full}" in text
    for scale in SCALES.values():
        told = [f"{b:.0e}".replace("+", "") for b in scale.budgets]
        assert f"{', '.join(told[:-1])} and {told[-1]} FLOPs, {scale.seeds} seeds" in text
        assert f"{scale.plane_steps:,} steps" in text
