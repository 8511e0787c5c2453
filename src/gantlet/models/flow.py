"""Normalizing flows, trained by maximum likelihood."""

import abc
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import UserError, unknown
from gantlet.core.model import (
    Density,
    Generative,
    Invertible,
    LogProb,
    LogProbKind,
    refuse_context,
)
from gantlet.core.rng import Rng
from gantlet.core.spec import Between, Later
from gantlet.models.bijections import (
    ActNorm,
    Affine,
    Bijection,
    Chain,
    Couplings,
    EarlyExit,
    Flatten,
    InvertibleConv,
    Logit,
    Permute,
    Planar,
    Spline,
    Squeeze,
    Transform,
    checkerboard,
    convolutional,
    dense,
    inverted,
)
from gantlet.models.nets import LatentScaled, Scaling, likelihood_batch, seeded
from gantlet.models.patch_flow import over_patches, side_of_patches


class Base(nn.Module, abc.ABC):
    """The density of codes."""

    @abc.abstractmethod
    @override
    def forward(self, z: Tensor) -> Tensor:
        """Returns the log-density of codes, shape ``(n, size)``, in nats, shape ``(n,)``."""

    @abc.abstractmethod
    def sample(self, like: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns codes of the shape, type and device of ``like``."""


@final
class StandardNormal(Base):
    """Independent normal components with mean 0 and variance 1."""

    @override
    def forward(self, z: Tensor) -> Tensor:
        return -0.5 * (z.square().sum(1) + z.shape[1] * math.log(2 * math.pi))

    @override
    def sample(self, like: Tensor, *, rng: torch.Generator) -> Tensor:
        return torch.randn(like.shape, generator=rng, device=like.device, dtype=like.dtype)


@final
class FlowModel(Invertible, LatentScaled):
    """A normalizing flow: ``log p(x) = log p_base(f(x)) + log |det df/dx|``.

    Source: Rezende and Mohamed, 2015, https://arxiv.org/abs/1505.05770, equation 5; Dinh,
    Sohl-Dickstein and Bengio, 2017, https://arxiv.org/abs/1605.08803, equation 3.

    Args:
        space: The space of the samples.
        bijection: From scaled samples, shape ``(n, *space.shape)``, to codes ``(n, space.size)``.
        base: The density of codes; it has no parameters to fit unless it brings some.
        limits: Where log-probabilities are not exact on continuous samples, what they are
            instead, and why in a few words.
    """

    def __init__(
        self,
        space: Space,
        bijection: Bijection,
        base: Base | None = None,
        *,
        limits: tuple[LogProbKind, str] | None = None,
    ) -> None:
        super().__init__()
        self.space = space
        self._limits = limits
        self.scaling = Scaling(space)
        self.bijection = bijection
        self.base = StandardNormal() if base is None else base

    @property
    @override
    def sample_depth(self) -> int:
        return self.bijection.depths[1]

    @property
    @override
    def density_depth(self) -> int:
        return self.bijection.depths[0]

    @torch.no_grad()
    def prepare(self, batch: Tensor, *, rng: torch.Generator) -> None:
        """Sets scaling and standardisation from real samples."""
        self.scaling.fit(batch)
        self.bijection.prepare(self.scaling.noisy(batch, rng=rng))

    @override
    def _log_prob(self, x: Tensor, context: Tensor | None, *, rng: torch.Generator) -> LogProb:
        z, log_det = self.encode(self.scaling.dequantise(x, rng=rng))
        value = self.base(z) + log_det
        if self._limits is not None:
            kind, why = self._limits
            return LogProb(value, kind, f"change of variables, {why}")
        if self.space.levels is None:
            return LogProb(value, "exact", "change of variables")
        return LogProb(value, "lower", "change of variables, one uniform dequantisation")

    @override
    def _encode(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        z, log_det = self.bijection(self.scaling(x))
        return z, log_det + self.scaling.log_volume()

    @override
    def _decode(self, z: Tensor, context: Tensor | None) -> Tensor:
        return self.scaling.inverse(self.bijection.inverse(z))

    def scaled_samples(self, n: int, *, rng: torch.Generator) -> Tensor:
        """Returns samples as networks see them, scaled and not rounded, with their gradient."""
        like = self.scaling.scale.new_empty(n, self.space.size)
        return self.bijection.inverse(self.latent_scale * self.base.sample(like, rng=rng))

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        return self.scaling.samples(self.scaled_samples(n, rng=rng))


# ----------------------------------------------------------------------------
# The bijections of whole flows: RealNVP and planar flows for vectors, Glow for images.
# ----------------------------------------------------------------------------

Arch = Literal["auto", "realnvp", "glow"]
CouplingName = Literal["affine", "spline", "planar"]

Conditioner = Callable[..., nn.Module]

_TRANSFORMS: dict[str, type[Transform]] = {"affine": Affine, "spline": Spline}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """The bijections of a flow.

    Attributes:
        arch: ``realnvp`` treats a sample as one vector, ``glow`` as an image at several
            resolutions; ``auto`` takes ``glow`` for images above 8 x 8 with even sides.
        coupling: How the layers change a component: scaled and shifted (``affine``), by a
            rational-quadratic ``spline``, or all along one direction (``planar``).
        layers: Number of layers; for Glow, per level.
        width: Hidden units, or channels, of each layer's network.
        depth: Hidden layers of each layer's network.
        levels: Resolutions of Glow, or None to halve the sides down to 4, three times at most.
    """

    arch: Arch = "auto"
    coupling: CouplingName = "affine"
    layers: int = 8
    width: int = 128
    depth: int = 2
    levels: int | None = None

    def build(self, space: Space) -> Bijection:
        """Returns the map from scaled samples, shape ``(n, *space.shape)``, to codes.

        Codes have shape ``(n, space.size)``. All parameters come from torch's global random
        state, so call it inside ``seeded``.

        Raises:
            UserError: If no such flow fits the space.
        """
        if space.kind in {"tokens", "graph"}:
            raise UserError(
                "A flow needs samples whose components are quantities (not categories). Got "
                f"{space.label}; use a family for sequences, as ar."
            )
        opened: list[Bijection] = [] if space.levels is None else [Logit()]
        body = [self._glow(space)] if self._is_glow(space) else self._flat(space)
        return Chain([*opened, *body])

    def _is_glow(self, space: Space) -> bool:
        if self.arch != "auto":
            return self.arch == "glow"
        sides = space.shape[1:]
        is_large = space.kind == "image" and max(sides) > 8
        return is_large and self.coupling != "planar" and all(side % 2 == 0 for side in sides)

    def _flat(self, space: Space) -> list[Bijection]:
        size = space.size
        start: list[Bijection] = [Flatten(space.shape), ActNorm((size,))]
        if self.coupling == "planar":
            return [*start, *(Planar(size) for _ in range(self.layers))]
        if size < 2:
            raise UserError(
                "A coupling needs 2 components or more, one to change the other. "
                f"Got {space.label}; use coupling=planar."
            )
        return [*start, *self._couplings(space)]

    def _couplings(self, space: Space) -> list[Bijection]:
        """Returns half of the couplings on a checkerboard, in whole rounds, the rest on halves."""
        white_first = checkerboard(space.shape)
        sizes = ((space.size + 1) // 2, space.size // 2)
        turns = min(self.layers, 2 * math.ceil(self.layers / 4))
        return [
            Permute(white_first),
            self._coupling(dense, sizes, turns=turns),
            Permute(inverted(white_first)),
            self._coupling(dense, sizes, turns=self.layers - turns),
        ]

    def _coupling(self, make: Conditioner, sizes: tuple[int, int], *, turns: int = 1) -> Couplings:
        transform = _TRANSFORMS[self.coupling]()
        nets = (
            make(
                sizes[turn % 2],
                sizes[1 - turn % 2] * transform.count,
                width=self.width,
                depth=self.depth,
            )
            for turn in range(turns)
        )
        return Couplings(nets, transform, sizes)

    def _glow(self, space: Space) -> Bijection:
        channels, height, width = self._image(space)
        levels = self._resolutions(min(height, width)) if self.levels is None else self.levels
        if height % 2**levels or width % 2**levels:
            raise UserError(
                f"Glow with levels={levels} needs sides that are multiples of {2**levels}. "
                f"Got {space.label}; use fewer levels, or arch=realnvp."
            )
        return self._level(channels, height, width, levels)

    def _image(self, space: Space) -> tuple[int, int, int]:
        if space.kind != "image" or self.coupling == "planar":
            raise UserError(
                "arch=glow needs images, and affine or spline couplings. "
                f"Got {space.label} and coupling={self.coupling}; use arch=realnvp."
            )
        channels, height, width = space.shape
        return channels, height, width

    def _resolutions(self, side: int) -> int:
        """Returns the number of times ``side`` can be halved to 4 or more, three at most."""
        halvings = [k for k in (1, 2, 3) if side % 2**k == 0 and side // 2**k >= 4]
        return max(halvings, default=1)

    def _level(self, channels: int, height: int, width: int, levels: int) -> Bijection:
        """Returns the multi-scale flow from this resolution on."""
        c, h, w = channels * 4, height // 2, width // 2
        steps = [Squeeze(), *(part for _ in range(self.layers) for part in self._step(c))]
        if levels == 1:
            return Chain([*steps, Flatten((c, h, w))])
        # What leaves is first standardised by what goes on: Glow's learned prior of the split.
        level = Chain([*steps, self._coupling(convolutional, (c // 2, c // 2))])
        return EarlyExit(level, self._level(c // 2, h, w, levels - 1), (c // 2, h, w))

    def _step(self, channels: int) -> list[Bijection]:
        halves = (channels // 2, channels // 2)
        return [
            ActNorm((channels, 1, 1)),
            InvertibleConv(channels),
            self._coupling(convolutional, halves),
        ]


class Prepare(Protocol):
    """Sets what depends on data in a model."""

    def __call__(self, batch: Tensor, *, rng: torch.Generator) -> None:
        """Sets it from one batch of real samples."""
        ...


@final
class MaximumLikelihood(Generative):
    """One player, whose loss is the negative log-probability of real samples.

    The loss is in bits per dimension of a sample (on a continuous space, of the density),
    so that one learning rate serves samples of all sizes.

    Args:
        model: The player.
        player: Its name.
        prepare: Sets what depends on data in it, where anything does.
    """

    def __init__(self, model: Density, *, player: str, prepare: Prepare | None = None) -> None:
        self._model = model
        self._player = player
        self._prepare = prepare

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return {self._player: self._model}

    @property
    @override
    def model(self) -> Density:
        return self._model

    @override
    def prepare(self, batch: Tensor, *, rng: torch.Generator) -> None:
        if self._prepare is not None:
            self._prepare(batch, rng=rng)

    @override
    def loss(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        if player != self._player:
            raise unknown("player", player, self.players)
        return self._bits(self._model.log_prob(batch, rng=rng).value)

    @override
    @torch.no_grad()
    def validate(self, x: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns the loss on a discrete space, and nats for each sample on a continuous one."""
        parts = [
            self._model.log_prob(part, rng=rng).value
            for part in x.tensor_split(list(range(512, len(x), 512)))
        ]
        value = torch.cat(parts)
        return -value.mean() if self._model.space.levels is None else self._bits(value)

    def _bits(self, nats: Tensor) -> Tensor:
        return -nats.mean() / (self._model.space.size * math.log(2))


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Flow:
    """A normalizing flow: RealNVP for vectors and small images, others for larger ones.

    Images in colour are read in patches, one after the other (``patches``), grey ones by
    multi-scale Glow. Samples ``x`` become codes ``z = f(x)`` by an invertible network, and
    ``log p(x) = log N(f(x); 0, I) + log |det df/dx|``. One player, ``flow``; its loss is
    ``-log p(x)`` in bits per dimension. Discrete samples are dequantised with uniform noise,
    so their log-probability is a lower bound.

    Source: Dinh, Sohl-Dickstein and Bengio, 2017, https://arxiv.org/abs/1605.08803 (RealNVP);
    Kingma and Dhariwal, 2018, https://arxiv.org/abs/1807.03039 (Glow); Durkan, Bekasov, Murray
    and Papamakarios, 2019, https://arxiv.org/abs/1906.04032 (spline couplings); Rezende and
    Mohamed, 2015, https://arxiv.org/abs/1505.05770 (planar flows); Zhai et al., 2024,
    https://arxiv.org/abs/2412.06329 (transformers over patches).

    Differs from the papers: log-scales are bounded by ``2 tanh(l / 2)``; RealNVP's networks are
    dense and see only the half that is kept; Glow's networks have no normalisation inside;
    patches are turned to their principal axes, and start with a linear prediction from their
    neighbours; they are trained with uniform noise of one level and not with Gaussian noise.

    Attributes:
        coupling: How the layers change a component: ``affine``, ``spline``, or ``planar``, which
            is not a coupling but a layer of its own. Patches are changed by ``affine`` maps.
        layers: Number of layers; for Glow, per level. A pass over patches counts as two.
        width: Hidden units, or channels, of each layer's network, or width of the transformers
            over patches; planar layers have none.
        depth: Hidden layers of each layer's network, or blocks of each transformer.
        levels: Resolutions of Glow; none halves the sides down to 4, three times at most.
        arch: ``auto`` takes ``patches`` for images above 8 x 8 in colour, ``glow`` for those in
            grey with even sides, else ``realnvp``.
        patch: Side of a patch; none takes the smallest that leaves 64 patches at most.
        ema: Decay of the exponential moving average of weights (EMA) used for sampling and
            evaluation; 0 disables it.
    """

    coupling: CouplingName = "affine"
    layers: Annotated[int, Between(1)] = 8
    width: Annotated[int, Between(1)] = 128
    depth: Annotated[int, Between(1)] = 2
    levels: Annotated[int, Between(1)] | None = None
    arch: Literal["auto", "realnvp", "glow", "patches"] = "auto"
    patch: Annotated[int, Between(1), Later()] | None = None
    ema: Annotated[float, Between(0, 1)] = 0.99

    @property
    def solver(self) -> str:
        """Adam with the usual moments."""
        return "adam:lr=0.001"

    def batch_size(self, space: Space) -> int:
        """Returns the usual size of a batch of samples of ``space``."""
        return likelihood_batch(space)

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> Generative:
        """Returns an untrained flow for samples of ``space``, on the device of ``rng``.

        Raises:
            UserError: If no such flow fits the space, or there is a context.
        """
        refuse_context("flow", context_space)
        with seeded(rng.stream("init")):
            model = FlowModel(space, self._bijection(space)).to(rng.device)
        return MaximumLikelihood(model, player="flow", prepare=model.prepare)

    def _bijection(self, space: Space) -> Bijection:
        if self.arch == "patches" or (self.arch == "auto" and self._suits_patches(space)):
            return self._patches(space)
        layers = Layers(
            arch=self.arch,
            coupling=self.coupling,
            layers=self.layers,
            width=self.width,
            depth=self.depth,
            levels=self.levels,
        )
        return layers.build(space)

    def _suits_patches(self, space: Space) -> bool:
        """Whether a flow over patches was measured to be better, and nothing else was asked for.

        On CIFAR-10 in colour (JPEG of quality 75), 20 CPU s, batches of 16, one seed,
        validation: patches of 4x4 in 4 passes of width 96 4.38 bits/dim, Glow 5.25; Frechet
        distance of MobileNet's features 2738 and 3281 (200 samples). On MNIST Glow comes to 2.03
        bits/dim and patches to 2.58 (Frechet distance of a LeNet's features 476 and 430).
        """
        is_colour = space.kind == "image" and space.shape[0] > 1 and max(space.shape[1:]) > 8
        plain = self.coupling == "affine" and self.levels is None
        return is_colour and plain and side_of_patches(space) is not None

    def _patches(self, space: Space) -> Bijection:
        if space.kind != "image" or self.coupling != "affine":
            raise UserError(
                "arch=patches needs images and coupling=affine. "
                f"Got {space.label} and coupling={self.coupling}; use arch=realnvp."
            )
        patch = side_of_patches(space) if self.patch is None else self.patch
        if patch is None or any(side % patch for side in space.shape[1:]):
            raise UserError(
                f"flow:patch must divide the sides of {space.label}. Got {patch or 'none'}."
            )
        passes = max(1, self.layers // 2)
        opened: list[Bijection] = [] if space.levels is None else [Logit()]
        body = over_patches(space, patch, passes=passes, width=self.width, depth=self.depth)
        return Chain([*opened, *body])
