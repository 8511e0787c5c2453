"""Mixed strategies of a GAN: stored networks, and how often each plays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.game import Adversarial, Game
from gantlet.games.mixed.minimax import Minimax
from gantlet.games.mixed.mixture import drawn
from gantlet.games.theory.equilibrium import Equilibrium, equilibrium

State = Mapping[str, Tensor]
"""The tensors of one network."""

GENERATOR, CRITIC = "generator", "critic"
"""The players of a GAN."""


def state_of(net: nn.Module) -> State:
    """Returns a copy of the tensors of a network."""
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}


@final
@dataclass(frozen=True, slots=True, eq=False)
class Mixed:
    """A mixed strategy of each player.

    Attributes:
        generators: Weights of generators.
        critics: Weights of critics.
        rows: How often each generator plays, shape ``(generators,)``, float64.
        columns: How often each critic plays, shape ``(critics,)``, float64.
    """

    generators: Sequence[State]
    critics: Sequence[State]
    rows: Tensor
    columns: Tensor

    @classmethod
    def pure(cls, generator: State, critic: State) -> "Mixed":
        """Returns one generator against one critic."""
        return cls.uniform([generator], [critic])

    @classmethod
    def uniform(cls, generators: Sequence[State], critics: Sequence[State]) -> "Mixed":
        """Returns each side with equal weights."""
        rows, columns = (
            torch.full((len(side),), 1 / len(side), dtype=torch.float64)
            for side in (generators, critics)
        )
        return cls(generators, critics, rows, columns)

    @classmethod
    def solved(
        cls, generators: Sequence[State], critics: Sequence[State], found: Equilibrium
    ) -> "Mixed":
        """Returns the mixtures of an equilibrium among stored networks; the unused are dropped."""
        i, j = (w.nonzero()[:, 0].tolist() for w in (found.rows, found.columns))
        return cls(
            [generators[k] for k in i],
            [critics[k] for k in j],
            found.rows[i],
            found.columns[j],
        )

    @property
    def networks(self) -> int:
        """How many networks must be stored."""
        return len(self.generators) + len(self.critics)


def payoffs(
    game: Adversarial,
    generators: Sequence[State],
    critics: Sequence[State],
    x: Tensor,
    *,
    rng: torch.Generator,
) -> Tensor:
    """Returns the value of every generator against every critic, shape ``(m, n)``, float64.

    Every pair sees the same noise. The players of ``game`` end as the last pair.

    Args:
        game: Whose players take the stored weights.
        generators: Weights of the row players.
        critics: Weights of the column players.
        x: Real samples, shape ``(n, *space.shape)``: held-out ones, or over-fit critics win.
        rng: Decides the noise.
    """
    read = Minimax(game)
    seed = int(torch.randint(2**62, (), generator=rng, device=rng.device))
    table = torch.empty(len(generators), len(critics), dtype=torch.float64)
    for i, made in enumerate(generators):
        game.players[GENERATOR].load_state_dict(made)
        for j, judge in enumerate(critics):
            game.players[CRITIC].load_state_dict(judge)
            noise = torch.Generator(rng.device).manual_seed(seed)
            with torch.no_grad():
                table[i, j] = read.value(x, rng=noise).item()
    return table


def tournament(
    game: Adversarial,
    generators: Sequence[State],
    critics: Sequence[State],
    x: Tensor,
    *,
    rng: torch.Generator,
) -> Mixed:
    """Returns the equilibrium among stored networks, such as the snapshots of a training.

    Args: as ``payoffs``.
    """
    found = equilibrium(payoffs(game, generators, critics, x, rng=rng))
    return Mixed.solved(generators, critics, found)


@final
class Against(Game):
    """A game of one player against a mixture of stored opponents, one of them drawn at each loss.

    Args:
        game: Whose losses count; the opponent's weights are overwritten.
        player: The one who plays.
        opponents: Weights of the other.
        weights: How often each opponent plays, shape ``(opponents,)``.
    """

    def __init__(
        self, game: Game, player: str, opponents: Sequence[State], weights: Tensor
    ) -> None:
        self._game = game
        self._player = player
        (self._other,) = (name for name in game.players if name != player)
        self._opponents = opponents
        self._weights = weights

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return {self._player: self._game.players[self._player]}

    @override
    def loss(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        weights = self._weights.to(rng.device)
        which = int(drawn(weights, 1, rng=rng))
        self._game.players[self._other].load_state_dict(self._opponents[which])
        return self._game.loss(player, batch, rng=rng)
