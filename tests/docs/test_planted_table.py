"""The table of planted flaws in the docs is that of the result file."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks/results/planted_flaws.json"
PAGE = ROOT / "docs/commands/flaws.md"


def percent(value):
    share, low, high = (100 * v for v in value)
    return f"{share:.0f} % [{low:.0f}, {high:.0f}]"


def tau(value):
    mean, low, high = value
    return f"{mean:.2f}" if low is None else f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def test_the_table_of_planted_flaws_is_that_of_the_file():
    rows = {
        line.split("|")[1].strip(): line
        for line in PAGE.read_text().splitlines()
        if line.startswith("| ")
    }
    ways = json.loads(RESULT.read_text())["ways"]
    assert {"guided", "pca", "inlp", "leace", "c2st"} <= ways.keys()
    for way, found in ways.items():
        told = rows[way]
        assert percent(found["false lists on undamaged data"]) in told
        if found["mean Kendall tau"] is not None:
            assert percent(found["planted flaws found"]) in told
            assert percent(found["names that are right, strict"]) in told
            assert f"{tau(found['mean Kendall tau'])} ({found['lists with an order']})" in told
