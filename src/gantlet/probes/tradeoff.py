"""Quality against coverage of a model's samples, over the values of its knob."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, final

from torch import Tensor
from typing_extensions import override

from gantlet.core.data import Dataset, Space, Splits, all_samples
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.core.metric import DataProbe, FeatureProbe, Features, Findings, Metric, metric_on
from gantlet.core.model import Model, Tunable
from gantlet.core.rng import Rng
from gantlet.core.spec import Between, extractors, metrics
from gantlet.domains.domains import default_features, domain_of
from gantlet.metrics.measure import measure_all

TRADE_OFF = "trade-off"
"""Under what name the details of an outcome hold the curve."""

AS_TRAINED = "as trained"
_AUTO = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class TradeOff(FeatureProbe):
    """The quality and the coverage of samples at each value of the model's knob.

    A number of quality alone can be bought with variety: by a lower temperature, by truncation.
    So models are compared by the pair, and by coverage at equal quality. A model without a knob
    is one point. All points, and the held-out samples that stand in for a model's, have the same
    number of samples and the same reference.

    Source: for text, Caccia et al., 2020, https://arxiv.org/abs/1811.02549.

    Attributes:
        quality: Metric of quality; auto: that of the kind of data.
        coverage: Metric of coverage; auto: that of the kind of data.
        features: Extractor for metrics that see features; auto: the one that ranks in the
            comparison, or that of the kind of data.
        samples: Number of samples of each set, at most.
    """

    quality: str = _AUTO
    coverage: str = _AUTO
    features: str = _AUTO
    samples: Annotated[int, Between(20)] = 1000

    @override
    def on(self, extractor: str, features: Features) -> DataProbe:
        """Returns the probe with features that are already fitted, unless it names its own."""
        return self if self.features != _AUTO else _Fitted(self, extractor, features)

    def examine(
        self, model: Model, real: Tensor, *, data: Dataset, splits: Splits, rng: Rng
    ) -> Findings:
        """Returns the scores ``<metric>, <knob>=<value>`` and the curve in the details.

        Raises:
            UserError: If a metric cannot be measured on such samples.
        """
        space, named = data.space, self.features
        if named == _AUTO:
            labelled = splits.train.labels is not None
            named = default_features(space, splits.code, labelled=labelled)[0]
        # Fitted with one seed whatever that of the trial is: curves of all seeds are comparable.
        fitted = extractors.make(named).fit(space, splits, rng=Rng(0, rng.device))
        return self.along(model, real, (named, fitted), space=space, splits=splits, rng=rng)

    def along(
        self,
        model: Model,
        real: Tensor,
        seen: tuple[str, Features],
        *,
        space: Space,
        splits: Splits,
        rng: Rng,
    ) -> Findings:
        """Returns what ``examine`` does, on features that are already fitted.

        Raises:
            UserError: If a metric cannot be measured on such samples.
        """
        n = min(self.samples, len(real), len(splits.validation))
        pair = _Pair.of(self.pair(space), seen, space, splits, real[:n])
        points = [self._point(pair, model, v, n, rng) for v in _values(model)]
        stand_in = all_samples(splits.validation, n).to(real.device)
        knob = model.knob.name if isinstance(model, Tunable) else None
        curve = {
            "quality": pair.titles[0],
            "coverage": pair.titles[1],
            "knob": knob,
            "samples": n,
            "points": [p.plain() for p in points],
            "floor": [asdict(e) for e in pair.measure(stand_in, rng)],
        }
        scores = {name: e for p in points for name, e in p.scores(pair.titles, knob).items()}
        return Findings(scores=scores, clock={}, details={TRADE_OFF: curve})

    def pair(self, space: Space) -> tuple[str, str]:
        """Returns the metrics of quality and of coverage for samples of a space."""
        usual = domain_of(space).trade_off
        chosen = (self.quality, self.coverage)
        first, second = (u if c == _AUTO else c for c, u in zip(chosen, usual, strict=True))
        return metrics.resolve(first), metrics.resolve(second)

    def _point(
        self, pair: "_Pair", model: Model, value: float | None, n: int, rng: Rng
    ) -> "_Point":
        is_neutral = value is None or (isinstance(model, Tunable) and value == model.knob.neutral)
        used = model.tuned(value) if isinstance(model, Tunable) and value is not None else model
        if is_neutral:
            used = model
        try:
            x = used.sample(n, rng=rng.stream(f"{TRADE_OFF}/{value}"))
            pair.space.check(x, "the model")
            found = pair.measure(x, rng)
        except UserError as error:
            found = (Estimate.missing(str(error)),) * 2
        return _Point(value, found, is_neutral=is_neutral)


@final
@dataclass(frozen=True, slots=True)
class _Fitted:
    """The probe on features that are already fitted."""

    probe: TradeOff
    extractor: str
    features: Features

    def examine(
        self, model: Model, real: Tensor, *, data: Dataset, splits: Splits, rng: Rng
    ) -> Findings:
        """Measures as the probe does."""
        seen = (self.extractor, self.features)
        return self.probe.along(model, real, seen, space=data.space, splits=splits, rng=rng)


@final
@dataclass(frozen=True, slots=True)
class _Point:
    """One value of a knob, None for a model without one, and what was measured there."""

    value: float | None
    found: Sequence[Estimate]
    is_neutral: bool

    def plain(self) -> dict[str, Any]:
        quality, coverage = map(asdict, self.found)
        neutral = self.is_neutral
        return {
            "value": self.value,
            "as trained": neutral,
            "quality": quality,
            "coverage": coverage,
        }

    def scores(self, titles: Sequence[str], knob: str | None) -> dict[str, Estimate]:
        return {
            score_name(title, knob, None if self.is_neutral else self.value): e
            for title, e in zip(titles, self.found, strict=True)
        }


def score_name(title: str, knob: str | None, value: float | None) -> str:
    """Returns the name of the score of a metric at a value of the knob.

    Args:
        title: The metric, with the features that it is measured on.
        knob: The name of the knob, None for a model without one.
        value: Its value, None where the model samples as it was trained to.

    Example:
        >>> score_name("recall (pca)", "temperature", 0.5)
        'recall (pca), temperature=0.5'
    """
    where = AS_TRAINED if knob is None or value is None else f"{knob}={value:g}"
    return f"{title}, {where}"


def _values(model: Model) -> Sequence[float | None]:
    """Returns the values of a model's knob in order, the neutral one among them."""
    if not isinstance(model, Tunable):
        return [None]
    known = model.knob.values
    return sorted({*known, model.knob.neutral}, reverse=len(known) > 1 and known[0] > known[-1])


