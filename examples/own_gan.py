"""Your own GAN, from your own loop: does it converge, and what would help? Seconds.

python examples/own_gan.py
"""

import torch
from torch import nn
from torch.nn.functional import softplus

import gantlet

rng = torch.Generator().manual_seed(0)
angle = 6.28 * torch.rand(2000, 1, generator=rng)
data = torch.cat([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(2000, 2, generator=rng)

with torch.random.fork_rng():
    torch.default_generator.manual_seed(0)
    generator = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 2))
    critic = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 1))
opt_critic = torch.optim.Adam(critic.parameters(), lr=2e-3, betas=(0.5, 0.999))
opt_generator = torch.optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.999))

for _ in range(300):
    real = data[torch.randint(len(data), (64,), generator=rng)]
    fake = generator(torch.randn(64, 2, generator=rng))
    loss = softplus(-critic(real)).mean() + softplus(critic(fake.detach())).mean()
    opt_critic.zero_grad()
    loss.backward()
    opt_critic.step()
    opt_generator.zero_grad()
    softplus(-critic(fake)).mean().backward()
    opt_generator.step()


def critic_loss(critic: nn.Module, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Arguments say what is wanted, so that copies of the players can be moved."""
    return softplus(-critic(real)).mean() + softplus(critic(fake)).mean()


def generator_loss(fake_score: torch.Tensor) -> torch.Tensor:
    """Of what the critic says of the fakes; losses="ns" names the same two."""
    return softplus(-fake_score).mean()


game = gantlet.game(
    {"generator": generator, "critic": critic},
    losses={"critic": critic_loss, "generator": generator_loss},
    data=data,
    solver="adam:lr=2e-3,beta1=0.5",
)
report = gantlet.converge(game, budget=gantlet.Budget(steps=300), batch=64, out="runs/own-gan")
for verdict in report.verdicts:
    print(verdict.claim)
for real_part, imaginary, _ in report.extra["leading"][:2]:
    print(f"eigenvalue {real_part:.3g} {imaginary:+.3g}i")
if report.extra["advice"]:
    print(report.extra["advice"][0]["pytorch"])
found = gantlet.evaluate({"mine": game}, data, samples=1000, metrics=["energy"], out="runs/judged")
print(found.verdicts[0].claim)
