import pytest
import torch
from torch import nn

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.models.gan import SpectralNorm, critic, energy_distance, generator
from gantlet.models.nets import (
    FromPatches,
    PixelNorm,
    ResidualConv,
    ToPatches,
    channels,
    kind_of_net,
    map_channels,
    map_sizes,
    mlp,
    patch_side,
    seeded,
    sizes,
)

PLANE = Space("vector", (2,))
DIGITS = Space("image", (1, 8, 8), 17)
SPACES = [
    PLANE,
    DIGITS,
    Space("image", (1, 4, 4)),
    Space("image", (3, 16, 16), 256),
    Space("image", (1, 25, 25)),
    Space("image", (1, 28, 28), 256),
    Space("image", (3, 12, 20), 256),
    Space("image", (3, 64, 64), 256),
]


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=rng(seed))


def make(factory, space, **options):
    with seeded(rng()):
        return factory(space, **{"width": 32, "depth": 1, **options})


@pytest.mark.parametrize("space", SPACES, ids=lambda s: s.label)
def test_critic_and_generator_have_the_shapes_they_promise(space):
    D = make(critic, space)
    G = make(generator, space, latent=5)
    y = G(draw(3, 5))
    assert y.shape == (3, *space.shape)
    assert D(y).shape == (3,)
    assert D.features(y).ndim == 2
    assert torch.allclose(D.head(D.features(y)).squeeze(1), D(y))
    assert all(p.abs().sum() >= 0 for p in torch.autograd.grad(D(y).sum(), list(D.parameters())))


@pytest.mark.parametrize("space", [s for s in SPACES if s.kind == "image"], ids=lambda s: s.label)
@pytest.mark.parametrize("net", ["mlp", "conv", "strided"])
def test_the_kind_of_net_can_be_chosen(net, space):
    D, G = make(critic, space, net=net), make(generator, space, latent=5, net=net)
    kinds = {type(m) for made in (D, G) for m in made.modules()}
    assert (nn.Conv2d in kinds) == (net != "mlp")
    assert (ResidualConv in kinds) == (net == "conv")
    assert (ToPatches in kinds) == (FromPatches in kinds) == (net == "strided")
    y = G(draw(2, 5))
    assert y.shape == (2, *space.shape)
    assert D(y).shape == (2,)


def test_auto_takes_strided_convolutions_above_28x28_grey():
    for space in SPACES:
        is_large = space.kind == "image" and space.size > 28 * 28
        assert kind_of_net(space, "auto") == ("strided" if is_large else "mlp")
        has = any(isinstance(m, ToPatches) for m in make(critic, space).modules())
        assert has == is_large
    assert kind_of_net(Space("image", (3, 32, 32)), "auto") == "strided"


@pytest.mark.parametrize("net", ["conv", "strided"])
def test_a_vector_is_refused_by_convolutions(net):
    with pytest.raises(UserError, match=rf"net={net} needs images\. Got vector 2; use net=mlp"):
        kind_of_net(PLANE, net)


