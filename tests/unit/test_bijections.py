import math

import pytest
import torch
from torch import nn
from torch.autograd.functional import jacobian

from gantlet.core.rng import Rng
from gantlet.models.bijections import (
    BOUND,
    ActNorm,
    Affine,
    Chain,
    Couplings,
    EarlyExit,
    Flatten,
    InvertibleConv,
    Logit,
    Permute,
    Planar,
    Spline,
    Squeeze,
    checkerboard,
    convolutional,
    dense,
    inverted,
)
from gantlet.models.nets import seeded

IMAGE = (4, 4, 6)


def turns(transform, count, *, width=8, depth=2):
    sizes = (3, 4)
    nets = [
        dense(sizes[i % 2], sizes[1 - i % 2] * transform.count, width=width, depth=depth)
        for i in range(count)
    ]
    return Couplings(nets, transform, sizes)


def convolved(transform):
    net = convolutional(2, 2 * transform.count, width=8, depth=2)
    return Couplings([net], transform, (2, 2))


def two_levels():
    rest = Chain([Squeeze(), ActNorm((8, 1, 1)), Flatten((8, 2, 3))])
    return EarlyExit(Chain([InvertibleConv(4), convolved(Affine())]), rest, (2, 4, 6))


MADE = {
    "affine": (lambda: turns(Affine(), 1), (7,)),
    "affine, three turns": (lambda: turns(Affine(), 3), (7,)),
    "affine, image": (lambda: convolved(Affine()), IMAGE),
    "spline": (lambda: turns(Spline(), 1), (7,)),
    "spline, two turns": (lambda: turns(Spline(), 2), (7,)),
    "spline, image": (lambda: convolved(Spline()), IMAGE),
    "planar": (lambda: Planar(7), (7,)),
    "planar, one component": (lambda: Planar(1), (1,)),
    "actnorm, vector": (lambda: ActNorm((7,)), (7,)),
    "actnorm, image": (lambda: ActNorm((4, 1, 1)), IMAGE),
    "1x1 convolution": (lambda: InvertibleConv(4), IMAGE),
    "logit": (Logit, IMAGE),
    "flatten": (lambda: Flatten(IMAGE), IMAGE),
    "squeeze": (Squeeze, IMAGE),
    "permute": (lambda: Permute([2, 0, 1]), (3,)),
    "several levels": (two_levels, IMAGE),
    "chain": (lambda: Chain([turns(Affine(), 2), Planar(7)]), (7,)),
}


def made(name, dtype, *, stir=0.1):
    """A bijection whose parameters have moved, and inputs for it."""
    make, shape = MADE[name]
    with seeded(Rng(0).stream("init")):
        bijection = make().to(dtype)
    rng = Rng(0).stream("stir")
    with torch.no_grad():
        for parameter in bijection.parameters():
            parameter.add_(stir * torch.randn(parameter.shape, generator=rng, dtype=dtype))
    x = torch.randn(16, *shape, generator=rng, dtype=dtype)
    return bijection, x.tanh() if name == "logit" else 2 * x


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
@pytest.mark.parametrize("name", MADE)
@torch.no_grad()
def test_inverse_undoes_forward_and_forward_inverse(name, dtype, most):
    bijection, x = made(name, dtype)
    z, _ = bijection(x)
    assert (bijection.inverse(z) - x).abs().max() < most
    assert (bijection(bijection.inverse(z))[0] - z).abs().max() < most


@pytest.mark.parametrize("name", MADE)
def test_log_det_is_that_of_the_jacobian(name):
    bijection, x = made(name, torch.float64)
    _, log_det = bijection(x)
    assert log_det.shape == (len(x),)
    for i in range(3):
        J = jacobian(lambda v: bijection(v[None])[0].flatten(), x[i])
        assert torch.linalg.slogdet(J.reshape(x[i].numel(), -1))[1] == pytest.approx(
            log_det[i].item(), abs=1e-9
        )


@pytest.mark.parametrize("name", MADE)
def test_the_inverse_is_differentiable_in_codes_and_parameters(name):
    bijection, x = made(name, torch.float64)
    z = bijection(x[:2])[0].detach().requires_grad_()
    inputs = [z, *bijection.parameters()]
    with seeded(Rng(0).stream("gradcheck")):  # it looks along random directions
        assert torch.autograd.gradcheck(lambda z, *_: bijection.inverse(z), inputs, fast_mode=True)


@pytest.mark.parametrize(
    "name", ["affine", "spline, two turns", "spline, image", "planar", "chain"]
)
def test_couplings_start_as_the_identity(name):
    bijection, x = made(name, torch.float64, stir=0)
    z, log_det = bijection(x)
    torch.testing.assert_close(z, x)
    torch.testing.assert_close(log_det, torch.zeros(len(x), dtype=torch.float64))


def test_affine_log_scales_never_leave_two():
    raw = torch.tensor([[1e6, -1e6, 0.0, 3.0, 3.0, 3.0]])
    z, log_det = Affine()(torch.ones(1, 3), raw)
    torch.testing.assert_close(z, torch.tensor([[math.e**2, math.e**-2, 1.0]]) + 3)
    assert log_det == 0


def test_affine_is_the_bounded_map_of_its_docstring():
    x, l, t = torch.randn(3, 5, 2, generator=Rng(0).stream("x"))
    z, log_det = Affine()(x, torch.cat([l, t], 1))
    s = 2 * torch.tanh(l / 2)
    torch.testing.assert_close(z, x * s.exp() + t)
    torch.testing.assert_close(log_det, s.sum(1))


def test_a_coupling_leaves_the_kept_part_alone_and_the_next_turn_changes_it():
    one, x = made("affine", torch.float64)
    z, _ = one(x)
    assert torch.equal(z[:, :3], x[:, :3])
    assert (z[:, 3:] != x[:, 3:]).all()
    two, x = made("spline, two turns", torch.float64)
    assert (two(x)[0] != x).any(0).all()


