import pytest
import torch

from gantlet.compute.meters import count
from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import families, solvers
from gantlet.games.mixed import GeneratorMixture
from gantlet.models.gan import Gan
from gantlet.models.mix_gan import MixGan
from gantlet.testing import check_family, check_model

PLANE = Space("vector", (2,))
DIGITS = Space("image", (1, 8, 8), 17)


def stream(name="test"):
    return Rng(0).stream(name)


@pytest.mark.parametrize("space", [PLANE, DIGITS], ids=str)
@pytest.mark.parametrize("k", [1, 3])
def test_mix_gan_keeps_the_contract(space, k):
    check_family(MixGan(k=k, width=16), space, n=12)


@pytest.mark.parametrize("space", [PLANE, DIGITS], ids=str)
@pytest.mark.parametrize("loss", ["relativistic", "ns"])
def test_one_of_each_is_a_gan_bit_by_bit(space, loss):
    games = [f(width=16, loss=loss).build(space, rng=Rng(3)) for f in (Gan, _one)]
    x = torch.rand(4, 32, *space.shape, generator=stream("x"))
    for game in games:
        game.prepare(x[0], rng=stream("prepare"))
        play = solvers.make(Gan().solver).start(game)
        noise = stream("noise")
        for batch in x:
            play.step(batch, rng=noise)
    assert list(games[1].players) == ["critic 1", "generator 1"]
    for a, b in zip(games[0].players.values(), games[1].players.values(), strict=True):
        for p, q in zip(a.parameters(), b.parameters(), strict=True):
            assert torch.equal(p, q)
    samples = [game.model.sample(10, rng=stream("s")) for game in games]
    assert torch.equal(*samples)
    assert torch.equal(*[game.validate(x[0], rng=stream("v")) for game in games])


def _one(**options):
    return MixGan(k=1, **options)


def test_losses_are_sums_of_the_pairs_by_weight():
    game = MixGan(k=2, width=8, loss="ns", penalty="none", entropy=0.5).build(PLANE, rng=Rng(0))
    with torch.no_grad():
        for name, shift in (("critic weights", 1.0), ("generator weights", -0.3)):
            game.players[name].logits[0] += shift
    q, p = (game.players[n].logits.softmax(0) for n in ("critic weights", "generator weights"))
    x = torch.randn(20, 2, generator=stream("x"))
    noise = stream()
    generators = [game.players[f"generator {i}"] for i in (1, 2)]
    critics = [game.players[f"critic {i}"] for i in (1, 2)]
    fakes = [g.decode(g.prior(10, rng=noise)) for g in generators]
    softplus = torch.nn.functional.softplus

    def critic_loss(net):
        each = [
            softplus(-net(part)).mean() + softplus(net(fake)).mean()
            for part, fake in zip(x.chunk(2), fakes, strict=True)
        ]
        return p @ torch.stack(each)

    costs = torch.stack([critic_loss(net) for net in critics])
    for i, cost in enumerate(costs):
        assert torch.isclose(game.loss(f"critic {i + 1}", x, rng=stream()), cost)
    expected = q @ costs - 0.5 * q.log().mean()
    assert torch.isclose(game.loss("critic weights", x, rng=stream()), expected)
    fooled = torch.stack(
        [torch.stack([softplus(-net(fake)).mean() for net in critics]) for fake in fakes]
    )
    expected = p @ fooled @ q - 0.5 * p.log().mean()
    assert torch.isclose(game.loss("generator weights", x, rng=stream()), expected)
    z = generators[0].prior(20, rng=stream())
    parts = generators[0].decode(z).chunk(2)
    each = [softplus(-net(part)).mean() for net, part in zip(critics, parts, strict=True)]
    assert torch.isclose(game.loss("generator 1", x, rng=stream()), q @ torch.stack(each))


