"""How often tokens and pairs of tokens are there, in a short vector."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.dataset import Splits
from gantlet.core.errors import UserError
from gantlet.core.measure import Features
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between, Spec
from gantlet.features.frozen import blocks, frozen, some

# Most training samples that tell how common a token or a pair is.
_SAMPLES = 20_000
# Numbers by which tokens and pairs are counted.
_BUCKETS = 2**16
# What fewer training samples have is as rare as what so many have.
_FEWEST = 5
_PRIME = 2_147_483_647


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Ngrams:
    """Tokens and pairs of neighbours, weighted by how rare they are, as a random projection.

    Each token, and each pair, has a place and a sign in the vector, drawn by ``seed``; the number
    of times that it is in a sample is weighted by the log of how few training samples have it,
    five at least, and the whole is divided by the root of the length. Half of the places are for
    tokens, half for pairs.

    Source: Weinberger et al., 2009, https://arxiv.org/abs/0902.2206, for the hashing; Sparck
        Jones, 1972, https://doi.org/10.1108/eb026526, for the weights.

    Attributes:
        features: How many numbers.
        seed: Which projection.
    """

    learns: ClassVar[bool] = True

    features: Annotated[int, Between(2)] = 256
    seed: Annotated[int, Between(0)] = 0

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the projection; only the weights come from the training split.

        Raises:
            UserError: If samples are no rows of tokens.
        """
        if space.kind != "tokens":
            raise UserError(f"ngrams sees text alone. Got {space.label}.")
        own = Rng(self.seed)
        index = some(len(data.train), _SAMPLES, rng=own.stream("samples"))
        net = _Sketch(self.features, rng=own).to(rng.device)
        for x in blocks(data.train, index, space, device=rng.device):
            net.learn(x)
        net.settle()
        return frozen(
            net,
            space,
            spec=Spec.of("ngrams", self),
            note=f"{self.features} random sums of tokens and of pairs of them, weighted by how "
            f"rare they are among {len(index)} training samples",
        )


@final
class _Sketch(nn.Module):
    """Sums of weighted tokens and pairs under random signs."""

    seen: Tensor
    known: Tensor
    place: Tensor
    sign: Tensor

    def __init__(self, features: int, *, rng: Rng) -> None:
        super().__init__()
        half = features // 2
        generator = rng.stream("hash")
        places = [
            torch.randint(0, size, (_BUCKETS,), generator=generator)
            for size in (half, features - half)
        ]
        signs = torch.randint(0, 2, (2, _BUCKETS), generator=generator) * 2 - 1
        self.register_buffer("place", torch.stack([places[0], places[1] + half]))
        self.register_buffer("sign", signs.float())
        # In how many training samples a bucket is; the first number of them all.
        self.register_buffer("seen", torch.zeros(2, _BUCKETS, dtype=torch.float64))
        self.register_buffer("known", torch.zeros((), dtype=torch.float64))
        self._features = features

    def learn(self, x: Tensor) -> None:
        """Counts in how many samples, shape ``(n, length)``, each bucket is."""
        row = torch.arange(len(x), device=x.device)[:, None] * _BUCKETS
        for i, (bucket, counted) in enumerate(_grams(x)):
            once = torch.unique((row + bucket)[counted]) % _BUCKETS
            self.seen[i] += torch.bincount(once, minlength=_BUCKETS)
        self.known += len(x)

    def settle(self) -> None:
        """Counts what is in fewer than five samples as if it were in five.

        What only one sample of the source has is in one of them where it was learned from, and in
        none where it was not: both must weigh alike, or samples that were learned from differ
        from fresh ones of the same source.
        """
        self.seen.clamp_(min=_FEWEST)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns the features of samples, shape ``(n, features)``."""
        flat = x.flatten(1)
        out = flat.new_zeros(len(flat), self._features)
        for i, (bucket, counted) in enumerate(_grams(flat)):
            rarity = ((1 + self.known) / (1 + self.seen[i])).log().float() + 1
            weight = rarity[bucket] * self.sign[i][bucket] * counted
            out.scatter_add_(1, self.place[i][bucket], weight.to(out))
        length = (flat != 0).sum(1, keepdim=True).clamp_min(1)
        return out / length.sqrt()


def _grams(x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Returns the buckets of tokens and of pairs, and which of them count."""
    level = x.flatten(1).long()
    # Level 0 follows the last token: a pair with it is the end of a sample.
    single = (level * 40_503 + 17) % _PRIME % _BUCKETS
    both = ((level[:, :-1] * 73_856_093 + level[:, 1:] * 19_349_663 + 29) % _PRIME) % _BUCKETS
    return [(single, level != 0), (both, level[:, :-1] != 0)]
