"""How often `gantlet flaws` lists a flaw of flawless samples: tables, texts and vectors.

Run from the repository: OMP_NUM_THREADS=1 nice python benchmarks/false_flaws.py
Needs the files of GANTLET_DATA for the texts, and scikit-learn for its tables.

Each run calls the command itself, on files that hold two samples of one source: fresh draws, or
the two halves of one data set in an order drawn by the seed. A list that holds anything is false;
`--level` allows 5 %. Arguments pick worlds, as in `false_flaws.py wine codes`. The result goes to
benchmarks/results/false_flaws.json, with the exact binomial interval of all of them.
"""

import contextlib
import csv
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from sklearn import datasets

from gantlet.cli.main import run
from gantlet.stats.intervals import proportion

RESULT = Path(__file__).parent.resolve() / "results" / "false_flaws.json"
DATA = Path(os.environ.get("GANTLET_DATA", "../shared/data")).resolve()
RUNS, FIRST = 60, 2000
PERMUTATIONS = "999"

Draw = np.random.Generator
Rows = Sequence[Sequence[object]]
Lines = list[str]


def table(make: Callable[[Draw, int], Rows]) -> Callable[[int, Path], tuple[str, str]]:
    """Two fresh tables of 300 rows."""

    def write(seed: int, folder: Path) -> tuple[str, str]:
        return _tables(folder, *(make(np.random.default_rng([seed, s]), 300) for s in (0, 1)))

    return write


def halves(rows: Callable[[], Rows]) -> Callable[[int, Path], tuple[str, str]]:
    """The two halves of a table."""

    def write(seed: int, folder: Path) -> tuple[str, str]:
        known = rows()
        order = np.random.default_rng(seed).permutation(len(known))
        n = len(known) // 2
        return _tables(folder, *([known[i] for i in o] for o in (order[:n], order[n : 2 * n])))

    return write


def text(make: Callable[[Draw, int], Lines], n: int) -> Callable[[int, Path], tuple[str, str]]:
    """Two fresh texts of so many lines."""

    def write(seed: int, folder: Path) -> tuple[str, str]:
        return _texts(folder, *(make(np.random.default_rng([seed, s]), n) for s in (0, 1)))

    return write


def corpus(name: str, n: int) -> Callable[[int, Path], tuple[str, str]]:
    """Twice so many lines of a text."""

    def write(seed: int, folder: Path) -> tuple[str, str]:
        lines = [s for s in (DATA / "text" / name).read_text("utf-8").splitlines() if s.strip()]
        order = np.random.default_rng(seed).permutation(len(lines))
        return _texts(folder, *([lines[i] for i in o] for o in (order[:n], order[n : 2 * n])))

    return write


def _tables(folder: Path, real: Rows, fake: Rows) -> tuple[str, str]:
    for name, rows in (("real.csv", real), ("fake.csv", fake)):
        with (folder / name).open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow([f"c{i}" for i in range(len(rows[0]))])
            out.writerows(rows)
    return "real.csv", "fake.csv"


def _texts(folder: Path, real: Lines, fake: Lines) -> tuple[str, str]:
    for name, lines in (("real.txt", real), ("fake.txt", fake)):
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return "real.txt", "fake.txt"


def vectors(seed: int, folder: Path) -> tuple[str, str]:
    draw = np.random.default_rng(seed)
    for name in ("real.npy", "fake.npy"):
        np.save(folder / name, draw.normal(size=(400, 8)).astype(np.float32))
    return "real.npy", "fake.npy"


def correlated(seed: int, folder: Path) -> tuple[str, str]:
    draw = np.random.default_rng(seed)
    for name in ("real.npy", "fake.npy"):
        x = draw.normal(size=(400, 1)) + 0.1 * draw.normal(size=(400, 5))
        np.save(folder / name, x.astype(np.float32))
    return "real.npy", "fake.npy"


def cities(draw: Draw, n: int) -> Rows:
    return [(f"{draw.normal(40, 10):.3f}", f"c{draw.integers(400)}") for _ in range(n)]


def zipf(draw: Draw, n: int) -> Rows:
    return [(f"w{draw.zipf(1.3) % 5000}", f"{draw.normal():.4f}") for _ in range(n)]


