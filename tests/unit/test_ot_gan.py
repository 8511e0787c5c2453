"""Games of transport between minibatches: OT-GAN and Sinkhorn-GAN."""

import pytest
import torch

from gantlet.cli.main import run
from gantlet.compute.meters import count
from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.model import Adversarial
from gantlet.core.rng import Rng
from gantlet.core.spec import families, solvers
from gantlet.games.field import GameField
from gantlet.models.matching import Exact, cosine_cost, minibatch_energy_distance
from gantlet.models.ot_gan import OtGan, SinkhornGan
from gantlet.testing import check_family

PLANE = Space("vector", (2,))
DIGITS = Space("image", (1, 8, 8), 17)
ALL = [
    OtGan(width=16),
    OtGan(width=16, matching="sinkhorn", iterations=20),
    SinkhornGan(width=16),
    SinkhornGan(width=16, learned=True),
]


def stream(name="test"):
    return Rng(0).stream(name)


@pytest.mark.parametrize("space", [PLANE, DIGITS], ids=str)
@pytest.mark.parametrize("family", ALL, ids=str)
def test_every_kind_keeps_the_contract(family, space):
    check_family(family, space, n=8)


def test_large_images_have_convolutions():
    space = Space("image", (3, 40, 40), 256)
    for family in (OtGan(width=8), SinkhornGan(width=8, learned=True)):
        players = family.build(space, rng=Rng(0)).players
        for player in players.values():
            assert any(isinstance(m, torch.nn.Conv2d) for m in player.modules())


def test_the_loss_is_the_energy_distance_of_the_critic_s_features():
    game = OtGan(width=8, features=4).build(PLANE, rng=Rng(0))
    x = torch.randn(6, 2, generator=stream("x"))
    rng = stream()
    fake = game.model.decode(game.model.prior(6, rng=rng))
    critic = game.players["critic"]
    expected = minibatch_energy_distance(critic(x), critic(fake), Exact())
    assert torch.isclose(game.loss("generator", x, rng=stream()), expected)
    assert torch.isclose(game.loss("critic", x, rng=stream()), -expected)


def test_without_learned_features_there_is_no_critic():
    assert list(SinkhornGan().build(PLANE, rng=Rng(0)).players) == ["generator"]
    learned = SinkhornGan(learned=True).build(PLANE, rng=Rng(0))
    assert list(learned.players) == ["critic", "generator"]


@pytest.mark.parametrize("family", ALL, ids=str)
def test_a_player_moves_alone_and_the_other_stays(family):
    game = family.build(PLANE, rng=Rng(0))
    x = torch.randn(8, 2, generator=stream("x"))
    for name, player in game.players.items():
        loss = game.loss(name, x, rng=stream())
        gradients = torch.autograd.grad(loss, list(player.parameters()))
        assert all(g.isfinite().all() for g in gradients)
        for other, module in game.players.items():
            if name in {other, "generator"}:
                continue  # The generator's gradient goes through the critic's features.
            parts = torch.autograd.grad(
                game.loss(name, x, rng=stream()), list(module.parameters()), allow_unused=True
            )
            assert all(g is None for g in parts)


@pytest.mark.parametrize("family", ALL, ids=str)
def test_the_game_has_a_field_and_its_jacobian(family):
    """By finite differences, in which plans move with the features that they match."""
    game = family.build(PLANE, rng=Rng(0))
    x = torch.randn(8, 2, generator=stream("x"), dtype=torch.float64)
    field = GameField(game, x, rng=stream(), precise=True)
    u, w = (torch.randn(field.size, generator=stream(n), dtype=torch.float64) for n in "uw")
    pushed = field.push(u)
    assert torch.isclose(pushed @ w, field.pull(w) @ u)
    z, h, values = field.position, 1e-6, []
    for side in (1, -1):
        field.move(z + side * h * u)
        values.append(field.value())
    slope = (values[0] - values[1]) / (2 * h)
    assert (pushed - slope).norm() < 1e-6 * slope.norm()


