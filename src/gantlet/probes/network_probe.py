"""The networks that a model of one network gives: their statistics, overlap, link prediction."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, final

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.stats import rankdata
from torch import Tensor

from gantlet.core.data import Dataset, Splits
from gantlet.core.estimate import Estimate
from gantlet.core.metric import Findings, p_greater_rate
from gantlet.core.model import Model
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.domains.networks import HeldOut, NetworkCode, network_code
from gantlet.models.chains import NetworkModel, rewired
from gantlet.stats.intervals import mean
from gantlet.stats.network_statistics import (
    Array,
    Network,
    assemble,
    counted_pairs,
    edge_overlap,
    netgan_statistics,
    statistics,
    transitions,
)

OVERLAP = "edge overlap"
FOUND = "held-out edges found"
AUC = "link prediction ROC AUC"
PRECISION = "link prediction average precision"
STATISTIC = "network: "
"""What the name of a statistic of assembled networks begins with."""

_BLOCK = 500
_DRAWS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class NetworkProbe:
    """Statistics of the networks that a model gives, the edges they copy, and link prediction.

    A network is assembled from scores of pairs of nodes, with as many edges as the training part
    of the real one. The scores are those that the model itself gives, where it is one of networks,
    else how often its walks step between two nodes. The same scores, of held-out edges and of as
    many pairs without an edge, are what link prediction rests on.

    - ``edge overlap``: share of the training edges that are in an assembled network. A copy has
      all of them.
    - ``held-out edges found``: share of the edges for validation and test that are in it. A model
      that copies finds training edges more often than others; ``p`` is that of Fisher's exact test
      of no difference, on the first assembled network.
    - ``link prediction ROC AUC`` and ``average precision``: on the test edges.
    - ``network: ...``: statistics, beside those of the training part (``real``) and of a rewired
      copy of it with the same overlap (``rewired``); and those that the code of NetGAN computes
      under other names.

    Source: Bojchevski et al., 2018 (NetGAN), https://arxiv.org/abs/1803.00816, section 4.

    Attributes:
        graphs: Networks that are assembled; intervals are over them.
        walks: Walks that are sampled from a model that gives no scores.
    """

    graphs: Annotated[int, Between(2)] = 5
    walks: Annotated[int, Between(1)] = 20_000

    def examine(
        self, model: Model, real: Tensor, *, data: Dataset, splits: Splits, rng: Rng
    ) -> Findings:
        """Returns overlap, link prediction and the statistics of assembled networks.

        Raises:
            UserError: If the data are no network.
        """
        del real, data
        code = network_code(splits.code, "The probe network")
        scored = _scored(model, code, self.walks, rng)
        stream = rng.stream("assembled networks")
        made = [scored.graph(len(code.train.edges), stream) for _ in range(self.graphs)]
        return Findings(
            scores={
                **_copied(made, code),
                **_links(scored, code.test, rng.stream("link prediction")),
                **dict(_statistics(made, code.train, rng.stream("rewired"))),
            },
            clock={},
        )


# ----------------------------------------------------------------------------
# Scores of edges, of the model itself or counted along its walks.
# ----------------------------------------------------------------------------


@final
class _Scored:
    """Where graphs and scores come from: a model of networks, or counts of steps."""

    def __init__(self, source: NetworkModel | csr_array, nodes: int) -> None:
        self._source, self._nodes = source, nodes

    def graph(self, edges: int, rng: torch.Generator) -> Network:
        """Returns one network of about so many edges."""
        if isinstance(self._source, NetworkModel):
            return self._source.graph(edges, rng=rng)
        return assemble(counted_pairs(self._source), self._nodes, edges, rng=rng)

    def of(self, pairs: Array) -> Array:
        """Returns the score of each pair of nodes, shape ``(k,)``."""
        if isinstance(self._source, NetworkModel):
            return self._source.link_scores(pairs)
        scores: Array = np.asarray(self._source[pairs[:, 0], pairs[:, 1]]).ravel()
        return scores


def _scored(model: Model, code: NetworkCode, walks: int, rng: Rng) -> _Scored:
    if isinstance(model, NetworkModel):
        return _Scored(model, code.full.nodes)
    stream, nodes = rng.stream("walks of networks"), code.full.nodes
    counts = csr_array((nodes, nodes))
    for start in range(0, walks, _BLOCK):
        counts = counts + transitions(model.sample(min(_BLOCK, walks - start), rng=stream), nodes)
    return _Scored(csr_array(counts), nodes)


# ----------------------------------------------------------------------------
# What is measured.
# ----------------------------------------------------------------------------


def _copied(made: Sequence[Network], code: NetworkCode) -> dict[str, Estimate]:
    held = Network.of(code.full.nodes, np.concatenate([code.validation.edges, code.test.edges]))
    copies, found = ([edge_overlap(g, part) for g in made] for part in (code.train, held))
    counts = [int(np.isin(part.codes, made[0].codes).sum()) for part in (code.train, held)]
    p = p_greater_rate(counts[0], len(code.train.edges), counts[1], len(held.edges))
    how = "assembled networks"
    return {
        OVERLAP: mean(copies, of=how).as_proportion().beside(p=p, chance=_chance(code.train)),
        FOUND: mean(found, of=how, better="higher").as_proportion(),
    }


def _chance(graph: Network) -> float:
    """Returns the overlap that a random graph of the same degrees has, about."""
    m = len(graph.edges)
    product = graph.degrees[graph.edges].astype(float).prod(1)
    return float(np.minimum(product / (2 * m), 1).mean())


def _statistics(
    made: Sequence[Network], real: Network, rng: torch.Generator
) -> Iterator[tuple[str, Estimate]]:
    wanted = statistics(real) | netgan_statistics(real)
    twin = rewired(real, _share_copied(made, real), rng=rng)
    copied = statistics(twin) | netgan_statistics(twin)
    each = [statistics(g) | netgan_statistics(g) for g in made]
    for name, value in wanted.items():
        known = [one[name] for one in each if math.isfinite(one[name])]
        found = mean(known, of="assembled networks")
        yield f"{STATISTIC}{name}", found.beside(real=value, rewired=copied[name])


def _share_copied(made: Sequence[Network], real: Network) -> float:
    """Returns the share of edges to copy for the overlap of ``made``, which chance adds to."""
    overlap = sum(edge_overlap(g, real) for g in made) / len(made)
    chance = _chance(real)
    return min(max((overlap - chance) / max(1 - chance, 1e-9), 0.0), 1.0)


def _links(scored: _Scored, test: HeldOut, rng: torch.Generator) -> dict[str, Estimate]:
    edges, others = scored.of(test.edges), scored.of(test.others)
    return {AUC: roc_auc(edges, others), PRECISION: average_precision(edges, others, rng=rng)}


def roc_auc(positive: Array, negative: Array) -> Estimate:
    """Returns the probability that an edge has a higher score than a pair without one.

    Ties count half; the interval is over pairs, for the trained model.

    Source: DeLong, DeLong and Clarke-Pearson, 1988, https://doi.org/10.2307/2531595.

    Args:
        positive: Scores of edges, shape ``(m,)``.
        negative: Scores of other pairs, shape ``(n,)``.
    """
    m, n = len(positive), len(negative)
    if m < 2 or n < 2:
        return _missing(f"{m} edges and {n} other pairs are too few")
    ranks = rankdata(np.concatenate([positive, negative]))
    above = (ranks[:m] - rankdata(positive)) / n
    below = 1 - (ranks[m:] - rankdata(negative)) / m
    value = float(above.mean())
    error = math.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n)
    made = Estimate(
        value=value,
        low=value - _NORMAL * error,
        high=value + _NORMAL * error,
        n=m + n,
        better="higher",
        method=f"over {m} held-out edges and {n} other pairs, DeLong's interval for this model",
    )
    return made.as_proportion()


_NORMAL = 1.959963984540054


def average_precision(positive: Array, negative: Array, *, rng: torch.Generator) -> Estimate:
    """Returns the mean precision over the ranks of edges, with an interval over pairs.

    The interval is that of percentiles over resampled edges and other pairs. Tied scores are one
    threshold, as in scikit-learn.

    Args:
        positive: Scores of edges, shape ``(m,)``.
        negative: Scores of other pairs, shape ``(n,)``.
        rng: Draws the resamples.
    """
    m, n = len(positive), len(negative)
    if m < 2 or n < 2:
        return _missing(f"{m} edges and {n} other pairs are too few")
    draws = [torch.randint(k, (_DRAWS, k), generator=rng, device=rng.device) for k in (m, n)]
    a, b = (index.cpu().numpy() for index in draws)
    values = [_precision(positive[i], negative[j]) for i, j in zip(a, b, strict=True)]
    low, high = np.quantile(values, [0.025, 0.975]).tolist()
    value = _precision(positive, negative)
    return Estimate(
        value=value,
        low=min(low, value),
        high=max(high, value),
        n=m + n,
        better="higher",
        method=f"over {m} held-out edges and {n} other pairs, percentiles of {_DRAWS} resamples "
        "for this model",
        is_proportion=True,
    )


def _precision(positive: Array, negative: Array) -> float:
    scores = np.concatenate([positive, negative])
    is_edge = np.repeat([1.0, 0.0], [len(positive), len(negative)])
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    hits = is_edge[order].cumsum()[ends]
    gained = np.diff(hits, prepend=0.0) / len(positive)
    return float((gained * hits / (ends + 1)).sum())


def _missing(reason: str) -> Estimate:
    return Estimate.missing(reason, better="higher")