def answers(draw: Draw, n: int) -> Rows:
    return [[f"a{draw.integers(4)}" for _ in range(3)] for _ in range(n)]


def many_kinds(draw: Draw, n: int) -> Rows:
    return [
        (
            f"k{draw.integers(80)}",
            f"m{draw.integers(60)}",
            draw.integers(5),
            f"{draw.gamma(2):.2f}",
        )
        for _ in range(n)
    ]


def codes(draw: Draw, n: int) -> Lines:
    return [" ".join(f"w{i}" for i in draw.integers(0, 300, 6)) for _ in range(n)]


def rare_words(draw: Draw, n: int) -> Lines:
    return [
        " ".join(f"w{i % 9999}" for i in draw.zipf(1.3, draw.integers(3, 15))) for _ in range(n)
    ]


def letters(draw: Draw, n: int) -> Lines:
    return ["".join(draw.choice(list("acgt"), draw.integers(8, 24))) for _ in range(n)]


def replies(draw: Draw, n: int) -> Lines:
    known = [
        "yes .",
        "no .",
        "I do not know .",
        "maybe later",
        "ask again tomorrow",
        "all right !",
    ]
    return [str(s) for s in draw.choice(known, n)]


def bundled(name: str) -> Callable[[], Rows]:
    def load() -> Rows:
        found = getattr(datasets, f"load_{name}")()
        rows: list[list[object]] = [[*map(float, x)] for x in found.data]
        if name != "diabetes":
            rows = [
                [*x, str(found.target_names[y])] for x, y in zip(rows, found.target, strict=True)
            ]
        return rows

    return load


WORLDS: dict[str, Callable[[int, Path], tuple[str, str]]] = {
    "cities": table(cities),
    "zipf categories": table(zipf),
    "answers": table(answers),
    "many kinds": table(many_kinds),
    "iris": halves(bundled("iris")),
    "wine": halves(bundled("wine")),
    "breast cancer": halves(bundled("breast_cancer")),
    "diabetes": halves(bundled("diabetes")),
    "codes": text(codes, 200),
    "rare words": text(rare_words, 200),
    "letters": text(letters, 200),
    "replies": text(replies, 200),
    "captions": corpus("image_coco.txt", 300),
    "names": corpus("names.txt", 300),
    "shakespeare": corpus("tinyshakespeare.txt", 300),
    "vectors": vectors,
    "correlated vectors": correlated,
}


def titles(world: str, seed: int) -> list[str]:
    """What the command lists."""
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        os.environ["GANTLET_CACHE"] = str(Path(name) / "cache")
        real, fake = WORLDS[world](seed, Path(name))
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
            options = ["--permutations", PERMUTATIONS, "--seed", str(seed), "--json", "--out", "o"]
            code = run(["flaws", fake, "--against", real, *options])
        if code:
            raise RuntimeError(f"{world}, seed {seed}: exit code {code}")
        (found,) = json.loads(said.getvalue())["lists"].values()
        return [flaw["title"] for flaw in found]


def keep(world: str, runs: int, lists: list[list[str]]) -> None:
    known = json.loads(RESULT.read_text())["worlds"] if RESULT.exists() else {}
    known[world] = {"false": sum(map(bool, lists)), "runs": runs, "lists": [s for s in lists if s]}
    found = {w: known[w] for w in WORLDS if w in known}
    false, every = (sum(f[k] for f in found.values()) for k in ("false", "runs"))
    e = proportion(false, every)
    result = {
        "what": "lists that hold anything, of samples without a flaw; level 0.05",
        "share": [round(v or 0.0, 4) for v in (e.value, e.low, e.high)],
        "false": false,
        "runs": every,
        "first seed": FIRST,
        "worlds": found,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


def main() -> None:
    start = time.process_time()
    for world in sys.argv[1:] or WORLDS:
        lists = [titles(world, FIRST + i) for i in range(RUNS)]
        keep(world, RUNS, lists)
        spent = time.process_time() - start
        print(f"{world}: {sum(map(bool, lists))} of {RUNS}, {spent:.0f} s", flush=True)


if __name__ == "__main__":
    main()
