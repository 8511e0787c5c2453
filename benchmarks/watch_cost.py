"""What ``gantlet.Watch`` costs, timed from outside: every call, set-up and last page included.

python benchmarks/watch_cost.py [--out FILE]

* dcgan: the loop of examples/watch_dcgan.py, a small DCGAN, with all its options but the share;
* step of 10 ms: a loop whose step takes 10 ms of CPU time, with a generator that draws noise.

Both with a share of 5 %, the usual one. CPU time of the process, which other work on the machine
changes little. About a minute of it. Set-up reads modules: with their bytecode at hand, as after a
first run, it takes half as long.
"""

import argparse
import contextlib
import io
import json
import runpy
import tempfile
import time
from pathlib import Path

import torch

import gantlet

SHARE = 0.05
EXAMPLE = Path(__file__).parents[1] / "examples" / "watch_dcgan.py"


class Timed:
    """Watch with the CPU time of everything that is called of it."""

    made = None

    def __init__(self, *args, **options):
        start = time.process_time()
        self.watch = gantlet_watch(*args, **options | {"share": SHARE})
        self.setup = self.seconds = time.process_time() - start
        self.calls, Timed.made = 0, self

    def __call__(self, *args, **options):
        return self.timed(self.watch, *args, **options)

    def report(self):
        self.before_report = self.seconds
        return self.timed(self.watch.report)

    def timed(self, function, *args, **options):
        start = time.process_time()
        try:
            return function(*args, **options)
        finally:
            self.seconds += time.process_time() - start
            self.calls += 1

    def __getattr__(self, name):
        return getattr(self.watch, name)


gantlet_watch = gantlet.Watch


def told(timed, loop):
    return {
        "loop CPU s": round(loop, 2),
        "watching CPU s": round(timed.seconds, 3),
        "of it set-up": round(timed.setup, 3),
        "share": round(timed.seconds / loop, 4),
        "share that Watch states": round(timed.watch.share_spent, 4),
        "looks": len(timed.watch.looks),
        "left out": timed.watch.left_out,
        "samples of a look": timed.watch.state_dict()["run"]["n"],
        "calls": timed.calls,
    }


def dcgan():
    gantlet.Watch = Timed
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            runpy.run_path(str(EXAMPLE))
    finally:
        gantlet.Watch = gantlet_watch
    # The loop by the pace of Watch, whose share is checked against the clock of ``Timed``.
    facts = Timed.made.watch.state_dict()["pace"]
    return told(Timed.made, facts["loop"])


def ten_milliseconds(folder, steps=2000):
    real = torch.randn(3000, 64, generator=gantlet.Rng(0).stream("real"))
    watch, loop = Timed(real, every=100, to=("csv",), out=folder), 0.0
    a = torch.ones(200, 200)
    for step in range(1, steps + 1):
        start = time.process_time()
        while time.process_time() < start + 0.01:
            a @ a
        loop += time.process_time() - start
        watch(step, sample=lambda n, generator: torch.randn(n, 64, generator=generator))
    watch.report()
    return told(watch, loop)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=None)
    out = parser.parse_args().out
    out = None if out is None else out.resolve()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        result = {"dcgan": dcgan(), "step of 10 ms": ten_milliseconds(Path("steps"))}
    result["versions"] = {"gantlet": gantlet.__version__, "torch": torch.__version__}
    print(json.dumps(result, indent=2))
    if out is not None:
        out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
