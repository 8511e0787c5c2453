"""Bradley-Terry: strengths of all players at once from a table of matches."""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.core.intervals import t_quantile

_STEPS = 200
_CLOSE = 1e-10


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Bouts:
    """A table of matches, one entry of every tensor for each.

    Attributes:
        first: Number of one player, whole.
        second: Number of its opponent, whole.
        wins: How many games ``first`` won; a tie is half a win.
        games: How many were played.
        cluster: Which judge or block a match belongs to, whole, or None where all games are
            independent.
    """

    first: Tensor
    second: Tensor
    wins: Tensor
    games: Tensor
    cluster: Tensor | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Strengths:
    """What a table of matches says of its players.

    Attributes:
        value: The strengths, logits of sum zero, shape ``(players,)``, float64.
        covariance: Their covariance, shape ``(players, players)``.
        clusters: How many clusters it rests on, or None where games count as independent.
        games: How many games were played.
    """

    value: Tensor
    covariance: Tensor
    clusters: int | None
    games: float

    def contrast(self, weights: Tensor, *, level: float = 0.95) -> Estimate:
        """Returns the sum of strengths times ``weights``, which must add up to zero.

        The interval is Student's t with one degree of freedom fewer than there are clusters,
        or normal where there are none.
        """
        w = weights.double()
        value = float(w @ self.value)
        if self.clusters == 1:
            return Estimate(
                value=value, n=1, method="all matches have one judge or block: no interval"
            )
        df = math.inf if self.clusters is None else self.clusters - 1
        quantile = t_quantile((1 + level) / 2, min(df, 1e9))
        half = quantile * math.sqrt(max(0.0, float(w @ self.covariance @ w)))
        how = "independent games" if self.clusters is None else f"{self.clusters} clusters"
        return Estimate(
            value=value,
            low=value - half,
            high=value + half,
            level=level,
            n=self.clusters or round(self.games),
            method=f"Bradley-Terry, {how}, {'normal' if self.clusters is None else 'sandwich, t'}",
        )


def bradley_terry(bouts: Bouts, players: int, *, ridge: float = 0.01) -> Strengths:
    """Returns the strengths that make the results most likely, by Newton's method.

    ``P(i beats j) = 1 / (1 + exp(theta_j - theta_i))``. The penalty ``ridge / 2 |theta|^2`` keeps
    players finite who won or lost everything. With clusters, the covariance is the sandwich
    ``H+ (sum of s s') H+ R / (R - 1)`` over the scores ``s`` of the ``R`` clusters, which holds
    where games that share a judge are alike.

    Source: Bradley and Terry, 1952, https://doi.org/10.2307/2334029; the sandwich: Liang and
    Zeger, 1986, https://doi.org/10.1093/biomet/73.1.13.

    Differs from the paper: ties are half a win; the penalty.

    Raises:
        UserError: If there are no matches, or a player plays itself.
    """
    if len(bouts.first) == 0 or players < 2:
        raise UserError("Ratings need at least two players and one match. Got none.")
    if bool((bouts.first == bouts.second).any()):
        raise UserError("A player cannot play itself. Remove such matches.")
    x = _design(bouts, players)
    wins, games = bouts.wins.double(), bouts.games.double()
    theta = _newton(x, wins, games, ridge)
    p = torch.sigmoid(x @ theta)
    h = torch.linalg.pinv(_curvature(x, games, p, ridge), hermitian=True)
    if bouts.cluster is None:
        return _strengths(theta, h, None, games)
    scores = x * (wins - games * p).unsqueeze(1)
    names, which = torch.unique(bouts.cluster, return_inverse=True)
    r = len(names)
    s = scores.new_zeros(r, players).index_add_(0, which, scores)
    return _strengths(theta, h @ (s.T @ s) @ h * (r / max(r - 1, 1)), r, games)


def _strengths(
    theta: Tensor, covariance: Tensor, clusters: int | None, games: Tensor
) -> Strengths:
    return Strengths(
        value=theta, covariance=covariance, clusters=clusters, games=float(games.sum())
    )


def _design(bouts: Bouts, players: int) -> Tensor:
    one_hot = torch.nn.functional.one_hot
    first, second = (one_hot(n.long(), players) for n in (bouts.first, bouts.second))
    return (first - second).double()


def _curvature(x: Tensor, games: Tensor, p: Tensor, ridge: float) -> Tensor:
    weight = (games * p * (1 - p)).unsqueeze(1)
    return x.T @ (weight * x) + ridge * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)


def _newton(x: Tensor, wins: Tensor, games: Tensor, ridge: float) -> Tensor:
    """Returns the strengths; a step that does not climb is halved."""
    theta = x.new_zeros(x.shape[1])

    def height(t: Tensor) -> float:
        softplus = torch.nn.functional.softplus(x @ t)
        return float(wins @ (x @ t) - games @ softplus - ridge / 2 * t @ t)

    for _ in range(_STEPS):
        p = torch.sigmoid(x @ theta)
        gradient = x.T @ (wins - games * p) - ridge * theta
        step = torch.linalg.pinv(_curvature(x, games, p, ridge), hermitian=True) @ gradient
        at = height(theta)
        while height(theta + step) < at and float(step.abs().max()) > _CLOSE:
            step = step / 2
        theta = theta + step
        if float(step.abs().max()) <= _CLOSE:
            break
    return theta - theta.mean()
