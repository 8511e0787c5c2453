"""Random graphs with a known law, and checks whether a graph obeys it: trees, planar, blocks."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import combinations
from typing import Annotated, Any, Protocol, final, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.data import Dataset, Space, Splits
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.data.splits import Array, drawn
from gantlet.stats.graph_statistics import adjacency, networks


@runtime_checkable
class Checkable(Dataset, Protocol):
    """A data set of which it can be checked whether a sample is one that it could hold."""

    def valid(self, x: Tensor) -> Tensor:
        """Returns whether each sample is valid, bool, shape ``(n,)``.

        Args:
            x: Samples, shape ``(n, *space.shape)``.
        """
        ...


def _each(x: Tensor, check: Callable[[Any], bool]) -> Tensor:
    return torch.tensor([check(graph) for graph in networks(x)], dtype=torch.bool)


def is_tree(x: Tensor) -> Tensor:
    """Returns whether each graph is connected and without cycles, bool, shape ``(n,)``."""
    import networkx as nx

    return _each(x, lambda graph: len(graph) > 0 and nx.is_tree(graph))


def is_planar(x: Tensor) -> Tensor:
    """Returns whether each graph is connected and planar, bool, shape ``(n,)``."""
    import networkx as nx

    return _each(
        x, lambda graph: len(graph) > 0 and nx.is_connected(graph) and nx.is_planar(graph)
    )


def _matrix(nodes: int, edges: Array, room: int) -> Tensor:
    """Returns the matrix of a graph, nodes first, from its edges of shape ``(edges, 2)``."""
    x = torch.zeros(room, room)
    place = torch.arange(nodes)
    x[place, place] = 1
    a, b = torch.from_numpy(edges).long().T
    x[a, b] = x[b, a] = 1
    return x


def _numpy(rng: torch.Generator) -> np.random.Generator:
    """Returns a generator of numpy that follows from the next number of ``rng``."""
    return np.random.default_rng(int(torch.randint(2**62, (), generator=rng)))


# ----------------------------------------------------------------------------
# What all sets share: graphs are drawn one after the other.
# ----------------------------------------------------------------------------


class DrawnGraphs(ABC):
    """Independent draws of graphs."""

    __slots__ = ()

    n: int
    held_out: int

    def load(self, *, rng: Rng) -> Splits:
        """Returns independent draws."""
        return drawn(partial(_drawn, self._edges), n=self.n, held_out=self.held_out, rng=rng)

    @abstractmethod
    def _edges(self, rng: np.random.Generator) -> tuple[int, Array, int, int]:
        """Returns nodes, edges, room and class of one graph."""


class EqualGraphs(DrawnGraphs):
    """Graphs of one number of nodes, and one class."""

    __slots__ = ()

    nodes: int

    @property
    def space(self) -> Space:
        """Symmetric matrices of zeros and ones."""
        return Space("graph", (self.nodes, self.nodes), 2)


def _drawn(
    draw: Callable[[np.random.Generator], tuple[int, Array, int, int]],
    n: int,
    rng: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Returns ``n`` graphs and their classes.

    Args:
        draw: Returns nodes, edges, room and class of one graph.
        n: How many.
        rng: From which every random number follows.
    """
    numbers = _numpy(rng)
    graphs, labels = [], []
    for _ in range(n):
        nodes, edges, room, label = draw(numbers)
        graphs.append(_matrix(nodes, edges, room))
        labels.append(label)
    return torch.stack(graphs), torch.tensor(labels)


# ----------------------------------------------------------------------------
# Trees and planar graphs.
# ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Trees(EqualGraphs):
    """Uniformly random trees on labelled nodes; a graph is valid if it is a tree.

    By their Pruefer sequences. The published set of trees (Bergmeister et al., 2023) has 64 nodes.

    Source: Pruefer, 1918; Bergmeister et al., 2023, https://arxiv.org/abs/2312.11529, for the set.

    Attributes:
        nodes: How many nodes each tree has.
        n: How many training samples.
        held_out: How many samples each for validation and test.
    """

    nodes: Annotated[int, Between(2, 1000)] = 24
    n: Annotated[int, Between(1)] = 2_000
    held_out: Annotated[int, Between(1)] = 500

    def valid(self, x: Tensor) -> Tensor:
        """Returns whether each graph is a tree, bool, shape ``(n,)``."""
        return is_tree(x)

    @override
    def _edges(self, rng: np.random.Generator) -> tuple[int, Array, int, int]:
        sequence = rng.integers(self.nodes, size=self.nodes - 2).tolist()
        return self.nodes, np.array(list(_tree(sequence))), self.nodes, 0


