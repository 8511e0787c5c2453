"""Games of the user's own: from a Python file with weights, and as live modules."""

import copy
import inspect
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from hashlib import blake2b
from numbers import Number
from pathlib import Path
from types import NoneType, SimpleNamespace
from typing import Annotated, Any, TypeAlias, cast, final

import numpy as np
import torch
from torch import Tensor, nn

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.model import Family, FittedFamily, Game, Generative, Toy, refuse_context
from gantlet.core.rng import Rng
from gantlet.core.spec import Between, Spec, families, toys
from gantlet.features.user import file_text, find_object
from gantlet.features.weights import ASIDE, read_saved, sha256_of, some_of
from gantlet.models.generator import Prior
from gantlet.models.losses import PenaltyName
from gantlet.models.nets import seeded
from gantlet.models.own import (
    CRITICS,
    GENERATORS,
    USUAL_SOLVER,
    CriticGame,
    OwnGame,
    OwnSampleGame,
    PlayersGame,
    bound,
    captured,
    game,
)
from gantlet.run.store import load_tensors
from gantlet.run.trials import RunData

# ----------------------------------------------------------------------------
# Weights of players, from the files that loops save.
# ----------------------------------------------------------------------------

State: TypeAlias = Mapping[str, Tensor]

# So many keys are named in a message.
_NAMED = 3
# What loops append to the name of a network in a checkpoint.
_ENDINGS = ("_state_dict", "_state", "_dict", "_model", "_ema")


def load_weights(
    players: Mapping[str, nn.Module], files: Sequence[Path], *, needed: Sequence[str]
) -> None:
    """Gives players the weights in some files, in place.

    A file holds the ``state_dict()`` of one player, of all with their names before the keys, or a
    dictionary of several by name. Only tensors are read; nothing in a file is run.

    Args:
        players: The players by name.
        files: The files, of ``torch.save`` or safetensors.
        needed: The players that must have got weights.

    Raises:
        UserError: If a file fits no player; the message names missing and unexpected keys.
    """
    left = dict(players)
    for path in files:
        for name, state in _states(path, players):
            player = name if name is not None else _fitting(state, left, path)
            if player in left:
                _fill(left.pop(player), state, player, path)
    if lacking := [name for name in needed if name in left]:
        listed = " and ".join(map(str, files))
        raise UserError(
            f"{listed} has no weights of {' and '.join(lacking)}. Give their file too: "
            "weights=G.pt+D.pt."
        )


def _states(path: Path, players: Mapping[str, nn.Module]) -> Iterator[tuple[str | None, State]]:
    """Yields the tables of weights in a file, with the player where its name tells it."""
    found: Any = load_tensors(path) if path.suffix == ".safetensors" else _read(path)
    if _is_state(found):
        yield from _split(cast("State", found), players)
        return
    nested: dict[str, State] = {}
    if isinstance(found, Mapping):
        nested = {str(k): v for k, v in found.items() if _is_state(v)}
    if not nested:
        raise UserError(
            f"{path} holds no weights: a table of tensors is needed, or several by the names of "
            f"{', '.join(players)}. Got {type(found).__name__}."
        )
    if len(nested) == 1:
        yield from _split(next(iter(nested.values())), players)
        return
    for key, state in nested.items():
        player = _player_of(key, players)
        if player is not None:
            yield player, state
    if not any(_player_of(key, players) for key in nested):
        raise UserError(
            f"{path} holds weights called {', '.join(nested)}, and the players are "
            f"{', '.join(players)}. Save them under these names."
        )


def _read(path: Path) -> Any:
    sha256_of(path)  # a missing file has an error of its own
    return read_saved(path)


def _is_state(found: object) -> bool:
    return (
        isinstance(found, Mapping)
        and bool(found)
        and all(isinstance(v, Tensor) for v in found.values())
    )


def _split(state: State, players: Mapping[str, nn.Module]) -> Iterator[tuple[str | None, State]]:
    """Yields the parts of a table whose keys begin with names of players, or the whole."""
    state = _without(state, "module.")
    heads = {key.partition(".")[0] for key in state}
    if heads <= set(players) and not any(_fits(state, m) for m in players.values()):
        for name in heads:
            own = {k: v for k, v in state.items() if k.startswith(f"{name}.")}
            yield name, _without(own, f"{name}.")
        return
    yield None, state


