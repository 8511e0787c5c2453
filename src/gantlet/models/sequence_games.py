"""Games whose critic scores sequences of levels: their critics, selection and likelihood start."""

import math
from collections.abc import Callable
from typing import TypeVar, final

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot
from typing_extensions import override

from gantlet.models.gan import AdversarialGame, GeneratorGame, ModelT
from gantlet.models.nets import leaky
from gantlet.models.recurrent import SequenceModel

# ----------------------------------------------------------------------------
# How far apart two sets of sequences are, for validation.
# ----------------------------------------------------------------------------

# Places of a vector for levels, for pairs and for triples.
_PLACES = 128
_PRIME = 2_147_483_647


def gram_counts(x: Tensor) -> Tensor:
    """Returns random signed sums of levels, pairs and triples, shape ``(n, 384)``.

    Each level, pair and triple has a place and a sign that follow from it by a hash; differences
    of these vectors estimate differences of all counts, without a table of them (Weinberger et
    al., 2009, https://arxiv.org/abs/0902.2206). They are divided by the root of the length.

    Args:
        x: Sequences of levels, shape ``(n, length)``.
    """
    x = x.long()
    gram = torch.zeros_like(x)
    found: list[Tensor] = []
    for size in range(3):
        if size >= x.shape[1]:
            break
        # Pairs are numbered by their first level's number and the second level, and so on.
        gram = (gram[:, : x.shape[1] - size] * 40_503 + x[:, size:] + 1) * 73_856_093 % _PRIME
        sign = (gram // _PLACES % 2 * 2 - 1).double()
        counts = torch.zeros(len(x), _PLACES, dtype=torch.float64, device=x.device)
        found.append(counts.scatter_add_(1, gram % _PLACES, sign))
    return torch.cat(found, 1) / math.sqrt(x.shape[1])


class SequenceGame(GeneratorGame[ModelT], AdversarialGame):
    """A game of one generator and one critic of sequences.

    Checkpoints are selected by the energy distance of counts of levels, pairs and triples, since
    distances of the numbers of levels mean nothing.
    """

    @property
    @override
    def _scaling(self) -> Callable[[Tensor], Tensor]:
        return gram_counts


# ----------------------------------------------------------------------------
# Critics of indicators, shape ``(n, length, levels)``, or of probabilities in their place.
# ----------------------------------------------------------------------------


def indicators(x: Tensor, levels: int) -> Tensor:
    """Returns a 1 at the level of each place, shape ``(n, length, levels)``."""
    return one_hot(x.long(), levels).to(torch.promote_types(x.dtype, torch.float32))


@final
class WindowCritic(nn.Module):
    """The largest answers of filters to windows of 2 to 5 levels.

    Source: Kim, 2014, https://arxiv.org/abs/1408.5882, section 2, the critic of SeqGAN and RelGAN.

    Args:
        length: Levels of a sequence.
        levels: How many there are.
        embed: Size of the vector of a level.
        width: Filters of each window.
    """

    def __init__(self, length: int, levels: int, *, embed: int, width: int) -> None:
        super().__init__()
        windows = sorted({min(size, length) for size in (2, 3, 4, 5)})
        self.embed = nn.Linear(levels, embed, bias=False)
        # Vectors of about unit size, whatever the number of levels.
        nn.init.normal_(self.embed.weight)
        self.filters = nn.ModuleList(nn.Conv1d(embed, width, size) for size in windows)
        self.active = leaky()
        self.out = nn.Linear(len(windows) * width, 1)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns one score for each sequence, shape ``(n,)``; higher is more real."""
        seen = self.embed(x).transpose(1, 2)
        best = [self.active(window(seen)).amax(2) for window in self.filters]
        score: Tensor = self.out(torch.cat(best, 1))
        return score.squeeze(1)


@final
class ResidualConv1d(nn.Module):
    """Adds three tenths of two convolutions to its input, shapes ``(n, width, length)``.

    Source: Gulrajani et al., 2017, https://arxiv.org/abs/1704.00028, the model of characters;
    the three tenths are those of the code that they published.

    Args:
        width: Channels.
        size: Places that a convolution sees, an odd number.
    """

    def __init__(self, width: int, size: int = 5) -> None:
        super().__init__()
        convs = [nn.Conv1d(width, width, size, padding=size // 2) for _ in range(2)]
        self.branch = nn.Sequential(nn.ReLU(), convs[0], nn.ReLU(), convs[1])

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns what goes on, of the shape of ``x``."""
        change: Tensor = self.branch(x)
        return x + 0.3 * change


@final
class ResidualCritic(nn.Module):
    """Residual convolutions over a sequence and a linear score of the whole.

    Args:
        length: Levels of a sequence.
        levels: How many there are.
        width: Channels.
        blocks: Residual blocks.
    """

    def __init__(self, length: int, levels: int, *, width: int, blocks: int) -> None:
        super().__init__()
        self.embed = nn.Linear(levels, width)
        self.blocks = nn.Sequential(*(ResidualConv1d(width) for _ in range(blocks)))
        self.out = nn.Linear(width * length, 1)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns one score for each sequence, shape ``(n,)``; higher is more real."""
        seen = self.blocks(self.embed(x).transpose(1, 2))
        score: Tensor = self.out(seen.flatten(1))
        return score.squeeze(1)


# ----------------------------------------------------------------------------
# A game that begins with steps of likelihood.
# ----------------------------------------------------------------------------


@final
class Start(nn.Module):
    """Steps of likelihood before the game begins, and the weight of it from then on.

    The number of steps made is a buffer, saved and restored with the player that it is part of.

    Args:
        steps: How many steps of likelihood alone.
        weight: Weight of the likelihood after them.
    """

    made: Tensor

    def __init__(self, steps: int, weight: float) -> None:
        super().__init__()
        self.register_buffer("made", torch.zeros((), dtype=torch.long))
        self._steps, self._weight = steps, weight

    @property
    def is_needed(self) -> bool:
        """Whether likelihood plays a part at all."""
        return self._steps > 0 or self._weight > 0

    @torch.no_grad()
    def advance(self) -> None:
        """Counts a step."""
        self.made.add_(1)

    def mix(self, adversarial: Tensor, likelihood: Tensor) -> Tensor:
        """Returns the loss of this step.

        Both losses are computed in each step, so that every step costs the same.
        """
        begun = self.made >= self._steps
        return torch.where(begun, adversarial + self._weight * likelihood, likelihood)


SequenceModelT = TypeVar("SequenceModelT", bound=SequenceModel)


class LikelihoodStart(SequenceGame[SequenceModelT]):
    """A game of a critic and a generator that begins with steps of likelihood.

    Args:
        model: The generator.
        net: The critic; it keeps the number of steps.
        start: The beginning.
    """

    def __init__(self, model: SequenceModelT, net: nn.Module, start: Start) -> None:
        super().__init__(model, net)
        self._start = start
        if start.is_needed:
            net.add_module("start", start)

    @override
    def prepare(self, batch: Tensor, *, rng: torch.Generator) -> None:
        self._model.prepare(batch, rng=rng)

    @override
    def advance(self, *, rng: torch.Generator) -> None:
        self._start.advance()

    @property
    @override
    def remembers(self) -> bool:
        return self._start.is_needed

    def mixed(self, adversarial: Tensor, likelihood: Callable[[], Tensor]) -> Tensor:
        """Returns the generator's loss.

        Args:
            adversarial: Its loss in the game.
            likelihood: Returns the negative log-likelihood, in nats for each place.
        """
        return self._start.mix(adversarial, likelihood()) if self.remembers else adversarial
