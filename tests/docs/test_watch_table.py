"""The page of watch says of alarms and cost what its benchmarks found."""

import json
from pathlib import Path

from gantlet.stats.intervals import proportion

ROOT = Path(__file__).parents[2]
ALARMS, COST = (
    json.loads((ROOT / f"benchmarks/results/watch_{name}.json").read_text())
    for name in ("alarms", "cost")
)
PAGE = " ".join((ROOT / "docs/commands/watch.md").read_text().split())


def test_the_page_says_how_often_alarms_are_false():
    healthy = ALARMS["healthy"]
    high = 100 * proportion(healthy["alarmed"], healthy["runs"]).high
    assert f"{ALARMS['looks']} looks of {ALARMS['samples']} samples" in PAGE
    told = f"Of {healthy['runs']} healthy runs {healthy['alarmed']} were alarmed"
    assert f"{told} (exact 95 % interval 0 to {high:.1f} %)" in PAGE
    assert high < 5


def test_the_page_says_how_soon_alarms_are_true():
    collapse, copying = ALARMS["collapse"], ALARMS["copying"]
    assert f"Of {collapse['seeds']} collapses and {copying['seeds']} cases of copying all" in PAGE
    for found in (collapse, copying):
        assert found["at the first look"] == found["seeds"]
        low = 100 * proportion(found["seeds"], found["seeds"]).low
        assert f"({low:.0f} to 100 % each)" in PAGE


def test_the_page_says_what_watching_takes():
    for name, loop in (("dcgan", "the DCGAN"), ("step of 10 ms", "a loop with steps of 10 ms")):
        found = COST[name]
        assert f"{100 * found['share']:.1f} % of" in PAGE
        assert loop in PAGE
        assert f"({found['loop CPU s']:.0f} s)" in PAGE
        assert found["share"] < 0.05