def _tree(sequence: list[int]) -> Iterator[tuple[int, int]]:
    """Yields the edges of the tree of a Pruefer sequence: the smallest leaf goes first."""
    degree = np.bincount(sequence, minlength=len(sequence) + 2) + 1
    leaves = np.flatnonzero(degree == 1).tolist()
    heapify(leaves)
    for node in sequence:
        yield heappop(leaves), node
        degree[node] -= 1
        if degree[node] == 1:
            heappush(leaves, node)
    yield heappop(leaves), heappop(leaves)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Planar(EqualGraphs):
    """Delaunay triangulations of uniform points in the unit square.

    A graph is valid if it is connected and planar, as all triangulations are. The published set
    (Martinkus et al., 2022) has 64 nodes.

    Source: Martinkus et al., 2022 (SPECTRE), https://arxiv.org/abs/2204.01613.

    Attributes:
        nodes: How many nodes each graph has.
        n: How many training samples.
        held_out: How many samples each for validation and test.
    """

    nodes: Annotated[int, Between(4, 1000)] = 24
    n: Annotated[int, Between(1)] = 2_000
    held_out: Annotated[int, Between(1)] = 500

    def valid(self, x: Tensor) -> Tensor:
        """Returns whether each graph is connected and planar, bool, shape ``(n,)``."""
        return is_planar(x)

    @override
    def _edges(self, rng: np.random.Generator) -> tuple[int, Array, int, int]:
        from scipy.spatial import Delaunay

        corners = Delaunay(rng.random((self.nodes, 2))).simplices
        edges = np.concatenate([corners[:, [a, b]] for a, b in combinations(range(3), 2)])
        return self.nodes, edges, self.nodes, 0


# ----------------------------------------------------------------------------
# Graphs of a stochastic block model.
# ----------------------------------------------------------------------------

# How often the check of the edges of a graph that obeys the model may fail.
_LEVEL = 0.01
_SWEEPS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Sbm(DrawnGraphs):
    """Graphs of a stochastic block model with random communities; the label is their number.

    Each graph has a uniform number of communities, each of a uniform number of nodes; two nodes
    are joined with the probability ``inside`` if they are of one community, else ``across``. The
    nodes come in random order. The published set (Martinkus et al., 2022) is
    ``most=5,smallest=20,largest=40,inside=0.3,across=0.005``.

    A graph is valid if the partition of its nodes that is most probable under the model (by greedy
    moves) has numbers and sizes of communities in these ranges, and its numbers of edges inside of
    each community and between each two agree with the probabilities: exact binomial tests, at a
    level of 1 % for all together.

    Source: Holland, Laskey and Leinhardt, 1983, https://doi.org/10.1016/0378-8733(83)90021-7; for
    the set Martinkus et al., 2022 (SPECTRE), https://arxiv.org/abs/2204.01613.

    Differs from the source of the set: it is checked there by a block model with a free number of
    communities, inferred with graph-tool, and a Wald test; numbers are not comparable.

    Attributes:
        fewest: Fewest communities.
        most: Most communities.
        smallest: Fewest nodes of a community.
        largest: Most nodes of a community.
        inside: Probability of an edge inside of a community.
        across: Probability of an edge between two communities.
        n: How many training samples.
        held_out: How many samples each for validation and test.
    """

    fewest: Annotated[int, Between(1, 100)] = 2
    most: Annotated[int, Between(1, 100)] = 3
    smallest: Annotated[int, Between(1, 1000)] = 8
    largest: Annotated[int, Between(1, 1000)] = 12
    inside: Annotated[float, Between(0, 1, above=True, below=True)] = 0.7
    across: Annotated[float, Between(0, 1, above=True, below=True)] = 0.05
    n: Annotated[int, Between(1)] = 2_000
    held_out: Annotated[int, Between(1)] = 500

    def __post_init__(self) -> None:
        """Checks that ranges are not empty, and that communities are denser than the rest.

        Raises:
            UserError: If they are not.
        """
        for low, high in (("fewest", "most"), ("smallest", "largest")):
            if getattr(self, low) > getattr(self, high):
                raise UserError(
                    f"sbm:{low} must be at most {high}={getattr(self, high)}. "
                    f"Got {getattr(self, low)}."
                )
        if self.inside <= self.across:
            raise UserError(
                f"sbm:inside must be above across={self.across:g}, or there are no communities. "
                f"Got {self.inside:g}."
            )

    @property
    def space(self) -> Space:
        """Symmetric matrices of zeros and ones, with room for the largest graph."""
        room = self.most * self.largest
        return Space("graph", (room, room), 2)

    def valid(self, x: Tensor) -> Tensor:
        """Returns whether each graph agrees with the model, bool, shape ``(n,)``."""
        edges, nodes = adjacency(x)
        pairs = zip(edges.cpu().numpy(), nodes.cpu().numpy() > 0, strict=True)
        found = [self._agrees(e[np.ix_(there, there)]) for e, there in pairs]
        return torch.tensor(found, dtype=torch.bool)

    @override
    def _edges(self, rng: np.random.Generator) -> tuple[int, Array, int, int]:
        count = int(rng.integers(self.fewest, self.most + 1))
        sizes = rng.integers(self.smallest, self.largest + 1, size=count)
        block = rng.permutation(np.repeat(np.arange(count), sizes))
        p = np.where(block[:, None] == block, self.inside, self.across)
        edge = np.triu(rng.random(p.shape) < p, 1)
        return len(block), np.argwhere(edge), self.most * self.largest, count

    def _agrees(self, edge: Array) -> bool:
        block = self._partition(edge)
        sizes = np.bincount(block, minlength=1)
        if not self.fewest <= len(sizes) <= self.most:
            return False
        if sizes.min() < self.smallest or sizes.max() > self.largest:
            return False
        tests = list(self._tests(edge, block, sizes))
        return not tests or min(tests) > _LEVEL / len(tests)

    def _tests(self, edge: Array, block: Array, sizes: Array) -> Iterator[float]:
        """Yields the p-value of each number of edges inside of a community or between two."""
        from scipy.stats import binomtest

        ones = np.eye(len(sizes))[block]
        between = ones.T @ edge @ ones
        for k, size in enumerate(sizes.tolist()):
            if size > 1:
                pairs = math.comb(size, 2)
                yield float(binomtest(round(between[k, k] / 2), pairs, self.inside).pvalue)
        for k, m in combinations(range(len(sizes)), 2):
            pairs = int(sizes[k] * sizes[m])
            yield float(binomtest(round(between[k, m]), pairs, self.across).pvalue)

    def _partition(self, edge: Array) -> Array:
        """Returns the community of each node, from 0: a local maximum of the likelihood.

        The log-likelihood of a partition is a constant plus the sum over pairs in one community of
        ``log(inside / across)`` for an edge and ``log((1 - inside) / (1 - across))`` for none.
        """
        gain = math.log(self.inside / self.across)
        loss = math.log((1 - self.inside) / (1 - self.across))
        weight = np.where(edge > 0, gain, loss)
        np.fill_diagonal(weight, 0)
        block = np.arange(len(weight))
        for _ in range(_SWEEPS):
            before = block
            block = _merged(weight, _moved(weight, block))
            if np.array_equal(before, block):
                break
        return _filled(weight, block, self.smallest, self.largest)


