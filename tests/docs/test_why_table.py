"""The page of why says of planted causes what its benchmark found."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULT = json.loads((ROOT / "benchmarks/results/why.json").read_text())
PAGE = (ROOT / "docs/commands/why.md").read_text()
STORED = RESULT.pop("stored JPEG files")
CAUSES = {name: found for name, found in RESULT.items() if isinstance(found, dict)}


def test_the_table_is_that_of_the_benchmark():
    rows = re.findall(r"(?m)^\| ([^|]+) \| (\d+) of (\d+) \| (\d+) of (\d+) \|$", PAGE)
    assert {name: [int(a), int(b)] for name, a, b, *_ in rows} == {
        name: found["named first"] for name, found in CAUSES.items()
    }
    assert {name: [int(c), int(d)] for name, *_, c, d in rows} == {
        name: found["evaluate within the interval"] for name, found in CAUSES.items()
    }


def test_each_cause_is_named_first_and_parts_are_the_difference():
    assert len(CAUSES) == 5
    for name, found in CAUSES.items():
        assert found["named first"][0] >= 19, name
        assert found["largest |sum of parts - difference|"] < 1e-9, name
        hits, n = found["evaluate within the interval"]
        assert hits == n, name


def test_the_effect_of_stored_files_is_explained():
    assert abs(STORED["unexplained"]) < 0.02 * STORED["part of JPEG"]
    assert f"{STORED['part of JPEG']:.1f}" in PAGE
    assert f"{abs(STORED['unexplained']):.2f}" in PAGE
