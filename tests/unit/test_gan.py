import itertools
import math
from pathlib import Path

import pytest
import torch

from gantlet.compute.meters import count
from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.model import Adversarial, Decoder, default_batch
from gantlet.core.rng import Rng
from gantlet.core.spec import Spec, families, solvers
from gantlet.models.flow_gan import FlowGan
from gantlet.models.gan import Gan, energy_distance
from gantlet.models.losses import LOSSES, PENALTIES
from gantlet.models.mix_gan import MixGan
from gantlet.models.nets import WHOLE
from gantlet.models.ot_gan import OtGan, SinkhornGan
from gantlet.models.pac_gan import PacGan
from gantlet.testing import check_family
from gantlet.testing.contracts import made_up

PLANE = Space("vector", (2,))
DIGITS = Space("image", (1, 8, 8), 17)
COLOUR = Space("image", (3, 32, 32), 256)


def stream(name="test"):
    return Rng(0).stream(name)


def build(space, **options):
    return Gan(**options).build(space, rng=Rng(0))


@pytest.mark.parametrize(
    ("space", "options"),
    [
        (PLANE, {}),
        (DIGITS, {}),
        (COLOUR, {"width": 16, "depth": 1}),
        (DIGITS, {"net": "conv", "width": 16, "depth": 1}),
        (Space("image", (1, 28, 28)), {"width": 16, "depth": 1}),
        (Space("vector", (5,), 3), {"spectral": True, "loss": "hinge", "penalty": "none"}),
    ],
    ids=str,
)
def test_gan_keeps_the_contract(space, options):
    check_family(Gan(**options), space, n=8)


@pytest.mark.parametrize("loss", LOSSES)
def test_spectral_norm_goes_with_every_loss(loss):
    game = build(COLOUR, loss=loss, spectral=True, width=16, depth=1)
    play = solvers.make("adam").start(game)
    play.step(made_up(COLOUR, 4), rng=stream())
    losses = play.step(made_up(COLOUR, 4), rng=stream())
    assert all(map(math.isfinite, losses.values()))


def test_it_is_a_game_of_critic_and_generator():
    game = build(DIGITS)
    assert isinstance(game, Adversarial)
    assert isinstance(game.model, Decoder)
    assert list(game.players) == ["critic", "generator"]
    assert game.players["generator"] is game.model
    with pytest.raises(UserError, match=r"Unknown player 'critik'\. Did you mean 'critic'"):
        game.loss("critik", made_up(DIGITS, 2), rng=stream())


def test_each_player_answers_for_itself_alone():
    game = build(DIGITS)
    x = made_up(DIGITS, 4)
    critic, generator = (list(p.parameters()) for p in game.players.values())
    loss = game.loss("critic", x, rng=stream())
    assert set(torch.autograd.grad(loss, generator, allow_unused=True)) == {None}
    loss = game.loss("generator", x, rng=stream())
    assert all(g is not None for g in torch.autograd.grad(loss, generator))
    assert all(p.grad is None for p in critic + generator)


def test_samples_are_decoded_noise_rounded_to_the_nearest_level():
    game = build(DIGITS, latent=5)
    model = game.model
    z = 30 * model.prior(200, rng=stream())
    assert z.shape == (200, 5)
    decoded = model.decode(z)
    assert decoded.min() >= -0.5
    assert decoded.max() <= 16.5
    assert torch.equal(model.scaling.samples(model(z)), (decoded + 0.5).floor().clamp(0, 16))
    expected = (model.decode(model.prior(9, rng=stream())) + 0.5).floor().clamp(0, 16)
    assert torch.equal(model.sample(9, rng=stream()), expected)
    assert set(model.sample(300, rng=stream()).unique().tolist()) <= set(range(17))


def test_samples_of_a_continuous_space_come_in_its_own_units():
    game = build(PLANE)
    x = torch.tensor([100.0, -3.0]) + torch.tensor([10.0, 0.1]) * made_up(PLANE, 500)
    game.prepare(x, rng=stream())
    z = game.model.prior(500, rng=stream())
    decoded = game.model.decode(z)
    assert torch.equal(decoded, game.model.sample(500, rng=stream()))
    assert torch.allclose(decoded.mean(0), x.mean(0), atol=5.0, rtol=0.1)


