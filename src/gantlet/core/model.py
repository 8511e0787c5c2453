"""Contracts of games, models, families and solvers; an ability is a class."""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, final, runtime_checkable

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.data import Source, Space
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.core.rng import Rng

LogProbKind = Literal["exact", "lower", "estimate"]


class Model(nn.Module, abc.ABC):
    """A generator of samples. A subclass is either abstract or final.

    Public methods check the context and then call the method of the same name with an underscore,
    which is what a subclass implements: there, a context is one row for each sample, or None.

    Attributes:
        space: Space of a sample.
        context_space: Space of the condition, or None for an unconditional model.
    """

    space: Space
    context_space: Space | None = None

    @property
    def sample_depth(self) -> int:
        """Sequential depth of sampling: network evaluations, each dependent on the one before."""
        return 1

    def sample(self, n: int, *, context: Tensor | None = None, rng: torch.Generator) -> Tensor:
        """Returns ``n`` samples, shape ``(n, *space.shape)``, on the device of ``rng``.

        Samples of a discrete space are whole numbers ``0 .. levels - 1``. No gradient is kept.

        Args:
            n: Number of samples.
            context: Condition of each sample, shape ``(n, *context_space.shape)``; must be None
                for an unconditional model.
            rng: Random generator.

        Raises:
            UserError: If ``context`` does not match ``context_space``.
        """
        return self._sample(n, self.checked_context(context, n), rng=rng)

    @abc.abstractmethod
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        """Implements ``sample``."""

    def checked_context(self, context: Tensor | None, n: int) -> Tensor | None:
        """Returns ``context``, validated for ``n`` samples.

        Raises:
            UserError: If the model is unconditional and there is a context, or it is conditional
                and there is none, not one for each sample, or not of ``context_space``.
        """
        if self.context_space is None:
            if context is not None:
                raise UserError(
                    "This model is unconditional: context must be None. "
                    f"Got a context of shape {tuple(context.shape)}."
                )
            return None
        if context is None:
            raise UserError(
                f"This model is conditional: context must hold {self.context_space.label} for "
                f"each of {n} samples. Got None."
            )
        self.context_space.check(context, "context")
        if len(context) != n:
            raise UserError(
                f"context must have {n} rows, one for each sample. Got {len(context)}."
            )
        return context


class CachedModel(Model):
    """A model with a cache for sequential sampling.

    Without the cache everything is recomputed at each step, with the same samples.
    """

    @override
    def sample(
        self,
        n: int,
        *,
        context: Tensor | None = None,
        rng: torch.Generator,
        cached: bool = True,
    ) -> Tensor:
        """Returns ``n`` samples like ``Model.sample``, with or without the cache."""
        return self._sample(n, self.checked_context(context, n), rng=rng, cached=cached)

    @override
    @abc.abstractmethod
    def _sample(
        self, n: int, context: Tensor | None, *, rng: torch.Generator, cached: bool = True
    ) -> Tensor:
        """Implements ``sample``."""


