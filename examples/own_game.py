"""Trains a game of your own with the one loop: a GAN on two numbers, in forty lines. Seconds.

python examples/own_game.py
"""

import torch
from torch import nn
from torch.nn.functional import softplus

import gantlet
from gantlet.models.gan import energy_distance
from gantlet.models.nets import seeded
from gantlet.run.train import Plan, train


class Generator(gantlet.Model):
    """Maps two random numbers to two numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.space = gantlet.Space("vector", (2,))
        self.net = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 2))

    def _sample(
        self,
        n: int,
        context: torch.Tensor | None,  # noqa: ARG002
        *,
        rng: torch.Generator,
    ) -> torch.Tensor:
        """Returns n points."""
        return self.net(torch.randn(n, 2, generator=rng)).detach()


class Duel(gantlet.Adversarial):
    """The non-saturating GAN."""

    def __init__(self) -> None:
        with seeded(gantlet.Rng(0).stream("init")):
            self._model = Generator()
            self._critic = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 1))

    @property
    def players(self) -> dict[str, nn.Module]:
        """Critic first."""
        return {"critic": self._critic, "generator": self._model}

    @property
    def model(self) -> Generator:
        """What is sampled."""
        return self._model

    def _scores(self, x: torch.Tensor, context: torch.Tensor | None) -> torch.Tensor:  # noqa: ARG002
        """Returns one score for each point; higher is more real."""
        return self._critic(x).squeeze(1)

    def loss(self, player: str, batch: torch.Tensor, *, rng: torch.Generator) -> torch.Tensor:
        """Real or fake, and its mirror."""
        fake = self.critic(self._model.net(torch.randn(len(batch), 2, generator=rng)))
        if player == "generator":
            return softplus(-fake).mean()
        return (softplus(-self.critic(batch)) + softplus(fake)).mean()

    def validate(self, x: torch.Tensor, *, rng: torch.Generator) -> torch.Tensor:
        """Energy distance to held-out points."""
        return energy_distance(self._model.sample(len(x), rng=rng), x)


data = gantlet.components.datasets.make("moons").load(rng=gantlet.Rng(0))
game = Duel()
adam = gantlet.components.solvers.make("adam:beta1=0.5")
trained = train(game, adam, data, Plan(budget=gantlet.Budget(steps=500)), rng=gantlet.Rng(0))
first, best = trained.curve[0], min(p["validation"] for p in trained.curve)
print(f"{trained.spend.steps} steps, {trained.spend.flops:.2g} FLOPs")
print(f"energy distance {first['validation']:.3f} -> {best:.3f} (step {trained.best_step})")
