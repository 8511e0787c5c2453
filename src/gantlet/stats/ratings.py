"""Ratings of players from matches: Bradley-Terry, Glicko."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.stats.intervals import holm, p_value, t_quantile
from gantlet.stats.permutation import ranks

_Z = 1.959963984540054


def win_rate(fakes: Tensor, reals: Tensor) -> Estimate:
    """Returns the win rate: how often a critic scores a fake above a held-out real sample.

    The area under the critic's ROC curve, seen from the generator: 0 if the critic is never
    fooled, 1/2 if it is blind; above 1/2 it likes fakes better. The interval is for fresh fakes
    and fresh reals, with the critic as it is.

    Source: DeLong, DeLong and Clarke-Pearson, 1988, https://doi.org/10.2307/2531595.

    Differs from the paper: the variances of the placements are at least ``1 / (4 n)``, so that an
    interval is never a single point.

    Args:
        fakes: Scores of fakes, shape ``(n,)``, at least two.
        reals: Scores of held-out reals, shape ``(m,)``, at least two.
    """
    a, b = ranks(fakes, reals), 1 - ranks(reals, fakes)
    value = float(a.mean())
    variance = sum(_variance(r) / len(r) for r in (a, b))
    half = _Z * math.sqrt(variance)
    return Estimate(
        value=value,
        low=max(0.0, value - half),
        high=min(1.0, value + half),
        n=min(len(fakes), len(reals)),
        better="higher",
        method=f"{len(fakes)} fakes against {len(reals)} held-out reals, DeLong",
    )


def _variance(placements: Tensor) -> float:
    n = len(placements)
    return max(float(placements.var()), 0.25 / n)


def wins_of(rates: Mapping[tuple[str, str], Estimate]) -> set[tuple[str, str]]:
    """Returns who beats whom: win rates told from 1/2 by Holm's procedure over all matches.

    Args:
        rates: The win rate of the first player of a pair against the second.
    """
    pairs = list(rates)
    off = [_from_half(rates[pair]) for pair in pairs]
    sure = holm([p_value(e) for e in off])
    return {
        (a, b) if (e.value or 0.0) > 0 else (b, a)
        for (a, b), e, is_sure in zip(pairs, off, sure, strict=True)
        if is_sure
    }


def _from_half(rate: Estimate) -> Estimate:
    if rate.value is None or rate.low is None or rate.high is None:
        return Estimate.missing("not played")
    # An end cut off at 0 or 1 would make the rate look surer than it is.
    half = max(rate.value - rate.low, rate.high - rate.value)
    value = rate.value - 0.5
    return Estimate(value=value, low=value - half, high=value + half)


def cycles(wins: set[tuple[str, str]], *, longest: int = 4) -> list[tuple[str, ...]]:
    """Returns every cycle of ``longest`` players at most in which each beats the next.

    The last beats the first. A cycle begins with its first player in alphabetical order; cycles
    are sorted by length, then by name.

    Example:
        >>> cycles({("a", "b"), ("b", "c"), ("c", "a"), ("a", "d")})
        [('a', 'b', 'c')]
    """
    beaten: dict[str, list[str]] = {}
    for winner, loser in sorted(wins):
        beaten.setdefault(winner, []).append(loser)
    found = [c for start in sorted(beaten) for c in _from(beaten, [start], longest)]
    return sorted(found, key=lambda c: (len(c), c))


def _from(
    beaten: Mapping[str, Sequence[str]], path: list[str], longest: int
) -> Iterator[tuple[str, ...]]:
    for loser in beaten.get(path[-1], ()):
        if loser == path[0]:
            yield tuple(path)
        elif loser > path[0] and loser not in path and len(path) < longest:
            yield from _from(beaten, [*path, loser], longest)


# ----------------------------------------------------------------------------
# Glicko-2: skill from a stream of matches (Glickman, 2012).
# ----------------------------------------------------------------------------

_SCALE = 173.7178
_CENTRE = 1500.0
_TOLERANCE = 1e-6


@final
@dataclass(frozen=True, slots=True)
class Skill:
    """What is known of one player.

    Attributes:
        rating: The skill in points; 1500 is that of a new player.
        deviation: Its standard error, in points.
        volatility: How much the skill is expected to move, on the scale of the logit.
    """

    rating: float = _CENTRE
    deviation: float = 350.0
    volatility: float = 0.06

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the rating."""
        return self.rating - _Z * self.deviation, self.rating + _Z * self.deviation


@final
@dataclass(frozen=True, slots=True)
class Match:
    """One match of a round.

    Attributes:
        first: A player.
        second: Its opponent.
        score: What ``first`` took of the point, in [0, 1]: 1 a win, 1/2 a tie.
    """

    first: str
    second: str
    score: float


