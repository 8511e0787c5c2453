"""What the page of gantlet evaluate says of faults of single classes is what was counted."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULT = json.loads((ROOT / "benchmarks/results/classes.json").read_text())
PAGE = " ".join((ROOT / "docs/commands/evaluate.md").read_text().split())
FAULTS = {name: row for name, row in RESULT["faults"].items() if name != "CPU seconds"}


def share(found):
    count, n, value, low, high = found
    assert 0 <= count <= n
    return f"{value:g} % [{low:g}, {high:g}]"


def test_planted_faults_are_found_in_19_of_20_runs():
    assert set(FAULTS) == {"missing", "swapped", "a third as frequent", "less varied"}
    for name, row in FAULTS.items():
        first, alone = row["named first"], row["no other named"]
        assert first[1] == 20
        assert first[0] >= 19
        assert f"| {name} | {first[0]} of 20 | {alone[0]} of 20 |" in PAGE


def test_flawless_sets_are_claimed_to_differ_in_at_most_5_percent():
    made = RESULT["null"]["any claim"]
    assert made[1] == 200
    assert made[2] <= 5
    assert f"{made[0]} of 200 flawless sets, {share(made)}" in PAGE


def test_intervals_of_all_classes_hold_together_in_about_95_percent():
    for name in ("KID", "share difference"):
        found = RESULT["intervals"][name]["all classes together"]
        assert found[1] == 1000
        assert 93 <= found[2] <= 97
        assert share(found) in PAGE
