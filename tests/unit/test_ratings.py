import math

import pytest
import torch

from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.core.rng import Rng
from gantlet.stats.permutation import ranks
from gantlet.stats.ratings import (
    Match,
    PairwiseResults,
    Skill,
    after_round,
    bradley_terry,
    cycles,
    updated,
    win_rate,
    wins_of,
)

# Wins in the American League East, 1987 (Agresti, Categorical Data Analysis): Milwaukee, Detroit,
# Toronto, New York, Boston, Cleveland, Baltimore.
BASEBALL = torch.tensor(
    [
        [0, 7, 9, 7, 7, 9, 11],
        [6, 0, 7, 5, 11, 9, 9],
        [4, 6, 0, 7, 7, 8, 12],
        [6, 8, 6, 0, 6, 7, 10],
        [6, 2, 6, 7, 0, 7, 12],
        [4, 4, 5, 6, 6, 0, 6],
        [2, 4, 1, 3, 1, 7, 0],
    ]
)


def table(wins, cluster=None):
    i, j = torch.triu_indices(len(wins), len(wins), offset=1)
    return PairwiseResults(
        first=i, second=j, wins=wins[i, j], games=wins[i, j] + wins[j, i], cluster=cluster
    )


def test_glickmans_worked_example():
    opponents = [Skill(1400, 30), Skill(1550, 100), Skill(1700, 300)]
    after = updated(Skill(1500, 200, 0.06), list(zip(opponents, [1, 0, 0], strict=True)))
    assert after.rating == pytest.approx(1464.0507, abs=5e-4)
    assert after.deviation == pytest.approx(151.5165, abs=5e-4)
    assert after.volatility == pytest.approx(0.0599960, abs=5e-7)


def test_glicko_counts_opponents_as_they_were_and_rest_adds_doubt():
    skills = after_round({"rests": Skill(1600, 50)}, [Match("a", "b", 1.0), Match("a", "c", 1.0)])
    assert skills["b"] == skills["c"]
    assert skills["a"].rating > 1500 > skills["b"].rating
    assert skills["rests"].rating == 1600
    assert skills["rests"].deviation == pytest.approx(math.hypot(50, 0.06 * 173.7178))
    tied = after_round({}, [Match("a", "b", 0.5)])
    assert tied["a"].rating == tied["b"].rating == 1500
    upset = updated(Skill(1500, 30), [(Skill(2500, 30), 1.0)] * 5)
    assert upset.volatility > 0.06


def test_baseball_of_1987():
    found = bradley_terry(table(BASEBALL), 7, ridge=0.0)
    against = [1.5814, 1.4364, 1.2945, 1.2476, 1.1077, 0.6839]
    errors = [0.3433, 0.3396, 0.3367, 0.3359, 0.3339, 0.3319]
    for team, (value, error) in enumerate(zip(against, errors, strict=True)):
        w = torch.zeros(7)
        w[team], w[6] = 1.0, -1.0
        contrast = found.contrast(w)
        assert contrast.value == pytest.approx(value, abs=5e-5)
        assert contrast.half_width == pytest.approx(1.959964 * error, abs=2e-4)


def test_who_never_loses_stays_finite_and_ties_are_half_wins():
    one = PairwiseResults(
        first=torch.tensor([0]),
        second=torch.tensor([1]),
        wins=torch.tensor([9]),
        games=torch.tensor([9]),
    )
    found = bradley_terry(one, 2)
    assert torch.isfinite(found.value).all()
    assert found.value[0] > 2
    tie = PairwiseResults(
        first=torch.tensor([0]),
        second=torch.tensor([1]),
        wins=torch.tensor([0.5]),
        games=torch.tensor([1]),
    )
    assert bradley_terry(tie, 2).value.abs().max() < 1e-9
    with pytest.raises(UserError, match="itself"):
        bradley_terry(
            PairwiseResults(
                first=torch.tensor([0]),
                second=torch.tensor([0]),
                wins=torch.tensor([1]),
                games=torch.tensor([1]),
            ),
            2,
        )


def test_intervals_cover_where_judges_differ_and_those_of_independent_games_do_not():
    rng = Rng(3).stream("judges")
    covered = {"sandwich": 0, "plain": 0}
    times, judges, games = 200, 12, 60
    for _ in range(times):
        bias = 0.7 * torch.randn(judges, generator=rng)
        p = torch.sigmoid(0.5 + bias).double()
        wins = torch.bernoulli(p.expand(games, judges), generator=rng).sum(0)
        pair = {"first": torch.zeros(judges), "second": torch.ones(judges)}
        rest = {"wins": wins, "games": torch.full((judges,), games)}
        truth = torch.logit(torch.sigmoid(0.5 + 0.7 * _GRID).mul(_WEIGHT).sum())
        for name, cluster in (("sandwich", torch.arange(judges)), ("plain", None)):
            e = bradley_terry(PairwiseResults(**pair, **rest, cluster=cluster), 2).contrast(
                torch.tensor([1.0, -1.0])
            )
            covered[name] += int(e.low <= truth <= e.high)
    assert covered["sandwich"] / times > 0.9
    assert covered["plain"] / times < 0.75


_GRID = torch.linspace(-5, 5, 2001, dtype=torch.float64)
_WEIGHT = torch.exp(-_GRID.square() / 2) / torch.exp(-_GRID.square() / 2).sum()


def test_ranks_do_not_depend_on_the_scale_of_a_critic():
    rng = Rng(0).stream("scores")
    fakes, reals = torch.randn(50, generator=rng), torch.randn(80, generator=rng) + 1
    slow = (fakes[:, None] > reals).double().mean(1)
    assert torch.allclose(ranks(fakes, reals), slow)
    assert torch.equal(
        ranks(fakes, reals), ranks(fakes.double().exp() * 9, reals.double().exp() * 9)
    )


def test_a_win_rate_has_an_interval_that_covers():
    rng = Rng(1).stream("scores")
    inside = 0
    for _ in range(300):
        e = win_rate(torch.randn(60, generator=rng), torch.randn(80, generator=rng) + 1)
        assert e.low is not None
        inside += int(e.low <= truth_of_normal() <= e.high)
    assert inside / 300 > 0.9
    never = win_rate(torch.zeros(40), torch.ones(40))
    assert never.value == 0
    assert never.high > 0


def truth_of_normal():
    """P(N(0, 1) > N(1, 1))."""
    return 0.5 * math.erfc(1 / math.sqrt(2) / math.sqrt(2))


def rate(value, half=0.05):
    return Estimate(value=value, low=value - half, high=value + half)


def test_cycles_are_found_only_where_each_win_is_sure():
    rates = {("a", "b"): rate(0.8), ("b", "c"): rate(0.7), ("a", "c"): rate(0.3)}
    assert wins_of(rates) == {("a", "b"), ("b", "c"), ("c", "a")}
    assert cycles(wins_of(rates)) == [("a", "b", "c")]
    assert cycles(wins_of({**rates, ("a", "c"): rate(0.49)})) == []
    ring = {("g1", "c1"), ("c1", "g2"), ("g2", "c2"), ("c2", "g1")}
    assert cycles(ring) == [("c1", "g2", "c2", "g1")]
    assert cycles(ring, longest=3) == []
