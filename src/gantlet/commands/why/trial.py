"""Values of a metric under mixtures of two settings, and without each fold of the samples."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from gantlet.commands.evaluate.inputs import Changed, EvaluationSpec, Role
from gantlet.commands.evaluate.sets import EvaluationSets, SampleSet
from gantlet.commands.why.settings import PLAIN, Factor, Setting, factors_between, switched
from gantlet.compute.machine import threads
from gantlet.core.data import Source, Splits
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate, Outcome, Trial
from gantlet.core.metric import Features, Metric
from gantlet.core.rng import Rng
from gantlet.core.spec import extractors, metrics
from gantlet.domains.preparation import Preparation
from gantlet.features.base import (
    FeatureCache,
    block_of,
    digest_of,
    feature_set,
    full_precision,
    subsample_indices,
)
from gantlet.metrics.frechet import FittedNormals, Frechet
from gantlet.metrics.measure import two_sample
from gantlet.run.execute import LruCache, Watch
from gantlet.run.trials import TypedTrial
from gantlet.stats.attribution import (
    Coalition,
    Orders,
    left_out_variance,
    p_of,
    with_interval,
)
from gantlet.stats.intervals import holm_adjusted
from gantlet.stats.jackknife import folds

# ----------------------------------------------------------------------------
# What a trial is.
# ----------------------------------------------------------------------------

FOLDS = 20
"""So many folds of the samples are left out in turn."""

LEAST = 2 * FOLDS
"""With fewer samples of a set no fold can be left out."""

DIFFERENCE, REST = "difference", "unexplained rest"
"""The scores that are no parts of settings."""

FROM, TO = "A", "B"
"""The scores of the two settings."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class WhyTrial(TypedTrial):
    """Two settings and a metric. Its written form is a ``Trial``, whose key names it.

    Attributes:
        a: The first setting.
        b: The second one.
        metric: The metric in written form.
        seed: Draws folds and orders.
        threads: Threads of the trial; part of what decides the last digits.
        device: Where features are computed and compared.
        model: What a trial is called.
    """

    a: Setting
    b: Setting
    metric: str
    seed: int
    threads: int
    device: str
    model: str = "the difference"

    @property
    def factors(self) -> list[Factor]:
        """What differs between the settings."""
        return factors_between(self.a, self.b)


# ----------------------------------------------------------------------------
# The samples of a setting, and their features.
# ----------------------------------------------------------------------------

# So many sets of samples, extractors and matrices of features are held at a time.
_SETS, _EXTRACTORS, _FEATURES = 16, 16, 32


