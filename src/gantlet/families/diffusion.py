"""Flow matching: a diffusion model that learns the velocity from noise to data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from gantlet.core.errors import UserError, unknown
from gantlet.core.family import refuse_context
from gantlet.core.game import Generative
from gantlet.core.model import Invertible, LogProb
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between
from gantlet.nets.flows import Base, StandardNormal
from gantlet.nets.ode import (
    Method,
    Trace,
    exact_divergence,
    hutchinson,
    integrate,
    integrate_with_volume,
    rademacher,
)
from gantlet.nets.scaling import Scaling, bits_per_dim
from gantlet.nets.seeding import seeded
from gantlet.nets.standardise import Standardise
from gantlet.nets.unet import UNet
from gantlet.nets.velocity import VelocityMlp

# The divergence is exact up to this many components and sampled above.
_EXACT = 256

INTEGRATED_AT_ONCE = 2**17
"""Densities are integrated for this many numbers at a time, for memory's sake."""

# Steps shorten towards the data as this power of what is left of the time.
_SHORTENING = 2
# Validation takes shorter paths: it compares one model with itself, earlier and later.
_VALIDATION_STEPS = 8


def times(steps: int) -> list[float]:
    """Returns the ends of so many steps from 0 to 1, which shorten towards the data.

    There the velocity is least smooth: it must bring noise together within the width of one
    level, or of whatever is thin in the data.

    Example:
        >>> times(4)
        [0.0, 0.4375, 0.75, 0.9375, 1.0]
    """
    return [1 - (1 - i / steps) ** _SHORTENING for i in range(steps + 1)]


