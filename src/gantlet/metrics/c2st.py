"""The classifier two-sample test: can a classifier tell fake from real?"""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.estimate import Better, Estimate
from gantlet.core.intervals import proportion, t_quantile
from gantlet.core.measure import Clustered, Groups, Sees
from gantlet.core.power import detectable_accuracy, fewest_right
from gantlet.core.spec import Between
from gantlet.metrics.blocks import blocks
from gantlet.metrics.c2st_fits import Judge, Kind, fit
from gantlet.metrics.c2st_halves import Halves, halves, kept_together
from gantlet.metrics.inputs import checked, too_few


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class C2st(Clustered):
    """The held-out accuracy of a classifier that was trained to tell fake from real.

    0.5 where it cannot, 1 where it always can. Half the samples train it, half judge it, as many
    real ones as fake ones; the larger set is thinned to the size of the smaller. Equal samples
    and those of one group are on one side, and count as one that was drawn.

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

    @override
    def measure(
        self, real: Tensor, fake: Tensor, *, rng: torch.Generator, groups: Groups | None = None
    ) -> Estimate:
        """Compares features, shapes ``(n, d)`` and ``(m, d)``; ``rng`` splits and draws weights.

        The interval is for the accuracy of the classifier that was trained, on new samples.

        Raises:
            UserError: If the features cannot be compared.
        """
        x, y = checked(real, fake)
        if reason := too_few(x, y, 4):
            return Estimate.missing(reason, better=self.better)
        group = kept_together(x, y, groups)
        split = halves(group, (len(x), len(y)), rng=rng, device=x.device)
        if reason := split.too_few:
            return Estimate.missing(reason, better=self.better)
        judge = learned(x, y, split, self.classifier, rng=rng)
        found = rate(judge, x[split.test[0]], y[split.test[1]], group=split.group)
        method = f"{self.classifier}; {found.method}"
        if self.permutations and found.value is not None:
            p = self._p_value(found.value, x, y, group, rng)
            method = f"{method}; p = {p:.2g} of {self.permutations} permutations"
            found = found.beside(p_of_permutations=p)
        return replace(found, method=method, better=self.better)

    def _p_value(
        self,
        accuracy: float,
        x: Tensor,
        y: Tensor,
        group: tuple[Tensor, Tensor] | None,
        rng: torch.Generator,
    ) -> float:
        """Returns how often labels at random do as well, the true ones counted among them."""
        n = min(len(x), len(y))
        chosen = [_order(z, rng)[:n] for z in (x, y)]
        both = torch.cat([z[order] for z, order in zip((x, y), chosen, strict=True)])
        label = None
        if group is not None:
            label = torch.cat([g[order] for g, order in zip(group, chosen, strict=True)])
        as_good = 1
        for _ in range(self.permutations):
            order, cut = _dealt(both, label, rng)
            mixed = both[order]
            group = None if label is None else (label[order][:cut], label[order][cut:])
            split = halves(group, (cut, len(both) - cut), rng=rng, device=both.device)
            if split.too_few:
                continue
            judge = learned(mixed[:cut], mixed[cut:], split, self.classifier, rng=rng)
            tests = (z[i] for z, i in zip((mixed[:cut], mixed[cut:]), split.test, strict=True))
            as_good += _accuracy(*_right(judge, *tests)) >= accuracy - 1e-9
        return as_good / (self.permutations + 1)


def train(
    real: Tensor, fake: Tensor, classifier: Kind, *, rng: torch.Generator
) -> tuple[Judge, Tensor, Tensor]:
    """Returns a classifier trained on half of each set, and the other halves.

    The halves have shape ``(h, d)`` and belong to real and fake; the classifier takes features as
    they are.
    """
    split = halves(None, (len(real), len(fake)), rng=rng, device=real.device)
    judge = learned(real, fake, split, classifier, rng=rng)
    return judge, real[split.test[0]], fake[split.test[1]]


def learned(
    real: Tensor, fake: Tensor, split: Halves, classifier: Kind, *, rng: torch.Generator
) -> Judge:
    """Returns a classifier trained on one half; it takes features as they are."""
    z = torch.cat([w[i].double() for w, i in zip((real, fake), split.train, strict=True)])
    mean, scale = z.mean(0), z.std(0)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    standard = fit(classifier, z.sub_(mean).div_(scale), rng=rng)

    def judge(w: Tensor) -> Tensor:
        parts = [standard(w[b].double().sub_(mean).div_(scale)) for b in blocks(*w.shape)]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.bool)

    return judge


def rate(
    judge: Judge, real: Tensor, fake: Tensor, *, group: tuple[Tensor, Tensor] | None = None
) -> Estimate:
    """Returns how often ``judge`` is right on held-out samples.

    Args:
        judge: Says who is fake.
        real: Held-out real samples.
        fake: Held-out fake ones, equally many unless there are groups: then each set weighs half.
        group: Which of them belong together, numbered from 0 over both sets.
    """
    from scipy.special import betainc

    right = _right(judge, real, fake)
    value, count, size = _accuracy(*right), len(real) + len(fake), float(len(real) + len(fake))
    if group is None:
        found = proportion(round(value * count), count, of="held-out samples")
    else:
        found, size = clustered(right, group)
    hits = value * size if group is not None else float(round(value * count))
    # The probability of as many hits by guessing.
    p = float(betainc(hits, size - hits + 1, 0.5)) if hits > 0 else 1.0
    told = f"p = {p:.2g} against chance"
    if fewest_right(int(size)) <= int(size):
        told += f"; an accuracy of {detectable_accuracy(int(size)):.3f} is found 4 times in 5"
    return replace(found, method=f"{found.method}; {told}").beside(p=p)


def clustered(
    right: tuple[Tensor, Tensor], group: tuple[Tensor, Tensor]
) -> tuple[Estimate, float]:
    """Returns the mean of two shares with its interval, and the size that a plain count had.

    The variance is that of sums over groups; the interval the exact binomial one at the size
    where a plain count has this variance, at most the number of samples.

    Source: Korn and Graubard, 1998, "Confidence intervals for proportions with small expected
    number of positive counts estimated from survey data", Survey Methodology 24, 193-201.

    Args:
        right: Who of the real and of the fake samples was judged rightly.
        group: The group of each, numbered from 0 over both.
    """
    from scipy.special import betaincinv

    value, n = _accuracy(*right), sum(len(r) for r in right)
    g = 1 + int(torch.cat(group).max())
    sums = torch.zeros(g, dtype=torch.float64, device=right[0].device)
    for r, which in zip(right, group, strict=True):
        sums.index_add_(0, which, (r.double() - r.double().mean()) / (2 * len(r)))
    variance, spread = float(sums.square().sum()) * g / (g - 1), value * (1 - value)
    size = float(g) if spread == 0 else n if variance * n <= spread else spread / variance
    size *= (t_quantile(0.975, n - 1) / t_quantile(0.975, g - 1)) ** 2
    hits = value * size
    made = Estimate(
        value=value,
        low=float(betaincinv(hits, size - hits + 1, 0.025)) if value > 0 else 0.0,
        high=float(betaincinv(hits + 1, size - hits, 0.975)) if value < 1 else 1.0,
        n=g,
        method=f"mean accuracy on {len(right[0])} real and {len(right[1])} fake held-out samples "
        f"in {g} groups, equal ones among them; exact binomial interval at their effective size "
        f"of {size:.0f}",
    )
    return made, size


def _right(judge: Judge, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    return ~judge(real), judge(fake)


def _accuracy(real: Tensor, fake: Tensor) -> float:
    return float(real.double().mean() + fake.double().mean()) / 2


def _dealt(both: Tensor, group: Tensor | None, rng: torch.Generator) -> tuple[Tensor, int]:
    """Returns samples in random order, whole groups together, and where the first half ends."""
    order = _order(both, rng)
    if group is None:
        return order, len(both) // 2
    place = _order(torch.unique(group), rng)[group]
    order = place.sort(stable=True).indices
    ends = place.bincount().cumsum(0)
    middle = int((ends - len(both) / 2).abs().argmin())
    return order, int(ends[middle])


def _order(x: Tensor, rng: torch.Generator) -> Tensor:
    return torch.randperm(len(x), generator=rng, device=rng.device).to(x.device)
