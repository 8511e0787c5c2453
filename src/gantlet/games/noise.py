"""Gradient noise of the players of a game: how large a batch is large enough?

A gradient of a batch of ``B`` examples is the true one, ``G``, plus noise of covariance
``Sigma / B``. The noise scale ``tr(Sigma) / |G|^2`` is the batch at which both are of one size:
below it noise dominates a step, above it larger batches buy little (McCandlish et al., 2018,
https://arxiv.org/abs/1812.06162). In a game each player has one of its own, and so has the field
of all players together.

``Look`` measures the gradients of single examples, or of micro-batches where a loss has no
examples; ``Ledger`` sums over looks, numerator and denominator apart; ``noise_floor`` says how far
noise keeps a linear game from its equilibrium. What follows from the numbers is in
``gantlet.stats.noise_scale``.
"""

import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast, final

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]
from torch.overrides import TorchFunctionMode
from typing_extensions import override

from gantlet.core.data import Source
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.core.model import Game, Monitoring, Play
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.games.field import FixedLosses, own_parameters
from gantlet.stats.noise_scale import Moments, Parts, pooled, predicted_critical_batch

# ----------------------------------------------------------------------------
# The same noise for a batch and for each of its examples.
# ----------------------------------------------------------------------------

# What draws random numbers, as a function of torch or as a method that writes to its tensor.
_FACTORIES = frozenset(
    getattr(torch, name)
    for name in (
        *("randn", "rand", "randint", "randn_like", "rand_like", "randint_like", "normal"),
        *("bernoulli", "poisson", "multinomial", "randperm"),
    )
)
_IN_PLACE = frozenset(
    getattr(torch.Tensor, f"{name}_")
    for name in ("normal", "uniform", "exponential", "bernoulli", "random", "log_normal")
)


