"""Many plays in one program take the steps that the solvers take, one by one."""

import pytest
import torch

from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import solvers
from gantlet.games.batched import Ensemble
from gantlet.games.field import FixedLosses, GameField
from gantlet.games.toys import Lgq, LinearGenerator, QuadraticCritic
from gantlet.research.convergence.games import LinearMixture, Sampled, energy_goal, gaussian_goal

COVARIANCE = torch.tensor([[1.0, 0.3], [0.3, 0.6]], dtype=torch.float64)
EMPTY = torch.zeros(1, 0, dtype=torch.float64)
H = 0.05
# Every solver that draws no numbers of its own; those on Adam count no steps in plain numbers.
SOLVERS = [
    f"sgd:lr={H},mode=simultaneous",
    f"sgd:lr={2 * H}+{H},momentum=-0.3,clip=0.5",
    f"adam:lr={H},clip=0.7",
    f"extragradient:base=sgd,lr={H},fresh=false",
    f"extragradient:lr={H}",
    f"past-extragradient:base=sgd,lr={H},clip=0.5",
    f"optimistic:base=sgd,lr={2 * H}+{H}",
    f"optimistic:lr={H}",
    f"lookahead:base=sgd,lr={H},k=6,mode=simultaneous",
    f"lookahead:lr={H},k=2",
    f"consensus:base=sgd,lr={H},gamma=0.3",
    f"sga:base=sgd,lr={H},gamma=0.7,align=false",
    f"sga:base=sgd,lr={H}",
    f"crossing-the-curl:base=sgd,lr={H}",
    f"crossing-the-curl:base=sgd,lr={H},whole=true",
    f"cgd:lr={H},beta2=none",
]


def normal(*shape, name="test"):
    return torch.randn(*shape, generator=Rng(0).stream(name), dtype=torch.float64)


def drawn(gamma=0.5):
    generator, critic = LinearGenerator(2, 2, is_shifted=True), QuadraticCritic(2, is_tilted=True)
    goal = gaussian_goal(generator, torch.zeros(2).double(), COVARIANCE)
    return Sampled(generator, critic, latent=2, goal=goal, gamma=gamma)


@pytest.mark.parametrize("text", SOLVERS)
def test_many_plays_go_where_each_alone_would(text):
    game, solver = Lgq(COVARIANCE, gamma=0.2), solvers.make(text)
    ensemble = Ensemble(game)
    z = 0.7 * normal(3, 7)
    starts, nothing = z.clone(), z.new_empty(3, 0)
    step, memory = ensemble.program(solver, z, nothing, nothing)
    for _ in range(5):
        z, memory = step(z, memory, nothing, nothing)
    for start, end in zip(starts, z, strict=True):
        ensemble.place(start)
        play = solver.start(game)
        for _ in range(5 * solver.cycle):
            play.step(torch.cat([EMPTY] * play.batches), rng=Rng(0).stream("noise"))
        assert torch.allclose(Ensemble(game).now, end, rtol=1e-10, atol=1e-12)


def test_a_solver_that_counts_its_steps_is_not_traced():
    ensemble, z = Ensemble(Lgq(COVARIANCE)), normal(2, 7)
    with pytest.raises(UserError, match="a step counter"):
        ensemble.program(solvers.make("cgd"), z, z[:, :0], z[:, :0])


def test_a_program_leaves_the_points_that_it_is_given():
    ensemble, z = Ensemble(Lgq(COVARIANCE)), normal(2, 7)
    before = z.clone()
    step, memory = ensemble.program(solvers.make(f"sgd:lr={H}"), z, z[:, :0], z[:, :0])
    step(z, memory, z[:, :0], z[:, :0])
    assert torch.equal(z, before)


def test_a_move_on_samples_is_the_step_of_the_solver():
    game = drawn()
    ensemble = Ensemble(game)
    z = 0.5 * normal(2, len(ensemble.now))
    x = normal(2, 16, 2, name="data")
    # What a solver's look at a batch draws from this stream.
    look = FixedLosses(x[0], rng=Rng(0).stream("noise"))
    noise = game.noise(16, rng=look.rng()).expand(2, -1, -1)
    solver = solvers.make(f"crossing-the-curl:base=sgd,lr={2 * H}+{H}")
    step, memory = ensemble.program(solver, z, x, noise)
    ends, _ = step(z, memory, x, noise)
    for start, end, batch in zip(z, ends, x, strict=True):
        ensemble.place(start)
        play = solver.start(game)
        play.step(batch, rng=Rng(0).stream("noise"))
        assert torch.allclose(Ensemble(game).now, end, rtol=1e-10, atol=1e-12)


def test_the_jacobian_is_that_of_the_field_of_games():
    game = drawn()
    ensemble = Ensemble(game)
    z, x, rng = 0.5 * normal(len(ensemble.now)), normal(16, 2), Rng(0).stream("noise")
    ensemble.place(z)
    other = GameField(game, x, rng=rng)
    mine = ensemble.jacobian(z, x, game.noise(16, rng=Rng(0).stream("noise")))
    assert torch.allclose(other.position, z)
    assert torch.allclose(other.jacobian.dense(), mine, atol=1e-10)


def test_a_mixture_of_linear_generators_uses_each_as_often():
    mixture = LinearMixture(2, 3, 2)
    mixture.shift.data = torch.tensor([[9.0, 0.0], [0.0, 9.0], [-9.0, 0.0]]).double()
    mixture.scale.data *= 0.1
    noise = normal(3000, 3)
    x = mixture(noise).detach()
    near = torch.cdist(x, mixture.shift.detach()).argmin(1)
    assert (near.bincount() / 1000 - 1).abs().max() < 0.1
    own = x - mixture.shift.detach()[near]
    assert torch.allclose(own, 0.1 * noise[:, 1:])
    more = normal(1000, 3, name="more")
    same = energy_goal(mixture, more, x, 2.0)().detach()
    other = energy_goal(mixture, more, 2 * x, 2.0)().detach()
    assert abs(float(same)) < 0.05
    assert float(other) > 0.5


def test_rates_and_sizes_are_by_player():
    ensemble = Ensemble(Lgq(COVARIANCE))
    assert ensemble.sizes == {"critic": 3, "generator": 4}
    rates = ensemble.rates({"critic": 2.0, "generator": 1.0})
    assert rates.tolist() == [2.0] * 3 + [1.0] * 4
