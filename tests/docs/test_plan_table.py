"""What the page of gantlet plan says of its power is what was counted."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULT = json.loads((ROOT / "benchmarks/results/plan_power.json").read_text())
PAGE = " ".join((ROOT / "docs/commands/plan.md").read_text().split())


@pytest.mark.parametrize("metric", ["kid", "precision"])
def test_the_page_states_what_the_planned_samples_found(metric):
    found = RESULT[metric]
    plans, tested = found["planned"], found["tested"]
    value, low, high = found["found %"]
    assert low < value < high
    assert plans[0] == tested
    assert f"asked for {min(plans)} to {max(plans)}" in PAGE
    assert f"of {found['sets']} sets of {tested} {value} % [{low}, {high}]" in PAGE
    # Not below the planned power by more than chance explains.
    assert high >= 80
