"""NetGAN: random walks on a network from an LSTM that plays against a critic."""

import math
from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import UserError, unknown
from gantlet.core.model import refuse_context
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.models.losses import LOSSES, LossName
from gantlet.models.nets import seeded
from gantlet.models.recurrent import LatentSequenceModel, Recurrent, SequenceSizes
from gantlet.models.sequence_games import SequenceGame


@final
class WalkCritic(nn.Module):
    """An LSTM over the places of nodes and a linear score of its last state.

    Args:
        nodes: Number of nodes.
        embed: Dimension of the place of a node.
        width: Units of the LSTM.
    """

    def __init__(self, nodes: int, embed: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(nodes, embed) / math.sqrt(embed))
        self.body = Recurrent("lstm", embed, width, 1)
        self.head = nn.Linear(width, 1)

    @override
    def forward(self, places: Tensor) -> Tensor:
        """Returns the score of each walk, shape ``(n,)``, from places ``(n, steps, embed)``."""
        states: Tensor = self.body(places)
        score: Tensor = self.head(states[:, -1])
        return score.squeeze(1)

    def slopes(self, places: Tensor) -> Tensor:
        """Returns the norm of the gradient of each score in the indicators of nodes, ``(n,)``.

        A critic sees indicators ``x_t`` only through ``x_t W``, where ``W`` is the table of
        places. With ``g_t`` the gradient in ``x_t W`` that in ``x_t`` is ``W g_t``, so that the
        square of the norm over a walk is ``sum_t g_t^T (W^T W) g_t``: exact, and without a number
        for each node and step.

        Args:
            places: Shape ``(n, steps, embed)``.
        """
        seen = places if places.requires_grad else places.detach().requires_grad_()
        (slope,) = torch.autograd.grad(self(seen).sum(), seen, create_graph=True)
        square = ((slope @ (self.table.T @ self.table)) * slope).sum((1, 2))
        # The root has no finite slope at 0, where it is taken of a critic that is constant.
        return square.clamp(min=1e-12).sqrt()