def updated(skill: Skill, played: Sequence[tuple[Skill, float]], *, tau: float = 0.5) -> Skill:
    """Returns the skill after one round of matches.

    Source: Glickman, 2012, "Example of the Glicko-2 system", steps 2 to 8,
    https://www.glicko.net/glicko/glicko2.pdf.

    Args:
        skill: What was known before the round.
        played: The opponents as they were before the round, and the scores against them.
        tau: How freely volatility moves; 0.3 to 1.2 is usual.

    Example:
        >>> opponents = [Skill(1400, 30), Skill(1550, 100), Skill(1700, 300)]
        >>> after = updated(Skill(1500, 200), list(zip(opponents, [1, 0, 0])))
        >>> round(after.rating, 2), round(after.deviation, 2), round(after.volatility, 5)
        (1464.05, 151.52, 0.06)
    """
    mu, phi = (skill.rating - _CENTRE) / _SCALE, skill.deviation / _SCALE
    if not played:
        rested = math.hypot(phi, skill.volatility)
        return Skill(skill.rating, rested * _SCALE, skill.volatility)
    information = pull = 0.0
    for other, score in played:
        g = _g(other.deviation / _SCALE)
        expected = 1 / (1 + math.exp(-g * (mu - (other.rating - _CENTRE) / _SCALE)))
        information += g * g * expected * (1 - expected)
        pull += g * (score - expected)
    v = 1 / information
    sigma = _volatility(v * pull, phi, v=v, sigma=skill.volatility, tau=tau)
    phi = 1 / math.sqrt(1 / (phi * phi + sigma * sigma) + information)
    return Skill(_SCALE * (mu + phi * phi * pull) + _CENTRE, _SCALE * phi, sigma)


def _g(phi: float) -> float:
    return 1 / math.sqrt(1 + 3 * phi * phi / math.pi**2)


def _volatility(delta: float, phi: float, *, v: float, sigma: float, tau: float) -> float:
    """Returns the new volatility, step 5 of the paper, by the Illinois iteration."""
    a = math.log(sigma * sigma)

    def f(x: float) -> float:
        e = math.exp(x)
        spread = phi * phi + v + e
        return e * (delta * delta - spread) / (2 * spread * spread) - (x - a) / tau**2

    if delta * delta > phi * phi + v:
        b = math.log(delta * delta - phi * phi - v)
    else:
        k = 1
        while f(a - k * tau) < 0:
            k += 1
        b = a - k * tau
    return math.exp(_root(f, a, b) / 2)


def _root(f: Callable[[float], float], a: float, b: float) -> float:
    """Returns where ``f``, of opposite signs at ``a`` and ``b``, is zero."""
    at_a, at_b = f(a), f(b)
    while abs(b - a) > _TOLERANCE:
        c = a + (a - b) * at_a / (at_b - at_a)
        at_c = f(c)
        if at_c * at_b <= 0:
            a, at_a = b, at_b
        else:
            at_a /= 2
        b, at_b = c, at_c
    return a


def after_round(
    skills: Mapping[str, Skill], matches: Sequence[Match], *, tau: float = 0.5
) -> dict[str, Skill]:
    """Returns everybody's skill after a round; opponents count as they were before it.

    Players that are not in ``skills`` are new. Those who do not play grow less certain.
    """
    names = dict.fromkeys([*skills, *(n for m in matches for n in (m.first, m.second))])
    before = {name: skills.get(name, Skill()) for name in names}
    played: dict[str, list[tuple[Skill, float]]] = {name: [] for name in before}
    for m in matches:
        played[m.first].append((before[m.second], m.score))
        played[m.second].append((before[m.first], 1 - m.score))
    return {name: updated(skill, played[name], tau=tau) for name, skill in before.items()}


_FEW = 4


def spearman(a: Sequence[float], b: Sequence[float]) -> Estimate:
    """Returns Spearman's rank correlation, ties at their mean rank.

    The interval is Fisher's, on the scale of ``atanh``, with the variance
    ``(1 + rho^2 / 2) / (n - 3)``; pairs count as independent.

    Source: Bonett and Wright, 2000, https://doi.org/10.1007/BF02294183.

    Raises:
        ValueError: If the lengths differ.

    Example:
        >>> e = spearman([1, 2, 3, 4, 5], [2, 1, 4, 3, 5])
        >>> round(e.value, 3), round(e.low, 2), round(e.high, 2)
        (0.8, -0.46, 0.99)
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} values beside {len(b)}.")
    n = len(a)
    if n < _FEW:
        return Estimate.missing(f"a correlation needs at least {_FEW} pairs, here are {n}")
    x, y = (torch.tensor(v, dtype=torch.float64) for v in (a, b))
    x, y = (ranks(v, v) for v in (x, y))
    if float(x.var()) == 0 or float(y.var()) == 0:
        return Estimate.missing("all values are equal")
    rho = float(torch.corrcoef(torch.stack([x, y]))[0, 1])
    bound = max(-1.0, min(1.0, rho))
    if abs(bound) > 1 - 1e-12:
        return Estimate(value=bound, n=n, method="identical order: no Fisher interval")
    half = _Z * math.sqrt((1 + rho * rho / 2) / (n - 3))
    return Estimate(
        value=rho,
        low=math.tanh(math.atanh(rho) - half),
        high=math.tanh(math.atanh(rho) + half),
        n=n,
        method=f"Spearman over {n} players, Fisher interval assuming independence",
    )


# ----------------------------------------------------------------------------
# Bradley-Terry: strengths of all players at once from a table of matches.
# ----------------------------------------------------------------------------

_STEPS = 200
_CLOSE = 1e-10


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PairwiseResults:
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
            return Estimate(value=value, n=1, method="a single judge or block: no interval")
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


def bradley_terry(bouts: PairwiseResults, players: int, *, ridge: float = 0.01) -> Strengths:
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


def _design(bouts: PairwiseResults, players: int) -> Tensor:
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
