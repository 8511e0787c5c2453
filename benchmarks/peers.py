"""The same numbers by Gantlet and by other programs: CPU time and memory of whole processes.

Run from the repository: PEERS=PYTHON python benchmarks/peers.py [PART ...]. PYTHON is that of an
environment with torch-fidelity, torchmetrics, clean-fid and prdc; without it Gantlet alone is
measured. Parts, each kept in benchmarks/results/peers.json as soon as it is there:

- features: two sets of 2,500 vectors of 2,048 numbers (SAMPLES changes that). Frechet distance,
  kernel distance, and precision and recall by each program, in a process of its own;
- images: two folders of 500 PNG files of 64x64 pixels through one network, given to both as
  TorchScript and as it is;
- growth: the metrics of `gantlet evaluate` at 2,500, 5,000 and 10,000 samples of 512 numbers;
- sets: `gantlet evaluate` of one, two and four sets, then of the same four in another run.

Every process has one thread. Ratios are of processes of one run, CPU time, never wall time.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

RESULT = Path(__file__).resolve().parent / "results" / "peers.json"
THEIRS = Path(__file__).resolve().with_name("peers_theirs.py")
PEERS = os.environ.get("PEERS")
FOUR = ("frechet", "kid", "precision", "recall")
RIVALS = {
    "frechet": ("torch-fidelity fid", "torchmetrics fid", "clean-fid fid"),
    "kid": ("torch-fidelity kid", "torchmetrics kid", "clean-fid kid"),
    "precision and recall": ("torch-fidelity neighbours", "prdc neighbours"),
    "all four": ("torch-fidelity all",),
}
OURS = {
    "frechet": ("frechet alone", "frechet with interval"),
    "kid": ("kid with interval",),
    "precision and recall": ("neighbours with interval",),
    "all four": ("all four with intervals", "gantlet evaluate"),
}

# ---- what is measured --------------------------------------------------------------------------


def vectors(n: int, width: int, shift: float, seed: int) -> Tensor:
    """Returns non-negative features with a falling spectrum, as those of networks are."""
    rng = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, 64, generator=torch.Generator().manual_seed(0)) / 8
    spectrum = torch.arange(1, width + 1) ** -0.5
    common = torch.randn(n, 64, generator=rng) @ mix.T
    return (common + torch.randn(n, width, generator=rng) * spectrum + shift).relu()


def pictures(folder: Path, n: int, noise: float, seed: int) -> None:
    """Writes blobs of colour under noise."""
    rng, place = np.random.default_rng(seed), np.arange(64)
    folder.mkdir()
    for i in range(n):
        x, y = rng.uniform(8, 56, 2)
        blob = np.exp(-((place[:, None] - y) ** 2 + (place - x) ** 2) / 160)
        pixels = blob[..., None] * rng.uniform(100, 255, 3) + rng.normal(0, noise, (64, 64, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{i:05d}.png")


# ---- ours, in a process of its own -------------------------------------------------------------


def ours(what: str, fake: str, real: str) -> None:
    """Prints numbers of two files of features."""
    from gantlet.core.rng import Rng
    from gantlet.core.spec import metrics
    from gantlet.metrics.frechet import between, spread_of
    from gantlet.metrics.measure import measure_all

    x, y = (torch.from_numpy(np.load(path)) for path in (real, fake))
    if what == "frechet alone":
        print(json.dumps({"frechet": between(spread_of(x), spread_of(y))}))
        return
    asked = {
        "frechet with interval": ("frechet",),
        "kid with interval": ("kid",),
        "neighbours with interval": ("precision", "recall"),
        "all four with intervals": FOUR,
    }[what]
    found = measure_all({m: metrics.make(m) for m in asked}, x, y, rng=Rng(0))
    print(json.dumps({m: [e.low, e.value, e.high] for m, e in found.items()}))


# ---- whole processes ---------------------------------------------------------------------------


def process(command: Sequence[str], *, peer: bool = False) -> dict[str, Any]:
    """Runs a command; returns its CPU seconds and peak memory, children counted, and its words."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    env = {**os.environ, **one}
    if peer:
        env["PYTHONPATH"] = os.environ.get("PEERS_PATH", "")
    started = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    words = started.stdout.read()
    _, status, used = os.wait4(started.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(command)}: exit status {status}")
    return {
        "CPU seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak memory, MB": round(used.ru_maxrss / 1024),
        "says": words.strip().splitlines()[-1],
    }


def told(command: Sequence[str], *, peer: bool = False) -> dict[str, Any]:
    found = process(command, peer=peer)
    found["says"] = json.loads(found["says"])
    print(command[-4:], found, flush=True)
    return found


def evaluate(*more: str) -> dict[str, Any]:
    """Runs `gantlet evaluate` with a noise floor and a report."""
    program = "from gantlet.cli.main import main; main()"
    found = process([sys.executable, "-c", program, "evaluate", *more, "--json"])
    rows = json.loads(found.pop("says"))["rows"]
    print(more, found, flush=True)
    return found | {"numbers": len(rows)}