@final
class NetGanGame(SequenceGame[LatentSequenceModel]):
    """The critic separates real walks from those of the generator, which makes it err.

    Both see nodes by their places; those of the generator are exact samples that pass on the
    gradient of a relaxation. Checkpoints are selected by how well the steps of samples predict
    those of validation walks, in nats.

    Args:
        model: The generator.
        net: The critic.
        loss: What both play for.
        gamma: Weight of the penalty on the critic's slope.
        tau: Temperature of the relaxation.
    """

    def __init__(
        self, model: LatentSequenceModel, net: WalkCritic, loss: LossName, gamma: float, tau: float
    ) -> None:
        super().__init__(model, net)
        self._critic = net
        self._rule = LOSSES[loss]
        self._gamma, self._tau = gamma, tau

    @override
    def _loss(self, player: str, batch: Tensor, rng: torch.Generator, *, coupled: bool) -> Tensor:
        if player not in self.players:
            raise unknown("player", player, self.players)
        judges = player == "critic"
        with torch.set_grad_enabled(coupled or not judges):
            z = self._model.net.latents(len(batch), rng=rng)
            made = self._model.net.relaxed(len(batch), tau=self._tau, rng=rng, z=z)
        fake = made.through(self._critic.table)
        if judges:
            return self._of_critic(self._places(batch), fake, rng)
        with torch.set_grad_enabled(coupled and self._rule.is_paired):
            real = self._critic(self._places(batch))
        return self._rule.generator(real, self._critic(fake))

    def _of_critic(self, real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
        t = torch.rand(len(real), 1, 1, generator=rng, device=rng.device, dtype=real.dtype)
        slopes = self._critic.slopes(torch.lerp(fake, real, t))
        penalty = (slopes - 1).square().mean() / 2
        return self._rule.critic(self._critic(real), self._critic(fake)) + self._gamma * penalty

    def _places(self, x: Tensor) -> Tensor:
        return embedding(x.long(), self._critic.table)

    @override
    def _scores(self, x: Tensor, context: Tensor | None) -> Tensor:
        score: Tensor = self._critic(self._places(x))
        return score

    @override
    def _apart(self, x: Tensor, samples: Tensor) -> Tensor:
        """Returns how well the steps of ``samples`` predict those of ``x``, in nats."""
        return step_surprise(x, samples, self._model.space.levels or 1)


def step_surprise(x: Tensor, samples: Tensor, nodes: int) -> Tensor:
    """Returns the mean negative log-probability of the steps of ``x``, a scalar, in nats.

    Of a Markov chain with the transitions of ``samples``, in both directions, smoothed towards
    uniform ones by the number of different steps from a node.

    Source: Witten and Bell, 1991, https://doi.org/10.1109/18.87000, for the smoothing.

    Args:
        x: Walks, shape ``(n, steps)``.
        samples: Walks, shape ``(m, steps)``.
        nodes: Number of nodes.
    """
    seen, wanted = _steps(samples), _steps(x)
    both = torch.cat([seen, seen.flip(0)], 1)
    codes, counts = torch.unique(both[0] * nodes + both[1], return_counts=True)
    first = codes // nodes
    total = torch.zeros(nodes, dtype=torch.float64, device=x.device)
    kinds = total.index_add(0, first, torch.ones_like(first, dtype=torch.float64))
    total = total.index_add(0, first, counts.double())
    code = wanted[0] * nodes + wanted[1]
    place = torch.searchsorted(codes, code).clamp(max=len(codes) - 1)
    count = counts[place].double() * (codes[place] == code)
    a = wanted[0]
    # One more kind, so that a node that was never left has uniform steps.
    chance = (count + (kinds[a] + 1) / nodes) / (total[a] + kinds[a] + 1)
    surprise: Tensor = -chance.log().mean()
    return surprise


def _steps(x: Tensor) -> Tensor:
    """Returns the steps of walks, from and to, shape ``(2, steps)``."""
    walk = x.long()
    return torch.stack([walk[:, :-1].flatten(), walk[:, 1:].flatten()])


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class NetGan:
    """A generator of random walks on one network, trained against a critic (NetGAN).

    Walks come from an LSTM that starts from a latent; networks are assembled from the steps of
    many walks (probe ``network``). Steps are exact samples; the gradient is that of a relaxation
    (straight-through Gumbel-softmax). The critic is an LSTM with a penalty on its slope in the
    indicators of nodes, which is computed exactly without them.

    Source: Bojchevski et al., 2018, https://arxiv.org/abs/1803.00816.

    Differs from the paper: a constant temperature of the relaxation; no weight decay; larger
    layers and a higher learning rate, for small networks; weights are kept by how well the steps
    of samples predict validation walks.

    Attributes:
        width: Units of both LSTMs.
        embed: Dimension of the place of a node.
        latent: Dimension of the latent of a walk.
        loss: Adversarial loss.
        gamma: Weight of the penalty, ``gamma / 2 * E (|grad D| - 1)^2``.
        tau: Temperature of the relaxation.
        ema: Decay of the exponential moving average (EMA) of the generator's weights.
    """

    width: Annotated[int, Between(1)] = 64
    embed: Annotated[int, Between(1)] = 64
    latent: Annotated[int, Between(1)] = 16
    loss: LossName = "wgan"
    gamma: Annotated[float, Between(0)] = 20.0
    tau: Annotated[float, Between(0, above=True)] = 1.0
    ema: Annotated[float, Between(0, 1, below=True)] = 0.99

    @property
    def solver(self) -> str:
        """Adam, three steps of the critic for one of the generator."""
        return "adam:lr=0.005,beta1=0.5,beta2=0.9,steps=3+1"

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> NetGanGame:
        """Returns an untrained NetGAN for walks on a network.

        Raises:
            UserError: If samples are no walks, or there is a context.
        """
        refuse_context("netgan", context_space)
        if space.kind != "walk" or not space.levels:
            raise UserError(f"netgan models random walks on a network. Got {space.label}.")
        sizes = SequenceSizes(net="lstm", width=self.width, embed=self.embed, latent=self.latent)
        with seeded(rng.stream("init")):
            net = sizes.build(space, family="netgan")
            judge = WalkCritic(space.levels, self.embed, self.width)
        model = LatentSequenceModel(space, net).to(rng.device)
        return NetGanGame(model, judge.to(rng.device), self.loss, self.gamma, self.tau)
