"""Attacks on the critic during training: a monitor."""

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, Any, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.data import Source, all_samples
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.core.model import Adversarial, Decoder, Game, Monitoring, Play
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.games.accident import generator_of, restore, states_of
from gantlet.games.attack import (
    Ball,
    Goal,
    cosines,
    deepfool,
    lengths,
    pgd,
    scores_of,
    slopes,
)

# So many training samples give the unit of distances.
_UNIT = 512
# Gradients of the attacks of one look: towards the threshold, and within an update's length.
_NEAREST, _CLIMB = 10, 5
# A gradient in samples costs about a third of a step, which takes several of both players.
_THIRD = 1 / 3

DISTANCE = "attack: distance to real"
LENGTH = "attack: length of an update"
UPDATES = "attack: distance in updates"
COSINE = "attack: cosine of update and critic's gradient"
EFFICIENCY = "attack: update's gain over the attack's"
NUMBERS = (DISTANCE, LENGTH, UPDATES, COSINE, EFFICIENCY)
"""What a look measures, by the names in the curve of training."""

_CURVES = {
    DISTANCE: "distance to real",
    LENGTH: "length of an update",
    COSINE: "cosine of update and critic's gradient",
    EFFICIENCY: "update's gain over the attack's",
}


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class AttackMonitor:
    """How easily the critic is fooled during training, and how much like an attack updates are.

    A look makes one step of training and takes it back, finds by DeepFool the smallest changes
    with which fakes score as the median of real samples, and compares the update with an attack of
    the same lengths. It costs about seven steps.

    Source: Moosavi-Dezfooli et al., 2016, https://arxiv.org/abs/1511.04599, for the changes.

    Attributes:
        share: Largest share of the cost of training for the looks.
        samples: Fakes in a look.
    """

    share: Annotated[float, Between(0, 1, below=True, above=True)] = 0.03
    samples: Annotated[int, Between(8, 4096)] = 64

    def start(self, game: Game, train: Source, *, batch: int, rng: Rng) -> "AttackMonitoring":
        """Returns the monitor, ready to look at a training.

        Raises:
            UserError: If the game has no critic of single samples, or no generator of latents.
        """
        return AttackMonitoring(game, train, batch=batch, rng=rng, samples=self.samples)


