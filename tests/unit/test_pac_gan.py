"""A critic that sees packs of samples."""

import pytest
import torch

from gantlet.cli.main import run
from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.model import Adversarial
from gantlet.core.rng import Rng
from gantlet.core.spec import families, solvers
from gantlet.models.gan import Gan
from gantlet.models.pac_gan import PacGan, packed
from gantlet.testing import check_family

PLANE = Space("vector", (2,))
DIGITS = Space("image", (1, 8, 8), 17)


def stream(name="test"):
    return Rng(0).stream(name)


@pytest.mark.parametrize("space", [PLANE, DIGITS], ids=str)
@pytest.mark.parametrize("pack", [1, 2, 3])
def test_pac_gan_keeps_the_contract(space, pack):
    check_family(PacGan(pack=pack, width=16), space, n=8)


@pytest.mark.parametrize("space", [PLANE, DIGITS], ids=str)
@pytest.mark.parametrize("penalty", ["r1r2", "gp"])
def test_packs_of_one_are_a_gan_bit_by_bit(space, penalty):
    games = [
        family.build(space, rng=Rng(3))
        for family in (Gan(width=16, penalty=penalty), PacGan(pack=1, width=16, penalty=penalty))
    ]
    x = torch.rand(4, 32, *space.shape, generator=stream("x"))
    for game in games:
        game.prepare(x[0], rng=stream("prepare"))
        play = solvers.make(Gan().solver).start(game)
        noise = stream("noise")
        for batch in x:
            play.step(batch, rng=noise)
    for a, b in zip(games[0].players.values(), games[1].players.values(), strict=True):
        for p, q in zip(a.parameters(), b.parameters(), strict=True):
            assert torch.equal(p, q)
    assert torch.equal(*[game.model.sample(10, rng=stream("s")) for game in games])
    assert torch.equal(*[game.validate(x[0], rng=stream("v")) for game in games])


@pytest.mark.parametrize(("shape", "first"), [((2,), (6,)), ((1, 8, 8), (3, 8, 8))])
def test_packs_lie_side_by_side_and_hold_distinct_samples(shape, first):
    x = torch.arange(5.0).view(5, *[1] * len(shape)).expand(5, *shape)
    packs = packed(x, 3)
    assert packs.shape == (5, *first)
    whose = packs.view(5, 3, -1)
    assert bool((whose == whose[..., :1]).all())  # a part of a pack is one sample
    rows = whose[..., 0].tolist()
    assert rows == [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 0], [4, 0, 1]]


def test_the_critic_takes_a_pack():
    for pack in (1, 2, 4):
        critic = PacGan(pack=pack, width=8).build(PLANE, rng=Rng(0)).players["critic"]
        layer = next(m for m in critic.modules() if isinstance(m, torch.nn.Linear))
        assert layer.in_features == 2 * pack
    large = Space("image", (3, 40, 40), 256)
    critic = PacGan(pack=2, width=8).build(large, rng=Rng(0)).players["critic"]
    layer = next(m for m in critic.modules() if isinstance(m, torch.nn.Conv2d))
    # Patches of 4x4 pixels are channels.
    assert layer.in_channels == 6 * 16


def test_a_pack_does_not_change_the_kind_of_the_networks():
    """28x28 grey is small enough for an MLP, two of them side by side are not."""
    space = Space("image", (1, 28, 28), 256)
    game = PacGan(pack=2, width=8).build(space, rng=Rng(0))
    convolutions = [
        m for p in game.players.values() for m in p.modules() if isinstance(m, torch.nn.Conv2d)
    ]
    assert convolutions == []


def test_the_losses_are_those_of_packs():
    game = PacGan(pack=2, width=8, loss="ns", penalty="none").build(PLANE, rng=Rng(0))
    x = torch.randn(6, 2, generator=stream("x"))
    rng = stream()
    fake = game.model.decode(game.model.prior(6, rng=rng))
    critic, softplus = game.players["critic"], torch.nn.functional.softplus
    pairs = [torch.stack([torch.cat([s[i], s[(i + 1) % 6]]) for i in range(6)]) for s in (x, fake)]
    real_scores, fake_scores = (critic(p) for p in pairs)
    expected = softplus(-real_scores).mean() + softplus(fake_scores).mean()
    assert torch.isclose(game.loss("critic", x, rng=stream()), expected)
    assert torch.isclose(game.loss("generator", x, rng=stream()), softplus(-fake_scores).mean())


def test_packs_see_dropped_modes_that_single_samples_hide():
    """Total variation, counted: 1 - (1 - d)^m with a share d of ten equal modes missing."""
    whole = torch.full((10,), 0.1, dtype=torch.float64)
    part = torch.cat([torch.full((8,), 1 / 8), torch.zeros(2)]).double()

    def tv(p, q):
        return float((p - q).abs().sum() / 2)

    assert tv(whole, part) == pytest.approx(0.2)
    assert tv(torch.outer(whole, whole), torch.outer(part, part)) == pytest.approx(1 - 0.8**2)


def test_a_single_sample_has_no_score(tmp_path, capsys):
    game = families.make("pacgan:pack=2").build(PLANE, rng=Rng(0))
    assert isinstance(game.model.sample(3, rng=stream()), torch.Tensor)
    assert not isinstance(game, Adversarial)
    data = "ring:n=200,held_out=50"
    out = str(tmp_path / "run")
    command = ["compare", "pac-gan:width=8", "--data", data, "--steps", "3", "--seeds", "1"]
    assert run([*command, "--samples", "50", "--out", out]) == 0
    capsys.readouterr()


def test_bad_packs_are_refused():
    with pytest.raises(UserError, match="at least 1"):
        families.make("pac-gan:pack=0")
    game = PacGan(pack=4, width=8).build(PLANE, rng=Rng(0))
    with pytest.raises(UserError, match="must hold pack=4 samples or more"):
        game.loss("critic", torch.zeros(3, 2), rng=stream())
    with pytest.raises(UserError, match="player"):
        game.loss("umpire", torch.zeros(8, 2), rng=stream())
