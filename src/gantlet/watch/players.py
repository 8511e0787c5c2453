"""What looks at a game in a loop of the user's own: gradient noise, and attacks on its critic."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from gantlet.core.data import Source, Space, all_samples
from gantlet.core.errors import UserError
from gantlet.core.model import Adversarial, Decoder, Game, Generative
from gantlet.core.rng import Rng
from gantlet.games.accident import generator_of
from gantlet.games.attack import Goal, deepfool, lengths, median_distance, scores_of, slopes
from gantlet.games.attack_monitor import unit_of
from gantlet.games.noise import look_at
from gantlet.models.generator import evaluating
from gantlet.stats.intervals import mean
from gantlet.watch.drawing import own_randomness, stream
from gantlet.watch.writers import Entry

# ----------------------------------------------------------------------------
# Gradient noise.
# ----------------------------------------------------------------------------

NOISE = "noise-scale"
"""What the names of noise scales begin with; a player's follows after a slash."""

_GROUPS = 8


@final
class GradientNoise:
    """The noise scale of each player at a look, from micro-batches of training samples.

    Args:
        game: The game whose modules the loop trains.
        source: The training samples.
        space: Their space.
        batch: Batch size of the loop.
        seed: Seed of samples and noise.

    Raises:
        UserError: If it is no game, its samples are others, or there are too few.
    """

    def __init__(
        self, game: object, source: Source, space: Space, *, batch: int, seed: int
    ) -> None:
        if not isinstance(game, Game):
            raise UserError(
                "game must be gantlet.game({'generator': G, 'critic': D}, losses=...). Got "
                f"{type(game).__name__}."
            )
        if isinstance(game, Generative) and game.model.space.shape != space.shape:
            raise UserError(
                f"The game makes samples of shape {game.model.space.shape}, and the real ones "
                f"have shape {space.shape}. Give the samples that it is trained on."
            )
        self._game, self._source, self._seed = game, source, seed
        self._size = max(batch // 4, 1)

    def entries(self, step: int) -> list[Entry]:
        """Returns the noise scale of each player now, and of all together."""
        drawn = Rng(self._seed).stream(f"watch/noise/{step}")
        index = torch.randint(len(self._source), (_GROUPS * self._size,), generator=drawn)
        device = next(p for m in self._game.players.values() for p in m.parameters()).device
        noise = Rng(self._seed, str(device)).stream(f"watch/noise/{step}/draws")
        batch = self._source.take(index).to(device)
        with torch.enable_grad():
            seen = look_at(
                self._game,
                None,
                batch,
                step=step,
                rng=noise,
                unit="micro-batch",
                groups=_GROUPS,
            )
        return [
            Entry(step=step, name=f"{NOISE}/{player}", estimate=parts.scale())
            for player, parts in seen.parts["plain"].items()
        ]


# ----------------------------------------------------------------------------
# Attacks on the critic, and the generator's updates.
# ----------------------------------------------------------------------------

ATTACK = "attack"
"""What the names of these numbers begin with."""
DISTANCE = f"{ATTACK}/distance to real"
LENGTH = f"{ATTACK}/length of an update"
COSINE = f"{ATTACK}/cosine of update and critic's gradient"

_FAKES, _REALS = 64, 256
# Gradients of the attack of one look.
_STEPS = 10


@final
@dataclass(frozen=True, slots=True)
class _Before:
    """What the update before a look begins from.

    Attributes:
        step: The step after which it was.
        x: Fakes of fixed latents, scaled, shape ``(n, ...)``.
        slope: The critic's gradient at each, of the same shape.
    """

    step: int
    x: Tensor
    slope: Tensor


@final
class CriticAttack:
    """The smallest changes that fool a critic at a look, and the update that the loop just made.

    Fakes of fixed latents are remembered at the call before a look, with the critic's gradient
    there; what they have become at the look is the update of the loop's own optimizer. The critic
    is attacked by DeepFool (Moosavi-Dezfooli et al., 2016, https://arxiv.org/abs/1511.04599) until
    fakes score as the median of real samples. Lengths are of whole scaled samples (L2).

    Args:
        game: The game whose modules the loop trains.
        source: The training samples.
        seed: Seed of latents.

    Raises:
        TypeError: If the game's model makes no samples of latents; ``of`` asks first.
    """

    def __init__(self, game: Adversarial, source: Source, *, seed: int) -> None:
        model = game.model
        if not isinstance(model, Decoder):
            raise TypeError("the model must be a decoder")
        self._game, self._model, self._seed = game, model, seed
        self._scale = unit_of(model, source)
        self._real = all_samples(source, _REALS)
        self._before: _Before | None = None

    @classmethod
    def of(cls, game: Game, source: Source, *, seed: int) -> "CriticAttack | None":
        """Returns the measurement, or None for a game without critic or generator of latents."""
        if not isinstance(game, Adversarial) or not isinstance(game.model, Decoder):
            return None
        try:
            generator_of(game)
        except UserError:
            return None
        return cls(game, source, seed=seed)

    def remember(self, step: int) -> None:
        """Remembers fakes and the critic's gradient before the update that is looked at next."""
        with self._still():
            x = self._made()
            self._before = _Before(step, x, slopes(self._score, x)[0])

    def entries(self, step: int) -> list[Entry]:
        """Returns the distance to "real" now, and what the last update was."""
        before, self._before = self._before, None
        with self._still():
            x = self._made()
            scale = self._scale.to(x.device)
            real = scores_of(self._score, self._real.to(x.device) / scale)
            near = deepfool(self._score, x, Goal(threshold=float(real.median())), steps=_STEPS)
        found = {DISTANCE: median_distance(near.distance.cpu(), unit="scaled L2")}
        if before is not None and before.step + 1 == step:
            u, slope = x - before.x.to(x.device), before.slope.to(x.device)
            found[LENGTH] = median_distance(lengths(u).cpu(), unit="scaled L2")
            if bool(u.any()):
                cosine = torch.cosine_similarity(u.flatten(1), slope.flatten(1), eps=1e-30)
                found[COSINE] = mean(cosine.tolist(), of="latents")
        return [Entry(step=step, name=name, estimate=e) for name, e in found.items()]

    def state(self) -> dict[str, Any] | None:
        """Returns what the next look needs, or None where nothing is remembered."""
        before = self._before
        if before is None:
            return None
        return {"step": before.step, "x": before.x, "slope": before.slope}

    def load(self, state: Mapping[str, Any] | None) -> None:
        """Goes on from what ``state`` returned."""
        self._before = None if state is None else _Before(**state)

    def _made(self) -> Tensor:
        weights = next(self._model.parameters())
        noise = torch.Generator(weights.device).manual_seed(self._seed)
        with torch.no_grad():
            fakes = self._model.decode(self._model.prior(_FAKES, rng=noise))
        return (fakes / self._scale.to(fakes.device)).detach()

    def _score(self, y: Tensor) -> Tensor:
        return self._game.critic(y * self._scale.to(y.device))

    @contextmanager
    def _still(self) -> Generator[None]:
        """Leaves the modes of modules and the global random states as they are."""
        with (
            own_randomness(stream(self._seed, "watch/attack")),
            evaluating(list(self._game.players.values())),
        ):
            yield