def test_the_critic_scores_real_samples_and_decoded_ones_in_the_same_units():
    game = build(DIGITS)
    z = game.model.prior(4, rng=stream())
    inner = game.players["critic"]
    assert torch.allclose(game.critic(game.model.decode(z)), inner(game.model(z)), atol=1e-5)
    x = made_up(DIGITS, 4)
    assert torch.allclose(game.critic(x), inner((x + 0.5) / 8.5 - 1), atol=1e-5)


def test_roundness_gives_no_fake_away():
    """The critic sees the same of a level, whether it is real or what the generator put out."""
    game = build(DIGITS)
    x = made_up(DIGITS, 500)
    decoded = game.model.scaling.inverse(game.model.scaling(x + 0.5)) - 0.5
    seen = []
    game.players["critic"].register_forward_pre_hook(lambda _, z: seen.append(z[0]))
    for real in (x, decoded):
        game.loss("critic", real, rng=stream())
    # Real samples pass first.
    seen = seen[0], seen[len(seen) // 2]
    assert torch.allclose(*seen, atol=1e-5)
    assert not torch.equal((seen[0] * 8.5).round(), seen[0] * 8.5)


def test_its_written_form_builds_it():
    text = "gan:latent=8,width=16,depth=1,loss=hinge,penalty=gp,gamma=20,spectral=true,net=mlp"
    made = families.make(text)
    assert made == Gan(
        latent=8,
        width=16,
        depth=1,
        loss="hinge",
        penalty="gp",
        gamma=20.0,
        spectral=True,
        net="mlp",
    )
    assert solvers.make(made.solver)
    with pytest.raises(UserError, match="Did you mean 'hinge'"):
        families.make("gan:loss=hinges")


def test_the_same_seed_gives_the_same_players_and_another_seed_others():
    a, b, c = (Gan().build(DIGITS, rng=Rng(seed)) for seed in (0, 0, 1))
    for name in a.players:
        x, y, z = (g.players[name].state_dict() for g in (a, b, c))
        assert all(torch.equal(x[k], y[k]) for k in x)
        assert any(not torch.equal(x[k], z[k]) for k in x)


def test_sixty_steps_bring_the_samples_nearer_to_a_ring():
    angle = 2 * math.pi * torch.rand(2048, generator=stream("angles")).mul(8).floor() / 8
    ring = torch.stack([angle.cos(), angle.sin()], 1)
    x = ring + 0.05 * torch.randn(2048, 2, generator=stream("noise"))
    family = Gan(width=32)
    game = family.build(PLANE, rng=Rng(0))
    game.prepare(x, rng=stream())
    before = energy_distance(game.model.sample(1000, rng=stream("fake")), x[:1000])
    play = solvers.make("adam:lr=0.005,beta1=0.0,beta2=0.99").start(game)
    rng = stream("play")
    for step in range(60):
        start = 64 * (step % 32)
        play.step(x[start : start + 64], rng=rng)
    after = energy_distance(game.model.sample(1000, rng=stream("fake")), x[:1000])
    assert after < before / 4
    assert game.validate(x[:1000], rng=stream("fake")).item() == pytest.approx(
        energy_distance(
            game.model.scaling(x[:1000]),
            game.model.scaling(game.model.sample(1000, rng=stream("fake"))),
        ).item()
    )


# What the adversarial families have in common


PICTURE = Space("image", (3, 20, 16), 256)
FLOW = {"width": 16, "layers": 2, "critic_width": 16}
PAIRED = list(itertools.product(LOSSES, PENALTIES))
# Losses and penalties are the same code: that each of them reaches it is enough for the second.
ONCE = [
    *((loss, "none") for loss in LOSSES),
    *(("ns", penalty) for penalty in PENALTIES if penalty != "none"),
]


@pytest.mark.parametrize(
    "family",
    [
        *(Gan(loss=loss, penalty=penalty, width=16) for loss, penalty in PAIRED),
        *(FlowGan(loss=loss, penalty=penalty, **FLOW) for loss, penalty in ONCE),
    ],
    ids=str,
)
def test_every_loss_goes_with_every_penalty(family):
    game = family.build(DIGITS, rng=Rng(0))
    x = made_up(DIGITS, 8)
    game.prepare(x, rng=stream("prepare"))
    for name, player in game.players.items():
        value = game.loss(name, x, rng=stream())
        assert value.shape == ()
        assert value.isfinite()
        gradients = torch.autograd.grad(value, list(player.parameters()))
        assert all(g.isfinite().all() for g in gradients)
        assert any(g.abs().sum() > 0 for g in gradients)
        assert value == game.loss(name, x, rng=stream())
        assert value != game.loss(name, x, rng=stream("other"))


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        *((Gan(), kind) for kind in ("tokens", "graph", "table", "audio")),
        *((FlowGan(), kind) for kind in ("tokens", "graph")),
    ],
    ids=str,
)
def test_what_it_cannot_model_is_refused_in_one_line(family, kind):
    with pytest.raises(UserError, match=rf"\. Got {kind} 12") as error:
        family.build(Space(kind, (12,), 5), rng=Rng(0))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("family", "space"),
    [
        (Gan(width=16, depth=1), PICTURE),
        (Gan(width=16, depth=1, loss="wgan", penalty="gp"), PICTURE),
        (Gan(width=16, depth=1, spectral=True), PICTURE),
        (Gan(width=16, depth=1, net="conv", augment=True), PICTURE),
        (FlowGan(**FLOW), PICTURE),
        (FlowGan(**FLOW), PLANE),
    ],
    ids=str,
)
def test_cost_can_be_counted_without_computing(family, space):
    def cost(player, device):
        game = family.build(space, rng=Rng(0))
        for each in game.players.values():
            each.to(device)
        x, parameters = made_up(space, 4).to(device), list(game.players[player].parameters())
        return count(lambda: torch.autograd.grad(game.loss(player, x, rng=stream()), parameters))

    for player in family.build(space, rng=Rng(0)).players:
        assert cost(player, "cpu") == cost(player, "meta")
        assert cost(player, "cpu").flops > 0


