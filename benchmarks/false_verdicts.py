"""How often `gantlet evaluate` says of flawless texts and tables that they differ from real ones.

Run from the repository: OMP_NUM_THREADS=1 nice python benchmarks/false_verdicts.py [RUNS]
Real and fake samples are fresh draws of one source in which many words, or categories, are rare:
the reference of 200 is divided for a noise floor, and 100 fakes are judged, by the default metrics
and features. Each run calls the command itself. The result goes to
benchmarks/results/false_verdicts.json, with exact binomial intervals. About two CPU minutes.
"""

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

import gantlet
from gantlet.stats.intervals import proportion

RESULT = Path(__file__).parent.resolve() / "results" / "false_verdicts.json"
REAL, FAKE, RUNS = 200, 100, 30
DIFFERS, VARIETY = "differs from real data", "too little variety"

Draw = np.random.Generator


def text(rng: Draw, n: int) -> list[str]:
    """Lines of 6 to 13 words whose frequencies fall as a power of their rank."""
    return [
        " ".join(f"w{i}" for i in rng.zipf(1.6, rng.integers(6, 14)) % 10**5) for _ in range(n)
    ]


def table(rng: Draw, n: int) -> list[str]:
    """A column of frequent and rare categories, one of rare ones alone, one of numbers."""
    some, rare = rng.zipf(1.5, n) % 10**5, rng.integers(0, REAL // 2, n)
    rows = zip(some, rare, rng.normal(size=n), strict=True)
    return ["a,b,c", *(f"x{i},y{j},{z:.3f}" for i, j, z in rows)]


WORLDS: dict[str, tuple[Callable[[Draw, int], list[str]], str]] = {
    "text": (text, "txt"),
    "table": (table, "csv"),
}


def claims(name: str, seed: int) -> dict[str, bool | None]:
    """Returns what is claimed of one draw."""
    make, ending = WORLDS[name]
    rng = np.random.default_rng([seed, len(name)])
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for what, n in (("real", REAL), ("fake", FAKE)):
            files[what] = Path(folder) / f"{what}.{ending}"
            files[what].write_text("\n".join(make(rng, n)) + "\n")
        report = gantlet.evaluate(
            str(files["fake"]), against=str(files["real"]), out=Path(folder) / "run", seed=seed
        )
    (found,) = report.extra["claims"].values()
    return found


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    start, rows = time.process_time(), {}
    for name in WORLDS:
        count = Counter[str]()
        for seed in range(runs):
            found = claims(name, seed)
            count.update(claim for claim in (DIFFERS, VARIETY) if found.get(claim))
            count["any"] += bool(found.get(DIFFERS) or found.get(VARIETY))
            print(name, seed, dict(count), flush=True)
        rows[name] = {claim: count[claim] for claim in (DIFFERS, VARIETY, "any")} | {"runs": runs}
    total = sum(row["any"] for row in rows.values())
    share = proportion(total, runs * len(rows))
    known = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {}
    made = {
        "real": REAL,
        "fakes": FAKE,
        "worlds": rows,
        "false": {"share": share.value, "low": share.low, "high": share.high},
        "cpu_s": round(time.process_time() - start),
        # How it was before equal treatment of the floor.
        "before": known.get("before"),
    }
    RESULT.write_text(json.dumps(made, indent=2) + "\n")
    print(json.dumps(made["false"]))


if __name__ == "__main__":
    main()
