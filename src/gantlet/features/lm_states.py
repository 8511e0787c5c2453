"""States of a small language model that was trained on the data, as features of text."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding
from typing_extensions import override

from gantlet.core.data import Space, Splits
from gantlet.core.errors import UserError
from gantlet.core.metric import Features
from gantlet.core.rng import Rng
from gantlet.core.spec import Between, Spec
from gantlet.features.base import frozen, subsample_indices
from gantlet.models.nets import seeded
from gantlet.models.recurrent import SequenceNet, SequenceSizes

_BATCH, _LR, _EMBED = 128, 3e-3, 32
# Tokens of a row that are seen: recurrent networks take them one after another.
_LONGEST = 64
_JUDGED = 1000


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LmStates:
    """The mean state of a small recurrent language model over the tokens of a text.

    A GRU that was trained to predict each token of the training split from those before it; what
    it keeps in mind to do so are the features. They see order over more tokens than ``ngrams`` do.
    Of longer rows the first 64 tokens are seen.

    Source: Cho et al., 2014, https://arxiv.org/abs/1406.1078, for the network; Semeniuta,
    Severyn and Gelly, 2018, https://arxiv.org/abs/1806.04936, for distances of text on features
    of a trained network.

    Attributes:
        features: Units of the network.
        steps: Steps of training, of 128 rows each.
    """

    learns: ClassVar[bool] = True

    features: Annotated[int, Between(2)] = 64
    steps: Annotated[int, Between(1)] = 300

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the trained network.

        Raises:
            UserError: If samples are not rows of tokens.
        """
        if space.kind not in {"tokens", "walk"} or space.levels is None:
            raise UserError(f"lm sees text and walks alone. Got {space.label}.")
        seen = Space(space.kind, (min(space.size, _LONGEST),), space.levels)
        with seeded(rng.stream("lm/init")):
            sizes = SequenceSizes(net="gru", width=self.features, embed=_EMBED)
            net = sizes.build(seen, family="lm features").to(rng.device)
        self._train(net, seen, data, rng)
        loss = _loss(net, seen, data, rng)
        cut = f"; the first {_LONGEST} tokens are seen" if space.size > _LONGEST else ""
        return frozen(
            _States(net),
            space,
            spec=Spec.of("lm", self),
            note=f"the mean state of a language model with {self.features} units, trained for "
            f"{self.steps} steps; {loss:.3f} nats/token on validation data{cut}",
        )

    def _train(self, net: SequenceNet, seen: Space, data: Splits, rng: Rng) -> None:
        draws, n = rng.stream("lm/batches"), len(data.train)
        every = subsample_indices(n, _JUDGED, rng=rng.stream("lm/prepare"))
        net.prepare(_rows(data, every, seen, rng), rng=draws)
        optimizer = torch.optim.Adam(net.parameters(), lr=_LR, betas=(0.9, 0.99))
        for step in range(self.steps):
            optimizer.param_groups[0]["lr"] = _LR * (1 + math.cos(math.pi * step / self.steps)) / 2
            index = torch.randint(n, (_BATCH,), generator=draws, device=draws.device).cpu()
            x = _rows(data, index, seen, rng)
            loss = -net.log_probs(x.long()).mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()


def _rows(data: Splits, index: Tensor, seen: Space, rng: Rng) -> Tensor:
    """Returns the first tokens of training rows."""
    return data.train.take(index)[:, : seen.size].to(rng.device)


@torch.no_grad()
def _loss(net: SequenceNet, seen: Space, data: Splits, rng: Rng) -> float:
    """Returns the loss for each token of validation rows."""
    index = torch.arange(min(len(data.validation), _JUDGED))
    x = data.validation.take(index)[:, : seen.size].to(rng.device).long()
    return float(-net.log_probs(x).sum() / (~net.over(x)).sum())


@final
class _States(nn.Module):
    """The mean of the states after each token, the end included."""

    def __init__(self, net: SequenceNet) -> None:
        super().__init__()
        self.net = net

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns the features of rows, shape ``(n, features)``."""
        level = x[:, : self.net.length].long()
        states: Tensor = self.net.body(embedding(level, self.net.embedding))
        counted = (~self.net.over(level)).to(states)
        # A row without any token is its end.
        return (states * counted[..., None]).sum(1) / counted.sum(1, keepdim=True).clamp(min=1)
