"""Glicko-2: skill from a stream of matches (Glickman, 2012)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

_SCALE = 173.7178
_CENTRE = 1500.0
_TOLERANCE = 1e-6
_Z = 1.959963984540054


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
