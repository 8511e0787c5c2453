"""Ratings of all players from the scores that critics gave."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from gantlet.core.estimate import Estimate
from gantlet.core.intervals import mean
from gantlet.critics.bradley_terry import Bouts, Strengths, bradley_terry
from gantlet.critics.calibration import ranks
from gantlet.critics.glicko import Match, Skill, after_round
from gantlet.critics.matches import cycles, win_rate, wins_of
from gantlet.studies.tournament.players import REALS, SCALE, Player, Scores, sorted_players

CRITIC = "critic of "
"""Begins the name of a critic, to tell it from the generator of the same step."""

POINTS = 400 / math.log(10)
"""Points of rating in one unit of the logit: 400 points are odds of ten to one."""

_CENTRE = 1500.0
_ROUNDS = 10


@final
@dataclass(frozen=True, slots=True)
class Standings:
    """All ratings of a tournament.

    Attributes:
        generators: Those who make samples, real data among them, last.
        critics: Those who judge.
        rates: The win rate of each generator against each critic, by their names.
        fits: The strengths with intervals for generators, and for critics.
        skills: Glicko-2 skills, by name; those of critics begin with ``critic of``.
        cycles: Players of whom each surely beats the next.
    """

    generators: Sequence[Player]
    critics: Sequence[Player]
    rates: Mapping[tuple[str, str], Estimate]
    fits: tuple[Strengths, Strengths]
    skills: Mapping[str, Skill]
    cycles: Sequence[tuple[str, ...]]

    def rating(self, player: Player, *, critic: bool = False) -> Estimate:
        """Returns the rating in points; 1500 is the mean of all generators, data left out."""
        weights = -self._mean()
        weights[self._index(player, critic)] += 1
        e = _in_points(self.fits[critic].contrast(weights))
        return _shifted(e, _CENTRE)

    def lead(self, a: Player, b: Player, *, level: float = 0.95) -> Estimate:
        """Returns by how many points generator ``a`` is rated above ``b``."""
        weights = torch.zeros(len(self.generators) + len(self.critics), dtype=torch.float64)
        weights[self._index(a, critic=False)] += 1
        weights[self._index(b, critic=False)] -= 1
        return _in_points(self.fits[0].contrast(weights, level=level))

    def streamed(self, name: str) -> Estimate:
        """Returns the Glicko-2 rating of a player by name, in points."""
        low, high = self.skills[name].interval
        return Estimate(
            value=self.skills[name].rating,
            low=low,
            high=high,
            n=_ROUNDS,
            unit="points",
            better="higher",
            method=f"Glicko-2 after {_ROUNDS} rounds, 1.96 deviations either way",
        )

    def mean_rate(self, player: Player) -> Estimate:
        """Returns the mean win rate of a generator over all critics."""
        found = [self.rates[player.name, c.name].value or 0.0 for c in self.critics]
        return mean(found, better="higher", of="critics")

    def courses(self) -> dict[str, list[Player]]:
        """Returns the generators of each training that has several snapshots, by step."""
        found: dict[str, list[Player]] = {}
        for player in self.generators:
            if player.step is not None:
                found.setdefault(player.course, []).append(player)
        return {course: players for course, players in found.items() if len(players) > 1}

    def _mean(self) -> Tensor:
        shares = [0.0 if g.course == REALS else 1.0 for g in self.generators]
        weights = torch.tensor(shares + [0.0] * len(self.critics), dtype=torch.float64)
        return weights / weights.sum()

    def _index(self, player: Player, critic: bool) -> int:
        if critic:
            return len(self.generators) + list(self.critics).index(player)
        return list(self.generators).index(player)


def standings(scores: Scores) -> Standings:
    """Rates everybody from the scores of critics."""
    scale = Player(SCALE)
    critics = list(sorted_players(critic for critic, _ in scores))
    generators = list(sorted_players(player for _, player in scores if player != scale))
    reals = {c.name: scores[c, scale] for c in critics}
    fakes = {(g.name, c.name): scores[c, g] for g in generators for c in critics}
    rates = {pair: win_rate(x, reals[pair[1]]) for pair, x in fakes.items()}
    calibrated = {pair: ranks(x, reals[pair[1]]) for pair, x in fakes.items()}
    return Standings(
        generators=generators,
        critics=critics,
        rates=rates,
        fits=_fits(len(generators), len(critics), calibrated),
        skills=_skills(calibrated),
        cycles=cycles(wins_of({(g, CRITIC + c): e for (g, c), e in rates.items()})),
    )


def _fits(
    generators: int, critics: int, calibrated: Mapping[tuple[str, str], Tensor]
) -> tuple[Strengths, Strengths]:
    """Returns strengths with the intervals of generators, and with those of critics.

    A generator is sure where critics agree on it, so critics are its clusters, and the other way
    round. ``calibrated`` goes over generators, and within each over critics.
    """
    first = torch.arange(generators).repeat_interleave(critics)
    second = torch.arange(critics).repeat(generators)
    games = torch.tensor([float(len(x)) for x in calibrated.values()], dtype=torch.float64)
    wins = torch.stack([x.sum() for x in calibrated.values()])

    def fit(cluster: Tensor) -> Strengths:
        bouts = Bouts(
            first=first, second=second + generators, wins=wins, games=games, cluster=cluster
        )
        return bradley_terry(bouts, generators + critics)

    return fit(second), fit(first)


def _skills(calibrated: Mapping[tuple[str, str], Tensor]) -> dict[str, Skill]:
    """Returns Glicko-2 skills after ten rounds, each with a tenth of the samples."""
    skills: dict[str, Skill] = {}
    parts = {pair: torch.chunk(x, _ROUNDS) for pair, x in calibrated.items()}
    for i in range(min(len(p) for p in parts.values())):
        matches = [
            Match(generator, CRITIC + critic, float(part[i].mean()))
            for (generator, critic), part in parts.items()
        ]
        skills = after_round(skills, matches)
    return skills


def _in_points(e: Estimate) -> Estimate:
    low, high = (None if end is None else end * POINTS for end in (e.low, e.high))
    return replace(
        e, value=None if e.value is None else e.value * POINTS, low=low, high=high, unit="points"
    )


def _shifted(e: Estimate, by: float) -> Estimate:
    value, low, high = (None if end is None else end + by for end in (e.value, e.low, e.high))
    return replace(e, value=value, low=low, high=high, better="higher")
