"""Optimal transport between minibatches of equal size: exact assignment, and Sinkhorn's algorithm.

Samples are matched by a cost, a table with one row for each sample of one batch and one column for
each of the other. A matching is held fixed where a loss is differentiated: at the optimum, how it
moves with the cost does not matter (the envelope theorem), so the gradient of the transport cost
is the cost's own, weighted by the matching. In a second derivative it does matter: there an
entropic plan moves, and an assignment does not, since it is piecewise constant.

Both algorithms are operators of torch, so that meters see them, know what they cost
(``gantlet.compute.meters``), and count them on shapes alone too.
"""

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

import torch
from torch import Tensor
from torch.nn.functional import normalize
from typing_extensions import override

MatchingName = Literal["exact", "sinkhorn"]

GroundCost: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Costs of all pairs of rows of two tables, shapes ``(n, d)`` and ``(m, d)`` to ``(n, m)``."""


# torch.library.custom_op would import torch's whole compiler at the first call.
_LIBRARY: Any = torch.library.Library("gantlet", "DEF")  # type: ignore[no-untyped-call]
_LIBRARY.define("assignment(Tensor cost) -> Tensor")
_LIBRARY.define("sinkhorn(Tensor cost, float epsilon, int iterations) -> Tensor")


def assignment(cost: Tensor) -> Tensor:
    """Returns for each row the column that it is matched with in the cheapest assignment.

    By scipy, on the CPU, wherever ``cost`` is: at most of the order of ``n^3`` operations.

    Source: Crouse, 2016, https://doi.org/10.1109/TAES.2016.140952 (shortest augmenting paths).

    Args:
        cost: Finite costs, shape ``(k, n, n)``: one table for each of ``k`` pairs of batches.

    Returns:
        Columns, shape ``(k, n)``, of type int64.
    """
    found: Tensor = torch.ops.gantlet.assignment(cost.detach())
    return found


def _assignment(cost: Tensor) -> Tensor:
    from scipy.optimize import linear_sum_assignment

    # A training that diverges says so by its loss; any matching of numbers that are none will do.
    tables = cost.double().nan_to_num().cpu().numpy()
    columns = [torch.from_numpy(linear_sum_assignment(table)[1]) for table in tables]
    return torch.stack(columns).to(device=cost.device, dtype=torch.long)


def sinkhorn(cost: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Returns the logarithms of entropic transport plans, by Sinkhorn's algorithm on logarithms.

    Rows and columns weigh ``1 / n`` and ``1 / m``. The last update is of the rows, whose sums are
    exact; those of the columns are as near as ``iterations`` bring them.

    Source: Cuturi, 2013, https://arxiv.org/abs/1306.0895; on logarithms as Peyre and Cuturi, 2019,
    https://arxiv.org/abs/1803.00567, section 4.4.

    Args:
        cost: Costs, shape ``(k, n, m)``.
        epsilon: Weight of the entropy, in the units of the cost, above 0.
        iterations: Updates of rows and columns, at least one.

    Returns:
        Logarithms of the plans, shape ``(k, n, m)``; a plan sums to 1.
    """
    found: Tensor = torch.ops.gantlet.sinkhorn(cost.detach(), epsilon, iterations)
    return found


def _sinkhorn(cost: Tensor, epsilon: float, iterations: int) -> Tensor:
    n, m = cost.shape[-2:]
    kernel = -cost / epsilon
    # f and g are the potentials over epsilon, the weights of the marginals left in them.
    f, g = torch.zeros_like(kernel[..., :1]), torch.zeros_like(kernel[..., :1, :])
    for _ in range(iterations):
        g = -math.log(m) - (kernel + f).logsumexp(-2, keepdim=True)
        f = -math.log(n) - (kernel + g).logsumexp(-1, keepdim=True)
    return kernel + f + g


def _assignment_shape(cost: Tensor) -> Tensor:
    return cost.new_empty(cost.shape[:-1], dtype=torch.long)


def _sinkhorn_shape(cost: Tensor, epsilon: float, iterations: int) -> Tensor:
    del epsilon, iterations
    return torch.empty_like(cost)


# What each operator does with numbers, and with shapes alone.
_register: Any = torch.library.register_fake
_LIBRARY.impl("assignment", _assignment, "CompositeExplicitAutograd")
_LIBRARY.impl("sinkhorn", _sinkhorn, "CompositeExplicitAutograd")
_register("gantlet::assignment", _assignment_shape, lib=_LIBRARY)
_register("gantlet::sinkhorn", _sinkhorn_shape, lib=_LIBRARY)


class Matching(abc.ABC):
    """A way to match the samples of two batches."""

    @abc.abstractmethod
    def cost(self, cost: Tensor) -> Tensor:
        """Returns the transport costs of some tables, shape ``(k, n, n)`` to ``(k,)``.

        The gradient in ``cost`` is the matching, which can be differentiated in turn.
        """


@final
@dataclass(frozen=True, slots=True)
class Exact(Matching):
    """The cheapest assignment of one batch to the other."""

    @override
    def cost(self, cost: Tensor) -> Tensor:
        columns = assignment(cost.detach())
        return cost.gather(-1, columns[..., None]).squeeze(-1).mean(-1)


