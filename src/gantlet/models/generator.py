"""Generator networks that Gantlet did not make: latents in, samples of a space out."""

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import UserError, first_line
from gantlet.core.model import Decoder
from gantlet.models.nets import Scaling

# ----------------------------------------------------------------------------
# The input of a generator network.
# ----------------------------------------------------------------------------

# How classes often call the size of their latent.
_SIZES = ("latent_dim", "latent_size", "z_dim", "nz", "latent")

Prior: TypeAlias = Literal["normal", "uniform"]
"""Distribution of a latent: standard normal, or uniform on [-1, 1]."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Latent:
    """The input of a generator network.

    Attributes:
        shape: Of one latent, or None to read it off the network.
        prior: Standard normal, or uniform on [-1, 1].
    """

    shape: tuple[int, ...] | None = None
    prior: str = "normal"

    def drawn(self, module: nn.Module, n: int, rng: torch.Generator) -> Tensor:
        """Returns ``n`` latents, where the module is, in its type of number."""
        like = next(module.parameters(), torch.zeros(()))
        shape = (n, *(self.shape or latent_shape(module)))
        where, kind = rng.device, torch.float32
        if self.prior == "normal":
            z = torch.randn(shape, generator=rng, device=where, dtype=kind)
        else:
            z = 2 * torch.rand(shape, generator=rng, device=where, dtype=kind) - 1
        return z.to(like.device, like.dtype if like.is_floating_point() else torch.float32)


def latent_shape(module: nn.Module) -> tuple[int, ...]:
    """Returns the shape of one latent of a generator network.

    From an attribute such as ``latent_dim``; else from its first layer, a linear one or a
    transposed convolution.

    Raises:
        UserError: If neither tells.
    """
    first = next(
        (m for m in module.modules() if next(m.parameters(recurse=False), None) is not None), None
    )
    size = next((s for n in _SIZES if type(s := getattr(module, n, None)) is int), None)
    match first:
        case nn.ConvTranspose2d():
            return (size or first.in_channels, 1, 1)
        case nn.Linear():
            return (size or first.in_features,)
        case _ if size is not None:
            return (size,)
        case _:
            raise UserError(
                f"The latent of {type(module).__name__} cannot be read off its first layer. Give "
                "latent=SIZE or latent=(CHANNELS, 1, 1), or a function n -> samples."
            )


@contextmanager
def evaluating(modules: Sequence[nn.Module]) -> Generator[None]:
    """Puts modules in evaluation mode; each part of them is in its own mode afterwards."""
    modes = {part: part.training for module in modules for part in module.modules()}
    try:
        for part in modes:
            part.training = False
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


@contextmanager
def global_noise(rng: torch.Generator) -> Generator[None]:
    """Lets foreign code draw from torch's global state what follows from the state of ``rng``.

    ``rng`` is read and not moved, so that losses without such noise are what they are without it.
    """
    twin = torch.Generator(rng.device)
    twin.set_state(rng.get_state())
    seed = int(torch.randint(2**62, (), generator=twin, device=rng.device))
    devices = [rng.device.index or 0] if rng.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.cuda.manual_seed(seed)
        yield


# ----------------------------------------------------------------------------
# A generator network as a model: latents in, samples of a space out.
# ----------------------------------------------------------------------------

Range: TypeAlias = tuple[float, float]
"""The numbers of a network for black and white, such as (-1, 1)."""

BYTES = 256
"""Levels of images that a network with a range makes."""


def value_range(given: Sequence[float] | None) -> Range | None:
    """Returns the two ends of a range as the user gave it.

    Raises:
        UserError: If they are not two numbers, the lower first.
    """
    if given is None:
        return None
    ends = tuple(float(x) for x in given)
    if len(ends) != 2 or not ends[0] < ends[1]:
        raise UserError(
            f"range must be two numbers, the lower first, such as (-1, 1) (range=-1+1 in written "
            f"form). Got {given!r}."
        )
    return ends


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """Between the samples of a space and the numbers of networks.

    Attributes:
        space: The space.
        shape: The shape of one sample as networks see it, of the same size.
        range: The numbers that stand for the lowest and the highest level; None leaves numbers of
            a continuous space as they are.
    """

    space: Space
    shape: tuple[int, ...]
    range: Range | None = None

    def __post_init__(self) -> None:
        """Checks that both fit.

        Raises:
            UserError: If sizes differ, or levels have no range.
        """
        if math.prod(self.shape) != self.space.size:
            raise UserError(
                f"The networks make samples of shape {self.shape}, the data are "
                f"{self.space.label}. Give data of that size, or shape=."
            )
        if self.space.levels is not None and self.range is None:
            raise UserError(
                f"The data have levels 0 to {self.space.levels - 1}. Give the numbers that your "
                "networks use for them, such as range=(-1, 1) after tanh or (0, 1) after sigmoid "
                "(range=-1+1 in written form)."
            )

    def seen(self, x: Tensor) -> Tensor:
        """Returns samples, shape ``(n, *space.shape)``, as networks see them."""
        if self.space.levels is not None and self.range is not None:
            low, high = self.range
            x = x / (self.space.levels - 1) * (high - low) + low
        return x.reshape(len(x), *self.shape)

    def made(self, y: Tensor) -> Tensor:
        """Returns what a network made as samples; levels are not rounded. Differentiable."""
        if self.space.levels is not None and self.range is not None:
            low, high = self.range
            y = (y - low) / (high - low) * (self.space.levels - 1)
        return y.reshape(len(y), *self.space.shape)


@final
class OwnModel(Decoder):
    """A generator network of the user's own, in evaluation mode while it samples.

    Args:
        net: Maps latents to samples, as networks see them.
        latent: Its input.
        conversion: From what it makes to samples.
    """

    def __init__(self, net: nn.Module, latent: Latent, conversion: Conversion) -> None:
        super().__init__()
        self.space = conversion.space
        self.net = net
        self._latent = replace(latent, shape=latent.shape or latent_shape(net))
        self.latent_dim = math.prod(self._latent.shape or ())
        self._conversion = conversion
        # What validation compares samples by; not what networks see.
        self.scaling = Scaling(conversion.space)

    @property
    def conversion(self) -> Conversion:
        """Between samples and the numbers of networks."""
        return self._conversion

    def drawn(self, n: int, rng: torch.Generator) -> Tensor:
        """Returns ``n`` latents in the shape that the network takes."""
        return self._latent.drawn(self.net, n, rng)

    @override
    def prior(self, n: int, *, rng: torch.Generator) -> Tensor:
        return self.drawn(n, rng).flatten(1)

    @override
    def forward(self, z: Tensor) -> Tensor:
        """Returns what the network makes of latents of any shape."""
        return tensor_of(self.net(z.reshape(len(z), *(self._latent.shape or ()))))

    @override
    def _decode(self, z: Tensor, context: Tensor | None) -> Tensor:
        with evaluating([self.net]):
            return self._conversion.made(self(z))

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        with global_noise(rng):
            x = self._decode(self.drawn(n, rng), None)
        levels = self.space.levels
        return x if levels is None else x.round().clamp(0, levels - 1)


def tensor_of(answer: Any) -> Tensor:
    """Returns the samples in the answer of a network: a tensor, or the first of several.

    Raises:
        UserError: If there is none.
    """
    first = answer[0] if isinstance(answer, (tuple, list)) and answer else answer
    if not isinstance(first, Tensor):
        raise UserError(
            f"A network must return a tensor, samples first. Got {type(first).__name__}."
        )
    return first


def called(module: Callable[..., Any], given: Sequence[Tensor], what: str, hint: str) -> Tensor:
    """Returns what a network makes of an input; its errors are told in one line.

    Args:
        module: The network.
        given: Its arguments.
        what: What it is, for messages.
        hint: What to change where it cannot take the input.

    Raises:
        UserError: If it fails or returns no tensor.
    """
    try:
        return tensor_of(module(*given))
    except UserError:
        raise
    except Exception as error:  # a border: the user's network may raise anything
        shapes = " and ".join(str(tuple(x.shape)) for x in given)
        raise UserError(
            f"{what} cannot take inputs of shape {shapes}: {first_line(error)}. {hint}"
        ) from error


def image_like(shape: tuple[int, ...]) -> bool:
    """Returns whether samples of this shape, without the batch, can be images."""
    return len(shape) == 3 and shape[0] in {1, 3}


def space_of_output(shape: tuple[int, ...], value_range: Range | None) -> Space:
    """Returns the space of what a network makes: with a range, images of bytes.

    Raises:
        UserError: If there is a range and no image.
    """
    if image_like(shape):
        return Space("image", shape, None if value_range is None else BYTES)
    if value_range is not None:
        raise UserError(
            f"range= is for images, and the network makes samples of shape {shape}. Leave it out, "
            "or say what image that is: shape=(1, 28, 28), in written form shape=1+28+28."
        )
    return Space("vector", (math.prod(shape),))


@torch.no_grad()
def output_shape(net: nn.Module, latent: Latent) -> tuple[int, ...]:
    """Returns the shape of one sample that a generator network makes, by asking it for two.

    Raises:
        UserError: If it cannot take its latents.
    """
    rng = torch.Generator().manual_seed(0)
    z = latent.drawn(net, 2, rng)
    with evaluating([net]), global_noise(rng):
        y = called(net, [z], "The generator", "Give the size of its input: latent=SIZE.")
    if y.ndim < 2 or len(y) != 2:
        raise UserError(
            f"The generator must return one sample for each latent. For 2 latents it returned "
            f"shape {tuple(y.shape)}."
        )
    return tuple(y.shape[1:])
