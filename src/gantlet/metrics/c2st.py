"""The classifier two-sample test: can a classifier tell fake from real?"""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor

from gantlet.core.estimate import Better, Estimate
from gantlet.core.intervals import proportion
from gantlet.core.measure import Sees
from gantlet.core.power import detectable_accuracy, fewest_right
from gantlet.core.spec import Between
from gantlet.metrics.c2st_fits import Judge, Kind, fit
from gantlet.metrics.inputs import pair, too_few


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class C2st:
    """The held-out accuracy of a classifier that was trained to tell fake from real.

    0.5 where it cannot, 1 where it always can. Half the samples train it, half judge it, as many
    real ones as fake ones; the larger set is thinned to the size of the smaller.

    Source: Lopez-Paz and Oquab, 2017, https://arxiv.org/abs/1610.06545, section 3.

    Differs from the paper: the interval and the p-value are those of the binomial, not of its
    normal limit. The hidden layer of ``network`` stays as it was drawn and only the last is
    fitted, in closed form (Rahimi and Recht, 2008,
    https://people.eecs.berkeley.edu/~brecht/kitchensinks.html), with no descent to tune; the
    paper's own is ``mlp``.

    Attributes:
        classifier: ``network``, 1024 random ReLU units beside the features themselves, with ridge
            regression on top; ``knn``, the vote of the nearest ``sqrt(n)``, which sees copies
            and clusters but little in many dimensions; ``logistic`` regression, which sees
            different means only; ``mlp``, one hidden layer of 20 ReLU units trained by 1000 steps
            of Adam.
        permutations: How often everything is repeated with labels at random, for a p-value that
            holds whatever the classifier does; 0 for the binomial one alone.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = True

    classifier: Kind = "network"
    permutations: Annotated[int, Between(0)] = 0

    def measure(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Estimate:
        """Compares features, shapes ``(n, d)`` and ``(m, d)``; ``rng`` splits and draws weights.

        The interval is for the accuracy of the classifier that was trained, on new samples.

        Raises:
            UserError: If the features cannot be compared.
        """
        x, y = pair(real, fake)
        if reason := too_few(x, y, 4):
            return Estimate.missing(reason, better=self.better)
        judge, x_test, y_test = train(x, y, self.classifier, rng=rng)
        found = rate(judge, x_test, y_test)
        method = f"{self.classifier}; {found.method}"
        if self.permutations and found.value is not None:
            p = self._p_value(found.value, x, y, rng)
            method = f"{method}; p = {p:.2g} of {self.permutations} permutations"
        return replace(found, method=method, better=self.better)

    def _p_value(self, accuracy: float, x: Tensor, y: Tensor, rng: torch.Generator) -> float:
        """Returns how often labels at random do as well, the true ones counted among them."""
        n = min(len(x), len(y))
        both = torch.cat([z[_order(z, rng)[:n]] for z in (x, y)])
        as_good = 1
        for _ in range(self.permutations):
            mixed = both[_order(both, rng)]
            judge, *test = train(mixed[:n], mixed[n:], self.classifier, rng=rng)
            as_good += _correct(judge, *test) >= round(accuracy * 2 * len(test[0]))
        return as_good / (self.permutations + 1)


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
    standard = fit(classifier, (z - mean) / scale, rng=rng)
    return (lambda w: standard((w - mean) / scale)), x[half:], y[half:]


def rate(judge: Judge, real: Tensor, fake: Tensor) -> Estimate:
    """Returns how often ``judge`` is right on held-out samples, equally many of each."""
    from scipy.special import bdtrc

    correct, n = _correct(judge, real, fake), len(real) + len(fake)
    found = proportion(correct, n, of="held-out samples")
    # The probability of as many hits by guessing.
    p = float(bdtrc(correct - 1, n, 0.5)) if correct > 0 else 1.0
    told = f"p = {p:.2g} against chance"
    if fewest_right(n) <= n:
        told += f"; an accuracy of {detectable_accuracy(n):.3f} is found 4 times in 5"
    return replace(found, method=f"{found.method}; {told}")


def _correct(judge: Judge, real: Tensor, fake: Tensor) -> int:
    return int((~judge(real)).sum()) + int(judge(fake).sum())


def _order(x: Tensor, rng: torch.Generator) -> Tensor:
    return torch.randperm(len(x), generator=rng, device=rng.device).to(x.device)