def _without(state: State, prefix: str) -> State:
    """Returns a table without a prefix that all its keys have."""
    if not all(key.startswith(prefix) for key in state):
        return state
    return {key.removeprefix(prefix): value for key, value in state.items()}


def _player_of(key: str, players: Mapping[str, nn.Module]) -> str | None:
    """Returns the player that a key of a checkpoint names: itself, or by another name of it."""
    for ending in _ENDINGS:
        key = key.removesuffix(ending)
    for names in (GENERATORS, CRITICS):
        if key in names:
            return next((p for p in players if p in names), None)
    return key if key in players else None


def _fitting(state: State, players: Mapping[str, nn.Module], path: Path) -> str:
    """Returns the player whose weights a table holds, by names and shapes."""
    if not players:
        raise UserError(f"{path} is one file of weights too many.")
    exact = [name for name, module in players.items() if _fits(state, module)]
    if len(exact) > 1:
        raise UserError(
            f"{path} fits {' and '.join(exact)} alike. Save a dictionary by name: "
            f"torch.save({{{', '.join(f'{n!r}: ...' for n in exact)}}}, ...)."
        )
    if exact:
        return exact[0]
    return max(players, key=lambda name: len(_shapes(state) & _shapes(players[name].state_dict())))


def _shapes(state: State) -> set[tuple[str, tuple[int, ...]]]:
    return {(k, tuple(v.shape)) for k, v in state.items() if not k.endswith(ASIDE)}


def _fits(state: State, module: nn.Module) -> bool:
    return _shapes(state) == _shapes(module.state_dict())


def _fill(module: nn.Module, state: State, player: str, path: Path) -> None:
    state = _without(state, "module.")
    wanted = module.state_dict()
    lacks = [k for k in wanted if k not in state and not k.endswith(ASIDE)]
    extra = [k for k in state if k not in wanted]
    found = [f"it lacks {some_of(lacks, _NAMED)}"] if lacks else []
    found += [f"it also holds {some_of(extra, _NAMED)}"] if extra else []
    found += [
        f"{k} has shape {tuple(state[k].shape)} in place of {tuple(v.shape)}"
        for k, v in wanted.items()
        if k in state and state[k].shape != v.shape
    ][:_NAMED]
    if found:
        raise UserError(f"{path} does not fit {player}: {'; '.join(found)}.")
    module.load_state_dict(dict(state), strict=False)


