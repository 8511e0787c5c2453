"""Random graphs as baselines: independent edges, and degrees of training graphs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.model import Density, FitResult, Knob, LogProb, Model, Selective, Tunable
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.stats.graph_statistics import adjacency


def room_of(space: Space, family: str) -> int:
    """Returns how many nodes the matrices of a space have room for.

    Raises:
        UserError: If its samples are not graphs as matrices of 0 and 1.
    """
    if space.kind != "graph" or space.levels != 2 or len(set(space.shape)) != 1:
        raise UserError(
            f"{family} models graphs (kind graph, matrices of 0 and 1). Got {space.label}."
        )
    return space.shape[0]


def nodes_first(x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the edges with the nodes that are there in front, and their number.

    Shapes ``(n, nodes, nodes)`` and ``(n,)``, float64 and int64; the order is kept otherwise.
    """
    edge, node = adjacency(x)
    order = node.argsort(dim=1, descending=True, stable=True)
    return reordered(edge, order), node.sum(1).long()


def reordered(x: Tensor, order: Tensor) -> Tensor:
    """Returns matrices with rows and columns in another order, shape ``(n, nodes, nodes)``.

    Args:
        x: Matrices.
        order: The old place of each new row, shape ``(n, nodes)``.
    """
    size = x.shape[1]
    x = x.gather(1, order[:, :, None].expand(-1, -1, size))
    return x.gather(2, order[:, None].expand(-1, size, -1))


def shuffled(x: Tensor, *, rng: torch.Generator) -> Tensor:
    """Returns graphs, nodes first, with these in random order."""
    node = x.diagonal(dim1=1, dim2=2)
    key = torch.rand(node.shape, generator=rng, device=rng.device)
    return reordered(x, (key - 2 * node).argsort(dim=1))


def with_nodes(edge: Tensor, count: Tensor) -> Tensor:
    """Returns graphs of the first ``count`` nodes, float32, with 1 on the diagonal of each.

    Args:
        edge: Edges, of which those above the diagonal count, shape ``(n, nodes, nodes)``.
        count: How many nodes each has, shape ``(n,)``.
    """
    there = torch.arange(edge.shape[1], device=edge.device) < count[:, None]
    upper = edge.float().triu(1)
    full = upper + upper.mT + torch.eye(edge.shape[1], device=edge.device)
    return full * there[:, :, None] * there[:, None]


# ----------------------------------------------------------------------------
# Independent edges.
# ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class ErdosRenyi(Selective):
    """A baseline of graphs with independent edges of one probability, G(n, p).

    The number of nodes has the distribution of the training set, ``alpha`` added to each count.
    The log-probability is that of a labelled graph, exact:
    ``log P(n) + e log p + (n (n - 1) / 2 - e) log(1 - p)`` for ``e`` edges.

    Source: Gilbert, 1959, https://doi.org/10.1214/aoms/1177706098; Erdos and Renyi, 1959.

    Attributes:
        alpha: Pseudo-count of each number of nodes, and of edges and of pairs without one.
    """

    alpha: Annotated[float, Between(0, above=True)] = 0.5

    @override
    def check_space(self, space: Space) -> None:
        room_of(space, "erdos-renyi")

    def fit(self, space: Space, train: Tensor, *, rng: Rng) -> FitResult:
        """Returns the model of ``train``, shape ``(n, nodes, nodes)``; one addition a number.

        Raises:
            UserError: If ``train`` does not hold graphs.
        """
        del rng  # nothing is random
        room = room_of(space, "erdos-renyi")
        edge, node = adjacency(space.check(train, "train"))
        count = node.sum(1)
        sizes = count.long().bincount(minlength=room + 1).double() + self.alpha
        edges, pairs = edge.sum() / 2, (count * (count - 1)).sum() / 2
        p = (edges + self.alpha) / (pairs + 2 * self.alpha)
        return FitResult(_IndependentEdges(space, sizes / sizes.sum(), p), float(train.numel()))

    def restore(self, space: Space, state: Mapping[str, Tensor]) -> Model:
        """Returns a fitted model from its saved tensors."""
        return _IndependentEdges(space, **state)


@final
class _IndependentEdges(Density):
    """Graphs of independent edges.

    Args:
        space: The space of the samples.
        sizes: Probability of each number of nodes, shape ``(nodes + 1,)``.
        p: Probability of an edge, a scalar.
    """

    sizes: Tensor
    p: Tensor

    def __init__(self, space: Space, sizes: Tensor, p: Tensor) -> None:
        super().__init__()
        self.space = space
        self.register_buffer("sizes", sizes)
        self.register_buffer("p", p)

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        if not n:
            return torch.zeros(0, *self.space.shape, device=rng.device)
        count = torch.multinomial(self.sizes, n, replacement=True, generator=rng)
        edge = torch.rand(n, *self.space.shape, generator=rng, device=rng.device) < self.p
        return with_nodes(edge, count)

    @override
    def _log_prob(self, x: Tensor, context: Tensor | None, *, rng: torch.Generator) -> LogProb:
        edge, node = adjacency(x)
        count, edges = node.sum(1), edge.sum((1, 2)) / 2
        pairs = count * (count - 1) / 2
        value = edges * self.p.log() + (pairs - edges) * torch.log1p(-self.p)
        value = value + self.sizes.log()[count.long()]
        return LogProb(value.to(x.dtype), "exact", "independent edges")


