"""Games of the user's own modules and loss functions: a GAN that Gantlet did not train.

``game`` takes the modules as they are. A named loss is that of ``gan``; a function of your own
names what it needs by its arguments::

    def critic_loss(critic, real, fake):
        return softplus(-critic(real)).mean() + softplus(critic(fake)).mean()

so that the same function can be evaluated on copies of the modules: spectra, solvers and
diagnoses move copies and leave yours where they are.
"""

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, TypeAlias, cast, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import UserError, first_line, unknown
from gantlet.core.model import Game
from gantlet.models.gan import AdversarialGame, SampleGame
from gantlet.models.generator import (
    Conversion,
    Latent,
    OwnModel,
    Prior,
    Range,
    called,
    evaluating,
    global_noise,
    output_shape,
    space_of_output,
    value_range,
)
from gantlet.models.losses import (
    LOSSES,
    PENALTIES,
    AdversarialLoss,
    AdversarialObjective,
    PenaltyName,
    Scored,
)
from gantlet.models.nets import Scaling

# ----------------------------------------------------------------------------
# Losses of the players: named ones, or functions of the user's own.
# ----------------------------------------------------------------------------


@final
class LeastSquares(AdversarialLoss):
    """Scores of real samples are drawn to 1, those of fakes to 0.

    Source: Mao et al., 2017, https://arxiv.org/abs/1611.04076, eq. 9.
    """

    @override
    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        return (real - 1).square().mean() / 2 + fake.square().mean() / 2

    @override
    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        return (fake - 1).square().mean() / 2


OWN_LOSSES: Mapping[str, AdversarialLoss] = {
    **{str(name): rule for name, rule in LOSSES.items()},
    "bce": LOSSES["ns"],
    "lsgan": LeastSquares(),
}
"""The losses that a game of one's own can name; ``bce`` is ``ns`` of a critic that returns
probabilities."""

# Probabilities nearer to 0 or 1 have no gradient, as binary cross-entropy in fp32 has none.
_EPS = 1e-7

LossFunction: TypeAlias = Callable[..., Tensor]
"""A loss of one player; the names of its arguments say what it is given."""

GENERATORS = ("generator", "G", "g", "netG", "gen", "G_ema", "g_ema")
CRITICS = ("critic", "discriminator", "D", "d", "netD", "disc")
"""By what names the players of a GAN go."""

_GIVEN = ("real", "fake", "z", "real_score", "fake_score", "rng")


