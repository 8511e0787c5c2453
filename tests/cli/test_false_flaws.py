"""Two samples of one source have no flaws: the lists of many pairs, made by the command."""

import json

import numpy as np
import pytest
from sklearn.datasets import load_iris

from gantlet.cli.main import run


def lists(tmp_path, capsys, suffix, pairs):
    """Returns the titles of each list that is not empty."""
    found = []
    for k, (real, fake) in enumerate(pairs):
        names = []
        for name, lines in (("real", real), ("fake", fake)):
            names.append(str(tmp_path / f"{name}{k}.{suffix}"))
            (tmp_path / f"{name}{k}.{suffix}").write_text("\n".join(lines) + "\n")
        command = ["flaws", names[1], "--against", names[0], "--permutations", "499", "--json"]
        assert run([*command, "--out", str(tmp_path / f"o{k}")]) == 0
        (flaws,) = json.loads(capsys.readouterr().out)["lists"].values()
        found += [[f["title"] for f in flaws]] if flaws else []
    return found


def cities(draw):
    rows = (f"{draw.normal(40, 10):.3f},c{draw.integers(400)}" for _ in range(300))
    return ["age,city", *rows]


def answers(draw):
    rows = (",".join(f"a{i}" for i in draw.integers(0, 4, 3)) for _ in range(300))
    return ["x,y,z", *rows]


def codes(draw):
    return [" ".join(f"w{i}" for i in draw.integers(0, 300, 6)) for _ in range(200)]


def replies(draw):
    known = ["yes .", "no .", "I do not know .", "maybe later", "ask again", "all right !"]
    return list(draw.choice(known, 200))


@pytest.mark.parametrize(
    ("make", "suffix"),
    [(cities, "csv"), (answers, "csv"), (codes, "txt"), (replies, "txt")],
    ids=["a column of 400 categories", "rows that repeat", "300 equal words", "lines that repeat"],
)
def test_fresh_samples_of_one_source_have_no_flaws(make, suffix, tmp_path, capsys):
    pairs = [[make(np.random.default_rng([s, k])) for k in (0, 1)] for s in range(6)]
    # Each with a chance of 0.05: two or more of six in 3 of 100 times.
    assert len(lists(tmp_path, capsys, suffix, pairs)) <= 1


def test_halves_of_a_table_have_no_flaws(tmp_path, capsys):
    iris = load_iris()
    rows = [
        f"{','.join(map(str, x))},{iris.target_names[y]}"
        for x, y in zip(iris.data, iris.target, strict=True)
    ]
    pairs = []
    for seed in range(6):
        order = np.random.default_rng(seed).permutation(150)
        half = [["a,b,c,d,kind", *(rows[i] for i in o)] for o in (order[:75], order[75:])]
        pairs.append(half)
    assert len(lists(tmp_path, capsys, "csv", pairs)) <= 1