# ----------------------------------------------------------------------------
# Degrees of training graphs.
# ----------------------------------------------------------------------------

_NEUTRAL = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class DegreeMatched(Selective):
    """A baseline of random graphs that have the degrees of training graphs.

    A training graph is drawn, and pairs of its edges are switched, ``a-b`` and ``c-d`` to ``a-d``
    and ``c-b``, wherever that makes neither a loop nor a double edge: each node keeps its degree.
    After many switches the graph is a uniform one of all with these degrees; after few it is a
    copy of the training graph with some edges moved. So ``swaps`` is a knob between copying and
    chance.

    Source: Maslov and Sneppen, 2002, https://doi.org/10.1126/science.1065103; Milo et al., 2003,
    https://arxiv.org/abs/cond-mat/0312028, for how many switches are enough.

    Attributes:
        swaps: Switches that are tried for each edge of the graph. 0 copies.
    """

    swaps: Annotated[float, Between(0, 1000)] = _NEUTRAL

    @override
    def check_space(self, space: Space) -> None:
        room_of(space, "degree-matched")

    def fit(self, space: Space, train: Tensor, *, rng: Rng) -> FitResult:
        """Returns the model that holds ``train``, shape ``(n, nodes, nodes)``, at no cost.

        Raises:
            UserError: If ``train`` does not hold graphs, or none at all.
        """
        del rng  # nothing is random
        room_of(space, "degree-matched")
        x = space.check(train, "train")
        if not len(x):
            raise UserError("degree-matched needs at least one training graph. Got 0.")
        swaps = torch.tensor(self.swaps, dtype=torch.float64, device=x.device)
        return FitResult(_Switched(space, x.to(torch.uint8), swaps), 0.0)

    def restore(self, space: Space, state: Mapping[str, Tensor]) -> Model:
        """Returns a fitted model from its saved tensors."""
        return _Switched(space, **state)


@final
class _Switched(Tunable):
    """Training graphs with switched edges.

    Args:
        space: The space of the samples.
        graphs: The training graphs, bytes of shape ``(n, nodes, nodes)``.
        swaps: Switches tried for each edge, a scalar.
    """

    graphs: Tensor
    swaps: Tensor

    def __init__(self, space: Space, graphs: Tensor, swaps: Tensor) -> None:
        super().__init__()
        self.space = space
        self.register_buffer("graphs", graphs)
        self.register_buffer("swaps", swaps)

    @property
    @override
    def knob(self) -> Knob:
        """Switches for each edge: fewer are nearer to a copy."""
        tried = (3.0, 1.0, 0.3, 0.1, 0.0)
        neutral = float(self.swaps)
        return Knob("swaps per edge", tuple(v for v in tried if v < neutral), neutral)

    @override
    def tuned(self, value: float) -> Model:
        swaps = torch.tensor(value, dtype=torch.float64, device=self.graphs.device)
        return _Switched(self.space, self.graphs, swaps)

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        index = torch.randint(len(self.graphs), (n,), generator=rng, device=rng.device)
        return switched(self.graphs[index].float(), float(self.swaps), rng=rng)


def switched(x: Tensor, swaps: float, *, rng: torch.Generator) -> Tensor:
    """Returns graphs after ``swaps`` tried switches for each of their edges; degrees stay.

    Args:
        x: Graphs, shape ``(n, nodes, nodes)``.
        swaps: How many switches are tried for each edge.
        rng: Draws the edges.
    """
    edges, count = _edge_lists(x)
    tries = (count * swaps).ceil()
    steps = int(tries.max()) if len(x) else 0
    x, row = x.clone(), torch.arange(len(x), device=x.device)
    for step in range(steps):
        u = torch.rand(3, len(x), generator=rng, device=rng.device)
        first, second = ((u[k] * count).long() for k in range(2))
        a, b = edges[row, first].unbind(1)
        c, d = edges[row, second].unbind(1)
        flip = u[2] < 0.5
        c, d = torch.where(flip, d, c), torch.where(flip, c, d)
        taken = (x[row, a, d] > 0) | (x[row, c, b] > 0)
        apart = (a != c) & (a != d) & (b != c) & (b != d)
        done = (step < tries) & apart & ~taken
        _switch(x, edges, (row[done], first[done], second[done]), [z[done] for z in (a, b, c, d)])
    return x


def _switch(
    x: Tensor, edges: Tensor, at: tuple[Tensor, Tensor, Tensor], ends: list[Tensor]
) -> None:
    """Joins a to d and c to b in the place of a to b and c to d, in matrices and lists."""
    (row, first, second), (a, b, c, d) = at, ends
    for p, q, value in ((a, b, 0), (c, d, 0), (a, d, 1), (c, b, 1)):
        x[row, p, q] = value
        x[row, q, p] = value
    edges[row, first] = torch.stack([a, d], 1)
    edges[row, second] = torch.stack([c, b], 1)


def _edge_lists(x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the edges of each graph, ``(n, most, 2)`` with zeros behind, and their number."""
    upper = x.triu(1).flatten(1)
    count = upper.sum(1).long()
    most = max(1, int(count.max())) if len(x) else 1
    place = upper.argsort(dim=1, descending=True, stable=True)[:, :most]
    return torch.stack([place // x.shape[2], place % x.shape[2]], 2), count
