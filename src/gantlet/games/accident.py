"""The accidental attack: how much of a generator's update only fools the critic it is trained on.

A critic can be attacked: for a fake ``x = G(z)`` there is a small ``p`` that makes ``x + p`` look
real to it and to nothing else. The generator climbs the same critic, so its update ``u = G'(z) -
G(z)`` may be such an attack by accident, and not an improvement. Here the two are distinguished by
*fresh critics*: networks of other seeds, trained on disjoint real data against the same generator.
What is an improvement they see too; what attacks one critic they do not.

With ``D`` the critic just before the update, ``D_k`` the fresh ones, and ``gap`` the mean score of
real less that of fake samples,

    transfer of v  =  mean_k [ (D_k(x + v) - D_k(x)) / gap_k ]  /  [ (D(x + v) - D(x)) / gap ]
    accident share =  1 - transfer of u, cut off at 0 and 1

and two perturbations of the same lengths say what the scale means: the strongest attack on ``D``
(projected gradient ascent), and a step towards real samples, the oracle's, which optimal transport
assigns to the fakes.

The updates are those of the game and its solver, with the solver's memory, from one frozen place.
What each perturbation was worth is said besides by the change of ``log p``, where the density of
the data is known, or else of the energy distance to real samples.
"""

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.core.model import Adversarial, Decoder, Game, Model, Solver
from gantlet.games.attack import Ball, cosines, lengths, pgd, scores_of, shaped, slopes
from gantlet.games.fresh import FreshCritics
from gantlet.games.solvers import Optimizer
from gantlet.models.gan import energy_distance
from gantlet.stats.intervals import Variance, around, total

# ----------------------------------------------------------------------------
# Updates of the generator, from one frozen place.
# ----------------------------------------------------------------------------

States: TypeAlias = dict[str, dict[str, Tensor]]


def decoder_of(game: Adversarial) -> Decoder:
    """Returns the generator of a game as the model that makes samples from latents.

    Raises:
        UserError: If the model takes no latents.
    """
    model = game.model
    if not isinstance(model, Decoder):
        raise UserError("The accidental attack needs a generator of latents, as a GAN has.")
    return model


def generator_of(game: Adversarial) -> str:
    """Returns the name of the player that makes the samples.

    Raises:
        UserError: If no player shares its parameters with the model, or several do, or the model
            takes no latents.
    """
    own = {id(p) for p in decoder_of(game).parameters()}
    found = [k for k, m in game.players.items() if any(id(p) in own for p in m.parameters())]
    if len(found) != 1:
        raise UserError(f"One player must be the generator. Got {len(found)} of them.")
    return found[0]


def states_of(game: Game) -> States:
    """Returns a copy of the weights and buffers of each player, by its name."""
    return {
        name: {k: v.detach().clone() for k, v in player.state_dict().items()}
        for name, player in game.players.items()
    }


