"""What is wrong with samples that others published: a list for each of twenty models of CIFAR-10.

Run from the repository: OMP_NUM_THREADS=1 python benchmarks/published_flaws.py
Needs the files of GANTLET_DATA. The samples, 25 to 256 of each model, are held against the
lossless CIFAR-10 images, in the default features of `gantlet flaws`. The result goes to
benchmarks/results/published_flaws.json.
"""

import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

import gantlet

RESULT = Path(__file__).parent / "results" / "published_flaws.json"
DATA = Path(os.environ.get("GANTLET_DATA", "../shared/data")).resolve() / "images"
SAMPLES = DATA / "generated" / "cifar10_published_samples.npz"


def flaws_of(key: str, real: str) -> dict[str, object]:
    try:
        report = gantlet.flaws({key: f"npz:path={SAMPLES},key={key}"}, against=real)
    except gantlet.UserError as error:
        return {"refused": str(error)}
    numbers = {row.name: row.estimate for row in report.rows}
    (flaws,) = report.extra["lists"].values()
    listed = [(rank, flaw["title"]) for rank, flaw in enumerate(flaws, 1)]
    return {
        "told by a linear critic": rounded(numbers["accuracy of a linear critic"]),
        "flaws": [
            {
                "flaw": flaw,
                "size": rounded(numbers[f"{rank}: {flaw}: size"]),
                "p": numbers[f"{rank}: {flaw}: p"].value,
            }
            for rank, flaw in listed
        ],
    }


def rounded(of: gantlet.Estimate) -> list[float | None]:
    return [None if v is None else round(v, 3) for v in (of.value, of.low, of.high)]


def main() -> None:
    start = time.process_time()
    real = f"npz:path={DATA}/cifar10/cifar10_lossless_first4000.npz,key=x"
    keys = [k for k in np.load(SAMPLES).files if k != "meta_json"]
    counts = {k: len(np.load(SAMPLES)[k]) for k in keys}
    lists: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for key in keys:
            lists[key] = {"n": counts[key], **flaws_of(key, real)}
            print(key, json.dumps(lists[key]), flush=True)
    result = {
        "what": "flaws of published samples against CIFAR-10 images; sizes with intervals",
        "cpu seconds": round(time.process_time() - start),
        "lists": lists,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
