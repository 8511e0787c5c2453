"""The classifier two-sample test: can a classifier tell fake from real?"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from gantlet.core.estimate import Better, Estimate
from gantlet.core.intervals import proportion
from gantlet.core.measure import Sees
from gantlet.metrics.blocks import blocks, squared_distances
from gantlet.metrics.inputs import pair, too_few

# Says of each row whether it is fake, shape (n,).
Judge = Callable[[Tensor], Tensor]

Kind = Literal["network", "knn"]

_HIDDEN = 1024
_RIDGE = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class C2st:
    """The held-out accuracy of a classifier that was trained to tell fake from real.

    0.5 where it cannot, 1 where it always can. Half the samples train it, half judge it, as many
    real ones as fake ones; the larger set is thinned to the size of the smaller.

    Source: Lopez-Paz and Oquab, 2017, https://arxiv.org/abs/1610.06545, section 3.

    Differs from the paper: the interval and the p-value are those of the binomial, not of its
    normal limit. The network's hidden layer stays as it was drawn and only the last is fitted, in
    closed form (Rahimi and Recht, 2008,
    https://people.eecs.berkeley.edu/~brecht/kitchensinks.html), with no descent to tune.

    Attributes:
        classifier: ``network``, 1024 random ReLU units beside the features themselves, with ridge
            regression on top, or ``knn``, the vote of the nearest ``sqrt(n)``, which sees copies
            and clusters but little in many dimensions.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = False

    classifier: Kind = "network"

    def measure(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Estimate:
        """Compares features, shapes ``(n, d)`` and ``(m, d)``; ``rng`` splits and draws the units.

        The interval is for the accuracy of the classifier that was trained, on new samples.

        Raises:
            UserError: If the features cannot be compared.
        """
        x, y = pair(real, fake)
        if reason := too_few(x, y, 4):
            return Estimate.missing(reason, better=self.better)
        judge, x_test, y_test = train(x, y, self.classifier, rng=rng)
        found = rate(judge, x_test, y_test)
        return replace(found, method=f"{self.classifier}; {found.method}", better=self.better)


def train(
    real: Tensor, fake: Tensor, classifier: Kind, *, rng: torch.Generator
) -> tuple[Judge, Tensor, Tensor]:
    """Returns a classifier trained on half of each set, and the other halves.

    The halves have shape ``(h, d)`` and belong to real and fake; the classifier takes features as
    they are.
    """
    size = min(len(real), len(fake))
    x, y = (z[_order(z, rng)[:size]] for z in (real, fake))
    half = size // 2
    z = torch.cat([x[:half], y[:half]])
    mean, scale = z.mean(0), z.std(0)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    z = (z - mean) / scale
    standard = _fit_network(z, rng) if classifier == "network" else _fit_knn(z)
    return (lambda w: standard((w - mean) / scale)), x[half:], y[half:]


def rate(judge: Judge, real: Tensor, fake: Tensor) -> Estimate:
    """Returns how often ``judge`` is right on held-out samples, equally many of each."""
    from scipy.special import bdtrc

    correct, n = int((~judge(real)).sum()) + int(judge(fake).sum()), len(real) + len(fake)
    found = proportion(correct, n, of="held-out samples")
    # The probability of as many hits by guessing.
    p = float(bdtrc(correct - 1, n, 0.5)) if correct > 0 else 1.0
    return replace(found, method=f"{found.method}; p = {p:.2g} against chance")


def _order(x: Tensor, rng: torch.Generator) -> Tensor:
    return torch.randperm(len(x), generator=rng, device=rng.device).to(x.device)


def _fit_knn(z: Tensor) -> Judge:
    """Returns the vote of the nearest; the second half of ``z`` is fake."""
    # An odd number of votes is never a draw.
    k = math.isqrt(len(z)) // 2 * 2 + 1
    k = min(k, len(z) - 1)

    def judge(w: Tensor) -> Tensor:
        votes = [
            squared_distances(w[block], z).topk(k, dim=1, largest=False).indices >= len(z) // 2
            for block in blocks(len(w), len(z))
        ]
        return torch.cat(votes).float().mean(1) > 0.5

    return judge


def _fit_network(z: Tensor, rng: torch.Generator) -> Judge:
    """Returns ridge regression on random units; the second half of ``z`` is fake."""
    d = z.shape[1]
    drawn = torch.randn(d + 1, _HIDDEN, generator=rng, device=rng.device, dtype=z.dtype)
    weight, bias = drawn[1:].to(z.device) / math.sqrt(d), drawn[0].to(z.device)

    def units(w: Tensor) -> Tensor:
        return torch.cat([w, (w @ weight + bias).relu()], dim=1)

    target = torch.ones(len(z), dtype=z.dtype, device=z.device)
    target[: len(z) // 2] = -1
    seen = units(z)
    centre = seen.mean(0)
    seen -= centre
    gram = seen.T @ seen
    # In units of the mean squared length, so that it suits any number of features; it also
    # keeps the matrix invertible where all features are constant.
    gram.diagonal().add_(_RIDGE * gram.trace() / len(z) + 1e-12)
    coefficients: Tensor = torch.linalg.solve(gram, seen.T @ target)

    def judge(w: Tensor) -> Tensor:
        return (units(w) - centre) @ coefficients > 0

    return judge