@final
class PreparedSets:
    """The samples and features of any setting; each is made once.

    Args:
        device: Where features are computed.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._sets = LruCache[tuple[object, ...], EvaluationSets](_SETS)
        self._extractors = LruCache[tuple[object, ...], Features](_EXTRACTORS)
        self._features = LruCache[tuple[object, ...], Tensor](_FEATURES)

    def check(self, setting: Setting) -> None:
        """Checks that a setting can be measured.

        Raises:
            UserError: If samples are missing, too few, or cannot be prepared.
        """
        for role in _ROLES:
            chosen = self.chosen(setting, role)
            if chosen.n < LEAST:
                raise UserError(
                    f"{chosen.samples.name} has {chosen.n} samples; why needs at least {LEAST} of "
                    "each set."
                )
            setting.preparation(role).check(chosen.samples.space)
        real, fake = (
            setting.preparation(role).space(self.chosen(setting, role).samples.space)
            for role in _ROLES
        )
        if real != fake:
            raise UserError(
                f"size= makes reals {real.label} and fakes {fake.label}: give one size."
            )

    def sets(self, setting: Setting, role: Role) -> EvaluationSets:
        """Returns the sets of a setting, with as many samples as one side has."""
        samples = setting.of("samples", role)
        seeds = int(setting.seed), int(setting.data_seed)
        key = (setting.fakes, setting.reference, setting.train, samples, seeds)

        def made() -> EvaluationSets:
            return EvaluationSets(
                EvaluationSpec(
                    real=setting.reference,
                    train=setting.train or None,
                    fakes=(setting.fakes,),
                    samples=samples,
                    seed=seeds[0],
                    data_seed=seeds[1],
                    divides=True,
                )
            )

        return self._sets.get(key, made)

    def chosen(self, setting: Setting, role: Role) -> SampleSet:
        """Returns the samples of a side, before they are prepared."""
        sets = self.sets(setting, role)
        return sets.real if role == "real" else sets.fake(setting.fakes)

    def places(self, setting: Setting, role: Role) -> Tensor:
        """Returns where the samples of a side are among all of their set, shape ``(n,)``."""
        chosen, most = self.chosen(setting, role), setting.of("samples", role)
        if most is None:
            return torch.arange(chosen.found)
        drawn = Rng(int(setting.seed)).stream(f"thin/{role}")
        return subsample_indices(chosen.found, most, rng=drawn)

    def features(self, setting: Setting, role: Role, watch: Watch) -> Tensor:
        """Returns the features of a side, shape ``(n, d)``."""
        text = setting.fakes if role == "fake" else ""
        own = (text, setting.of("samples", role), setting.preparation(role))
        # Fakes are read as samples of the space of the reference.
        seeds = (setting.reference, setting.seed, setting.data_seed)
        key = (role, *own, *seeds, *self._decisive(setting))
        return self._features.get(key, lambda: self._extracted(setting, role, watch))

    def extractor(self, setting: Setting) -> Features:
        """Returns the extractor, which learns from real samples as they are prepared."""
        key = self._decisive(setting)
        return self._extractors.get(key, lambda: self._fitted(setting))

    def _decisive(self, setting: Setting) -> tuple[object, ...]:
        """Returns all that decides an extractor."""
        prepare, written = setting.preparation("real"), setting.features
        space = prepare.space(self.chosen(setting, "real").samples.space)
        if not extractors.make(written).learns:
            return written, space
        seeds = (setting.seed, setting.data_seed)
        samples = setting.of("samples", "real")
        sets = (setting.reference, setting.fakes, setting.train)
        return written, space, *sets, samples, prepare, *seeds

    def _fitted(self, setting: Setting) -> Features:
        sets, prepare = self.sets(setting, "real"), setting.preparation("real")
        if prepare.is_nothing:
            return sets.extractor(setting.features, self._device)
        space = prepare.space(sets.real.samples.space)
        splits = _prepared_splits(sets.known_splits()[0], prepare)
        rng = Rng(int(setting.data_seed), self._device)
        return extractors.make(setting.features).fit(space, splits, rng=rng)

    def _extracted(self, setting: Setting, role: Role, watch: Watch) -> Tensor:
        features, prepare = self.extractor(setting), setting.preparation(role)
        chosen = self.sets(setting, "real").recoded(self.chosen(setting, role).samples)
        source, block = chosen.source, block_of(prepare.space(chosen.space))
        watch(0.0, f"{setting.features.partition(':')[0]} of {chosen.name}")
        cache = FeatureCache.usual()
        if prepare.is_nothing:
            return feature_set(
                features, source, block=block, device=self._device, cache=cache, classes=False
            ).rows
        # Named by the samples before they are prepared, which takes longer than to read them.
        digest = digest_of(source, block)
        key = f"prepared/{prepare.label}/{features.fingerprint}/{block}/{digest}"

        def parts() -> list[Tensor]:
            indices = torch.split(torch.arange(len(source)), block)
            taken = (prepare(source.take(i)).to(self._device) for i in indices)
            return [features.extract(x).cpu() for x in taken]

        return cache.rows(key, len(source), parts)


_ROLES: tuple[Role, Role] = ("real", "fake")


def _prepared_splits(splits: Splits, prepare: Preparation) -> Splits:
    def of(source: Source) -> Source:
        return Changed(source, prepare)

    return replace(
        splits, train=of(splits.train), validation=of(splits.validation), test=of(splits.test)
    )


# ----------------------------------------------------------------------------
# The value of a metric on features.
# ----------------------------------------------------------------------------


def check_bias(metric: str, *settings: Setting) -> None:
    """Checks that a metric has the values that settings ask for.

    Raises:
        UserError: If it has no plug-in value.
    """
    if any(s.bias == PLAIN for s in settings) and metric.partition(":")[0] not in _PLAIN:
        raise UserError(
            f"bias=plain is for {', '.join(_PLAIN)}, which has a plug-in value. Leave it out for "
            f"{metrics.short(metric)}."
        )


_PLAIN = ("frechet",)


def value_of(metric: Metric, real: Tensor, fake: Tensor, setting: Setting, seed: int) -> float:
    """Returns the value of a metric; NaN where it has none.

    Args:
        metric: Compares features.
        real: Features, shape ``(n, d)``.
        fake: Features, shape ``(m, d)``.
        setting: Whether the bias is removed.
        seed: From which all that is random follows.
    """
    if isinstance(metric, Frechet):
        fitted = FittedNormals(real, fake, metric.covariance)
        return fitted.plain if setting.bias == PLAIN else fitted.corrected()
    found = metric.measure(real, fake, rng=Rng(seed).stream("value"))
    return math.nan if found.value is None else found.value


# ----------------------------------------------------------------------------
# All values that the parts need, and the parts.
# ----------------------------------------------------------------------------


def _values(spec: WhyTrial, sets: PreparedSets, which: Coalition, watch: Watch) -> Tensor:
    """Returns the value with some settings switched, then those without each fold.

    Float64, shape ``(1 + FOLDS,)``. A sample is in the same fold whatever the setting.
    """
    setting = switched(spec.a, spec.b, [spec.factors[i] for i in sorted(which)])
    real, fake = (sets.features(setting, role, watch) for role in _ROLES)
    out_real, out_fake = (_fold(spec, sets, setting, role) for role in _ROLES)
    metric = two_sample(spec.metric)
    found = [value_of(metric, real, fake, setting, spec.seed)]
    for k in range(FOLDS):
        kept = real[out_real != k], fake[out_fake != k]
        found.append(value_of(metric, *kept, setting, spec.seed))
    return torch.tensor(found, dtype=torch.float64)


def _fold(spec: WhyTrial, sets: PreparedSets, setting: Setting, role: Role) -> Tensor:
    """Returns the fold of each sample of a side, shape ``(n,)``."""
    places, n = sets.places(setting, role), sets.chosen(setting, role).found
    drawn = Rng(spec.seed).stream(f"why/{role}")
    return folds(n, rng=drawn, device=torch.device("cpu"), most=FOLDS)[places]


def run_trial(trial: Trial, sets: PreparedSets, watch: Watch) -> Outcome:
    """Measures what each setting adds to the difference.

    Args:
        trial: A ``WhyTrial`` in written form.
        sets: The samples of any setting.
        watch: Is told how far it is.
    """
    spec = WhyTrial.of(trial)
    orders = Orders.of(len(spec.factors), rng=Rng(spec.seed).stream("orders"))
    with threads(spec.threads), full_precision():
        values = _all_values(spec, orders, sets, watch)
    if any(not bool(v.isfinite().all()) for v in values.values()):
        metric = metrics.short(spec.metric)
        raise UserError(f"{metric} has no value under some of the settings: give more samples.")
    n = min(sets.chosen(s, role).n for s in (spec.a, spec.b) for role in _ROLES)
    scores, adjusted = _scores(spec, orders, values, n)
    details = {
        "p": adjusted,
        "orders": orders.label,
        "values": len(values),
        "corners": {_corner(spec, c): float(v[0]) for c, v in values.items()},
        "fingerprints": fingerprints(spec.a, spec.b, sets),
    }
    return Outcome(trial=trial, scores=scores, details=details)


def _all_values(
    spec: WhyTrial, orders: Orders, sets: PreparedSets, watch: Watch
) -> dict[Coalition, Tensor]:
    wanted, factors = orders.coalitions(), spec.factors

    def place(which: Coalition) -> tuple[str, ...]:
        # Those that share features follow one another.
        setting = switched(spec.a, spec.b, [factors[i] for i in which])
        return tuple(replace(setting, bias=PLAIN).written().values())

    found: dict[Coalition, Tensor] = {}
    for which in sorted(wanted, key=place):

        def said(share: float, what: str) -> None:
            watch((len(found) + share) / len(wanted), what)

        said(0.0, f"{len(found)} of {len(wanted)} values")
        found[which] = _values(spec, sets, which, said)
    return {which: found[which] for which in wanted}


def _scores(
    spec: WhyTrial, orders: Orders, values: Mapping[Coalition, Tensor], n: int
) -> tuple[dict[str, Estimate], dict[str, float]]:
    """Returns all numbers with intervals, and the adjusted p-value of each part."""
    parts = orders.parts_of(values)
    drawn = orders.spread({c: v[0] for c, v in values.items()})
    variance = left_out_variance(parts[:, 1:]) + drawn
    names = [f.name for f in spec.factors]
    method = f"mean over {orders.label}; jackknife over {FOLDS} folds of samples, Student's t"
    pairs = list(zip(parts[:, 0].tolist(), variance.tolist(), strict=True))
    found = {
        name: with_interval(value, spread, folds=FOLDS, n=n, method=method)
        for name, (value, spread) in zip(names, pairs, strict=True)
    }
    p = holm_adjusted([p_of(value, spread, folds=FOLDS) for value, spread in pairs])
    first, last = values[frozenset()], values[frozenset(range(orders.parts))]
    plain = f"jackknife over {FOLDS} folds of samples, Student's t"
    for name, row in ((FROM, first), (TO, last), (DIFFERENCE, last - first)):
        spread = float(left_out_variance(row[1:]))
        found[name] = with_interval(float(row[0]), spread, folds=FOLDS, n=n, method=plain)
    return found | _rest(spec, found), dict(zip(names, p, strict=True))


def _rest(spec: WhyTrial, found: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Returns what recorded values differ by beyond what was computed again."""
    recorded = {FROM: spec.a.published, TO: spec.b.published}
    if all(value is None for value in recorded.values()):
        return {}
    apart = 0.0
    for name, sign in ((FROM, -1), (TO, 1)):
        value, again = recorded[name], found[name].value
        if value is not None and again is not None:
            apart += sign * (value - again)
    said = " and ".join(name for name, value in recorded.items() if value is not None)
    method = f"recorded or published value of {said}, less what was computed again: no interval"
    return {REST: Estimate(value=apart, n=found[DIFFERENCE].n, method=method)}


def _corner(spec: WhyTrial, which: Coalition) -> str:
    """Returns the names of the settings that are switched."""
    return " + ".join(spec.factors[i].name for i in sorted(which)) or "none"


def fingerprints(a: Setting, b: Setting, sets: PreparedSets) -> dict[str, str]:
    """Returns what tells the samples of two settings from others, by where they are."""
    sides: tuple[Role, Role] = ("fake", "real")
    return {
        text: sets.sets(setting, role).fingerprint(text, role)
        for setting in (a, b)
        for role, text in zip(sides, (setting.fakes, setting.reference), strict=True)
    }


def names_by_size(found: Mapping[str, Estimate], factors: Sequence[Factor]) -> list[str]:
    """Returns the names of the parts, the largest in absolute terms first."""

    def size(name: str) -> float:
        value = found[name].value
        return 0.0 if value is None else -abs(value)

    return sorted((f.name for f in factors), key=size)
