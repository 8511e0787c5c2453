"""BLEU and Self-BLEU: which n-grams samples of text share with real ones, and with each other."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.estimate import Better, Estimate
from gantlet.core.metric import Sees
from gantlet.core.spec import Between
from gantlet.metrics.checks import too_few
from gantlet.metrics.token_rows import TokenRows, grams, token_rows
from gantlet.stats.intervals import Variance, around, total
from gantlet.stats.jackknife import Detailed, Paired, folds, jackknife, variance_of_mean

# What a count of zero is replaced by: method 1 of Chen and Cherry.
_EPSILON = 0.1
_ORDER = 4


@final
class Sentences:
    """Rows of tokens with the counts of their n-grams, to be compared by BLEU.

    Args:
        x: The tokens, int64, shape ``(n, length)``, 0 behind the end of a row.
        levels: Number of tokens.
        order: Tokens of the longest n-gram that counts.
    """

    def __init__(self, x: Tensor, levels: int, order: int) -> None:
        self.length = (x != 0).sum(1)
        self._longest = x.shape[1]
        self._counts: list[tuple[Tensor, Tensor, Tensor]] = []
        for row, number in grams(x, levels, order):
            kinds = int(number.max()) + 1 if len(number) else 1
            pair, count = torch.unique(row * kinds + number, return_counts=True)
            self._counts.append((pair // kinds, pair % kinds, count.double()))

    def bleu(self, hypotheses: Tensor, references: Tensor) -> Tensor:
        """Returns the BLEU of each hypothesis, float64; a row is no reference of itself.

        Geometric mean of the shares of its n-grams of 1, 2, ... tokens that a reference has, each
        counted at most as often as in the reference with most of it, times the brevity penalty
        against the reference of the nearest length.

        Source: Papineni et al., 2002, https://doi.org/10.3115/1073083.1073135; a share of zero is
            replaced by 0.1 over the number of n-grams, method 1 of Chen and Cherry, 2014,
            https://doi.org/10.3115/v1/W14-3346. Equal to NLTK's ``sentence_bleu`` with it.

        Args:
            hypotheses: Which rows are judged, bool, shape ``(n,)``.
            references: Which rows they are compared with, bool, shape ``(n,)``.
        """
        logs = torch.zeros(len(self.length), dtype=torch.float64, device=self.length.device)
        for k, (row, number, count) in enumerate(self._counts, 1):
            shared = self._shared(row, number, count, references)
            # Hypotheses that are too short have one n-gram that no reference has.
            of_all = (self.length - k + 1).clamp(min=1).double()
            found = torch.where(shared > 0, shared, _EPSILON if k > 1 else 0.0) / of_all
            logs += found.log() / len(self._counts)
        return (self._brevity(references) * logs.exp())[hypotheses]

    def _shared(self, row: Tensor, number: Tensor, count: Tensor, references: Tensor) -> Tensor:
        """Returns how many n-grams of each row are in another row that is a reference."""
        chosen = references[row]
        kinds = int(number.max()) + 1 if len(number) else 1
        owner, most, second = _two_most(row[chosen], number[chosen], count[chosen], kinds)
        allowed = torch.where(owner[number] == row, second[number], most[number])
        shared = count.new_zeros(len(self.length))
        return shared.index_add_(0, row, torch.minimum(count, allowed))

    def _brevity(self, references: Tensor) -> Tensor:
        """Returns the penalty of each row for being shorter than the nearest reference."""
        sizes = torch.arange(self._longest + 1, device=self.length.device)
        there = torch.bincount(self.length[references], minlength=len(sizes))
        # The nearest length; of two equally near ones, the shorter.
        apart = 2 * (sizes[:, None] - sizes).abs() + (sizes > sizes[:, None]).long()
        none = 4 * len(sizes)
        nearest = torch.where(there > 0, apart, none).argmin(1)
        of_others = torch.where(
            there - torch.eye(len(sizes), device=sizes.device) > 0, apart, none
        )
        own = of_others.argmin(1)
        closest = torch.where(references, own[self.length], nearest[self.length]).double()
        length = self.length.double()
        penalty = (1 - closest / length.clamp(min=1)).exp()
        return torch.where(length > closest, 1.0, penalty) * (length > 0)


def _two_most(
    row: Tensor, number: Tensor, count: Tensor, kinds: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns for each n-gram the row with most of it, how many, and how many the next row has."""
    order = count.argsort(descending=True, stable=True)
    order = order[number[order].argsort(stable=True)]
    row, number, count = row[order], number[order], count[order]
    sizes = torch.bincount(number, minlength=kinds)
    first = sizes.cumsum(0) - sizes
    owner = torch.full((kinds,), -1, dtype=torch.int64, device=row.device)
    most, second = torch.zeros(2, kinds, dtype=torch.float64, device=row.device)
    some, several = sizes > 0, sizes > 1
    owner[some], most[some] = row[first[some]], count[first[some]]
    second[several] = count[first[several] + 1]
    return owner, most, second


