"""The hypotheses that were written down before the experiment, and what it says of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from gantlet.core.estimate import Estimate
from gantlet.core.spec import Spec
from gantlet.research.distributions.analysis import (
    Array,
    Errors,
    correlation,
    effect_p,
    feature,
    main_effects,
    spearman,
)
from gantlet.research.distributions.table import Experiment
from gantlet.stats.intervals import holm_adjusted, p_value


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """One number that a hypothesis is about.

    Attributes:
        hypothesis: "H1" and so on.
        says: What is measured.
        estimate: The number; the hypothesis expects it above 0.
        p: Two-sided p-value: of Student's t for a factor, else as if the bootstrap were normal.
    """

    hypothesis: str
    says: str
    estimate: Estimate
    p: float


HYPOTHESES: Mapping[str, str] = {
    "H1": "a bottleneck correlates more with the error of GAN, flow and VAE than with that of "
    "diffusion",
    "H2": "codimension hurts flows and autoregressive models more than GANs",
    "H3": "heavy tails hurt every family with a Gaussian base",
    "H6": "more samples help less, the larger the intrinsic dimension (a rate of n^(-1/d))",
}
"""Those that the main experiment is about; H4 is of the protocols, H5 of the predictor."""


def tests(table: Experiment, errors: Errors) -> list[Test]:
    """Returns the tests of all hypotheses at one budget."""
    made = (*_bottleneck(table, errors), *_codimension(table, errors), *_tails(table, errors))
    return [*made, *_sample_size(table, errors)]


def verdicts(made: Sequence[Test], *, level: float = 0.05) -> list[str]:
    """Returns for each test "confirmed", "contradicted" or "undecided", by Holm's procedure."""
    adjusted = holm_adjusted([t.p for t in made])
    signs = ["confirmed" if (t.estimate.value or 0.0) > 0 else "contradicted" for t in made]
    return [s if p <= level else "undecided" for s, p in zip(signs, adjusted, strict=True)]


def _bootstrapped(hypothesis: str, says: str, e: Estimate) -> Test:
    return Test(hypothesis=hypothesis, says=says, estimate=e, p=p_value(e))


def _bottleneck(table: Experiment, errors: Errors) -> Iterator[Test]:
    x = feature(table, errors.worlds, "bottleneck")
    known = np.isfinite(x)
    for family in ("gan", "flow", "vae"):
        if {family, "diffusion"} <= set(errors.families) and known.any():
            gap = correlation(x[known], errors[family][known], against=errors["diffusion"][known])
            says = f"rank correlation of the bottleneck with the error of {family}, minus that "
            yield _bootstrapped("H1", says + "with the error of diffusion", gap)


def _manifolds(table: Experiment, errors: Errors) -> tuple[Errors, list[str]]:
    forms = {w: table["worlds"][w]["form"] for w in errors.worlds}
    held = errors.only([w for w, f in forms.items() if Spec.parse(f).name == "manifolds"])
    return held, [forms[w] for w in held.worlds]


def _option(forms: list[str], name: str) -> Array:
    return np.array([float(Spec.parse(f).options[name]) for f in forms])


def _codimension(table: Experiment, errors: Errors) -> Iterator[Test]:
    held, forms = _manifolds(table, errors)
    if not forms:
        return
    codimension = np.log(_option(forms, "ambient") / _option(forms, "intrinsic"))
    for family in ("flow", "ar"):
        if {family, "gan"} <= set(held.families):
            gap = correlation(codimension, held[family] - held["gan"])
            says = f"rank correlation of log(ambient / intrinsic) with the error of {family} minus"
            yield _bootstrapped("H2", f"{says} that of gan", gap)


def _tails(table: Experiment, errors: Errors) -> Iterator[Test]:
    held, forms = _manifolds(table, errors)
    for family in held.families:
        effects = main_effects(forms, held[family]) if forms else {}
        for name, effect in effects.items():
            if name.startswith("tails"):
                says = f"effect of {name} degrees of freedom on the error of {family}"
                p = effect_p(effect, len(effects))
                yield Test(hypothesis="H3", says=says, estimate=effect, p=p)


def _sample_size(table: Experiment, errors: Errors) -> Iterator[Test]:
    """Yields how much steeper the error falls with log n where the dimension is 1, per family.

    The rate is ``n^(-1/d)``: the slope in log n is proportional to 1 / d. The model is linear in
    log n, 1 / d and their product, beside modes and ambient dimension.
    """
    held, forms = _manifolds(table, errors)
    if len(forms) < 12:
        return
    log_n = np.log10(_option(forms, "n"))
    rate = 1 / _option(forms, "intrinsic")
    beside = [np.log(_option(forms, name)) for name in ("modes", "ambient")]
    columns = np.stack([np.ones(len(forms)), log_n, rate, *beside, -log_n * rate], axis=1)
    for family in held.families:
        says = f"how much steeper the error of {family} falls with log10 n per unit of 1 / d"
        yield _bootstrapped("H6", says, _last(columns, held[family]))


def _last(x: Array, y: Array) -> Estimate:
    """Returns the last coefficient of a regression with a bootstrap interval over worlds."""
    index = np.random.default_rng(0).integers(len(y), size=(1000, len(y)))
    drawn = [float(np.linalg.lstsq(x[i], y[i], rcond=None)[0][-1]) for i in index]
    value = float(np.linalg.lstsq(x, y, rcond=None)[0][-1])
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(
        value=value,
        low=min(float(low), value),
        high=max(float(high), value),
        n=len(y),
        method=f"least squares over {len(y)} worlds, bootstrap",
    )


def level_with_dimension(table: Experiment, errors: Errors) -> dict[str, Estimate]:
    """Returns the rank correlation of intrinsic dimension with the error of each family."""
    x = feature(table, errors.worlds, "id_mle")
    known = np.isfinite(x)
    return {f: correlation(x[known], errors[f][known]) for f in errors.families}


def slope_in_n(table: Experiment, errors: Errors) -> dict[str, Estimate]:
    """Returns by intrinsic dimension the slope of the mean error of all families in log10 n."""
    held, forms = _manifolds(table, errors)
    if not forms:
        return {}
    log_n, d = np.log10(_option(forms, "n")), _option(forms, "intrinsic")
    y = held.values.mean(1)
    found = {}
    for level in sorted(set(d)):
        mine = d == level
        if mine.sum() > 3 and np.ptp(log_n[mine]) > 0:
            x = np.stack([np.ones(mine.sum()), log_n[mine]], axis=1)
            found[f"{level:g}"] = _last(x, y[mine])
    return found


def rank_of(name: str, table: Experiment, errors: Errors) -> dict[str, float | None]:
    """Returns the rank correlation of a feature with the error of each family.

    And with the error of the GAN above that of diffusion; None where the feature does not vary.
    """
    x = feature(table, errors.worlds, name)
    columns = {f: errors[f] for f in errors.families}
    if {"gan", "diffusion"} <= set(columns):
        columns["gan - diffusion"] = errors["gan"] - errors["diffusion"]
    known = np.isfinite(x)
    if known.sum() < 8 or np.ptp(x[known]) == 0:
        return dict.fromkeys(columns, None)
    return {f: round(float(spearman(x[known], y[known])), 2) for f, y in columns.items()}