# ----------------------------------------------------------------------------
# A game from a Python file, as a family that can be trained, diagnosed and compared.
# ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class OwnFamily:
    """A game of your own: modules and losses from a Python file, with weights from another.

    The function takes no argument and returns ``gantlet.game(...)``, or the modules by name,
    ``{"generator": G, "critic": D}``; then ``loss`` names their loss. The file is run.

    Source: your file.

    Attributes:
        path: ``file.py:function`` or ``package.module:function``.
        weights: File of weights, or several as G.pt+D.pt; none starts from what the function
            draws.
        loss: Loss of modules that come without: ns, minimax, hinge, wgan, relativistic, lsgan, or
            bce of probabilities.
        latent: Size or shape of a latent, as 64 or 100+1+1; none reads it off the generator.
        distribution: Of latents: normal, or uniform on [-1, 1].
        range: Numbers of the networks for the lowest and highest level, as -1+1; none where they
            see samples as they are.
        shape: Shape of one image where the generator makes it flat, as 1+28+28.
        penalty: Gradient penalty on top of the losses; none leaves them as they are.
        gamma: Its weight, ``gamma / 2 * E |grad D|^2``.
        sha256: Hash of files and settings, by which a changed file is another model; computed.
    """

    path: str
    weights: str | None = None
    loss: str | None = None
    latent: tuple[Annotated[int, Between(1)], ...] | None = None
    distribution: Prior = "normal"
    range: tuple[float, ...] | None = None
    shape: tuple[Annotated[int, Between(1)], ...] | None = None
    penalty: PenaltyName = "none"
    gamma: Annotated[float, Between(0)] = 1.0
    sha256: str | None = None

    def __post_init__(self) -> None:
        """Reads the files.

        Raises:
            UserError: If one is missing, or is not what it was.
        """
        now = self._fingerprint()
        if self.sha256 is not None and self.sha256 != now:
            raise UserError(
                f"{self.path} or its weights have changed: they were {self.sha256}, and are "
                f"{now}. Leave sha256= out to use them as they are."
            )
        object.__setattr__(self, "sha256", now)

    @property
    def solver(self) -> str:
        """What the game says; Adam as DCGAN has it where it says nothing."""
        return _solver_of(self.game())

    @property
    def ema(self) -> float:
        """No averaging: these are the weights of your own training."""
        return 0.0

    @property
    def files(self) -> list[Path]:
        """The files of weights."""
        if self.weights is None:
            return []
        whole = Path(self.weights).expanduser()
        parts = [self.weights] if whole.exists() else self.weights.split("+")
        return [Path(part).expanduser() for part in parts]

    def game(self, rng: Rng | None = None) -> Game:
        """Returns the game with its weights.

        Args:
            rng: Its stream "init" gives the weights that no file gives.

        Raises:
            UserError: If the function fails, returns something else, or the weights do not fit.
        """
        found = self.answer(rng)
        made = self._whole(found) if isinstance(found, Game) else self._assembled(found)
        if self.files:
            load_weights(made.players, self.files, needed=list(made.players))
        return made

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> Generative:
        """Returns the game for samples of ``space``, with its weights.

        Raises:
            UserError: If its networks do not fit such samples, or it makes none.
        """
        refuse_context("module", context_space)
        return placed(self.game(rng), space, rng, penalty=self.penalty, gamma=self.gamma)

    def generator(self, found: Any = None) -> nn.Module:
        """Returns the generator alone, with its weights.

        Args:
            found: What ``answer`` returned; None calls it.

        Raises:
            UserError: If there is none, or the weights do not fit.
        """
        found = self.answer() if found is None else found
        players = found.players if isinstance(found, Game) else found
        if isinstance(players, nn.Module):
            players = {"generator": players}
        if not isinstance(players, Mapping):
            raise self._refused(found)
        net = next((m for name, m in players.items() if name in GENERATORS), None)
        if net is None:
            raise UserError(f"{self.path} has no generator. It has: {', '.join(players)}.")
        if self.files:
            name = next(n for n in players if n in GENERATORS)
            load_weights(dict(players), self.files, needed=[name])
        return cast("nn.Module", net)

    def answer(self, rng: Rng | None = None) -> Any:
        """Returns what the function returns: a game, modules by name, or a network.

        Raises:
            UserError: If it fails.
        """
        _, found = find_object(self.path)
        if isinstance(found, nn.Module):
            return copy.deepcopy(found)
        try:
            with seeded((rng or Rng(0)).stream("init")):
                return found()
        except UserError:
            raise
        except Exception as error:  # a border: the user's function may raise anything
            raise UserError(
                f"{self.path}() raised {type(error).__name__}: {error}. A function without "
                "arguments is needed."
            ) from error

    def _whole(self, found: Game) -> Game:
        """Refuses settings beside those that a game has itself."""
        usual = {f.name: f.default for f in fields(self)}
        names = ("loss", "latent", "distribution", "range", "shape")
        if beside := [name for name in names if getattr(self, name) != usual[name]]:
            raise UserError(
                f"{self.path} returns gantlet.game(...), whose settings hold: leave out "
                f"{some_of(beside, _NAMED)} here and set it there, or return the modules by name."
            )
        return found

    def _assembled(self, found: Any) -> Game:
        if not isinstance(found, Mapping):
            raise self._refused(found)
        if self.loss is None:
            raise UserError(
                f"{self.path} returns modules without losses. Give loss=ns (or another), or "
                "return gantlet.game(..., losses=...)."
            )
        return game(
            cast("Mapping[str, nn.Module]", found),
            losses=self.loss,
            latent=self.latent,
            distribution=self.distribution,
            range=self.range,
            shape=self.shape,
        )

    def _refused(self, found: object) -> UserError:
        return UserError(
            f'{self.path} must return gantlet.game(...), or modules by name: {{"generator": G, '
            f'"critic": D}}. Got {type(found).__name__}.'
        )

    def _fingerprint(self) -> str:
        module, _ = find_object(self.path)
        text = "; ".join([file_text(module), *(sha256_of(path) for path in self.files)])
        return blake2b(text.encode(), digest_size=6).hexdigest()


def _solver_of(own: Game) -> str:
    return own.parts.solver if isinstance(own, OwnGame) else USUAL_SOLVER


