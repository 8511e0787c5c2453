import pytest
import torch

from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import solvers
from gantlet.testing import check_solver
from gantlet.testing.contracts import Tug


@pytest.mark.parametrize("name", solvers.names())
def test_every_solver_keeps_the_contract(name):
    check_solver(solvers.make(name))


@pytest.mark.parametrize(
    "text", ["adam:steps=3+1,lr=0.01+0.001,clip=0.5", "sgd:momentum=0.3,steps=2"]
)
def test_steps_rates_and_clipping_are_per_player(text):
    solver = solvers.make(text)
    check_solver(solver)
    assert solver.start(Tug()).batches == max(solver.steps)


def test_the_number_of_rates_must_fit_the_players():
    with pytest.raises(UserError, match=r"lr must be one value, or one for each of a\+b. Got 3"):
        solvers.make("adam:lr=1+2+3").start(Tug())


def test_sgd_is_gradient_descent():
    game, twin = Tug(), Tug()
    batch = torch.randn(8, 3, generator=Rng(0).stream("x"))
    solvers.make("sgd:lr=0.1").start(game).step(batch, rng=Rng(0).stream("n"))
    noise = Rng(0).stream("n")
    for name, player in twin.players.items():
        loss = twin.loss(name, batch, rng=noise)
        gradients = torch.autograd.grad(loss, list(player.parameters()))
        with torch.no_grad():
            for p, g in zip(player.parameters(), gradients, strict=True):
                p.sub_(0.1 * g)
    for a, b in zip(game.players["b"].parameters(), twin.players["b"].parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-7)
