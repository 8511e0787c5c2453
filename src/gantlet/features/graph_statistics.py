"""Graphs by the histograms of what their nodes are like."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor

from gantlet.core.dataset import Splits
from gantlet.core.errors import UserError
from gantlet.core.measure import Features
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between, Spec

_ROUNDING = 1e-6
_LARGEST = 2.5  # above all eigenvalues, with what rounding adds


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GraphStatistics:
    """Histograms of degrees, of clustering and of the spectrum of the normalised Laplacian.

    Each is the share of the nodes of a graph in a bin. Degrees have a bin each, the last one that
    of all larger ones; clustering is the share of the pairs of a node's neighbours that are
    joined. The last number is the number of nodes, as a share of the room for them.

    Source: You et al., 2018, https://arxiv.org/abs/1802.08773, section 4.3, for degrees and
        clustering; Liao et al., 2019, https://arxiv.org/abs/1910.00760, for the spectrum.
    Differs from the paper: the histograms are features of single graphs here, and no kernel is
        put between them.

    Attributes:
        bins: How many bins each of the histograms has.
    """

    learns: ClassVar[bool] = False

    bins: Annotated[int, Between(2)] = 16

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the extractor; there is nothing to fit.

        Raises:
            UserError: If samples are no graphs.
        """
        del data, rng
        if space.kind != "graph":
            raise UserError(f"graph-statistics sees graphs alone. Got {space.label}.")
        return Features(
            extract=self._histograms,
            note=f"histograms of degrees, clustering and spectrum in {self.bins} bins each",
            fingerprint=f"{Spec.of('graph-statistics', self)}/{space.label}",
        )

    def _histograms(self, x: Tensor) -> Tensor:
        x = x.double()
        node = x.diagonal(dim1=1, dim2=2)
        edge = torch.maximum(x, x.mT) * node[:, :, None] * node[:, None]
        edge = edge - torch.diag_embed(edge.diagonal(dim1=1, dim2=2))
        degree = edge.sum(2)
        pairs = degree * (degree - 1)
        around = torch.einsum("nij,njk,nki->ni", edge, edge, edge) / pairs.clamp_min(1)
        last = self.bins - 1
        by_degree = self._shares(degree.clamp(max=last), node)
        by_clustering = self._shares((around * self.bins).clamp(max=last), node)
        values = normalised_spectra(edge, degree, node)
        # Many eigenvalues are 0 or 1 but for rounding, which must not decide their bin.
        by_value = self._shares(
            ((values / 2 + _ROUNDING) * self.bins).clamp(0, last), values < _LARGEST
        )
        share = node.mean(1, keepdim=True)
        return torch.cat([by_degree, by_clustering, by_value, share], 1).float()

    def _shares(self, place: Tensor, counted: Tensor) -> Tensor:
        bins = torch.arange(self.bins, device=place.device)
        inside = (place.floor().long()[..., None] == bins) * counted[..., None]
        return inside.sum(1) / counted.sum(1, keepdim=True).clamp_min(1)


def normalised_spectra(edge: Tensor, degree: Tensor, node: Tensor) -> Tensor:
    """Returns the eigenvalues of normalised Laplacians, ascending, shape ``(n, nodes)``.

    They lie in [0, 2]; 3 stands for nodes that are not there. Isolated nodes count as 0.

    Source: Chung, 1997, Spectral Graph Theory, chapter 1.
    """
    root = torch.where(degree > 0, degree.clamp_min(1).rsqrt(), torch.zeros_like(degree))
    laplacian = torch.diag_embed((degree > 0).to(edge)) - root[:, :, None] * edge * root[:, None]
    laplacian += torch.diag_embed(3 * (1 - node))
    found: Tensor = torch.linalg.eigvalsh(laplacian)
    return found