@final
class _Recording(TorchFunctionMode):
    """Keeps what is drawn inside of it, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[Tensor] = []

    @override
    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if func in _FACTORIES or func in _IN_PLACE:
            self.drawn.append(found.detach().clone())
        return found


@final
class _Replaying(TorchFunctionMode):
    """Gives what was drawn before in the place of new numbers.

    Args:
        drawn: What is given, in order.
    """

    def __init__(self, drawn: Sequence[Tensor]) -> None:
        super().__init__()
        self._left = iter(drawn)

    @override
    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in _FACTORIES:
            return next(self._left).clone()
        if func in _IN_PLACE:
            return args[0].copy_(next(self._left))
        return func(*args, **(kwargs or {}))


@final
class _LossOf(nn.Module):
    """The losses of a game as a module, whose parameters can be replaced.

    Args:
        game: The game.
    """

    def __init__(self, game: Game) -> None:
        super().__init__()
        self.players = nn.ModuleDict(game.players)
        self._game = (game,)

    @override
    def forward(self, player: str, batch: Tensor, rng: torch.Generator) -> Tensor:
        return self._game[0].loss(player, batch, rng=rng)


# ----------------------------------------------------------------------------
# Gradients of single examples, or of micro-batches.
# ----------------------------------------------------------------------------

Unit = Literal["example", "micro-batch"]
"""Whose gradients are compared: those of single examples, or of micro-batches."""

# Above so many parameters of a player, micro-batches are cheaper than examples.
EXACT = 50_000
# So many numbers are held at once.
_HELD = 2**24
# Examples whose gradients are taken at once.
_CHUNK = 128
# The gradient of a batch is the mean over its examples to this share of their length.
_TOLERANCE = 1e-3


@final
class Rows:
    """Gradients of one player, one row for each example or micro-batch.

    Args:
        rows: The gradients, shape ``(k, parameters)``.
        size: Examples in each.
    """

    def __init__(self, rows: Tensor, size: int) -> None:
        self.rows = rows
        self.size = size

    def moments(self, weights: Tensor | None = None) -> "Moments":
        """Returns what noise scales are made of.

        Args:
            weights: A factor for each parameter's square, shape ``(parameters,)``: lengths are
                ``sum_i w_i g_i^2``, as an optimiser that scales gradients by ``w`` sees them.
        """
        scaled = self.rows if weights is None else self.rows * weights.to(self.rows).sqrt()
        whole = scaled.sum(0, dtype=torch.float64)
        return Moments(
            size=self.size,
            squares=torch.linalg.vector_norm(scaled, dim=1).double().square().cpu(),
            dots=(scaled @ whole.to(scaled)).double().cpu(),
            total=float(whole.dot(whole)),
        )


@final
class Look:
    """Gradients of all players on one set of examples, all players under the same noise.

    An example of a critic is a pair of a real and a fake sample with its penalty, one of a
    generator is a latent (and a real sample, where its loss looks at one). Gradients of single
    examples come from ``torch.func.vmap``, or one by one where a loss cannot be so transformed;
    that their mean is the gradient of the whole batch is checked each time. At most 2^24 numbers
    are held: of more examples times parameters the first examples are compared, as ``n`` of
    ``Parts`` says.

    Args:
        game: The game; its players are read, and no buffer of theirs changes.
        batch: Real samples, shape ``(n, ...)``.
        rng: Draws the noise; one number is drawn from it.
        unit: Whether to compare examples or micro-batches; None: examples, where losses are means
            over them and no player has more than 50,000 parameters.
        groups: Number of micro-batches.
        largest: The most parameters of a player for which examples are compared where ``unit``
            is None; None for any number.

    Attributes:
        unit: Whose gradients were compared.
        reason: Why examples were not compared; "" where they were, or were not wanted.
        rows: The gradients, by player.

    Raises:
        UserError: If examples are asked for where a loss is no mean over them, or there are too
            few samples.
    """

    def __init__(
        self,
        game: Game,
        batch: Tensor,
        *,
        rng: torch.Generator,
        unit: Unit | None = None,
        groups: int = 8,
        largest: int | None = EXACT,
    ) -> None:
        self._game = game
        self._parameters = own_parameters(game)
        sizes = {name: sum(p.numel() for p in own) for name, own in self._parameters.items()}
        self.reason = "" if unit == "micro-batch" else _couples(game)
        if unit is None and largest is not None and max(sizes.values()) > largest:
            self.reason = self.reason or f"a player has more than {largest:,} parameters"
        self.unit: Unit = "micro-batch"
        self.rows = dict[str, Rows]()
        self._look = FixedLosses(batch, rng=rng)
        if unit != "micro-batch" and not self.reason:
            self._by_example(batch[: max(_HELD // max(sizes.values()), 4)])
        if unit == "example" and self.reason:
            raise UserError(
                f"There are no gradients of single examples: {self.reason}. Compare micro-batches."
            )
        if not self.rows:
            self._by_group(batch, groups)

    def moments(self, weights: Mapping[str, Tensor] | None = None) -> dict[str, Moments]:
        """Returns those of each player, and of all ``together`` where there are several.

        Args:
            weights: A factor for each parameter of each player, as ``Rows.moments`` takes them.
        """
        found = {
            name: rows.moments(None if weights is None else weights[name])
            for name, rows in self.rows.items()
        }
        if len(found) > 1:
            first, *others = found.values()
            found[TOGETHER] = sum(others, first)
        return found

    def _by_example(self, batch: Tensor) -> None:
        if len(batch) < 3:
            raise UserError(f"Gradient noise needs at least 3 examples. Got {len(batch)}.")
        rows = dict[str, Rows]()
        for player in self._parameters:
            found = self._examples(player, batch)
            if found is None:
                self.reason = f"the loss of {player} is not a mean over examples"
                return
            rows[player] = Rows(found, 1)
        self.rows, self.unit = rows, "example"

    def _examples(self, player: str, batch: Tensor) -> Tensor | None:
        """Returns the gradient of each example, or None where the loss is no mean over them."""
        with _buffers_kept(self._game):
            recording = _Recording()
            with recording:
                loss = self._game.loss(player, batch, rng=self._look.rng())
            whole = _gradient(loss, self._parameters[player])
            drawn = recording.drawn
            axes = [_axis(d, len(batch)) for d in drawn]
            rows: Tensor | None
            try:
                rows = self._transformed(player, batch, drawn, axes)
            except (RuntimeError, NotImplementedError, StopIteration, TypeError, ValueError):
                # A border: what vmap cannot transform, it says in one of these.
                rows = self._one_by_one(player, batch, drawn, axes)
        if rows is None:
            return None
        length = torch.linalg.vector_norm(rows) / len(rows) ** 0.5
        # Not so where anything is no number.
        return rows if bool((rows.mean(0) - whole).norm() <= _TOLERANCE * length) else None

    def _transformed(
        self, player: str, batch: Tensor, drawn: Sequence[Tensor], axes: Sequence[int | None]
    ) -> Tensor:
        module = _LossOf(self._game)
        head = f"players.{player}."
        own = {k: p for k, p in module.named_parameters() if k.startswith(head)}
        own = {k: p for k, p in own.items() if p.requires_grad}

        def loss(values: Mapping[str, Tensor], x: Tensor, noise: Sequence[Tensor]) -> Tensor:
            given = [n if a is None else n.unsqueeze(a) for n, a in zip(noise, axes, strict=True)]
            with _Replaying(given):
                found: Tensor = torch.func.functional_call(
                    module, dict(values), (player, x[None], self._look.rng())
                )
            return found

        gradient = torch.func.grad(loss)
        parts = []
        for i in range(0, len(batch), _CHUNK):
            noise = [
                d if a is None else d.narrow(a, i, min(_CHUNK, len(batch) - i))
                for d, a in zip(drawn, axes, strict=True)
            ]
            run = torch.func.vmap(gradient, in_dims=(None, 0, list(axes)))
            # The fast kernels of attention have no rule for many examples at once.
            with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
                found = run(own, batch[i : i + _CHUNK], noise)
            parts.append(torch.cat([g.flatten(1) for g in found.values()], dim=1))
        return torch.cat(parts)

    def _one_by_one(
        self, player: str, batch: Tensor, drawn: Sequence[Tensor], axes: Sequence[int | None]
    ) -> Tensor | None:
        parts = []
        for i in range(len(batch)):
            noise = [
                d if a is None else d.narrow(a, i, 1) for d, a in zip(drawn, axes, strict=True)
            ]
            try:
                with _Replaying(noise):
                    loss = self._game.loss(player, batch[i : i + 1], rng=self._look.rng())
                parts.append(_gradient(loss, self._parameters[player]))
            except (RuntimeError, ValueError, StopIteration, UserError):
                return None  # a loss of two samples and more, or noise of another shape
        return torch.stack(parts)

    def _by_group(self, batch: Tensor, groups: int) -> None:
        size = len(batch) // groups
        if groups < 3 or size < 1:
            raise UserError(
                f"Gradient noise needs at least 3 micro-batches. Got {len(batch)} examples for "
                f"{groups}."
            )
        rng = self._look.rng()
        seeds = [
            int(torch.randint(2**62, (), generator=rng, device=rng.device)) for _ in range(groups)
        ]
        for player, own in self._parameters.items():
            rows = []
            with _buffers_kept(self._game):
                for k, seed in enumerate(seeds):
                    noise = torch.Generator(rng.device).manual_seed(seed)
                    part = batch[k * size : (k + 1) * size]
                    loss = self._game.loss(player, part, rng=noise)
                    rows.append(_gradient(loss, own))
            self.rows[player] = Rows(torch.stack(rows), size)


def coupling(game: Game, batch: Tensor, *, rng: torch.Generator) -> str:
    """Returns why the examples of a batch have no gradients of their own, or "" if they have.

    Args:
        game: The game.
        batch: A few real samples.
        rng: Draws the noise.

    Raises:
        UserError: If there are fewer than 8 samples.
    """
    return Look(game, batch, rng=rng, largest=None).reason


TOGETHER = "together"
"""The name of all players together."""


def _couples(game: Game) -> str:
    """Returns why examples of a game share more than its parameters, or ""."""
    for name, player in game.players.items():
        for part, module in player.named_modules():
            if isinstance(module, _BatchNorm) and (module.training or not _tracks(module)):
                return f"{name}.{part} is batch normalisation, which mixes the examples of a batch"
    return ""


def _tracks(module: nn.Module) -> bool:
    return getattr(module, "running_mean", None) is not None


def _axis(drawn: Tensor, n: int) -> int | None:
    """Returns along which axis there is one number for each example; None where all share them."""
    return next((i for i, size in enumerate(drawn.shape) if size == n), None)


def _gradient(loss: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Returns the gradient as one vector; 0 for a parameter that the loss does not use."""
    return _flat(torch.autograd.grad(loss, parameters, materialize_grads=True))


