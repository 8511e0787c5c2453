"""The tables of coverage and of verdicts in the docs of gantlet support are those of the file."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULT = json.loads((ROOT / "benchmarks/results/support.json").read_text())
PAGE = (ROOT / "docs/commands/support.md").read_text()


def share(found):
    """Returns a share as the page writes it."""
    count, n, value, low, high = found
    assert 0 <= count <= n
    return f"{value:g} % [{low:g}, {high:g}]"


def test_the_coverage_of_intervals_is_that_of_the_file():
    for name, row in RESULT["intervals"].items():
        held, ratio, false = (share(row[k]) for k in ("held", "ratio held", "p below 0.05"))
        told = (
            f"| {name} | {row['support']:g} | {row['collisions']:g} | {held} | {ratio} | {false} |"
        )
        assert told in PAGE


def test_intervals_hold_known_supports_in_about_95_of_100_replicates():
    """At least 93 %; more than 97 % where counts are few, or values equally likely, as told."""
    for row in RESULT["intervals"].values():
        assert row["held"][1] == 400
        assert 93 <= row["held"][2] <= 98.5
        assert row["p below 0.05"][3] <= 5  # the interval holds the level, or lies below


def test_the_verdicts_are_those_of_the_file():
    for name, row in RESULT["honest"].items():
        if name != "false":
            assert f"| {name} | {row['any'][0]} of {row['any'][1]} |" in PAGE
    false = RESULT["honest"]["false"]
    assert false[1] >= 100
    assert f"{false[0]} of {false[1]} runs, {share(false)}" in " ".join(PAGE.split())
    tests = ("effective support", "off-support mass", "recall", "under-represented modes")
    for name, row in RESULT["flawed"].items():
        n, found = row["any"][1], " | ".join(str(row[t]) for t in tests)
        assert f"| {name} | {row['any'][0]} of {n} | {found} |" in PAGE


def test_false_verdicts_are_not_above_the_level():
    assert RESULT["honest"]["false"][2] <= 5
