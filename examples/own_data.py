"""Compares three models on an array of your own. About ten seconds.

python examples/own_data.py
"""

import tempfile
from pathlib import Path

import numpy as np

import gantlet

rng = np.random.default_rng(0)
angle = rng.uniform(0, 2 * np.pi, 3000)
spiral = np.stack([angle * np.cos(angle), angle * np.sin(angle)], axis=1)
spiral += rng.normal(0, 0.1, spiral.shape)

folder = Path(tempfile.mkdtemp())
np.save(folder / "spiral.npy", spiral.astype(np.float32))

report = gantlet.compare(
    ["flow:layers=4,width=64", "gmm", "histogram"],
    data=f"npy:path={folder / 'spiral.npy'}",
    budget=gantlet.Budget(flops=2e9),
    samples=300,
    out=folder / "run",
)
for verdict in report.verdicts:
    print(verdict.claim)
print(f"Report: {folder / 'run' / 'report.html'}")