def test_one_pair_in_four_is_penalised_fourfold_with_strided_convolutions_alone():
    assert [Gan().rules_on(space).every for space in (PLANE, DIGITS, PICTURE)] == [1, 1, 4]
    assert Gan(net="conv").rules_on(PICTURE).every == 1
    assert Gan(penalty_every=2).rules_on(PLANE).every == 2
    weights = [Gan(gamma=0.5).rules_on(space).gamma for space in (PLANE, DIGITS, PICTURE)]
    assert weights == [0.5, 0.5, 2.0]
    assert Gan(net="conv").rules_on(PICTURE).gamma == Gan().gamma
    assert str(Spec.of("gan", Gan())).count("penalty") == 1


def test_batches_are_smaller_with_strided_convolutions():
    assert [default_batch(Gan(), space) for space in (PLANE, DIGITS, PICTURE)] == [128, 128, 64]
    assert default_batch(Gan(net="mlp"), PICTURE) == 128


def test_an_augmentation_is_for_images_and_not_for_scores():
    plain, changed = (Gan(augment=a).build(DIGITS, rng=Rng(0)) for a in (False, True))
    x = made_up(DIGITS, 6)
    for player in plain.players:
        assert plain.loss(player, x, rng=stream()) != changed.loss(player, x, rng=stream())
    assert torch.equal(plain.critic(x), changed.critic(x))
    with pytest.raises(UserError, match=r"augment=true needs images\. Got vector 2"):
        Gan(augment=True).build(PLANE, rng=Rng(0))


def test_up_to_which_size_a_perceptron_is_taken_is_told_as_it_is():
    """The limit is one constant; the help and the pages of the families repeat it in words."""
    read = round(WHOLE**0.5)
    assert read**2 == WHOLE
    docs = Path(__file__).parents[2] / "docs/families"
    told = [("gan", Gan), ("mix-gan", MixGan), ("pac-gan", PacGan), ("flow-gan", FlowGan)]
    told += [("ot-gan", OtGan), ("sinkhorn-gan", SinkhornGan)]
    for name, family in told:
        for text in (family.__doc__, (docs / f"{name}.md").read_text()):
            assert f"larger than {read}x{read} grey" in " ".join(text.split()), name
