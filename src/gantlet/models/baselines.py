"""Baselines: histogram, Gaussian mixture, memorized training data."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.model import Density, FitResult, LogProb, LogProbKind, Model
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.models.nets import LatentScaled, Scaling


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Memorizer:
    """A baseline that returns training samples, drawn with replacement.

    A metric that prefers it to held-out data does not see overfitting. It has no density.
    """

    def fit(self, space: Space, train: Tensor, *, rng: Rng) -> FitResult:
        """Returns the model that holds ``train``, shape ``(n, *space.shape)``, at no cost.

        Raises:
            UserError: If ``train`` is not of ``space``.
        """
        del rng  # nothing is random
        small = space.levels is not None and space.levels <= 256
        x = space.check(train, "train")
        return FitResult(_Memory(space, x.to(torch.uint8) if small else x.clone()), 0.0)

    def restore(self, space: Space, state: Mapping[str, Tensor]) -> Model:
        """Returns the model from its saved tensors."""
        return _Memory(space, **state)


@final
class _Memory(Model):
    """All training samples, ``samples`` of shape ``(n, *space.shape)``."""

    samples: Tensor

    def __init__(self, space: Space, samples: Tensor) -> None:
        super().__init__()
        self.space = space
        self.register_buffer("samples", samples)

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        index = torch.randint(len(self.samples), (n,), generator=rng, device=rng.device)
        return self.samples[index].float()


# ----------------------------------------------------------------------------
# The baseline of mixed Gaussians.
# ----------------------------------------------------------------------------

# Components of a sample up to which a full covariance is what "auto" means, and is allowed: an
# iteration costs the square of them.
_FULL, _LARGEST = 256, 1024

Covariance = Literal["auto", "full", "diag", "spherical", "tied"]


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Gmm:
    """A mixture of Gaussians, fitted by expectation maximisation on dequantised, scaled data.

    scikit-learn fits it, from one run of k-means; sampling and scoring are done here, in double
    precision. The fit ends when the mean log-likelihood rises by less than 0.001 in an iteration.

    Source: Dempster, Laird and Rubin, 1977, https://doi.org/10.1111/j.2517-6161.1977.tb01600.x.

    Attributes:
        components: Number of mixture components.
        covariance: Of each Gaussian: any ("full"), with independent directions ("diag"), round
            ("spherical"), or any, but one for all Gaussians ("tied"); "auto" is "full" for
            samples of at most 256 components and "diag" for larger ones.
        regularisation: Added to the variances, in scaled units; default: the variance of the
            dequantisation noise on a discrete space, 1e-6 on a continuous one.
        iterations: Maximum number of iterations.
    """

    components: Annotated[int, Between(1)] = 10
    covariance: Covariance = "auto"
    regularisation: Annotated[float, Between(0)] | None = None
    iterations: Annotated[int, Between(1)] = 100

    def fit(self, space: Space, train: Tensor, *, rng: Rng) -> FitResult:
        """Returns the mixture fitted to ``train``, shape ``(n, *space.shape)``.

        The cost is that of k-means and of the iterations of expectation maximisation; see
        ``_flops``.

        Raises:
            UserError: If ``train`` is not of ``space`` or has fewer samples than there are
                Gaussians, or if covariances would be too large or came out singular.
        """
        if self.covariance == "auto":
            chosen: Covariance = "full" if space.size <= _FULL else "diag"
            return replace(self, covariance=chosen).fit(space, train, rng=rng)
        x = space.check(train, "train")
        self._check(space, len(x))
        scaling = Scaling(space).to(x.device, torch.float64)
        noisy = scaling.dequantise(x.double(), rng=rng.stream("dequantise"))
        scaling.fit(noisy)
        y = scaling(noisy).flatten(1)
        found, lloyd = self._estimate(y, self._added(scaling), rng)
        tensors = [found.weights_, found.means_, self._precision(found, space.size)]
        weights, means, precision = (torch.from_numpy(a).to(y) for a in tensors)
        model = _Mixture(space, scaling, weights, means, precision)
        return FitResult(model, self._flops(len(y), space.size, lloyd, int(found.n_iter_)))

    def _check(self, space: Space, n: int) -> None:
        if n < self.components:
            raise UserError(f"gmm:components={self.components} needs as many samples. Got {n}.")
        if space.size > _LARGEST and self.covariance in {"full", "tied"}:
            raise UserError(
                f"gmm:covariance={self.covariance} is for at most {_LARGEST} components of a "
                f"sample. Got {space.size} ({space.label}); use gmm:covariance=diag."
            )

    def _added(self, scaling: Scaling) -> float:
        """Returns the floor that is added to the variances, in scaled units."""
        if self.regularisation is not None:
            return self.regularisation
        # Uniform noise of one level has the variance 1/12 in squared levels.
        return 1e-6 if scaling.space.levels is None else float(scaling.scale.max()) ** -2 / 12

    def _estimate(self, y: Tensor, added: float, rng: Rng) -> tuple[Any, int]:
        """Returns scikit-learn's mixture and the iterations of the k-means it started from."""
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture
        from threadpoolctl import threadpool_limits

        stream = rng.stream("init")
        seed = int(torch.randint(2**31 - 1, (), generator=stream, device=stream.device))
        mixture = GaussianMixture(
            self.components,
            covariance_type=self.covariance,
            reg_covar=added,
            max_iter=self.iterations,
            random_state=seed,
        )
        data = y.cpu().numpy()
        # As many threads as torch has: the last digits depend on it, and so would --workers.
        with warnings.catch_warnings(), threadpool_limits(torch.get_num_threads()):
            warnings.simplefilter("ignore", ConvergenceWarning)
            # The mixture does not tell how long its own k-means took; this is the same run.
            kmeans = KMeans(self.components, n_init="auto", random_state=seed).fit(data)
            try:
                mixture.fit(data)
            except ValueError as error:
                raise UserError(
                    f"A component of gmm is singular; raise regularisation from "
                    f"{added:g} or lower components from {self.components}."
                ) from error
        return mixture, int(kmeans.n_iter_)

    def _precision(self, found: Any, d: int) -> Any:
        """Returns the factor of each precision, ``(K, d, d)``, or its diagonal, ``(K, d)``."""
        import numpy as np

        factor = found.precisions_cholesky_
        if self.covariance == "tied":
            return np.broadcast_to(factor, (self.components, d, d)).copy()
        if self.covariance == "spherical":
            return np.broadcast_to(factor[:, None], (self.components, d)).copy()
        return factor

    def _flops(self, n: int, d: int, lloyd: int, iterations: int) -> float:
        """Returns the floating point operations of the fit.

        An iteration of k-means computes distances to the ``K`` centres, ``2 n d`` each. One of
        expectation maximisation whitens the samples for each Gaussian and sums the outer products,
        ``2 n d^2`` each and once in all where the covariance is tied, or ``8 n d`` together where
        it is diagonal; it takes the means, ``2 n d``, and factors and inverts each covariance,
        ``4 d^3 / 3``.
        """
        k, square, cube = self.components, 2.0 * n * d**2, 4 * d**3 / 3
        fit = {
            "full": k * (2 * square + cube),
            "tied": k * square + square + cube,
            "diag": k * 8.0 * n * d,
            "spherical": k * 8.0 * n * d,
        }[self.covariance]
        return k * 2.0 * n * d * (lloyd + iterations) + fit * iterations

    def restore(self, space: Space, state: Mapping[str, Tensor]) -> Model:
        """Returns a fitted mixture from its saved tensors."""
        own = {name: t for name, t in state.items() if not name.startswith("scaling.")}
        scaling = Scaling(space).to(own["means"].device, torch.float64)
        model = _Mixture(space, scaling, **own)
        model.load_state_dict(dict(state))
        return model


