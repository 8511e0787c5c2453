"""What is diagnosed: a model or a toy game, a solver, data, a budget, a seed."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from gantlet.core.components import families, solvers, toys
from gantlet.core.dataset import everything
from gantlet.core.errors import UserError
from gantlet.core.family import Family
from gantlet.core.game import Game
from gantlet.core.rng import Rng
from gantlet.core.spec import Spec
from gantlet.core.trial import Trial
from gantlet.studies.sources import source_of
from gantlet.train.batches import Batches

# How many training samples a game sees to set what depends on data, as in training.
_PREPARE = 512


def is_toy(model: str) -> bool:
    """Returns whether a written form is that of a toy game."""
    return Spec.parse(model).name in toys.names()


def is_run(text: str) -> bool:
    """Returns whether a text names a run folder, as ``RUN`` or ``RUN@MODEL#SEED``."""
    return (run_parts(text)[0] / "run.json").exists()


def run_parts(text: str) -> tuple[Path, str | None, int]:
    """Returns folder, model and seed of ``RUN@MODEL#SEED``.

    Example:
        >>> run_parts("runs/demo@gan#2")
        (PosixPath('runs/demo'), 'gan', 2)

    Raises:
        UserError: If the seed is no number.
    """
    path, _, rest = text.partition("@")
    model, _, seed = rest.partition("#")
    if seed and not seed.isdigit():
        raise UserError(f"The seed of {text!r} must be a number, as in runs/demo@gan#0.")
    return Path(path), model or None, int(seed or 0)


def resolved(model: str) -> str:
    """Returns a model or toy game with every option written out.

    Raises:
        UserError: If it is a family that is fitted outright, and so plays no game.
    """
    if is_toy(model):
        return toys.resolve(model)
    family(model)
    return families.resolve(model)


def short(model: str) -> str:
    """Returns a model or toy game as people name it."""
    return toys.short(model) if is_toy(model) else families.short(model)


def usual_solver(model: str) -> str:
    """Returns the solver that suits a model or toy game, with every option written out."""
    return solvers.resolve(toys.make(model).solver if is_toy(model) else family(model).solver)


def family(model: str) -> Family:
    """Returns the family of a written form.

    Raises:
        UserError: If it is one that is fitted outright, and so plays no game.
    """
    made = families.make(model)
    if isinstance(made, Family):
        return made
    name = Spec.parse(model).name
    raise UserError(f"{name} is fitted outright: it plays no game that could converge.")


def blank(trial: Trial) -> Game:
    """Returns the game of a trial as it is before the first step."""
    model = trial.parts["model"]
    if is_toy(model):
        return toys.make(model).build()
    space, splits = source_of(trial)
    rng = Rng(trial.seed, trial.parts["device"])
    game = family(model).build(space, rng=rng)
    first = Batches(splits.train, rng=rng).next(min(_PREPARE, len(splits.train)))
    with torch.no_grad():
        game.prepare(first, rng=rng.stream("prepare"))
    return game


def looked_at(trial: Trial, most: int) -> Tensor:
    """Returns the real samples at which the field is looked at: the same for every model."""
    if is_toy(trial.parts["model"]):
        return toys.make(trial.parts["model"]).real
    _, splits = source_of(trial)
    return everything(splits.train, most).to(trial.parts["device"])


def held_out(trial: Trial, most: int) -> tuple[Tensor, Tensor]:
    """Returns validation samples in two halves."""
    if is_toy(trial.parts["model"]):
        real = toys.make(trial.parts["model"]).real
        return real, real
    _, splits = source_of(trial)
    x = everything(splits.validation, most).to(trial.parts["device"])
    return x[::2], x[1::2]


def state_of(game: Game) -> dict[str, Mapping[str, Tensor]]:
    """Returns a copy of all that the players hold."""
    return {
        name: {k: v.detach().clone() for k, v in player.state_dict().items()}
        for name, player in game.players.items()
    }


def put(game: Game, state: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Puts the players where ``state_of`` found them."""
    for name, player in game.players.items():
        player.load_state_dict(state[name])


def changed(trial: Trial, **parts: str) -> Trial:
    """Returns a trial with other parts."""
    return replace(trial, parts={**trial.parts, **parts})