def test_five_steps_of_the_generator_take_five_batches():
    game = OtGan(width=8).build(PLANE, rng=Rng(0))
    play = solvers.make(OtGan().solver).start(game)
    assert play.batches == 5
    before = {n: [p.clone() for p in m.parameters()] for n, m in game.players.items()}
    play.step(torch.randn(5 * 8, 2, generator=stream("x")), rng=stream())
    # Adam's first step of 1e-3 moves by at most that; five of them by up to five times as much.
    ways = {
        n: max(float((p - q).detach().abs().max()) for p, q in zip(m.parameters(), b, strict=True))
        for (n, m), b in zip(game.players.items(), before.values(), strict=True)
    }
    assert ways["critic"] < 1.01e-3
    assert ways["generator"] > 2e-3


def test_the_matching_counts_towards_the_cost():
    def flops(**options):
        game = OtGan(width=8, **options).build(PLANE, rng=Rng(0))
        x = torch.randn(32, 2, generator=stream("x"))
        cost = count(lambda: game.loss("generator", x, rng=stream()))
        assert not cost.unknown
        return cost.flops

    exact = flops()
    entropic = [flops(matching="sinkhorn", iterations=k) for k in (10, 20)]
    assert entropic[1] - entropic[0] == 10 * 10 * 6 * 16**2
    # 6 matchings of 16 x 16: at most 16^3 steps each.
    assert exact - entropic[0] == 6 * 16**3 - 10 * 10 * 6 * 16**2


def test_training_brings_the_distance_down():
    """Two normal clouds: what both families are for, in a few steps."""
    x = torch.randn(512, 2, generator=stream("x")) * 0.5 + 3
    for family in (OtGan(width=32), SinkhornGan(width=32)):
        game = family.build(PLANE, rng=Rng(0))
        game.prepare(x, rng=stream())
        before = float(game.validate(x, rng=stream("v")))
        play = solvers.make(family.solver).start(game)
        for _ in range(60):
            index = torch.randint(512, (play.batches * 64,), generator=stream())
            play.step(x[index], rng=stream())
        assert float(game.validate(x, rng=stream("v"))) < before / 4


def test_one_distribution_gives_a_generator_nothing_to_learn_on_average():
    """Unbiased through a critic's features too, with random halves and a fixed network."""
    game = OtGan(width=16, features=8).build(PLANE, rng=Rng(1))
    critic, rng = game.players["critic"], stream("many")
    values = []
    for _ in range(300):
        with torch.no_grad():
            x, y = critic(torch.randn(64, 2, generator=rng)).chunk(2)
        values.append(float(minibatch_energy_distance(x, y, Exact())))
    found = torch.tensor(values)
    assert abs(float(found.mean())) < 3 * float(found.std()) / 300**0.5
    assert float(cosine_cost(x, y).mean()) > 0.01  # It is no constant.


@pytest.mark.parametrize("n", [1, 7])
def test_an_odd_batch_is_refused_in_one_line(n):
    game = OtGan(width=8).build(PLANE, rng=Rng(0))
    with pytest.raises(UserError, match=f"must be even. Got {n}; give --batch {n + 1}") as caught:
        game.loss("critic", torch.zeros(n, 2), rng=stream())
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="player"):
        game.loss("umpire", torch.zeros(8, 2), rng=stream())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ot-gan:matching=greedy", "exact"),
        ("ot-gan:epsilon=0", "0.0001"),
        ("sinkhorn-gan:iterations=0", "at least 1"),
    ],
)
def test_bad_options_are_refused(text, says):
    with pytest.raises(UserError, match=says):
        families.make(text)


def test_they_are_compared_from_the_command_line(tmp_path, capsys):
    game = families.make("otgan").build(PLANE, rng=Rng(0))
    assert not isinstance(game, Adversarial)
    data = "ring:n=200,held_out=50"
    models = ["ot-gan:width=8", "sinkhorn-gan:width=8"]
    command = ["compare", *models, "--data", data, "--steps", "3", "--seeds", "1", "--batch", "16"]
    assert run([*command, "--samples", "50", "--out", str(tmp_path / "run")]) == 0
    assert "ot-gan" in capsys.readouterr().out
    odd = ["train", "ot-gan:width=8", "--data", data, "--steps", "3", "--batch", "15"]
    assert run([*odd, "--samples", "50", "--out", str(tmp_path / "odd")]) != 0
    assert "must be even. Got 15" in "".join(capsys.readouterr())
