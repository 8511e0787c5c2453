"""CPU time of ``gantlet view`` on a folder of 500 runs, and of looking at it again.

Runs are copies of one real comparison (six trials, samples and pictures in its report) under 500
names; one in ten is an evaluation. Each process is measured from outside, with its start.

python benchmarks/view_speed.py [--runs N] [--out FILE]
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import gantlet
from gantlet.view.page import View
from gantlet.view.server import link


def make(folder: Path) -> list[Path]:
    """Makes two real runs."""
    budget = gantlet.Budget(flops=1e8)
    made = [folder / "compare", folder / "evaluate"]
    gantlet.compare(
        ["gmm", "histogram"], data="digits", budget=budget, seeds=2, samples=300, out=made[0]
    )
    names = ["gmm", "histogram"]
    fakes = [f"{made[0]}@{name}" for name in names]
    gantlet.evaluate(fakes, "digits", features=["pixels"], samples=150, out=made[1])
    return made


def copies(made: list[Path], folder: Path, n: int) -> None:
    """Copies the runs; tensors are linked, as nothing here reads them."""
    for k in range(n):
        of = made[k % 10 == 9]
        to = folder / f"group{k % 20}" / f"{of.name}-{k:03}"
        shutil.copytree(of, to, ignore=shutil.ignore_patterns("*.safetensors"))


def cpu_of(command: list[str]) -> float:
    """Returns the CPU seconds of a process, with its start."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Prints the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "runs"
        copies(make(Path(place) / "made"), folder, asked.runs)
        size = sum(f.stat().st_size for f in folder.rglob("*.json"))
        command = [sys.executable, "-m", "gantlet.cli", "view", str(folder)]
        found = {
            "runs": asked.runs,
            "MB of JSON": round(size / 1e6, 1),
            **{
                f"CPU seconds, {name}": round(
                    min(cpu_of([*command, *more]) for _ in range(asked.repeats)), 2
                )
                for name, more in (
                    ("page", []),
                    ("text", ["--format", "text"]),
                    ("check", ["--check"]),
                )
            },
            "MB of page": round((folder / "index.html").stat().st_size / 1e6, 2),
        }
        view, start = View(folder), time.process_time()
        view.renew()
        view.part(link)
        found["CPU seconds, looking again"] = round(time.process_time() - start, 3)
    text = json.dumps(found, indent=2)
    print(text)
    if asked.out:
        asked.out.write_text(f"{text}\n")


if __name__ == "__main__":
    main()
