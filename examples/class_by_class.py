"""Judges labelled samples class by class, one of which is wrong. About ten seconds.

python examples/class_by_class.py
"""

import tempfile
from pathlib import Path

import torch

import gantlet

data = gantlet.components.datasets.make("digits").load(rng=gantlet.Rng(0))
everyone = torch.arange(len(data.train))
digits, labels = data.train.take(everyone), data.train.labels
assert labels is not None

# A "conditional model" that remembers digits, and draws an 8 where a 3 is asked for.
order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))
real, fake, others = order[::3], order[1::3], order[2::3]
made, asked_for = digits[fake].clone(), labels[fake]
threes, eights = (asked_for == 3).nonzero()[:, 0], others[labels[others] == 8]
made[threes[: len(eights)]] = digits[eights[: len(threes)]]

report = gantlet.evaluate(
    made,
    against=digits[real],
    labels={"real": labels[real], "fake": asked_for},
    metrics=["kid"],
    features=["pixels"],
    out=Path(tempfile.mkdtemp()) / "run",
)
for verdict in report.verdicts:
    print(verdict.claim)
for one in report.extra["classes"][0]["classes"][:2]:
    print(f"digit {one['class']}: differs in {', '.join(one['differs in']) or 'nothing'}")