def restore(game: Game, states: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Sets the weights and buffers of each player to copies that ``states_of`` made."""
    for name, player in game.players.items():
        player.load_state_dict(states[name])


@final
@dataclass(frozen=True, slots=True, eq=False)
class Move:
    """An update of the generator, in the units of the measurement.

    While it is looked at, the game stands just before it: the critic is the one that the generator
    climbed.

    Attributes:
        x: Fakes of the batch that was trained on, shape ``(n, ...)``.
        u: Their displacements.
        held_x: Fakes of latents that were not.
        held_u: Their displacements.
        predicted: Displacements of the held-out fakes per unit of learning rate, to first order
            under gradient descent: the generator's kernel applied to the critic's gradients.
    """

    x: Tensor
    u: Tensor
    held_x: Tensor
    held_u: Tensor
    predicted: Tensor


Space: TypeAlias = Literal["parameters", "samples"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How the generator moves; the usual way is that of the game's own solver.

    The others hold the critic fixed and answer why an accidental attack may be less likely than a
    deliberate one: an attack makes tens of steps, on the same samples, free in every component.

    Attributes:
        steps: Updates of the generator against the frozen critic; None is one step of the game.
        same: Whether all of them see the same latents, or each new ones.
        space: What moves: the generator's parameters, or every sample by itself.
        rule: The optimizer of these updates; None is that of the game's solver.
    """

    steps: int | None = None
    same: bool = False
    space: Space = "parameters"
    rule: Optimizer | None = None


USUAL = Way()


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """The first time that the generator's loss was asked for: all that it depended on."""

    others: States
    batch: Tensor
    noise: Tensor


@final
class _Recorded(Adversarial):
    """A game that notes what the generator's loss was first asked for."""

    def __init__(self, inner: Adversarial, generator: str) -> None:
        self._inner = inner
        self._generator = generator
        self.first: _Call | None = None

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return self._inner.players

    @property
    @override
    def model(self) -> Model:
        return self._inner.model

    @override
    def loss(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        self._note(player, batch, rng)
        return self._inner.loss(player, batch, rng=rng)

    @override
    def coupled(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        self._note(player, batch, rng)
        return self._inner.coupled(player, batch, rng=rng)

    @override
    def validate(self, x: Tensor, *, rng: torch.Generator) -> Tensor:
        return self._inner.validate(x, rng=rng)

    @override
    def _scores(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._inner.critic(x, context)

    def _note(self, player: str, batch: Tensor, rng: torch.Generator) -> None:
        if player == self._generator and self.first is None:
            others = {k: v for k, v in states_of(self._inner).items() if k != player}
            self.first = _Call(others, batch, rng.get_state())


@final
class Moves:
    """Makes updates of a generator, each from the same place, and undoes them.

    Args:
        game: The game, whose players stand where updates begin; they do so again after each.
        solver: The solver that trains it.
        memory: What the solver remembers there (``Play.state_dict``); None is a fresh start.
        held_out: Latents that no update sees, shape ``(m, latent_dim)``.
        scale: Unit of the measurement: samples are divided by it; a number or one for each
            component.
    """

    def __init__(
        self,
        game: Adversarial,
        solver: Solver,
        *,
        held_out: Tensor,
        memory: dict[str, Any] | None = None,
        scale: float | Tensor = 1.0,
    ) -> None:
        self.game = game
        self.scale = scale
        self._solver = solver
        self._name = generator_of(game)
        self._recorded = _Recorded(game, self._name)
        self._play = solver.start(self._recorded)
        self._memory = deepcopy(self._play.state_dict() if memory is None else memory)
        self.held_out = held_out
        self._home = states_of(game)

    @property
    def memory(self) -> dict[str, Any]:
        """What the solver remembers where updates begin."""
        return self._memory

    @property
    def batches(self) -> int:
        """Number of batches of real samples that an update takes."""
        return self._play.batches

    @property
    def generator(self) -> nn.Module:
        """The generator as a module."""
        return self.game.players[self._name]

    def score(self, y: Tensor) -> Tensor:
        """Returns the critic's scores of samples in the units of the measurement."""
        return self.game.critic(y * self.scale)

    @torch.no_grad()
    def made(self, z: Tensor) -> Tensor:
        """Returns what the generator makes of latents, in the units of the measurement."""
        return (decoder_of(self.game).decode(z) / self.scale).detach()

    @contextmanager
    def move(
        self,
        batch: Tensor,
        rng: torch.Generator,
        way: Way = USUAL,
        *,
        length: Tensor | None = None,
    ) -> Generator[Move]:
        """Makes one update; inside, the game stands just before it.

        Args:
            batch: Real samples, as many as the solver's step takes.
            rng: Where the game's noise comes from.
            way: How the generator moves.
            length: Length of each displacement, shape ``(n,)``, for a way in sample space.

        Raises:
            UserError: If the solver never asks for the generator's loss, or is no optimizer where
                the way needs one.
        """
        self._recorded.first = None
        self._play.load_state_dict(self._memory)
        try:
            if way.steps is None:
                self._play.step(batch, rng=rng)
            else:
                self._step_alone(batch, rng, way, way.steps)
            after = states_of(self.game)[self._name]
            yield self._looked_at(after, way, length)
        finally:
            restore(self.game, self._home)

    def _looked_at(self, after: dict[str, Tensor], way: Way, length: Tensor | None) -> Move:
        call = self._recorded.first
        if call is None:
            raise UserError("The solver never asked for the generator's loss.")
        restore(self.game, {**self._home, **call.others})
        noise = torch.Generator(call.batch.device)
        noise.set_state(call.noise)
        z, predicted = kernel_prediction(
            self.game, self._name, call.batch, self.held_out, rng=noise
        )
        x, held = self.made(z), self.made(self.held_out)
        if way.space == "samples":
            moved, held_moved = (self._climbed(y, way, length) for y in (x, held))
        else:
            self.generator.load_state_dict(after)
            moved, held_moved = self.made(z), self.made(self.held_out)
            self.generator.load_state_dict(self._home[self._name])
        return Move(x, moved - x, held, held_moved - held, predicted / self.scale)

    def _step_alone(self, batch: Tensor, rng: torch.Generator, way: Way, steps: int) -> None:
        """Makes steps of the generator against the critic as it stands."""
        rule = self._solver if way.rule is None else way.rule
        if not isinstance(rule, Optimizer):
            raise UserError(
                "Updates against a frozen critic need an optimizer, such as adam or sgd. Got "
                f"{type(rule).__name__}."
            )
        tensors = [p for p in self.generator.parameters() if p.requires_grad]
        known = deepcopy(self._memory.get(self._name)) if way.rule is None else None
        memory = rule.remember(tensors) if known is None else known
        rate = _rate(rule, list(self.game.players), self._name)
        parts, state = batch.chunk(self.batches), rng.get_state()
        for i in range(steps):
            if way.same:
                rng.set_state(state)
            part = parts[0 if way.same else i % len(parts)]
            with torch.enable_grad():
                loss = self._recorded.loss(self._name, part, rng=rng)
                gradients = torch.autograd.grad(loss, tensors)
            rule.move(tensors, gradients, rate, memory)

    def _climbed(self, x: Tensor, way: Way, length: Tensor | None) -> Tensor:
        """Returns samples moved by given lengths along the critic's gradient, each by itself."""
        if length is None:
            raise UserError("Updates in sample space need their lengths.")
        size = length if len(length) == len(x) else length.median().expand(len(x))
        steps = way.steps or 1
        return pgd(
            self.score, x, Ball(radius=size), steps=steps, step=(2.5 if steps > 1 else 1.0) / steps
        ).x


def _rate(rule: Optimizer, players: Sequence[str], name: str) -> float:
    rates = rule.lr
    return rates[0] if len(rates) == 1 else rates[players.index(name)]


def kernel_prediction(
    game: Adversarial, generator: str, batch: Tensor, z: Tensor, *, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Returns the latents of a batch, and the displacement of other fakes to first order.

    ``u(z) = -J(z) grad L_G = mean_j J(z) J(z_j)^T g_j``, per unit of learning rate, with ``J`` the
    Jacobian of fakes in the generator's parameters and ``g_j`` what the loss says of fake ``j``
    (the critic's gradient): the generator's tangent kernel spreads the attack on its batch over
    all latents. The loss is differentiated in the parameters, which sums over ``j``, and carried
    to ``z`` by one product with the Jacobian there.

    Args:
        game: The game, at the place in question.
        generator: The name of the player that makes samples.
        batch: Real samples.
        z: Latents, shape ``(m, latent_dim)``.
        rng: Where the latents of the batch come from.

    Returns:
        The latents of the batch, shape ``(n, latent_dim)``, and displacements, shape
        ``(m, *space.shape)``.
    """
    model, seen = decoder_of(game), list[Tensor]()
    weights = [p for p in model.parameters() if p.requires_grad]
    hook = game.players[generator].register_forward_pre_hook(
        lambda _, given: seen.append(given[0].detach().flatten(1))
    )
    try:
        with torch.enable_grad():
            loss = game.loss(generator, batch, rng=rng)
            gradients = torch.autograd.grad(loss, weights, materialize_grads=True)
    finally:
        hook.remove()
    if not seen:
        raise UserError("The generator's loss never asked the generator for samples.")
    return seen[0], _forward_product(lambda: model.decode(z), weights, [-g for g in gradients])


def _forward_product(
    output: Callable[[], Tensor], weights: Sequence[Tensor], along: Sequence[Tensor]
) -> Tensor:
    """Returns the derivative of an output along a direction of its weights.

    ``u^T J`` is linear in ``u``, so that its derivative in ``u`` gives ``J`` times the direction:
    two reverse passes, which every network allows.
    """
    with torch.enable_grad():
        y = output()
        u = torch.zeros_like(y, requires_grad=True)
        pulled = torch.autograd.grad(y, weights, u, create_graph=True, materialize_grads=True)
        (found,) = torch.autograd.grad(pulled, u, along, materialize_grads=True)
    return found.detach()


# ----------------------------------------------------------------------------
# What updates did: to the critic, to fresh critics, and to the samples themselves.
# ----------------------------------------------------------------------------

DIRECTIONS = ("update", "attack", "oracle", "random")
"""What is compared, displacement by displacement of the same length: the generator's update, the
strongest attack on the critic, a step towards real samples, a random direction."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Reality:
    """What is known of the real data.

    Attributes:
        real: Real samples that neither the critic nor fresh ones have seen, shape ``(n, ...)``,
            in the units of the measurement.
        log_density: The log-density of samples in these units, shape ``(n,)``, or None.
    """

    real: Tensor
    log_density: Callable[[Tensor], Tensor] | None = None

    def worth(self, x: Tensor, moved: Tensor) -> float:
        """Returns the mean gain of log-density, or by how much the energy distance fell."""
        if self.log_density is not None:
            return float((self.log_density(moved) - self.log_density(x)).mean())
        return float(energy_distance(x, self.real) - energy_distance(moved, self.real))

    def nearest(self, x: Tensor) -> Tensor:
        """Returns the distance of each sample from the nearest real one, shape ``(n,)``."""
        return _apart(x, self.real).min(1).values.to(x.dtype)

    def matched(self, x: Tensor) -> Tensor:
        """Returns a real sample for each of ``x``, shape ``(n, ...)``, by optimal transport.

        The assignment has the least mean squared distance, so that small steps along it lessen
        the Wasserstein distance to the real samples. The nearest real sample would not do: where
        fakes lie among real samples, but too few here and too many there, it leads nowhere.
        """
        times = -(-len(x) // len(self.real))
        # As many real samples as fakes: of more, each would get one that is near by chance.
        real = torch.cat([self.real] * times)[: len(x)]
        cost = _apart(x, real).square().cpu().numpy()
        _, columns = linear_sum_assignment(cost)
        return real[torch.from_numpy(columns).to(real.device)]


def _apart(x: Tensor, y: Tensor) -> Tensor:
    return torch.cdist(x.flatten(1).double(), y.flatten(1).double())


@final
@dataclass(frozen=True, slots=True, eq=False)
class Accident:
    """What several updates did, by direction.

    Attributes:
        own: The critic's mean gain in units of its gap, shape ``(updates,)``, by direction.
        fresh: The same of each fresh critic, shape ``(critics, updates)``, by direction.
        worth: What it was worth (``Reality.worth``), shape ``(updates,)``, by direction.
        cosine: Mean cosine of update and critic's gradient on the batch, shape ``(updates,)``.
        held_cosine: The same on held-out latents.
        kernel: Mean cosine of update and kernel prediction on held-out latents.
        length: Median L2 length of the update on held-out latents.
        largest: Median largest component of it.
        nearest: Median L2 distance of a fake from the nearest real sample.
        gap: The critic's gap, in standard deviations of its scores.
        fresh_gap: Those of fresh critics, shape ``(critics,)``, on data that they have not seen.
    """

    own: Mapping[str, Tensor]
    fresh: Mapping[str, Tensor]
    worth: Mapping[str, Tensor]
    cosine: Tensor
    held_cosine: Tensor
    kernel: Tensor
    length: Tensor
    largest: Tensor
    nearest: Tensor
    gap: Tensor
    fresh_gap: Tensor

    def efficiency(self) -> Estimate:
        """The update's gain as a share of that of the strongest attack of the same lengths."""
        return ratio(self.own["update"], self.own["attack"], of="updates")

    def transfer(self, direction: str) -> Estimate:
        """The share of the critic's gain that fresh critics confirm."""
        return transfer(self.own[direction], self.fresh[direction])

    def share(self, direction: str = "update") -> Estimate:
        """The accident share: what fresh critics do not confirm, within 0 and 1."""
        found = self.transfer(direction)
        if found.value is None or found.low is None or found.high is None:
            return found
        value, low, high = (
            min(max(1 - e, 0.0), 1.0) for e in (found.value, found.high, found.low)
        )
        return Estimate(
            value=value,
            low=low,
            high=high,
            level=found.level,
            n=found.n,
            better="lower",
            method="1 less the transfer, cut off at 0 and 1; " + found.method,
            also={"plain": 1 - found.value},
        )

    def contrast(self, a: str, b: str) -> Estimate:
        """The transfer of direction ``a`` less that of ``b``, critics and updates in pairs."""
        return contrast(self.own, self.fresh, a, b)

    def calibrated(self) -> Estimate:
        """The accident share on a scale from the oracle's step (0) to the strongest attack (1).

        Where fresh critics gain more by the oracle's step than the critic itself, as they do where
        training has pushed that one about, this says more than ``share``. It is missing where the
        two ends are not significantly apart.
        """
        ends = self.contrast("oracle", "attack")
        if ends.value is None:
            return ends
        if ends.low is None or ends.low <= 0:
            return Estimate.missing("the oracle's step does not transfer better than the attack")
        names = ("oracle", "update", "attack")
        own = torch.stack([self.own[n] for n in names], dim=-1)
        fresh = torch.stack([self.fresh[n] for n in names], dim=-1)

        def place(f: Tensor, o: Tensor) -> float:
            oracle, update, attack = (f.mean((0, 1)) / o.mean(0)).tolist()
            return float((oracle - update) / (oracle - attack))

        return _crossed(place, fresh, own)


def accident(
    moves: Moves,
    batches: Iterator[Tensor],
    fresh: FreshCritics,
    reality: Reality,
    *,
    updates: int = 50,
    rng: torch.Generator,
    way: Way = USUAL,
    steps: int = 20,
    watch: Callable[[float], None] = lambda _: None,
) -> Accident:
    """Measures updates of a generator from one place.

    Args:
        moves: Makes them.
        batches: Real samples, as many at a time as the solver's step takes.
        fresh: Critics of other seeds and data, of samples as they are.
        reality: What is known of the real data.
        updates: How many.
        rng: Where noise and random directions come from.
        way: How the generator moves.
        steps: Gradients of the attack that updates are compared with.
        watch: Told the share of the updates that are done.
    """
    look = _Look(moves, fresh, reality, rng=rng, steps=steps)
    rows: list[dict[str, Tensor]] = []
    for i in range(updates):
        length = look.usual_length(next(batches)) if way.space == "samples" else None
        with moves.move(next(batches), rng, way, length=length) as one:
            rows.append(look.row(one))
        watch((i + 1) / updates)
    return look.gathered(rows)


@final
class _Look:
    """Looks at one update after another."""

    def __init__(
        self,
        moves: Moves,
        fresh: FreshCritics,
        reality: Reality,
        *,
        rng: torch.Generator,
        steps: int,
    ) -> None:
        self._moves = moves
        self._fresh = fresh
        self._reality = reality
        self._rng = rng
        self._steps = steps
        self._real = self._scored(reality.real)
        # Held-out fakes are the same before every update.
        x = moves.made(moves.held_out)
        self._fakes, self._targets = self._scored(x), reality.matched(x)
        self._nearest = reality.nearest(x).median()

    def _scored(self, y: Tensor) -> Tensor:
        return self._fresh.score(y * self._moves.scale)

    def usual_length(self, batch: Tensor) -> Tensor:
        """Returns the lengths of a usual update of held-out fakes."""
        with self._moves.move(batch, self._rng) as one:
            return lengths(one.held_u)

    def row(self, move: Move) -> dict[str, Tensor]:
        """Returns all numbers of one update; the game stands just before it."""
        score, x, u = self._moves.score, move.held_x, move.held_u
        before = scores_of(score, x)
        real = scores_of(score, self._reality.real)
        spread = torch.cat([real - real.mean(), before - before.mean()]).square().mean().sqrt()
        gap, fresh_gap = real.mean() - before.mean(), self._real.mean(1) - self._fakes.mean(1)
        found = {
            "cosine": cosines(move.u, slopes(score, move.x)[0]).mean(),
            "held_cosine": cosines(u, slopes(score, x)[0]).mean(),
            "kernel": cosines(u, move.predicted).mean(),
            "length": lengths(u).median(),
            "largest": lengths(u, math.inf).median(),
            "nearest": self._reality.nearest(x).median(),
            "gap": gap / spread,
            "fresh_gap": fresh_gap / self._fresh_spread(),
        }
        for name, p in self._directions(move).items():
            after, moved = scores_of(score, x + p), self._scored(x + p)
            found[f"own/{name}"] = (after - before).mean() / gap
            found[f"fresh/{name}"] = (moved - self._fakes).mean(1) / fresh_gap
            found[f"worth/{name}"] = torch.tensor(self._reality.worth(x, x + p))
        return {k: v.detach().double() for k, v in found.items()}

    def _fresh_spread(self) -> Tensor:
        parts = [s - s.mean(1, keepdim=True) for s in (self._real, self._fakes)]
        return torch.cat(parts, dim=1).square().mean(1).sqrt()

    def _directions(self, move: Move) -> dict[str, Tensor]:
        """Returns displacements of the held-out fakes, all as long as the update's."""
        x, size = move.held_x, lengths(move.held_u)
        way = self._targets - x
        # No further than to the real sample itself.
        share = torch.minimum(size / lengths(way).clamp(min=1e-12), torch.ones_like(size))
        noise = torch.randn(x.shape, generator=self._rng, device=x.device).to(x.dtype)
        attack = pgd(self._moves.score, x, Ball(radius=size), steps=self._steps).x - x
        return {
            "update": move.held_u,
            "attack": attack,
            "oracle": shaped(share, x) * way,
            "random": shaped(size, x) * noise / shaped(lengths(noise), x),
        }

    def gathered(self, rows: Sequence[Mapping[str, Tensor]]) -> Accident:
        """Returns the numbers of all updates, critics first where there are several."""
        table = {k: torch.stack([row[k] for row in rows], dim=-1) for k in rows[0]}

        def of(kind: str) -> dict[str, Tensor]:
            return {name: table[f"{kind}/{name}"] for name in DIRECTIONS}

        plain = ("cosine", "held_cosine", "kernel", "length", "largest", "nearest", "gap")
        return Accident(
            own=of("own"),
            fresh=of("fresh"),
            worth=of("worth"),
            **{name: table[name] for name in plain},
            fresh_gap=table["fresh_gap"].mean(1),
        )


# ----------------------------------------------------------------------------
# Ratios over critics and updates, with intervals.
# ----------------------------------------------------------------------------

# The critic's gain must be so many standard errors from zero to be divided by.
_SURE = 3.0


def transfer(own: Tensor, fresh: Tensor, *, of: str = "updates") -> Estimate:
    """Returns the share of a critic's gain that fresh critics confirm.

    The mean over critics and updates of the one, divided by the mean over updates of the other.
    The interval is by leaving out each critic and each update, whose variances add up.

    Args:
        own: The critic's gain in units of its gap, shape ``(updates,)``.
        fresh: Those of fresh critics, shape ``(critics, updates)``.
        of: What is counted as updates are, in the plural.
    """
    if why := _unsure(own):
        return Estimate.missing(why, better="higher")
    return _crossed(lambda f, o: float(f.mean() / o.mean()), fresh, own, of=of)


def contrast(own: Mapping[str, Tensor], fresh: Mapping[str, Tensor], a: str, b: str) -> Estimate:
    """Returns the transfer of one direction less that of another, with the interval of pairs."""
    for name in (a, b):
        if why := _unsure(own[name]):
            return Estimate.missing(f"{name}: {why}")
    both_fresh = torch.stack([fresh[a], fresh[b]], dim=-1)
    both = torch.stack([own[a], own[b]], dim=-1)

    def difference(f: Tensor, o: Tensor) -> float:
        rates = f.mean((0, 1)) / o.mean(0)
        return float(rates[0] - rates[1])

    return _crossed(difference, both_fresh, both)


def ratio(a: Tensor, b: Tensor, *, of: str) -> Estimate:
    """Returns the mean of ``a`` divided by that of ``b``, over the same units, by jackknife."""
    if why := _unsure(b):
        return Estimate.missing(why)
    value = float(a.mean() / b.mean())
    left = _left_out(lambda i: float(_but(a, i, 0).mean() / _but(b, i, 0).mean()), len(a))
    return around(value, left, n=len(a), method=f"ratio of means over {len(a)} {of}, jackknife")


def _unsure(own: Tensor) -> str:
    """Returns why a gain cannot be divided by, or nothing."""
    if not bool(own.isfinite().all()):
        return "a gain is not finite: the critic has no gap between real and fake samples"
    error = float(own.std() / math.sqrt(len(own)))
    if abs(float(own.mean())) >= _SURE * error and float(own.mean()) != 0:
        return ""
    return "the critic's gain is not significantly different from zero"


def _crossed(
    statistic: Callable[[Tensor, Tensor], float],
    fresh: Tensor,
    own: Tensor,
    *,
    of: str = "updates",
) -> Estimate:
    critics, updates = fresh.shape[:2]
    if not bool(fresh.isfinite().all()):
        return Estimate.missing("a fresh critic has no gap between real and fake samples")
    by_critic = _left_out(lambda k: statistic(_but(fresh, k, 0), own), critics)
    by_update = _left_out(lambda i: statistic(_but(fresh, i, 1), _but(own, i, 0)), updates)
    return around(
        statistic(fresh, own),
        total([by_critic, by_update]),
        n=critics,
        method=f"over {critics} fresh critics and {updates} {of}, jackknife over both",
    )


def _but(x: Tensor, i: int, dim: int) -> Tensor:
    """Returns all but entry ``i``."""
    return torch.cat([x.narrow(dim, 0, i), x.narrow(dim, i + 1, x.shape[dim] - i - 1)], dim=dim)


def _left_out(statistic: Callable[[int], float], n: int) -> Variance:
    """Returns the jackknife variance of a statistic.

    Source: Efron and Stein, 1981, https://doi.org/10.1214/aos/1176345462.
    """
    if n < 2:
        return Variance(math.nan)
    values = torch.tensor([statistic(i) for i in range(n)], dtype=torch.float64)
    spread = float((values - values.mean()).square().sum()) * (n - 1) / n
    return Variance.of_squares(spread, n - 1)
