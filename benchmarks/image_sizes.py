"""Default commands on folders of colour images: CPU seconds, peak memory, what fails.

Run from the repository, with gantlet[images]; may be stopped at any time:

    python benchmarks/image_sizes.py --out runs/image-sizes [--sizes 32 128] [--n 100]
    python benchmarks/image_sizes.py --out runs/image-sizes --page

Runs what is missing below --out: each default command as a process of its own, on JPEG files of
each size and number. A file is a square piece of one of scikit-learn's two photos, 64 to 427 px
wide, mirrored or not, its colours stretched at random, resized, saved with quality 90. The second
set, which ``evaluate``, ``flaws`` and ``support`` judge, is drawn in the same way. The cache of
features starts empty. CPU seconds are of the process and its workers, memory the peak of the
largest process, both as the kernel reports them. A command fails if it ends with another code than
0, or with one of its models failed. ``compare`` trains gan and vae for 10 steps each, so that its
row says what goes with a training and not how long one chooses to train.
--page makes docs/results/image-sizes.json and the table of docs/performance.md.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "docs" / "results" / "image-sizes.json"
PAGE = ROOT / "docs" / "performance.md"
START, END = (
    "<!-- table: made by benchmarks/image_sizes.py --page -->",
    "<!-- end of the table -->",
)
SIZES, COUNTS = (32, 64, 128, 256, 512), (100, 1_000, 10_000)
COMMANDS = {
    "evaluate": ("evaluate", "{fake}", "--against", "{real}"),
    "flaws": ("flaws", "{fake}", "--against", "{real}"),
    "support": ("support", "{fake}", "--against", "{real}"),
    "forecast": ("forecast", "images:path={real}"),
    "compare": (
        *("compare", "gan", "vae", "gmm", "--data", "images:path={real}"),
        *("--steps", "10", "--seeds", "1"),
    ),
}
ALLOWED = 2 * 1024**3


def folder(kind: str, size: int, n: int, cache: Path) -> Path:
    """Returns a folder of so many images, drawn when it is first asked for; fewer are links."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    made = cache / f"{kind}-{size}-{n}"
    if made.exists():
        return made
    draft = cache / f"{made.name}.{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    larger = [cache / f"{kind}-{size}-{k}" for k in COUNTS if k > n]
    if (found := next((f for f in larger if f.exists()), None)) is not None:
        for file in sorted(found.iterdir())[:n]:
            os.link(file, draft / file.name)
        return draft.rename(made)
    draw = np.random.default_rng([size, kind == "fake"])
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    for i in range(n):
        photo, side = photos[draw.integers(2)], int(draw.integers(64, 428))
        left, top = (int(draw.integers(0, full - side + 1)) for full in photo.size)
        box = (left, top, left + side, top + side)
        pixels = np.asarray(photo.resize((size, size), Image.Resampling.BICUBIC, box))
        pixels = pixels[:, ::-1] if draw.integers(2) else pixels
        levels = np.arange(256)[:, None] * draw.uniform(0.8, 1.1, 3) + draw.uniform(-15, 15, 3)
        table = levels.clip(0, 255).round().astype(np.uint8)
        coloured = np.stack([table[pixels[..., c], c] for c in range(3)], -1)
        Image.fromarray(coloured).save(draft / f"{i:05d}.jpg", quality=90)
    return draft.rename(made)


def run(command: str, size: int, n: int, out: Path) -> dict:
    """Runs one command on one set of images and returns what it took."""
    places = {kind: folder(kind, size, n, out / "images") for kind in ("real", "fake")}
    words = [word.format(**places) for word in COMMANDS[command]]
    to = out / "runs" / f"{command}-{size}-{n}"
    shutil.rmtree(to, ignore_errors=True)
    here = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    here |= {"GANTLET_CACHE": str(out / f"cache-{os.getpid()}")}
    start, log = time.monotonic(), out / "runs" / f"{command}-{size}-{n}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as told:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("gantlet"), *words, "--out", str(to)],
            stdout=told, stderr=subprocess.STDOUT, env=os.environ | here,
        )  # fmt: skip
        _, status, used = os.wait4(process.pid, 0)
    shutil.rmtree(out / f"cache-{os.getpid()}", ignore_errors=True)
    code = os.waitstatus_to_exitcode(status)
    return {
        "command": command,
        "size": size,
        "n": n,
        "cpu": used.ru_utime + used.ru_stime,
        "wall": time.monotonic() - start,
        "memory": used.ru_maxrss * 1024,
        "failed": failed(code, log.read_text(errors="replace"), to),
    }


def failed(code: int, said: str, to: Path) -> str:
    """Returns what went wrong in one line, or nothing."""
    if code:
        return f"code {code}: {' '.join(said.split())[-300:]}"
    outcomes = (json.loads(o.read_text()) for o in to.glob("trials/*/outcome.json"))
    errors = [error for o in outcomes if (error := o.get("error"))]
    return "; ".join(sorted(set(map(str, errors))))[:600]


def missing(out: Path, commands, sizes, counts) -> list[tuple[str, int, int]]:
    """Returns what has not run yet, small ones first."""
    asked = [(c, s, n) for n in sorted(counts) for s in sorted(sizes) for c in commands]
    return [(c, s, n) for c, s, n in asked if not (out / "cells" / f"{c}-{s}-{n}.json").exists()]


def gathered(out: Path) -> dict:
    """Returns all that is there."""
    rows = [json.loads(f.read_text()) for f in sorted((out / "cells").glob("*.json"))]
    names = list(COMMANDS)
    rows.sort(key=lambda r: (names.index(r["command"]), r["size"], r["n"]))
    return {"made by": "python benchmarks/image_sizes.py", "rows": rows}


def text_of(found: dict) -> str:
    """Returns the table of the page."""
    lines = ["| command | pixels | images | CPU s | peak memory | |", "|---|---|---|---|---|---|"]
    for row in found["rows"]:
        gigabytes, said = row["memory"] / 1024**3, row["failed"] or ""
        if not said and row["memory"] > ALLOWED:
            said = "above 2 GB"
        values = (
            *(f"`{row['command']}`", f"{row['size']}", f"{row['n']:,}", f"{row['cpu']:.0f}"),
            *(f"{gigabytes:.2f} GB", said or "–"),
        )
        lines.append(f"| {' | '.join(values)} |")
    return "\n".join(lines)


def make_page(out: Path) -> None:
    """Writes the committed result and the table of the page."""
    found = gathered(out)
    RESULT.write_text(json.dumps(found, indent=1) + "\n")
    before, rest = PAGE.read_text().split(START)
    PAGE.write_text(f"{before}{START}\n\n{text_of(found)}\n\n{END}{rest.split(END)[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "image-sizes")
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--n", nargs="+", type=int, default=COUNTS)
    parser.add_argument("--commands", nargs="+", default=list(COMMANDS), choices=COMMANDS)
    parser.add_argument("--page", action="store_true")
    asked = parser.parse_args()
    if asked.page:
        make_page(asked.out)
        return
    out = asked.out.resolve()
    (out / "cells").mkdir(parents=True, exist_ok=True)
    for command, size, n in missing(out, asked.commands, asked.sizes, asked.n):
        row = run(command, size, n, out)
        file = out / "cells" / f"{command}-{size}-{n}.json"
        draft = file.with_suffix(".draft")
        draft.write_text(json.dumps(row, indent=1) + "\n")
        draft.rename(file)
        print(row, flush=True)


if __name__ == "__main__":
    main()
