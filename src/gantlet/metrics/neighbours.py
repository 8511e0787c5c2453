"""Precision, recall, density and coverage: four counts of who lies in whose neighbourhood."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor

from gantlet.core.estimate import Better, Estimate
from gantlet.core.measure import Sees
from gantlet.core.spec import Between
from gantlet.metrics.balls import Inside, inside, radii
from gantlet.metrics.inputs import about_zero, pair, too_few
from gantlet.metrics.intervals import Variance, around, fraction
from gantlet.metrics.jackknife import FOLDS, folds, shared

NAMES = ("precision", "recall", "density", "coverage")

_METHOD = (
    "balls to neighbour {}; for these sample sizes; interval from the count and, by block "
    "jackknife, from the balls that the counted share; held 92 to 99 % in simulations"
)


def neighbour_metrics(
    real: Tensor,
    fake: Tensor,
    *,
    rng: torch.Generator,
    k_precision: int = 3,
    k_density: int = 5,
    names: Collection[str] = NAMES,
) -> dict[str, Estimate]:
    """Returns precision, recall, density and coverage, or those of ``names``, from one pass.

    Args:
        real: Features, shape ``(n, d)``.
        fake: Features, shape ``(m, d)``.
        rng: Draws the folds of the jackknife.
        k_precision: The neighbour to which the balls of precision and recall reach.
        k_density: The neighbour to which the balls of density and coverage reach.
        names: Which to measure.

    Raises:
        UserError: If the features cannot be compared.
    """
    x, y = about_zero(*pair(real, fake))
    # The balls must still reach their neighbour when a fold is left out.
    if reason := too_few(x, y, max(k_precision, k_density) + 2):
        return {name: Estimate.missing(reason, better="higher") for name in names}
    seen = _look(x, y, (k_precision, k_density), names, rng)
    return {name: _judge(name, seen).named(unit="1", better="higher") for name in names}


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one pass over all pairs has shown, and with which balls."""

    inside: Inside
    wide: Tensor
    fold: Tensor
    k_precision: int
    k_density: int


def _look(
    x: Tensor, y: Tensor, ks: tuple[int, int], names: Collection[str], rng: torch.Generator
) -> _Seen:
    fold_x = folds(len(x), rng=rng, device=x.device)
    fold_y = folds(len(y), rng=rng, device=y.device)
    narrow, wide = radii(x, ks, fold_x)
    (fakes,) = radii(y, ks[:1], fold_y)
    found = inside(
        x,
        y,
        real_balls=_only(names, {"precision": narrow, "density": wide}),
        fake_balls=_only(names, {"recall": fakes}),
        fake_fold=fold_y,
    )
    return _Seen(found, wide, fold_x, *ks)


def _only(names: Collection[str], all_: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: radius for name, radius in all_.items() if name in names}


def _judge(name: str, seen: _Seen) -> Estimate:
    if name == "precision":
        return _share(seen.inside.fake[name], seen.k_precision)
    if name == "recall":
        return _share(seen.inside.real[name], seen.k_precision)
    if name == "density":
        return _density(seen.inside.fake[name], seen.k_density)
    return _coverage(seen)


def _share(counts: Tensor, k: int) -> Estimate:
    """Judges the share of samples that some ball holds."""
    held = (counts > 0).double()
    variance = _variance(held[0], held[1:] - held[0])
    return _fraction(held[0], variance, k)


def _density(counts: Tensor, k: int) -> Estimate:
    """Judges how many balls hold a sample, over ``k``."""
    held = counts.double() / k
    variance = _variance(held[0], held[1:] - held[0])
    return around(float(held[0].mean()), variance, n=held.shape[1], method=_METHOD.format(k))


def _coverage(seen: _Seen) -> Estimate:
    """Judges the share of real balls that hold a fake sample."""
    nearest = seen.inside.nearest
    covered = (nearest.amin(1) <= seen.wide).double()
    whole = covered[0]
    # A ball that is left out takes its own term with it, and fewer terms share the mean.
    left_out = seen.fold == torch.arange(len(covered) - 1, device=whole.device)[:, None]
    fewer = len(whole) / (~left_out).sum(1, keepdim=True)
    by_real = torch.where(left_out, whole.mean() - whole, covered[1:] - whole) * fewer
    without = [_others(nearest, f).amin(1) for f in range(nearest.shape[1])]
    by_fake = (torch.stack(without) <= seen.wide[0]).double() - whole
    return _fraction(whole, _variance(whole, by_real, by_fake), seen.k_density)