def placed(
    own: Game, space: Space, rng: Rng, *, penalty: PenaltyName = "none", gamma: float = 0.0
) -> Generative:
    """Returns a copy of a game for samples of ``space``, on the device of ``rng``.

    Args:
        own: The game, which stays as it is.
        space: The space of the data.
        rng: Whose device it goes to.
        penalty: Penalty on the critic's slope; none leaves that of the game.
        gamma: Its weight.

    Raises:
        UserError: If its networks do not fit such samples, or it makes none.
    """
    if not isinstance(own, Generative):
        raise UserError(
            "This game has no generator, so that it makes no samples: gantlet converge diagnoses "
            "it as it is."
        )
    changes = {} if penalty == "none" else {"penalty": penalty, "gamma": gamma}
    if isinstance(own, OwnSampleGame):
        made = cast("Generative", bound(own, space, **changes))
    else:
        made = copy.deepcopy(own)
        if made.model.space != space:
            raise UserError(
                f"The data are {space.label}, and the game makes {made.model.space.label}."
            )
    for module in (*made.players.values(), made.model):
        module.to(rng.device)
    return made


# ----------------------------------------------------------------------------
# Live games, and what the written form of a model means within a run.
# ----------------------------------------------------------------------------

LIVE = "game"
"""The name of live games in written forms."""


def written(own: Game) -> str:
    """Returns a live game in written form, which names its weights, code and losses by a hash."""
    loss, penalty, gamma = "own", "none", 0.0
    if isinstance(own, OwnGame):
        loss = own.parts.losses if isinstance(own.parts.losses, str) else "own"
        penalty, gamma = own.parts.penalty, own.parts.gamma
    options = {"players": "+".join(own.players), "loss": loss}
    if isinstance(own, CriticGame):
        short = f"{gamma:g}"
        options |= {"penalty": penalty, "gamma": short if float(short) == gamma else str(gamma)}
    return str(Spec(LIVE, {**options, "sha256": content_of(own)}))


def content_of(own: Game) -> str:
    """Returns a short hash of the weights, networks and losses of a game."""
    digest = blake2b(digest_size=6)
    for name, module in own.players.items():
        digest.update(f"{name}={module!r};".encode())
        for key, value in module.state_dict().items():
            digest.update(f"{key}{tuple(value.shape)}{value.dtype}".encode())
            digest.update(_bytes_of(value))
    if isinstance(own, OwnGame):
        digest.update(repr(_told(own)).encode())
    return digest.hexdigest()


def _told(own: OwnGame) -> list[object]:
    """Returns all of a game but weights and data, as text tells it the same in every process."""
    parts, losses = own.parts, own.parts.losses
    code = losses if isinstance(losses, str) else [_code(f) for f in losses.values()]
    return [code, parts.latent, parts.range, parts.shape, parts.penalty, parts.gamma]


def _code(function: Callable[..., Any], seen: tuple[object, ...] = ()) -> str:
    """Returns the source of a function, and what it takes from outside as far as text tells it.

    Two losses of one source are two games where they weigh a term by different numbers.
    """
    inner: Callable[..., Any] = function.func if isinstance(function, partial) else function
    # A method looks at the object that it is of, and an object that can be called at itself.
    outside = dict(captured(inner)) | getattr(getattr(inner, "__self__", inner), "__dict__", {})
    if isinstance(function, partial):
        outside |= {str(i): given for i, given in enumerate(function.args)}
    for name, p in inspect.signature(function).parameters.items():
        outside |= {} if p.default is p.empty else {name: p.default}
    told = {name: _value(x, inner, (*seen, inner)) for name, x in outside.items()}
    return _source(inner) + "".join(f"; {k}={told[k]}" for k in sorted(told) if told[k])


def _value(value: object, within: Callable[..., Any], seen: tuple[object, ...]) -> str:
    """Returns a value as text that is the same in every process; "" of what has none."""
    if any(value is one for one in seen):
        return ""
    seen = (*seen, value)
    if isinstance(value, (Number, str, bytes, NoneType)):
        return repr(value)
    if isinstance(value, Tensor):
        return blake2b(_bytes_of(value.to_dense()), digest_size=6).hexdigest()
    if isinstance(value, np.ndarray):
        return "" if value.dtype.hasobject else blake2b(value.tobytes(), digest_size=6).hexdigest()
    if (parts := _parts(value)) is not None:
        return "".join(f"{k}:{_value(v, within, seen)}," for k, v in parts.items())
    is_near = inspect.isfunction(value) and value.__module__ == within.__module__
    return _code(cast("Any", value), seen) if is_near else ""