def _flat(gradients: Sequence[Tensor]) -> Tensor:
    return torch.cat([g.detach().reshape(-1) for g in gradients])


@contextmanager
def _buffers_kept(game: Game) -> Generator[None]:
    """Puts buffers, such as running means of networks, back to what they were."""
    inside = {m: None for player in game.players.values() for m in player.modules()}
    kept = [(m, k, b.clone()) for m in inside for k, b in m.named_buffers(recurse=False)]
    try:
        yield
    finally:
        for module, name, buffer in kept:
            present: Tensor = getattr(module, name)
            present.copy_(buffer)


# ----------------------------------------------------------------------------
# What an optimiser that scales gradients sees.
# ----------------------------------------------------------------------------


def adam_weights(game: Game, play: Play) -> dict[str, Tensor] | None:
    """Returns the factor by which Adam scales each parameter's gradient now, by player.

    That is ``1 / (sqrt(v) + eps)`` for the second moment ``v`` as Adam keeps it: the correction
    for its start is one factor for all parameters of a player, which no noise scale of a player
    depends on, nor that of all together where all players have made as many steps. In coordinates
    in which Adam descends most steeply, squared lengths of gradients have these weights. None
    where the solver remembers no second moments, or has not moved.

    Source: Kingma and Ba, 2015, https://arxiv.org/abs/1412.6980, algorithm 1.

    Args:
        game: The game.
        play: Its solver at work.
    """
    memory = play.state_dict()
    sizes = {n: sum(p.numel() for p in own) for n, own in own_parameters(game).items()}
    for inside in (memory, *(_mapping(m) for m in memory.values())):
        for of in (_by_player(inside, sizes), _of_all(inside, sizes)):
            if of is not None:
                return {name: 1 / (v.sqrt() + _EPS) for name, v in of.items()}
    return None