def _others(nearest: Tensor, fold: int) -> Tensor:
    return torch.cat([nearest[:, :fold], nearest[:, fold + 1 :]], dim=1)


def _variance(terms: Tensor, *changes: Tensor) -> Variance:
    """Returns the variance of the mean of terms that changed as samples were left out."""
    own = float(terms.var()) / len(terms)
    # Noise in what is shared must neither make the terms look more certain than independent ones,
    # nor leave fewer degrees of freedom than the folds of one side have.
    shares = [shared(change / len(terms)) for change in changes]
    value = max(own + math.fsum(s.value for s in shares), own)
    noise = math.fsum(s.noise for s in shares)
    return Variance(value, min(noise, 2 * value * value / (FOLDS - 1)))


def _fraction(held: Tensor, variance: Variance, k: int) -> Estimate:
    return fraction(float(held.mean()), variance, n=len(held), method=_METHOD.format(k))


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Precision:
    """The share of fake samples inside the real set: are they good?

    A fake sample is inside if it lies in the ball of a real one, which reaches to the real one's
    ``k``-th nearest real neighbour; on the edge counts as inside. The value depends on the sample
    sizes: compare equal sizes only.

    Source: Kynkaanniemi et al., 2019, https://arxiv.org/abs/1904.06991.

    Attributes:
        k: The neighbour to which a ball reaches.
    """

    better: ClassVar[Better] = "higher"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = True

    k: Annotated[int, Between(1, 1024)] = 3

    def measure(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Estimate:
        """Compares features, shapes ``(n, d)`` and ``(m, d)``; ``rng`` draws the folds.

        Raises:
            UserError: If the features cannot be compared.
        """
        return _one("precision", real, fake, self.k, rng)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Recall:
    """The share of real samples inside the fake set: are all kinds made?

    Precision with the roles swapped.

    Source: Kynkaanniemi et al., 2019, https://arxiv.org/abs/1904.06991.

    Attributes:
        k: The neighbour to which a ball reaches.
    """

    better: ClassVar[Better] = "higher"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = True

    k: Annotated[int, Between(1, 1024)] = 3

    def measure(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Estimate:
        """Compares features, shapes ``(n, d)`` and ``(m, d)``; ``rng`` draws the folds.

        Raises:
            UserError: If the features cannot be compared.
        """
        return _one("recall", real, fake, self.k, rng)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Density:
    """How many real balls hold a fake sample, over ``k``: are fakes where reals are dense?

    1 on average where the two are equal; above 1 where fakes crowd the densest places.

    Source: Naeem et al., 2020, https://arxiv.org/abs/2002.09797.

    Differs from the paper: the edge of a ball counts as inside, as for precision, so that sets
    of equal samples score as what they are.

    Attributes:
        k: The neighbour to which a ball reaches.
    """

    better: ClassVar[Better] = "higher"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = True

    k: Annotated[int, Between(1, 1024)] = 5

    def measure(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Estimate:
        """Compares features, shapes ``(n, d)`` and ``(m, d)``; ``rng`` draws the folds.

        Raises:
            UserError: If the features cannot be compared.
        """
        return _one("density", real, fake, self.k, rng)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Coverage:
    """The share of real balls that hold a fake sample: are all kinds made?

    Where the two are equal it is ``1 - prod_{i<k} (n - 1 - i) / (n + m - 1 - i)`` on average,
    about ``1 - 2^-k`` for sets of equal size.

    Source: Naeem et al., 2020, https://arxiv.org/abs/2002.09797.

    Differs from the paper: the edge of a ball counts as inside, as for precision.

    Attributes:
        k: The neighbour to which a ball reaches.
    """

    better: ClassVar[Better] = "higher"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = True

    k: Annotated[int, Between(1, 1024)] = 5

    def measure(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Estimate:
        """Compares features, shapes ``(n, d)`` and ``(m, d)``; ``rng`` draws the folds.

        Raises:
            UserError: If the features cannot be compared.
        """
        return _one("coverage", real, fake, self.k, rng)


def _one(name: str, real: Tensor, fake: Tensor, k: int, rng: torch.Generator) -> Estimate:
    return neighbour_metrics(real, fake, rng=rng, k_precision=k, k_density=k, names=(name,))[name]