@pytest.mark.parametrize(
    "player", ["critic 2", "generator 1", "critic weights", "generator weights"]
)
def test_the_coupled_loss_is_the_same_number_and_reaches_everyone(player):
    game = MixGan(k=2, width=8, loss="ns", penalty="r1r2").build(PLANE, rng=Rng(0))
    x = torch.randn(20, 2, generator=stream("x"))
    loss = game.coupled(player, x, rng=stream())
    assert torch.isclose(loss, game.loss(player, x, rng=stream()))
    reached = {
        name: any(
            g is not None and g.abs().sum() > 0
            for g in torch.autograd.grad(
                loss, list(p.parameters()), retain_graph=True, allow_unused=True
            )
        )
        for name, p in game.players.items()
    }
    alone = {
        "critic 2": {"critic 1", "critic weights"},
        "generator 1": {"generator 2", "generator weights"},
    }
    assert {name for name, is_reached in reached.items() if not is_reached} == alone.get(
        player, set()
    )


def test_the_entropy_term_pulls_weights_together():
    def after(entropy):
        game = MixGan(k=3, width=8, entropy=entropy).build(PLANE, rng=Rng(0))
        with torch.no_grad():
            game.players["generator weights"].logits[0] += 3.0
        play = solvers.make("adam:lr=0.03,beta1=0.0").start(game)
        for i in range(10):
            play.step(torch.randn(30, 2, generator=stream(str(i))), rng=stream(f"n{i}"))
        return game.model.weights[0].item()

    assert after(10.0) < after(0.0)


def test_a_step_costs_k_times_a_gan_and_the_weights():
    x = torch.randn(120, 2, generator=stream("x"))

    def cost(family):
        game = family.build(PLANE, rng=Rng(0))
        return {p: count(lambda p=p: _gradient(game, p, x)).flops for p in game.players}

    gan, mix = cost(Gan(width=32)), cost(MixGan(k=3, width=32))
    for i in (1, 2, 3):
        assert mix[f"critic {i}"] == pytest.approx(gan["critic"], rel=0.01)
        assert mix[f"generator {i}"] == pytest.approx(gan["generator"], rel=0.01)


def _gradient(game, player, x):
    torch.autograd.grad(
        game.loss(player, x, rng=stream()), list(game.players[player].parameters())
    )


def test_a_batch_must_reach_everyone():
    game = MixGan(k=3, width=8).build(PLANE, rng=Rng(0))
    with pytest.raises(UserError, match=r"a sample for each of 3 generators\. Got 2"):
        game.loss("critic 1", torch.zeros(2, 2), rng=stream())
    with pytest.raises(UserError, match="Unknown player 'critic'"):
        game.loss("critic", torch.zeros(9, 2), rng=stream())


def test_a_mixture_samples_its_parts_by_weight():
    parts = [families.make("gan:width=8").build(PLANE, rng=Rng(i)).model for i in (0, 1, 2)]
    for i, part in enumerate(parts):
        part.scaling.shift.fill_(100.0 * i)
    mixture = GeneratorMixture.weighted(parts, torch.tensor([0.25, 0.0, 0.75]))
    check_model(mixture, PLANE)
    x = mixture.sample(8000, rng=stream())
    nearest = (x[:, 0] / 100).round()
    shares = [float((nearest == i).float().mean()) for i in (0, 1, 2)]
    assert shares == pytest.approx([0.25, 0.0, 0.75], abs=0.015)
    # In random order: the first half is as the second.
    assert float(nearest[:4000].mean()) == pytest.approx(float(nearest[4000:].mean()), abs=0.08)


def test_a_mixture_of_different_spaces_is_refused():
    parts = [Gan(width=8).build(space, rng=Rng(0)).model for space in (PLANE, DIGITS)]
    with pytest.raises(UserError, match="models of one space and a weight for each"):
        GeneratorMixture(parts, torch.zeros(2))
    with pytest.raises(UserError, match=r"Got 1 models .* and 2 weights"):
        GeneratorMixture(parts[:1], torch.zeros(2))