def compared(own: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Returns all that was measured, and the ratio of each of ours to each of theirs."""
    ratios = {
        f"{a} / {b}": round(x["CPU seconds"] / y["CPU seconds"], 2)
        for a, x in own.items()
        for b, y in others.items()
    }
    return {"ours": dict(own), "theirs": dict(others), "ratios of CPU seconds": ratios}


# ---- the parts ---------------------------------------------------------------------------------


def features() -> dict[str, Any]:
    n = int(os.environ.get("SAMPLES", "2500"))
    for name, shift, seed in (("real", 0.0, 1), ("fake", 0.05, 2), ("control", 0.0, 3)):
        np.save(f"{name}.npy", vectors(n, 2048, shift, seed).numpy())
    found: dict[str, Any] = {"samples": [n, n], "features": 2048}
    for part, names in OURS.items():
        own = {name: feature_run(name) for name in names}
        others = {
            name: told([PEERS, str(THEIRS), name, "fake.npy", "real.npy"], peer=True)
            for name in (RIVALS[part] if PEERS else ())
        }
        found[part] = compared(own, others)
        keep("features", found)
    return found


def feature_run(name: str) -> dict[str, Any]:
    if name != "gantlet evaluate":
        return told(
            [sys.executable, str(Path(__file__).resolve()), "ours", name, "fake.npy", "real.npy"]
        )
    asked = [word for m in FOUR for word in ("--metric", m)]
    sets = ["fake.npy", "--against", "real.npy", "--control", "control.npy", "--features", "raw"]
    return evaluate(*sets, *asked, "--out", "run-features")


def images() -> dict[str, Any]:
    import gantlet

    n = int(os.environ.get("IMAGES", "500"))
    for name, noise, seed in (("real", 12, 1), ("fake", 20, 2), ("control", 12, 3)):
        pictures(Path(f"png-{name}"), n, noise, seed)
    made = gantlet.components.extractors.make("efficientnet-lite0")
    seen = made.fit(gantlet.Space("image", (3, 64, 64), 256), None, rng=gantlet.Rng(0))
    torch.jit.trace(seen.extract, torch.zeros(16, 3, 64, 64), check_trace=False).save("net.pt")
    asked = [word for m in FOUR for word in ("--metric", m)]
    sets = ["png-fake", "--against", "png-real", "--features", "efficientnet-lite0", *asked]
    control = ["--control", "png-control"]
    own = {
        "gantlet evaluate, three folders": evaluate(*sets, *control, "--out", "run-images"),
        "gantlet evaluate, the same again": evaluate(*sets, *control, "--out", "run-images-2"),
    }
    theirs = [str(PEERS), str(THEIRS), "images", "png-fake", "png-real", "net.pt"]
    others = {"torch-fidelity, two folders": told(theirs, peer=True)} if PEERS else {}
    return {"images": [n, n], "pixels": [64, 64], **compared(own, others)}


def growth() -> dict[str, Any]:
    from gantlet.core.rng import Rng
    from gantlet.core.spec import metrics
    from gantlet.metrics.measure import measure_all

    groups = {
        "frechet": ("frechet",),
        "kid and energy": ("kid", "energy"),
        "neighbours": ("precision", "recall", "density", "coverage", "realism", "birthday"),
        "sliced-wasserstein": ("sliced-wasserstein:directions=128",),
        "c2st": ("c2st",),
        "vendi": ("vendi",),
    }
    sizes = [int(k) for k in os.environ.get("SIZES", "2500,5000,10000").split(",")]
    found: dict[str, Any] = {"features": 512, "samples of each set": sizes}
    for name, of in groups.items():
        seconds: list[float] = []
        for n in sizes:
            x, y = vectors(n, 512, 0.0, 1), vectors(n, 512, 0.05, 2)
            start = time.process_time()
            measure_all({m: metrics.make(m) for m in of}, x, y, rng=Rng(0))
            seconds.append(round(time.process_time() - start, 2))
        steps = zip(pairwise(sizes), pairwise(seconds), strict=True)
        exponents = [math.log(s[1] / s[0]) / math.log(n[1] / n[0]) for n, s in steps]
        found[name] = {"CPU seconds": seconds, "exponents": [round(e, 2) for e in exponents]}
        print(name, found[name], flush=True)
    return found


def sets() -> dict[str, Any]:
    n = int(os.environ.get("SET", "1000"))
    files = [f"set-{k}.npy" for k in range(4)]
    for k, name in enumerate(["of-real.npy", "of-control.npy", *files]):
        np.save(name, vectors(n, 512, 0.02 * max(0, k - 1), 10 + k).numpy())
    shared = ["--against", "of-real.npy", "--control", "of-control.npy", "--features", "raw"]
    found: dict[str, Any] = {"samples of each set": n, "features": 512}
    home = os.environ["GANTLET_CACHE"]
    for k in (1, 2, 4):
        os.environ["GANTLET_CACHE"] = f"{home}-{k}"
        found[f"{k} sets"] = evaluate(*files[:k], *shared, "--out", f"run-{k}")
    again = evaluate(*files, *shared, "--out", "run-again")
    found["4 sets, measured by an earlier run"] = again
    os.environ["GANTLET_CACHE"] = f"{home}-2"
    found["4 sets, 2 of them measured by an earlier run"] = evaluate(
        *files, *shared, "--out", "run-more"
    )
    os.environ["GANTLET_CACHE"] = home
    one, four = (found[f"{k} sets"]["CPU seconds"] for k in (1, 4))
    found["CPU seconds a set more"] = round((four - one) / 3, 2)
    return found


def keep(part: str, found: Mapping[str, Any]) -> None:
    known = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    known |= {part: found, "threads": 1, "torch": torch.__version__}
    RESULT.write_text(json.dumps(known, indent=1) + "\n")


PARTS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "features": features,
    "images": images,
    "growth": growth,
    "sets": sets,
}


def main() -> None:
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["ours"]:
        ours(*sys.argv[2:])
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GANTLET_CACHE"] = f"{folder}/cache"
        os.chdir(folder)
        for part in sys.argv[1:] or PARTS:
            keep(part, PARTS[part]())


if __name__ == "__main__":
    main()