def _filled(weight: Array, block: Array, smallest: int, largest: int) -> Array:
    """Returns a partition whose communities that are too small went to the others.

    A node with few edges is by itself where sizes are free, and cannot be under the model. Each
    goes where its weights add up to most among the communities that have room.
    """
    block = block.copy()
    sizes = np.bincount(block)
    small = np.flatnonzero(sizes[block] < smallest)
    for node in small.tolist():
        score = np.bincount(block, weights=weight[node], minlength=len(sizes))
        has_room = (sizes >= smallest) & (sizes < largest)
        if has_room.any():
            sizes[block[node]] -= 1
            block[node] = np.where(has_room, score, -np.inf).argmax()
            sizes[block[node]] += 1
    return np.unique(block, return_inverse=True)[1]


def _moved(weight: Array, block: Array) -> Array:
    """Returns a partition after each node went where its weights add up to most."""
    block = block.copy()
    for _ in range(_SWEEPS):
        before = block.copy()
        for node in range(len(block)):
            # One community more than there are: a node may be one by itself.
            room = int(block.max()) + 2
            score = np.bincount(block, weights=weight[node], minlength=room)
            best = int(score.argmax())
            if score[best] > score[block[node]]:
                block[node] = best
        if np.array_equal(before, block):
            break
    return np.unique(block, return_inverse=True)[1]


def _merged(weight: Array, block: Array) -> Array:
    """Returns a partition after the two communities that gain most by it merged, while any do."""
    while len(block) and block.max() > 0:
        ones = np.eye(int(block.max()) + 1)[block]
        between = ones.T @ weight @ ones
        np.fill_diagonal(between, -np.inf)
        a, b = np.unravel_index(between.argmax(), between.shape)
        if between[a, b] <= 0:
            break
        block = np.unique(np.where(block == b, a, block), return_inverse=True)[1]
    return block
