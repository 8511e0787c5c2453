"""Models of one network without sequences: CELL, a stochastic block model, copied edges.

All learn from random walks of whole numbers, of which they need the set of edges alone, and all
give both walks and graphs: a Markov chain with transitions ``P`` and stationary distribution
``pi`` steps from ``i`` to ``j`` with probability ``pi_i P_ij``, and these, in both directions
together, are the scores by which edges are drawn.
"""

import abc
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, final

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.model import (
    Density,
    FitResult,
    Knob,
    LogProb,
    Model,
    Selective,
    Tunable,
)
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.data.splits import check_size
from gantlet.stats.network_statistics import (
    Array,
    Candidates,
    Network,
    assemble,
    edge_overlap,
    network_of,
    random_walks,
    spectral_embedding,
)


class NetworkModel(Model):
    """A model of a network that gives graphs, not only walks on them."""

    @abc.abstractmethod
    def graph(self, edges: int, *, rng: torch.Generator) -> Network:
        """Returns a graph of the model, of about so many edges."""

    @abc.abstractmethod
    def link_scores(self, pairs: Array) -> Array:
        """Returns how likely pairs of nodes, shape ``(k, 2)``, are to have an edge; ``(k,)``.

        Only their order counts.
        """


class WalksOnly(Selective):
    """A baseline for walks on one network alone."""

    __slots__ = ()

    @property
    @abc.abstractmethod
    def _family(self) -> str:
        """The family's name, for messages."""

    @override
    def check_space(self, space: Space) -> None:
        if space.kind != "walk":
            raise UserError(f"{self._family} models random walks on a network. Got {space.label}.")

    def seen(self, space: Space, train: Tensor) -> Network:
        """Returns the graph of the edges that training walks step along.

        Raises:
            UserError: If samples are no walks, or stay at a node.
        """
        self.check_space(space)
        x, nodes = space.check(train, "train").cpu(), space.levels or 1
        check_size(f"{self._family} of {nodes} nodes", 16 * nodes**2)
        stays = int((x[:, 1:] == x[:, :-1]).any(1).sum())
        if stays:
            raise UserError(
                f"{self._family} needs walks that step along edges; {stays} of {len(x)} stay at a "
                "node."
            )
        return network_of(x, nodes)


# ----------------------------------------------------------------------------
# Markov chains whose logits are a product of two thin matrices.
# ----------------------------------------------------------------------------

# Numbers of a block of rows.
_BLOCK = 2**21
# Of the stationary distribution: largest change in one step, also for a look at the overlap, and
# most steps. So much of the mass stays put in each, so that chains with a period settle too.
_SETTLED, _NEARLY, _STEPS = 1e-10, 1e-4, 10_000
_LAZY = 0.1


