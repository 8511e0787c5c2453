"""Generative adversarial networks (Goodfellow et al., 2014), https://arxiv.org/abs/1406.2661.

A generator maps noise to samples, a critic scores samples, and each is trained against the other.
The default is R3GAN (Huang et al., 2024, https://arxiv.org/abs/2501.05441): scores of real and
fake samples are compared in pairs, and the critic's slope is held down at both,

    critic     E softplus(D(G(z)) - D(x)) + gamma/2 (E |grad D(x)|^2 + E |grad D(G(z))|^2)
    generator  E softplus(D(x) - D(G(z)))

where x is a real sample, z standard normal noise, D the critic's score and G the generator.
"""

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Generic, TypeVar, final

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.parametrize import register_parametrization
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.model import BATCH, Adversarial, Decoder, Generative, Model, refuse_context
from gantlet.core.rng import Rng
from gantlet.core.spec import Between, Later
from gantlet.models.augmentation import augmented
from gantlet.models.losses import AdversarialObjective, LossName, LossOptions, PenaltyName
from gantlet.models.nets import (
    Down,
    FromPatches,
    LatentScaled,
    PixelNorm,
    PlayerNetName,
    ResidualConv,
    Scaling,
    ToPatches,
    Up,
    channels,
    convolution,
    kind_of_net,
    leaky,
    map_channels,
    map_sizes,
    mlp,
    patch_side,
    seeded,
    sizes,
    start_at_one,
    start_small,
)
from gantlet.models.robust import AttackedName, CriticAttack, CriticEnsemble, NormName


@final
class SpectralNorm(nn.Module):
    """Divides a weight by its largest singular value, found by power iteration.

    A convolution's weight counts as a matrix with one row for each output channel.

    Source: Miyato et al., 2018, https://arxiv.org/abs/1802.05957, Algorithm 1.
    Differs from the paper: ``iterations`` from a fixed start in place of one from where the last
    forward pass ended, so that a loss depends on its weights and inputs alone. Where the largest
    singular values lie close together the result is a few per cent too small.

    Args:
        weight: A weight of the shape to be divided.
        iterations: Multiplications with the weight and its transpose.
    """

    start: Tensor

    def __init__(self, weight: Tensor, iterations: int = 16) -> None:
        super().__init__()
        self.iterations = iterations
        columns = weight.flatten(1).shape[1]
        self.register_buffer("start", normalize(torch.randn(columns), dim=0))

    @override
    def forward(self, weight: Tensor) -> Tensor:
        """Returns the weight, divided."""
        W = weight.flatten(1)
        with torch.no_grad():
            v = self.start
            for _ in range(self.iterations):
                u = normalize(W.mv(v), dim=0)
                v = normalize(W.t().mv(u), dim=0)
            u = normalize(W.mv(v), dim=0)
        # For singular vectors u and v, d sigma / dW = u v^T.
        sigma = u.dot(W.mv(v))
        return weight / sigma


def normalise(net: nn.Module) -> None:
    """Holds every linear and convolutional layer inside ``net`` at spectral norm 1."""
    for layer in list(net.modules()):
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            register_parametrization(layer, "weight", SpectralNorm(layer.weight))