_EPS = 1e-8


def _mapping(found: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", found) if isinstance(found, Mapping) else {}


def _by_player(memory: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, Tensor] | None:
    """Returns the second moments of a solver that keeps those of each player apart."""
    found = {name: _second_moment(_mapping(memory.get(name))) for name in sizes}
    kept = {k: v for k, v in found.items() if v is not None and v.numel() == sizes[k]}
    return kept if len(kept) == len(sizes) else None


def _of_all(memory: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, Tensor] | None:
    """Returns the second moments of a solver that keeps those of all players in one vector."""
    second = _second_moment(memory)
    if second is None or second.numel() != sum(sizes.values()):
        return None
    return dict(zip(sizes, torch.split(second, list(sizes.values())), strict=True))


def _second_moment(memory: Mapping[str, Any]) -> Tensor | None:
    """Returns the second moment in what Adam remembers, flat, or None before its first step."""
    if not {"second", "steps"} <= set(memory) or not float(memory["steps"]):
        return None
    return _flat(memory["second"])


# ----------------------------------------------------------------------------
# Noise scales over a training.
# ----------------------------------------------------------------------------

Metric = Literal["plain", "adam"]
"""In what coordinates gradients are measured: those of the parameters, or those of Adam."""


@final
@dataclass(frozen=True, slots=True)
class NoiseRecord:
    """What one look found.

    Attributes:
        step: After how many steps.
        unit: Whose gradients were compared.
        parts: Numerator and denominator, by coordinates and player.
    """

    step: int
    unit: Unit
    parts: Mapping[Metric, Mapping[str, Parts]]


def look_at(
    game: Game,
    play: Play | None,
    batch: Tensor,
    *,
    step: int,
    rng: torch.Generator,
    unit: Unit | None = None,
    groups: int = 8,
) -> NoiseRecord:
    """Returns the noise of all players now, in the coordinates of parameters and, with it, Adam.

    Args:
        game: The game.
        play: Its solver at work, or None.
        batch: Real samples.
        step: After how many steps this is.
        rng: Draws the noise.
        unit: Whether to compare examples or micro-batches, as for ``Look``.
        groups: Number of micro-batches.

    Raises:
        UserError: If there are too few samples.
    """
    look = Look(game, batch, rng=rng, unit=unit, groups=groups)
    found: dict[Metric, Mapping[str, Parts]] = {"plain": _all_parts(look.moments())}
    weights = None if play is None else adam_weights(game, play)
    if weights is not None:
        found["adam"] = _all_parts(look.moments(weights))
    return NoiseRecord(step, look.unit, found)


def _all_parts(moments: Mapping[str, Moments]) -> dict[str, Parts]:
    return {name: m.parts() for name, m in moments.items()}


@final
class Ledger:
    """The looks at a training, summed numerator and denominator apart.

    Attributes:
        looks: The looks, in order of steps.
    """

    def __init__(self) -> None:
        self.looks: list[NoiseRecord] = []

    def players(self, metric: Metric) -> list[str]:
        """Returns who was seen in these coordinates, ``together`` included."""
        return list(next((s.parts[metric] for s in self.looks if metric in s.parts), {}))

    def parts(self, player: str, metric: Metric) -> list[Parts]:
        """Returns the numbers of a player in all looks."""
        return [s.parts[metric][player] for s in self.looks if metric in s.parts]

    def scale(self, player: str, metric: Metric) -> Estimate:
        """Returns the noise scale of a player over all looks."""
        found = self.parts(player, metric)
        if not found:
            return Estimate.missing("no look at gradients of single batches", unit="examples")
        return pooled(found).scale()

    def windows(self, player: str, metric: Metric, count: int) -> list[tuple[int, Parts]]:
        """Returns the numbers of a player in equally many looks at a time, with the last step."""
        steps = [s.step for s in self.looks if metric in s.parts]
        found = self.parts(player, metric)
        each = max(math.ceil(len(found) / count), 1)
        return [
            (steps[min(i + each, len(found)) - 1], pooled(found[i : i + each]))
            for i in range(0, len(found), each)
        ]

    def state_dict(self) -> dict[str, Any]:
        """Returns all looks as plain values."""
        return {"looks": [_plain(seen) for seen in self.looks]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what ``state_dict`` returned."""
        self.looks = [_seen(plain) for plain in state["looks"]]


def _plain(seen: NoiseRecord) -> dict[str, Any]:
    parts = {
        metric: {name: [p.trace, p.square, *p.covariance, p.df, p.n] for name, p in of.items()}
        for metric, of in seen.parts.items()
    }
    return {"step": seen.step, "unit": seen.unit, "parts": parts}


def _seen(plain: Mapping[str, Any]) -> NoiseRecord:
    def one(numbers: Sequence[float]) -> Parts:
        trace, square, a, b, c, df, n = numbers
        return Parts(trace, square, (a, b, c), df, int(n))

    parts: dict[Metric, Mapping[str, Parts]] = {
        metric: {name: one(numbers) for name, numbers in of.items()}
        for metric, of in plain["parts"].items()
    }
    return NoiseRecord(int(plain["step"]), plain["unit"], parts)


# ----------------------------------------------------------------------------
# The noise of a training as it goes along.
# ----------------------------------------------------------------------------

# Parts into which a training is divided for its curve.
_WINDOWS = 12
# A micro-batch is at least so many examples, where a batch has as many.
_FEWEST = 4
# What a micro-batch costs in steps where calls count for more than examples, gradients and their
# products: at most 1.35 as measured (benchmarks/noise.py).
_CALL = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class NoiseMonitor:
    """Gradient noise scale of each player during training, from micro-batches.

    A look takes the gradients of eight micro-batches of a quarter of the batch each, on training
    samples drawn for it, and costs at most as much as twelve steps.

    Source: McCandlish et al., 2018, https://arxiv.org/abs/1812.06162, appendix A.1.

    Attributes:
        share: Largest share of the cost of training for the looks.
        groups: Number of micro-batches in a look.
    """

    share: Annotated[float, Between(0, 1, below=True, above=True)] = 0.02
    groups: Annotated[int, Between(3, 1024)] = 8

    def start(self, game: Game, train: Source, *, batch: int, rng: Rng) -> "NoiseMonitoring":
        """Returns the monitor, ready to look at a training."""
        return NoiseMonitoring(game, train, batch=batch, rng=rng, groups=self.groups)


@final
class NoiseMonitoring(Monitoring):
    """The noise of all players of one training.

    Args:
        game: The game in training.
        train: The training samples.
        batch: Batch size of training.
        rng: Draws samples and noise, anew for each step that is looked at.
        groups: Micro-batches in a look.
        size: Examples in each micro-batch; by default a quarter of the batch.
    """

    def __init__(
        self,
        game: Game,
        train: Source,
        *,
        batch: int,
        rng: Rng,
        groups: int,
        size: int | None = None,
    ) -> None:
        self._game, self._train, self._rng = game, train, rng
        self._batch, self._groups = batch, groups
        self._size = max(batch // 4, min(_FEWEST, batch)) if size is None else size
        self.ledger = Ledger()
        self._told = 0

    @property
    @override
    def cost(self) -> float:
        return self._groups * max(self._size / self._batch, _CALL)

    @override
    def look(self, step: int, play: Play) -> None:
        stream = self._rng.stream(f"monitor/noise/{step}")
        n = self._groups * self._size
        index = torch.randint(len(self._train), (n,), generator=stream, device=stream.device)
        batch = self._train.take(index.cpu()).to(self._rng.device)
        seen = look_at(
            self._game,
            play,
            batch,
            step=step,
            rng=stream,
            unit="micro-batch",
            groups=self._groups,
        )
        self.ledger.looks.append(seen)

    @override
    def point(self) -> Mapping[str, float | None]:
        new, self._told = self.ledger.looks[self._told :], len(self.ledger.looks)
        found: dict[str, float | None] = {}
        for metric in METRICS:
            for player in self.ledger.players(metric):
                parts = [s.parts[metric][player] for s in new if metric in s.parts]
                value = pooled(parts).scale().value if parts else None
                found[score_name(player, metric)] = value
        return found

    @override
    def scores(self) -> Mapping[str, Estimate]:
        return scores_of(self.ledger, self._batch, rng=self._rng.stream("monitor/noise/draws"))

    @override
    def charts(self) -> list[Mapping[str, Any]]:
        return [chart for m in METRICS if (chart := chart_of(self.ledger, m)) is not None]

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"ledger": self.ledger.state_dict(), "told": self._told}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.ledger.load_state_dict(state["ledger"])
        self._told = state["told"]


METRICS: tuple[Metric, ...] = ("plain", "adam")
"""The coordinates in which noise is measured."""


def score_name(player: str, metric: Metric, what: str = "noise scale") -> str:
    """Returns the name of a number of a player.

    Example:
        >>> score_name("critic", "plain"), score_name("critic", "adam", "critical batch")
        ('noise scale (critic)', 'critical batch (critic, Adam)')
    """
    return f"{what} ({player}{', Adam' if metric == 'adam' else ''})"


def scores_of(ledger: Ledger, batch: int, *, rng: torch.Generator) -> dict[str, Estimate]:
    """Returns noise scales and critical batches of all players, by name.

    Args:
        ledger: The looks at a training.
        batch: Batch size of that training.
        rng: For the draws of intervals.
    """
    found: dict[str, Estimate] = {}
    for metric in METRICS:
        for player in ledger.players(metric):
            windows = [p for _, p in ledger.windows(player, metric, _WINDOWS)]
            found[score_name(player, metric)] = ledger.scale(player, metric)
            critical = predicted_critical_batch(windows, batch, rng=rng)
            found[score_name(player, metric, "critical batch")] = critical
    if not found:
        reason = "no look fits into the share of the cost: train longer, or give a larger share"
        found["noise scale"] = Estimate.missing(reason, unit="examples")
    return found


def chart_of(ledger: Ledger, metric: Metric) -> dict[str, Any] | None:
    """Returns the noise scales of all players over training, or None without a look."""
    series = []
    for player in ledger.players(metric):
        found = [(s, p.scale()) for s, p in ledger.windows(player, metric, _WINDOWS)]
        bounded = [(s, e) for s, e in found if e.low is not None]
        series.append(
            {
                "name": player,
                "x": [float(s) for s, _ in bounded],
                "y": [e.value for _, e in bounded],
                "low": [e.low for _, e in bounded],
                "high": [e.high for _, e in bounded],
            }
        )
    if not any(one["x"] for one in series):
        return None
    where = ", in the coordinates of Adam" if metric == "adam" else ""
    return {
        "title": f"Gradient noise scale{where}",
        "x_label": "step",
        "y_label": "noise scale in examples",
        "log_y": True,
        "note": "tr(Σ) / |G|² over parts of the training, with 95 % intervals. Parts in which the "
        "gradient cannot be distinguished from 0 are left out.",
        "series": [one for one in series if one["x"]],
    }


# ----------------------------------------------------------------------------
# How far noise keeps players from an equilibrium.
# ----------------------------------------------------------------------------


def noise_floor(jacobian: Tensor, covariance: Tensor, *, step: float, batch: float = 1) -> Tensor:
    """Returns the covariance of the players around an equilibrium, shape ``(n, n)``.

    Of simultaneous descent ``z' = z + h (J z + noise)`` it solves
    ``P = (I + h J) P (I + h J)^T + h^2 Sigma / B``. Where a penalty damps a rotation,
    ``tr P`` is about ``h tr(Sigma) / (B gamma)``: without one, no batch is large enough.

    Source: the discrete Lyapunov equation; of descent with noise, Mandt et al., 2017,
    https://arxiv.org/abs/1704.04289, eq. 11.

    Args:
        jacobian: ``J`` of the velocity at the equilibrium, shape ``(n, n)``.
        covariance: ``Sigma``, that of the gradient of one example.
        step: ``h``.
        batch: ``B``.

    Raises:
        UserError: If a mode does not decay, so that no noise is small enough.

    Example:
        >>> J = torch.tensor([[0.0, -0.5], [0.5, -0.3]])
        >>> round(float(noise_floor(J, torch.eye(2), step=0.05).trace()), 4)
        0.3791
    """
    from scipy.linalg import solve_discrete_lyapunov

    size = len(jacobian)
    update = torch.eye(size, dtype=torch.float64) + step * jacobian.double()
    growth = float(torch.linalg.eigvals(update).abs().max())
    if growth >= 1:
        raise UserError(
            f"A mode grows by {growth:.6g} in a step, so that there is no noise floor at any "
            "batch. A penalty such as R1, or a smaller step, is needed first."
        )
    noise = step**2 / batch * covariance.double()
    return torch.as_tensor(solve_discrete_lyapunov(update.numpy(), noise.numpy()))
