"""Trains a flow, then scores data with it and walks between two samples. About ten seconds.

python examples/score_your_data.py
"""

import tempfile
from pathlib import Path

import torch

import gantlet
from gantlet.models.nets import bits_per_dim

run = Path(tempfile.mkdtemp()) / "run"
gantlet.compare(
    ["flow"], data="digits", budget=gantlet.Budget(flops=2e10), seeds=1, samples=100, out=run
)
flow = gantlet.load_model(run)
held_out = gantlet.components.datasets.make("digits").load(rng=gantlet.Rng(0)).test
test = held_out.take(torch.arange(len(held_out)))

with torch.no_grad():
    nats = flow.log_prob(test, rng=gantlet.Rng(0).stream("score")).value
    upside_down = flow.log_prob(test.flip(2), rng=gantlet.Rng(0).stream("score")).value
    codes, _ = flow.encode(test[:2] + 0.5)
    halfway = flow.decode(codes.mean(0, keepdim=True))

print(f"held-out digits:  {bits_per_dim(nats.mean(), flow.space):.3f} bits/dim")
print(f"upside down:      {bits_per_dim(upside_down.mean(), flow.space):.3f} bits/dim")
print(f"halfway between two digits: levels {halfway.min():.1f} to {halfway.max():.1f}")
