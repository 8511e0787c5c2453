"""Valid, unique and novel: graphs of a model against what is known of the data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, Any, Literal, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gantlet.core.data import Dataset, Source, Splits, all_samples
from gantlet.core.estimate import Better, Estimate
from gantlet.core.metric import Findings, p_greater_rate
from gantlet.core.model import Model
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.data.graph_sets import Checkable, is_planar, is_tree
from gantlet.stats.graph_statistics import colours, isomorphism_classes
from gantlet.stats.intervals import proportion

Check: TypeAlias = Literal["auto", "tree", "planar", "none"]

_CHECKS: Mapping[Check, Callable[[Tensor], Tensor]] = {"tree": is_tree, "planar": is_planar}

_BETTER: Mapping[str, Better] = {
    "valid": "higher",
    "novel": "higher",
    "unique": "higher",
    "valid, unique and novel": "higher",
    "nearer to training graphs": "lower",
}
_ROUNDS = 3
_NO_INTERVAL = (
    "{} of {} graphs; no interval: whether a graph is the first of its kind depends on the others"
)
_UNKNOWN = (
    "what a valid graph is is not known of this data set; vun:valid=tree or valid=planar says it"
)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Vun:
    """Shares of a model's graphs that are valid, unique and novel, and whether they are copies.

    Valid graphs obey the law of a made data set, or a check that is named. A graph is novel if it
    is isomorphic to no training graph, and unique if it is isomorphic to none before it. Novelty
    is tested against that of held-out graphs, which may be isomorphic to training graphs too.

    A graph that is not a copy may still be one with a few edges moved. So it is also asked whether
    each graph is nearer to some training graph or to some held-out graph, out of equally many, by
    the cosine of their counts of neighbourhoods of up to three edges: of a model that learned
    nothing by heart that is training graphs for about half.

    Source: Martinkus et al., 2022 (SPECTRE), https://arxiv.org/abs/2204.01613, section 5, for the
    three shares; Shervashidze et al., 2011, https://jmlr.org/papers/v12/shervashidze11a.html, for
    the cosine.

    Attributes:
        samples: How many graphs of the model are looked at.
        valid: What a valid graph is: ``auto``, what the data set says; ``tree``; ``planar``, and
            connected; or ``none``.
        train: At most so many training graphs are compared with, the first ones.
    """

    samples: Annotated[int, Between(10)] = 500
    valid: Check = "auto"
    train: Annotated[int, Between(10)] = 10_000

    def examine(
        self, model: Model, real: Tensor, *, data: Dataset, splits: Splits, rng: Rng
    ) -> Findings:
        """Returns the shares as scores."""
        if model.space.kind != "graph" or model.context_space is not None:
            why = "for unconditional models of sets of graphs (kind graph) alone"
            missing = {name: Estimate.missing(why, better=b) for name, b in _BETTER.items()}
            return Findings(scores=missing, clock={})
        x = model.sample(self.samples, rng=rng.stream("vun")).cpu()
        train, real = self._training(splits.train), real.cpu()
        kind = isomorphism_classes(torch.cat([train, real, x]))
        known, held_out, own = torch.split(kind, [len(train), len(real), len(x)])
        novel = ~torch.isin(own, known)
        unique = _firsts(own)
        check = self._check(data)
        valid = None if check is None else check(x)
        return Findings(
            scores={
                "valid": _validity(valid, check, real),
                "novel": _novelty(novel, ~torch.isin(held_out, known), len(train)),
                "unique": _share(unique),
                "valid, unique and novel": _together(valid, unique & novel),
                "nearer to training graphs": _nearer(x, train, real),
            },
            clock={},
        )

    def _training(self, source: Source) -> Tensor:
        return all_samples(source, self.train)

    def _check(self, data: Dataset) -> Callable[[Tensor], Tensor] | None:
        if self.valid == "auto":
            return data.valid if isinstance(data, Checkable) else None
        return _CHECKS.get(self.valid)


def _firsts(kind: Tensor) -> Tensor:
    """Returns whether each graph is the first of its kind, bool, shape ``(n,)``."""
    found = np.zeros(len(kind), dtype=bool)
    found[np.unique(kind.numpy(), return_index=True)[1]] = True
    return torch.from_numpy(found)


def _validity(
    valid: Tensor | None, check: Callable[[Tensor], Tensor] | None, real: Tensor
) -> Estimate:
    if valid is None or check is None:
        return Estimate.missing(_UNKNOWN, better="higher")
    found = proportion(int(valid.sum()), len(valid), better="higher", of="graphs")
    if not len(real):
        return found
    ceiling = float(check(real).double().mean())
    return _said(found, f"held-out graphs {ceiling:.3f}").beside(real=ceiling)


def _novelty(novel: Tensor, held_out: Tensor, trained: int) -> Estimate:
    count, copies = int(novel.sum()), int((~novel).sum())
    found = proportion(count, len(novel), better="higher", of=f"graphs, {trained} to copy from")
    if not len(held_out):
        return found
    known = int((~held_out).sum())
    p = p_greater_rate(copies, len(novel), known, len(held_out))
    share = 1 - known / len(held_out)
    text = f"held-out graphs {share:.3f}; p = {p:.2g} of no more copies than these have"
    return _said(found, text).beside(real=share, p=p)


def _said(found: Estimate, text: str) -> Estimate:
    return replace(found, method=f"{found.method}; {text}")


def _share(unique: Tensor) -> Estimate:
    count, n = int(unique.sum()), len(unique)
    return Estimate(value=count / n, n=n, better="higher", method=_NO_INTERVAL.format(count, n))


def _together(valid: Tensor | None, other: Tensor) -> Estimate:
    if valid is None:
        return Estimate.missing(_UNKNOWN, better="higher")
    return _share(valid & other)


# ----------------------------------------------------------------------------
# Near-copies: is a graph nearer to a training graph than to a held-out one?
# ----------------------------------------------------------------------------


def _nearer(x: Tensor, train: Tensor, real: Tensor) -> Estimate:
    """Returns the share of graphs that are nearer to a training graph than to a held-out one."""
    size = min(len(train), len(real))
    if size < 10:
        missing = f"needs at least 10 training and 10 held-out graphs, got {size}"
        return Estimate.missing(missing, better="lower")
    to_train, to_real = nearest_similarities(x, train[:size], real[:size])
    told = np.abs(to_train - to_real) > _TIE
    count, n = int((to_train > to_real)[told].sum()), int(told.sum())
    found = proportion(count, n, better="lower", of="graphs that are nearer to either")
    if found.value is None:
        return found
    p = _p_more_than_half(count, n)
    text = (
        f"{size} training and as many held-out graphs; mean cosine {to_train.mean():.3f} and "
        f"{to_real.mean():.3f}; p = {p:.2g} against one half"
    )
    return _said(found, text).beside(p=p)


_TIE = 1e-9


def _p_more_than_half(count: int, n: int) -> float:
    """Returns the probability that so many or more of ``n`` coins show heads."""
    from scipy.special import betainc

    return float(betainc(count, n - count + 1, 0.5)) if count else 1.0


def nearest_similarities(x: Tensor, *others: Tensor) -> list[NDArray[np.float64]]:
    """Returns the largest cosine of each graph with one of each other set, shape ``(n,)`` each.

    Args:
        x: Graphs, shape ``(n, nodes, nodes)``.
        others: Sets of graphs with room for equally many nodes.
    """
    counts = _neighbourhoods(torch.cat([x, *others]))
    ends = np.cumsum([len(x), *map(len, others)])
    own = counts[: len(x)]
    return [
        np.asarray((own @ counts[start:end].T).max(axis=1).todense(), dtype=np.float64)[:, 0]
        for start, end in pairwise(ends)
    ]


def _neighbourhoods(x: Tensor) -> Any:
    """Returns how often each neighbourhood is in each graph, as sparse rows of unit length."""
    from scipy.sparse import csr_matrix
    from sklearn.preprocessing import normalize

    rounds = [colours(x, k) for k in range(_ROUNDS + 1)]
    # Colours of different rounds are hashes of different things, and so differ.
    every = np.concatenate(rounds, axis=1)
    row = np.repeat(np.arange(len(x)), every.shape[1])
    colour, there = every.reshape(-1), every.reshape(-1) > 0
    known, place = np.unique(colour[there], return_inverse=True)
    ones = np.ones(len(place))
    counts = csr_matrix((ones, (row[there], place)), shape=(len(x), max(len(known), 1)))
    return normalize(counts)
