"""The tables on the pages of GANs are made of the committed results of their benchmarks."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks/results"


def page(name):
    return (ROOT / f"docs/families/{name}.md").read_text()


def within(e, digits=3):
    """Writes a mean with its interval."""
    low, high, mean = (f"{e[k]:.{digits}f}".replace("-", "−") for k in ("low", "high", "mean"))
    return f"{mean} ({low} to {high})"


def test_bias_and_speed_of_ot_gan_are_those_measured():
    found = json.loads((RESULTS / "ot_gan.json").read_text())
    for row in found["bias"]:
        e, plain = row["energy distance"], row["transport"]
        line = f"| {row['half']} | {within(e, 4)} | {e['sd']:.3f} | {plain['mean']:.3f} |"
        assert line in page("ot-gan")
        assert e["low"] < 0 < e["high"]
        assert plain["low"] > 0.19
    (fast,) = (row for row in found["speed"] if row["size"] == 512)
    assert f"takes {fast['ratio']['median']:.0f} times less processor time" in page("ot-gan")
    assert fast["ratio"]["low"] > 50
    # The loop ends about where the optimum is.
    assert fast["mean cost"]["cost"] == pytest.approx(fast["mean cost"]["cost of loop"], rel=0.01)


def averaging_rows(found):
    for row in found["rows"]:
        gained = row.get("average less last")
        yield (
            f"| {row['average']} | {row['distance']:.3f} | {within(gained) if gained else ''} | "
            f"{within(row['history less none'])} |"
        ).replace("|  |", "| |")


def test_what_averages_and_a_history_do_is_what_was_measured():
    found = json.loads((RESULTS / "averaging.json").read_text())
    assert found["seeds"] >= 5
    for setting in found["settings"]:
        for line in averaging_rows(setting):
            assert line in page("gan"), line


def test_the_page_claims_what_the_intervals_say():
    """Better on digits; on rings nothing but for the average over everything."""
    found = json.loads((RESULTS / "averaging.json").read_text())
    ring, digits, unsettled = (
        {row["average"]: row for row in s["rows"]} for s in found["settings"]
    )
    whole, last = "uniform, from 0", "last weights"

    def sign(e):
        return (e["low"] > 0) - (e["high"] < 0)

    for name, row in digits.items():
        assert sign(row["history less none"]) == 1
        if name != last:
            assert sign(row["average less last"]) == (1 if name == whole else -1)
    for rows, average, history in ((ring, 1, 0), (unsettled, 0, 1)):
        for name, row in rows.items():
            is_whole = name == whole
            assert sign(row["history less none"]) == (history if is_whole else 0)
            if name != last:
                assert sign(row["average less last"]) == (average if is_whole else 0)
    best = min(row["distance"] for row in digits.values())
    assert 3.5 < digits[last]["distance"] / best < 4.5
