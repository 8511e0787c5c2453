"""The numbers on the page of stale gradients are those of the committed result."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/stale.md").read_text()
RESULT = json.loads((ROOT / "benchmarks/results/stale.json").read_text())


def test_predicted_bounds_are_exact_to_six_digits():
    for row in RESULT["bounds"]:
        assert row["predicted"] == pytest.approx(row["exact"], abs=5e-7)


def limit_line(row):
    seed = f", seed {row['seed']}" if "seed" in row else ""
    return (
        f"| `{row['model']}`{seed} | `{row['solver']}` | {row['lr']:g} | {row['predicted']} "
        f"| {row['observed']} | {row['ratio']:.2f} |"
    )


def test_every_limit_is_on_the_page_and_as_predicted():
    assert [r for r in RESULT["limits"] if limit_line(r) not in PAGE.splitlines()] == []
    assert any(r["model"].startswith("gan") for r in RESULT["limits"])
    assert all(0.8 <= r["ratio"] <= 1.25 for r in RESULT["limits"])


def test_a_replay_ends_where_the_workers_did_within_the_spread_over_seeds():
    found = RESULT["replay"]
    assert abs(found["difference"]) < found["spread over seeds"]
    means = found["means"]
    stated = re.search(
        r"workers\s+(\d\.\d+),\s+replayed\s+(\d\.\d+),\s+synchronous\s+(\d\.\d+)", PAGE
    )
    assert stated
    assert list(map(float, stated.groups())) == [
        pytest.approx(means[k], abs=5e-4) for k in ("workers", "replayed", "synchronous")
    ]
