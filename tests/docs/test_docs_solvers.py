"""The page of the solvers names all of them, and its numbers are those of the committed result."""

import json
import re
from pathlib import Path

import pytest

from gantlet.cli.main import run
from gantlet.core.spec import solvers

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/solvers.md").read_text()
RESULT = json.loads((ROOT / "benchmarks/results/solvers.json").read_text())


def test_every_solver_has_its_row():
    rows = re.findall(r"(?m)^\| `([\w-]+)[:`]", PAGE.partition("## What holds for all")[0])
    assert set(rows) == set(solvers.names())


@pytest.mark.parametrize("name", solvers.names())
def test_every_option_of_a_solver_is_explained(name, capsys):
    assert run(["show", name, "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["options"]
    assert all(option["help"] for option in told["options"])


def cost_line(row):
    return (
        f"| `{row['solver']}` | {row['gradients']} | {row['flops'] / 1e6:.1f} M "
        f"| {row['flops_over_gradient']:.2f} | {100 * row['overhead']:.1f} % "
        f"({100 * row['overhead_low']:.1f} to {100 * row['overhead_high']:.1f}) |"
    )


def training_line(data, solver, rows):
    before = sum(r["before"] for r in rows) / len(rows)
    after = ", ".join("diverged" if r["after"] is None else f"{r['after']:.3f}" for r in rows)
    return f"| {data} | `{solver}` | {rows[0]['steps'] or '-'} | {before:.2f} | {after} |"


def lines():
    yield from map(cost_line, RESULT["costs"])
    seen = {(r["data"], r["solver"]): [] for r in RESULT["training"]}
    for row in RESULT["training"]:
        seen[row["data"], row["solver"]].append(row)
    for data in RESULT["budgets"]:
        yield from (training_line(d, s, rows) for (d, s), rows in seen.items() if d == data)


def test_numbers_are_those_of_the_result():
    told = PAGE.splitlines()
    assert [line for line in lines() if line not in told] == []
    assert all(solvers.resolve(row["solver"]) for row in RESULT["costs"])
