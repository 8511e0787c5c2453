"""Likelihoods against a known truth, in both directions, beside its entropy."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, final

import torch
from torch import Tensor

from gantlet.core.data import Dataset, KnownDensity, Splits
from gantlet.core.estimate import KINDS_IN_WORDS, Better, Estimate, Kind
from gantlet.core.metric import Findings
from gantlet.core.model import Density, LogProbKind, Model
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.data.synthetic_tokens import KnownTokens
from gantlet.probes.likelihood import affordable
from gantlet.stats.intervals import mean, proportion

_BLOCK = 256
_NLL, _ENTROPY, _POSSIBLE = "oracle NLL", "oracle entropy", "possible under the oracle"
_CROSS, _FORWARD, _REVERSE = "NLL of oracle samples", "KL(oracle, model)", "KL(model, oracle)"
# A lower bound of log q is an upper bound of -log q.
_KINDS: dict[LogProbKind, Kind] = {"exact": "exact", "lower": "upper", "estimate": "estimate"}


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class OracleLikelihood:
    """What a model and a data set of known density say of each other's samples.

    In nats for each token of a token row, else for a whole sample. ``oracle NLL`` is the mean
    negative log-density of the model's samples under the truth: quality, and below the entropy
    too little variety. ``NLL of oracle samples`` is that of true samples under the model:
    coverage, and never below the entropy but by chance. ``oracle entropy`` is the entropy of the
    truth. The two divergences are zero only for a perfect model.

    Source: Yu et al., 2017, https://arxiv.org/abs/1609.05473, section 5.1, for the first of them.

    Attributes:
        most: Number of samples, at most.
    """

    most: Annotated[int, Between(2)] = 2000

    @torch.no_grad()
    def examine(
        self, model: Model, real: Tensor, *, data: Dataset, splits: Splits, rng: Rng
    ) -> Findings:
        """Returns the scores named above; missing ones where the density is not known."""
        del splits
        if not isinstance(data, KnownDensity):
            why = "the density of the data is not known"
            return Findings(scores={_NLL: Estimate.missing(why, unit="nats")}, clock={})
        look = _Look(model, data, rng)
        fake = look.drawn(min(self.most, max(len(real), 2)))
        return Findings(scores=look.scores(real[: self.most], fake), clock={})


@final
class _Look:
    """A model beside a data set of known density.

    Args:
        model: The model.
        data: The data set.
        rng: Draws samples, and what bounds need.
    """

    def __init__(self, model: Model, data: KnownDensity, rng: Rng) -> None:
        self._model, self._data, self._rng = model, data, rng
        is_text = isinstance(data, KnownTokens)
        self._tokens = data.tokens if isinstance(data, KnownTokens) else 1.0
        self._unit = "nats/token" if is_text else "nats"

    def drawn(self, n: int) -> Tensor:
        """Returns samples of the model."""
        stream = self._rng.stream("oracle samples")
        sizes = [min(_BLOCK, n - i) for i in range(0, n, _BLOCK)]
        return torch.cat([self._model.sample(k, rng=stream) for k in sizes])

    def scores(self, real: Tensor, fake: Tensor) -> dict[str, Estimate]:
        """Returns all scores of held-out samples and samples of the model."""
        under_truth = self._data.log_density(fake).double()
        possible = int(under_truth.isfinite().sum())
        entropy = self._entropy(real)
        found = {
            _NLL: self._mean(-under_truth, "samples of the model", why=self._impossible(possible)),
            _ENTROPY: entropy,
            _POSSIBLE: proportion(possible, len(fake), better="higher", of="samples"),
        }
        found[_NLL] = _beside(found[_NLL], entropy)
        return found | dict(self._of_density(real, fake, under_truth, entropy))

    def _impossible(self, possible: int) -> str:
        return f"the truth gives probability 0 to all but {possible} samples"

    def _entropy(self, real: Tensor) -> Estimate:
        if not isinstance(self._data, KnownTokens):
            return self._mean(
                -self._data.log_density(real).double(), "held-out samples", better=None
            )
        whole, tokens = self._data.entropy(), self._tokens
        ends = [None if v is None else v / tokens for v in (whole.value, whole.low, whole.high)]
        return replace(whole, value=ends[0], low=ends[1], high=ends[2], unit=self._unit)

    def _of_density(
        self, real: Tensor, fake: Tensor, under_truth: Tensor, entropy: Estimate
    ) -> Iterator[tuple[str, Estimate]]:
        """Yields what needs the density of the model."""
        if not isinstance(self._model, Density):
            for name in (_CROSS, _FORWARD, _REVERSE):
                yield name, self._missing("the model has no density")
            return
        most = affordable(self._model, real, self._rng)
        real, fake, under_truth = real[:most], fake[:most], under_truth[:most]
        log_q, kind, method = self._log_prob(self._model, real)
        of_kind = ", ".join(filter(None, [KINDS_IN_WORDS[_KINDS[kind]], method]))
        why = "the model gives probability 0 to some held-out samples"
        cross = self._mean(-log_q, "held-out samples", why=why, prefix=of_kind, kind=kind)
        yield _CROSS, _beside(cross, entropy)
        gap = self._data.log_density(real).double() - log_q
        yield _FORWARD, self._mean(gap, "held-out samples", why=why, prefix=of_kind, kind=kind)
        if kind != "exact":
            yield _REVERSE, self._missing("the density of the model is not exact")
            return
        gap = self._log_prob(self._model, fake)[0] - under_truth
        why = "the truth gives probability 0 to some samples"
        yield _REVERSE, self._mean(gap, "samples of the model", why=why)

    def _log_prob(self, model: Density, x: Tensor) -> tuple[Tensor, LogProbKind, str]:
        stream = self._rng.stream("oracle bounds")
        found = [model.log_prob(part, rng=stream) for part in torch.split(x, _BLOCK)]
        return torch.cat([f.value for f in found]).double(), found[0].kind, found[0].method

    def _mean(
        self,
        nats: Tensor,
        of: str,
        *,
        why: str = "not finite",
        prefix: str = "",
        kind: LogProbKind | None = None,
        better: Better | None = "lower",
    ) -> Estimate:
        if not bool(nats.isfinite().all()):
            return self._missing(why)
        found = mean((nats / self._tokens).tolist(), unit=self._unit, better=better, of=of)
        method = "; ".join(filter(None, [prefix, found.method]))
        return replace(found, method=method, kind=None if kind is None else _KINDS[kind])

    def _missing(self, why: str) -> Estimate:
        return Estimate.missing(why, unit=self._unit, better="lower")


def _beside(found: Estimate, entropy: Estimate) -> Estimate:
    """Returns a likelihood that names the entropy of the truth, without which it says nothing."""
    if found.value is None or entropy.value is None or entropy.half_width is None:
        return found
    floor = f"entropy of the truth {entropy.value:.3f} +/- {entropy.half_width:.3f}"
    return replace(found, method=f"{found.method}; {floor}").beside(entropy=entropy.value)
