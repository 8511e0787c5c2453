"""The table of false lists in the docs is that of the result file."""

import json
from pathlib import Path

from scipy.stats import binomtest

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks/results/false_flaws.json"
PAGE = ROOT / "docs/commands/flaws.md"


def test_the_table_of_false_lists_is_that_of_the_file():
    found = json.loads(RESULT.read_text())
    page = " ".join(PAGE.read_text().split())
    share, low, high = (round(100 * v, 1) for v in found["share"])
    total = f"{found['false']} of {found['runs']} lists are false: {share} % [{low}, {high}]"
    assert total in page
    assert sum(w["runs"] for w in found["worlds"].values()) == found["runs"]
    for name, world in found["worlds"].items():
        assert f"| {name} | {world['false']} of {world['runs']} |" in page


def test_false_lists_are_not_above_the_level():
    """The level is 5 %: all samples together, and no kind significantly above it."""
    found = json.loads(RESULT.read_text())
    share, _, high = found["share"]
    assert share <= 0.05
    assert high <= 0.08
    worlds = found["worlds"].values()
    p = [binomtest(w["false"], w["runs"], 0.05, alternative="greater").pvalue for w in worlds]
    assert min(p) > 0.05 / len(p)
