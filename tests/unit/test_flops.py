"""The meter against counts made by hand."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from gantlet.compute.meters import FlopMeter, count, is_heavy


@pytest.fixture(autouse=True)
def own_random_state():
    """Networks here may be made without a seed: only their shapes matter."""
    with torch.random.fork_rng(devices=[]):
        yield


def flops(run):
    counted = count(run)
    assert not counted.unknown
    return counted.flops


def random(*shape, **kwargs):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), **kwargs)


class TestProducts:
    @pytest.mark.parametrize(
        ("run", "expected"),
        [
            (lambda: random(2, 3) @ random(3, 5), 2 * 2 * 3 * 5),
            (lambda: random(7, 2, 3) @ random(7, 3, 5), 2 * 7 * 2 * 3 * 5),
            (lambda: torch.einsum("bij,bjk->ik", random(7, 2, 3), random(7, 3, 5)), 420),
            (lambda: torch.addmm(random(2, 5), random(2, 3), random(3, 5)), 60),
            (lambda: torch.baddbmm(random(7, 2, 5), random(7, 2, 3), random(7, 3, 5)), 420),
            (lambda: torch.addbmm(random(2, 5), random(7, 2, 3), random(7, 3, 5)), 420),
            (lambda: random(4, 3) @ random(3), 24),
            (lambda: torch.addmv(random(4), random(4, 3), random(3)), 24),
            (lambda: random(3) @ random(3), 6),
            (lambda: torch.vdot(random(3), random(3)), 6),
            (lambda: torch.addr(random(4, 3), random(4), random(3)), 24),
            (lambda: functional.linear(random(6, 2, 3), random(5, 3), random(5)), 2 * 12 * 15),
            (lambda: random(4).exp().softmax(0).sum(), 0),
        ],
    )
    def test_count_two_for_each_multiply_add(self, run, expected):
        assert flops(run) == expected

    def test_gradient_of_a_linear_layer(self):
        net, x = nn.Linear(3, 5), random(4, 3)
        assert flops(lambda: net(x).sum().backward()) == 2 * 2 * 4 * 15
        x.requires_grad_()
        assert flops(lambda: net(x).sum().backward()) == 3 * 2 * 4 * 15

    def test_power_iteration_of_spectral_normalisation(self):
        net = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3))
        # W v, W^T u, u^T (W v) and the layer itself.
        assert flops(lambda: net(random(2, 4))) == 3 * 2 * 12 + 2 * 3 + 2 * 2 * 12

    def test_bilinear(self):
        layer = nn.Bilinear(3, 4, 5)
        assert flops(lambda: layer(random(2, 3), random(2, 4))) == 3 * 2 * 3 * 4 * 5


class TestConvolution:
    @pytest.mark.parametrize("groups", [1, 2, 4])
    @pytest.mark.parametrize("stride", [1, 2])
    def test_forward_and_gradients(self, groups, stride):
        net = nn.Conv2d(4, 8, 3, stride, padding=1, groups=groups)
        x = random(3, 4, 8, 8)
        forward = 2 * 3 * (8 // stride) ** 2 * 8 * (4 // groups) * 9
        assert flops(lambda: net(x)) == forward
        assert flops(lambda: net(x).sum().backward()) == 2 * forward
        x.requires_grad_()
        assert flops(lambda: net(x).sum().backward()) == 3 * forward

    @pytest.mark.parametrize("groups", [1, 2])
    def test_transposed(self, groups):
        net = nn.ConvTranspose2d(4, 8, 4, 2, padding=1, groups=groups)
        x = random(3, 4, 5, 5, requires_grad=True)
        forward = 2 * 3 * 25 * 4 * (8 // groups) * 16
        assert flops(lambda: net(x)) == forward
        assert flops(lambda: net(x).sum().backward()) == 3 * forward

    def test_one_dimension(self):
        assert (
            flops(lambda: functional.conv1d(random(2, 3, 9), random(5, 3, 2)))
            == 2 * 2 * 8 * 5 * 3 * 2
        )


def critic(groups=1):
    return nn.Sequential(
        nn.Conv2d(4, 16, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(16, 16, 3, padding=1, groups=groups),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(16 * 64, 1),
    )


def spared(net, x):
    """What is left out at the ends: the loss is no function of the data, nor of the first 1."""
    first = flops(lambda: net[0](x))
    body = net[:-1](x)
    return first + flops(lambda: net[-1](body))


def penalty(net, x):
    x = x.detach().requires_grad_()  # A leaf, on which torch's own counter breaks.
    score = net(x)
    (slope,) = torch.autograd.grad(score.sum(), x, create_graph=True)
    return score, slope.square().sum()


class TestPenalties:
    @pytest.mark.parametrize("groups", [1, 4])
    def test_r1_is_six_forward_passes(self, groups):
        net, x = critic(groups), random(5, 4, 8, 8)
        parameters = list(net.parameters())

        def step():
            score, r1 = penalty(net, x)
            torch.autograd.grad(score.sum() + r1, parameters)

        assert flops(step) == 6 * flops(lambda: net(x)) - spared(net, x)

    def test_one_convolution_by_hand(self):
        net, x = nn.Conv2d(4, 8, 3, padding=1), random(2, 4, 8, 8)

        def step():
            leaf = x.detach().requires_grad_()
            out = net(leaf).square()
            (slope,) = torch.autograd.grad(out.sum(), leaf, create_graph=True)
            torch.autograd.grad(slope.square().sum(), [*net.parameters(), leaf])

        # Forward; input gradient; of that gradient: by its input and by the weight; and through
        # the forward pass: by weight and by input.
        assert flops(step) == 6 * flops(lambda: net(x))

    def test_relativistic_critic_with_r1_and_r2_is_twelve_a_pair(self):
        net, x = critic(), random(5, 4, 8, 8)

        def step():
            real, r1 = penalty(net, x)
            fake, r2 = penalty(net, -x)
            loss = functional.softplus(fake - real).mean() + r1 + r2
            torch.autograd.grad(loss, list(net.parameters()))

        assert flops(step) == 12 * flops(lambda: net(x)) - 2 * spared(net, x)

    def test_vmap_of_grad(self):
        net, x = critic(), random(5, 4, 8, 8)
        parameters = dict(net.named_parameters())

        def slopes():
            return vmap(grad(lambda one: functional_call(net, parameters, (one[None],)).sum()))(x)

        assert flops(slopes) == 2 * flops(lambda: net(x))


def attend(query, key, value, **kwargs):
    return functional.scaled_dot_product_attention(query, key, value, **kwargs)


class TestAttention:
    forward = 2 * 2 * 3 * (5 * 6 * 4 + 5 * 6 * 8)

    def inputs(self, device="cpu"):
        return [
            torch.ones(2, 3, n, d, device=device, requires_grad=True)
            for n, d in ((5, 4), (6, 4), (6, 8))
        ]

    @pytest.mark.parametrize("device", ["cpu", "meta"])
    @pytest.mark.parametrize("options", [{}, {"dropout_p": 0.1}, {"is_causal": True}])
    def test_costs_the_same_on_every_path(self, device, options):
        q, k, v = self.inputs(device)
        assert flops(lambda: attend(q, k, v, **options)) == self.forward
        assert flops(lambda: attend(q, k, v, **options).sum().backward()) == 3 * self.forward

    def test_fused_kernel(self):
        q = torch.ones(2, 3, 5, 4, requires_grad=True)
        mask = torch.ones(5, 5, dtype=torch.bool)
        forward = 2 * 2 * 2 * 3 * 5 * 5 * 4
        assert flops(lambda: attend(q, q, q, attn_mask=mask).sum().backward()) == 3 * forward
        with FlopMeter() as meter:
            attend(q, q, q, is_causal=True).sum().backward()
        assert set(meter.by_operator) == {
            "_scaled_dot_product_flash_attention_for_cpu",
            "_scaled_dot_product_flash_attention_for_cpu_backward",
        }

    @pytest.mark.parametrize("device", ["cpu", "meta"])
    def test_encoder_layer_on_its_fast_path(self, device):
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, device=device)
        x = torch.ones(2, 5, 8, device=device)
        training = flops(lambda: layer(x))
        assert training == 2 * 10 * (4 * 64 + 2 * 128) + 4 * 2 * 5 * 5 * 8
        layer.eval()
        with torch.no_grad():
            assert flops(lambda: layer(x)) == training
        with torch.inference_mode():
            assert flops(lambda: layer(x)) == training


class TestRecurrent:
    @pytest.mark.parametrize("device", ["cpu", "meta"])
    @pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3)])
    def test_forward(self, device, kind, gates):
        net = kind(3, 6, num_layers=2, device=device)
        x = torch.ones(5, 2, 3, device=device)
        expected = 2 * 5 * 2 * gates * 6 * ((3 + 6) + (6 + 6))
        assert flops(lambda: net(x)) == expected

    def test_gradient_of_a_fused_layer_is_two_forward_passes(self):
        net, x = nn.LSTM(3, 6, bidirectional=True), random(5, 2, 3)
        forward = 2 * 2 * 5 * 2 * 24 * 9
        assert flops(lambda: net(x)[0].sum().backward()) == 3 * forward


class TestLinearAlgebra:
    def matrix(self):
        return random(2, 6, 6) + 6 * torch.eye(6)

    @pytest.mark.parametrize(
        ("run", "per_cube"),
        [
            (torch.linalg.slogdet, 2 / 3),
            (torch.linalg.det, 2 / 3),
            (torch.linalg.inv, 2),
            (torch.linalg.lu_factor, 2 / 3),
            (torch.linalg.lu, 2 / 3),
            (torch.linalg.qr, 8 / 3),
            (torch.linalg.svd, 26),
            (torch.linalg.eig, 25),
            (torch.linalg.pinv, 28),
            (lambda a: torch.linalg.eigh(a @ a.mT), 2 + 9),
            (lambda a: torch.linalg.cholesky(a @ a.mT), 2 + 1 / 3),
        ],
    )
    def test_factorisations(self, run, per_cube):
        a = self.matrix()
        assert flops(lambda: run(a)) == pytest.approx(2 * per_cube * 6**3)

    def test_systems(self):
        a, b = self.matrix(), random(2, 6, 3)
        assert flops(lambda: torch.linalg.solve(a, b)) == pytest.approx(2 * (144 + 2 * 36 * 3))
        assert flops(lambda: torch.linalg.solve_triangular(a, b, upper=True)) == 2 * 36 * 3
        assert flops(lambda: torch.cholesky_solve(b, a)) == 2 * 2 * 36 * 3

    def test_gradient_of_a_determinant_solves_a_system(self):
        a = self.matrix().requires_grad_()
        cost = flops(lambda: torch.linalg.slogdet(a)[1].sum().backward())
        assert cost == pytest.approx(2 * (2 / 3 + 2) * 6**3)


class TestDistancesAndTransforms:
    def test_distances(self):
        assert flops(lambda: torch.cdist(random(4, 3), random(5, 3))) == 3 * 4 * 5 * 3
        many = random(40, 3)
        assert flops(lambda: torch.cdist(many, many)) == 2 * 40 * 40 * 5
        x = random(4, 3, requires_grad=True)
        assert flops(lambda: torch.cdist(x, x, p=1).sum().backward()) == 3 * 3 * 4 * 4 * 3

    def test_fourier(self):
        assert flops(lambda: torch.fft.fft(random(2, 8, dtype=torch.cfloat))) == 5 * 2 * 8 * 3
        assert flops(lambda: torch.fft.rfft(random(2, 8))) == 2.5 * 2 * 8 * 3
        assert flops(lambda: torch.fft.irfft(random(2, 5, dtype=torch.cfloat))) == 2.5 * 2 * 8 * 3
        assert flops(lambda: torch.fft.fft2(random(4, 8, dtype=torch.cfloat))) == 5 * 32 * 5


class TestNothingIsSilentlyFree:
    def test_heavy_operators_that_cannot_be_counted_are_named(self):
        counted = count(lambda: torch.linalg.matrix_exp(torch.eye(3)))
        assert counted.flops == 0
        assert counted.unknown == {"linalg_matrix_exp": 1}

    @pytest.mark.parametrize(
        "name",
        [
            "conv_new",
            "fancy_attention",
            "_grouped_mm",
            "my_rnn_layer",
            "linalg_ldl_solve",
            "_fft_x",
        ],
    )
    def test_a_heavy_name_is_heavy(self, name):
        assert is_heavy(name)

    @pytest.mark.parametrize(
        "name",
        [
            "_thnn_fused_lstm_cell",
            "_linalg_check_errors",
            "linalg_vector_norm",
            "_convert_indices_from_csr_to_coo",
            "upsample_bilinear2d",
            "lu_unpack",
            "native_layer_norm",
            "reflection_pad1d",
            "native_dropout",
            "_softmax",
            "addcmul",
            "max_pool2d_with_indices",
        ],
    )
    def test_a_light_name_is_light(self, name):
        assert not is_heavy(name)

    def test_no_operator_of_a_training_step_is_unknown(self):
        net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        optimizer = torch.optim.Adam(net.parameters())

        def step():
            net(random(2, 1, 6, 6)).logsumexp(1).mean().backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()

        assert flops(step) > 0


class TestMeta:
    def test_costs_what_the_cpu_costs(self):
        def cost(device):
            net = critic(groups=4).to(device)
            x = random(5, 4, 8, 8).to(device)

            def step():
                score, r1 = penalty(net, x)
                torch.autograd.grad(score.sum() + r1, list(net.parameters()))

            return flops(step)

        assert cost("meta") == cost("cpu")

    def test_nested_meters_both_count(self):
        with FlopMeter() as outer:
            inner = count(lambda: random(2, 3) @ random(3, 5))
        assert inner.flops == outer.flops == 60