@pytest.mark.parametrize(("side", "shape"), [(4, (3, 8, 12)), (4, (1, 5, 7)), (2, (2, 3, 4))])
def test_patches_are_put_back_where_they_were(side, shape):
    """The corners of maps are the patches of the corners, row by row within a channel."""
    x = draw(2, *shape)
    maps = ToPatches(side)(x)
    rows, columns = -(-shape[1] // side), -(-shape[2] // side)
    assert maps.shape == (2, shape[0] * side**2, rows, columns)
    assert torch.equal(FromPatches(side, shape[1:])(maps), x)
    first = x[0, 0, :side, :side]
    assert torch.equal(maps[0, : side**2, 0, 0].view(side, side)[: len(first)], first)
    last = maps[1, -(side**2) :, -1, -1].view(side, side)
    assert last[-1, -1] == x[1, -1, -1, -1]


def test_maps_of_strided_nets_end_at_8x8_and_keep_32_channels():
    assert [s for s, _ in map_sizes(Space("image", (3, 256, 256)))] == [64, 32, 16, 8]
    assert [patch_side(Space("image", (1, n, n))) for n in (8, 16, 17, 64)] == [2, 2, 4, 4]
    assert map_sizes(Space("image", (1, 8, 8))) == [(4, 4)]
    assert [map_channels(128, (n, n)) for n in (4, 8, 16, 64)] == [64, 64, 32, 32]
    assert [map_channels(32, (n, n)) for n in (8, 16)] == [16, 16]


def test_pixel_norm_has_unit_size_at_each_place():
    y = PixelNorm()(7 * draw(2, 5, 3, 4))
    assert torch.allclose(y.square().mean(1), torch.ones(2, 3, 4), atol=1e-5)


def test_strided_players_start_near_zero_and_so_undecided():
    space = Space("image", (3, 32, 32), 256)
    D, G = make(critic, space), make(generator, space, latent=5)
    y = G(draw(64, 5))
    assert 0.02 < y.std() < 0.4
    assert D(draw(64, 3, 32, 32)).abs().mean() < 0.5


def test_convolutions_on_vectors_are_refused_in_one_line():
    for factory in (critic, generator):
        options = {"latent": 5} if factory is generator else {}
        with pytest.raises(UserError, match=r"net=conv needs images\. Got vector 2; use net=mlp"):
            make(factory, PLANE, net="conv", **options)


def test_width_and_depth_count():
    small, wide, deep = (
        sum(p.numel() for p in make(critic, DIGITS, width=w, depth=d).parameters())
        for w, d in [(16, 1), (32, 1), (16, 2)]
    )
    assert small == 64 * 16 + 16 + 16 + 1
    assert wide == 64 * 32 + 32 + 32 + 1
    assert deep == small + 16 * 16 + 16


def test_no_layer_looks_at_other_samples():
    space = Space("image", (3, 16, 16))
    for net in ("conv", "strided"):
        D, x = make(critic, space, depth=2, net=net), draw(4, 3, 16, 16)
        alone = torch.cat([D(one[None]) for one in x])
        assert torch.allclose(D(x), alone, atol=1e-5)
        G, z = make(generator, space, latent=5, depth=2, net=net), draw(4, 5)
        assert torch.allclose(G(z), torch.cat([G(one[None]) for one in z]), atol=1e-5)


def test_outputs_for_discrete_spaces_are_bounded_and_others_not():
    for space, bounded in [(DIGITS, True), (Space("image", (1, 8, 8)), False)]:
        y = make(generator, space, latent=5)(1000 * draw(50, 5))
        assert (y.abs().max().item() <= 1) == bounded


def test_a_block_starts_as_the_identity_and_can_leave_it():
    with seeded(rng()):
        block = ResidualConv(4)
    x = draw(2, 4, 5, 5)
    assert torch.equal(block(x), x)
    gradients = torch.autograd.grad(block(x).square().sum(), list(block.parameters()))
    assert gradients[2].abs().sum() > 0


def test_resolutions_halve_down_to_4x4():
    assert [s for s, _ in sizes(Space("image", (1, 64, 64)))] == [64, 32, 16, 8, 4]
    assert [s for s, _ in sizes(Space("image", (1, 25, 25)))] == [25, 13, 7, 4]
    assert channels(8, (64, 64)) == 1


def test_mlp_puts_activations_between_layers_only():
    with seeded(rng()):
        net, single = mlp(2, 8, 8, 1, activation=nn.SiLU), mlp(2, 3)
    assert [type(m) for m in net] == [nn.Linear, nn.SiLU, nn.Linear, nn.SiLU, nn.Linear]
    assert [type(m) for m in single] == [nn.Linear]


@pytest.mark.parametrize("shape", [(20, 30), (8, 3, 3, 3), (1, 16)])
def test_after_convergence_the_largest_singular_value_is_1(shape):
    weight = draw(*shape).double()
    with seeded(rng()):
        norm = SpectralNorm(weight, iterations=2000).double()
    assert torch.linalg.matrix_norm(norm(weight).flatten(1), 2).item() == pytest.approx(1)


def test_a_few_iterations_come_close_on_random_weights():
    for seed in range(10):
        weight = draw(256, 256, seed=seed)
        with seeded(rng()):
            norm = SpectralNorm(weight)
        assert 1 - 1e-5 <= torch.linalg.matrix_norm(norm(weight), 2).item() < 1.08


def test_gradient_through_spectral_norm_is_that_of_the_exact_one():
    weight = draw(6, 4).double().requires_grad_()
    with seeded(rng()):
        norm = SpectralNorm(weight, iterations=2000).double()
    target = draw(6, 4, seed=1).double()
    (found,) = torch.autograd.grad((norm(weight) * target).sum(), weight)
    exact = weight / torch.linalg.matrix_norm(weight, 2)
    (expected,) = torch.autograd.grad((exact * target).sum(), weight)
    assert torch.allclose(found, expected, atol=1e-8)


@pytest.mark.parametrize("space", [PLANE, Space("image", (3, 16, 16))], ids=lambda s: s.label)
def test_a_spectral_critic_is_lipschitz_layer_by_layer_and_keeps_no_state(space):
    D = make(critic, space, spectral=True)
    layers = [m for m in D.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    for layer in layers:
        norm = torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item()
        assert 1 - 1e-4 <= norm < 1.08
    before = {k: v.clone() for k, v in D.state_dict().items()}
    x = draw(3, *space.shape)
    assert torch.equal(D(x), D(x))
    assert all(torch.equal(v, before[k]) for k, v in D.state_dict().items())
    assert any(p.abs().sum() > 0 for p in torch.autograd.grad(D(x).sum(), list(D.parameters())))


def test_energy_distance_equals_the_sum_over_pairs_whatever_the_block():
    x, y = draw(7, 3), draw(5, 3, seed=1) + 1

    def mean(pairs):
        return sum((a - b).norm().item() for a, b in pairs) / len(pairs)

    across = mean([(a, b) for a in x for b in y])
    within = [
        [(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j] for s in (x, y)
    ]
    slow = 2 * across - mean(within[0]) - mean(within[1])
    for block in (1, 3, 1024):
        assert energy_distance(x, y, block=block).item() == pytest.approx(slow, abs=1e-6)


def test_energy_distance_is_unbiased_and_sees_a_shift():
    same = torch.stack(
        [energy_distance(draw(20, 2, seed=s), draw(30, 2, seed=1000 + s)) for s in range(400)]
    )
    assert abs(same.mean().item()) < 3 * same.std().item() / 20
    # For a far shift by d the distance is 2 d less the two mean distances within, 2/sqrt(pi) each.
    x, y = draw(2000, 1), draw(2000, 1, seed=1) + 50
    assert energy_distance(x, y).item() == pytest.approx(100 - 4 / torch.pi**0.5, rel=0.01)


def test_energy_distance_keeps_its_digits_far_from_the_origin():
    x, y = draw(50, 4), draw(60, 4, seed=1)
    near = energy_distance(x.double(), y.double())
    far = energy_distance(x.double() + 1e4, y.double() + 1e4)
    assert far.item() == pytest.approx(near.item(), abs=1e-5)