def test_splines_are_monotonic_smooth_and_the_identity_outside():
    raw = torch.randn(1, Spline.count, generator=Rng(0).stream("raw"), dtype=torch.float64)
    x = torch.linspace(-2 * BOUND, 2 * BOUND, 20001, dtype=torch.float64)[:, None]
    z, log_det = Spline()(x, raw.expand(len(x), -1))
    assert (z.diff(dim=0) > 0).all()
    outside = x[:, 0].abs() >= BOUND
    assert torch.equal(z[outside], x[outside])
    assert (log_det[outside] == 0).all()
    # The slope is continuous, at the knots and at the bounds too.
    assert log_det.diff().abs().max() < 0.1


def test_planar_stays_invertible_whatever_its_parameters():
    with seeded(Rng(0).stream("init")):
        planar = Planar(3).double()
    with torch.no_grad():
        planar.u.copy_(-20 * planar.w)
    x = torch.randn(64, 3, generator=Rng(0).stream("x"), dtype=torch.float64)
    z, log_det = planar(x)
    assert log_det.isfinite().all()
    assert (planar.inverse(z) - x).abs().max() < 1e-10


def test_planar_moves_along_one_direction():
    planar, x = made("planar", torch.float64)
    moved = planar(x)[0] - x
    assert torch.linalg.matrix_rank(moved, rtol=1e-9) == 1


def test_actnorm_standardises_the_first_batch():
    for name, shared in (("actnorm, vector", (0,)), ("actnorm, image", (0, 2, 3))):
        norm, x = made(name, torch.float64)
        z = norm.prepare(3 * x + 5)
        assert z.mean(shared).abs().max() < 1e-12
        assert (z.std(shared, correction=0) - 1).abs().max() < 1e-12


def test_actnorm_leaves_the_scale_of_what_does_not_vary():
    norm = ActNorm((2,))
    z = norm.prepare(torch.tensor([[1.0, 7.0], [3.0, 7.0]]))
    assert torch.equal(z, torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))


def test_a_chain_prepares_each_part_on_what_the_ones_before_it_make():
    chain = Chain([ActNorm((2,)), Permute([1, 0]), ActNorm((2,))])
    x = 4 * torch.randn(100, 2, generator=Rng(0).stream("x")) + 1
    z = chain.prepare(x)
    torch.testing.assert_close(z, chain(x)[0])
    last = chain.parts[2]
    assert last.shift.abs().max() < 1e-5
    assert last.log_scale.abs().max() < 1e-5


def test_several_levels_prepare_all_of_them():
    levels, x = made("several levels", torch.float64)
    z = levels.prepare(x)
    torch.testing.assert_close(z, levels(x)[0])
    rest = z[:, 48:].view(16, 8, 2, 3)
    assert rest.mean((0, 2, 3)).abs().max() < 1e-12


def test_several_levels_lose_no_component():
    levels, x = made("several levels", torch.float64)
    z, _ = levels(x)
    assert z.shape == (16, 4 * 4 * 6)
    J = jacobian(lambda v: levels(v[None])[0].flatten(), x[0]).reshape(96, 96)
    assert torch.linalg.matrix_rank(J) == 96


def test_the_convolution_starts_as_a_rotation_and_knows_its_determinant():
    with seeded(Rng(0).stream("init")):
        conv = InvertibleConv(6).double()
    eye = torch.eye(6, dtype=torch.float64)
    torch.testing.assert_close(conv.weight @ conv.weight.T, eye, atol=1e-6, rtol=0)
    rng = Rng(0).stream("stir")
    with torch.no_grad():
        for parameter in conv.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=rng, dtype=torch.float64))
    x = torch.randn(2, 6, 5, 3, generator=rng, dtype=torch.float64)
    z, log_det = conv(x)
    torch.testing.assert_close(z, torch.einsum("ij,njhw->nihw", conv.weight, x))
    expected = 15 * torch.linalg.slogdet(conv.weight)[1]
    torch.testing.assert_close(log_det, expected.expand(2))


def test_the_checkerboard_has_the_colours_of_a_checkerboard():
    order = checkerboard((1, 8, 8))
    assert sorted(order) == list(range(64))
    colours = [(i // 8 + i % 8) % 2 for i in order]
    assert colours == [0] * 32 + [1] * 32
    assert checkerboard((5,)) == [0, 2, 4, 1, 3]


def test_permutations_undo_each_other():
    order = checkerboard((3, 3))
    x = torch.arange(9.0)[None]
    back = Permute(inverted(order))
    assert torch.equal(back(Permute(order)(x)[0])[0], x)


def test_squeeze_keeps_neighbours_together():
    z, _ = Squeeze()(torch.arange(16.0).view(1, 1, 4, 4))
    assert z[0, :, 0, 0].tolist() == [0, 1, 4, 5]


def test_codes_of_samples_at_the_very_end_of_the_interval_stay_finite():
    logit = Logit()
    x = logit.inverse(torch.tensor([[-1e4, 1e4, 40.0]]))
    z, log_det = logit(x)
    assert z.isfinite().all()
    assert log_det.isfinite().all()


def test_deeper_networks_have_more_layers():
    with seeded(Rng(0).stream("init")):
        image = convolutional(2, 4, width=8, depth=3)
        vector = dense(2, 4, width=8, depth=3)
    layers = [m for m in image if isinstance(m, nn.Conv2d)]
    assert [m.kernel_size for m in layers] == [(3, 3), (1, 1), (1, 1), (3, 3)]
    assert len([m for m in vector if isinstance(m, nn.Linear)]) == 4
