"""One stage of a training under attack: its critic, and the updates of its generator."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.commands.converge.course import SavedTraining
from gantlet.commands.own_games import meaning
from gantlet.commands.tournament.play import Contender, snapshots_of
from gantlet.commands.trained import find_trial
from gantlet.compute.machine import threads
from gantlet.core.data import Space, Splits, all_samples
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate, Outcome, Trial
from gantlet.core.model import Adversarial, Decoder, Solver, Toy
from gantlet.core.rng import Rng
from gantlet.core.spec import Spec, datasets, solvers
from gantlet.data.synthetic import PlanarMixture
from gantlet.features.base import full_precision
from gantlet.games.accident import (
    DIRECTIONS,
    USUAL,
    Accident,
    Moves,
    Reality,
    Way,
    accident,
    decoder_of,
    transfer,
)
from gantlet.games.attack import (
    Ball,
    Goal,
    Nearest,
    Side,
    attackable,
    median_distance,
    minimal,
    scores_of,
    threshold_of,
)
from gantlet.games.attack_monitor import unit_of
from gantlet.games.fresh import FreshCritics, See, train_critics
from gantlet.games.masking import masking
from gantlet.games.solvers import Sgd
from gantlet.models.gan import GanGame, GanOptions, critic
from gantlet.models.losses import AdversarialObjective
from gantlet.models.nets import Scaling, seeded
from gantlet.models.own import CriticGame, reinitialized
from gantlet.run.execute import Watch
from gantlet.run.store import TrialFolder
from gantlet.run.train import Batches, DivergedError
from gantlet.run.trials import RunData, TypedTrial
from gantlet.stats.intervals import mean

# ----------------------------------------------------------------------------
# What is attacked: one snapshot of a training, or a game as it is.
# ----------------------------------------------------------------------------

# The solver's memory is not saved with snapshots: so many steps of training rebuild it.
WARM_UP = 50
# So many real samples say how good samples are, and so many fakes fresh critics learn from.
_REALS, _POOL = 500, 2048
# Held-out latents whose fakes every update is looked at by.
_HELD_OUT = 128
# So many training samples set what depends on data, as in training.
_PREPARE = 512
# Fresh critics whose attacks are tried in the test for masked gradients.
_OTHERS = 3
# Samples shown in pictures.
SHOWN = 8
# Steps of a fresh critic.
CRITIC_STEPS = 300


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class AttackTrial(TypedTrial):
    """One stage of a training.

    Attributes:
        model: The model in written form.
        solver: How it is trained, in written form.
        data: The data set in written form.
        data_seed: Seed of the train/validation/test split.
        batch: Samples in a batch.
        saved: Where the training is found; nowhere for a game of the user's own.
        snapshot: Name of the snapshot; "" for a game as it is.
        samples: Fakes, and real samples, that are attacked.
        updates: Updates of the generator that are measured.
        critics: Number of fresh critics.
        ablations: Whether updates are also made in other ways.
        threads: Threads of the trial; part of what decides the last digits.
        seed: From which every random number follows.
    """

    model: str
    solver: str
    data: str
    data_seed: int
    batch: int
    saved: SavedTraining = field(default_factory=SavedTraining)
    snapshot: str = ""
    samples: int
    updates: int
    critics: int
    ablations: bool = False
    threads: int
    seed: int


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stage:
    """A game at one stage of its training, with its data.

    Attributes:
        game: The game.
        step: After how many steps; None for a game of the user's own.
        solver: What trains it.
        loss: Name of its adversarial loss, or None for functions of the user's own.
        space: Space of a sample.
        splits: The data.
        scale: Unit of all distances: samples are divided by it.
        limits: Lowest and highest value of a component in these units, or None.
    """

    game: Adversarial
    step: int | None
    solver: Solver
    loss: str | None
    space: Space
    splits: Splits
    scale: Tensor
    limits: tuple[float, float] | None

    def inside(self, y: Tensor) -> Tensor:
        """Returns samples within the limits: a generator may stand half a level outside."""
        return y if self.limits is None else y.clamp(*self.limits)


def stage_of(trial: AttackTrial, data: RunData) -> Stage:
    """Returns the game of a trial with the weights of its snapshot.

    Raises:
        UserError: If it has no critic, or makes its samples without latents.
    """
    space, splits = data.of(trial)
    found, step = _game(trial, data)
    game = check_game(found, trial.model)
    return Stage(
        game=game,
        step=step,
        solver=solvers.make(trial.solver),
        loss=_loss_of(game, trial.model),
        space=space,
        splits=splits,
        scale=unit_of(decoder_of(game), splits.train, samples=_POOL),
        limits=(0.0, 1.0) if space.levels else None,
    )


def check_game(game: object, name: str) -> Adversarial:
    """Returns a game that can be attacked.

    Raises:
        UserError: If it has no critic of single samples, or no generator of latents.
    """
    if not isinstance(game, Adversarial) or not isinstance(game.model, Decoder):
        raise UserError(
            f"{Spec.parse(name).name} has no critic of single samples to attack. Name a GAN: a "
            "run of gantlet train gan --snapshots 4, or a game with players generator and critic."
        )
    return game


def _game(trial: AttackTrial, data: RunData) -> tuple[object, int | None]:
    if trial.saved.path is not None:
        was, folder = find_trial(trial.saved.path, trial.saved.model, trial.saved.seed)
        course = Contender("", was, folder, (trial.snapshot,))
        for found in snapshots_of(course):
            return found.game, found.step
        raise UserError(f"{trial.saved.path} holds no snapshot {trial.snapshot}.")
    family = meaning(trial.model, data)
    if isinstance(family, Toy):
        return None, None
    space, splits = data.of(trial)
    rng = Rng(trial.seed)
    game = family.build(space, rng=rng)
    with torch.no_grad():
        first = all_samples(splits.train, _PREPARE)
        game.prepare(first, rng=rng.stream("prepare"))
    return game, None


def _loss_of(game: Adversarial, model: str) -> str | None:
    if isinstance(game, CriticGame):
        return game.parts.losses if isinstance(game.parts.losses, str) else None
    return Spec.parse(model).options.get("loss")


def unit_in_words(space: Space) -> str:
    """Returns the unit of distances, in words."""
    if space.levels is not None:
        return "images from 0 to 1"
    return "values as they are" if space.kind == "image" else "standard deviations of each column"


# ----------------------------------------------------------------------------
# Fresh critics of the same kind.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """What fresh critics are.

    Attributes:
        nets: Untrained networks.
        rules: Their loss and penalty.
        see: How they see samples.
        note: What they are, in words.
    """

    nets: Sequence[nn.Module]
    rules: AdversarialObjective
    see: See
    note: str


_USUAL = AdversarialObjective(loss="ns", penalty="r1r2", gamma=0.3)


def kind_of(stage: Stage, trial: AttackTrial, data: RunData) -> Kind:
    """Returns untrained critics like the one under attack; a standard one where there is none."""
    seeds = [Rng(trial.seed).stream(f"fresh/{k}").initial_seed() for k in range(trial.critics)]
    game = stage.game
    if isinstance(game, GanGame) and isinstance(family := meaning(trial.model, data), GanOptions):
        return _same_family(game, family, stage, seeds)
    if isinstance(game, CriticGame):
        own = _same_module(game, seeds)
        if own is not None and _runs(own, stage):
            return own
    return _standard(stage, seeds)


def _same_family(game: GanGame, family: Any, stage: Stage, seeds: Sequence[int]) -> Kind:
    rules: AdversarialObjective = family.rules
    model = game.model

    def see(x: Tensor, rng: torch.Generator | None) -> Tensor:
        seen: Tensor = model.scaling(x + model.middle)
        return seen if rng is None else model.scaling.noisy(x, rng=rng)

    return Kind(
        [family.build(stage.space, rng=Rng(s)).players["critic"] for s in seeds],
        # Without what else the family does to its critic in training.
        AdversarialObjective(loss=rules.loss, penalty=rules.penalty, gamma=rules.gamma),
        see,
        "networks, loss and penalty of the model",
    )


@final
class _Scoring(nn.Module):
    """A critic of the user's own as one that returns a score for each sample."""

    def __init__(self, net: nn.Module, *, probabilities: bool) -> None:
        super().__init__()
        self.net = net
        self._probabilities = probabilities

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns scores, shape ``(n,)``; logits of probabilities."""
        found: Tensor = self.net(x)
        found = found.reshape(len(x))
        return torch.logit(found, eps=1e-7) if self._probabilities else found


def _same_module(game: CriticGame, seeds: Sequence[int]) -> Kind | None:
    parts, conversion = game.parts, game.model.conversion
    nets: list[nn.Module] = []
    for s in seeds:
        net = _Scoring(parts.players[parts.critic or ""], probabilities=parts.losses == "bce")
        fresh = deepcopy(net)
        if not reinitialized(fresh, torch.Generator().manual_seed(s)):
            return None
        nets.append(fresh)
    is_named = isinstance(parts.losses, str)
    return Kind(
        nets,
        parts.objective if is_named else _USUAL,
        lambda x, _: conversion.seen(x),
        "the critic's network with new weights"
        + ("" if is_named else ", trained with the non-saturating loss and R1 and R2"),
    )


def _runs(kind: Kind, stage: Stage) -> bool:
    """Returns whether the networks can run as one."""
    try:
        FreshCritics(kind.nets, kind.see).score(all_samples(stage.splits.test, 2))
    # A border: the user's network may not bear to be stacked.
    except (RuntimeError, TypeError, ValueError, NotImplementedError, AttributeError):
        return False
    return True


def _standard(stage: Stage, seeds: Sequence[int]) -> Kind:
    scaling = Scaling(stage.space)
    scaling.fit(all_samples(stage.splits.train, _POOL))

    def see(x: Tensor, rng: torch.Generator | None) -> Tensor:
        seen: Tensor = scaling(x + (0.5 if stage.space.levels else 0.0))
        return seen if rng is None else scaling.noisy(x, rng=rng)

    nets: list[nn.Module] = []
    for s in seeds:
        with seeded(torch.Generator().manual_seed(s)):
            nets.append(critic(stage.space, width=128, depth=2))
    note = "standard networks of Gantlet with the non-saturating loss, R1 and R2"
    return Kind(nets, _USUAL, see, note)


# ----------------------------------------------------------------------------
# All measurements of one stage.
# ----------------------------------------------------------------------------

NORMS: Mapping[str, float] = {"L2": 2.0, "Linf": math.inf}
SIDES: tuple[Side, Side] = ("real", "fake")

WAYS: Mapping[str, Way] = {
    "1 update, critic frozen": Way(steps=1),
    "5 updates, new latents": Way(steps=5),
    "20 updates, new latents": Way(steps=20),
    "20 updates, same latents": Way(steps=20, same=True),
    "samples free, 1 step": Way(steps=1, space="samples"),
    "samples free, 20 steps": Way(steps=20, space="samples"),
    "1 update, SGD": Way(steps=1, rule=Sgd(lr=(0.01,))),
}
"""Other ways to move a generator, by what the report calls them."""
BATCHES = (1, 8, 64, 512)
"""Batch sizes of the ablations."""


def run_trial(written: Trial, data: RunData, folder: TrialFolder, watch: Watch) -> Outcome:
    """Attacks the critic of one stage, and measures the updates of its generator."""
    trial = AttackTrial.of(written)
    with threads(trial.threads), full_precision():
        return _Attack(trial, data, watch).outcome(written, folder)


@final
class _Attack:
    """One stage under attack."""

    def __init__(self, trial: AttackTrial, data: RunData, watch: Watch) -> None:
        self._trial = trial
        self._data = data
        self._watch = watch
        self._rng = Rng(trial.seed)
        self._stage = stage_of(trial, data)
        self._scores: dict[str, Estimate] = {}
        self._batches = Batches(self._stage.splits.train, rng=self._rng)
        watch(0.02, "rebuilding the solver's memory")
        self._moves = self._warmed_up()
        self._test = all_samples(self._stage.splits.test, _REALS) / self._stage.scale
        watch(0.1, "training fresh critics")
        self._kind = kind_of(self._stage, trial, data)
        self._fresh = self._fresh_critics()

    def _warmed_up(self) -> Moves:
        stage, trial = self._stage, self._trial
        play = stage.solver.start(stage.game)
        noise = self._rng.stream("warm-up")
        for _ in range(WARM_UP):
            losses = play.step(self._batches.next(trial.batch * play.batches), rng=noise)
            if not all(map(math.isfinite, losses.values())):
                raise DivergedError("diverged while the solver's memory was rebuilt")
        held_out = decoder_of(self._stage.game).prior(_HELD_OUT, rng=self._rng.stream("held-out"))
        return Moves(
            stage.game,
            stage.solver,
            memory=play.state_dict(),
            held_out=held_out,
            scale=stage.scale,
        )

    def _fakes(self, n: int, stream: str) -> Tensor:
        """Returns fakes in the unit of distances, not rounded."""
        z = decoder_of(self._stage.game).prior(n, rng=self._rng.stream(stream))
        return torch.cat([self._moves.made(part) for part in torch.split(z, 512)])

    def _fresh_critics(self) -> FreshCritics:
        stage, train = self._stage, self._stage.splits.train
        return train_critics(
            self._kind.nets,
            all_samples(train, len(train)),
            self._fakes(_POOL, "pool") * stage.scale,
            rules=self._kind.rules,
            see=self._kind.see,
            rng=self._rng.stream("fresh"),
            steps=CRITIC_STEPS,
            watch=lambda share: self._watch(0.1 + 0.2 * share, "training fresh critics"),
        )

    def outcome(self, written: Trial, folder: TrialFolder) -> Outcome:
        """Returns all that was found; pictures are saved in the folder."""
        self._watch(0.3, "measuring updates")
        found = self._accident(USUAL, 0.3, 0.6 if self._trial.ablations else 0.8)
        size = {"L2": float(found.length.median()), "Linf": float(found.largest.median())}
        self._watch(0.6 if self._trial.ablations else 0.8, "attacking the critic")
        near = self._distances(found, size)
        details: dict[str, Any] = {
            "step": self._stage.step,
            "loss": self._stage.loss,
            "size": self._stage.space.size,
            "unit": unit_in_words(self._stage.space),
            "fresh": self._kind.note,
            "density": self._density() is not None,
            "update": size,
            "nearest": float(found.nearest.median()),
            "gap": float(found.gap.mean()),
            "fresh gap": found.fresh_gap.tolist(),
            "masking": self._masked(near, size),
            "players": list(self._stage.game.players),
        }
        self._scores |= numbers_of(found)
        self._transfer_of_least(near)
        if self._trial.ablations:
            details["ways"] = self._ways()
        folder.save("pictures", self._pictures(near))
        return Outcome(trial=written, scores=self._scores, details=details)

    # ---- updates

    def _accident(self, way: Way, start: float, end: float, batch: int | None = None) -> Accident:
        return accident(
            self._moves,
            self._drawn(batch or self._trial.batch),
            self._fresh,
            Reality(real=self._test, log_density=self._density()),
            updates=self._trial.updates,
            rng=self._rng.stream("updates"),
            way=way,
            watch=lambda share: self._watch(start + (end - start) * share, "measuring updates"),
        )

    def _drawn(self, batch: int) -> Iterator[Tensor]:
        while True:
            yield self._batches.next(batch * self._moves.batches)

    def _density(self) -> Callable[[Tensor], Tensor] | None:
        dataset, scale = datasets.make(self._trial.data), self._stage.scale
        if not isinstance(dataset, PlanarMixture):
            return None
        return lambda y: dataset.log_density(y * scale)

    def _ways(self) -> dict[str, dict[str, Any]]:
        arms: list[tuple[str, Way, int]] = [
            *((name, way, self._trial.batch) for name, way in WAYS.items()),
            *((f"batch {b}", USUAL, b) for b in BATCHES if b != self._trial.batch),
        ]
        found: dict[str, dict[str, Any]] = {}
        for i, (name, way, batch) in enumerate(arms):
            start = 0.82 + 0.18 * i / len(arms)
            try:
                one = self._accident(way, start, start + 0.18 / len(arms), batch)
            except UserError as error:
                found[name] = {"error": str(error)}
                continue
            kept = numbers_of(one)
            found[name] = {"length": float(one.length.median())}
            self._scores |= {f"{name}: {k}": kept[k] for k in WAY_NUMBERS}
        return found

    # ---- distances

    def _distances(self, found: Accident, size: Mapping[str, float]) -> dict[str, Nearest]:
        """Attacks fakes and real samples in both norms; returns what was found, by key."""
        stage = self._stage
        n = self._trial.samples
        x: dict[Side, Tensor] = {
            "real": stage.inside(self._fakes(n, "attacked")),
            "fake": stage.inside(all_samples(stage.splits.test, n) / stage.scale),
        }
        threshold = threshold_of(stage.loss, scores_of(self._moves.score, x["fake"]))
        apart = float(found.nearest.median())
        near: dict[str, Nearest] = {}
        for side in SIDES:
            for norm, p in NORMS.items():
                one = minimal(
                    self._moves.score,
                    x[side],
                    Goal(threshold=threshold, towards=side),
                    norm=p,
                    limits=stage.limits,
                )
                near[f"{side} {norm}"] = one
                self._scores |= _distance_numbers(one, f"{side} {norm}", size[norm], apart)
        self._attacked = x
        return near

    def _masked(self, near: Mapping[str, Nearest], size: Mapping[str, float]) -> list[list[Any]]:
        """Returns the signs of masked gradients: name, share of samples, p-value."""
        middle = float(near["real L2"].distance.median())
        radius = middle if 0 < middle < math.inf else max(size["L2"], 1e-6)
        others = [
            self._in_units(self._fresh.one(k)) for k in range(min(_OTHERS, self._fresh.count))
        ]
        found = masking(
            self._moves.score,
            self._attacked["real"],
            Ball(radius=radius, limits=self._stage.limits),
            rng=self._rng.stream("masking"),
            others=others,
        )
        return [[s.name, s.share, s.p] for s in found.signs]

    def _in_units(self, score: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda y: score(y * self._stage.scale)

    def _transfer_of_least(self, near: Mapping[str, Nearest]) -> None:
        """Adds which share of what least perturbations gain fresh critics confirm."""
        x, one = self._attacked["real"], near["real L2"]
        score, done = self._moves.score, one.succeeded & (one.distance > 0)
        if int(done.sum()) < 2:
            self._scores["least transfer"] = Estimate.missing("too few samples were attacked")
            return
        before, fresh = scores_of(score, x), self._fresh_scores(x)
        real = self._test
        gap = scores_of(score, real).mean() - before.mean()
        fresh_gap = self._fresh_scores(real).mean(1) - fresh.mean(1)
        gained = (scores_of(score, one.x) - before)[done] / gap
        confirmed = (self._fresh_scores(one.x) - fresh)[:, done] / fresh_gap[:, None]
        self._scores["least transfer"] = transfer(
            gained.double(), confirmed.double(), of="samples"
        )

    def _fresh_scores(self, y: Tensor) -> Tensor:
        return self._fresh.score(y * self._stage.scale)

    # ---- pictures

    def _pictures(self, near: Mapping[str, Nearest]) -> dict[str, Tensor]:
        """Returns fakes, least perturbations and updated fakes, as samples."""
        scale, n = self._stage.scale, SHOWN
        one, x = near["real L2"], self._attacked["real"]
        batch = next(self._drawn(self._trial.batch))
        latents = decoder_of(self._stage.game).prior(n, rng=self._rng.stream("attacked"))
        moves = Moves(
            self._stage.game,
            self._stage.solver,
            memory=self._moves.memory,
            held_out=latents,
            scale=scale,
        )
        with moves.move(batch, self._rng.stream("shown")) as move:
            fake, updated = move.held_x, move.held_x + move.held_u
        return {
            "fake": (fake * scale).contiguous(),
            "attacked": (one.x[:n] * scale).contiguous(),
            "perturbation": ((one.x - x)[:n] * scale).contiguous(),
            "updated": (updated * scale).contiguous(),
            "cloud": (x * scale).contiguous(),
            "attacked cloud": (one.x * scale).contiguous(),
        }


def _distance_numbers(
    one: Nearest, key: str, update: float, nearest: float
) -> dict[str, Estimate]:
    in_updates = one.distance / max(update, 1e-30)
    found = {
        key: median_distance(one.distance),
        f"{key} in updates": median_distance(in_updates, unit="updates"),
        f"{key} within an update": attackable(one.distance, update),
    }
    if one.norm == 2:
        found[f"{key} in neighbours"] = median_distance(one.distance / max(nearest, 1e-30))
    return found


WAY_NUMBERS = ("cosine", "held cosine", "share update", "transfer update", "worth update")
"""What is reported of other ways to move."""


def numbers_of(found: Accident) -> dict[str, Estimate]:
    """Returns all that is reported of updates, by key."""
    numbers = {
        "cosine": mean(found.cosine.tolist(), of="updates"),
        "held cosine": mean(found.held_cosine.tolist(), of="updates"),
        "kernel": mean(found.kernel.tolist(), of="updates"),
        "efficiency": found.efficiency(),
        "calibrated share": found.calibrated(),
        "update - oracle": found.contrast("update", "oracle"),
        "update - attack": found.contrast("update", "attack"),
        "oracle - attack": found.contrast("oracle", "attack"),
    }
    for name in DIRECTIONS:
        numbers |= {
            f"own {name}": mean(found.own[name].tolist(), of="updates"),
            f"transfer {name}": found.transfer(name),
            f"share {name}": found.share(name),
            f"worth {name}": mean(found.worth[name].tolist(), better="higher", of="updates"),
        }
    return numbers


def snapshots_to_attack(folder: Path, names: Sequence[str], stages: int) -> list[str]:
    """Returns some of the snapshots of a training, evenly spread, the last among them.

    Raises:
        UserError: If there are none.
    """
    if not names:
        raise UserError(
            f"{folder} has no snapshots of a critic. Train with --snapshots 8 first, as in: "
            "gantlet train gan --snapshots 8"
        )
    count = min(stages, len(names))
    places = {round((i + 1) * len(names) / count) - 1 for i in range(count)}
    return [names[i] for i in sorted(places)]