@final
class DiffusionModel(Invertible):
    """Noise at time 0 that a velocity field carries to data at time 1.

    Samples, scaled and standardised, are points ``y``; ``dy/dt = v(y, t)`` leads from a code to a
    sample, and back when integrated from 1 to 0.

    Args:
        space: The space of the samples.
        velocity: Takes points, shape ``(n, *space.shape)``, and times ``(n,)``.
        steps: How many steps lead from noise to data, or back.
        sampler: The rule of one step; both take two evaluations of the velocity.
        each: Whether each component is standardised on its own.
        base: The density at time 0; standard normal unless given.
    """

    def __init__(
        self,
        space: Space,
        velocity: nn.Module,
        *,
        steps: int,
        sampler: Method,
        each: bool = True,
        base: Base | None = None,
    ) -> None:
        super().__init__()
        self.space = space
        self.velocity = velocity
        self.steps = steps
        self.sampler: Method = sampler
        self.base = StandardNormal() if base is None else base
        self.scaling = Scaling(space)
        self.standardise = Standardise(space.shape, each=each)

    @property
    @override
    def sample_depth(self) -> int:
        return 2 * self.steps

    @property
    @override
    def density_depth(self) -> int:
        return 2 * self.steps

    @torch.no_grad()
    def prepare(self, batch: Tensor, *, rng: torch.Generator) -> None:
        """Sets scaling and standardisation from real samples."""
        self.scaling.fit(batch)
        self.standardise.fit(self.scaling.noisy(batch, rng=rng))

    def point(self, x: Tensor) -> Tensor:
        """Returns dequantised samples as the velocity sees them."""
        y: Tensor = self.standardise(self.scaling(x))
        return y

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        like = self.standardise.shift.new_empty(n, self.space.size)
        y = self._carry(self.base.sample(like, rng=rng))
        return self.scaling.samples(self.standardise.inverse(y))

    @override
    def _decode(self, z: Tensor, context: Tensor | None) -> Tensor:
        return self.scaling.inverse(self.standardise.inverse(self._carry(z)))

    def _carry(self, z: Tensor) -> Tensor:
        y = z.view(-1, *self.space.shape)
        return integrate(self.velocity, y, times(self.steps), self.sampler)

    @override
    def _encode(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns the code of ``x`` and ``log |det d code / d x|``, as the steps give them.

        Above 256 components the log-determinant is estimated with one random direction for each
        sample, always the same.
        """
        fixed = torch.Generator(x.device).manual_seed(0)
        return self._to_code(x, self.steps, rng=fixed, exact=self._is_exact)

    @override
    def _log_prob(self, x: Tensor, context: Tensor | None, *, rng: torch.Generator) -> LogProb:
        """Returns the log-probability of ``x`` in nats.

        The kind is always "estimate": the steps of the path leave an error, which falls with
        their number squared and can be of either sign. But for that error the value is exact on
        a continuous space and a lower bound on a discrete one (by dequantisation); Hutchinson's
        divergence adds noise of mean zero.
        """
        value = self.log_density(x, self.steps, rng=rng, exact=self._is_exact)
        divergence = "exact" if self._is_exact else "Hutchinson"
        method = f"flow ODE, {self.steps} {self.sampler} steps, {divergence} divergence" + (
            "" if self.space.levels is None else ", one uniform dequantisation"
        )
        return LogProb(value, "estimate", method)

    @property
    def _is_exact(self) -> bool:
        return self.space.size <= _EXACT

    def log_density(self, x: Tensor, steps: int, *, rng: torch.Generator, exact: bool) -> Tensor:
        """Returns log-probabilities in nats, shape ``(n,)``, in so many steps.

        Args:
            x: Samples, not yet dequantised.
            steps: Steps of the path.
            rng: Serves dequantisation and Hutchinson's directions.
            exact: Whether the divergence is exact rather than estimated.
        """
        real = self.scaling.dequantise(x, rng=rng)
        z, volume = self._to_code(real, steps, rng=rng, exact=exact)
        value: Tensor = self.base(z) + volume
        return value

    def _to_code(
        self, x: Tensor, steps: int, *, rng: torch.Generator, exact: bool
    ) -> tuple[Tensor, Tensor]:
        y = self.point(x)
        probes = y if exact else rademacher(y, rng=rng)
        rows = max(1, INTEGRATED_AT_ONCE // self.space.size)
        codes: list[Tensor] = []
        volumes: list[Tensor] = []
        for part, probe in zip(torch.split(y, rows), torch.split(probes, rows), strict=True):
            trace: Trace = exact_divergence if exact else hutchinson(probe)
            z, volume = integrate_with_volume(
                self.velocity, part, times(steps)[::-1], self.sampler, trace
            )
            codes.append(z.flatten(1))
            volumes.append(volume)
        fixed = self.scaling.log_volume() + self.standardise.log_volume()
        return torch.cat(codes), torch.cat(volumes) + fixed


@final
class FlowMatching(Generative):
    """One player, which regresses the velocity of straight lines from noise to data.

    Args:
        model: The player.
    """

    def __init__(self, model: DiffusionModel) -> None:
        self._model = model

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return {"velocity": self._model}

    @property
    @override
    def model(self) -> DiffusionModel:
        return self._model

    @override
    def prepare(self, batch: Tensor, *, rng: torch.Generator) -> None:
        self._model.prepare(batch, rng=rng)

    @override
    def loss(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns the squared error of the velocity, averaged over samples and components."""
        if player not in self.players:
            raise unknown("player", player, self.players)
        model = self._model
        y = model.point(model.scaling.dequantise(batch, rng=rng))
        z = model.base.sample(y, rng=rng)
        t = torch.rand(len(y), generator=rng, device=y.device, dtype=y.dtype)
        along = t.view(-1, *[1] * (y.ndim - 1))
        found: Tensor = model.velocity((1 - along) * z + along * y, t)
        return functional.mse_loss(found.to(y.dtype), y - z)

    @override
    @torch.no_grad()
    def validate(self, x: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns bits for each component (nats for a sample where continuous), roughly.

        In eight steps at most, with Hutchinson's divergence.
        """
        model = self._model
        steps = min(model.steps, _VALIDATION_STEPS)
        value = model.log_density(x, steps, rng=rng, exact=False).mean()
        return -value if model.space.levels is None else bits_per_dim(value, model.space)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Diffusion:
    """Flow matching on straight paths, with its ordinary differential equation as the model.

    With data ``x1``, noise ``x0 ~ N(0, I)``, time ``t ~ U(0, 1)`` and ``x_t = (1-t) x0 + t x1``,
    the one player, ``velocity``, minimises ``E |v(x_t, t) - (x1 - x0)|^2``. Samples are found by
    integrating ``dx/dt = v(x, t)`` from noise, densities by integrating back:
    ``log p(x1) = log N(x0; 0, I) - integral of div v``. Discrete samples are dequantised with
    uniform noise.

    Source: Lipman et al., 2023, https://arxiv.org/abs/2210.02747, equation 23; Liu, Gong
    and Liu, 2023, https://arxiv.org/abs/2209.03003, equation 1.

    Differs from the papers: paths start from the noise itself (``sigma_min = 0``, as in Liu et
    al.); samples are standardised with moments of the first batch; fixed steps, which shorten
    towards the data, instead of an adaptive solver.

    Attributes:
        net: ``mlp``, ``unet``, or ``auto``: a U-Net for images larger than 8x8.
        width: Hidden units (none is 192), or channels of a U-Net at full resolution (none is 24).
        depth: Residual blocks (none is 2), or those of a U-Net at each resolution, each way (1).
        time_features: How many frequencies describe the time to the network.
        steps: Steps from noise to data and back, two evaluations each.
        sampler: The rule of one step.
        ema: Decay of the running average of weights that is sampled and judged; 0 is none.
    """

    net: Literal["auto", "mlp", "unet"] = "auto"
    width: Annotated[int, Between(1)] | None = None
    depth: Annotated[int, Between(1)] | None = None
    time_features: Annotated[int, Between(1)] = 8
    steps: Annotated[int, Between(1)] = 20
    sampler: Method = "midpoint"
    ema: Annotated[float, Between(0, 1, below=True)] = 0.998

    @property
    def solver(self) -> str:
        """Adam with a rate that suits small networks, and clipped gradients."""
        return "adam:lr=0.003,clip=1.0"

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> FlowMatching:
        """Returns an untrained model for vectors or images, on the device of ``rng``.

        Raises:
            UserError: If ``space`` is neither, or too small for the U-Net that was asked for,
                or there is a context.
        """
        refuse_context("diffusion", context_space)
        if space.kind not in {"vector", "image"}:
            raise UserError(f"diffusion models vectors and images. Got {space.label}.")
        is_unet = self._is_unet(space)
        with seeded(rng.stream("init")):
            velocity = self._unet(space) if is_unet else self._mlp(space)
        # Pixels of a large image share their moments, as convolutions share their weights.
        model = DiffusionModel(
            space, velocity, steps=self.steps, sampler=self.sampler, each=not is_unet
        )
        return FlowMatching(model.to(rng.device))

    def _is_unet(self, space: Space) -> bool:
        if self.net != "auto":
            return self.net == "unet"
        return space.kind == "image" and max(space.shape[1:]) > 8

    def _mlp(self, space: Space) -> VelocityMlp:
        return VelocityMlp(
            space.shape,
            width=self.width or 192,
            depth=self.depth or 2,
            time_features=self.time_features,
        )

    def _unet(self, space: Space) -> UNet:
        if space.kind != "image" or min(space.shape[1:]) < 4:
            raise UserError(f"net=unet needs images from 4x4. Got {space.label}; use net=mlp.")
        channels, height, width = space.shape
        return UNet(
            (channels, height, width),
            width=self.width or 24,
            depth=self.depth or 1,
            time_features=self.time_features,
        )
