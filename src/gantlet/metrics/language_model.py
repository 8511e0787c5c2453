"""Forward and reverse language-model scores: how well text predicts text."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.estimate import Better, Estimate
from gantlet.core.metric import Sees
from gantlet.core.spec import Between
from gantlet.metrics.checks import too_few
from gantlet.metrics.token_rows import TokenRows, token_rows
from gantlet.stats.intervals import Variance, around, total
from gantlet.stats.jackknife import Detailed, Paired, folds, variance_of_mean
from gantlet.stats.witten_bell import WittenBell, events

_LEAST = 4


@final
@dataclass(frozen=True, eq=False)
class CrossEntropy:
    """The loss of a language model that was counted in one set, on another.

    Attributes:
        value: In nats for each token, the end of a row included.
        judged: What each row that is judged adds, centred, shape ``(n,)``.
        counted: What each fold of the rows that the model was counted in adds, centred.
        own: The same loss of rows that the model was counted in, each fold under the others.
    """

    value: float
    judged: Tensor
    counted: Tensor
    own: float


def cross_entropy(
    rows: TokenRows, counted: int, judged: int, order: int, *, rng: torch.Generator
) -> CrossEntropy:
    """Returns the loss of rows of one set under the n-gram model of another.

    Args:
        rows: The sets.
        counted: The set that the model is counted in.
        judged: The set whose rows it predicts.
        order: Tokens of the longest n-gram.
        rng: Deals the folds.
    """
    x, y = rows.sets[counted], rows.sets[judged]
    nats, tokens = _loss(_model(rows, x, order), rows, y)
    value = nats.sum() / tokens.sum()
    of_judged = (nats - value * tokens) / tokens.mean()
    fold = folds(len(x), rng=rng, device=x.device)
    left_out, own = [], torch.zeros(2, dtype=torch.float64, device=x.device)
    for i in range(int(fold.max()) + 1):
        model = _model(rows, x[fold != i], order)
        left_out.append(_loss(model, rows, y)[0].sum() / tokens.sum())
        own += torch.stack([part.sum() for part in _loss(model, rows, x[fold == i])])
    without = torch.stack(left_out)
    of_counted = (len(without) - 1) * (without.mean() - without)
    return CrossEntropy(float(value), of_judged, of_counted, float(own[0] / own[1]))


def _model(rows: TokenRows, x: Tensor, order: int) -> WittenBell:
    return WittenBell.fit(x, rows.levels, order, ends=rows.ends, has_zero=rows.ends)


def _loss(model: WittenBell, rows: TokenRows, x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the nats and the number of tokens of each row."""
    return -model.log_prob(x).sum(1), events(x, ends=rows.ends).sum(1).double()


class _LanguageModelScore(Paired):
    """A cross-entropy in nats for each token, with an n-gram model in the place of a network."""

    __slots__ = ()

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "nats/token"
    sees: ClassVar[Sees] = "samples"
    quadratic: ClassVar[bool] = False
    name: ClassVar[str]

    order: int

    @override
    def detail(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Detailed:
        """Compares rows of tokens; the interval is over both sets.

        Raises:
            UserError: If they are not rows of tokens.
        """
        rows = token_rows(self.name, real=real, fake=fake)
        if reason := too_few(real, fake, _LEAST):
            missing = Estimate.missing(reason, unit=self.unit, better=self.better)
            return Detailed(missing, torch.zeros(1, dtype=torch.float64), Variance(0.0))
        return self._judged(rows, rng)

    @abstractmethod
    def _judged(self, rows: TokenRows, rng: torch.Generator) -> Detailed:
        """Returns the score of sets that are large enough."""

    def _words(self, rows: TokenRows) -> str:
        return (
            f"{self.order}-grams with Witten-Bell smoothing over {rows.levels - 1} tokens; "
            f"interval over both sets{rows.note}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class LmForward(_LanguageModelScore):
    """The cross-entropy of fake text under a language model of the real text: its quality.

    In nats for each token. The language model is an n-gram model with Witten and Bell's
    smoothing, counted in the real samples: cheap, without a seed, and nothing that lies farther
    apart than ``order`` tokens counts. A value *below* that of real text, which the method gives,
    is not better: such text is too predictable. Read it together with ``lm-reverse``.

    Source: Zhao et al., 2018, https://arxiv.org/abs/1706.04223, section 5.2; as a curve over
    temperatures Caccia et al., 2020, https://arxiv.org/abs/1811.02549.

    Attributes:
        order: Tokens of the longest n-gram of the language model.
    """

    name: ClassVar[str] = "lm-forward"

    order: Annotated[int, Between(1, 32)] = 4

    @override
    def _judged(self, rows: TokenRows, rng: torch.Generator) -> Detailed:
        found = cross_entropy(rows, 0, 1, self.order, rng=rng)
        n, m = len(rows.sets[0]), len(rows.sets[1])
        of_fake = variance_of_mean(found.judged)
        estimate = around(
            found.value,
            total([of_fake, variance_of_mean(found.counted)]),
            n=m,
            method=f"{m} fakes under a model of {n} real samples, which have {found.own:.3f} by "
            f"cross-validation; {self._words(rows)}",
        )
        named = estimate.named(unit=self.unit, better=self.better).beside(real=found.own)
        return Detailed(named, found.counted, of_fake)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class LmReverse(_LanguageModelScore):
    """The cross-entropy of real text under a language model of the fake text: its coverage.

    In nats for each token. What fakes never say is badly predicted by them, and so is everything
    where they are bad. It falls with the number of fakes, which the method names.

    Source: Zhao et al., 2018, https://arxiv.org/abs/1706.04223, section 5.2; as a curve over
    temperatures Caccia et al., 2020, https://arxiv.org/abs/1811.02549.

    Attributes:
        order: Tokens of the longest n-gram of the language model.
    """

    name: ClassVar[str] = "lm-reverse"

    order: Annotated[int, Between(1, 32)] = 4

    @override
    def _judged(self, rows: TokenRows, rng: torch.Generator) -> Detailed:
        found = cross_entropy(rows, 1, 0, self.order, rng=rng)
        n, m = len(rows.sets[0]), len(rows.sets[1])
        of_fake = variance_of_mean(found.counted)
        estimate = around(
            found.value,
            total([of_fake, variance_of_mean(found.judged)]),
            n=n,
            method=f"{n} real samples under a model of {m} fakes; {self._words(rows)}",
        )
        named = estimate.named(unit=self.unit, better=self.better)
        return Detailed(named, found.judged, of_fake)
