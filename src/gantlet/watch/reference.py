"""The real side of a watched training: reference, noise floor, training set, computed once."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gantlet.commands.copies import copies
from gantlet.commands.evaluate.inputs import EvaluationSpec, named
from gantlet.commands.evaluate.sets import EvaluationSets, Floor, SamplePart, why_none
from gantlet.core.data import Source, Space, Splits
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.core.metric import Features, Metric
from gantlet.core.rng import Rng
from gantlet.core.spec import extractors, metrics
from gantlet.data.splits import Subset, arranged, random_split, space_of
from gantlet.domains.domains import adapted_to, default_features, domain_of
from gantlet.features.base import (
    FeatureCache,
    block_of,
    check_ranking_features,
    digest_of,
    feature_set,
    subsample_indices,
)
from gantlet.metrics.measure import Found, detail_all, two_sample
from gantlet.stats.intervals import Variance, fraction

METRICS = ("kid", "precision", "recall")
"""What is measured at each look by default."""

# So many training samples are searched for copies at most.
_TRAINING = 10_000
# So many real samples decide what is near.
_NEAR = 1_000
# So large a share of pairs of real samples, or the next larger one, is called near.
_RATE = 0.02
# A sample is realistic if it is nearer to a real one than that one's k-th neighbour, as for
# precision.
_K = 3


@final
class Reference:
    """What each look is compared with.

    Args:
        real: The real samples, in written form.
        train: The training samples in written form, or None.
        features: The extractor in written form, or empty for what suits the data.
        measured: Metrics in written form.
        samples: The most samples of a look.
        seed: Seed of all that is random.

    Raises:
        UserError: If the samples cannot be found, are too few, or cannot be measured so.
    """

    def __init__(
        self,
        real: str,
        train: str | None,
        *,
        features: str,
        measured: Sequence[str],
        samples: int,
        seed: int,
    ) -> None:
        # A reference larger than a look makes both sides of the noise smaller, at little cost.
        spec = EvaluationSpec(real=real, train=train, fakes=(), samples=2 * samples, seed=seed)
        self._sets = EvaluationSets(spec)
        self._seed = seed
        self.metrics: Mapping[str, Metric] = {m: two_sample(m) for m in measured}
        self.space: Space = self._sets.real.samples.space
        self.name = named(real)[0]
        self.floor_sets: Floor | None = self._sets.floor(samples)
        self.n = samples if self.floor_sets is None else self.floor_sets.other.n
        self._text = self._chosen(features)
        self._features = self._fitted()
        self.rows = self._rows(self._real)
        self._floors: dict[int, dict[str, Found]] = {}
        self._supports: dict[int, Estimate] = {}

    @property
    def _real(self) -> SamplePart:
        floor = self.floor_sets
        return SamplePart(whole=self._sets.real) if floor is None else floor.real

    def _chosen(self, features: str) -> str:
        code = self._sets.real.samples.code
        usual = default_features(self.space, code, labelled=False)[0]
        text = extractors.resolve(features or usual)
        check_ranking_features([text])
        return text

    def _fitted(self) -> Features:
        sets, text = self._sets, self._text
        extractor = extractors.make(text)
        if not extractor.learns:
            return sets.extractor(text, "cpu")
        splits = self._own_part() if sets.learns_from_reference(text) else sets.known_splits()[0]
        return extractor.fit(self.space, splits, rng=Rng(self._seed))

    def _own_part(self) -> Splits:
        """Returns the reference without the noise floor, which an extractor must not know."""
        source = self._real.source
        if len(source) < 10:
            raise UserError(f"{self.name} holds {len(source)} samples. At least 10 are needed.")
        rng = Rng(self._seed)
        return random_split(source, validation=0.1, test=0.1, limit=None, rng=rng)

    def _rows(self, part: SamplePart) -> Tensor:
        return self._of_source(part.source)

    def _of_source(self, source: Source) -> Tensor:
        made = feature_set(
            self._features,
            source,
            block=block_of(self.space),
            cache=FeatureCache.usual(),
            classes=False,
        )
        return made.rows

    @property
    def extractor(self) -> str:
        """The extractor in short form."""
        return extractors.short(self._text)

    @property
    def note(self) -> str:
        """The extractor in words."""
        return self._features.note

    @cached_property
    def fingerprint(self) -> str:
        """Identifies samples and features: looks with another one must not be compared."""
        content = digest_of(self._real.source, block_of(self.space))[:12]
        return f"{content}/{self._features.fingerprint}/{len(self.rows)}/{self.n}"

    @property
    def learned(self) -> Source:
        """The training samples, or the real ones where those are not known."""
        train = self._sets.train
        return (self._sets.real if train is None else train).samples.source

    @property
    def words(self) -> str:
        """The noise floor in words, or why there is none."""
        floor = self.floor_sets
        return why_none(self._sets, self.n) if floor is None else floor.words

    @property
    def notes(self) -> tuple[str, ...]:
        """What of the real samples was left out, converted or guessed."""
        found = [self._sets.real.note] if self._sets.real.note else []
        found += self._sets.advice(self._text)
        if self.train is not None and self.thinned:
            found.append(
                f"copies are searched among {len(self.train):,} of the training samples, so that "
                "copies of the others go unseen"
            )
        return tuple(found)

    @cached_property
    def held(self) -> Tensor | None:
        """Features of the noise floor, shape ``(n, d)``, or None where there is none."""
        return None if self.floor_sets is None else self._rows(self.floor_sets.other)

    @property
    def thinned(self) -> bool:
        """Whether only some of the training samples are searched."""
        train = self._sets.train
        return train is not None and train.found > _TRAINING

    @cached_property
    def train(self) -> Tensor | None:
        """Features of the training samples, at most 10,000, or None where they are not known."""
        whole = self._sets.train
        if whole is None:
            return None
        kept = subsample_indices(whole.n, _TRAINING, rng=Rng(self._seed).stream("watch/train"))
        return self._of_source(Subset(whole.samples.source, kept))

    def floor(self, n: int) -> Mapping[str, Found]:
        """Returns the noise floor of looks of ``n`` samples, by metric; empty without one."""
        if self.held is None:
            return {}
        if n not in self._floors:
            self._floors[n] = self.measure(self.held[:n])
        return self._floors[n]

    def measure(self, rows: Tensor) -> dict[str, Found]:
        """Returns what each metric measures of features, shape ``(n, d)``.

        Every look draws the same random numbers, so that looks can be paired.
        """
        return detail_all(self.metrics, self.rows, rows, rng=Rng(self._seed))

    def features(self, x: Tensor) -> Tensor:
        """Returns the features of samples, shape ``(n, *space.shape)``."""
        return self._features.extract(x).cpu()

    @cached_property
    def _some(self) -> Tensor:
        index = subsample_indices(len(self.rows), _NEAR, rng=Rng(self._seed).stream("watch/near"))
        return self.rows[index].double()

    @cached_property
    def near(self) -> tuple[float, float]:
        """The distance within which 2 % of pairs of real samples lie, and how many really do."""
        apart = torch.pdist(self._some).sort().values
        limit = float(apart[min(int(_RATE * len(apart)), len(apart) - 1)])
        return limit, float((apart <= limit).double().mean())

    @cached_property
    def _balls(self) -> Tensor:
        apart = torch.cdist(self._some, self._some)
        return apart.kthvalue(min(_K + 1, len(apart)), dim=1).values

    def support(self, rows: Tensor) -> Estimate:
        """Returns the effective support of samples, over that of real ones.

        The inverse of how often two samples are nearly the same, over all pairs: Simpson's index,
        and what the birthday test counts.
        Source: Simpson, 1949, https://doi.org/10.1038/163688a0.

        Args:
            rows: Features, shape ``(n, d)``.
        """
        limit, usual = self.near
        n, x = len(rows), rows.double()
        near = (torch.cdist(x, x) <= limit).double().fill_diagonal_(0)
        of_each = near.sum(1) / (n - 1)
        rate = float(of_each.mean())
        if rate == 0:
            return Estimate.missing(
                f"no two of {n} samples are nearly the same; of real samples {usual:.1%} of pairs",
                better="higher",
            )
        # Both orders of Hoeffding's decomposition.
        variance = 4 * float(of_each.var()) / n + 2 * rate * (1 - rate) / (n * (n - 1))
        found = fraction(rate, Variance(variance), n=n, method="")
        low, high = found.low or 0.0, found.high or 1.0
        return Estimate(
            value=usual / rate,
            low=usual / high,
            high=usual / max(low, 1e-12),
            n=n,
            better="higher",
            method=f"over that of real samples; {rate:.2%} of pairs are nearly the same, Wilson's "
            "interval of that share at its effective size",
        )

    def support_of_floor(self, n: int) -> Estimate | None:
        """Returns the effective support of ``n`` held-out real samples; None without any."""
        if self.held is None:
            return None
        if n not in self._supports:
            self._supports[n] = self.support(self.held[:n])
        return self._supports[n]

    def realistic(self, rows: Tensor) -> Tensor:
        """Returns which samples lie near real ones, as for precision, shape ``(n,)``."""
        if not len(rows):
            return torch.zeros(0, dtype=torch.bool)
        inside: Tensor = torch.cdist(rows.double(), self._some) <= self._balls
        return inside.any(1)

    @cached_property
    def _extent(self) -> tuple[Tensor, float]:
        centre = self._some.mean(0)
        return centre, float((self._some - centre).norm(dim=1).max())

    def far(self, rows: Tensor) -> Tensor:
        """Returns which samples lie three times as far out as any real one, shape ``(n,)``."""
        centre, radius = self._extent
        out: Tensor = torch.linalg.vector_norm(rows.double() - centre, dim=1)
        return out > 3 * radius

    def copies(self, rows: Tensor) -> Tensor | None:
        """Returns which samples are copies of training samples, shape ``(n,)``, or None."""
        return None if self.train is None else copies(rows, self.train)

    @cached_property
    def copies_of_floor(self) -> tuple[int, int]:
        """How many held-out real samples look like copies, and of how many."""
        found = None if self.held is None else self.copies(self.held)
        return (0, 0) if found is None else (int(found.sum()), len(found))

    # ------------------------------------------------------------------------
    # The samples of a look, brought to the space of the real ones.
    # ------------------------------------------------------------------------

    def scale_of(self, array: NDArray[Any]) -> str:
        """Returns how the numbers of fakes are to be read, decided once for all looks.

        Images in levels are compared with levels; networks give fractions in [0, 1] or [-1, 1].
        """
        levels = self.space.levels
        if levels is None or array.dtype.kind != "f" or self.space.kind != "image":
            return "as they are"
        finite = array[np.isfinite(array)]
        if not finite.size or (float(finite.min()) >= 0 and float(finite.max()) > 1):
            return "as they are"
        return "from -1 to 1" if float(finite.min()) < 0 else "from 0 to 1"

    def brought(self, array: NDArray[Any], scale: str) -> Tensor:
        """Returns fakes as samples of the real space, shape ``(n, *space.shape)``, float32.

        Args:
            array: The fakes as they came.
            scale: As ``scale_of`` returned it; what lies outside is clamped.

        Raises:
            UserError: If their shape is another one.
        """
        wanted = self.space
        plain = array if array.shape[1:] == wanted.shape else arranged(array, "auto", "sample")
        x = torch.from_numpy(np.ascontiguousarray(plain)).float()
        if tuple(x.shape[1:]) != wanted.shape:
            x = self._adapted(plain, x)
        if scale == "as they are" or wanted.levels is None:
            return x if wanted.levels is None else x.clamp(0, wanted.levels - 1)
        unit = (x + 1) / 2 if scale == "from -1 to 1" else x
        return unit.clamp(0, 1) * (wanted.levels - 1)

    def _adapted(self, array: NDArray[Any], x: Tensor) -> Tensor:
        space, wanted = space_of(array, None, "sample"), self.space
        found = adapted_to(space, wanted)
        if found is None:
            raise UserError(
                f"sample gave {space.label}, {self.name} holds {wanted.label}. Let sample return "
                f"the shape (n, {', '.join(map(str, wanted.shape))})."
            )
        return found.change(x)

    def unlike(self, x: Tensor) -> str:
        """Returns a caution where fakes and continuous images seem scaled differently, or ''."""
        if self.space.levels is not None or not domain_of(self.space).is_ranged:
            return ""
        index = torch.arange(min(64, len(self._real.source)))
        real = self._real.source.take(index)
        (a, b), (c, d) = _span(real), _span(x)
        if (a >= -0.05 and c < -0.25) or (b > 16 and d <= 1.5):
            return (
                f"samples lie between {c:.3g} and {d:.3g}, real ones between {a:.3g} and {b:.3g}: "
                "are both scaled alike?"
            )
        return ""


def _span(x: Tensor) -> tuple[float, float]:
    return float(x.min()), float(x.max())


def resolved(measured: Sequence[str]) -> tuple[str, ...]:
    """Returns metrics in short written form, each once; KID first, which alarms need."""
    short = (metrics.short(m) for m in measured)
    return tuple(dict.fromkeys(("kid", *short)))