def _some(n: int, most: int, rng: torch.Generator, device: torch.device) -> Tensor:
    """Returns the places of ``most`` of ``n`` rows drawn at random, or of all."""
    return torch.randperm(n, generator=rng, device=rng.device)[:most].to(device)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Bleu(Paired):
    """The mean BLEU of fake samples with real ones as references, from 0 to 1: quality alone.

    Equal to NLTK's ``sentence_bleu`` with smoothing method 1. It grows with the number of
    references, which the method names, and with every sample that repeats a common phrase: read
    it together with ``self-bleu``.

    Source: Papineni et al., 2002, https://doi.org/10.3115/1073083.1073135; smoothed as by Chen and
    Cherry, 2014, https://doi.org/10.3115/v1/W14-3346; for generative models Yu et al., 2017,
    https://arxiv.org/abs/1609.05473.

    Attributes:
        order: Tokens of the longest n-gram: 4 is BLEU-4.
        references: Number of real samples that serve as references, drawn at random.
    """

    better: ClassVar[Better] = "higher"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "samples"
    quadratic: ClassVar[bool] = False

    order: Annotated[int, Between(1, 16)] = _ORDER
    references: Annotated[int, Between(2)] = 500

    @override
    def detail(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Detailed:
        """Compares rows of tokens; the interval is over new fakes and new references.

        Raises:
            UserError: If they are not rows of tokens.
        """
        rows = token_rows("bleu", real=real, fake=fake)
        if reason := too_few(real, fake, 2):
            return _missing(reason, self.better)
        chosen = rows.sets[0][_some(len(real), self.references, rng, real.device)]
        both = torch.cat([chosen, rows.sets[1]])
        sentences = Sentences(both, rows.levels, self.order)
        is_real = torch.arange(len(both), device=both.device) < len(chosen)
        values = sentences.bleu(~is_real, is_real)
        fold = folds(len(chosen), rng=rng, device=both.device)
        left_out = [
            sentences.bleu(~is_real, _kept(is_real, fold, i)).mean()
            for i in range(int(fold.max()) + 1)
        ]
        of_real = _influence(values.mean(), torch.stack(left_out))
        of_fake = variance_of_mean(values)
        found = around(
            float(values.mean()),
            total([variance_of_mean(of_real), of_fake]),
            n=len(values),
            method=f"mean BLEU-{self.order} of {len(values)} fakes, {len(chosen)} references, "
            "zero counts as 0.1 (NLTK's method 1); interval over fakes and references" + rows.note,
        )
        return Detailed(found.named(unit=self.unit, better=self.better), of_real, of_fake)


def _kept(is_real: Tensor, fold: Tensor, i: int) -> Tensor:
    kept = is_real.clone()
    kept[: len(fold)] &= fold != i
    return kept


def _influence(whole: Tensor, left_out: Tensor) -> Tensor:
    """Returns what each fold adds to a number, so that their variance of the mean is its own."""
    return (len(left_out) - 1) * (whole - left_out)


def _missing(reason: str, better: Better) -> Detailed:
    return Detailed(Estimate.missing(reason, better=better), torch.zeros(1), Variance(0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class SelfBleu(Paired):
    """The mean BLEU of fake samples with the other fakes as references: low is diverse.

    Lower is not always better: random tokens have the lowest. What counts is the value of real
    samples, which the method gives.

    Source: Zhu et al., 2018, https://arxiv.org/abs/1802.01886, section 3.2; smoothed as ``bleu``.

    Attributes:
        order: Tokens of the longest n-gram.
        sentences: Number of fakes that are compared, each with all others; the value depends on
            it.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "samples"
    quadratic: ClassVar[bool] = False

    order: Annotated[int, Between(1, 16)] = _ORDER
    sentences: Annotated[int, Between(4)] = 500

    @override
    def detail(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Detailed:
        """Compares rows of tokens; the interval is over new fakes, by block jackknife.

        Raises:
            UserError: If they are not rows of tokens.
        """
        rows = token_rows("self-bleu", real=real, fake=fake)
        if reason := too_few(real, fake, 4):
            return _missing(reason, self.better)
        n = min(len(real), len(fake), self.sentences)
        known, _ = self._judge(rows, 0, n, rng)
        value, variance = self._judge(rows, 1, n, rng)
        found = around(
            value,
            variance,
            n=n,
            method=f"mean BLEU-{self.order} of {n} fakes, {n - 1} other fakes as references, "
            f"zero counts as 0.1 (NLTK's method 1); {n} real samples have {known:.3f}; interval "
            "by block jackknife" + rows.note,
        )
        named = found.named(unit=self.unit, better=self.better).beside(real=known)
        return Detailed(named, torch.zeros(n, dtype=torch.float64), variance)

    def _judge(
        self, rows: TokenRows, which: int, n: int, rng: torch.Generator
    ) -> tuple[float, Variance]:
        x = rows.sets[which]
        x = x[_some(len(x), n, rng, x.device)]
        sentences = Sentences(x, rows.levels, self.order)
        every = torch.ones(n, dtype=torch.bool, device=x.device)
        whole = sentences.bleu(every, every).mean()
        fold = folds(n, rng=rng, device=x.device)
        kept = [fold != i for i in range(int(fold.max()) + 1)]
        left_out = torch.stack([sentences.bleu(k, k).mean() for k in kept])
        return float(whole), jackknife(whole, left_out, fold).variance
