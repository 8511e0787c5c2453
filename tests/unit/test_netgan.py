"""NetGAN: its penalty against indicators written out, and what it learns of a small network."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import solvers
from gantlet.models.netgan import NetGan, WalkCritic, step_surprise
from gantlet.models.nets import seeded
from gantlet.stats.network_statistics import Network, random_walks

RING = Network.of(8, np.array([[i, (i + 1) % 8] for i in range(8)]))


def stream(name="test"):
    return Rng(0).stream(name)


def walks(n, steps, seed=0):
    rng = Rng(seed).stream("walks")
    start = torch.randint(8, (n,), generator=rng).numpy()
    return random_walks(RING, start, steps, rng=rng).float()


@pytest.fixture
def critic():
    with seeded(stream("init")):
        return WalkCritic(8, 5, 7).double()


class TestPenalty:
    def test_the_slope_is_that_in_indicators_written_out(self, critic):
        real, fake = walks(6, 4), walks(6, 4, seed=1)
        t = torch.rand(6, 1, 1, generator=stream(), dtype=torch.float64)
        a, b = (one_hot(x.long(), 8).double() for x in (real, fake))
        x = (t * a + (1 - t) * b).requires_grad_()
        (slope,) = torch.autograd.grad(critic(x @ critic.table).sum(), x)
        wanted = slope.square().sum((1, 2)).sqrt()
        places = torch.lerp(critic.table[fake.long()], critic.table[real.long()], t)
        assert torch.allclose(critic.slopes(places), wanted, rtol=1e-10)

    def test_so_are_its_gradients_in_the_weights(self, critic):
        x = one_hot(walks(6, 4).long(), 8).double().requires_grad_()
        (slope,) = torch.autograd.grad(critic(x @ critic.table).sum(), x, create_graph=True)
        written = (slope.square().sum((1, 2)).sqrt() - 1).square().mean()
        ours = (critic.slopes(x.detach() @ critic.table) - 1).square().mean()
        weights = [p for p in critic.parameters() if p is not critic.head.bias]
        both = (torch.autograd.grad(loss, weights) for loss in (written, ours))
        for a, b in zip(*both, strict=True):
            assert torch.allclose(a, b, rtol=1e-8, atol=1e-12)

    def test_a_constant_critic_has_a_finite_gradient(self, critic):
        with torch.no_grad():
            critic.head.weight.zero_()
        loss = (critic.slopes(critic.table[walks(3, 4).long()]) - 1).square().mean()
        (gradient,) = torch.autograd.grad(loss, critic.head.weight)
        assert gradient.isfinite().all()


class TestSurprise:
    def slow(self, x, samples, nodes):
        counts = [dict[int, int]() for _ in range(nodes)]
        for row in samples.long().tolist():
            for a, b in itertools.pairwise(row):
                counts[a][b] = counts[a].get(b, 0) + 1
                counts[b][a] = counts[b].get(a, 0) + 1
        total, steps = 0.0, 0
        for row in x.long().tolist():
            for a, b in itertools.pairwise(row):
                kinds = len(counts[a]) + 1
                seen = sum(counts[a].values())
                total -= math.log((counts[a].get(b, 0) + kinds / nodes) / (seen + kinds))
                steps += 1
        return total / steps

    def test_it_is_that_of_a_chain_counted_one_step_after_another(self):
        x, samples = walks(20, 6), walks(9, 6, seed=1)
        noise = torch.randint(8, (9, 6), generator=stream()).float()
        for made in (samples, noise):
            found = step_surprise(x, made, 8)
            assert found.item() == pytest.approx(self.slow(x, made, 8), rel=1e-12)
        assert step_surprise(x, samples, 8) < step_surprise(x, noise, 8)


class TestTraining:
    def test_it_learns_where_edges_are(self):
        family = NetGan(width=16, embed=8, latent=4)
        game = family.build(Space("walk", (4,), 8), rng=Rng(0))
        solver = solvers.make("adam:lr=0.01,beta1=0.5,beta2=0.9,steps=3+1")
        play, rng, x = solver.start(game), stream("train"), walks(512, 4)

        def on_edges():
            made = game.model.sample(500, rng=stream("sample")).long()
            steps = torch.stack([made[:, :-1].flatten(), made[:, 1:].flatten()], 1)
            return RING.has(steps.numpy()).mean()

        before = on_edges()
        for _ in range(150):
            index = torch.randint(512, (64 * play.batches,), generator=rng)
            play.step(x[index], rng=rng)
        assert before < 0.35, "a quarter of random steps are along edges"
        assert on_edges() > before + 0.25

    def test_it_takes_walks_alone(self):
        with pytest.raises(
            UserError, match=r"netgan models random walks on a network\. Got tokens"
        ):
            NetGan().build(Space("tokens", (4,), 8), rng=Rng(0))