def _parts(value: object) -> Mapping[Any, object] | None:
    """Returns what a collection, or an object that holds settings, consists of; None of others."""
    if isinstance(value, Mapping):
        return cast("Mapping[Any, object]", value)
    if isinstance(value, (list, tuple)):
        return dict(enumerate(cast("Sequence[object]", value)))
    if isinstance(value, (Namespace, SimpleNamespace)):
        return vars(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in fields(value)}
    return None


def _bytes_of(x: Tensor) -> bytes:
    flat = x.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes()


def _source(function: object) -> str:
    try:
        return inspect.getsource(cast("Any", function))
    except (OSError, TypeError):
        inner = getattr(function, "__code__", None)
    if inner is not None:
        return str(inner.co_code.hex())
    return type(function).__name__ if isinstance(function, type) else _source(type(function))


@final
@dataclass(frozen=True, slots=True)
class LiveFamily:
    """A live game as a family.

    Attributes:
        own: The game; copies of it are trained.
        penalty: Penalty on the critic's slope; none leaves that of the game.
        gamma: Its weight.
    """

    own: Game
    penalty: PenaltyName = "none"
    gamma: float = 0.0

    @property
    def solver(self) -> str:
        """What the game says."""
        return _solver_of(self.own)

    @property
    def ema(self) -> float:
        """No averaging: these are the weights of your own training."""
        return 0.0

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> Generative:
        """Returns a copy of the game, for samples of ``space``.

        Raises:
            UserError: If its networks do not fit such samples.
        """
        refuse_context("a game", context_space)
        return placed(self.own, space, rng, penalty=self.penalty, gamma=self.gamma)


@final
@dataclass(frozen=True, slots=True)
class LiveToy:
    """A live game without samples, as a toy game: in double precision.

    Attributes:
        own: The game; copies of it are played.
    """

    own: Game

    @property
    def solver(self) -> str:
        """What the game says."""
        return self.own.parts.solver if isinstance(self.own, OwnGame) else "sgd:lr=0.1"

    @property
    def real(self) -> Tensor:
        """The data of the game, or one sample that nobody looks at."""
        data = self.own.parts.data.value if isinstance(self.own, OwnGame) else None
        if data is None:
            return torch.zeros(1, 1, dtype=torch.float64)
        return torch.as_tensor(data).double()

    def build(self) -> Game:
        """Returns a copy of the game, in double precision."""
        if isinstance(self.own, PlayersGame):
            made: Game = bound(self.own)
        else:
            made = copy.deepcopy(self.own)
        for module in made.players.values():
            module.double()
        return made


def is_own(model: str) -> bool:
    """Returns whether a written form is that of a game of the user's own."""
    return Spec.parse(model).name in {LIVE, "module"}


def loss_of(model: str) -> str:
    """Returns the named loss of a game in a Python file; "" of other models and own functions."""
    if Spec.parse(model).name != "module":
        return ""
    made = families.make(model)
    own = made.game() if isinstance(made, OwnFamily) else None
    return (
        own.parts.losses if isinstance(own, OwnGame) and isinstance(own.parts.losses, str) else ""
    )


def meaning(model: str, data: RunData) -> Family | Toy:
    """Returns what a written form means: a family, a toy game or a game of the user's own.

    Args:
        model: In written form.
        data: The run, which holds live games.

    Raises:
        UserError: If there is no such model, or it is fitted directly, and so plays no game.
    """
    found = data.made(model, lambda: _meaning(model, data))
    if isinstance(found, FittedFamily):
        name = Spec.parse(model).name
        raise UserError(f"{name} is fitted directly: it has no training that could converge.")
    return found


def _meaning(model: str, data: RunData) -> Family | FittedFamily | Toy:
    spec = Spec.parse(model)
    if spec.name == LIVE:
        return _live(spec, data)
    if spec.name in toys.names():
        return toys.make(model)
    made = families.make(model)
    if isinstance(made, OwnFamily):
        own = made.game()
        if not isinstance(own, Generative):
            return LiveToy(own)
    return made


def _live(spec: Spec, data: RunData) -> Family | Toy:
    own = data.live.get(spec.options.get("sha256", ""))
    if own is None:
        raise UserError(
            "This run is of a game that was given as an object. Call the function with it again, "
            "or write it down: module:path=my.py:build,weights=FILE."
        )
    if not isinstance(own, Generative):
        return LiveToy(own)
    penalty = cast("PenaltyName", spec.options.get("penalty", "none"))
    return LiveFamily(own, penalty, float(spec.options.get("gamma", 0)))