@final
class _Mixture(Density, LatentScaled):
    """Gaussians ``N(mean_k, (P_k P_k^T)^-1)`` on scaled data, in double precision.

    Args:
        space: The space of the samples.
        scaling: From samples to the data that were fitted.
        weights: The share of each Gaussian, shape ``(K,)``.
        means: Shape ``(K, d)``.
        precision: The upper triangular factors ``P``, shape ``(K, d, d)``, or their diagonals,
            shape ``(K, d)``.
    """

    weights: Tensor
    means: Tensor
    precision: Tensor

    def __init__(
        self, space: Space, scaling: Scaling, weights: Tensor, means: Tensor, precision: Tensor
    ) -> None:
        super().__init__()
        self.space = space
        self.scaling = scaling
        self.register_buffer("weights", weights)
        self.register_buffer("means", means)
        self.register_buffer("precision", precision)

    @property
    def _is_diagonal(self) -> bool:
        return self.precision.ndim == 2

    def score(self, y: Tensor) -> Tensor:
        """Returns the log-density of scaled data, shape ``(n, d)``, in nats, shape ``(n,)``."""
        d = y.shape[1]
        diagonal = self.precision if self._is_diagonal else self.precision.diagonal(0, 1, 2)
        log_det = diagonal.log().sum(1)
        parts = [
            -0.5 * self._whitened(y - mean, k).square().sum(1) for k, mean in enumerate(self.means)
        ]
        logits = torch.stack(parts, 1) + log_det + self.weights.log()
        return logits.logsumexp(1) - 0.5 * d * math.log(2 * math.pi)

    def _whitened(self, centred: Tensor, k: int) -> Tensor:
        factor = self.precision[k]
        return centred * factor if self._is_diagonal else centred @ factor

    @override
    def _log_prob(self, x: Tensor, context: Tensor | None, *, rng: torch.Generator) -> LogProb:
        noisy = self.scaling.dequantise(x.double(), rng=rng)
        value = self.score(self.scaling(noisy).flatten(1)) + self.scaling.log_volume()
        kind: LogProbKind = "exact" if self.space.levels is None else "lower"
        method = "" if kind == "exact" else "one draw of uniform dequantisation"
        return LogProb(value.to(x.dtype), kind, method)

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        if not n:
            return torch.zeros(0, *self.space.shape, device=rng.device)
        which = torch.multinomial(self.weights, n, replacement=True, generator=rng)
        size = (n, self.means.shape[1])
        z = torch.randn(size, generator=rng, device=rng.device, dtype=torch.float64)
        y = self.means[which]
        for k in range(len(self.means)):
            mine = which == k
            y[mine] += self._coloured(self.latent_scale * z[mine], k)
        return self.scaling.samples(y.reshape(n, *self.space.shape)).float()

    def _coloured(self, z: Tensor, k: int) -> Tensor:
        """Returns the ``x`` with ``x P_k = z``."""
        factor = self.precision[k]
        if self._is_diagonal:
            return z / factor
        x: Tensor = torch.linalg.solve_triangular(factor, z, upper=True, left=False)
        return x


