"""Trains a small DCGAN on digits in a loop of its own, watched by Gantlet. Under a minute.

python examples/watch_dcgan.py
"""

import tempfile
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import softplus

import gantlet

STEPS, BATCH, LATENT = 1000, 64, 32
rng = torch.Generator().manual_seed(0)
digits = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 8 - 1
digits = digits[torch.randperm(len(digits), generator=rng)]
train, held_out = digits[:1000], digits[1000:]

generator = nn.Sequential(
    nn.ConvTranspose2d(LATENT, 64, 2),
    nn.BatchNorm2d(64),
    nn.ReLU(),
    nn.ConvTranspose2d(64, 32, 4, 2, 1),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.ConvTranspose2d(32, 1, 4, 2, 1),
    nn.Tanh(),
)
critic = nn.Sequential(
    nn.Conv2d(1, 32, 4, 2, 1),
    nn.LeakyReLU(0.2),
    nn.Conv2d(32, 64, 4, 2, 1),
    nn.LeakyReLU(0.2),
    nn.Flatten(),
    nn.Linear(256, 1),
)
adam = {"lr": 1e-3, "betas": (0.5, 0.9)}
of_generator = torch.optim.Adam(generator.parameters(), **adam)
of_critic = torch.optim.Adam(critic.parameters(), **adam)


def train_step() -> dict[str, torch.Tensor]:
    """Trains critic and generator on one batch each and returns their losses."""
    real = train[torch.randint(len(train), (BATCH,), generator=rng)]
    fake = generator(torch.randn(BATCH, LATENT, 1, 1, generator=rng))
    loss_c = softplus(critic(fake.detach())).mean() + softplus(-critic(real)).mean()
    of_critic.zero_grad()
    loss_c.backward()
    of_critic.step()
    loss_g = softplus(-critic(fake)).mean()
    of_generator.zero_grad()
    loss_g.backward()
    of_generator.step()
    return {"critic": loss_c, "generator": loss_g}


out = Path(tempfile.mkdtemp()) / "dcgan"
watch = gantlet.Watch(
    held_out,
    train=train,
    every=50,
    out=out,
    # A quarter of a loop of seconds, for a curve; the usual 5 % of it pays for one look or two.
    share=0.25,
    flops=gantlet.count(train_step),
)
for step in range(1, STEPS + 1):
    losses = train_step()
    watch(
        step, sample=generator, losses=losses, players={"critic": critic, "generator": generator}
    )
for verdict in watch.report().verdicts:
    print(verdict.claim, verdict.because)
due = len(watch.looks) + watch.left_out
cost = f"{watch.share_spent:.1%} of the loop's CPU time"
print(f"{len(watch.looks)} of {due} looks that were due took {cost}: {out}")
