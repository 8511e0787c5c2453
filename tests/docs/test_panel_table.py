"""What the page of gantlet evaluate says of the panel of encoders is what was counted."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULT = json.loads((ROOT / "benchmarks/results/panel.json").read_text())
PAGE = " ".join((ROOT / "docs/commands/evaluate.md").read_text().split())


def share(found):
    count, n, value, low, high = found
    assert 0 <= count <= n
    assert low <= value <= high
    return f"{value:g} % [{low:g}, {high:g}]"


def test_the_encoder_that_was_tuned_against_is_named():
    found, runs = RESULT["named"], RESULT["tuned"]
    alone = [run["alarms"] == [RESULT["tuned on"]] for run in runs]
    assert found[:2] == [sum(alone), len(alone)]
    assert found[0] >= 8
    assert f"named in {found[0]} of {found[1]} runs, {share(found)}" in PAGE
    # The first seed was seen when the rule was chosen.
    assert f"{len(alone) - 1} seeds, of which {sum(alone[1:])} are named" in PAGE


def test_untouched_models_are_rarely_called_tuned():
    found, pairs = RESULT["untouched pairs with an alarm"], RESULT["untouched"]
    alarmed = [bool(pair["alarms"]) for pair in pairs]
    assert found[:2] == [sum(alarmed), len(alarmed)]
    assert found[2] <= 5
    assert f"of {found[1]} pairs" in PAGE
    assert f"{found[0]} had an alarm, {share(found)}" in PAGE
    unseen = [a for a, p in zip(alarmed, pairs, strict=True) if p["from"].startswith("fashion")]
    assert f"{len(unseen)} pairs of Fashion-MNIST, of which {sum(unseen)} had an alarm" in PAGE


def test_simulated_gains_give_the_false_alarms_that_the_page_states():
    worst = {
        is_wide: max(
            (c["alarms"] for c in RESULT["simulated"] if (c["deviation"] > 0.5) == is_wide),
            key=lambda found: found[2],
        )
        for is_wide in (False, True)
    }
    assert worst[False][2] <= 7
    assert f"at most {share(worst[False])} of {worst[False][1]:,} sets" in PAGE
    assert f"in up to {share(worst[True])} where it was 1" in PAGE
