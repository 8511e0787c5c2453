"""Models of the rows of a table that are fitted directly: chains of trees, a copula, columns."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.columns import ColumnSlice, columns_of
from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.model import FitResult, Knob, Model, Selective, Tunable
from gantlet.core.rng import Rng
from gantlet.core.spec import Between


def table_columns(family: str, space: Space) -> tuple[ColumnSlice, ...]:
    """Returns the columns that a family of tables models.

    Args:
        family: The name of the family, for messages.
        space: What one sample is.

    Raises:
        UserError: If it is no row of a table.
    """
    try:
        return columns_of(space)
    except UserError as error:
        raise UserError(
            f"{family} models rows of a table and vectors of numbers. Got {space.label}."
        ) from error


def _rows(family: str, space: Space, train: Tensor) -> tuple[Tensor, tuple[ColumnSlice, ...]]:
    """Returns checked training rows and their columns.

    Raises:
        UserError: If there are no rows, or they are not of a table.
    """
    columns = table_columns(family, space)
    if not len(train):
        raise UserError(f"{family} needs training rows. Got none.")
    return space.check(train, "train"), columns


class _Tensors(Model):
    """A model that is a set of named tensors.

    Args:
        space: The space of a row.
        state: Its tensors by name.
    """

    def __init__(self, space: Space, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.space = space
        self.columns = columns_of(space)
        for name, tensor in state.items():
            self.register_buffer(name, tensor)


# ----------------------------------------------------------------------------
# The baseline that knows every column and no dependence between them.
# ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Independent(Selective):
    """A baseline whose columns are drawn from the training rows, each from a row of its own.

    So every column is right and no two depend on each other. A metric that prefers it to a model
    does not see how columns go together.
    """

    @override
    def check_space(self, space: Space) -> None:
        table_columns("independent", space)

    def fit(self, space: Space, train: Tensor, *, rng: Rng) -> FitResult:
        """Returns the model that holds ``train``, shape ``(n, *space.shape)``, at no cost.

        Raises:
            UserError: If ``train`` does not hold rows of a table.
        """
        del rng  # nothing is random
        x, _ = _rows("independent", space, train)
        return FitResult(_Independent(space, {"rows": x.clone()}), 0.0)

    def restore(self, space: Space, state: Mapping[str, Tensor]) -> Model:
        """Returns the model from its saved tensors."""
        return _Independent(space, state)


@final
class _Independent(_Tensors):
    """Training rows, ``rows`` of shape ``(n, d)``, whose columns are drawn one by one."""

    rows: Tensor

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        found = self.rows.new_empty(n, self.space.size)
        for column in self.columns:
            index = torch.randint(len(self.rows), (n,), generator=rng, device=rng.device)
            column.of(found)[:] = column.of(self.rows)[index]
        return found


# ----------------------------------------------------------------------------
# A chain of trees: each column given those before it.
# ----------------------------------------------------------------------------

# How many times larger the nodes are at the settings of the knob.
_COARSER = (64, 16, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class TreeChain(Selective):
    """A chain of decision trees (CART), one for each column given the columns before it.

    A row is drawn column by column: the tree of a column, grown on the training rows, leads the
    values drawn so far to a leaf, and one of the training rows in that leaf gives the value. No
    value is new, but their combinations are. It has no density.

    Source: Reiter, 2005, "Using CART to generate partially synthetic public use microdata",
    Journal of Official Statistics 21(3); Nowok, Raab and Dibben, 2016 (synthpop),
    https://doi.org/10.18637/jss.v074.i11.

    Differs from the papers: scikit-learn's trees, whose splits of a number with gaps count being
    missing as a second target; no smoothing, and no Bayesian bootstrap of the donors in a leaf.

    Attributes:
        leaf: Fewest training rows in a leaf.
        depth: Largest depth of a tree, or none.
    """

    leaf: Annotated[int, Between(1)] = 15
    depth: Annotated[int, Between(1)] | None = None

    @override
    def check_space(self, space: Space) -> None:
        table_columns("tree-chain", space)

    def fit(self, space: Space, train: Tensor, *, rng: Rng) -> FitResult:
        """Returns the trees of ``train``, shape ``(n, *space.shape)``.

        The cost is that of sorting the rows by each component at each level of each tree,
        ``n log2 n`` comparisons.

        Raises:
            UserError: If ``train`` does not hold rows of a table.
        """
        x, columns = _rows("tree-chain", space, train)
        state: dict[str, Tensor] = {"leaf": torch.tensor(self.leaf, device=x.device)}
        stream, flops = rng.stream("trees"), 0.0
        for i, column in enumerate(columns):
            seed = int(torch.randint(2**31 - 1, (), generator=stream, device=stream.device))
            tree, depth = self._grown(x, column, seed)
            state |= {f"{name}_{i}": t.to(x.device) for name, t in tree.items()}
            flops += depth * column.start * len(x) * math.log2(len(x) + 1)
        return FitResult(_Chain(space, state), flops)

    def _grown(self, x: Tensor, column: ColumnSlice, seed: int) -> tuple[dict[str, Tensor], int]:
        """Returns the tree of a column as tensors, with its donors, and its depth."""
        given = x[:, : column.start].cpu().float().numpy()
        own = column.of(x).cpu()
        if not column.start or len(torch.unique(own, dim=0)) == 1:
            return _stump(own), 0
        tree = self._tree(column, seed)
        if column.kind == "category":
            tree.fit(given, column.codes(x).cpu().numpy())
        else:
            target = own.double()
            spread = target.std(0, correction=0)
            target = (target - target.mean(0)) / torch.where(spread > 0, spread, 1.0)
            tree.fit(given, target.numpy())
        return _as_tensors(tree.tree_, torch.from_numpy(tree.apply(given)).long(), own)

    def _tree(self, column: ColumnSlice, seed: int) -> Any:
        from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

        kind = DecisionTreeClassifier if column.kind == "category" else DecisionTreeRegressor
        return kind(min_samples_leaf=self.leaf, max_depth=self.depth, random_state=seed)

    def restore(self, space: Space, state: Mapping[str, Tensor]) -> Model:
        """Returns fitted trees from their saved tensors."""
        return _Chain(space, state)


def _stump(own: Tensor) -> dict[str, Tensor]:
    """Returns the tree of one leaf, in which all rows are donors."""
    return {
        "left": torch.tensor([-1]),
        "right": torch.tensor([-1]),
        "feature": torch.tensor([0]),
        "threshold": torch.zeros(1, dtype=torch.float64),
        "first": torch.tensor([0]),
        "count": torch.tensor([len(own)]),
        "donors": own.clone(),
    }


def _as_tensors(tree: Any, leaf: Tensor, own: Tensor) -> tuple[dict[str, Tensor], int]:
    """Returns a tree of scikit-learn's and its donors, in the order of their leaves.

    Nodes are numbered depth first, so that the donors of every node, leaf or not, are neighbours.

    Args:
        tree: The inner tree.
        leaf: In which leaf each training row is, shape ``(n,)``.
        own: The components of the column, shape ``(n, width)``.
    """
    order = leaf.argsort(stable=True)
    nodes = torch.arange(tree.node_count)
    found = {
        "left": torch.from_numpy(tree.children_left.copy()).long(),
        "right": torch.from_numpy(tree.children_right.copy()).long(),
        "feature": torch.from_numpy(tree.feature.copy()).long(),
        "threshold": torch.from_numpy(tree.threshold.copy()).double(),
        "first": torch.searchsorted(leaf[order].contiguous(), nodes),
        "count": torch.from_numpy(tree.n_node_samples.copy()).long(),
        "donors": own[order],
    }
    return found, int(tree.max_depth)


@final
class _Chain(Tunable, _Tensors):
    """Trees as tensors, one for each column.

    Args:
        space: The space of a row.
        state: The tensors of all trees, and ``leaf``: the fewest donors of a leaf.
        donors: Nodes with fewer donors are not entered; None for those of the fit.
    """

    leaf: Tensor

    def __init__(
        self, space: Space, state: Mapping[str, Tensor], donors: float | None = None
    ) -> None:
        super().__init__(space, state)
        self._donors = donors

    @property
    @override
    def sample_depth(self) -> int:
        return len(self.columns)

    @property
    @override
    def knob(self) -> Knob:
        leaf = float(self.leaf)
        return Knob("donors", tuple(leaf * k for k in _COARSER), leaf)

    @override
    def tuned(self, value: float) -> Model:
        """Returns the model that stops where a node would have fewer than ``value`` donors.

        Raises:
            UserError: If that is fewer than leaves have.
        """
        if not value >= float(self.leaf):
            raise UserError(
                f"donors must be at least leaf={int(self.leaf)}, with which the trees were grown. "
                f"Got {value:g}."
            )
        return _Chain(self.space, self.state_dict(), value)

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        found = torch.empty(n, self.space.size, device=rng.device)
        for i, column in enumerate(self.columns):
            node = self.nodes(i, found)
            count = self._of(i, "count")[node]
            u = torch.rand(n, generator=rng, device=rng.device, dtype=torch.float64)
            place = self._of(i, "first")[node] + (u * count).long().clamp(max=count - 1)
            column.of(found)[:] = self._of(i, "donors")[place]
        return found

    def _of(self, i: int, name: str) -> Tensor:
        return self.get_buffer(f"{name}_{i}")

    def nodes(self, i: int, x: Tensor) -> Tensor:
        """Returns the node of the tree of column ``i`` at which each row stops, shape ``(n,)``.

        Args:
            i: The column.
            x: Rows, of which the components before the column are looked at, shape ``(n, d)``.
        """
        node = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        least = float(self.leaf) if self._donors is None else self._donors
        while True:
            left, feature = self._of(i, "left")[node], self._of(i, "feature")[node]
            inner = left >= 0
            value = x.gather(1, feature.clamp(min=0)[:, None])[:, 0].double()
            below = value <= self._of(i, "threshold")[node]
            child = torch.where(below, left, self._of(i, "right")[node]).clamp(min=0)
            goes = inner & (self._of(i, "count")[child] >= least)
            if not bool(goes.any()):
                return node
            node = torch.where(goes, child, node)


# ----------------------------------------------------------------------------
# A Gaussian copula: any columns, joined by the correlations of normal scores.
# ----------------------------------------------------------------------------

# A correlation matrix of pairs has no eigenvalue below this after it was made one.
_LEAST_EIGENVALUE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Copula(Selective):
    """A Gaussian copula: the columns of the training rows, joined by normal correlations.

    Every column is a function of one normal number: the quantile of the training rows, so that no
    value is new. Of a category it is the interval that has its share, the most frequent first;
    whether a number is missing has a normal number of its own. What is fitted is the correlation
    of these numbers. No density.

    Source: Patki, Wedge and Veeramachaneni, 2016 (The Synthetic Data Vault),
    https://doi.org/10.1109/DSAA.2016.49, section IV.

    Differs from the paper: columns keep the distribution of the training rows in place of a
    fitted one of a few families.
    """

    @override
    def check_space(self, space: Space) -> None:
        table_columns("copula", space)

    def fit(self, space: Space, train: Tensor, *, rng: Rng) -> FitResult:
        """Returns the copula of ``train``, shape ``(n, *space.shape)``.

        The cost is that of sorting each column, ``n log2 n``, and of the products of all pairs.

        Raises:
            UserError: If ``train`` does not hold rows of a table.
        """
        x, columns = _rows("copula", space, train)
        margins = [m for column in columns for m in _margins(x, column)]
        stream = rng.stream("scores")
        z = torch.stack([m.scores(stream) for m in margins], 1)
        there = torch.stack([m.there for m in margins], 1).double()
        root = _root(z * there, there)
        state = {f"values_{i}": m.values for i, m in enumerate(margins)}
        state["fillers"] = torch.stack([column.filler(x) for column in columns])
        k, n = len(margins), len(x)
        flops = 2.0 * n * k * k + k * n * math.log2(n + 1)
        return FitResult(_Copula(space, {**state, "root": root}), flops)

    def restore(self, space: Space, state: Mapping[str, Tensor]) -> Model:
        """Returns a fitted copula from its saved tensors."""
        return _Copula(space, state)


@final
@dataclass(frozen=True, slots=True)
class _Margin:
    """What one normal number of a copula stands for.

    Attributes:
        own: The numbers, or codes of a category, of all rows, float64, shape ``(n,)``.
        there: Which rows have one, bool, shape ``(n,)``.
        values: Those in the order of the normal number, shape ``(m,)``: quantiles.
    """

    own: Tensor
    there: Tensor
    values: Tensor

    def scores(self, rng: torch.Generator) -> Tensor:
        """Returns the normal number of each row, float64; of equal values at random places."""
        values, n = self.values, len(self.values)
        # Places of equal values among ``values`` are neighbours, so that a search by order works.
        order, rank = torch.unique(values, return_inverse=True)
        first = torch.full((len(order),), n, device=values.device)
        place = torch.arange(n, device=values.device)
        first = first.scatter_reduce(0, rank, place, "amin")
        count = torch.bincount(rank, minlength=len(order))
        which = torch.searchsorted(order, self.own.contiguous()).clamp(max=len(order) - 1)
        u = torch.rand(len(self.own), generator=rng, device=rng.device, dtype=torch.float64)
        share = (first[which] + u * count[which]) / n
        scores: Tensor = torch.special.ndtri(share.clamp(0.5 / n, 1 - 0.5 / n))
        return scores


def _margins(x: Tensor, column: ColumnSlice) -> Iterator[_Margin]:
    """Yields the normal numbers of a column: one, and one more for gaps."""
    everyone = torch.ones(len(x), dtype=torch.bool, device=x.device)
    if column.kind == "category":
        yield _by_frequency(column.codes(x), everyone)
        return
    own, there = x[:, column.start].double(), column.present(x)
    # Where all are missing, what stands for them is the only value.
    values = own[there] if bool(there.any()) else own
    yield _Margin(own, there, values.sort().values)
    if column.gaps:
        yield _by_frequency((~there).long(), everyone)


def _by_frequency(codes: Tensor, everyone: Tensor) -> _Margin:
    counts = torch.bincount(codes)
    order = counts.argsort(descending=True, stable=True)
    values = torch.repeat_interleave(order, counts[order]).double()
    return _Margin(codes.double(), everyone, values)


def _root(z: Tensor, there: Tensor) -> Tensor:
    """Returns the Cholesky factor of the correlations of the rows that have both of a pair."""
    both = (there.T @ there).clamp(min=1)
    square = (z.square().T @ there / both).clamp(min=1e-12)
    matrix = (z.T @ z / both) / (square * square.T).sqrt()
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    matrix = (vectors * values.clamp(min=_LEAST_EIGENVALUE)) @ vectors.T
    scale = matrix.diagonal().rsqrt()
    root: Tensor = torch.linalg.cholesky(matrix * scale[:, None] * scale)
    return root


@final
class _Copula(_Tensors):
    """Quantiles of columns, ``values_0`` ..., and the factor ``root`` of the correlations.

    ``fillers`` stand where a number is missing, one for each column.
    """

    root: Tensor
    fillers: Tensor

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        z = torch.randn(n, len(self.root), generator=rng, device=rng.device, dtype=torch.float64)
        u = torch.special.ndtr(z @ self.root.T)
        drawn = [self._quantile(i, u[:, i]) for i in range(u.shape[1])]
        parts = [self._components(c, k, drawn) for k, c in enumerate(self.columns)]
        return torch.cat(parts, 1)

    def _quantile(self, i: int, u: Tensor) -> Tensor:
        values = self.get_buffer(f"values_{i}")
        place = (u * len(values)).long().clamp(max=len(values) - 1)
        return values[place]

    def _components(self, column: ColumnSlice, k: int, drawn: list[Tensor]) -> Tensor:
        """Returns the components of column ``k``, and takes its numbers off the list."""
        own = drawn.pop(0)
        if column.kind == "category":
            return column.coded(own.long())
        if not column.gaps:
            return own.float()[:, None]
        missing = drawn.pop(0) > 0.5
        value = torch.where(missing, self.fillers[k], own.float())
        return torch.stack([value, missing.float()], 1)
