"""Autoregressive graphs: nodes in breadth-first order, each with its edges to earlier ones."""

from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, pad, silu
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.model import Density, Generative, LogProb, refuse_context
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.models.causal import MaskedLinear
from gantlet.models.flow import MaximumLikelihood
from gantlet.models.nets import TemperatureScaled, seeded
from gantlet.models.random_graphs import nodes_first, reordered, room_of, shuffled, with_nodes

# ----------------------------------------------------------------------------
# Random orders of the nodes of a graph, breadth first.
# ----------------------------------------------------------------------------


def breadth_first(edge: Tensor, count: Tensor, *, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Returns a random breadth-first order of the nodes of each graph, and its log-probability.

    A search starts at a uniform node, takes the new neighbours of a node in uniform order, and
    starts again at a uniform node that is left where there are several components.

    Args:
        edge: Edges, nodes first, shape ``(n, nodes, nodes)``.
        count: How many nodes each graph has, shape ``(n,)``.
        rng: Draws the orders.

    Returns:
        The node at each place, shape ``(n, nodes)``, those that are not there last; and the log of
        the probability of the order in nats, shape ``(n,)``, in the type of ``edge``.
    """
    n, room = edge.shape[:2]
    node = torch.arange(room, device=edge.device) < count[:, None]
    key = torch.rand(n, room, generator=rng, device=edge.device)
    place = torch.full((n, room), room, device=edge.device)
    queued, log_q = torch.zeros_like(count), edge.new_zeros(n)
    for t in range(room):
        new = node & (place == room)
        left = new.sum(1)
        starts = (queued <= t) & (left > 0)
        first = torch.where(new, key, 2.0).argmin(1, keepdim=True)
        begun = torch.where(starts[:, None], queued[:, None], place.gather(1, first))
        place = place.scatter(1, first, begun)
        queued = queued + starts
        log_q = log_q - torch.where(starts, left.clamp_min(1).to(edge).log(), 0.0)
        now = ((place == t) & node).to(edge)
        new = (torch.bmm(now[:, None], edge)[:, 0] > 0) & node & (place == room)
        rank = torch.where(new, key, 2.0).argsort(1).argsort(1)
        place = torch.where(new, queued[:, None] + rank, place)
        added = new.sum(1)
        queued = queued + added
        log_q = log_q - torch.lgamma(added.to(edge) + 1)
    return place.argsort(dim=1, stable=True), log_q


# ----------------------------------------------------------------------------
# The network.
# ----------------------------------------------------------------------------

_SAMPLED_AT_ONCE = 512
_WINDOW = 64  # earlier nodes to which edges depend on each other, at most, by default
_METHOD = "one breadth-first order, over its probability and all orders of the nodes"


@final
class GraphRnn(Density, TemperatureScaled):
    """A network for nodes, and in each of its steps one for the edges to earlier nodes.

    The first is recurrent, sees the edges of all earlier nodes, and says whether there is one more
    node; from its state the second, a masked perceptron, says one after the other whether the new
    node is joined to the node before, to the one before that, and so on. Edges to nodes that are
    further back than the window are independent, of one probability for each node.

    Args:
        space: A space of graphs.
        window: To how many earlier nodes edges depend on each other.
        width: Units of the network for nodes.
        edge_width: Units of the masked network for edges.
    """

    temperatures = (0.9, 0.8, 0.7, 0.6, 0.5)

    def __init__(self, space: Space, *, window: int, width: int, edge_width: int) -> None:
        super().__init__()
        self.space = space
        self.room, self.window = space.shape[0], window
        self.rows = nn.Linear(self.room, width)
        self.nodes = nn.GRU(width, width, batch_first=True)
        self.more = nn.Linear(width, 1)
        self.far = nn.Linear(width, 1)
        # A unit of degree d sees the first d edges of a row, and edge k units of at most degree k.
        place, degree = torch.arange(window), torch.arange(edge_width) * window // edge_width
        self.given = nn.Linear(width, edge_width)
        self.before = MaskedLinear(degree[:, None] > place)
        self.direct = nn.Linear(width, 3 * window)
        self.out = MaskedLinear(place[:, None] >= degree)

    @property
    @override
    def sample_depth(self) -> int:
        """One evaluation for each node, and one for each earlier node in its window."""
        return self.room + sum(min(i, self.window) for i in range(self.room))

    @override
    def _log_prob(self, x: Tensor, context: Tensor | None, *, rng: torch.Generator) -> LogProb:
        edge, count = nodes_first(x)
        edge = edge.to(x.dtype)
        order, log_q = breadth_first(edge, count, rng=rng)
        orders = torch.lgamma(count.to(x.dtype) + 1)
        value = self.of_sequence(reordered(edge, order), count) - log_q - orders
        return LogProb(value, "lower", _METHOD)

    def of_sequence(self, edge: Tensor, count: Tensor) -> Tensor:
        """Returns the log-probability of graphs whose nodes come in this order, shape ``(n,)``.

        It is normalised: over all numbers of nodes and all edges among them it sums to 1.

        Args:
            edge: Edges, nodes first, shape ``(n, nodes, nodes)``.
            count: How many nodes each graph has, shape ``(n,)``.
        """
        bits, earlier = self._looking_back(edge)
        h = self.nodes(self._seen(bits))[0]
        place = torch.arange(self.room, device=edge.device)
        there, ends = place < count[:, None], place == count[:, None]
        more = self.more(h)[..., 0] / self.temperature
        found = (logsigmoid(more) * there + logsigmoid(-more) * ends).sum(1)
        each = self._edges_given(h, bits)
        return found + (each * earlier * there[..., None]).sum((1, 2))

    def _looking_back(self, edge: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the edges of each node to the one before it and further back, and a mask.

        Shapes ``(n, nodes, nodes)`` and ``(nodes, nodes)``: entry ``(i, k)`` is the edge of node
        ``i`` to node ``i - 1 - k``, and the mask says whether there is such a node.
        """
        place = torch.arange(self.room, device=edge.device)
        back = place[:, None] - 1 - place
        index = back.clamp_min(0).expand(len(edge), -1, -1)
        earlier = (back >= 0).to(edge)
        return edge.gather(2, index) * earlier, earlier

    def _seen(self, bits: Tensor) -> Tensor:
        """Returns what the network for nodes sees before each node: the edges of the last one."""
        before: Tensor = self.rows(bits[:, :-1])
        return pad(before, (0, 0, 1, 0))

    def _edges_given(self, h: Tensor, bits: Tensor) -> Tensor:
        """Returns the log-probability of each edge, shape ``(n, nodes, nodes)``."""
        far = (self.far(h) / self.temperature).expand(-1, -1, self.room - self.window)
        logits = torch.cat([self._near(h, bits[:, :, : self.window]), far], 2)
        return logsigmoid(torch.where(bits > 0, logits, -logits))

    def _near(self, h: Tensor, near: Tensor) -> Tensor:
        """Returns the logit of each edge in the window given those before, ``(..., window)``.

        Args:
            h: State of the network for nodes, shape ``(..., width)``.
            near: The edges, shape ``(..., window)``.
        """
        inner = silu(self.given(h) + self.before(near))
        # How many edges there were so far in the row decides much: a node of a tree has one.
        count = near.cumsum(-1) - near
        alone, joined, each = self.direct(h).chunk(3, -1)
        counted = alone + joined * (count > 0) + each * count.log1p()
        logits: Tensor = counted + self.out(inner)
        return logits / self.temperature

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        parts = [
            self._drawn(min(_SAMPLED_AT_ONCE, n - start), rng)
            for start in range(0, max(n, 1), _SAMPLED_AT_ONCE)
        ]
        return torch.cat(parts)

    def _drawn(self, n: int, rng: torch.Generator) -> Tensor:
        edge = torch.zeros(n, self.room, self.room, device=rng.device)
        count = torch.zeros(n, dtype=torch.long, device=rng.device)
        seen, state = torch.zeros(n, 1, self.rows.out_features, device=rng.device), None
        for i in range(self.room):
            h, state = self.nodes(seen, state)
            more = self.more(h)[:, 0, 0] / self.temperature
            there = (count == i) & self._coin(more, rng)
            count = count + there
            bits = self._row(h[:, 0], i, rng) * there[:, None]
            seen = self.rows(bits)[:, None]
            edge[:, :i, i] = bits[:, :i].flip(1)
        return shuffled(with_nodes(edge, count), rng=rng)

    def _row(self, h: Tensor, i: int, rng: torch.Generator) -> Tensor:
        """Returns the edges of node ``i`` to the one before it and further back, a row each."""
        bits = torch.zeros(len(h), self.room, device=rng.device)
        near = min(i, self.window)
        for k in range(near):
            logit = self._near(h, bits[:, : self.window])[:, k]
            bits[:, k] = self._coin(logit, rng).float()
        if i > near:
            far = (self.far(h) / self.temperature).expand(-1, i - near)
            bits[:, near:i] = self._coin(far, rng).float()
        return bits

    @staticmethod
    def _coin(logit: Tensor, rng: torch.Generator) -> Tensor:
        return torch.rand(logit.shape, generator=rng, device=rng.device) < logit.sigmoid()


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class GraphAr:
    """An autoregressive model of graphs: nodes one by one, each with its edges to earlier ones.

    One player, ``graph-ar``; its loss is the negative log-probability of a graph in bits for each
    entry of its matrix, of which the network gives a lower bound: the probability of the graph in
    one random breadth-first order, over the probability of that order, as a graph of ``n`` nodes
    has ``n!`` orders.

    Source: You et al., 2018 (GraphRNN), https://arxiv.org/abs/1802.08773, sections 2.2 and 2.3.

    Differs from the paper: the bound counts orders (the paper's loss is the probability of a
    sequence); edges of a node are predicted one after the other by a masked perceptron (MADE) in
    one pass of training, not by a second recurrent network step by step; edges beyond a window are
    independent instead of impossible, so that every graph has a probability; a node may have no
    edge to earlier ones; one recurrent layer.

    Attributes:
        window: To how many earlier nodes edges depend on each other; default: all, 64 at most.
        width: Units of the network for nodes.
        edge_width: Units of the masked network for edges.
        ema: Decay of the exponential moving average of weights (EMA) used for sampling and
            evaluation; 0 disables it.
    """

    window: Annotated[int, Between(1)] | None = None
    width: Annotated[int, Between(1)] = 128
    edge_width: Annotated[int, Between(1)] = 128
    ema: Annotated[float, Between(0, 1, below=True)] = 0.0

    @property
    def solver(self) -> str:
        """Adam with clipped gradients, as recurrent networks need."""
        return "adam:lr=0.003,beta2=0.99,clip=1.0"

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> Generative:
        """Returns an untrained model for graphs, on the device of ``rng``.

        Raises:
            UserError: If ``space`` does not hold graphs, or there is a context.
        """
        room = room_of(space, "graph-ar")
        refuse_context("graph-ar", context_space)
        window = min(self.window or _WINDOW, max(room - 1, 1))
        with seeded(rng.stream("init")):
            model = GraphRnn(space, window=window, width=self.width, edge_width=self.edge_width)
        return MaximumLikelihood(model.to(rng.device), player="graph-ar")
