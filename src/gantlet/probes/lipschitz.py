"""How steep a decoder is: lower bounds of its Lipschitz constant, and typical slopes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor

from gantlet.compute.meters import count
from gantlet.core.estimate import Estimate
from gantlet.core.metric import Findings
from gantlet.core.model import Model
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.probes.annealing import FlatDecoder, decoding_of

LARGEST = "Lipschitz constant, lower bound"
"""The name of the larger of the largest slope and the largest secant."""

_JACOBIAN = "largest slope"
_SECANT = "largest secant"
_QUANTILES = {"median slope": 0.5, "slope, 99 % quantile": 0.99}
_NAMES = (LARGEST, _JACOBIAN, _SECANT, *_QUANTILES)

_FEWEST = 20
_NUMBERS = 2**22  # of one block of Jacobians
_LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Lipschitz:
    """Slopes of the map from latent vectors to samples, ``G``.

    The slope at ``z`` is the spectral norm of the Jacobian ``dG/dz``, which is exact. Its largest
    value over draws of the prior is a lower bound of the Lipschitz constant, and so is the largest
    ``|G(z) - G(z')| / |z - z'|`` of all pairs of some draws, which also sees cliffs between two of
    them. The true constant may be larger: no sample bounds it from above. Units are those of the
    samples (levels of a discrete space), for a latent space of standard normal vectors.

    Of a VAE it is the slope of the decoder's mean, without the noise that sampling adds; of a flow
    or of diffusion that of the whole inverse.

    Attributes:
        points: At how many latent vectors to take the slope.
        secants: Between how many latent vectors to take secants, all pairs.
        flops: About how many operations to spend; a costly model is looked at in fewer places, but
            20 at least.
    """

    points: Annotated[int, Between(_FEWEST)] = 10_000
    secants: Annotated[int, Between(2)] = 1_000
    flops: Annotated[float, Between(0)] = 2e11

    def inspect(self, model: Model, real: Tensor, *, rng: Rng) -> Findings:  # noqa: ARG002
        """Returns slopes and secants as scores."""
        decoding = decoding_of(model, dequantised=False)
        if decoding is None:
            return _missing("the model has no latent vectors")
        if model.context_space is not None:
            return _missing("the model is conditional: its slope depends on the condition")
        if not _is_differentiable(decoding, rng):
            return _missing("the decoder is not differentiable")
        slopes = self._slopes(decoding, rng)
        steepest = self._steepest_secant(decoding, rng)
        if not (bool(slopes.isfinite().all()) and math.isfinite(steepest)):
            return _missing("the decoder gave NaN or infinity")
        return Findings(scores=_scores(slopes, steepest, self.secants), clock={})

    def _slopes(self, decoding: FlatDecoder, rng: Rng) -> Tensor:
        """Returns the spectral norm of the Jacobian at draws of the prior, shape ``(n,)``."""
        n = self._affordable(decoding, rng)
        z = decoding.prior(n, rng=rng.stream("lipschitz"))
        rows = max(1, _NUMBERS // (decoding.latent * decoding.space.size))
        return torch.cat(
            [spectral_norms(jacobians(decoding, part)) for part in torch.split(z, rows)]
        )

    def _affordable(self, decoding: FlatDecoder, rng: Rng) -> int:
        """How many Jacobians the operations last for."""
        z = decoding.prior(1, rng=rng.stream("lipschitz cost"))
        with torch.no_grad():
            one = count(lambda: decoding(z)).flops
        # A derivative costs about twice the value.
        each = 2 * one * min(decoding.latent, decoding.space.size)
        affordable = int(self.flops / each) if each else self.points
        return min(self.points, max(_FEWEST, affordable))

    @torch.no_grad()
    def _steepest_secant(self, decoding: FlatDecoder, rng: Rng) -> float:
        z = decoding.prior(self.secants, rng=rng.stream("lipschitz secants"))
        y = torch.cat([decoding(part) for part in torch.split(z, 256)])
        return max(float(part.max()) for part in _secants(z.double(), y.double()))


@torch.enable_grad()
def _is_differentiable(decoding: FlatDecoder, rng: Rng) -> bool:
    return decoding(
        decoding.prior(1, rng=rng.stream("lipschitz cost")).requires_grad_()
    ).requires_grad


@torch.enable_grad()
def jacobians(decode: FlatDecoder, z: Tensor) -> Tensor:
    """Returns the Jacobian at each latent vector, shape ``(n, space.size, latent)``.

    By columns if the latent vector is the shorter, else by rows.

    Args:
        decode: The decoder, which must be differentiable.
        z: Latent vectors, shape ``(n, latent)``.
    """
    z = z.detach().requires_grad_()
    y = decode(z)
    if decode.latent <= decode.space.size:
        return _by_columns(y, z)
    parts = [
        torch.autograd.grad(y[:, i].sum(), z, retain_graph=True)[0] for i in range(y.shape[1])
    ]
    return torch.stack(parts, 1).detach()


def _by_columns(y: Tensor, z: Tensor) -> Tensor:
    """Returns the Jacobian with one derivative for each latent component.

    The product of a vector ``u`` and the Jacobian is linear in ``u``, so that its derivative in
    ``u`` is a column: reverse derivatives twice in place of forward ones, whose first use in
    torch compiles scripts and warns.
    """
    u = torch.zeros_like(y, requires_grad=True)
    (product,) = torch.autograd.grad((y * u).sum(), z, create_graph=True)
    parts = [
        torch.autograd.grad(product[:, i].sum(), u, retain_graph=True)[0]
        for i in range(z.shape[1])
    ]
    return torch.stack(parts, 2).detach()


def spectral_norms(jacobian: Tensor) -> Tensor:
    """Returns the largest singular value of each matrix, shape ``(n, a, b)``, float64."""
    j = jacobian.double()
    if not bool(j.isfinite().all()):
        return torch.full((len(j),), math.nan, dtype=torch.float64)
    gram = j.mT @ j if j.shape[2] <= j.shape[1] else j @ j.mT
    norms: Tensor = torch.linalg.eigvalsh(gram)[:, -1].clamp(min=0).sqrt()
    return norms.cpu()


def _secants(z: Tensor, y: Tensor) -> Iterator[Tensor]:
    """Yields the slopes of the secants from blocks of points to all."""
    exact = "donot_use_mm_for_euclid_dist"
    for i in range(0, len(z), 128):
        run = torch.cdist(z[i : i + 128], z, compute_mode=exact)
        rise = torch.cdist(y[i : i + 128], y, compute_mode=exact)
        yield torch.where(run > 0, rise / run.clamp(min=1e-300), 0.0)


def _scores(slopes: Tensor, secant: float, secants: int) -> dict[str, Estimate]:
    """Returns the scores from the slopes, shape ``(n,)``, and the steepest secant."""
    n = len(slopes)
    steepest = float(slopes.max())
    at = f"largest spectral norm of dG/dz at {n:,} latent vectors"
    between = f"largest |G(z) - G(z')| / |z - z'| of all pairs of {secants:,} latent vectors"
    found = {
        LARGEST: _bound(max(steepest, secant), n + secants, f"the larger of {at} and {between}"),
        _JACOBIAN: _bound(steepest, n, at),
        _SECANT: _bound(secant, secants, between),
    }
    return found | {name: quantile(slopes, p) for name, p in _QUANTILES.items()}


def _bound(value: float, n: int, how: str) -> Estimate:
    return Estimate(
        value=value,
        n=n,
        method=f"{how}: a lower bound of the true constant, no interval",
        kind="lower",
    )


def quantile(slopes: Tensor, p: float) -> Estimate:
    """Returns a quantile of slopes, shape ``(n,)``, with the interval of order statistics."""
    import scipy.stats

    ordered, n = slopes.sort().values.tolist(), len(slopes)
    value = ordered[math.ceil(p * n) - 1]
    tail = (1 - _LEVEL) / 2
    # The number of slopes below the true quantile is binomial.
    low = int(scipy.stats.binom.ppf(tail, n, p)) - 1
    high = int(scipy.stats.binom.isf(tail, n, p))
    method = f"spectral norm of dG/dz at {n:,} latent vectors, order statistics"
    if low < 0 or high >= n:
        return Estimate(value=value, n=n, method=f"{method} (too few for an interval)")
    return Estimate(
        value=value, low=ordered[low], high=ordered[high], level=_LEVEL, n=n, method=method
    )


def _missing(reason: str) -> Findings:
    return Findings(scores=dict.fromkeys(_NAMES, Estimate.missing(reason)), clock={})
