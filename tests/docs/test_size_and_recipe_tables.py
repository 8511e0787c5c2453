"""The pages of recipes and performance have the tables that their committed results make."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NONE = "A committed result does not exist yet; the commands above make it."


def module(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.mark.parametrize("name", ["recipes", "image_sizes"])
def test_the_page_has_the_table_of_the_result(name):
    made = module(name)
    shown = made.PAGE.read_text().split(made.START)[1].split(made.END)[0].strip()
    if made.RESULT.exists():
        assert shown.startswith(made.text_of(json.loads(made.RESULT.read_text())))
    else:
        assert shown == NONE


def test_a_cell_of_sizes_that_takes_too_much_memory_or_fails_is_said():
    made = module("image_sizes")
    row = {"command": "evaluate", "size": 32, "n": 1000, "cpu": 12.3, "memory": 3 * 2**30}
    rows = [row | {"failed": ""}, row | {"failed": "code 1: why", "memory": 1}]
    lines = made.text_of({"rows": rows}).splitlines()
    assert lines[2] == "| `evaluate` | 32 | 1,000 | 12 | 3.00 GB | above 2 GB |"
    assert lines[3].endswith("| code 1: why |")


def test_small_cells_of_sizes_run_first_and_once(tmp_path):
    made = module("image_sizes")
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "flaws-32-100.json").write_text("{}")
    found = made.missing(tmp_path, ["evaluate", "flaws"], [64, 32], [1000, 100])
    assert found[0] == ("evaluate", 32, 100)
    assert ("flaws", 32, 100) not in found
    assert len(found) == 7


def test_images_of_sizes_are_drawn_once_and_fewer_are_links(tmp_path):
    made = module("image_sizes")
    large = made.folder("real", 16, 1000, tmp_path)
    small = made.folder("real", 16, 100, tmp_path)
    assert len(list(large.iterdir())) == 1000
    names = sorted(f.name for f in small.iterdir())
    assert len(names) == 100
    assert (large / names[0]).samefile(small / names[0])
