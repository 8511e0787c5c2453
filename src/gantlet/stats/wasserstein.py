"""Optimal transport in one dimension: cost, bias, variance, influence of each sample."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.core.metric import Groups
from gantlet.stats.intervals import Variance
from gantlet.stats.jackknife import folds, jackknife
from gantlet.stats.moments import blocks


@final
@dataclass(frozen=True, slots=True)
class Transport:
    """The mean cost of transport along some directions.

    Attributes:
        plain: The mean of ``W_p^p`` over the directions, as it stands.
        bias: How far that lies above its value for an infinite sample.
        variance: Its variance over samples.
        along: The cost along each of ``l`` directions with all samples, then without each fold,
            shape ``(1 + folds, l)``.
        of_real: What each real sample adds to ``plain`` to first order, centred, shape ``(n,)``.
        of_fake: The same of each fake one, shape ``(m,)``.
    """

    plain: float
    bias: float
    variance: Variance
    along: Tensor
    of_real: Tensor
    of_fake: Tensor

    @staticmethod
    def rest(whole: Variance, of_real: Tensor, of_fake: Tensor) -> Variance:
        """Returns the variance ``whole`` less the share of the real samples.

        Args:
            whole: The variance of the cost.
            of_real: What each real sample, or group of them, adds to it.
            of_fake: The same of the fake ones.
        """
        real, fake = (float(z.var()) / len(z) for z in (of_real, of_fake))
        # The two were estimated apart: noise must not make the fake side look certain.
        return Variance(max(whole.value - real, fake), whole.noise)


def transport(
    x: Tensor,
    y: Tensor,
    u: Tensor,
    order: int,
    *,
    rng: torch.Generator,
    groups: Groups | None = None,
) -> Transport:
    """Returns the mean cost of carrying ``x`` to ``y`` along each of the directions ``u``.

    Args:
        x: Shape ``(n, d)``, ``n`` at least 2.
        y: Shape ``(m, d)``, ``m`` at least 2.
        u: Unit vectors, shape ``(d, l)``.
        order: The power ``p`` of the distance.
        rng: Draws the folds of the jackknife.
        groups: Which samples belong together, numbered from 0 without gaps.
    """
    fold_x, fold_y = _folds(x, y, groups, rng)
    of_x, of_y = x.new_zeros(len(x)), y.new_zeros(len(y))
    parts: list[Tensor] = []
    for block in blocks(u.shape[1], len(x) + len(y)):
        a, b = (x @ u[:, block]).T.sort(dim=1), (y @ u[:, block]).T.sort(dim=1)
        parts.append(
            _with_and_without(a.values, b.values, fold_x[a.indices], fold_y[b.indices], order)
        )
        of_x.index_add_(0, a.indices.flatten(), potential(a.values, b.values, order).flatten())
        of_y.index_add_(0, b.indices.flatten(), potential(b.values, a.values, order).flatten())
    along = torch.cat(parts, dim=1)
    plain = along.mean(1)
    found = jackknife(plain[0], plain[1:], min((fold_x, fold_y), key=len))
    lines = u.shape[1]
    return Transport(
        float(plain[0]), found.bias, found.variance, along, of_x / lines, of_y / lines
    )


def _folds(
    x: Tensor, y: Tensor, groups: Groups | None, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Returns the fold of each sample, as many folds on both sides."""
    of = (None, None) if groups is None else (groups.real, groups.fake)
    units = [len(z) if g is None else int(g.max()) + 1 for z, g in zip((x, y), of, strict=True)]
    of_x = folds(len(x), rng=rng, device=x.device, most=units[1], group=of[0])
    return of_x, folds(len(y), rng=rng, device=y.device, most=units[0], group=of[1])


def wasserstein(x: Tensor, y: Tensor, order: int) -> Tensor:
    """Returns ``W_p^p`` between each row of ``x`` and that of ``y``, shape ``(l,)``.

    The integral over ``u`` in [0, 1] of ``|F^-1(u) - G^-1(u)|^p``, exact for unequal sizes too:
    the integrand is constant between the steps of either quantile function.

    Args:
        x: Samples, sorted along each row, shape ``(l, n)``.
        y: Samples, sorted along each row, shape ``(l, m)``.
        order: The power ``p``.
    """
    if x.shape[1] == y.shape[1]:
        even: Tensor = ((x - y).abs() ** order).mean(1)
        return even
    n, m = x.shape[1], y.shape[1]
    # Where either function steps, in units of 1 / (n m).
    ends: Tensor = torch.unique(
        torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n])
    )
    starts = torch.cat([ends.new_zeros(1), ends[:-1]])
    lengths = (ends - starts).to(x) / (n * m)
    i, j = (starts // m).to(x.device), (starts // n).to(x.device)
    cost: Tensor = (x[:, i] - y[:, j]).abs() ** order @ lengths
    return cost


def potential(x: Tensor, y: Tensor, order: int) -> Tensor:
    """Returns by how much the cost would change if there were more of each of ``x``.

    The potential of Kantorovich, with mean zero along each row: from one sample to the next it
    changes as the cost of reaching what lies between the places where the two go. Where these are
    two samples of ``y``, the mean of both.

    Source: Peyre and Cuturi, 2019, https://arxiv.org/abs/1803.00567, remark 2.30 and section 2.5;
    that its spread is the standard error: del Barrio and Loubes, 2019,
    https://arxiv.org/abs/1705.01299, Theorem 4.1.

    Args:
        x: Samples, sorted along each row, shape ``(l, n)``.
        y: Samples, sorted along each row, shape ``(l, m)``.
        order: The power ``p``.
    """
    n, m = x.shape[1], y.shape[1]
    reached = torch.arange(1, n, device=x.device) * m
    steps = [
        (x[:, 1:] - y[:, j]).abs() ** order - (x[:, :-1] - y[:, j]).abs() ** order
        for j in ((reached - 1) // n, reached // n)
    ]
    risen = torch.cat([x.new_zeros(len(x), 1), ((steps[0] + steps[1]) / 2).cumsum(1)], dim=1)
    return risen - risen.mean(1, keepdim=True)


def _with_and_without(a: Tensor, b: Tensor, of_a: Tensor, of_b: Tensor, order: int) -> Tensor:
    """Returns the distance along each direction with all samples, then without each fold.

    Shape ``(1 + folds, l)``. The same fold of both sides is left out at once, so that samples of
    equal size stay so: else their steps of ``u`` fall out of step and the distance jumps.
    """
    values = [wasserstein(a, b, order)]
    for f in range(int(of_a.max()) + 1):
        kept_a = a[of_a != f].view(len(of_a), -1)
        kept_b = b[of_b != f].view(len(of_b), -1)
        values.append(wasserstein(kept_a, kept_b, order))
    return torch.stack(values)