# ----------------------------------------------------------------------------
# The baseline that knows every component and no dependence between them.
# ----------------------------------------------------------------------------

_CHUNK = 4096  # samples that are counted or sampled at once
_METHOD = "independent histograms"


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Histogram:
    """A baseline of one histogram for each component of a sample, all independent.

    A component of a discrete space has a bin for each level, and its probabilities are exact:
    ``P(v) = (count(v) + alpha) / (n + alpha levels)``. A component of a continuous space has bins
    of equal width over the range of the training data. As a further draw falls outside the range
    of ``n`` with probability ``2 / (n + 1)``, that share goes to a Gaussian around the middle of
    the range, with the range as its standard deviation; so no sample is impossible.

    Attributes:
        alpha: Pseudo-count added to every bin.
        bins: Bins per continuous dimension.
    """

    alpha: Annotated[float, Between(0)] = 1.0
    bins: Annotated[int, Between(1)] = 64

    def fit(self, space: Space, train: Tensor, *, rng: Rng) -> FitResult:
        """Returns the histograms of ``train``, shape ``(n, *space.shape)``.

        The cost is one addition for each value.

        Raises:
            UserError: If ``train`` is not of ``space``.
        """
        del rng  # nothing is random
        x = space.check(train, "train").flatten(1)
        flops = float(x.numel())
        if space.levels is not None:
            counts = _count(x, space.levels)
            return FitResult(_Levels(space, self._share(counts)), flops)
        low, high = x.double().amin(0), x.double().amax(0)
        flat = low == high
        low, high = torch.where(flat, low - 0.5, low), torch.where(flat, high + 0.5, high)
        # The largest value lies on the upper edge of the last bin and belongs to it.
        place = ((x - low) / (high - low) * self.bins).floor().clamp(max=self.bins - 1)
        shares = self._share(_count(place, self.bins))
        outside = torch.tensor(2 / (len(x) + 1), dtype=torch.float64, device=x.device)
        return FitResult(_Bins(space, shares, low, high, outside), flops)

    def _share(self, counts: Tensor) -> Tensor:
        smoothed = counts.double() + self.alpha
        return smoothed / smoothed.sum(1, keepdim=True)

    def restore(self, space: Space, state: Mapping[str, Tensor]) -> Model:
        """Returns fitted histograms from their saved tensors."""
        return (_Bins if space.levels is None else _Levels)(space, **state)


