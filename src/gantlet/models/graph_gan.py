"""Generative adversarial networks of graphs, whose critic does not see the order of nodes."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, TypeAlias, final

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, silu
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.model import Decoder, refuse_context
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.models.gan import AdversarialGame, GeneratorGame
from gantlet.models.losses import AdversarialObjective, LossName, LossOptions, PenaltyName
from gantlet.models.nets import LatentScaled, mlp, seeded
from gantlet.models.random_graphs import room_of
from gantlet.stats.graph_statistics import node_histograms

GraphNetName: TypeAlias = Literal["nodes", "mlp"]
Estimator: TypeAlias = Literal["straight-through", "relaxed"]

_BINS = 16
_PLACE = 16  # components of the place of a node
_RARE = 0.01  # how much all numbers of nodes together weigh beside those of the first batch
_EDGE = 1e-6  # how near to 0 and 1 uniform noise may come


@final
class NodePairs(nn.Module):
    """Maps a latent vector for each node to a logit for each pair of nodes.

    Each node gets a place and a tendency to have edges from its latent vector and from the mean
    over all nodes; the logit of a pair is a weighted product of the places plus both tendencies.

    Source: Hoff, Raftery and Handcock, 2002, https://doi.org/10.1198/016214502388618906, for
    latent space models of graphs.

    Args:
        room: How many nodes there are.
        latent: Size of the latent vector of a node.
        widths: Units of the hidden layers.
    """

    def __init__(self, room: int, latent: int, widths: list[int]) -> None:
        super().__init__()
        self.room, self.latent = room, latent
        self.body = mlp(2 * latent, *widths, _PLACE + 1, activation=nn.SiLU)
        self.signs = nn.Parameter(torch.ones(_PLACE))

    @override
    def forward(self, z: Tensor) -> Tensor:
        """Returns a logit for each pair, ``(n, nodes, nodes)``, from ``(n, nodes * latent)``."""
        own = z.view(len(z), self.room, self.latent)
        mean = own.mean(1, keepdim=True).expand_as(own) * math.sqrt(self.room)
        y: Tensor = self.body(torch.cat([own, mean], 2))
        place, tendency = y[..., :_PLACE], y[..., _PLACE]
        pairs = torch.matmul(place * self.signs, place.mT)
        return pairs + tendency[:, :, None] + tendency[:, None]


@final
class GraphGenerator(Decoder, LatentScaled):
    """Maps normal noise to a probability for each edge, and draws a graph from these.

    Given the noise all edges are independent. The number of nodes has the distribution of real
    graphs, which is not learned by the game.

    Args:
        space: A space of graphs.
        latent: Latent dimension.
        widths: Units of the hidden layers.
        tau: Temperature of the relaxed samples in training.
        net: Whether a perceptron makes all logits from one latent vector, or each node has one.
    """

    index: Tensor
    sizes: Tensor
    start: Tensor

    def __init__(
        self, space: Space, latent: int, widths: list[int], tau: float, *, net: GraphNetName
    ) -> None:
        super().__init__()
        self.space = space
        self.room = space.shape[0]
        self.latent_dim = latent if net == "mlp" else latent * self.room
        self.tau = tau
        upper = torch.triu_indices(self.room, self.room, 1)
        self.register_buffer("index", upper[0] * self.room + upper[1], persistent=False)
        self.register_buffer("sizes", torch.full((self.room + 1,), 1 / (self.room + 1)))
        if net == "mlp":
            self.net: nn.Module = mlp(latent, *widths, len(self.index), activation=nn.SiLU)
        else:
            self.net = NodePairs(self.room, latent, widths)
        # The logit of all edges at the start.
        self.register_buffer("start", torch.zeros(()))

    @override
    def prior(self, n: int, *, rng: torch.Generator) -> Tensor:
        noise = torch.randn(n, self.latent_dim, generator=rng, device=rng.device)
        return self.latent_scale * noise.to(self.sizes)

    def logits(self, z: Tensor) -> Tensor:
        """Returns the logit of each edge, shape ``(n, edges)``."""
        y: Tensor = self.net(z)
        if y.ndim > 2:
            y = y.flatten(1)[:, self.index]
        return y + self.start

    def assembled(self, node: Tensor, edges: Tensor) -> Tensor:
        """Returns matrices from weights of nodes and of edges, differentiable.

        Args:
            node: Weight of each node, shape ``(n, nodes)`` or one row for all.
            edges: Weight of each edge, shape ``(n, edges)``.
        """
        flat = edges.new_zeros(len(edges), self.room**2)
        upper = flat.index_copy(1, self.index, edges).view(-1, self.room, self.room)
        both = upper + upper.mT + torch.eye(self.room, dtype=edges.dtype, device=edges.device)
        return both * torch.minimum(node[:, :, None], node[:, None])

    @override
    def _decode(self, z: Tensor, context: Tensor | None) -> Tensor:
        # A node is there in all graphs of more nodes than come before it.
        node = 1 - self.sizes[:-1].cumsum(0)
        return self.assembled(node[None], self.logits(z).sigmoid())

    def relaxed(self, z: Tensor, *, hard: bool, rng: torch.Generator) -> Tensor:
        """Returns random graphs through which gradients flow, shape ``(n, nodes, nodes)``.

        Source: Jang, Gu and Poole, 2017, https://arxiv.org/abs/1611.01144 (Gumbel-softmax and its
        straight-through form); Maddison, Mnih and Teh, 2017, https://arxiv.org/abs/1611.00712.

        Args:
            z: Noise, shape ``(n, latent)``.
            hard: Whether values are 0 and 1, with the gradient of the relaxed ones.
            rng: Draws the numbers of nodes, and logistic noise.
        """
        edges = self.logits(z)
        u = torch.rand(len(z), 1, generator=rng, device=edges.device)
        count = (self.sizes.cumsum(0) < u).sum(1, keepdim=True)
        node = (torch.arange(self.room, device=edges.device) < count).to(edges)
        v = torch.rand(edges.shape, generator=rng, device=edges.device).to(edges)
        v = v.clamp(_EDGE, 1 - _EDGE)
        weight = ((edges + v.log() - (-v).log1p()) / self.tau).sigmoid()
        if hard:
            weight = (weight > 0.5).to(weight) + weight - weight.detach()
        return self.assembled(node, weight)

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        x = self.relaxed(self.prior(n, rng=rng), hard=True, rng=rng)
        # Sums of a number and its negative may leave a trace.
        return x.round().clamp(0, 1).float()


@final
class GraphCritic(nn.Module):
    """Scores graphs by messages along their edges; the order of nodes does not matter.

    A node starts with whether it is there, its degree, and the closed walks of three and four
    steps from it, which messages alone cannot count. Adjacency is divided by the typical degree.

    Source: Gilmer et al., 2017, https://arxiv.org/abs/1704.01212, for messages; You et al., 2021,
    https://arxiv.org/abs/2101.10320, for counts of closed walks as features.

    Args:
        width: Units of each node in each layer.
        depth: How many rounds of messages.
    """

    degree: Tensor

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.register_buffer("degree", torch.ones(()))
        inputs = [4, *[width] * (depth - 1)]
        self.own = nn.ModuleList(nn.Linear(a, width) for a in inputs)
        self.sent = nn.ModuleList(nn.Linear(a, width, bias=False) for a in inputs)
        self.head = mlp(2 * width + 1, width, 1)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns one score for each graph, shape ``(n,)``; higher is more real.

        Args:
            x: Matrices with any weights between 0 and 1, shape ``(n, nodes, nodes)``.
        """
        node = x.diagonal(dim1=1, dim2=2)
        edge = x - torch.diag_embed(node)
        # In these units counts of closed walks are of the size of 1, and messages are means.
        unit = edge / self.degree.sqrt()
        twice = unit @ unit
        walks = [(twice * unit).sum(2), twice.square().sum(2)]
        h = torch.stack([node, unit.sum(2), *walks], 2)
        edge = edge / self.degree
        for own, sent in zip(self.own, self.sent, strict=True):
            h = silu(own(h) + edge @ sent(h)) * node[..., None]
        mean = h.sum(1) / node.sum(1, keepdim=True).clamp_min(1)
        total = h.sum(1) / x.shape[1]
        score: Tensor = self.head(torch.cat([mean, total, node.mean(1, keepdim=True)], 1))
        return score[:, 0]


