"""Small critics for flaws that no linear direction shows, each deflated by those before."""

import abc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self, final

import torch
from torch import Tensor
from torch.nn.functional import silu, softplus
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR
from typing_extensions import override

from gantlet.core.rng import Rng
from gantlet.flaws.named import Namer
from gantlet.flaws.split import DiscoveryValidation, Ending, Flaw, StopReason
from gantlet.options import Deflation
from gantlet.stats.permutation import TwoSamples, gap, strata_of, stratified

# ----------------------------------------------------------------------------
# Small critics that look at features through few numbers, and the simplest one that will do.
# ----------------------------------------------------------------------------

_WIDTH, _BATCH, _LR, _DECAY = 32, 256, 5e-3, 1e-2
# A critic of fewer components is taken if it attains this share of the best one's effect.
_MOST = 0.8


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingBudget:
    """How long critics are trained.

    Attributes:
        ranks: Through how many numbers they look; all features are always tried too.
        restarts: How many are trained for each of these, from other weights.
        steps: How many steps each takes.
    """

    ranks: tuple[int, ...] = (1, 2, 3, 5)
    restarts: int = 4
    steps: int = 500


@final
@dataclass(frozen=True, slots=True)
class SmallCritic:
    """A linear view of features, two hidden layers, and a score: above 0 is more fake than real.

    Attributes:
        weights: The view, shape ``(d, rank)``; then weight and bias of each layer.
    """

    weights: tuple[Tensor, ...]

    @property
    def rank(self) -> int:
        """Through how many numbers it looks."""
        return self.weights[0].shape[1]

    def __call__(self, x: Tensor) -> Tensor:
        """Returns the scores of features, shape ``(n,)``, float64."""
        with torch.no_grad():
            return _run(self.weights, x.float())[:, 0].double()

    def looks_at(self, x: Tensor, share: float) -> Tensor:
        """Returns the directions that move its score, orthonormal, shape ``(d, k)``.

        Those of the largest mean squared slope over ``x``, as few as make up ``share`` of it.
        """
        with torch.enable_grad():
            free = x.float().requires_grad_()
            (slope,) = torch.autograd.grad(_run(self.weights, free).sum(), free)
        _, size, directions = torch.linalg.svd(slope.double(), full_matrices=False)
        explained = size.square().cumsum(0) / size.square().sum().clamp_min(1e-30)
        found: Tensor = directions[: int((explained < share).sum()) + 1].T
        return found


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSamples:
    """Samples of both kinds.

    Attributes:
        x: Features, real ones first, shape ``(2 h, d)``.
        known: What is known already of how much likelier each is among fakes, a logit, ``(2 h,)``.
    """

    x: Tensor
    known: Tensor

    @property
    def label(self) -> Tensor:
        """0 for each real sample, 1 for each fake one."""
        return (torch.arange(len(self.x), device=self.x.device) >= len(self.x) // 2).double()

    def unexplained(self) -> Tensor:
        """Returns the label minus how likely it was, shape ``(2 h,)``."""
        return self.label - torch.sigmoid(self.known)


def simplest_critic(
    learn: LabelledSamples, check: LabelledSamples, effort: TrainingBudget, *, rng: Rng, name: str
) -> SmallCritic:
    """Returns the critic of fewest components that separates the sets beyond what is known.

    For each rank the critic of the least loss is taken. Of these it is the one of the smallest
    rank that goes along with what is unexplained on other samples nearly as well as the best.

    Args:
        learn: What critics are trained on.
        check: What the rank is chosen on.
        effort: How long they are trained.
        rng: Draws weights and batches.
        name: Of its streams.
    """
    d = learn.x.shape[1]
    ranks = [*sorted(r for r in set(effort.ranks) if r < d), d]
    best = [_best(learn, r, effort, rng.stream(f"{name}/{r}")) for r in ranks]
    agreements = [_agreement(check, critic) for critic in best]
    most = max(agreements)
    return next(c for c, t in zip(best, agreements, strict=True) if t >= _MOST * most or t == most)


def _agreement(z: LabelledSamples, critic: SmallCritic) -> float:
    """Returns the correlation of scores with what is unexplained."""
    seen = torch.stack([z.unexplained(), critic(z.x)])
    found = torch.corrcoef(seen)[0, 1]
    return float(found) if bool(torch.isfinite(found)) else 0.0


def _best(
    learn: LabelledSamples, rank: int, effort: TrainingBudget, rng: torch.Generator
) -> SmallCritic:
    d = learn.x.shape[1]
    # All features leave no choice of a view.
    restarts = 1 if rank == d else effort.restarts
    weights = _drawn(d, rank, restarts, rng)
    weights = [w.to(learn.x.device) for w in weights]
    _descend(weights, learn, effort.steps, rng)
    with torch.no_grad():
        scores = _run(weights, learn.x.float())[..., 0]
        loss = softplus(_sign(learn) * (scores + learn.known.float())).mean(1)
    k = int(loss.argmin())
    return SmallCritic(tuple(w[k].detach() for w in weights))


def _drawn(d: int, rank: int, count: int, rng: torch.Generator) -> list[Tensor]:
    """Returns first weights of ``count`` critics side by side."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=rng, device=rng.device).cpu()

    view = torch.linalg.qr(normal(d, rank)).Q
    return [
        view.contiguous(),
        normal(rank, _WIDTH) / math.sqrt(rank),
        normal(1, _WIDTH) / 2,
        normal(_WIDTH, _WIDTH) / math.sqrt(_WIDTH),
        torch.zeros(count, 1, _WIDTH),
        normal(_WIDTH, 1) / math.sqrt(_WIDTH),
        torch.zeros(count, 1, 1),
    ]


def _descend(weights: list[Tensor], z: LabelledSamples, steps: int, rng: torch.Generator) -> None:
    """Trains critics side by side to explain the labels beyond what is known of them."""
    x, known, sign, n = z.x.float(), z.known.float(), _sign(z), len(z.x) // 2
    view, *rest = weights
    groups = [{"params": [view], "weight_decay": 0.0}, {"params": rest, "weight_decay": _DECAY}]
    adam = AdamW(groups, lr=_LR)
    falling = CosineAnnealingLR(adam, steps)
    for _ in range(steps):
        drawn = torch.randint(n, (2, _BATCH // 2), generator=rng, device=rng.device)
        some = torch.cat([drawn[0], n + drawn[1]]).to(x.device)
        with torch.enable_grad():
            free = [w.detach().requires_grad_() for w in weights]
            scores = _run(free, x[some])[..., 0] + known[some]
            slopes = torch.autograd.grad(softplus(sign[some] * scores).mean(1).sum(), free)
        for w, slope in zip(weights, slopes, strict=True):
            w.grad = slope
        adam.step()
        falling.step()


def _sign(z: LabelledSamples) -> Tensor:
    """Returns the sign of each score in the loss: 1 for real samples, -1 for fakes."""
    return (1 - 2 * z.label).float()


def _run(weights: Sequence[Tensor], x: Tensor) -> Tensor:
    """Returns scores, shape ``(..., n, 1)``, of one critic or of several side by side."""
    view, w1, b1, w2, b2, w3, b3 = weights
    hidden = silu(x @ view @ w1 + b1)
    return silu(hidden @ w2 + b2) @ w3 + b3


# ----------------------------------------------------------------------------
# Removes from a critic what earlier critics explain (deflation).
# ----------------------------------------------------------------------------

Measure = Callable[[Tensor], Tensor]
"""Turns whitened features, shape ``(n, d)``, into one number each, shape ``(n,)``."""

# Directions are taken away that make up this share of the squared slopes of a critic.
_MOVED = 0.9
# What is known counts as at most so many deviations of the real samples.
_REACH = 3.0
_POWERS = (1, 2, 3)
_RIDGE = 1e-3
_NEWTON = 20


class Deflator(abc.ABC):
    """What is known, and how a critic is kept from telling it again."""

    @abc.abstractmethod
    def show(self, x: Tensor) -> Tensor:
        """Returns the input of a critic, from features of shape ``(n, d)``."""

    @abc.abstractmethod
    def known(self, x: Tensor) -> Tensor:
        """Returns the logit of being fake as far as it is known, shape ``(n,)``."""

    @abc.abstractmethod
    def own(self, critic: SmallCritic, real: Tensor) -> Measure:
        """Returns the critic's increment to the current score.

        Args:
            critic: The critic, of what it is shown.
            real: Features of real samples, from which it is learned what the known lets expect.
        """

    @abc.abstractmethod
    def after(self, critic: SmallCritic, z: TwoSamples) -> Self:
        """Returns the blinding that knows this critic too; ``z`` are features it did not see."""

    def labelled(self, z: TwoSamples) -> LabelledSamples:
        """Returns samples as critics are trained on them."""
        x = z.both()
        return LabelledSamples(x=self.show(x), known=self.known(x))


@final
@dataclass(frozen=True, slots=True)
class ProjectionDeflator(Deflator):
    """The directions that move a critic most are taken out of the features.

    Attributes:
        gone: They, orthonormal, shape ``(d, k)``; None for none.
    """

    gone: Tensor | None = None

    @override
    def show(self, x: Tensor) -> Tensor:
        return x if self.gone is None else x - x @ self.gone @ self.gone.T

    @override
    def known(self, x: Tensor) -> Tensor:
        return torch.zeros(len(x), dtype=torch.float64, device=x.device)

    @override
    def own(self, critic: SmallCritic, real: Tensor) -> Measure:
        return lambda x: critic(self.show(x))

    @override
    def after(self, critic: SmallCritic, z: TwoSamples) -> Self:
        moving = critic.looks_at(self.show(z.both()), _MOVED)
        if self.gone is not None:
            moving = torch.cat([self.gone, moving - self.gone @ (self.gone.T @ moving)], 1)
        return replace(self, gone=torch.linalg.qr(moving).Q)


@final
@dataclass(frozen=True, slots=True)
class ResidualDeflator(Deflator):
    """A critic is trained on what is left unexplained; what is known is regressed out of it.

    Attributes:
        critics: Those that are known.
        weights: Of each: the constant, and the weights of the logit before and of its score.
    """

    critics: tuple[SmallCritic, ...] = ()
    weights: tuple[Tensor, ...] = ()

    @override
    def show(self, x: Tensor) -> Tensor:
        return x

    @override
    def known(self, x: Tensor) -> Tensor:
        logit = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for critic, w in zip(self.critics, self.weights, strict=True):
            logit = torch.stack([torch.ones_like(logit), logit, critic(x)], 1) @ w
        return logit

    @override
    def own(self, critic: SmallCritic, real: Tensor) -> Measure:
        if not self.critics:
            return critic
        values = self._values(real)
        middle, spread = values.mean(0), values.std(0).clamp_min(1e-9)

        def basis(x: Tensor) -> Tensor:
            near = ((self._values(x) - middle) / spread).clamp(-_REACH, _REACH)
            return torch.cat([torch.ones_like(near[:, :1]), *(near**p for p in _POWERS)], 1)

        a = basis(real)
        ridge = _RIDGE * len(a) * torch.eye(a.shape[1], dtype=a.dtype, device=a.device)
        slope: Tensor = torch.linalg.solve(a.T @ a + ridge, a.T @ critic(real))

        def beyond(x: Tensor) -> Tensor:
            expected: Tensor = basis(x) @ slope
            return critic(x) - expected

        return beyond

    @override
    def after(self, critic: SmallCritic, z: TwoSamples) -> Self:
        x = z.both()
        known = self.known(x)
        seen = torch.stack([torch.ones_like(known), known, critic(x)], 1)
        weights = logistic(seen, self.labelled(z).label)
        return replace(self, critics=(*self.critics, critic), weights=(*self.weights, weights))

    def _values(self, x: Tensor) -> Tensor:
        """Returns the known scores and the logit, shape ``(n, critics + 1)``."""
        return torch.stack([*(c(x) for c in self.critics), self.known(x)], 1)


def logistic(x: Tensor, label: Tensor) -> Tensor:
    """Returns the weights of logistic regression with a small ridge, by Newton's method.

    Args:
        x: Shape ``(n, k)``, float64.
        label: 0 or 1, shape ``(n,)``.
    """
    ridge = _RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    w = x.new_zeros(x.shape[1])
    for _ in range(_NEWTON):
        p = torch.sigmoid(x @ w)
        curve = x.T @ ((p * (1 - p))[:, None] * x) + ridge
        w = w + torch.linalg.solve(curve, x.T @ (label - p) - ridge @ w).clamp(-1, 1)
    return w


# This share of the first half trains a critic; on the rest its rank is chosen.
_LEARN = 0.7


def train_critics(
    halves: DiscoveryValidation,
    *,
    blind: Deflation,
    level: float,
    smallest: float,
    most: int,
    permutations: int,
    rng: Rng,
    effort: TrainingBudget | None = None,
) -> tuple[list[Flaw], Ending]:
    """Returns the flaws that small critics find one after the other, and how the search ended.

    Each critic is a network that sees the features through a few linear numbers, as few as will
    do, so that it takes hold of one flaw and not of all at once. It is trained, and how many
    numbers it needs is chosen, on the first half; its score is the flaw, and is judged on the
    second. The search ends at the first that is not significant, which keeps the chance of any
    false one on flawless samples at ``level``.

    With ``residual`` the next critic is trained beside the logit of what is known, so that only
    what is left unexplained moves it, and what real samples let expect from the known scores and
    their squares and cubes is regressed out of its own. A flaw counts if its mean differs, and
    also if it does among samples for which what is known is alike. With ``project`` the
    directions that move a critic most are taken out of the features: the activations of its first
    layer, the leading ones of them, are projected out.

    Source: Odena, 2019, https://distill.pub/2019/gan-open-problems/, question 5, which asks for
    such a procedure.

    Args:
        halves: The samples.
        blind: How a critic is made blind.
        level: How likely anything may be found on flawless samples.
        smallest: The minimum effect size of the means, in standard deviations.
        most: How many critics are trained.
        permutations: The number of label permutations.
        rng: Draws networks, batches and labels.
        effort: How long critics are trained.
    """
    blinding: Deflator = ResidualDeflator() if blind == "residual" else ProjectionDeflator()
    namer = Namer(halves)
    found: list[Flaw] = []
    for k in range(most):
        critic, check = _next(blinding, halves, effort or TrainingBudget(), rng=rng, number=k)
        own = blinding.own(critic, halves.seek_features.real)
        first, second = (_measured(own, z) for z in (halves.seek_features, halves.judge_features))
        p, shift = _certified(
            second, halves, blinding, permutations=permutations, rng=rng.stream(f"p/{k}")
        )
        if p > level:
            return found, Ending(StopReason.NOT_SIGNIFICANT, k + 1)
        if shift < smallest:
            return found, Ending(StopReason.TOO_SMALL, k + 1)
        apart = gap(second.real, second.fake, rng=rng.stream(f"gap/{k}"))
        flaw = namer.flaw(first, second, apart, p, number=len(found) + 1)
        found.append(replace(flaw, measure=own))
        blinding = blinding.after(critic, check)
    return found, Ending(StopReason.LIMIT, most)


def _next(
    blinding: Deflator,
    halves: DiscoveryValidation,
    effort: TrainingBudget,
    *,
    rng: Rng,
    number: int,
) -> tuple[SmallCritic, TwoSamples]:
    """Returns a critic and the samples of the first half that it was not trained on."""
    z = halves.seek_features
    n = len(z.real)
    learned = round(_LEARN * n)
    # Other samples each time, so that what a critic has learned by heart is not all that is known.
    draw = rng.stream(f"learn/{number}")
    orders = [torch.randperm(n, generator=draw, device=draw.device).to(z.real.device)] * 2
    learn, check = (
        TwoSamples(real=z.real[orders[0][part]], fake=z.fake[orders[1][part]])
        for part in (slice(learned), slice(learned, None))
    )
    critic = simplest_critic(
        blinding.labelled(learn),
        blinding.labelled(check),
        effort,
        rng=rng,
        name=f"critic/{number}",
    )
    return critic, check


def _measured(own: Measure, z: TwoSamples) -> TwoSamples:
    return TwoSamples(real=own(z.real), fake=own(z.fake))


def _certified(
    second: TwoSamples,
    halves: DiscoveryValidation,
    blinding: Deflator,
    *,
    permutations: int,
    rng: torch.Generator,
) -> tuple[float, float]:
    """Returns the p-value and the difference of the means: the weaker of as it stands and blind.

    Blinding must not make a flaw of its own, and what is known must not make one either.
    """
    z = halves.judge_features.both()
    groups = [torch.zeros(len(z), dtype=torch.long, device=z.device)]
    alike = strata_of(blinding.known(z))
    if bool((alike > 0).any()):
        groups.append(alike)
    found = [stratified(second, g, permutations=permutations, rng=rng) for g in groups]
    return max(p for p, _ in found), min(shift for _, shift in found)
