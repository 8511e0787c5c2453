"""The contract of solvers."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.game import Game
from gantlet.core.rng import Rng
from gantlet.core.solver import Solver
from gantlet.nets.seeding import seeded


@final
class Tug(Game):
    """Two small players with noisy, coupled losses, for checks of solvers."""

    def __init__(self) -> None:
        with seeded(Rng(0).stream("init")):
            self._players = nn.ModuleDict({"a": nn.Linear(3, 2), "b": nn.Linear(3, 2)})

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return dict(self._players.items())

    @override
    def loss(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        a, b = (p(batch) for p in self.players.values())
        noise = torch.randn(a.shape, generator=rng, device=a.device)
        product = (a * b).mean()
        own = (a if player == "a" else b) - noise
        loss: Tensor = own.square().mean() + (product if player == "a" else -product)
        return loss


def check_solver(solver: Solver) -> None:
    """Checks that a solver moves every player, and goes on bit by bit from a saved state.

    Raises:
        AssertionError: If it does not; the message names the broken clause.
    """
    whole, parts = Tug(), Tug()
    start = {k: v.clone() for k, v in _weights(whole).items()}
    _play(solver, whole, range(6))
    kept = _play(solver, parts, range(3))
    _play(solver, parts, range(3, 6), kept)
    for name, weight in _weights(whole).items():
        assert torch.equal(weight, _weights(parts)[name]), f"saved and resumed, {name} differs"
        assert not torch.equal(weight, start[name]), f"every player moves: {name} does not"


def _weights(game: Game) -> dict[str, Tensor]:
    return {
        f"{player}.{name}": weight.detach()
        for player, module in game.players.items()
        for name, weight in module.named_parameters()
    }


def _play(
    solver: Solver, game: Game, steps: range, state: dict[str, object] | None = None
) -> dict[str, object]:
    play = solver.start(game)
    if state is not None:
        play.load_state_dict(state)
    for step in steps:
        draws = Rng(step)
        batch = torch.randn(8 * play.batches, 3, generator=draws.stream("batch"))
        losses = play.step(batch, rng=draws.stream("noise"))
        assert set(losses) == set(game.players), "a step reports the loss of every player"
    return play.state_dict()