@final
@dataclass(frozen=True, slots=True)
class GivenData:
    """Real samples as the user gave them, which copies of a game share.

    Attributes:
        value: The samples, or None.
    """

    value: Any = None

    def __deepcopy__(self, _: dict[int, Any]) -> "GivenData":
        """Returns itself: data are large, and never changed."""
        return self


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A game as the user gave it.

    Attributes:
        players: The modules, in order of play.
        losses: The name of a standard loss, or a function for each player.
        generator: Which player makes samples, or None.
        critic: Which player scores them, or None.
        latent: The input of the generator.
        range: The numbers of networks for the lowest and the highest level, or None.
        shape: The shape of one sample where it is not that of the generator's output, or None.
        penalty: Penalty on the critic's slope, added to its loss.
        gamma: Weight of the penalty.
        solver: How the user trains it, in written form.
        data: The real samples, as the user gave them.
    """

    players: Mapping[str, nn.Module]
    losses: str | Mapping[str, LossFunction]
    generator: str | None
    critic: str | None
    latent: Latent = field(default_factory=Latent)
    range: Range | None = None
    shape: tuple[int, ...] | None = None
    penalty: PenaltyName = "none"
    gamma: float = 0.0
    solver: str
    data: "GivenData"

    @property
    def objective(self) -> AdversarialObjective:
        """Loss and penalty, for named losses."""
        rule = OWN_LOSSES[self.losses] if isinstance(self.losses, str) else None
        return AdversarialObjective(penalty=self.penalty, gamma=self.gamma, rule=rule)

    def score(self, x: Tensor) -> Tensor:
        """Returns the critic's score of samples as networks see them, shape ``(n,)``.

        Raises:
            UserError: If it gives not one for each sample.
        """
        name = self.critic or ""
        y = called(self.players[name], [x], name, "Give data of the shape that it takes.")
        if y.numel() != len(x):
            raise UserError(
                f"{name} must return one score for each sample, shape ({len(x)},) or "
                f"({len(x)}, 1). Got shape {tuple(y.shape)}; give losses as functions."
            )
        y = y.reshape(-1)
        return torch.logit(y, eps=_EPS) if self.losses == "bce" else y

    def loss(self, player: str, batch: "Batch", *, coupled: bool) -> Tensor:
        """Returns the loss of a player, a scalar; ``coupled``, differentiable in all players."""
        if player not in self.players:
            raise unknown("player", player, self.players)
        with global_noise(batch.rng):
            if isinstance(self.losses, str):
                return self._named(player, batch, coupled=coupled)
            return self._function(player, batch, coupled=coupled)

    def _named(self, player: str, batch: "Batch", *, coupled: bool) -> Tensor:
        if player == self.critic:
            with torch.set_grad_enabled(coupled):
                fake = batch.fake
            return self.objective.critic(
                self.score, batch.real, fake, rng=batch.rng, coupled=coupled
            )
        return self.objective.generator(self.score, batch.real, batch.fake, coupled=coupled)

    def _function(self, player: str, batch: "Batch", *, coupled: bool) -> Tensor:
        losses = cast("Mapping[str, LossFunction]", self.losses)
        function, is_critic = losses[player], player == self.critic
        # What stands before the critic is no business of its own loss.
        with torch.set_grad_enabled(coupled or not is_critic):
            wanted = _arguments(function)
            if {"fake", "fake_score"} & set(wanted) and self.generator is not None:
                _ = batch.fake
        given = {name: self._argument(name, batch) for name in wanted}
        loss = function(**given)
        _check_scalar(loss, player)
        if is_critic and self.penalty != "none" and self.gamma:
            loss = loss + self._penalized(batch, coupled=coupled)
        return loss

    def _argument(self, name: str, batch: "Batch") -> Any:
        match name:
            case "real_score":
                return self.score(batch.real)
            case "fake_score":
                return self.score(batch.fake)
            case "real" | "fake" | "z" | "rng":
                return getattr(batch, name)
            case _:
                return self.players[name]

    def _penalized(self, batch: "Batch", *, coupled: bool) -> Tensor:
        with torch.set_grad_enabled(coupled):
            fake = batch.fake
        judge = Scored.along if coupled else Scored.by
        seen, made = judge(self.score, batch.real), judge(self.score, fake)
        return self.gamma * PENALTIES[self.penalty](self.score, seen, made, rng=batch.rng)


@final
class Batch:
    """Real samples as networks see them, and the latents and fakes of one loss.

    Latents are drawn first, and once.

    Args:
        real: Real samples.
        model: The generator, or None where the game has none.
        rng: Where latents and other noise come from.
    """

    def __init__(self, real: Tensor, model: OwnModel | None, rng: torch.Generator) -> None:
        self.real = real
        self.rng = rng
        self._model = model
        self._z = None if model is None else model.drawn(len(real), rng)
        self._fake: Tensor | None = None

    @property
    def z(self) -> Tensor:
        """The latents."""
        if self._z is None:
            raise UserError("A game without a generator has neither z nor fake.")
        return self._z

    @property
    def fake(self) -> Tensor:
        """What the generator makes of the latents; with a graph where that was asked for first."""
        if self._model is None:
            raise UserError("A game without a generator has neither z nor fake.")
        made: Tensor = self._model(self.z) if self._fake is None else self._fake
        self._fake = made
        return made


def _arguments(function: Callable[..., Any]) -> list[str]:
    return [
        name
        for name, p in inspect.signature(function).parameters.items()
        if p.default is inspect.Parameter.empty
        and p.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    ]


def _check_scalar(loss: object, player: str) -> None:
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.is_floating_point():
        got = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        hint = " Call .mean() at its end." if isinstance(loss, Tensor) else ""
        raise UserError(
            f"The loss of {player} must be a scalar tensor. Got "
            f"{'shape ' if isinstance(loss, Tensor) else ''}{got}.{hint}"
        )
    if loss.ndim:
        raise UserError(
            f"The loss of {player} must be a scalar tensor. Got shape {tuple(loss.shape)}. "
            "Call .squeeze() at its end."
        )


# ----------------------------------------------------------------------------
# The games.
# ----------------------------------------------------------------------------


@final
class PlayersGame(Game):
    """A game of the user's own that makes no samples.

    Args:
        parts: What it is made of.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return self.parts.players

    @override
    def loss(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        return self.parts.loss(player, Batch(batch, None, rng), coupled=False)

    @override
    def coupled(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        return self.parts.loss(player, Batch(batch, None, rng), coupled=True)


class OwnSampleGame(SampleGame):
    """A game of the user's own with a generator.

    Args:
        parts: What it is made of.
        space: The space of its samples.
    """

    def __init__(self, parts: Parts, space: Space) -> None:
        self.parts = parts
        net = parts.players[parts.generator or ""]
        shape = output_shape(net, parts.latent)
        self._model = OwnModel(
            net, parts.latent, Conversion(space=space, shape=shape, range=parts.range)
        )

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return self.parts.players

    @property
    @override
    def model(self) -> OwnModel:
        return self._model

    @property
    @override
    def _scaling(self) -> Scaling:
        return self._model.scaling

    @override
    def prepare(self, batch: Tensor, *, rng: torch.Generator) -> None:
        self._model.scaling.fit(batch)

    @override
    def _loss(self, player: str, batch: Tensor, rng: torch.Generator, *, coupled: bool) -> Tensor:
        real = self._model.conversion.seen(batch)
        return self.parts.loss(player, Batch(real, self._model, rng), coupled=coupled)


@final
class SampledGame(OwnSampleGame):
    """A game of the user's own with a generator and no critic of its samples."""


@final
class CriticGame(OwnSampleGame, AdversarialGame):
    """A generative adversarial network of the user's own."""

    @override
    def _scores(self, x: Tensor, context: Tensor | None) -> Tensor:
        with evaluating([self.players[self.parts.critic or ""]]):
            return self.parts.score(self._model.conversion.seen(x))


OwnGame: TypeAlias = PlayersGame | OwnSampleGame
"""A game of the user's own."""


def bound(own: OwnGame, space: Space | None = None, **changes: Any) -> OwnGame:
    """Returns a copy of a game, of copies of its modules, for samples of a space.

    Args:
        own: The game, which is left as it is.
        space: The space of the data, or None for that of its own samples.
        changes: Parts that are replaced, such as ``penalty``.

    Raises:
        UserError: If its networks do not fit such samples.
    """
    parts = replace(own.parts, players=copy.deepcopy(dict(own.players)), **changes)
    return _assembled(parts, space)


def _assembled(parts: Parts, space: Space | None = None) -> OwnGame:
    if parts.generator is None:
        return PlayersGame(parts)
    if space is None:
        net = parts.players[parts.generator]
        shape = parts.shape or output_shape(net, parts.latent)
        space = space_of_output(shape, parts.range)
    return (SampledGame if parts.critic is None else CriticGame)(parts, space)


@torch.no_grad()
def reinitialized(module: nn.Module, rng: torch.Generator) -> bool:
    """Draws the weights of a network anew by its layers' own rules; returns whether all could be.

    Where a layer has no such rule, nothing is changed.
    """
    layers = [m for m in module.modules() if next(m.parameters(recurse=False), None) is not None]
    if not all(callable(getattr(m, "reset_parameters", None)) for m in layers):
        return False
    with global_noise(rng):
        for layer in layers:
            cast("Any", layer).reset_parameters()
    return True


# ----------------------------------------------------------------------------
# Makes a game of what the user gives, and checks it once.
# ----------------------------------------------------------------------------

USUAL_SOLVER = "adam:lr=0.0002,beta1=0.5"
"""Adam as DCGAN has it (Radford et al., 2016, https://arxiv.org/abs/1511.06434, section 4)."""


def game(
    players: Mapping[str, nn.Module],
    *,
    losses: str | Mapping[str, LossFunction],
    data: Any = None,
    latent: int | Sequence[int] | None = None,
    distribution: Prior = "normal",
    range: Sequence[float] | None = None,  # noqa: A002  (what users call it)
    shape: Sequence[int] | None = None,
    penalty: PenaltyName = "none",
    gamma: float = 1.0,
    solver: str = USUAL_SOLVER,
) -> OwnGame:
    """Returns a game of your own modules and losses, for ``converge``, solvers and the rest.

    The modules are used as they are, with their weights and in their modes; what trains or moves
    a game works on copies.

    Args:
        players: The modules by name. One called ``generator`` (or ``G``, ``netG``) makes samples
            from latents; one called ``critic`` (or ``discriminator``, ``D``, ``netD``) scores
            them. These two play critic first, others in the order given.
        losses: The name of a standard loss: ``ns``, ``minimax``, ``hinge``, ``wgan``,
            ``relativistic``, ``lsgan`` of scores, or ``bce`` of probabilities. Or a function for
            each player, which is given what its arguments are called: a player by its name,
            ``real`` (a batch), ``z`` (latents), ``fake`` (what the generator makes of them),
            ``real_score``, ``fake_score`` (what the critic says), ``rng``.
        data: Real samples, as for ``evaluate``, or a data set by name.
        latent: Size or shape of one latent; None reads it off the generator's first layer.
        distribution: Of latents: ``normal``, or ``uniform`` on [-1, 1].
        range: The numbers that networks use for the lowest and highest level of images, such as
            ``(-1, 1)``; None where networks see samples as they are.
        shape: Shape of one image where the generator makes it flat.
        penalty: Gradient penalty that is added to the critic's loss, as in ``gan``.
        gamma: Its weight, ``gamma / 2 * E |grad D|^2``.
        solver: How you train it, in written form; what ``converge`` uses by default.

    Raises:
        UserError: If the parts do not fit together; the message says which.
    """
    checked = _players(players)
    generator, critic = _role(checked, GENERATORS), _role(checked, CRITICS)
    parts = Parts(
        players=_in_order(checked, critic, generator),
        losses=_losses(losses, checked, critic, generator),
        generator=generator,
        critic=critic,
        latent=Latent(shape=_latent(latent), prior=_choice("distribution", distribution, Prior)),
        range=value_range(range),
        shape=None if shape is None else tuple(shape),
        penalty=_choice("penalty", penalty, PenaltyName),
        gamma=float(gamma) if penalty != "none" else 0.0,
        solver=solver,
        data=GivenData(data),
    )
    made = _assembled(parts)
    _check(made)
    return made


def _players(players: object) -> dict[str, nn.Module]:
    if not isinstance(players, Mapping) or not players:
        raise UserError(
            'players must be modules by name, as {"generator": G, "critic": D}. '
            f"Got {type(players).__name__}."
        )
    for name, module in players.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise UserError(f"The name of a player must be a word, such as critic. Got {name!r}.")
        if inspect.isclass(module):
            raise UserError(f"{name} is the class {module.__name__}. Give an object of it.")
        if not isinstance(module, nn.Module):
            raise UserError(
                f"{name} must be a torch.nn.Module. Got {type(module).__name__}; wrap it in one."
            )
        if not any(p.requires_grad for p in module.parameters()):
            has_some = next(module.parameters(), None) is not None
            frozen = ", all of whose parameters are frozen" if has_some else ""
            raise UserError(
                f"{name} is a player without parameters{frozen}: it has nothing to choose. Leave "
                "it out, or call .requires_grad_()."
            )
    return cast("dict[str, nn.Module]", dict(players))


def _role(players: Mapping[str, nn.Module], names: Sequence[str]) -> str | None:
    found = [name for name in players if name in names]
    if len(found) > 1:
        raise UserError(f"{' and '.join(found)} are names of one player. Rename one.")
    return found[0] if found else None


def _in_order(
    players: dict[str, nn.Module], critic: str | None, generator: str | None
) -> dict[str, nn.Module]:
    if critic is None or generator is None:
        return players
    first = {name: players[name] for name in (critic, generator)}
    return first | {name: m for name, m in players.items() if name not in first}


def _losses(
    losses: Any, players: Mapping[str, nn.Module], critic: str | None, generator: str | None
) -> str | Mapping[str, LossFunction]:
    if isinstance(losses, str):
        if losses not in OWN_LOSSES:
            raise unknown("loss", losses, OWN_LOSSES)
        if critic is None or generator is None or len(players) != 2:
            raise UserError(
                f"losses={losses!r} is for two players called critic and generator. Got "
                f"{', '.join(players)}; give a function for each."
            )
        _check_end(players[critic], critic, losses)
        return losses
    if not isinstance(losses, Mapping):
        raise UserError(
            f"losses must be one of {', '.join(OWN_LOSSES)}, or a function for each player. Got "
            f"{type(losses).__name__}."
        )
    for name in losses:
        if name not in players:
            raise unknown("player in losses", str(name), players)
    if lacking := [name for name in players if name not in losses]:
        raise UserError(f"losses lacks a function for {' and '.join(lacking)}.")
    for name, function in losses.items():
        _check_function(name, function, players)
    return cast("dict[str, LossFunction]", {name: losses[name] for name in players})


def _check_end(critic: nn.Module, name: str, loss: str) -> None:
    """Refuses a critic of probabilities with a loss of scores."""
    layers = [m for m in critic.modules() if not list(m.children())]
    ends = bool(layers) and isinstance(layers[-1], nn.Sigmoid)
    if ends and loss != "bce":
        raise UserError(
            f"{name} ends in Sigmoid and returns probabilities, and the loss {loss} is of scores. "
            "Give losses='bce', or drop that layer."
        )


def _check_function(player: str, function: Any, players: Mapping[str, nn.Module]) -> None:
    if isinstance(function, (type, nn.Module)) or not callable(function):
        raise UserError(
            f"The loss of {player} must be a function of what its arguments name. Got "
            f"{type(function).__name__}."
        )
    known = (*players, *_GIVEN)
    try:
        wanted = _arguments(function)
    except ValueError as error:
        raise UserError(
            f"The loss of {player} is built in and does not tell its arguments. Wrap it in a "
            f"function: def loss({', '.join(players)}, real, z)."
        ) from error
    for name in wanted:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UserError(
                f"The loss of {player} has an argument {name!r} that nothing is called.{hint} "
                f"Known: {', '.join(known)}."
            )
    for where, module in captured(function):
        if any(module is p for p in players.values()):
            raise UserError(
                f"The loss of {player} uses {where} of its surroundings, which stays where it is "
                "when copies of the players move. Take it as an argument, by its name: "
                f"def loss({', '.join(players)}, real, z)."
            )


def captured(function: Callable[..., Any]) -> Iterator[tuple[str, object]]:
    """Yields what a function takes from its surroundings, by name; nothing of other objects."""
    try:
        found = inspect.getclosurevars(function)
    except TypeError:
        return
    yield from found.nonlocals.items()
    yield from found.globals.items()


def _latent(latent: object) -> tuple[int, ...] | None:
    if latent is None:
        return None
    sizes: tuple[Any, ...] = tuple(latent) if isinstance(latent, Sequence) else (latent,)
    if not sizes or any(type(s) is not int or s < 1 for s in sizes):
        raise UserError(f"latent must be a size or a shape, such as 64. Got {latent!r}.")
    return sizes


def _choice(what: str, value: Any, known: Any) -> Any:
    choices = known.__args__
    if value not in choices:
        raise unknown(what, str(value), choices)
    return value


@torch.enable_grad()  # wherever the game is made
def _check(own: OwnGame) -> None:
    """Evaluates every loss once on copies, where samples are at hand."""
    twin = bound(own, None if isinstance(own, PlayersGame) else own.model.space)
    batch = _trial_batch(twin)
    if batch is None:
        return
    _check_probabilities(twin, batch)
    parameters = {
        name: [p for p in m.parameters() if p.requires_grad] for name, m in twin.players.items()
    }
    for player in twin.players:
        rng = torch.Generator(batch.device).manual_seed(0)
        try:
            loss = twin.coupled(player, batch, rng=rng)
        except UserError:
            raise
        except Exception as error:  # a border: the user's loss and modules may raise anything
            raise UserError(
                f"The loss of {player} fails: {type(error).__name__}: {first_line(error)}."
            ) from error
        _check_scalar(loss, player)
        _check_gradients(twin, player, loss, parameters)


@torch.no_grad()
def _check_probabilities(own: OwnGame, batch: Tensor) -> None:
    """Refuses a critic of scores with a loss of probabilities."""
    if not isinstance(own, CriticGame) or own.parts.losses != "bce":
        return
    critic = own.parts.critic or ""
    y = called(own.players[critic], [own.model.conversion.seen(batch)], critic, "")
    if bool((y < 0).any()) or bool((y > 1).any()):
        raise UserError(
            f"The loss bce is of probabilities, and {critic} returns numbers from "
            f"{float(y.min()):.3g} to {float(y.max()):.3g}. Give losses='ns' for scores."
        )


def _trial_batch(own: OwnGame) -> Tensor | None:
    """Returns a few samples to evaluate losses on: fakes in the place of real ones."""
    if isinstance(own, PlayersGame):
        data = own.parts.data.value
        if data is None:
            return torch.zeros(1, 1, dtype=torch.float64)
        return data[:4] if isinstance(data, Tensor) else None
    rng = torch.Generator(next(own.model.parameters()).device).manual_seed(0)
    return own.model.sample(4, rng=rng)


def _check_gradients(
    own: OwnGame, player: str, loss: Tensor, parameters: Mapping[str, list[nn.Parameter]]
) -> None:
    """Refuses a loss that does not depend on its player, or a critic's that detaches fakes."""

    def depends(other: str) -> bool:
        if not loss.requires_grad:
            return False
        found = torch.autograd.grad(loss, parameters[other], retain_graph=True, allow_unused=True)
        # The stubs of torch leave out that unused inputs have none.
        slopes = cast("tuple[Tensor | None, ...]", found)
        return any(g is not None for g in slopes)

    if not depends(player):
        raise UserError(
            f"The loss of {player} does not depend on the parameters of {player}: a .detach(), "
            "torch.no_grad() or another module stands between."
        )
    generator = own.parts.generator
    if player == own.parts.critic and generator is not None and not depends(generator):
        raise UserError(
            f"The loss of {player} does not depend on {generator}, so that the game's Jacobian "
            "would lack a part: drop .detach() and torch.no_grad() there. Gantlet leaves out what "
            "a step does not need."
        )