class MarkovChain(NetworkModel, Density):
    """Walks with transitions ``softmax(down @ up)`` off the diagonal, from where they settle.

    Args:
        space: The space of walks.
        down: Shape ``(nodes, rank)``.
        up: Shape ``(rank, nodes)``.
        start: Stationary distribution of the chain, float64, shape ``(nodes,)``; computed where
            it is None.
    """

    down: Tensor
    up: Tensor
    start: Tensor

    def __init__(
        self, space: Space, down: Tensor, up: Tensor, start: Tensor | None = None
    ) -> None:
        super().__init__()
        self.space = space
        self.register_buffer("down", down)
        self.register_buffer("up", up)
        self.register_buffer("start", self.settled() if start is None else start)

    @property
    @override
    def sample_depth(self) -> int:
        """One look at a row for each node of a walk."""
        return self.space.size

    def rows(self, nodes: Tensor) -> Tensor:
        """Returns the log-probabilities of steps from nodes, shape ``(len(nodes), all nodes)``."""
        logits = self.down[nodes] @ self.up
        logits.scatter_(1, nodes[:, None], -math.inf)
        return logits.log_softmax(1)

    def _blocks(self) -> Iterator[Tensor]:
        n = len(self.down)
        nodes = torch.arange(n, device=self.down.device)
        yield from torch.split(nodes, max(1, _BLOCK // n))

    @torch.no_grad()
    def settled(self, tolerance: float = _SETTLED) -> Tensor:
        """Returns the stationary distribution, by power iteration, shape ``(nodes,)``.

        Args:
            tolerance: Change of the distribution in the last step, summed over nodes.
        """
        n = len(self.down)
        steps = torch.cat([self.rows(nodes).exp() for nodes in self._blocks()]).double()
        now = torch.full((n,), 1 / n, dtype=torch.float64, device=steps.device)
        for _ in range(_STEPS):
            after = torch.lerp(now @ steps, now, _LAZY)
            after = after / after.sum()
            if float((after - now).abs().sum()) < tolerance:
                break
            now = after
        return now

    @torch.no_grad()
    def pairs(self) -> Iterator[Candidates]:
        """Yields all pairs of nodes with their scores, in blocks."""
        n = len(self.down)
        steps = torch.cat([self.rows(nodes).exp() for nodes in self._blocks()])
        flow = self.start[:, None] * steps
        for nodes in self._blocks():
            first = int(nodes[0])
            both = flow[nodes] + flow[:, nodes].T
            upper = torch.ones(len(nodes), n, dtype=torch.bool).triu(first + 1)
            at = upper.nonzero().numpy()
            at[:, 0] += first
            yield at, both[upper.to(both.device)].cpu().numpy().clip(1e-300)

    @override
    def graph(self, edges: int, *, rng: torch.Generator) -> Network:
        return assemble(self.pairs(), len(self.down), edges, rng=rng)

    @override
    @torch.no_grad()
    def link_scores(self, pairs: Array) -> Array:
        a, b = torch.from_numpy(np.asarray(pairs, np.int64)).T.to(self.down.device)
        found = [
            self.start[i] * self.rows(i).gather(1, j[:, None])[:, 0].exp()
            + self.start[j] * self.rows(j).gather(1, i[:, None])[:, 0].exp()
            for i, j in zip(torch.split(a, 256), torch.split(b, 256), strict=True)
        ]
        scores: Array = torch.cat(found).cpu().numpy()
        return scores

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        u = torch.rand(self.space.size, n, generator=rng, device=rng.device, dtype=torch.float64)
        walk = [_at(self.start.cumsum(0).expand(n, -1), u[0])]
        while len(walk) < self.space.size:
            total = self.rows(walk[-1]).exp().double().cumsum(1)
            walk.append(_at(total, u[len(walk)]))
        return torch.stack(walk, 1).float()

    @override
    @torch.no_grad()
    def _log_prob(self, x: Tensor, context: Tensor | None, *, rng: torch.Generator) -> LogProb:
        x = x.long()
        value = self.start[x[:, 0]].log()
        for now, after in pairwise(x.T):
            value = value + self.rows(now).gather(1, after[:, None])[:, 0]
        return LogProb(value.float(), "exact", "Markov chain from its stationary distribution")


def _at(total: Tensor, u: Tensor) -> Tensor:
    """Returns the place in rows of running sums, shape ``(n, k)``, that each ``u`` falls into."""
    wanted = (u * total[:, -1])[:, None]
    return torch.searchsorted(total.contiguous(), wanted, right=True)[:, 0].clamp(
        max=total.shape[1] - 1
    )


# ----------------------------------------------------------------------------
# CELL: a low rank and an early stop.
# ----------------------------------------------------------------------------

# Steps from one look at the overlap to the next.
_EVERY = 2


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Cell(WalksOnly):
    """A Markov chain with logits of low rank, fitted to the edges of a network (CELL).

    It maximises the likelihood of one step along each edge in each direction, and stops as soon as
    a graph of the model shares a given part of the training edges. What NetGAN finds by an
    adversary it finds by this alone: it generalises by its rank and by the early stop.

    Source: Rendsburg, Heidrich and von Luxburg, 2020, https://proceedings.mlr.press/v119/
    rendsburg20a.html.

    Differs from the paper: steps from a node to itself have probability 0.

    Attributes:
        rank: Rank of the logits.
        overlap: Share of the training edges in a graph of the model at which fitting stops; 1
            makes all steps.
        steps: Most steps of Adam, each over all edges.
        lr: Learning rate.
        decay: Weight decay.
    """

    rank: Annotated[int, Between(1)] = 9
    overlap: Annotated[float, Between(0, 1, above=True)] = 0.52
    steps: Annotated[int, Between(1)] = 200
    lr: Annotated[float, Between(0, above=True)] = 0.1
    decay: Annotated[float, Between(0)] = 1e-7

    @property
    @override
    def _family(self) -> str:
        return "cell"

    def fit(self, space: Space, train: Tensor, *, rng: Rng) -> FitResult:
        """Returns the chain fitted to the edges of walks ``train``, shape ``(n, steps)``.

        The cost is that of the steps and of the graphs drawn to see when to stop.

        Raises:
            UserError: If samples are no walks.
        """
        graph = self.seen(space, train)
        down, up, done, looks = self._factors(space, graph, rng)
        n = graph.nodes
        cost = done * (6.0 * n * n * self.rank + 12.0 * n * n) + looks * 4.0 * n * n * self.rank
        return FitResult(_Cell(space, down.to(train.device), up.to(train.device)), cost)

    def _factors(self, space: Space, graph: Network, rng: Rng) -> tuple[Tensor, Tensor, int, int]:
        """Returns both factors, and the numbers of steps and of graphs drawn."""
        n, stream, draws = graph.nodes, Rng(rng.seed).stream("init"), Rng(rng.seed).stream("stop")
        # As large as Glorot and Bengio, 2010, advise.
        scale = math.sqrt(2 / (n + self.rank))
        down, up = (
            torch.randn(shape, generator=stream).mul_(scale).requires_grad_()
            for shape in ((n, self.rank), (self.rank, n))
        )
        adam = torch.optim.Adam([down, up], lr=self.lr, weight_decay=self.decay)
        loss = _EdgeLoss(graph)
        looks = 0
        for step in range(1, self.steps + 1):
            down.grad, up.grad = torch.autograd.grad(loss(down, up), (down, up))
            adam.step()
            if self.overlap < 1 and step % _EVERY == 0:
                looks += 1
                made = _nearly(space, down.detach(), up.detach()).graph(
                    len(graph.edges), rng=draws
                )
                if edge_overlap(made, graph) >= self.overlap:
                    return down.detach(), up.detach(), step, looks
        return down.detach(), up.detach(), self.steps, looks

    def restore(self, space: Space, state: Mapping[str, Tensor]) -> Model:
        """Returns a fitted chain from its saved tensors."""
        return _Cell(space, **state)


@final
class _EdgeLoss:
    """The mean negative log-probability of a step along each edge in each direction."""

    def __init__(self, graph: Network) -> None:
        self._degree = torch.from_numpy(graph.degrees).float()
        both = np.concatenate([graph.edges, graph.edges[:, ::-1]])
        self._a, self._b = torch.from_numpy(both.copy()).T

    def __call__(self, down: Tensor, up: Tensor) -> Tensor:
        """Returns the loss, a scalar."""
        logits = down @ up
        off = torch.eye(len(down), dtype=torch.bool)
        total = logits.masked_fill(off, -math.inf).logsumexp(1)
        chosen = (down[self._a] * up.T[self._b]).sum(1)
        return ((self._degree * total).sum() - chosen.sum()) / len(self._a)


@final
class _Cell(MarkovChain, Tunable):
    """A fitted chain; its knob is the rank of the logits."""

    @property
    @override
    def knob(self) -> Knob:
        """The rank: at a lower one more edges are new, and fewer of the network's structures."""
        rank = self.down.shape[1]
        values = sorted({max(1, round(rank * share)) for share in (0.1, 0.25, 0.4, 0.6, 0.8)})
        return Knob("rank", tuple(float(v) for v in values if v < rank), float(rank))

    @override
    @torch.no_grad()
    def tuned(self, value: float) -> Model:
        """Returns the chain with the best approximation of its logits of a lower rank."""
        rank = self.down.shape[1]
        if not 1 <= value <= rank or value != round(value):
            raise UserError(f"The rank must be a whole number from 1 to {rank}. Got {value:g}.")
        if value == rank:
            return self
        q, r = torch.linalg.qr(self.down.double())
        p, s = torch.linalg.qr(self.up.T.double())
        u, d, v = torch.linalg.svd(r @ s.T)
        k = int(value)
        down, up = q @ u[:, :k] * d[:k], v[:k] @ p.T
        return _Cell(self.space, down.to(self.down.dtype), up.to(self.up.dtype))


def _nearly(space: Space, down: Tensor, up: Tensor) -> _Cell:
    """Returns a chain whose stationary distribution is not exact."""
    chain = _Cell(space, down, up, torch.zeros(len(down), dtype=torch.float64))
    chain.start = chain.settled(_NEARLY)
    return chain


# ----------------------------------------------------------------------------
# A stochastic block model with the degrees of the nodes.
# ----------------------------------------------------------------------------

# So much of the flow between blocks is that of nodes of these degrees without blocks, so that no
# step is impossible.
_MIXED = 0.01
_SEED_LIMIT = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class DcSbm(WalksOnly):
    """A degree-corrected stochastic block model: the likelihood baseline of a network.

    The expected number of edges of two nodes is the product of their degrees, times a rate for the
    pair of their blocks. Blocks are found by spectral clustering; degrees and rates are then those
    of maximum likelihood.

    Source: Karrer and Newman, 2011, https://arxiv.org/abs/1008.3926, for the model; Qin and Rohe,
    2013, https://arxiv.org/abs/1309.4111, for regularized spectral clustering.

    Differs from the papers: 1 % of the edges are placed by degrees alone, so that every step has a
    probability.

    Attributes:
        blocks: Number of blocks.
    """

    blocks: Annotated[int, Between(1)] = 8

    @property
    @override
    def _family(self) -> str:
        return "dc-sbm"

    def fit(self, space: Space, train: Tensor, *, rng: Rng) -> FitResult:
        """Returns the model fitted to the edges of walks ``train``, shape ``(n, steps)``.

        The cost is that of the eigenvectors and of k-means.

        Raises:
            UserError: If samples are no walks.
        """
        graph = self.seen(space, train)
        k = min(self.blocks, graph.nodes - 1)
        block, turns = _clusters(graph, k, rng)
        degree = graph.degrees.astype(float)
        flow = _flow(graph, block, k)
        inside = flow.sum(1)
        chance = np.log(flow[block] / np.maximum(inside[block], 1e-12)[:, None])
        within = np.log(np.maximum(degree, 1e-12) / np.maximum(inside[block], 1e-12))
        # The logits of a step are those of the block it leads to, plus those of the node in it.
        member = np.eye(k)[block]
        down = torch.from_numpy(np.concatenate([chance, np.ones((graph.nodes, 1))], 1)).float()
        up = torch.from_numpy(np.concatenate([member.T, within[None]])).float()
        cost = 2.0 * graph.nodes * k * k * turns + 40.0 * k * 2 * len(graph.edges)
        return FitResult(_Blocks(space, down.to(train.device), up.to(train.device)), cost)

    def restore(self, space: Space, state: Mapping[str, Tensor]) -> Model:
        """Returns a fitted model from its saved tensors."""
        return _Blocks(space, **state)


def _clusters(graph: Network, k: int, rng: Rng) -> tuple[Array, int]:
    """Returns the block of each node, and the iterations of k-means."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    mean = 2 * len(graph.edges) / graph.nodes
    place = spectral_embedding(graph.adjacency, k, added=mean)
    length = np.linalg.norm(place, axis=1, keepdims=True)
    stream = Rng(rng.seed).stream("init")
    seed = int(torch.randint(_SEED_LIMIT, (), generator=stream))
    with threadpool_limits(torch.get_num_threads()):
        untyped: Any = KMeans
        found = untyped(k, n_init=10, random_state=seed).fit(place / np.maximum(length, 1e-12))
    return found.labels_.astype(np.int64), 10 * int(found.n_iter_)


def _flow(graph: Network, block: Array, k: int) -> Array:
    """Returns the ends of edges between blocks, shape ``(k, k)``, mixed with their product."""
    found = np.zeros((k, k))
    a, b = block[graph.edges].T
    np.add.at(found, (a, b), 1.0)
    np.add.at(found, (b, a), 1.0)
    ends = found.sum(1)
    mixed: Array = (1 - _MIXED) * found + _MIXED * np.outer(ends, ends) / max(ends.sum(), 1)
    return np.maximum(mixed, 1e-12)


@final
class _Blocks(MarkovChain):
    """A fitted degree-corrected stochastic block model."""


# ----------------------------------------------------------------------------
# Copied edges, the others rewired.
# ----------------------------------------------------------------------------

# Tried swaps for each edge that is rewired, so that nothing but the degrees is left of them.
_SWAPS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Rewire(WalksOnly):
    """A trivial baseline that copies a share of the edges and rewires the others by their degrees.

    Each graph keeps random training edges. The others are swapped in pairs many times, so that all
    nodes keep their degrees and nothing else is left. What a model gets right at the same overlap,
    and this does not, it has learned.

    Source: Maslov and Sneppen, 2002, https://doi.org/10.1126/science.1065103, for the swaps.

    Attributes:
        overlap: Share of the edges that are copied.
    """

    overlap: Annotated[float, Between(0, 1)] = 0.52

    @property
    @override
    def _family(self) -> str:
        return "rewire"

    def fit(self, space: Space, train: Tensor, *, rng: Rng) -> FitResult:
        """Returns the model of the edges of walks ``train``, shape ``(n, steps)``, at no cost.

        Raises:
            UserError: If samples are no walks.
        """
        del rng  # nothing is random before it is sampled
        edges = torch.from_numpy(self.seen(space, train).edges.copy())
        kept = torch.tensor(self.overlap, dtype=torch.float64)
        return FitResult(_Rewired(space, edges.to(train.device), kept.to(train.device)), 0.0)

    def restore(self, space: Space, state: Mapping[str, Tensor]) -> Model:
        """Returns the model from its saved tensors."""
        return _Rewired(space, **state)


@final
class _Rewired(NetworkModel, Tunable):
    """The training edges, shape ``(m, 2)``, and the share of them that is copied."""

    edges: Tensor
    kept: Tensor

    def __init__(self, space: Space, edges: Tensor, kept: Tensor) -> None:
        super().__init__()
        self.space = space
        self.register_buffer("edges", edges)
        self.register_buffer("kept", kept)

    @property
    def _network(self) -> Network:
        return Network(self.space.levels or 1, self.edges.cpu().numpy())

    @property
    @override
    def knob(self) -> Knob:
        """The share of the edges that are copied."""
        values = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
        neutral = float(self.kept)
        return Knob("overlap", tuple(v for v in values if v != neutral), neutral)

    @override
    def tuned(self, value: float) -> Model:
        """Returns the model that copies another share of the edges."""
        if not 0 <= value <= 1:
            raise UserError(f"The overlap must be from 0 to 1. Got {value:g}.")
        return _Rewired(self.space, self.edges, self.kept.new_tensor(value))

    @override
    def graph(self, edges: int, *, rng: torch.Generator) -> Network:
        del edges  # as many as there were
        return rewired(self._network, float(self.kept), rng=rng)

    @override
    def link_scores(self, pairs: Array) -> Array:
        seen = self._network
        by_degree = seen.degrees[pairs].astype(float).prod(1) / max(2 * len(seen.edges), 1)
        scores: Array = float(self.kept) * seen.has(pairs) + (1 - float(self.kept)) * by_degree
        return scores

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        made = self.graph(len(self.edges), rng=rng)
        ends = made.edges.ravel()
        at = torch.randint(len(ends), (n,), generator=rng, device=rng.device).cpu().numpy()
        walks = random_walks(made, ends[at], self.space.size, rng=rng)
        return walks.float().to(rng.device)


def rewired(graph: Network, overlap: float, *, rng: torch.Generator) -> Network:
    """Returns a graph with the same degrees that keeps a share of the edges and no others of them.

    Where no swap is possible, as in a very dense graph, more stay.

    Args:
        graph: The graph.
        overlap: The share of its edges that are kept.
        rng: Random generator.
    """
    m, n = len(graph.edges), graph.nodes
    order = torch.randperm(m, generator=rng, device=rng.device).cpu().numpy()
    moved = graph.edges[order[math.ceil(overlap * m) :]].tolist()
    present = set(graph.codes.tolist())
    tries = _SWAPS * len(moved) if len(moved) > 1 else 0
    draws = torch.randint(
        max(len(moved), 1), (tries, 2), generator=rng, device=rng.device
    ).tolist()
    turns = torch.rand(tries, generator=rng, device=rng.device).tolist()
    for (i, j), turn in zip(draws, turns, strict=True):
        (a, b), (c, d) = moved[i], moved[j]
        if turn < 0.5:
            c, d = d, c
        first, second = (min(a, d), max(a, d)), (min(c, b), max(c, b))
        codes = first[0] * n + first[1], second[0] * n + second[1]
        is_new = codes[0] != codes[1] and not (codes[0] in present or codes[1] in present)
        if i != j and a != d and c != b and is_new:
            present -= {moved[i][0] * n + moved[i][1], moved[j][0] * n + moved[j][1]}
            present |= set(codes)
            moved[i], moved[j] = list(first), list(second)
    found = np.array(sorted(present), np.int64)
    return Network.of(n, np.stack(np.divmod(found, n), 1))
