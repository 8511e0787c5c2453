"""The mixture of generators that the worst of all critics finds hardest to tell from data."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from gantlet.core.estimate import Estimate
from gantlet.critics.matches import win_rate
from gantlet.games.equilibria import equilibrium
from gantlet.studies.tournament.players import REALS, SCALE, Player, Scores, sorted_players

MIXTURE = "equilibrium mixture"
"""The player that is a mixture of the others."""


@final
@dataclass(frozen=True, slots=True)
class Best:
    """The equilibrium of the game "be held for real" between generators and critics.

    It is found on one half of the samples and judged on the other.

    Attributes:
        generators: The weight of each generator that is played at all.
        critics: The weight of each critic that is played at all.
        single: The generator that does best alone against its worst critic.
        mixed: The win rate of the mixture against its worst critic.
        alone: The win rate of ``single`` against its worst critic.
        gain: The first less the second.
    """

    generators: Mapping[Player, float]
    critics: Mapping[Player, float]
    single: Player
    mixed: Estimate
    alone: Estimate
    gain: Estimate


def best_mixture(scores: Scores) -> Best:
    """Returns the equilibrium of a tournament from the scores of critics.

    A generator's payoff is its win rate, which is linear in mixtures of either side; so the
    linear programme's mixture has the largest win rate against its worst critic. Which generators,
    which single one and which critics are the worst is read off one half of all samples, the win
    rates off the other.

    Args:
        scores: Scores of critics, as ``standings`` takes them.
    """
    halves = [{pair: x[i::2] for pair, x in scores.items()} for i in (0, 1)]
    critics = list(sorted_players(critic for critic, _ in scores))
    left_out = {Player(REALS), Player(SCALE)}
    generators = list(sorted_players(p for _, p in scores if p not in left_out))
    table = torch.tensor(
        [[_rate(halves[0], {g: 1.0}, c).value or 0.0 for c in critics] for g in generators],
        dtype=torch.float64,
    )
    # Rows minimise: what a generator pays is how often its fakes are seen through.
    found = equilibrium(1 - table)
    mixture = _played(generators, found.rows)
    single = generators[int(table.min(1).values.argmax())]
    mixed, alone = (_worst(halves, critics, weights) for weights in (mixture, {single: 1.0}))
    return Best(
        mixture, _played(critics, found.columns), single, mixed, alone, _gain(mixed, alone)
    )


def pooled(samples: Mapping[Player, Tensor], weights: Mapping[Player, float]) -> Tensor:
    """Returns the first samples of each generator, as many as its weight says, in their order."""
    return _pool({g: samples[g] for g in weights}, weights)


def _played(players: Sequence[Player], weights: Tensor) -> dict[Player, float]:
    return {p: w for p, w in zip(players, weights.tolist(), strict=True) if w > 0}


def _worst(
    halves: Sequence[Scores],
    critics: Sequence[Player],
    weights: Mapping[Player, float],
) -> Estimate:
    """Returns the win rate on the second half against the critic that is worst on the first."""
    worst = min(critics, key=lambda c: _rate(halves[0], weights, c).value or 0.0)
    return _rate(halves[1], weights, worst)


def _rate(scores: Scores, weights: Mapping[Player, float], critic: Player) -> Estimate:
    fakes = {g: scores[critic, g] for g in weights}
    return win_rate(_pool(fakes, weights), scores[critic, Player(SCALE)])


def _pool(parts: Mapping[Player, Tensor], weights: Mapping[Player, float]) -> Tensor:
    n = min(len(x) for x in parts.values())
    ends = [round(n * share) for share in torch.tensor(list(weights.values())).cumsum(0).tolist()]
    starts = [0, *ends[:-1]]
    shares = zip(parts.values(), starts, ends, strict=True)
    return torch.cat([x[: end - start] for x, start, end in shares])


def _gain(mixed: Estimate, alone: Estimate) -> Estimate:
    """Returns the difference, its interval as if samples were not shared: wider than need be."""
    if mixed.value is None or alone.value is None:
        return Estimate.missing("one of the two is missing")
    half = math.hypot(mixed.half_width or 0.0, alone.half_width or 0.0)
    value = mixed.value - alone.value
    return replace(
        mixed,
        value=value,
        low=value - half,
        high=value + half,
        method="win rate of the mixture less that of the best single generator, unpaired",
    )