def _count(x: Tensor, bins: int) -> Tensor:
    """Returns the counts of each whole number below ``bins`` in each column of ``x``."""
    columns = torch.arange(x.shape[1], device=x.device) * bins
    counts = torch.zeros(x.shape[1] * bins, dtype=torch.long, device=x.device)
    for i in range(0, len(x), _CHUNK):
        place = (x[i : i + _CHUNK].long() + columns).flatten()
        counts += torch.bincount(place, minlength=len(counts))
    return counts.reshape(x.shape[1], bins)


def _draw(shares: Tensor, n: int, rng: torch.Generator) -> Tensor:
    """Returns a bin for each of ``n`` samples and each row of ``shares``, shape ``(n, rows)``."""
    total = shares.cumsum(1)
    u = torch.rand(len(shares), n, generator=rng, device=rng.device, dtype=shares.dtype)
    # To the right of equal values, so that a bin of share zero is never drawn.
    return torch.searchsorted(total / total[:, -1:], u, right=True).T


@final
class _Levels(Density):
    """Independent probabilities of levels, ``shares`` of shape ``(size, levels)``."""

    shares: Tensor

    def __init__(self, space: Space, shares: Tensor) -> None:
        super().__init__()
        self.space = space
        self.register_buffer("shares", shares)

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        parts = [_draw(self.shares, min(_CHUNK, n - i), rng) for i in range(0, n, _CHUNK)]
        flat = torch.cat(parts) if parts else self.shares.new_zeros(0, self.space.size)
        return flat.float().reshape(n, *self.space.shape)

    @override
    def _log_prob(self, x: Tensor, context: Tensor | None, *, rng: torch.Generator) -> LogProb:
        level = x.flatten(1).long().T
        value = self.shares.log().gather(1, level).sum(0)
        return LogProb(value.to(x.dtype), "exact", _METHOD)


@final
class _Bins(Density):
    """Independent densities: ``shares`` of equal bins from ``low`` to ``high``, and tails."""

    shares: Tensor
    low: Tensor
    high: Tensor
    outside: Tensor

    def __init__(
        self, space: Space, shares: Tensor, low: Tensor, high: Tensor, outside: Tensor
    ) -> None:
        super().__init__()
        self.space = space
        self.register_buffer("shares", shares)
        self.register_buffer("low", low)
        self.register_buffer("high", high)
        self.register_buffer("outside", outside)

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        bins, width = self.shares.shape[1], self.high - self.low
        shape = (n, self.space.size)
        u, v = torch.rand(2, *shape, generator=rng, device=rng.device, dtype=torch.float64)
        z = torch.randn(shape, generator=rng, device=rng.device, dtype=torch.float64)
        x = self.low + width * (_draw(self.shares, n, rng) + u) / bins
        wide = (self.low + self.high) / 2 + width * z
        tail = v < self.outside
        return torch.where(tail, wide, x).float().reshape(n, *self.space.shape)

    @override
    def _log_prob(self, x: Tensor, context: Tensor | None, *, rng: torch.Generator) -> LogProb:
        y = x.flatten(1).double()
        bins, width = self.shares.shape[1], self.high - self.low
        place = (y - self.low) / width * bins
        inside = (place >= 0) & (place <= bins)
        share = self.shares.gather(1, place.long().clamp(0, bins - 1).T).T * inside
        z = (y - (self.low + self.high) / 2) / width
        tail = (-0.5 * z.square()).exp() / math.sqrt(2 * math.pi)
        density = ((1 - self.outside) * share * bins + self.outside * tail) / width
        return LogProb(density.log().sum(1).to(x.dtype), "exact", _METHOD)
