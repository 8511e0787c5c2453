"""The Inception score: sure and diverse class probabilities."""

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.errors import UserError
from gantlet.core.estimate import Better, Estimate
from gantlet.core.measure import Clustered, Groups, Sees
from gantlet.metrics.groups import checked_groups, too_few_groups
from gantlet.metrics.influence import spread
from gantlet.metrics.inputs import checked, rows
from gantlet.metrics.intervals import around

_SPLITS = 10
# With fewer samples a class the bias is not small beside the score, and part of it is left.
_AMPLE = 10
_METHOD = (
    "plain {:.4g}, less its bias by leaving out each sample in turn, interval from the same; real "
    "samples have {:.4g}; {:.4g} +- {:.2g} as published, mean and spread over 10 splits"
)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class InceptionScore(Clustered):
    """``exp`` of the mean divergence of each sample's class probabilities from their mean.

    It looks at the fake samples alone: 1 where all have the same probabilities, as many as there
    are classes where each is surely of one class and the classes are even. It sees neither
    missing variety inside a class nor copies of the training data, and it may exceed the score
    of real samples, which the method tells. Only with Inception's probabilities may it be
    compared with published scores.

    Source: Salimans et al., 2016, https://arxiv.org/abs/1606.03498, section 4.

    Differs from the paper: one score of all samples with its bias removed; the mean over 10
    splits, which depends on their size, is told in the method.
    """

    better: ClassVar[Better] = "higher"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "probabilities"
    quadratic: ClassVar[bool] = False

    @override
    def measure(
        self, real: Tensor, fake: Tensor, *, rng: torch.Generator, groups: Groups | None = None
    ) -> Estimate:
        """Rates class probabilities, shapes ``(n, K)`` and ``(m, K)``; ``rng`` draws the splits.

        Raises:
            UserError: If these are not probabilities.
        """
        p, q = checked(real, fake)
        for name, z in (("real", p), ("fake", q)):
            _check(z, name)
        n, found_groups = len(q), checked_groups(groups, len(p), len(q))
        if n < 3:
            return Estimate.missing(f"needs at least 3 fake samples, got {n}", better=self.better)
        group = None if found_groups is None else found_groups.fake
        if group is not None and (reason := too_few_groups(Groups(fake=group), 3)):
            return Estimate.missing(reason, better=self.better)
        plain, influence = _leave_out(q, group)
        published = torch.tensor(_splits(q, rng))
        known, usual = inception_score(p) if len(p) else math.nan, float(published.mean())
        method = _METHOD.format(
            plain,
            known,
            usual,
            float(published.std(correction=0)),
        )
        if n < _AMPLE * q.shape[1]:
            method += f"; with less than {_AMPLE} samples a class the interval is too narrow"
        value = plain + float(influence.mean())
        if group is not None:
            method += f"; {len(influence)} groups instead of samples left out in turn"
        found = around(value, spread(influence), n=len(influence), method=method)
        named = found.named(unit=self.unit, better=self.better)
        return named.beside(plain=plain, real=known, published=usual)


def inception_score(p: Tensor) -> float:
    """Returns the plain score of class probabilities, shape ``(n, K)``, ``n`` at least 1."""
    own = sum(float(_entropy(block).sum()) for block in rows(p)) / len(p)
    return math.exp(float(_entropy(_mean(p))) - own)


def _leave_out(p: Tensor, group: Tensor | None = None) -> tuple[float, Tensor]:
    """Returns the score, and ``n - 1`` times what leaving out each sample takes off it.

    Where there are groups, numbered from 0 without gaps, each of them is left out, and it is their
    number less what one of that size counts for: the pseudo-values of Busing et al., 1999.
    """
    n, mean, plain = len(p), _mean(p), inception_score(p)
    own = torch.cat([_entropy(block) for block in rows(p)])
    if group is not None:
        size = group.bincount().to(torch.float64)
        sums = mean.new_zeros(len(size), len(mean))
        sums.index_add_(0, group, p.to(torch.float64))
        owned = own.new_zeros(len(size)).index_add_(0, group, own)
        left = n - size
        kept = _entropy((n * mean - sums) / left[:, None]) - (own.sum() - owned) / left
        return plain, (plain - kept.exp()) * (left * (len(size) / n))
    parts = [_entropy((n * mean - block) / (n - 1)) for block in rows(p)]
    without = (torch.cat(parts) - (own.sum() - own) / (n - 1)).exp()
    return plain, (plain - without) * (n - 1)


def _splits(p: Tensor, rng: torch.Generator) -> list[float]:
    order = torch.randperm(len(p), generator=rng, device=rng.device).to(p.device)
    return [inception_score(p[part.sort().values]) for part in order.tensor_split(_parts(len(p)))]


def _parts(n: int) -> int:
    return min(_SPLITS, n)


def _mean(p: Tensor) -> Tensor:
    return torch.stack([block.sum(0) for block in rows(p)]).sum(0) / len(p)


def _entropy(p: Tensor) -> Tensor:
    """Returns that of the last axis, in nats; rounding may have left a hair below zero."""
    found: Tensor = torch.special.entr(p.clamp_min(0)).sum(-1)
    return found


def _check(p: Tensor, name: str) -> None:
    for block in rows(p):
        if bool((block < 0).any() | ((block.sum(1) - 1).abs() > 1e-2).any()):
            raise UserError(
                f"{name} must hold class probabilities: rows of numbers from 0 that sum to 1. "
                "Use softmax on the classifier's outputs."
            )