@final
@dataclass(frozen=True, slots=True)
class _Pair:
    """Two metrics with the reference that they compare samples with.

    Attributes:
        space: What a sample is.
        metrics: Quality, then coverage.
        titles: Their names, with the features that they are measured on.
        features: What metrics of features see.
        real: The reference, by what metrics see.
    """

    space: Space
    metrics: tuple[Metric, Metric]
    titles: tuple[str, str]
    features: Features
    real: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])

    @classmethod
    def of(
        cls,
        named: tuple[str, str],
        seen: tuple[str, Features],
        space: Space,
        splits: Splits,
        real: Tensor,
    ) -> "_Pair":
        first, second = (_metric(text, space, splits) for text in named)
        extractor, features = seen
        where = f" ({extractor.partition(':')[0]})"
        titles = [
            text.partition(":")[0] + (where if m.sees == "features" else "")
            for text, m in zip(named, (first, second), strict=True)
        ]
        made = cls(space, (first, second), (titles[0], titles[1]), features)
        kinds = {m.sees for m in made.metrics}
        return cls(space, made.metrics, made.titles, features, made._inputs(kinds, real))

    def measure(self, x: Tensor, rng: Rng) -> tuple[Estimate, Estimate]:
        """Returns quality and coverage of samples; metrics of one input share a pass."""
        found: dict[str, Estimate] = {}
        seen = self._inputs(set(self.real), x)
        for kind, inputs in seen.items():
            both = zip(self.titles, self.metrics, strict=True)
            wanted = {title: m for title, m in both if m.sees == kind}
            own = Rng(rng.seed, inputs.device)
            found |= measure_all(wanted, self.real[kind], inputs, rng=own)
        first, second = self.titles
        return found[first], found[second]

    def _inputs(self, kinds: set[Any], x: Tensor) -> dict[str, Tensor]:
        known = {"features": self.features.extract, "samples": self.space.unit}
        return {kind: known[kind](x) for kind in sorted(kinds)}


def _metric(text: str, space: Space, splits: Splits) -> Metric:
    found = metric_on(metrics.make(text), space, splits.code)
    if not isinstance(found, Metric) or found.sees == "probabilities":
        raise UserError(
            f"trade-off takes metrics of features or of samples that need no training set. Got "
            f"{text.partition(':')[0]}; choose another, such as precision."
        )
    return found