@final
class GraphGanGame(GeneratorGame[GraphGenerator], AdversarialGame):
    """The critic separates real from fake graphs; the generator makes it err.

    Args:
        model: The generator.
        net: The critic.
        rules: Loss and penalty.
        hard: Whether the critic sees fakes of 0 and 1.
    """

    def __init__(
        self, model: GraphGenerator, net: GraphCritic, rules: AdversarialObjective, *, hard: bool
    ) -> None:
        super().__init__(model, net)
        self._critic, self._rules, self._hard = net, rules, hard

    @property
    @override
    def _scaling(self) -> Callable[[Tensor], Tensor]:
        return partial(node_histograms, bins=_BINS)

    @override
    @torch.no_grad()
    def prepare(self, batch: Tensor, *, rng: torch.Generator) -> None:
        """Sets the typical degree, the sizes and the first logit of edges, from real graphs."""
        node = batch.diagonal(dim1=1, dim2=2)
        count = node.sum(1)
        edges = (batch.sum((1, 2)) - count) / 2
        self._critic.degree.copy_((2 * edges / count.clamp_min(1)).mean().clamp_min(1))
        density = edges.sum() / (count * (count - 1) / 2).sum().clamp_min(1)
        room = self._model.room
        sizes = one_hot(count.long(), room + 1).to(batch).mean(0)
        self._model.sizes.copy_((sizes + _RARE / (room + 1)) / (1 + _RARE))
        self._model.start.fill_(density.clamp(0.01, 0.99).logit())

    @override
    def _loss(self, player: str, batch: Tensor, rng: torch.Generator, *, coupled: bool) -> Tensor:
        z = self._model.prior(len(batch), rng=rng)

        def made() -> Tensor:
            return self._model.relaxed(z, hard=self._hard, rng=rng)

        return self._rules.of(player, self._critic, batch, made, rng=rng, coupled=coupled)

    @override
    def _scores(self, x: Tensor, context: Tensor | None) -> Tensor:
        score: Tensor = self._critic(x)
        return score


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class GraphGan(LossOptions):
    """A generative adversarial network of whole graphs.

    The generator draws all edges at once, independently given its noise; the critic passes
    messages along edges and does not see the order of nodes. It is slow to learn: see its page.

    Source: De Cao and Kipf, 2018 (MolGAN), https://arxiv.org/abs/1805.11973; Gulrajani et al.,
    2017, https://arxiv.org/abs/1704.00028, for loss and penalty.

    Differs from the paper: no types of nodes or edges and no reward network; the gradient penalty
    takes the norm over all of a graph (the published code over its last axis); the critic sees
    counts of closed walks; the number of nodes has the law of the first batch of real graphs,
    where the paper has a type for no node.

    Attributes:
        net: ``mlp``, one latent vector from which a perceptron makes all edges, or ``nodes``, one
            for each node and a network for pairs of them, so that no order of nodes is special.
        latent: Latent dimension; of each node with ``nodes``.
        width: Units of the hidden layers of the generator.
        depth: Hidden layers of the generator.
        critic_width: Units of each node in the critic.
        rounds: Rounds of messages in the critic.
        estimator: What the critic sees of a fake: ``straight-through``, 0 and 1 with the gradient
            of the relaxed sample, or ``relaxed``, that sample itself.
        tau: Temperature of the relaxed sample.
        loss: Adversarial loss.
        penalty: Gradient penalty.
        gamma: Weight of the penalty; ``gp`` at 20 is the usual ``lambda = 10``.
        ema: Decay of the exponential moving average (EMA) of the generator's weights.
    """

    net: GraphNetName = "mlp"
    latent: Annotated[int, Between(1)] = 32
    width: Annotated[int, Between(1)] = 128
    depth: Annotated[int, Between(1)] = 2
    critic_width: Annotated[int, Between(1)] = 32
    rounds: Annotated[int, Between(1)] = 3
    estimator: Estimator = "straight-through"
    tau: Annotated[float, Between(0, above=True)] = 1.0
    loss: LossName = "wgan"
    penalty: PenaltyName = "gp"
    gamma: Annotated[float, Between(0)] = 20.0
    ema: Annotated[float, Between(0, 1, below=True)] = 0.99

    @property
    def solver(self) -> str:
        """Adam without momentum; three steps of the critic for one of the generator."""
        return "adam:lr=0.002,beta1=0.0,beta2=0.9,steps=3+1"

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> GraphGanGame:
        """Returns an untrained GAN for graphs, on the device of ``rng``.

        Raises:
            UserError: If ``space`` holds no graphs of two or more nodes, or there is a context.
        """
        if room_of(space, "graph-gan") < 2:
            raise UserError(f"graph-gan needs room for two nodes or more. Got {space.label}.")
        refuse_context("graph-gan", context_space)
        with seeded(rng.stream("init")):
            made = GraphGenerator(
                space, self.latent, [self.width] * self.depth, self.tau, net=self.net
            )
            judge = GraphCritic(self.critic_width, self.rounds)
        hard = self.estimator == "straight-through"
        return GraphGanGame(made.to(rng.device), judge.to(rng.device), self.rules, hard=hard)