@final
class CriticNetwork(nn.Module):
    """Features of a sample and a linear score of them.

    Args:
        body: Maps scaled samples, shape ``(n, *space.shape)``, to features ``(n, size)``.
        size: Number of features.
    """

    def __init__(self, body: nn.Module, size: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(size, 1)

    def features(self, x: Tensor) -> Tensor:
        """Returns the features of which the score is a linear function, shape ``(n, size)``."""
        features: Tensor = self.body(x)
        return features

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns one score for each sample, shape ``(n,)``; higher is more real."""
        score: Tensor = self.head(self.features(x))
        return score.squeeze(1)


def critic(
    space: Space, *, width: int, depth: int, spectral: bool = False, net: PlayerNetName = "auto"
) -> CriticNetwork:
    """Returns an untrained critic of scaled samples of ``space``, without normalisation layers.

    Args:
        space: What one sample is.
        width: Width of the hidden layers of an MLP; strided convolutions have ``width // 2``
            channels up to 8x8, residual ones ``width // 4``, and fewer above.
        depth: Hidden layers of an MLP; strided convolutions of the smallest maps, or residual
            blocks at each resolution.
        spectral: Whether every layer is divided by its spectral norm.
        net: ``mlp``, ``strided``, ``conv`` (residual blocks), or ``auto``: strided convolutions
            for images larger than 28x28 grey.

    Raises:
        UserError: If convolutions are asked for where samples are not images.
    """
    kind = kind_of_net(space, net)
    if kind == "strided":
        made = _strided_critic(space, width, depth)
    elif kind == "conv":
        # A layer of zeros has no direction to be normalised along.
        made = _convolutional_critic(space, width, depth, zero=not spectral)
    else:
        layers = mlp(space.size, *[width] * depth)
        made = CriticNetwork(nn.Sequential(nn.Flatten(), layers, leaky()), width)
    if spectral:
        normalise(made)
    return made


def _convolutional_critic(space: Space, width: int, depth: int, *, zero: bool) -> CriticNetwork:
    steps = sizes(space)
    widths = [channels(width, size) for size in steps]
    layers: list[nn.Module] = [convolution(space.shape[0], widths[0])]
    for i, wide in enumerate(widths):
        layers += [Down(widths[i - 1], wide)] if i else []
        layers += [ResidualConv(wide, zero=zero) for _ in range(depth)]
    height, across = steps[-1]
    body = nn.Sequential(*layers, leaky(), nn.Flatten())
    return CriticNetwork(body, widths[-1] * height * across)


def _strided_critic(space: Space, width: int, depth: int) -> CriticNetwork:
    steps = map_sizes(space)
    layers, seen, side = [], space.shape[0], patch_side(space)
    for size in steps:
        wide = map_channels(width, size)
        layers += [ToPatches(side), convolution(seen * side**2, wide), leaky()]
        seen, side = wide, 2
    for _ in range(depth - 1):
        layers += [convolution(seen, seen), leaky()]
    height, across = steps[-1]
    made = CriticNetwork(nn.Sequential(*layers, nn.Flatten()), seen * height * across)
    start_at_one(made)
    start_small(made.head)
    return made


@final
class Generator(Decoder, LatentScaled):
    """Maps standard normal noise to samples.

    Args:
        space: What one sample is.
        latent: Latent dimension.
        net: Maps noise ``(n, latent)`` to scaled samples ``(n, *space.shape)``.
    """

    def __init__(self, space: Space, latent: int, net: nn.Module) -> None:
        super().__init__()
        self.space = space
        self.latent_dim = latent
        self.net = net
        self.scaling = Scaling(space)
        # A level stands for the interval [level, level + 1); its middle is half a level up.
        self.middle = 0.5 if space.levels else 0.0

    @override
    def prior(self, n: int, *, rng: torch.Generator) -> Tensor:
        shift = self.scaling.shift
        noise = torch.randn(n, self.latent_dim, generator=rng, device=shift.device)
        return self.latent_scale * noise.to(shift.dtype)

    @override
    def forward(self, z: Tensor) -> Tensor:
        """Returns scaled samples, shape ``(n, *space.shape)``; levels are not rounded."""
        y: Tensor = self.net(z)
        return y

    @override
    def _decode(self, z: Tensor, context: Tensor | None) -> Tensor:
        return self.scaling.inverse(self(z)) - self.middle

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        return self.scaling.samples(self(self.prior(n, rng=rng)))


def generator(
    space: Space, *, latent: int, width: int, depth: int, net: PlayerNetName = "auto"
) -> nn.Sequential:
    """Returns an untrained map of latent vectors ``(n, latent)`` to ``(n, *space.shape)``.

    What comes out is in scaled numbers: between -1 and 1 for a discrete space, where a hyperbolic
    tangent gives the ends of the range for nothing, and not bounded for a continuous one.

    Args:
        space: What one sample is.
        latent: Latent dimension.
        width: Width of the hidden layers of an MLP; strided convolutions have ``width // 2``
            channels up to 8x8, residual ones ``width // 4``, and fewer above.
        depth: Hidden layers of an MLP; strided convolutions of the smallest maps, or residual
            blocks at each resolution.
        net: ``mlp``, ``strided``, ``conv`` (residual blocks), or ``auto``: strided convolutions
            for images larger than 28x28 grey.

    Raises:
        UserError: If convolutions are asked for where samples are not images.
    """
    kind = kind_of_net(space, net)
    if kind == "strided":
        layers = _strided_generator(space, latent, width, depth)
    elif kind == "conv":
        layers = _convolutional_generator(space, latent, width, depth)
    else:
        layers = mlp(latent, *[width] * depth, space.size)
        layers.append(nn.Unflatten(1, space.shape))
    return layers.append(nn.Tanh()) if space.levels else layers


def _convolutional_generator(space: Space, latent: int, width: int, depth: int) -> nn.Sequential:
    steps = sizes(space)[::-1]
    widths = [channels(width, size) for size in steps]
    first = (widths[0], *steps[0])
    layers: list[nn.Module] = [
        nn.Linear(latent, widths[0] * steps[0][0] * steps[0][1]),
        nn.Unflatten(1, first),
    ]
    for i, (wide, size) in enumerate(zip(widths, steps, strict=True)):
        layers += [Up(widths[i - 1], wide, size)] if i else []
        layers += [ResidualConv(wide) for _ in range(depth)]
    return nn.Sequential(*layers, leaky(), convolution(widths[-1], space.shape[0]))


def _strided_generator(space: Space, latent: int, width: int, depth: int) -> nn.Sequential:
    steps = map_sizes(space)[::-1]
    height, across = steps[0]
    wide = map_channels(width, steps[0])
    layers: list[nn.Module] = [
        nn.Linear(latent, wide * height * across),
        nn.Unflatten(1, (wide, height, across)),
        *_unit(),
    ]
    for _ in range(depth - 1):
        layers += [convolution(wide, wide), *_unit()]
    for size in steps[1:]:
        narrow = map_channels(width, size)
        layers += [convolution(wide, 4 * narrow), FromPatches(2, size), *_unit()]
        wide = narrow
    side, (colours, *whole) = patch_side(space), space.shape
    last = convolution(wide, colours * side**2)
    made = nn.Sequential(*layers, last, FromPatches(side, (whole[0], whole[1])))
    start_at_one(made)
    start_small(last)
    return made


def _unit() -> tuple[nn.Module, nn.Module]:
    return PixelNorm(), leaky()


def energy_distance(x: Tensor, y: Tensor, *, block: int = 1024) -> Tensor:
    """Returns ``2 E|X - Y| - E|X - X'| - E|Y - Y'|`` from samples, a scalar in fp64.

    The estimate is unbiased, pairs of a sample with itself left out, and so can fall below zero
    where the distributions agree. It is in the units of the samples (their Euclidean norm over
    all components), not squared and not under a root.

    Source: Szekely and Rizzo, 2013, https://doi.org/10.1016/j.jspi.2013.03.018.

    Args:
        x: Samples, shape ``(n, ...)``, at least two.
        y: Samples, shape ``(m, ...)``, at least two.
        block: Rows of the table of distances that are held at once.
    """
    # Near pairs lose their digits to cancellation in fp32.
    x, y = x.flatten(1).double(), y.flatten(1).double()
    n, m = len(x), len(y)
    across = _sum(x, y, block) / (n * m)
    within = _sum(x, x, block) / (n * (n - 1)) + _sum(y, y, block) / (m * (m - 1))
    return 2 * across - within


def _sum(x: Tensor, y: Tensor, block: int) -> Tensor:
    return torch.stack([_distances(part, y).sum() for part in torch.split(x, block)]).sum()


def _distances(x: Tensor, y: Tensor) -> Tensor:
    square = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T
    return square.clamp(min=0).sqrt()


class SampleGame(Generative):
    """A game played against critics, whose model is selected by its samples.

    By the energy distance from validation samples, components scaled, unless a game says other.
    """

    @property
    @abc.abstractmethod
    def _scaling(self) -> Callable[[Tensor], Tensor]:
        """Gives samples about zero mean and unit size."""

    @abc.abstractmethod
    def _loss(self, player: str, batch: Tensor, rng: torch.Generator, *, coupled: bool) -> Tensor:
        """Returns the loss of ``player``; if ``coupled``, differentiable in all players."""

    @override
    def loss(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        return self._loss(player, batch, rng, coupled=False)

    @override
    def coupled(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        return self._loss(player, batch, rng, coupled=True)

    @override
    @torch.no_grad()
    def validate(self, x: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns how far as many samples are from ``x``, a scalar: ``distance``."""
        return self._apart(x, self.model.sample(len(x), rng=rng))

    @override
    def distance(self, x: Tensor, samples: Tensor) -> Tensor | None:
        """Returns how far ``samples`` are from ``x``, a scalar, lower is better."""
        return self._apart(x, samples)

    def _apart(self, x: Tensor, samples: Tensor) -> Tensor:
        """Returns the energy distance between two sets of scaled samples."""
        return energy_distance(self._scaling(x), self._scaling(samples))


class AdversarialGame(SampleGame, Adversarial):
    """A game played against critics that score single samples."""


# ----------------------------------------------------------------------------
# A buffer of past fakes, from which a critic does not forget what it once rejected.
# ----------------------------------------------------------------------------


@final
class PastFakes(nn.Module):
    """Fake samples of earlier steps, of which a critic sees some among the new ones.

    Half of a batch of fakes is drawn from the buffer, as soon as it holds any. After each step it
    takes up half of the new fakes: they are added while there is room, and replace random ones
    after that. Its samples are buffers of the module, saved and restored with the critic.

    Source: Shrivastava et al., 2017, https://arxiv.org/abs/1612.07828, section 2.3.

    Args:
        shape: The shape of one sample.
        size: Number of samples that it holds.
    """

    samples: Tensor
    held: Tensor

    def __init__(self, shape: tuple[int, ...], size: int) -> None:
        super().__init__()
        self.register_buffer("samples", torch.zeros(size, *shape))
        self.register_buffer("held", torch.zeros((), dtype=torch.long))
        self._new: Tensor | None = None

    def mixed(self, fake: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns fakes, shape ``(n, *shape)``, the last ``n // 2`` from the buffer if it has any.

        It is a function of its arguments and the buffer, which it leaves alone.
        """
        self._new = fake.detach()
        half = len(fake) - len(fake) // 2
        # Without a look at the number that is held, so that costs can be counted on shapes alone.
        drawn = torch.rand(len(fake) // 2, generator=rng, device=fake.device)
        index = (drawn * self.held).long().clamp(max=len(self.samples) - 1)
        past = self.samples[index].to(fake.dtype)
        return torch.cat([fake[:half], torch.where(self.held > 0, past, fake[half:])])

    @torch.no_grad()
    def advance(self, *, rng: torch.Generator) -> None:
        """Takes up half of the fakes that were seen last."""
        if self._new is None:
            return
        held, size = int(self.held), len(self.samples)
        new = self._new[: min(max(1, len(self._new) // 2), size)].to(self.samples.dtype)
        room = min(size - held, len(new))
        added = torch.arange(held, held + room, device=new.device)
        replaced = torch.randperm(held, generator=rng, device=new.device)[: len(new) - room]
        self.samples[torch.cat([added, replaced])] = new
        self.held.add_(room)
        self._new = None


# ----------------------------------------------------------------------------
# Generative adversarial networks (Goodfellow et al., 2014), https://arxiv.org/abs/1406.2661.
# ----------------------------------------------------------------------------


ModelT = TypeVar("ModelT", bound=Model)


class GeneratorGame(SampleGame, Generic[ModelT]):
    """A game of one generator, and of one critic where there is one.

    Args:
        model: The generator.
        net: The critic, or None.
    """

    def __init__(self, model: ModelT, net: nn.Module | None) -> None:
        self._model = model
        critics = {} if net is None else {"critic": net}
        self._players: Mapping[str, nn.Module] = {**critics, "generator": model}

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return self._players

    @property
    @override
    def model(self) -> ModelT:
        return self._model


class ScaledGame(GeneratorGame[Generator]):
    """A game in which both players see scaled samples.

    For discrete levels, real samples are round and the generator's output is not, which
    would give every fake away. So both are seen with the same noise added, uniform and one
    level wide: two distributions agree exactly when they agree with it.

    Args:
        model: The generator.
        net: The critic, of scaled samples, or None.
    """

    @override
    def prepare(self, batch: Tensor, *, rng: torch.Generator) -> None:
        self._model.scaling.fit(batch)

    @property
    @override
    def _scaling(self) -> Scaling:
        return self._model.scaling

    def _see(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Returns samples as they are judged: scaled, discrete ones with noise."""
        return self._model.scaling.noisy(x, rng=rng)


class DuelGame(ScaledGame):
    """A game of one critic and one generator.

    Args:
        model: The generator.
        net: The critic, of scaled samples.
        rules: Loss and penalty.
    """

    def __init__(self, model: Generator, net: nn.Module, rules: AdversarialObjective) -> None:
        super().__init__(model, net)
        self._critic = net
        self._rules = rules

    @property
    def net(self) -> nn.Module:
        """The critic, of scaled samples."""
        return self._critic

    @property
    def rules(self) -> AdversarialObjective:
        """Loss, penalty and attack of critic and generator."""
        return self._rules

    @override
    def _loss(self, player: str, batch: Tensor, rng: torch.Generator, *, coupled: bool) -> Tensor:
        real = self._see(batch, rng)
        z = self._model.prior(len(batch), rng=rng)

        def made() -> Tensor:
            fake = self._model.decode(z)
            return self._see(self._judged(fake, rng) if player == "critic" else fake, rng)

        return self._rules.of(player, self._critic, real, made, rng=rng, coupled=coupled)

    def _judged(self, fake: Tensor, rng: torch.Generator) -> Tensor:
        """Returns the fakes that the critic is trained on."""
        del rng
        return fake


@final
class GanGame(DuelGame, AdversarialGame):
    """The critic separates real from fake samples; the generator makes it err.

    Args:
        model: The generator.
        net: The critic, of scaled samples.
        rules: Loss and penalty.
        history: Number of past fakes among which the critic's are drawn; 0 for none.
        augment: Whether both players see images changed at random.
    """

    def __init__(
        self,
        model: Generator,
        net: nn.Module,
        rules: AdversarialObjective,
        history: int = 0,
        *,
        augment: bool = False,
    ) -> None:
        super().__init__(model, net, rules)
        self._augments = augment
        self._past: PastFakes | None = None
        if history:
            self._past = PastFakes(model.space.shape, history).to(model.scaling.shift.device)
            # A part of the critic, so that it is saved and restored with it.
            net.add_module("past", self._past)

    @override
    def advance(self, *, rng: torch.Generator) -> None:
        if self._past is not None:
            self._past.advance(rng=rng)

    @property
    @override
    def remembers(self) -> bool:
        return self._past is not None

    @override
    def _see(self, x: Tensor, rng: torch.Generator) -> Tensor:
        seen = super()._see(x, rng)
        return augmented(seen, rng=rng) if self._augments else seen

    @override
    def _judged(self, fake: Tensor, rng: torch.Generator) -> Tensor:
        return fake if self._past is None else self._past.mixed(fake, rng=rng)

    @override
    def _scores(self, x: Tensor, context: Tensor | None) -> Tensor:
        score: Tensor = self._critic(self._model.scaling(x + self._model.middle))
        return score


LAZY = 4
"""Of how many pairs of a batch one is penalised in a critic of strided convolutions."""

FIRM = 4.0
"""How many times ``gamma`` a critic of strided convolutions is penalised by. With 0.3 as for
perceptrons it ran away from the generator within 60 steps of 64 on CIFAR-10: a Frechet distance of
30 where it was 23 with 1 and 26 with 4.8 (10 CPU s, one run each; repeats differed by up to 5)."""


def penalty_interval(every: int, space: Space, net: PlayerNetName) -> int:
    """Returns of how many pairs one is penalised: ``every``, or if it is 0 as suits the net."""
    return every or (LAZY if kind_of_net(space, net) == "strided" else 1)


class GanOptions(LossOptions):
    """The options that the families of GANs share, as ``Gan`` describes them."""

    __slots__ = ()

    latent: int
    width: int
    depth: int
    net: PlayerNetName
    spectral: bool
    penalty_every: int

    @property
    def solver(self) -> str:
        """Adam without momentum, which adversarial players do not tolerate."""
        return "adam:lr=0.001,beta1=0.0,beta2=0.99"

    def batch_size(self, space: Space) -> int:
        """Returns the samples in a batch: 64 with strided convolutions.

        Twice the steps for the same work. On CIFAR-10, 20 CPU s of one loaded processor, the
        Frechet distance was 24 with 64 and 29 with 128, one run each, which differed in the
        penalty and the latent dimension too.
        """
        return 64 if kind_of_net(space, self.net) == "strided" else BATCH

    def rules_on(self, space: Space) -> AdversarialObjective:
        """Returns loss and penalty for samples of ``space``."""
        every = penalty_interval(self.penalty_every, space, self.net)
        firm = FIRM if kind_of_net(space, self.net) == "strided" else 1.0
        return replace(self.rules, every=every, gamma=firm * self.gamma)

    def networks(
        self, space: Space, rng: Rng, *, family: str, stream: str = "init", pack: int = 1
    ) -> tuple[Generator, CriticNetwork]:
        """Returns an untrained generator and critic for samples of ``space``.

        Args:
            space: What one sample is.
            rng: Draws the weights; the networks are on its device.
            family: The family that asks, for messages.
            stream: The name of the random stream.
            pack: Number of samples that the critic sees at once, side by side along the first
                dimension.

        Raises:
            UserError: If ``space`` holds neither vectors nor images, or convolutions are asked
                for on vectors.
        """
        if space.kind not in {"vector", "image"}:
            raise UserError(f"{family} models vectors and images. Got {space.label}.")
        size = {"width": self.width, "depth": self.depth}
        seen = Space(space.kind, (pack * space.shape[0], *space.shape[1:]), space.levels)
        # Of one kind with the generator, however large a pack is.
        net = kind_of_net(space, self.net)
        with seeded(rng.stream(stream)):
            made = generator(space, latent=self.latent, net=self.net, **size)
            judge = critic(seen, spectral=self.spectral, net=net, **size)
        return Generator(space, self.latent, made).to(rng.device), judge.to(rng.device)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Gan(GanOptions):
    """A generative adversarial network for vectors and images.

    Source: Goodfellow et al., 2014, https://arxiv.org/abs/1406.2661; by default Huang et al.,
    2024 (R3GAN), https://arxiv.org/abs/2501.05441.

    Differs from the paper: an MLP up to 28x28 grey, and for larger images strided convolutions on
    patches, the penalty on one pair in four; with ``net=conv`` blocks of two plain 3x3
    convolutions with bilinear resampling; a hyperbolic tangent at the end of a generator of
    discrete samples; uniform noise on what the critic sees of them; constant learning rate,
    decay and ``gamma``; no augmentation unless asked for. Adversarial training and ensembles of
    critics as ``gantlet.models.robust`` describes them.

    Attributes:
        latent: Latent dimension.
        width: Width of the hidden layers; strided convolutions have half as many channels.
        depth: Hidden layers; convolutions of the smallest maps.
        net: ``mlp``, ``strided`` convolutions, ``conv`` for residual ones, with a quarter as many
            channels and ``depth`` blocks at each resolution, or ``auto``: strided convolutions
            for images larger than 28x28 grey.
        loss: Adversarial loss.
        penalty: Gradient penalty.
        penalty_every: One pair in so many of a batch is penalised; 0 takes 4 with strided
            convolutions and 1 otherwise.
        gamma: Weight of the penalty, ``gamma / 2 * E |grad D|^2`` on scaled samples; strided
            convolutions are penalised by four times as much.
        spectral: Whether the critic's layers are divided by their spectral norms.
        augment: Whether both players see images with another brightness, moved and with a hole,
            at random: for few images.
        history: Number of past fakes that are kept: half of those that the critic is trained on
            are drawn from them (Shrivastava et al., 2017). 0 for none.
        ema: Decay of the exponential moving average (EMA) of the generator's weights.
        adversarial: Which samples are attacked before the critic is trained on them.
        attack_radius: Largest norm of the perturbation of a whole scaled sample.
        attack_steps: Gradient steps of the attack.
        attack_norm: Norm of the perturbation: L2, or the largest component.
        critics: Number of critics, each with its own loss, whose mean the generator sees.
    """

    latent: Annotated[int, Between(1)] = 32
    width: Annotated[int, Between(4)] = 128
    depth: Annotated[int, Between(1)] = 2
    net: PlayerNetName = "auto"
    loss: LossName = "relativistic"
    penalty: PenaltyName = "r1r2"
    penalty_every: Annotated[int, Between(0), Later()] = 0
    gamma: Annotated[float, Between(0)] = 0.3
    spectral: bool = False
    augment: Annotated[bool, Later()] = False
    history: Annotated[int, Between(0, 2**24), Later()] = 0
    ema: Annotated[float, Between(0, 1, below=True)] = 0.995
    adversarial: Annotated[AttackedName, Later()] = "none"
    attack_radius: Annotated[float, Between(0, above=True), Later()] = 0.5
    attack_steps: Annotated[int, Between(1), Later()] = 3
    attack_norm: Annotated[NormName, Later()] = "l2"
    critics: Annotated[int, Between(1), Later()] = 1

    def __post_init__(self) -> None:
        """Checks that an attack that is described is made.

        Raises:
            UserError: If there are settings of an attack, and nothing is attacked.
        """
        own = ("attack_radius", "attack_steps", "attack_norm")
        given = [
            f.name for f in fields(self) if f.name in own and getattr(self, f.name) != f.default
        ]
        if self.adversarial == "none" and given:
            raise UserError(
                f"{' and '.join(given)} describes an attack, and adversarial=none makes none. "
                "Give adversarial=both, real or fake."
            )

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> GanGame:
        """Returns an untrained GAN for vectors or images.

        Raises:
            UserError: If ``space`` is neither, or convolutions or augmentation are asked for on
                vectors, or there is a context.
        """
        refuse_context("gan", context_space)
        if self.augment and space.kind != "image":
            raise UserError(f"augment=true needs images. Got {space.label}; leave it out.")
        made, first = self.networks(space, rng, family="gan")
        # The first critic has the stream of a single one: with critics=1 nothing changes.
        streams = [f"init critic {i + 1}" for i in range(1, self.critics)]
        others = [self.networks(space, rng, family="gan", stream=s)[1] for s in streams]
        judge = CriticEnsemble([first, *others]) if others else first
        rules = replace(self.rules_on(space), attack=self._attack)
        return GanGame(made, judge, rules, self.history, augment=self.augment)

    @property
    def _attack(self) -> CriticAttack | None:
        if self.adversarial == "none":
            return None
        return CriticAttack(
            on=self.adversarial,
            radius=self.attack_radius,
            steps=self.attack_steps,
            norm=self.attack_norm,
        )
