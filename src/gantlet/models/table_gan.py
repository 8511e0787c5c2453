"""A GAN for rows of numbers and categories (after CTGAN), https://arxiv.org/abs/1907.00503.

The generator gives each number in a coding in which it is about normal, and each category as
probabilities, to which Gumbel noise gives a sharp but differentiable draw. The critic sees packs
of rows and is held to slope 1, so that it estimates a Wasserstein distance.
"""

import abc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, final

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, softmax
from typing_extensions import override

from gantlet.core.columns import ColumnSlice, columns_of
from gantlet.core.data import Space
from gantlet.core.errors import UserError, unknown
from gantlet.core.model import Decoder, refuse_context
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.models.gan import CriticNetwork, GeneratorGame
from gantlet.models.losses import AdversarialObjective, LossName, LossOptions, PenaltyName
from gantlet.models.nets import leaky, mlp, seeded
from gantlet.models.pac_gan import packed
from gantlet.models.table_synthesizers import table_columns

Numbers = Literal["quantile", "modes"]
"""How numbers are coded: by their quantile, or by one of several modes and the place in it."""

# ----------------------------------------------------------------------------
# How the players see numbers.
# ----------------------------------------------------------------------------


class NumberCoding(nn.Module, abc.ABC):
    """The coding of all columns of numbers, fitted once to real rows.

    Attributes:
        modes: How many components beside the value a number has: indicators of its mode.
    """

    modes: int

    @abc.abstractmethod
    def fit(self, k: int, x: Tensor, *, rng: torch.Generator) -> None:
        """Fits column ``k`` of the numbers to values, float64, shape ``(n,)``."""

    @abc.abstractmethod
    def encode(self, k: int, x: Tensor, *, rng: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Returns the value, shape ``(n,)``, and the mode, shape ``(n, modes)``, of numbers.

        Draws what is random from ``rng``; without one the likeliest is taken.
        """

    @abc.abstractmethod
    def decode(self, k: int, value: Tensor, mode: Tensor) -> Tensor:
        """Returns the numbers of coded ones, differentiable in ``value``."""

    def limit(self, value: Tensor) -> Tensor:
        """Returns a generator's value inside the range of coded ones."""
        return value


# Quantiles that are kept of a column.
_KNOTS = 256


@final
class QuantileCoding(NumberCoding):
    """The normal score of a number's quantile; of equal numbers a random one of theirs.

    Args:
        count: How many columns of numbers there are.
    """

    modes = 0
    knots: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("knots", self._scores(_places()).expand(count, -1).clone())

    @staticmethod
    def _scores(place: Tensor) -> Tensor:
        share = (place + 0.5) / _KNOTS
        scores: Tensor = torch.special.ndtri(share.clamp(0.25 / _KNOTS, 1 - 0.25 / _KNOTS))
        return scores

    @override
    @torch.no_grad()
    def fit(self, k: int, x: Tensor, *, rng: torch.Generator) -> None:
        del rng  # nothing is random
        at = ((_places() + 0.5) / _KNOTS).to(x.device)
        self.knots[k] = torch.quantile(x, at)

    @override
    def encode(self, k: int, x: Tensor, *, rng: torch.Generator | None) -> tuple[Tensor, Tensor]:
        knots, x = self.knots[k], x.double().contiguous()
        low = torch.searchsorted(knots, x)
        high = torch.searchsorted(knots, x, right=True)
        u = torch.full_like(x, 0.5)
        if rng is not None:
            u = torch.rand(x.shape, generator=rng, device=rng.device, dtype=x.dtype)
        among = low + u * (high - 1 - low)
        left = (low - 1).clamp(0, _KNOTS - 2)
        step = (knots[left + 1] - knots[left]).clamp(min=1e-30)
        between = left + ((x - knots[left]) / step).clamp(0, 1)
        place = torch.where(high > low, among, between)
        return self._scores(place).float(), x.new_zeros(len(x), 0).float()

    @override
    def decode(self, k: int, value: Tensor, mode: Tensor) -> Tensor:
        knots = self.knots[k]
        place = torch.special.ndtr(value.double()) * _KNOTS - 0.5
        # Half a step beyond the outermost knots goes on as the step before it.
        left = place.detach().floor().long().clamp(0, _KNOTS - 2)
        number: Tensor = knots[left] + (place - left) * (knots[left + 1] - knots[left])
        return number


def _places() -> Tensor:
    return torch.arange(_KNOTS, dtype=torch.float64)


# The most modes of a column, and the least share of the rows that a mode has.
_MODES, _LEAST = 10, 0.005
# Deviations of a mode that count as 1.
_WIDE = 4.0


@final
class ModeCoding(NumberCoding):
    """Mode-specific normalisation: one of the Gaussians of a mixture, and the place in it.

    Source: Xu et al., 2019, https://arxiv.org/abs/1907.00503, section 4.2.

    Args:
        count: How many columns of numbers there are.
    """

    modes = _MODES
    means: Tensor
    stds: Tensor
    shares: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        shape = (count, _MODES)
        self.register_buffer("means", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("stds", torch.ones(shape, dtype=torch.float64))
        self.register_buffer("shares", torch.full(shape, 1 / _MODES, dtype=torch.float64))

    @override
    @torch.no_grad()
    def fit(self, k: int, x: Tensor, *, rng: torch.Generator) -> None:
        import warnings

        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import BayesianGaussianMixture
        from threadpoolctl import threadpool_limits

        seed = int(torch.randint(2**31 - 1, (), generator=rng, device=rng.device))
        shift, scale = x.mean(), x.std(correction=0).clamp(min=1e-12)
        mixture = BayesianGaussianMixture(
            n_components=min(_MODES, len(x)),
            weight_concentration_prior=1e-3,
            random_state=seed,
        )
        with warnings.catch_warnings(), threadpool_limits(torch.get_num_threads()):
            warnings.simplefilter("ignore", ConvergenceWarning)
            mixture.fit(((x - shift) / scale).cpu().numpy()[:, None])
        found = [mixture.weights_, mixture.means_[:, 0], mixture.covariances_[:, 0, 0] ** 0.5]
        shares, means, stds = (torch.from_numpy(a).to(x) for a in found)
        kept = len(shares)
        self.shares[k] = 0.0
        self.shares[k, :kept] = torch.where(shares < _LEAST, 0.0, shares)
        self.means[k, :kept] = means * scale + shift
        self.stds[k, :kept] = stds * scale

    @override
    def encode(self, k: int, x: Tensor, *, rng: torch.Generator | None) -> tuple[Tensor, Tensor]:
        z = (x.double()[:, None] - self.means[k]) / self.stds[k]
        weight = self.shares[k].log() - self.stds[k].log() - z.square() / 2
        which = weight.argmax(1) if rng is None else _gumbel(weight, rng).argmax(1)
        value = z.gather(1, which[:, None])[:, 0] / _WIDE
        return value.clamp(-1, 1).float(), one_hot(which, _MODES).float()

    @override
    def decode(self, k: int, value: Tensor, mode: Tensor) -> Tensor:
        which = mode.argmax(1)
        return value.double() * _WIDE * self.stds[k][which] + self.means[k][which]

    @override
    def limit(self, value: Tensor) -> Tensor:
        return value.tanh()


def _gumbel(logits: Tensor, rng: torch.Generator) -> Tensor:
    """Returns logits with Gumbel noise: the largest is a draw from their softmax."""
    u = torch.rand(logits.shape, generator=rng, device=rng.device, dtype=torch.float64)
    return logits - (-u.clamp(1e-12, 1 - 1e-12).log()).log().to(logits.dtype)


# ----------------------------------------------------------------------------
# How the players see rows.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class _Block:
    """Coded components of one column.

    Attributes:
        column: The column.
        number: Which of the numbers it is, or None for a category.
        value: The component of its value, or None for a category.
        choices: The components of what is chosen: category, mode, missing or not; each a range.
    """

    column: ColumnSlice
    number: int | None
    value: int | None
    choices: tuple[range, ...]


def _blocks(columns: Sequence[ColumnSlice], modes: int) -> Iterator[_Block]:
    start = number = 0
    for column in columns:
        if column.kind == "category":
            yield _Block(column, None, None, (range(start, start + column.values),))
            start += column.values
            continue
        widths = [w for w in (modes, 2 * column.gaps) if w]
        ends = [start + 1 + sum(widths[: i + 1]) for i in range(len(widths))]
        choices = tuple(range(end - w, end) for end, w in zip(ends, widths, strict=True))
        yield _Block(column, number, start, choices)
        number, start = number + 1, start + 1 + sum(widths)


@final
class RowCoding(nn.Module):
    """Between rows and what the players see, fitted once to real rows.

    Args:
        space: The space of a row.
        numbers: How numbers are coded.
    """

    fillers: Tensor
    whole: Tensor

    def __init__(self, space: Space, numbers: Numbers) -> None:
        super().__init__()
        columns = columns_of(space)
        count = sum(c.kind == "number" for c in columns)
        self.numbers = QuantileCoding(count) if numbers == "quantile" else ModeCoding(count)
        self.blocks = tuple(_blocks(columns, self.numbers.modes))
        last = self.blocks[-1]
        self.size = last.choices[-1].stop if last.choices else (last.value or 0) + 1
        self.register_buffer("fillers", torch.zeros(count))
        self.register_buffer("whole", torch.zeros(count, dtype=torch.bool))

    @torch.no_grad()
    def fit(self, x: Tensor, *, rng: torch.Generator) -> None:
        """Fits the coding of numbers to rows, shape ``(n, *space.shape)``."""
        for block in self.blocks:
            if block.number is None:
                continue
            own = x[block.column.present(x), block.column.start].double()
            own = own if len(own) else x[:, block.column.start].double()
            self.numbers.fit(block.number, own, rng=rng)
            self.fillers[block.number] = block.column.filler(x)
            self.whole[block.number] = bool((own == own.round()).all())

    def encode(self, x: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
        """Returns rows as the critic sees them, shape ``(n, size)``."""
        return torch.cat([self._encoded(b, x, rng) for b in self.blocks], 1)

    def _encoded(self, block: _Block, x: Tensor, rng: torch.Generator | None) -> Tensor:
        column = block.column
        if block.number is None:
            return one_hot(column.codes(x), column.values).float()
        there = column.present(x).float()[:, None]
        value, mode = self.numbers.encode(block.number, x[:, column.start], rng=rng)
        parts = [value[:, None] * there, mode * there]
        return torch.cat([*parts, *([there, 1 - there] if column.gaps else [])], 1)

    def drawn(self, raw: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor:
        """Returns the output of a generator as rows are coded.

        Args:
            raw: Shape ``(n, size)``.
            choose: Makes shares of logits, shape ``(n, values)``.
        """
        return torch.cat([self._drawn(b, raw, choose) for b in self.blocks], 1)

    def _drawn(self, block: _Block, raw: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor:
        chosen = [choose(raw[:, c.start : c.stop]) for c in block.choices]
        if block.value is None:
            return chosen[0]
        value = self.numbers.limit(raw[:, block.value : block.value + 1])
        if not block.column.gaps:
            return torch.cat([value, *chosen], 1)
        there = chosen[-1][:, :1]
        return torch.cat([value * there, *(c * there for c in chosen[:-1]), chosen[-1]], 1)

    def decode(self, y: Tensor) -> Tensor:
        """Returns the rows of coded ones; numbers are differentiable in ``y``, and not rounded."""
        return torch.cat([self._decoded(b, y) for b in self.blocks], 1)

    def _decoded(self, block: _Block, y: Tensor) -> Tensor:
        chosen = [y[:, c.start : c.stop] for c in block.choices]
        column = block.column
        if block.number is None or block.value is None:
            return chosen[0] if column.width > 1 else chosen[0][:, 1:]
        mode = chosen[0] if self.numbers.modes else y[:, :0]
        number = self.numbers.decode(block.number, y[:, block.value], mode).float()[:, None]
        if not column.gaps:
            return number
        there, missing = chosen[-1][:, :1], chosen[-1][:, 1:]
        filler = self.fillers[block.number]
        return torch.cat([torch.where(there > missing, number, filler), missing], 1)

    def rounded(self, x: Tensor) -> Tensor:
        """Returns rows in which columns of whole numbers hold whole numbers."""
        for block in self.blocks:
            if block.number is not None and bool(self.whole[block.number]):
                x[:, block.column.start].round_()
        return x


@final
class Condition(nn.Module):
    """Which category of which column is asked for, and how often each occurs.

    Training by sampling: columns are drawn with equal chances, a category with a chance in
    proportion to the logarithm of its count, so that rare ones are seen more often.

    Source: Xu et al., 2019, https://arxiv.org/abs/1907.00503, section 4.3.

    Differs from the paper: categories are drawn from those of the batch at hand.

    Args:
        coding: Between rows and what the players see.
    """

    counts: Tensor

    def __init__(self, coding: RowCoding) -> None:
        super().__init__()
        blocks = [b for b in coding.blocks if b.number is None]
        self.columns = tuple(b.column for b in blocks)
        self.places = tuple(b.choices[0] for b in blocks)
        self.size = sum(c.values for c in self.columns)
        # One more than none, so that the shares of an untrained model are numbers.
        self.register_buffer("counts", torch.ones(self.size, dtype=torch.float64))

    def _starts(self) -> list[int]:
        ends = torch.tensor([c.values for c in self.columns]).cumsum(0).tolist()
        return [0, *ends[:-1]]

    def counted(self, x: Tensor) -> Tensor:
        """Returns how often each category occurs in rows, float64, shape ``(size,)``."""
        found = [torch.bincount(c.codes(x), minlength=c.values) for c in self.columns]
        return torch.cat(found).double()

    def drawn(self, noise: Tensor) -> Tensor:
        """Returns indicators of a category for each pair of normal numbers, as often as it occurs.

        Args:
            noise: Shape ``(n, 2)``; the first number draws the column, the second its value.
        """
        u = torch.special.ndtr(noise.detach().double())
        which = (u[:, 0] * len(self.columns)).long().clamp(max=len(self.columns) - 1)
        found = noise.new_zeros(len(noise), self.size)
        for k, (column, start) in enumerate(zip(self.columns, self._starts(), strict=True)):
            total = self.counts[start : start + column.values].cumsum(0)
            code = torch.searchsorted(total, u[:, 1].contiguous() * total[-1], right=True)
            own = one_hot(code.clamp(max=column.values - 1), column.values).to(found)
            found[:, start : start + column.values] = own * (which == k).to(found)[:, None]
        return found

    def sampled(self, batch: Tensor, *, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Returns rows of a batch and what is asked for that they have.

        Args:
            batch: Rows, shape ``(n, d)``.
            rng: Draws columns, categories and rows.

        Returns:
            Which rows, shape ``(n,)``, and indicators of the category, shape ``(n, size)``.
        """
        n, device = len(batch), rng.device
        which = torch.randint(len(self.columns), (n,), generator=rng, device=device)
        asked = torch.zeros(n, self.size, device=device)
        places = torch.zeros(n, dtype=torch.int64, device=device)
        for k, (column, start) in enumerate(zip(self.columns, self._starts(), strict=True)):
            codes = column.codes(batch)
            count = torch.bincount(codes, minlength=column.values).double()
            # The chance of a row: that of its category, shared with all rows of the category.
            weight = (count.log1p() / count.clamp(min=1))[codes]
            row = torch.multinomial(weight, n, replacement=True, generator=rng)
            mine = which == k
            places = torch.where(mine, row, places)
            own = one_hot(codes[row], column.values).float()
            asked[:, start : start + column.values] = own * mine.float()[:, None]
        return places, asked

    def missed(self, raw: Tensor, asked: Tensor) -> Tensor:
        """Returns the mean cross-entropy of the categories that are asked for, a scalar.

        Args:
            raw: Values and logits of a generator, shape ``(n, coding.size)``.
            asked: Indicators of the category, shape ``(n, size)``.
        """
        logits = [raw[:, p.start : p.stop].log_softmax(1) for p in self.places]
        return -(torch.cat(logits, 1) * asked).sum(1).mean()


@final
class RowGenerator(Decoder):
    """Maps standard normal noise to rows of a table.

    Args:
        space: The space of a row.
        latent: Latent dimension.
        net: Maps noise, shape ``(n, latent)``, to values and logits, shape ``(n, coding.size)``.
        coding: Between rows and what the players see.
        temperature: Of the Gumbel-softmax in training.
        condition: Which category is asked for, or None. The last two numbers of the noise then
            draw it: from columns with equal chances, from its values as often as they occur.
    """

    def __init__(
        self,
        space: Space,
        latent: int,
        net: nn.Module,
        coding: RowCoding,
        *,
        temperature: float,
        condition: Condition | None = None,
    ) -> None:
        super().__init__()
        self.space = space
        self.latent_dim = latent + 2 * (condition is not None)
        self.net = net
        self.coding = coding
        self.condition = condition
        self._temperature = temperature

    @override
    def prior(self, n: int, *, rng: torch.Generator) -> Tensor:
        return torch.randn(n, self.latent_dim, generator=rng, device=rng.device)

    @override
    def forward(self, z: Tensor) -> Tensor:
        """Returns values and logits, shape ``(n, coding.size)``."""
        if self.condition is None:
            raw: Tensor = self.net(z)
            return raw
        return self.given(z, self.condition.drawn(z[:, -2:]))

    def given(self, z: Tensor, asked: Tensor) -> Tensor:
        """Returns values and logits for categories that are asked for.

        Args:
            z: Noise, shape ``(n, latent_dim)``; the last two numbers are not looked at.
            asked: Indicators of the category, shape ``(n, condition.size)``.
        """
        raw: Tensor = self.net(torch.cat([z[:, :-2], asked], 1))
        return raw

    def relaxed(self, raw: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns coded rows with Gumbel-softmax draws of categories; differentiable.

        Source: Jang et al., 2017, https://arxiv.org/abs/1611.01144.

        Args:
            raw: Values and logits, shape ``(n, coding.size)``.
            rng: Draws the noise.
        """
        return self.coding.drawn(
            raw, lambda logits: softmax(_gumbel(logits, rng) / self._temperature, 1)
        )

    @override
    def _decode(self, z: Tensor, context: Tensor | None) -> Tensor:
        return self.coding.decode(self.coding.drawn(self(z), lambda logits: logits.softmax(1)))

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        raw = self(self.prior(n, rng=rng))
        y = self.coding.drawn(raw, lambda logits: _hard(_gumbel(logits, rng)))
        return self.coding.rounded(self.coding.decode(y))


def _hard(logits: Tensor) -> Tensor:
    return one_hot(logits.argmax(1), logits.shape[1]).float()


# ----------------------------------------------------------------------------
# The game.
# ----------------------------------------------------------------------------


@final
class TableGame(GeneratorGame[RowGenerator]):
    """A critic of packs of coded rows against a generator.

    Args:
        model: The generator.
        net: The critic, of packs of coded rows.
        rules: Loss and penalty.
        pack: Number of rows in a pack.
    """

    def __init__(
        self, model: RowGenerator, net: nn.Module, rules: AdversarialObjective, pack: int
    ) -> None:
        super().__init__(model, net)
        self._critic = net
        self._rules = rules
        self._pack = pack
        self._seen: Tensor | None = None

    @override
    def prepare(self, batch: Tensor, *, rng: torch.Generator) -> None:
        self._model.coding.fit(batch, rng=rng)

    @property
    @override
    def _scaling(self) -> Callable[[Tensor], Tensor]:
        return self._model.coding.encode

    @override
    def advance(self, *, rng: torch.Generator) -> None:
        condition = self._model.condition
        if condition is not None and self._seen is not None:
            condition.counts += self._seen
            self._seen = None

    @property
    @override
    def remembers(self) -> bool:
        return self._model.condition is not None

    @override
    def _loss(self, player: str, batch: Tensor, rng: torch.Generator, *, coupled: bool) -> Tensor:
        if player not in self._players:
            raise unknown("player", player, self.players)
        condition, missed = self._model.condition, None
        rows, asked = batch, batch[:, :0]
        if condition is not None:
            places, asked = condition.sampled(batch, rng=rng)
            rows, self._seen = batch[places], condition.counted(batch)
        real = self._packed(self._model.coding.encode(rows, rng=rng), asked)
        z = self._model.prior(len(batch), rng=rng)
        with torch.set_grad_enabled(coupled or player == "generator"):
            raw = self._model(z) if condition is None else self._model.given(z, asked)
            fake = self._packed(self._model.relaxed(raw, rng=rng), asked)
        if player == "critic":
            return self._rules.critic(self._critic, real, fake, rng=rng, coupled=coupled)
        if condition is not None:
            missed = condition.missed(raw, asked)
        loss = self._rules.generator(self._critic, real, fake, coupled=coupled)
        return loss if missed is None else loss + missed

    def _packed(self, y: Tensor, asked: Tensor) -> Tensor:
        return packed(torch.cat([y, asked], 1), self._pack)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class TableGan(LossOptions):
    """A Wasserstein GAN with packing, for rows of numbers and categories.

    Source: Xu et al., 2019 (CTGAN), https://arxiv.org/abs/1907.00503; packs after Lin et al.,
    2018 (PacGAN), https://arxiv.org/abs/1712.04086.

    Differs from the paper: numbers are coded by their quantile unless ``numbers=modes``; no batch
    normalisation and no dropout; two steps of the critic for one of the generator; the packs of a
    batch overlap; mixtures are fitted to the 512 rows that prepare a training.

    Attributes:
        numbers: How numbers are coded: ``quantile``, the normal score of the quantile, or
            ``modes``, one of at most 10 Gaussians and the place in it.
        pack: Number of rows that the critic sees at once.
        temperature: Of the Gumbel-softmax that draws categories in training.
        balanced: Whether the generator is asked for a category, rare ones more often than they
            occur (training by sampling).
        latent: Latent dimension.
        width: Width of the hidden layers.
        depth: Number of hidden layers.
        loss: Adversarial loss.
        penalty: Gradient penalty.
        gamma: Weight of the penalty; 20 is the ``lambda = 10`` of the papers on WGAN-GP.
        ema: Decay of the exponential moving average (EMA) of the generator's weights.
    """

    numbers: Numbers = "quantile"
    pack: Annotated[int, Between(1)] = 4
    temperature: Annotated[float, Between(0, above=True)] = 0.5
    balanced: bool = False
    latent: Annotated[int, Between(1)] = 32
    width: Annotated[int, Between(4)] = 128
    depth: Annotated[int, Between(1)] = 2
    loss: LossName = "wgan"
    penalty: PenaltyName = "gp"
    gamma: Annotated[float, Between(0)] = 20.0
    ema: Annotated[float, Between(0, 1, below=True)] = 0.995

    @property
    def solver(self) -> str:
        """Adam with two steps of the critic for one of the generator."""
        return "adam:lr=0.0005,beta1=0.5,beta2=0.9,steps=2+1"

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> TableGame:
        """Returns an untrained GAN for rows.

        Raises:
            UserError: If ``space`` holds no rows of a table, or no categories where they are to
                be balanced, or there is a context.
        """
        refuse_context("table-gan", context_space)
        table_columns("table-gan", space)
        coding = RowCoding(space, self.numbers)
        condition = Condition(coding) if self.balanced else None
        more = 0 if condition is None else condition.size
        if condition is not None and not more:
            raise UserError(
                f"table-gan:balanced=true needs a column of categories. Got {space.label}."
            )
        with seeded(rng.stream("init")):
            net = mlp(self.latent + more, *[self.width] * self.depth, coding.size)
            body = mlp(self.pack * (coding.size + more), *[self.width] * self.depth)
            judge = CriticNetwork(nn.Sequential(nn.Flatten(), body, leaky()), self.width)
        made = RowGenerator(
            space, self.latent, net, coding, temperature=self.temperature, condition=condition
        )
        return TableGame(made.to(rng.device), judge.to(rng.device), self.rules, self.pack)
