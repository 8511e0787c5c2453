"""Tables from the command line: models, metrics, copies, files that are no tables."""

import csv
import json
import random
import re
from pathlib import Path

import pytest

from gantlet.cli.main import run as cli

QUICK = ["--steps", "5", "--batch", "64", "--seeds", "1", "--workers", "1"]


def run(capsys, *arguments):
    code = cli([*map(str, arguments)])
    found = capsys.readouterr()
    return code, found.out, found.err


def table(path, seed, n=400):
    draw = random.Random(seed)
    rows = []
    for _ in range(n):
        kind = draw.choice("abc")
        size = draw.gauss({"a": 0, "b": 5, "c": 9}[kind], 1)
        rows.append((kind, f"{size:.4f}", "" if draw.random() < 0.1 else draw.randint(1, 9)))
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("kind", "size", "count"), *rows])
    return path


def by_name(out, name):
    """Returns the rows of a metric by the model, or by the name of the file without its ending."""
    found = (r for r in json.loads(out)["rows"] if r["name"] == name)
    return {re.split("[:.]", Path(r["model"]).name)[0]: r for r in found}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Returns a run folder with a fitted chain of trees, and its table."""
    folder = tmp_path_factory.mktemp("fitted")
    path = table(folder / "real.csv", 0, 600)
    arguments = [
        "compare", "tree-chain", "--data", f"table:path={path}", *QUICK, "--features", "columns",
        "--metric", "energy", "--out", folder / "run",
    ]  # fmt: skip
    assert cli([*map(str, arguments)]) == 0
    return folder / "run"


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_comparison_of_a_table_has_a_line_up_and_metrics_of_its_own(capsys, tmp_path):
    path = table(tmp_path / "real.csv", 0, 600)
    code, out, _ = run(
        capsys, "compare", "--data", f"table:path={path}", *QUICK, "--features", "columns",
        "--metric", "energy", "--metric", "pair-similarity", "--metric", "dcr", "--json",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 0
    similar = by_name(out, "pair-similarity")
    assert {"independent", "copula", "tree-chain", "table-gan"} <= set(similar)
    assert similar["tree-chain"]["value"] > similar["independent"]["value"] + 0.1


def test_a_copied_table_is_found_out_and_a_fresh_one_is_not(capsys, tmp_path):
    train, real = table(tmp_path / "train.csv", 1), table(tmp_path / "real.csv", 2)
    copy, fresh = table(tmp_path / "copy.csv", 1), table(tmp_path / "fresh.csv", 3)
    code, out, _ = run(
        capsys, "evaluate", copy, fresh, "--against", real, "--train", train,
        "--features", "columns", "--metric", "dcr", "--metric", "disclosure", "--metric", "tstr",
        "--metric", "column-similarity", "--workers", "1", "--json", "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 0
    closest = by_name(out, "dcr (columns)")
    copied, new = (closest[k] for k in ("copy", "fresh"))
    assert copied["value"] == 1
    assert copied["low"] > 0.9
    assert new["low"] < 0.5 < new["high"]
    risk = by_name(out, "disclosure (samples)")
    assert min(r["low"] for r in risk.values()) < 0.1 < max(r["low"] for r in risk.values())


def test_metrics_of_training_rows_are_left_out_where_there_are_none(capsys, tmp_path):
    real, fake = table(tmp_path / "real.csv", 1), table(tmp_path / "fake.csv", 2)
    code, out, _ = run(
        capsys, "evaluate", fake, "--against", real, "--workers", "1", "--json",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 0
    names = {r["name"].partition(" ")[0] for r in json.loads(out)["rows"]}
    assert {"column-similarity", "pair-similarity", "c2st-auc"} <= names
    assert not {"dcr", "tstr", "disclosure"} & names


def test_rows_of_a_model_are_written_as_a_table(capsys, fitted, tmp_path):
    code, _, _ = run(capsys, "sample", fitted, "--n", 20, "--out", tmp_path / "fake.csv")
    assert code == 0
    rows = rows_of(tmp_path / "fake.csv")
    assert len(rows) == 20
    assert {r["kind"] for r in rows} <= set("abc")


def test_rows_with_a_given_value_follow_the_model_given_that_value(capsys, fitted, tmp_path):
    code, out, _ = run(
        capsys, "sample", fitted, "-n", 500, "--where", "kind=b", "--out", tmp_path / "b.csv"
    )
    assert code == 0
    drawn = int(re.search(r"of ([\d,]+) drawn those with kind=b", out)[1].replace(",", ""))
    # A third of the rows have it: the number of draws is negative binomial.
    assert abs(drawn - 1500) < 4 * (500 * (2 / 3) / (1 / 3) ** 2) ** 0.5
    rows = rows_of(tmp_path / "b.csv")
    assert [r["kind"] for r in rows] == ["b"] * 500
    assert abs(sum(float(r["size"]) for r in rows) / 500 - 5) < 0.25


def test_several_conditions_hold_together_and_missing_is_a_value(capsys, fitted, tmp_path):
    code, _, _ = run(
        capsys, "sample", fitted, "-n", 40, "--where", "kind=a", "--where", "count=missing",
        "--out", tmp_path / "a.csv",
    )  # fmt: skip
    assert code == 0
    assert [(r["kind"], r["count"]) for r in rows_of(tmp_path / "a.csv")] == [("a", "")] * 40
    code, _, _ = run(
        capsys, "sample", fitted, "-n", 9, "--where", "count=4", "--out", tmp_path / "4.csv"
    )
    assert code == 0
    assert [r["count"] for r in rows_of(tmp_path / "4.csv")] == ["4"] * 9


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind=d", "Unknown value of kind 'd'"),
        ("knd=a", "Unknown column of the rows 'knd'. Did you mean 'kind'?"),
        ("size=big", "Column size holds numbers. Got 'big'; give a number or missing."),
        ("kind", "--where must be COLUMN=VALUE. Got 'kind'."),
        ("size=-100", "0 of 20,000 rows of the model have size=-100, and 1 are asked for."),
    ],
)
def test_a_condition_that_no_row_meets_is_refused(capsys, fitted, tmp_path, text, words):
    code, _, err = run(
        capsys, "sample", fitted, "-n", 1, "--where", text, "--out", tmp_path / "x.csv"
    )
    assert code == 2
    assert words in err
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1;2\n3,4\n", "line"),
        ("a,b\n", "no rows"),
        ("a,a\n1,2\n3,4\n", "twice"),
    ],
)
def test_a_file_that_is_no_table_is_refused_in_one_line(capsys, tmp_path, text, words):
    path = tmp_path / "odd.csv"
    path.write_text(text)
    code, _, err = run(capsys, "compare", "copula", "--data", f"table:path={path}", *QUICK)
    assert code == 2
    line = err.strip().splitlines()[-1]
    assert words in line
    assert "odd.csv" in line


def test_tables_of_other_kinds_of_data_are_refused_in_one_line(capsys):
    code, _, err = run(capsys, "compare", "table-gan", "--data", "digits", *QUICK)
    assert code == 2
    line = err.strip().splitlines()[-1]
    assert "table-gan models rows of a table and vectors of numbers. Got image" in line
