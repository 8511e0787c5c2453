"""The table of flaws of published samples in the docs is that of the result file."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks/results/published_flaws.json"
PAGE = ROOT / "docs/questions/flaws_published.md"


def test_the_table_of_published_flaws_is_that_of_the_file():
    rows = {
        line.split("|")[1].strip(): line
        for line in PAGE.read_text().splitlines()
        if line.startswith("| ")
    }
    lists = json.loads(RESULT.read_text())["lists"]
    assert len(lists) == 20
    for name, found in lists.items():
        told = rows[name]
        assert f"| {found['n']} |" in told
        if "refused" in found:
            assert "refused" in told
            continue
        share, low, high = found["told by a linear critic"]
        assert f"| {share:.2f} [{low:.2f}, {high:.2f}] |" in told
        listed = "; ".join(f"{f['flaw']} {f['size'][0]:.1f}" for f in found["flaws"])
        assert f"| {listed or 'nothing significant'} |" in told