@final
class _EntropicCost(torch.autograd.Function):
    """``<P, C> + epsilon KL(P, uniform)``, whose gradient is ``P`` after any number of iterations.

    Where the gradient is to be differentiated in turn, ``P`` is made anew, by iterations that are
    recorded: memory then grows with their number.
    """

    @staticmethod
    @override
    def forward(cost: Tensor, epsilon: float, iterations: int) -> tuple[Tensor, Tensor]:
        n, m = cost.shape[-2:]
        logs = sinkhorn(cost, epsilon, iterations)
        plan = logs.exp()
        # KL(P, uniform) = sum P log(n m P); 0 log 0 counts as 0.
        held = plan * (logs + math.log(n * m))
        value = (plan * cost).sum((-2, -1)) + epsilon * held.nan_to_num().sum((-2, -1))
        return value, plan

    @staticmethod
    @override
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        cost, ctx.epsilon, ctx.iterations = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(cost, output[1])

    @staticmethod
    @override
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        cost, plan = ctx.saved_tensors
        if torch.is_grad_enabled():
            plan = _sinkhorn(cost, ctx.epsilon, ctx.iterations).exp()
        return gradients[0][..., None, None] * plan, None, None


@final
@dataclass(frozen=True, slots=True)
class Sinkhorn(Matching):
    """Entropic transport: ``<P, C> + epsilon KL(P, uniform)`` at the plan ``P`` of Sinkhorn.

    The gradient is that of ``<P, C>`` with ``P`` held fixed. The value holds the entropy, so that
    where the iterations have converged it is the gradient of the value as well. Second
    derivatives are those of this gradient, by differentiation through the iterations.

    Attributes:
        epsilon: Weight of the entropy, in the units of the cost.
        iterations: Iterations.
    """

    epsilon: float
    iterations: int

    @override
    def cost(self, cost: Tensor) -> Tensor:
        value: Tensor = _entropic(cost, self.epsilon, self.iterations)[0]
        return value


_entropic: Any = _EntropicCost.apply


def cosine_cost(x: Tensor, y: Tensor) -> Tensor:
    """Returns ``1 - cos`` of the angle between all rows of two tables, shape ``(n, m)``.

    Half the squared distance of the rows at length 1: between 0 and 2, and 1 at a right angle.
    """
    return 1 - normalize(x, dim=1) @ normalize(y, dim=1).T


def square_cost(x: Tensor, y: Tensor) -> Tensor:
    """Returns half the mean squared difference of all rows of two tables, shape ``(n, m)``.

    Of independent numbers of unit variance it is 1 on average, whatever the number of columns.
    """
    square = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T
    return square.clamp(min=0) / (2 * x.shape[1])


def minibatch_energy_distance(
    real: Tensor, fake: Tensor, match: Matching, *, ground: GroundCost = cosine_cost
) -> Tensor:
    """Returns the minibatch energy distance of two batches, each split in two halves, a scalar.

    With ``W`` the transport cost between halves ``x, x'`` of the one and ``y, y'`` of the other,
    ``W(x, y) + W(x, y') + W(x', y) + W(x', y') - 2 W(x, x') - 2 W(y, y')``. All halves are
    independent, so that the mean over batches is 0 where the distributions agree, at any batch
    size; ``W(x, y)`` alone is above 0 there.

    Source: Salimans et al., 2018 (OT-GAN), https://arxiv.org/abs/1803.05573.

    Args:
        real: Features of an even number of samples, shape ``(n, size)``.
        fake: As many, of the same size.
        match: How halves are matched.
        ground: Cost of two samples.
    """
    n = len(real) // 2
    table = ground(torch.cat([real, fake]), torch.cat([real, fake]))
    x, x2, y, y2 = (slice(i * n, (i + 1) * n) for i in range(4))
    pairs = ((x, y), (x, y2), (x2, y), (x2, y2), (x, x2), (y, y2))
    costs = match.cost(torch.stack([table[a, b] for a, b in pairs]))
    return costs[:4].sum() - 2 * costs[4:].sum()


def sinkhorn_divergence(
    real: Tensor, fake: Tensor, match: Sinkhorn, *, ground: GroundCost
) -> Tensor:
    """Returns ``2 W(x, y) - W(x, x) - W(y, y)`` with entropic transport costs, a scalar.

    Zero where the batches agree, and above it elsewhere. As a statistic of batches it is biased:
    it is above zero on average for two batches of one distribution.

    Source: Genevay et al., 2018, https://arxiv.org/abs/1706.00292; with the entropy in the value
    as Feydy et al., 2019, https://arxiv.org/abs/1810.08278, times 2.

    Args:
        real: Features, shape ``(n, size)``.
        fake: As many, of the same size.
        match: Sinkhorn's algorithm.
        ground: Cost of two samples.
    """
    n = len(real)
    both = torch.cat([real, fake])
    table = ground(both, both)
    costs = match.cost(torch.stack([table[:n, n:], table[:n, :n], table[n:, n:]]))
    return 2 * costs[0] - costs[1] - costs[2]