@final
class AttackMonitoring(Monitoring):
    """The looks at one training.

    Args:
        game: The game in training.
        train: The training samples.
        batch: Batch size of training.
        rng: Draws samples and noise, anew for each step that is looked at.
        samples: Fakes in a look.
    """

    def __init__(self, game: Game, train: Source, *, batch: int, rng: Rng, samples: int) -> None:
        if not isinstance(game, Adversarial) or not isinstance(game.model, Decoder):
            raise UserError(
                "The monitor attack needs a critic of single samples and a generator of latents, "
                "as gan has. Leave it out."
            )
        generator_of(game)
        self._game, self._model = game, game.model
        self._train, self._rng = train, rng
        self._batch, self._samples = batch, samples
        self._scale = unit_of(game.model, train).to(rng.device)
        self._steps: list[int] = []
        self._looks: list[dict[str, float | None]] = []
        self._told = 0

    @property
    @override
    def cost(self) -> float:
        gradients = 1 + _NEAREST + _CLIMB
        return 1 + _THIRD * gradients * max(self._samples / self._batch, 1.0)

    @override
    def look(self, step: int, play: Play) -> None:
        stream = self._rng.stream(f"monitor/attack/{step}")
        index = torch.randint(
            len(self._train), (self._batch * play.batches,), generator=stream, device=stream.device
        )
        batch = self._train.take(index.cpu()).to(self._rng.device)
        z = self._model.prior(self._samples, rng=stream)
        self._steps.append(step)
        self._looks.append(self._measured(batch, z, play, stream))

    def _measured(
        self, batch: Tensor, z: Tensor, play: Play, stream: torch.Generator
    ) -> dict[str, float | None]:
        x = self._made(z)
        u = self._displaced(batch, z, play, stream) - x
        before = scores_of(self._score, x)
        slope, _ = slopes(self._score, x)
        attack = pgd(self._score, x, Ball(radius=lengths(u)), steps=_CLIMB)
        real = scores_of(self._score, batch[: self._batch] / self._scale)
        goal = Goal(threshold=float(real.median()))
        near = deepfool(self._score, x, goal, steps=_NEAREST).distance.median()
        length = lengths(u).median()
        gained = (scores_of(self._score, x + u) - before).mean()
        return {
            DISTANCE: _finite(near),
            LENGTH: _finite(length),
            UPDATES: _finite(near / length),
            COSINE: _finite(cosines(u, slope).mean()),
            EFFICIENCY: _finite(gained / attack.gain.mean()),
        }

    @torch.no_grad()
    def _made(self, z: Tensor) -> Tensor:
        return (self._model.decode(z) / self._scale).detach()

    def _score(self, y: Tensor) -> Tensor:
        return self._game.critic(y * self._scale)

    def _displaced(self, batch: Tensor, z: Tensor, play: Play, stream: torch.Generator) -> Tensor:
        """Returns the fakes of latents after one more step, which is taken back."""
        states, memory = states_of(self._game), deepcopy(play.state_dict())
        try:
            play.step(batch, rng=stream)
            return self._made(z)
        finally:
            restore(self._game, states)
            play.load_state_dict(memory)

    @override
    def point(self) -> Mapping[str, float | None]:
        new, self._told = self._looks[self._told :], len(self._looks)
        return dict(new[-1]) if new else dict.fromkeys(NUMBERS)

    @override
    def scores(self) -> Mapping[str, Estimate]:
        if not self._looks:
            reason = (
                "no look fits into the share of the cost: train longer, or give a larger share"
            )
            return {name: Estimate.missing(reason) for name in NUMBERS}
        return {name: self._late(name) for name in NUMBERS}

    def _late(self, name: str) -> Estimate:
        """Returns the mean over the later half of the looks."""
        late = self._looks[len(self._looks) // 2 :]
        known = [v for look in late if (v := look[name]) is not None]
        if not known:
            return Estimate.missing("more than half of the fakes could not be attacked")
        return Estimate(
            value=math.fsum(known) / len(known),
            n=len(known),
            method="mean over the later half of the looks, which are not independent: no interval",
        )

    @override
    def charts(self) -> Sequence[Mapping[str, Any]]:
        note = "Looks at single steps; see gantlet attack for intervals and fresh critics."
        found = [
            ("Distance to the critic's threshold", "distance", (DISTANCE, LENGTH), True),
            ("How far updates attack the critic", "share", (COSINE, EFFICIENCY), False),
        ]
        return [
            {
                "title": title,
                "x_label": "step",
                "y_label": label,
                "log_y": log and all((v or 0) > 0 for n in names for v in self._column(n)[1]),
                "note": note,
                "series": series,
            }
            for title, label, names, log in found
            if (series := self._series(names))
        ]

    def _series(self, names: Sequence[str]) -> list[dict[str, Any]]:
        parts = [(_CURVES[n], *self._column(n)) for n in names]
        return [{"name": name, "x": x, "y": y} for name, x, y in parts if x]

    def _column(self, name: str) -> tuple[list[float], list[float]]:
        pairs = zip(self._steps, self._looks, strict=True)
        known = [(float(step), v) for step, look in pairs if (v := look[name]) is not None]
        return [x for x, _ in known], [y for _, y in known]

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            "steps": list(self._steps),
            "looks": [dict(look) for look in self._looks],
            "told": self._told,
        }

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._steps = list(state["steps"])
        self._looks = [dict(look) for look in state["looks"]]
        self._told = state["told"]


def _finite(x: Tensor) -> float | None:
    value = float(x)
    return value if math.isfinite(value) else None


def unit_of(model: Decoder, train: Source, *, samples: int = _UNIT) -> Tensor:
    """Returns what samples are divided by: the range of images, or deviations of columns.

    Args:
        model: The generator.
        train: The training samples.
        samples: How many of them give the deviations.

    Returns:
        Shape ``()`` for images, that of a sample for columns, whose constant ones have unit 1.
    """
    if model.space.levels is not None:
        return torch.tensor(float(model.space.levels - 1))
    if model.space.kind == "image":
        return torch.tensor(1.0)
    spread = all_samples(train, samples).std(0)
    return torch.where(spread > 0, spread, torch.ones_like(spread))
