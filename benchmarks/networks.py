"""CELL, a block model and copied edges on NetGAN's own split of Cora-ML.

Run from the repository, with the data that tests use:
GANTLET_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/networks.py
Each family is fitted to the training edges of the published split with each of SEEDS, and measured
by the probe ``network`` with two assembled networks; intervals are Student's t over seeds. Seconds
are of processor time, of the fit alone.
The result goes to benchmarks/results/networks.json.
"""

import json
import os
import time
from pathlib import Path

from gantlet.core.data import all_samples
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families
from gantlet.probes.network_probe import AUC, FOUND, OVERLAP, PRECISION, STATISTIC, NetworkProbe
from gantlet.stats.intervals import mean

OUT = Path(__file__).parent / "results" / "networks.json"
MODELS = ("cell", "dc-sbm", "rewire")
SEEDS = (0, 1, 2)
SHOWN = ("max degree", "assortativity", "triangles", "power law exponent", "path length")
SCORES = (OVERLAP, FOUND, AUC, PRECISION, *(f"{STATISTIC}{name}" for name in SHOWN))


def measured(model, data, seed):
    splits = data.load(rng=Rng(0))
    x, rng = all_samples(splits.train), Rng(seed)
    start = time.process_time()
    fitted = families.make(model).fit(data.space, x, rng=rng).model
    seconds = time.process_time() - start
    real = all_samples(splits.test, 2)
    found = NetworkProbe(graphs=2).examine(fitted, real, data=data, splits=splits, rng=rng)
    return found.scores, seconds


def row(model, data):
    runs = [measured(model, data, seed) for seed in SEEDS]
    found = {"model": model, "seconds": [seconds for _, seconds in runs]}
    for name in SCORES:
        values = [scores[name].value for scores, _ in runs]
        over = mean(values)
        found[name] = {
            "values": values,
            "mean": over.value,
            "half": over.half_width,
            "real": runs[0][0][name].also.get("real"),
        }
        print(model, name, found[name], flush=True)
    return found


def main():
    file = Path(os.environ["GANTLET_DATA"]) / "graphs/cora_ml_lcc_edges.npz"
    data = datasets.make(f"network:path={file}")
    OUT.write_text(json.dumps([row(model, data) for model in MODELS], indent=1) + "\n")


if __name__ == "__main__":
    main()
