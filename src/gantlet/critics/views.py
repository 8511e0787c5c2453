"""Small critics that look at features through few numbers, and the simplest one that will do."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import silu, softplus
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR

from gantlet.core.rng import Rng

_WIDTH, _BATCH, _LR, _DECAY = 32, 256, 5e-3, 1e-2
# A critic of fewer numbers is taken if it tells this share of what the best tells.
_MOST = 0.8


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
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
class Critic:
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
        told = size.square().cumsum(0) / size.square().sum().clamp_min(1e-30)
        found: Tensor = directions[: int((told < share).sum()) + 1].T
        return found


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
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


def simplest(learn: Labelled, check: Labelled, effort: Effort, *, rng: Rng, name: str) -> Critic:
    """Returns a critic that tells what is not known yet, through as few numbers as will do.

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
    told = [_agreement(check, critic) for critic in best]
    most = max(told)
    return next(c for c, t in zip(best, told, strict=True) if t >= _MOST * most or t == most)


def _agreement(z: Labelled, critic: Critic) -> float:
    """Returns the correlation of scores with what is unexplained."""
    seen = torch.stack([z.unexplained(), critic(z.x)])
    found = torch.corrcoef(seen)[0, 1]
    return float(found) if bool(torch.isfinite(found)) else 0.0


def _best(learn: Labelled, rank: int, effort: Effort, rng: torch.Generator) -> Critic:
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
    return Critic(tuple(w[k].detach() for w in weights))


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


def _descend(weights: list[Tensor], z: Labelled, steps: int, rng: torch.Generator) -> None:
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


def _sign(z: Labelled) -> Tensor:
    """Returns what a score is multiplied by in the loss: 1 for real samples, -1 for fakes."""
    return (1 - 2 * z.label).float()


def _run(weights: Sequence[Tensor], x: Tensor) -> Tensor:
    """Returns scores, shape ``(..., n, 1)``, of one critic or of several side by side."""
    view, w1, b1, w2, b2, w3, b3 = weights
    hidden = silu(x @ view @ w1 + b1)
    return silu(hidden @ w2 + b2) @ w3 + b3
