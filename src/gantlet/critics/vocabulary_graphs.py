"""Measurements of single graphs that have a name."""

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from gantlet.critics.word import Probes, Word, haze, probes, word
from gantlet.data.checks import Array
from gantlet.features.graph_statistics import normalised_spectra

_SMALL = 0.02
_NONE = 1e-9


def graph_probes(x: Tensor) -> Probes:
    """Returns measurements of graphs, which do not depend on the order of their nodes.

    Args:
        x: Symmetric matrices, shape ``(n, nodes, nodes)``, with 1 on the diagonal where there is a
            node and elsewhere where there is an edge.
    """
    x = x.double()
    node = x.diagonal(dim1=1, dim2=2)
    edge = x - torch.diag_embed(node)
    degree, nodes = edge.sum(2), node.sum(1).clamp_min(1)
    return probes(
        _size(degree, node, nodes, haze(x, _SMALL))
        | _shapes(edge, degree, nodes)
        | _whole(edge, degree, node)
    )


def _size(degree: Tensor, node: Tensor, nodes: Tensor, dust: Tensor) -> dict[Word, Tensor]:
    mean = degree.sum(1) / nodes
    spread = ((degree - mean[:, None]).square() * node).sum(1) / nodes
    leaves, alone = (((degree == k) * node).sum(1) / nodes for k in (1, 0))
    return {
        word("nodes", "too few nodes", "too many nodes"): nodes.log() + dust,
        word("edges", "too few edges", "too many edges"): (mean + 0.1).log() + dust,
        word("spread of degrees", "degrees too even", "degrees too uneven", "degrees"): (
            (spread / (mean + 0.1) + 0.1).log()
        ),
        word("largest degree", "largest hub too small", "largest hub too large", "degrees"): (
            degree.amax(1).log1p()
        ),
        word("leaves", "too few ends", "too many ends"): leaves + dust,
        word("isolated nodes", "too few isolated nodes", "isolated nodes", "parts"): alone + dust,
    }


def _shapes(edge: Tensor, degree: Tensor, nodes: Tensor) -> dict[Word, Tensor]:
    """Returns how often edges close to triangles and squares, and what meets along an edge.

    Triangles and squares in powers of the wedges which change as much where edges are left out at
    random, so that it is not their number over again.
    """
    twice = edge @ edge
    triangles = (twice * edge).sum((1, 2)) / 6
    wedges = (degree * (degree - 1)).sum(1) / 2
    # Closed walks of four steps go over one edge, over a wedge, or around a square, in 8 ways.
    walks = twice.square().sum((1, 2))
    squares = (walks - degree.sum(1) - 4 * wedges) / 8
    room = wedges.clamp_min(1) / nodes
    dust = haze(edge, _SMALL / 2)
    return {
        word("triangles", "too few triangles", "too many triangles"): (
            (triangles / nodes / room.pow(1.5)).sqrt() + dust
        ),
        word("squares", "too few squares", "too many squares"): (
            (squares.clamp_min(0) / nodes / room.square()).sqrt() + dust
        ),
        word("assortativity", "unlike degrees meet too often", "like degrees meet too often"): (
            assortativity(edge, degree)
        ),
    }


def assortativity(edge: Tensor, degree: Tensor) -> Tensor:
    """Returns the correlation of the degrees at both ends of an edge, 0 where they do not vary.

    Source: Newman, 2002, https://arxiv.org/abs/cond-mat/0205405, equation 4.

    Args:
        edge: Adjacency matrices, shape ``(n, nodes, nodes)``.
        degree: Their row sums, shape ``(n, nodes)``.
    """
    ends = degree.sum(1).clamp_min(1)
    mean = degree.square().sum(1) / ends
    square = degree.pow(3).sum(1) / ends - mean.square()
    product = torch.einsum("ni,nij,nj->n", degree, edge, degree) / ends - mean.square()
    return torch.where(square > _NONE, product / square.clamp_min(_NONE), torch.zeros_like(mean))


def _whole(edge: Tensor, degree: Tensor, node: Tensor) -> dict[Word, Tensor]:
    """Returns how well a graph hangs together."""
    parts = [_parts(e, n) for e, n in zip(edge.cpu().numpy(), node.cpu().numpy(), strict=True)]
    number, largest = torch.tensor(parts, dtype=edge.dtype, device=edge.device).T
    dust = haze(edge, _SMALL)
    # The first eigenvalue that is not 0: each part has one that is.
    values = normalised_spectra(edge, degree, node)
    first = number.long().clamp(max=values.shape[1] - 1)
    gap = values.gather(1, first[:, None])[:, 0].clamp(0, 2)
    few, loose = "falls into too few parts", "bottlenecks: hangs together too loosely"
    return {
        word("parts", few, "falls into parts"): number.clamp_min(1).log() + 5 * dust,
        word("largest part", "largest part too small", few, "parts"): largest + dust,
        word("spectral gap", loose, "hangs together too well"): (gap.sqrt() + dust),
    }


def _parts(edge: Array, node: Array) -> tuple[int, float]:
    """Returns how many parts a graph has, and the share of its nodes in the largest."""
    there = node > 0
    if not there.any():
        return 0, 0.0
    own = csr_array(edge[np.ix_(there, there)])
    number, label = connected_components(own, directed=False)
    return int(number), float(np.bincount(label).max() / there.sum())
