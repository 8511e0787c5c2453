"""Stationary points of games: found to the last digit, and told apart by kind."""

import pytest
import torch
from torch.nn.functional import softplus

from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.games.batched import Ensemble
from gantlet.games.field import GameField
from gantlet.models.losses import AdversarialObjective
from gantlet.research.convergence.games import (
    Duel,
    FixedDiscrepancy,
    apart,
    discrepancy,
    modes,
    normal_quantiles,
)
from gantlet.research.convergence.landscape import character, settle

NOTHING = torch.empty(0, dtype=torch.float64)


def wells(z: torch.Tensor) -> torch.Tensor:
    """Minus the gradient of (x^2 - 1)^2 / 4 + y^2 / 2: minima at x = -1 and 1, a saddle at 0."""
    x, y = z
    return torch.stack([x - x**3, -y])


def test_every_stationary_point_of_two_wells_is_found_and_named():
    start = torch.tensor([[-1.4, 1], [0.1, -1], [0.8, 2], [-0.2, 0.5]], dtype=torch.float64)
    found = settle(wells, start, steps=40)
    assert found.is_still().all()
    assert torch.allclose(found.z[:, 0].round(decimals=6), torch.tensor([-1.0, 0, 1, 0]).double())
    kinds = [character(j, [slice(0, 2)]) for j in found.jacobian]
    assert [c.kind for c in kinds] == ["Nash", "unstable", "Nash", "unstable"]
    assert [c.index for c in kinds] == [0, 0.5, 0, 0.5]


def test_a_search_that_ends_where_the_field_does_not_vanish_says_so():
    found = settle(lambda z: z.square() + 1, torch.tensor([[0.7]], dtype=torch.float64), steps=60)
    assert abs(float(found.z)) < 1e-3  # |v| is least here
    assert not found.is_still().any()


def test_stable_for_the_game_but_not_a_nash_point():
    # Player x minimises -x^2/20 + xy and could gain alone; y minimises y^2/2 - xy.
    jacobian = torch.tensor([[0.1, -1], [1, -1]], dtype=torch.float64)
    players = [slice(0, 1), slice(1, 2)]
    assert torch.linalg.eigvals(jacobian).real.max() < 0
    assert character(jacobian, players).kind == "stable"
    own = torch.tensor([[-0.1, -1], [1, -1]], dtype=torch.float64)
    assert character(own, players).kind == "Nash"
    away = torch.tensor([[0.1, 0], [0, -1]], dtype=torch.float64)
    assert character(away, players).kind == "unstable"


def test_turning_is_that_of_the_eigenvalues():
    turned = torch.tensor([[-1.0, -2], [2, -1]], dtype=torch.float64)  # -1 +- 2i
    seen = character(turned, [slice(0, 1), slice(1, 2)])
    assert seen.turning == pytest.approx(2 / 5**0.5)
    assert character(torch.diag(torch.tensor([-1.0, -3])).double(), [slice(0, 2)]).turning == 0


def test_the_duel_is_the_game_that_training_plays():
    torch_rng = Rng(0).stream("weights")
    game = Duel(3, decay=0.0, gamma=0.7)
    for p in (q for player in game.players.values() for q in player.parameters()):
        p.data = torch.randn(p.shape, generator=torch_rng, dtype=p.dtype)
    rules = AdversarialObjective(loss="ns", penalty="r1r2", gamma=0.7)
    fake = game.generator(game.latent).detach()

    def critic(x):
        return game.critic(x)[:, 0]

    wanted = rules.critic(critic, game.real, fake, rng=Rng(0).stream("none"))
    assert torch.allclose(game.judge("critic", NOTHING, NOTHING), wanted)
    assert torch.allclose(
        game.judge("generator", NOTHING, NOTHING), softplus(-critic(fake)).mean()
    )


@pytest.mark.parametrize("kind", [FixedDiscrepancy, Duel])
def test_batched_jacobian_equals_that_of_the_game_field(kind):
    game = kind(2)
    weights = Rng(1).stream("weights")
    for p in (q for player in game.players.values() for q in player.parameters()):
        p.data = torch.randn(p.shape, generator=weights, dtype=p.dtype)
    ensemble = Ensemble(game)
    field = GameField(game, NOTHING, rng=Rng(0).stream("noise"))
    dense = field.jacobian.dense()
    assert torch.allclose(ensemble.jacobian(ensemble.now, NOTHING, NOTHING), dense, atol=1e-12)


def test_decay_is_half_the_square_of_a_players_own_weights():
    with_decay, without = Duel(2, decay=0.5), Duel(2, decay=0.0)
    for p in with_decay.critic.parameters():
        p.data = torch.randn(p.shape, generator=Rng(2).stream(str(p.shape)), dtype=p.dtype)
    for mine, other in zip(
        with_decay.critic.parameters(), without.critic.parameters(), strict=True
    ):
        other.data = mine.data
    without.generator.load_state_dict(with_decay.generator.state_dict())
    square = sum(float(p.detach().square().sum()) for p in with_decay.critic.parameters())
    paid = with_decay.judge("critic", NOTHING, NOTHING) - without.judge("critic", NOTHING, NOTHING)
    assert float(paid.detach()) == pytest.approx(0.25 * square)


def test_discrepancies_against_plain_loops():
    x, y = normal_quantiles(4), modes(8)

    def mean(f, a, b):
        return sum(f(float(u), float(v)) for u in a for v in b) / (len(a) * len(b))

    def kernel(u, v):
        return sum(float(torch.tensor(-((u - v) ** 2) / (2 * h * h)).exp()) for h in (0.5, 2.0))

    def far(u, v):
        return abs(u - v)

    wanted = mean(kernel, x, x) + mean(kernel, y, y) - 2 * mean(kernel, x, y)
    assert float(discrepancy(x, y)) == pytest.approx(wanted, abs=1e-6)
    wanted = 2 * mean(far, x, y) - mean(far, x, x) - mean(far, y, y)
    assert float(apart(x, y)) == pytest.approx(wanted)
    assert float(apart(y, y)) == 0


def test_an_unknown_player_is_named():
    with pytest.raises(UserError, match="critic"):
        Duel(1).judge("critics", NOTHING, NOTHING)