class Decoder(Model):
    """A model that maps latent vectors to samples: a GAN's generator, a VAE's decoder."""

    latent_dim: int

    @abc.abstractmethod
    def prior(self, n: int, *, rng: torch.Generator) -> Tensor:
        """Returns ``n`` latent vectors from the prior, shape ``(n, latent_dim)``."""

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns the mean sample of each latent vector, shape ``(n, *space.shape)``.

        Differentiable in ``z``; for a discrete space the levels are not rounded.

        Raises:
            UserError: If ``context`` does not match ``context_space``.
        """
        return self._decode(z, self.checked_context(context, len(z)))

    @abc.abstractmethod
    def _decode(self, z: Tensor, context: Tensor | None) -> Tensor:
        """Implements ``decode``."""


@final
@dataclass(frozen=True, slots=True)
class Knob:
    """A number that trades the quality of samples for their variety, set when sampling.

    Attributes:
        name: What it is called ("temperature", "latent scale").
        values: Values to try, from most variety to best quality; they do not include ``neutral``.
        neutral: The value at which the model samples as it was trained to.
    """

    name: str
    values: tuple[float, ...]
    neutral: float


class Tunable(Model):
    """A model with a knob between quality and variety."""

    @property
    @abc.abstractmethod
    def knob(self) -> Knob:
        """The knob."""

    @abc.abstractmethod
    def tuned(self, value: float) -> Model:
        """Returns the model with its knob at ``value``; parameters are shared, not copied."""


@final
@dataclass(frozen=True, slots=True)
class LogProb:
    """Log-probabilities in nats, with their kind: exact, bound or estimate.

    Attributes:
        value: One number for each sample, shape ``(n,)``.
        kind: Whether a value is exact, a lower bound, or a noisy estimate.
        method: How it was obtained, in a few words ("IWAE, 64 samples").
    """

    value: Tensor
    kind: LogProbKind
    method: str = ""


class Density(Model):
    """A model with a log-probability, exact, bounded or estimated."""

    @property
    def density_depth(self) -> int:
        """Sequential depth of a log-probability: network evaluations in sequence."""
        return 1

    def log_prob(
        self, x: Tensor, context: Tensor | None = None, *, rng: torch.Generator
    ) -> LogProb:
        """Returns the log-probability of ``x``, shape ``(n, *space.shape)``, in nats.

        On a continuous space this is a log-density; on a discrete one the log of a probability,
        so that the uniform model gives exactly ``-space.size * log(levels)``. A density on
        uniformly dequantised data is a lower bound of it. ``rng`` is used for
        dequantization and sampled bounds. Differentiable in the parameters. For a conditional
        model it is the probability given ``context``.

        Raises:
            UserError: If ``context`` does not match ``context_space``.
        """
        return self._log_prob(x, self.checked_context(context, len(x)), rng=rng)

    @abc.abstractmethod
    def _log_prob(self, x: Tensor, context: Tensor | None, *, rng: torch.Generator) -> LogProb:
        """Implements ``log_prob``."""


class Invertible(Density):
    """A density with a bijection between samples and codes.

    On a discrete space the bijection is on dequantised samples, real numbers in
    ``[0, levels)``.
    """

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Returns the code of ``x`` and ``log |det d code / d x|``.

        Shapes ``(n, space.size)`` and ``(n,)``.

        Raises:
            UserError: If ``context`` does not match ``context_space``.
        """
        return self._encode(x, self.checked_context(context, len(x)))

    @abc.abstractmethod
    def _encode(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Implements ``encode``."""

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns the sample, not rounded, of each code, shape ``(n, *space.shape)``.

        Raises:
            UserError: If ``context`` does not match ``context_space``.
        """
        return self._decode(z, self.checked_context(context, len(z)))

    @abc.abstractmethod
    def _decode(self, z: Tensor, context: Tensor | None) -> Tensor:
        """Implements ``decode``."""


# ----------------------------------------------------------------------------
# Games: a model in training is a game of named players, each with parameters and a loss.
# ----------------------------------------------------------------------------


class Game(abc.ABC):
    """Players and their losses. A flow is a game of one player, a GAN a game of two."""

    @property
    @abc.abstractmethod
    def players(self) -> Mapping[str, nn.Module]:
        """The players by name, in order of play."""

    @abc.abstractmethod
    def loss(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns the loss of ``player`` on a batch of real samples, a scalar.

        Differentiable in that player's parameters. The same ``batch`` and the same state of
        ``rng`` give the same loss, so that solvers can evaluate one loss at several points.
        """

    def coupled(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns the value of ``loss``, differentiable in the parameters of all players.

        Used for Jacobians and by lookahead solvers. A game whose ``loss`` detaches the other
        players, to save work, overrides it.
        """
        return self.loss(player, batch, rng=rng)


class Generative(Game):
    """A game that trains a model."""

    @property
    @abc.abstractmethod
    def model(self) -> Model:
        """The model that is sampled and evaluated."""

    def prepare(self, batch: Tensor, *, rng: torch.Generator) -> None:
        """Data-dependent initialization (standardization, actnorm) from a batch of real samples.

        Called once, before the first step; most games need none.
        """

    def advance(self, *, rng: torch.Generator) -> None:
        """Called after each training step; most games need nothing here.

        For what a game remembers from step to step, which losses read and must not change: they
        may be evaluated any number of times. It must be in the ``state_dict`` of a player.

        Args:
            rng: Random generator, the one that the step had.
        """

    @property
    def remembers(self) -> bool:
        """Whether ``advance`` does anything, which one loop alone must see to."""
        return False

    @abc.abstractmethod
    def validate(self, x: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns the validation loss on held-out samples, a scalar; lower is better.

        Used for early stopping and checkpoint selection. No gradient is kept.
        """

    def distance(self, x: Tensor, samples: Tensor) -> Tensor | None:
        """Returns the validation loss of ``samples``, a scalar, or None.

        None if ``validate`` uses the model itself, as a likelihood does, and not its samples.
        Applied to real samples it gives the noise floor of validation.

        Args:
            x: Held-out samples, shape ``(n, *space.shape)``.
            samples: Samples of a model, shape ``(m, *space.shape)``.
        """
        del x, samples
        return None


class Adversarial(Generative):
    """A game with a critic, which discriminates real from fake samples."""

    def critic(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns one score for each sample, shape ``(n,)``; higher is more real.

        Args:
            x: The samples, shape ``(n, *space.shape)``.
            context: Condition of each sample, of the model's ``context_space``.

        Raises:
            UserError: If ``context`` does not match ``context_space``.
        """
        return self._scores(x, self.model.checked_context(context, len(x)))

    @abc.abstractmethod
    def _scores(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Implements ``critic``."""


# ----------------------------------------------------------------------------
# Model families: frozen settings that build a game, or fit a model directly.
# ----------------------------------------------------------------------------


@runtime_checkable
class Family(Protocol):
    """Settings of one kind of model that is trained as a game; a frozen dataclass."""

    @property
    def solver(self) -> str:
        """The default solver of the family, in written form."""
        ...

    @property
    def ema(self) -> float:
        """Decay of the exponential moving average of weights used for evaluation; 0 for none."""
        ...

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> Generative:
        """Returns an untrained game for samples of ``space``, on the device of ``rng``.

        Args:
            space: Space of a sample.
            context_space: What samples are conditioned on, or None.
            rng: Its stream "init" gives the first weights.

        Raises:
            UserError: If the family cannot model such samples, or not on such a context.
        """
        ...


def refuse_context(name: str, context_space: Space | None) -> None:
    """Raises an error for a family without conditional models if a context is given.

    Raises:
        UserError: If ``context_space`` is not None.
    """
    if context_space is not None:
        raise UserError(
            f"{name} has no conditional models: context_space must be None. "
            f"Got {context_space.label}."
        )


@final
@dataclass(frozen=True, slots=True)
class FitResult:
    """A model fitted without a game.

    Attributes:
        model: The fitted model.
        flops: FLOPs of fitting, counted from the algorithm.
    """

    model: Model
    flops: float


@runtime_checkable
class FittedFamily(Protocol):
    """Settings of a baseline that is fitted directly, without gradient training; frozen."""

    def fit(self, space: Space, train: Tensor, *, rng: Rng) -> FitResult:
        """Returns the model fitted to ``train``, shape ``(n, *space.shape)``.

        Raises:
            UserError: If it cannot model such samples.
        """
        ...

    def restore(self, space: Space, state: Mapping[str, Tensor]) -> Model:
        """Returns a fitted model from its saved tensors."""
        ...


class Selective(abc.ABC):
    """A baseline for some kinds of samples alone, which says so before any work is done."""

    __slots__ = ()

    @abc.abstractmethod
    def check_space(self, space: Space) -> None:
        """Checks that samples of ``space`` can be modelled.

        Raises:
            UserError: If they cannot.
        """


BATCH = 128
"""Samples in a batch of a family that says nothing else."""


@runtime_checkable
class Batched(Protocol):
    """A family that trains best on batches of another size than ``BATCH``."""

    def batch_size(self, space: Space) -> int:
        """Returns the number of samples in a batch of ``space`` where the user gives none."""
        ...


def default_batch(family: object, space: Space) -> int:
    """Returns the number of samples in a batch where the user gives none."""
    return family.batch_size(space) if isinstance(family, Batched) else BATCH


# ----------------------------------------------------------------------------
# Solvers: how the players of a game are trained.
# ----------------------------------------------------------------------------

Losses = Mapping[str, float]


class Play(abc.ABC):
    """A solver applied to one game, with its state between steps."""

    @property
    def batches(self) -> int:
        """Number of batches of real samples in the next step."""
        return 1

    @property
    def work(self) -> int:
        """Work of the next step in units of the first, whose operations were counted."""
        return 1

    @abc.abstractmethod
    def step(self, batch: Tensor, *, rng: torch.Generator) -> Losses:
        """Updates every player and returns their losses before the update.

        ``batch`` holds ``batches`` batches of equal size, one after the other.
        """

    @abc.abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Returns the full state for an exact continuation: tensors and plain values, nested."""

    @abc.abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a state returned by ``state_dict``."""


@runtime_checkable
class Solver(Protocol):
    """Settings of a training algorithm; a frozen dataclass."""

    def start(self, game: Game) -> Play:
        """Returns the solver initialized for ``game``."""
        ...


# ----------------------------------------------------------------------------
# Monitors: measurements that go along with a training, at a stated share of its cost.
# ----------------------------------------------------------------------------


class Monitoring(abc.ABC):
    """A monitor at work on one training.

    It looks at the players between two steps and leaves no trace in them: a training is the same,
    bit for bit, with and without it. The loop decides when there is a look, so that looks stay
    below the monitor's share of the cost.
    """

    @property
    @abc.abstractmethod
    def cost(self) -> float:
        """Cost of the next look in training steps, from counts and not from a clock."""

    @abc.abstractmethod
    def look(self, step: int, play: Play) -> None:
        """Measures the players after ``step`` steps; ``play`` holds the state of their solver."""

    @abc.abstractmethod
    def point(self) -> Mapping[str, float | None]:
        """Returns the numbers of the looks since the last call, for the curve of training."""

    @abc.abstractmethod
    def scores(self) -> Mapping[str, Estimate]:
        """Returns what all looks together say, by name, for the outcome of the training."""

    @abc.abstractmethod
    def charts(self) -> Sequence[Mapping[str, Any]]:
        """Returns curves for the report, as plain JSON values.

        Each has ``title``, ``x_label``, ``y_label``, ``log_y``, ``note`` and ``series``, a list of
        ``name``, ``x``, ``y`` and optionally ``low`` and ``high``.
        """

    @abc.abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Returns the full state for an exact continuation: tensors and plain values, nested."""

    @abc.abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a state returned by ``state_dict``."""


@runtime_checkable
class Monitor(Protocol):
    """Settings of a measurement that goes along with a training; a frozen dataclass."""

    @property
    def share(self) -> float:
        """The largest share of the cost of training that looks may take, in (0, 1)."""
        ...

    def start(self, game: Game, train: Source, *, batch: int, rng: Rng) -> Monitoring:
        """Returns the monitor, ready to look at a training.

        Args:
            game: The game in training, whose players move.
            train: The training samples.
            batch: Batch size of training.
            rng: Streams of random numbers of its own.

        Raises:
            UserError: If it cannot be measured on this game.
        """
        ...


# ----------------------------------------------------------------------------
# Toy games: frozen settings of a game small enough to have a known solution.
# ----------------------------------------------------------------------------


@runtime_checkable
class Toy(Protocol):
    """Settings of a toy game; a frozen dataclass."""

    @property
    def solver(self) -> str:
        """The default solver, in written form."""
        ...

    @property
    def real(self) -> Tensor:
        """All real samples, used as every batch; a dummy sample for games without data.

        Shape ``(n, ...)``.
        """
        ...

    def build(self) -> Game:
        """Returns the game at its start, in double precision."""
        ...
