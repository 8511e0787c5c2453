"""The report of a forecast."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

from gantlet.commands.cost import nearest
from gantlet.commands.forecast.trial import FIT, PREDICTOR, PROFILE
from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate, Outcome
from gantlet.core.spec import datasets
from gantlet.forecast.predictor import (
    GROUPS,
    LEVEL,
    SIGNIFICANT,
    Applicability,
    Gap,
    Predictor,
    Steepness,
)
from gantlet.forecast.profile import FEATURES, IMAGE_FEATURES
from gantlet.report.blocks import (
    Block,
    Caveat,
    Cell,
    Column,
    Dot,
    Forest,
    Group,
    Report,
    Row,
    Section,
    Table,
    Verdict,
)
from gantlet.report.format import listed, text
from gantlet.run.execute import facts_of
from gantlet.run.store import Run

_SHOWN_DRIVERS = 2
_FEW = 200  # samples below which a profile is noisy


def answer(
    question: Mapping[str, Any],
    outcomes: Sequence[Outcome],
    run: Run,
    predictor: Predictor | None,
) -> Report:
    """Returns the report of what has been found out so far.

    Args:
        question: What was asked.
        outcomes: The profile, the fit, or both.
        run: The run.
        predictor: The predictor that is shipped; None to use that of the run.
    """
    by_name = {o.trial.parts["model"]: o for o in outcomes if o.error is None}
    profile, fit = by_name.get(PROFILE), by_name.get(FIT)
    if predictor is None and fit is not None:
        file = run.folder(fit.trial).path / PREDICTOR
        if not file.exists():
            raise UserError(f"{file} is missing. Remove {run.path} and run the command again.")
        predictor = Predictor.from_json(file.read_text(encoding="utf-8"))
    quality = [] if fit is None else list(_quality(fit.details))
    if profile is None:
        return _of_fit(question, outcomes, run, fit, quality)
    if predictor is None:
        reason = "The predictor could not be fitted, so there is no prediction."
        return Report(
            title="Forecast",
            command="forecast",
            question=question,
            facts=facts_of({}, outcomes, run, trains=False),
            caveats=[Caveat(text=reason)],
        )
    found = Found.of(profile, predictor, question)
    return Report(
        title=f"Forecast for {found.name}",
        command="forecast",
        question=question,
        facts=facts_of(_setting(found), outcomes, run, trains=False),
        verdicts=list(_verdicts(found)),
        caveats=list(_caveats(found)),
        rows=list(_rows(found)),
        blocks=[*_blocks(found), *quality],
        extra=_extra(found),
    )


@final
@dataclass(frozen=True, kw_only=True)
class Found:
    """A profile with what is predicted from it.

    Attributes:
        name: Name of the data.
        data: The data in written form.
        details: What the profile trial recorded.
        scores: The features.
        predictor: The predictor.
        flops: The budget.
        families: The families that were asked for.
        applicability: Whether a prediction is made.
    """

    name: str
    data: str
    details: Mapping[str, Any]
    scores: Mapping[str, Estimate]
    predictor: Predictor
    flops: float
    families: Sequence[str]
    applicability: Applicability

    @classmethod
    def of(cls, outcome: Outcome, predictor: Predictor, question: Mapping[str, Any]) -> "Found":
        """Returns what is predicted from the profile of an outcome."""
        details, flops = outcome.details, float(question["flops"])
        applicability = predictor.applicability(details["profile"], flops)
        if details["how"] != "raw values":
            reason = (
                f"the data are of the kind {details['kind']}, described by {details['how']}, and "
                "the experiment trained on vectors"
            )
            applicability = Applicability(
                score=applicability.score, reasons=[reason, *applicability.reasons]
            )
        return cls(
            name=details["name"],
            data=question["data"],
            details=details,
            scores=outcome.scores,
            predictor=predictor,
            flops=flops,
            families=question["families"],
            applicability=applicability,
        )

    @property
    def profile(self) -> Mapping[str, float]:
        """The features by name."""
        found: Mapping[str, float] = self.details["profile"]
        return found

    @cached_property
    def errors(self) -> dict[str, Estimate]:
        """Predicted errors, lowest first; none where the predictor abstains."""
        if not self.applicability.is_inside:
            return {}
        return self.predictor.errors(self.profile, self.flops, self.families)

    @cached_property
    def gaps(self) -> Sequence[Gap]:
        """Differences of the best family to each other; none where the predictor abstains."""
        if not self.applicability.is_inside:
            return []
        return self.predictor.gaps(self.profile, self.flops, self.families)


# ----------------------------------------------------------------------------
# The answer in sentences.
# ----------------------------------------------------------------------------


def _verdicts(found: Found) -> Iterator[Verdict]:
    if not found.applicability.is_inside:
        yield Verdict(
            claim="No prediction: the data are unlike those that the predictor was fitted to.",
            because=_sentence("; ".join(found.applicability.reasons)),
        )
        yield Verdict(claim=portrait(found.profile))
        yield from _measured(found)
        return
    best, *others = found.errors
    if others:
        yield from _ranking(best, found.errors[best], found.gaps)
        if all(g.p > SIGNIFICANT for g in found.gaps):
            usual = found.predictor.best_on_average(found.flops, found.families)
            yield Verdict(
                claim=f"Without a better reason start with {usual}, which is best on average.",
                because=f"Mean over the {len(found.predictor.worlds)} known sets at the nearest "
                "budget of the experiment.",
            )
    else:
        yield Verdict(claim=f"Predicted error of {best}: {text(found.errors[best])}.")
    adversarial = found.predictor.gan_or_not(found.profile, found.flops, found.families)
    if adversarial is not None:
        yield _gan_or_not(adversarial)
    yield Verdict(claim=portrait(found.profile))
    yield _driven(found, best)
    steep = found.predictor.steepness(found.profile, best)
    if steep is not None:
        yield Verdict(claim=f"{best}: {steepness(steep)}.")


def _measured(found: Found) -> Iterator[Verdict]:
    """Yields how many steps families needed on published data like these, where that is known."""
    details = found.details
    space = Space(details["kind"], tuple(details["shape"]), details["levels"])
    courses = [nearest(family, space) for family in found.families]
    told = [course.text() for course in courses if course is not None]
    if told:
        yield Verdict(claim=f"Known of published data: {'; '.join(told)}.")


def _ranking(best: str, error: Estimate, gaps: Sequence[Gap]) -> Iterator[Verdict]:
    """Yields first what cannot be distinguished, then what can."""
    level = [g for g in gaps if g.p > SIGNIFICANT]
    behind = [g for g in gaps if g.p <= SIGNIFICANT]
    if level:
        names = listed([g.worse for g in level])
        some = "Which family is best cannot be predicted: " if not behind else ""
        yield Verdict(
            claim=f"{some}{names} cannot be distinguished from {best} before training.",
            because=f"Conformal tests of predicted differences, Holm-adjusted: p = "
            f"{_span([g.p for g in level])}.",
        )
    if not behind:
        yield Verdict(
            claim=f"The lowest prediction is that of {best}: predicted error {text(error)}, not "
            "significantly lower than any other."
        )
        return
    told = "; ".join(f"than {g.worse}: {_times(g)}, p = {g.p:.2g}" for g in behind)
    yield Verdict(
        claim=f"Try {best} first: predicted error {text(error)}, significantly lower than that of "
        f"{listed([g.worse for g in behind])}.",
        because=f"Lower {told}.",
    )


def _gan_or_not(gap: Gap) -> Verdict:
    numbers = f"Predicted error of {gap.better} lower than of {gap.worse}: {_times(gap)}, "
    numbers += f"p = {gap.p:.2g}."
    if gap.p > SIGNIFICANT:
        claim = (
            "GAN or not: the best adversarial and the best other family cannot be distinguished"
        )
        return Verdict(claim=f"{claim}.", because=numbers)
    return Verdict(claim=f"GAN or not: {gap.better} rather than {gap.worse}.", because=numbers)


def _driven(found: Found, family: str) -> Verdict:
    moved = found.predictor.drivers(found.profile, family, found.flops)[:_SHOWN_DRIVERS]
    told = [
        f"{group} {'raises' if change > 0 else 'lowers'} it {10 ** abs(change):.2g} times"
        for group, change in moved
    ]
    return Verdict(
        claim=f"What moves the predicted error of {family} most: {listed(told)}.",
        because="Compared with the prediction if these features had their mean over the known "
        "sets.",
    )


def steepness(found: Steepness) -> str:
    """Returns after how many steps training leaves the steep part of its curve, in words.

    Example:
        >>> steepness(Steepness(left=[100.0, 300.0, 900.0], steep=1, most=2700.0))
        'on 3 of the 4 nearest known sets training had left the steep part of its curve after 100 \
to 900 steps (median 300); on 1 it was still improving fast after 2,700'
    """
    total = len(found.left) + found.steep
    if not found.left:
        return (
            f"on all {total} nearest known sets it was still improving fast after "
            f"{found.most:,.0f} steps"
        )
    low, middle, high = (found.left[i] for i in (0, len(found.left) // 2, -1))
    told = f"on {len(found.left)} of the {total} nearest known sets training had left the steep "
    told += f"part of its curve after {low:,.0f}"
    told += f" to {high:,.0f} steps (median {middle:,.0f})" if high > low else " steps"
    rest = f"; on {found.steep} it was still improving fast after {found.most:,.0f}"
    return told + (rest if found.steep else "")


def portrait(profile: Mapping[str, float]) -> str:
    """Returns the profile in one sentence.

    Example:
        >>> portrait({"n": 500, "ambient": 3, "id_mle": 1.9, "modes": 1, "hill": 0.05})
        'The data: 500 samples in 3 dimensions, intrinsic dimension about 1.9; one mode; light \
tails.'
    """
    parts = [f"{profile['n']:,.0f} samples in {profile['ambient']:,.0f} dimensions"]
    if "id_mle" in profile:
        parts[0] += f", intrinsic dimension about {profile['id_mle']:.2g}"
    if "modes" in profile:
        k, gap = round(profile["modes"]), profile.get("separation")
        apart = "" if gap is None else f", {gap:.2g} standard deviations apart"
        parts.append(f"{k} modes{apart}" if k > 1 else "one mode")
    if "lambda2" in profile:
        parts.append(_connected(profile["lambda2"]))
    if "hill" in profile:
        parts.append("heavy tails" if profile["hill"] > _HEAVY else "light tails")
    if profile.get("duplicates", 0) > 0:
        parts.append(f"{100 * profile['duplicates']:.2g} % duplicates")
    return f"The data: {'; '.join(parts)}."


_HEAVY = 0.2
"""A Hill index above this is a tail that has no fifth moment."""


def _connected(gap: float) -> str:
    if gap <= -5:
        return "disconnected"
    return "weakly connected" if gap < -3 else "connected"


def _times(gap: Gap) -> str:
    """Returns a ratio of errors with its interval."""
    return f"{10**gap.value:.2g} times [{10**gap.low:.2g}, {10**gap.high:.2g}]"


def _span(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2g}", f"{max(values):.2g}"
    return low if low == high else f"{low} to {high}"


def _sentence(clause: str) -> str:
    return f"{clause[:1].upper()}{clause[1:]}."


# ----------------------------------------------------------------------------
# What limits it, and details.
# ----------------------------------------------------------------------------


def _caveats(found: Found) -> Iterator[Caveat]:
    details = found.details
    if details["note"]:
        yield Caveat(text=_sentence(details["note"]))
    if details["sampled"] < _FEW:
        yield Caveat(
            text=f"The profile is that of {details['sampled']} samples, and so noisy: others may "
            "give another one."
        )
    if not found.applicability.is_inside:
        return
    if details["kind"] == "image":
        yield Caveat(
            text="Images are taken as vectors of pixels, which is how the experiment trained; "
            "families for images use convolutions, and may do better."
        )
    elif details["levels"]:
        yield Caveat(text="The data are discrete, and the experiment trained on continuous data.")
    yield Caveat(
        text="Errors are those of the networks of the experiment "
        f"({found.predictor.command}), not of ones tuned to these data."
    )


def _setting(found: Found) -> dict[str, str]:
    predictor = found.predictor
    return {
        "Data": found.data,
        "Looked at": f"{found.details['sampled']:,} of {found.details['n']:,} samples, as "
        f"{found.details['how']}",
        "Budget": text(found.flops, "FLOP"),
        "Predictor": f"fitted to {len(predictor.worlds)} known sets, made by {predictor.command}",
        "Models": "; ".join(f"{k}: {v}" for k, v in predictor.chosen.items()),
        "Applicability": f"{found.applicability.score:.2f} (above 1: outside)",
    }


def _rows(found: Found) -> Iterator[Row]:
    for name, estimate in found.scores.items():
        yield Row(data=found.data, model="", seed=None, name=name, estimate=estimate)
    reason = f"no prediction: {'; '.join(found.applicability.reasons)}"
    none = dict.fromkeys(found.families, Estimate.missing(reason, better="lower"))
    for family, estimate in (found.errors or none).items():
        yield Row(
            data=found.data, model=family, seed=None, name="predicted error", estimate=estimate
        )


def _extra(found: Found) -> dict[str, Any]:
    applicability = found.applicability
    return {
        "applicability": {
            "score": applicability.score,
            "inside": applicability.is_inside,
            "reasons": list(applicability.reasons),
        },
        "missing": dict(found.details["missing"]),
        "nearest": [
            {"data": n.world.form, "distance": n.distance}
            for n in found.predictor.nearest(found.profile)
        ],
        "gaps": [
            {
                "better": g.better,
                "worse": g.worse,
                "log10": g.value,
                "low": g.low,
                "high": g.high,
                "p": g.p,
            }
            for g in found.gaps
        ],
    }


# ----------------------------------------------------------------------------
# Tables and charts.
# ----------------------------------------------------------------------------


def _blocks(found: Found) -> Iterator[Block]:
    if found.applicability.is_inside:
        yield _predictions(found)
        yield Forest(
            title="Predicted error",
            unit="1",
            groups=[
                Group(name="", dots=[Dot(name=f, estimate=e) for f, e in found.errors.items()])
            ],
            better="lower",
            log=True,
            note=f"Energy distance over the mean distance of two samples, with {LEVEL:.0%} "
            "prediction intervals for one training.",
        )
    yield _profile(found)
    yield _nearest(found)
    if found.applicability.is_inside:
        yield Section(title="Drivers of each prediction", blocks=[_drivers(found)])


def _predictions(found: Found) -> Table:
    predictor = found.predictor
    gaps = {g.worse: g for g in found.gaps}
    rows: list[list[Cell]] = []
    for family, estimate in found.errors.items():
        gap, steep = gaps.get(family), predictor.steepness(found.profile, family)
        score = predictor.scores[family]
        rows.append(
            [
                family,
                estimate,
                None if gap is None else _ratio(gap),
                "" if gap is None else _verdict_of(gap),
                f"{score['r2']:.2f}",
                f"{10 ** score['mae']:.2g} times",
                None if steep is None else _short(steep),
            ]
        )
    return Table(
        title="Predicted error of each family",
        columns=[
            Column(name="family"),
            Column(
                name="error",
                better="lower",
                help="Energy distance over the mean distance of two test samples.",
                group="Prediction",
            ),
            Column(name="over the best", help="Ratio to the lowest.", group="Prediction"),
            Column(name="significant?", group="Prediction", help="5 %, Holm-adjusted."),
            Column(name="R2", group="On unseen configurations", help="Share of variance."),
            Column(
                name="typically off by",
                group="On unseen configurations",
                help="Mean absolute error of the log, as a factor.",
            ),
            Column(name="steep until step", help="Median over the nearest known sets."),
        ],
        rows=rows,
        note=f"Lowest first, at {text(found.flops, 'FLOP')}. Intervals are {LEVEL:.0%} prediction "
        "intervals for one training.",
    )


def _ratio(gap: Gap) -> Estimate:
    return Estimate(
        value=10**gap.value,
        low=10**gap.low,
        high=10**gap.high,
        level=LEVEL,
        method="split-conformal interval of the difference of logs",
    )


def _verdict_of(gap: Gap) -> str:
    return "yes" if gap.p <= SIGNIFICANT else f"no (p = {gap.p:.2g})"


def _short(steep: Steepness) -> str:
    if len(steep.left) <= steep.steep:
        return f"beyond {steep.most:,.0f}"
    return f"{steep.left[len(steep.left) // 2]:,.0f}"


def _profile(found: Found) -> Table:
    rows: list[list[Cell]] = []
    for group, names in (*GROUPS.items(), ("images", tuple(IMAGE_FEATURES))):
        for name in names:
            value, why = found.profile.get(name), found.details["missing"].get(name)
            if value is None and why is None:
                continue
            feature = FEATURES.get(name) or IMAGE_FEATURES[name]
            known = found.predictor.range_of(name) if name in FEATURES else ""
            reads = feature.reads if why is None else f"missing: {why}"
            rows.append([feature.label, group, value, known, reads])
    return Table(
        title="Profile of the data",
        columns=[
            Column(name="property"),
            Column(name="group"),
            Column(name="value", mixed=True),
            Column(name="known sets", help="Smallest and largest value of the experiment."),
            Column(name="a large value means"),
        ],
        rows=rows,
        note=f"Of {found.details['sampled']:,} samples, as {found.details['how']}; no interval: "
        "one subsample.",
    )


def _nearest(found: Found) -> Table:
    predictor = found.predictor
    at = predictor.nearest_budget(found.flops)
    rows: list[list[Cell]] = []
    for n in predictor.nearest(found.profile):
        measured = [n.world.errors.get(f, [None])[at] for f in found.families]
        cells = [None if e is None else float(f"{10**e:.2g}") for e in measured]
        rows.append([_named(n.world.form), float(f"{n.distance:.2g}"), *cells])
    return Table(
        title="Nearest known sets",
        columns=[
            Column(name="data set"),
            Column(name="distance", help="In standard deviations of a feature."),
            *(Column(name=f, group="Measured error", better="lower") for f in found.families),
        ],
        rows=rows,
        note=f"Means over seeds at {text(predictor.flops[at], 'FLOP')}, without intervals.",
    )


def _named(form: str) -> str:
    """Returns a data set as people name it, without defaults."""
    try:
        return datasets.short(form)
    except UserError:
        return form


def _drivers(found: Found) -> Table:
    families = list(found.errors)
    moved = {f: dict(found.predictor.drivers(found.profile, f, found.flops)) for f in families}
    return Table(
        title="By how many times groups of features move the prediction",
        columns=[Column(name="features"), *(Column(name=f) for f in families)],
        rows=[
            [group, *(float(f"{10 ** moved[f][group]:.2g}") for f in families)] for group in GROUPS
        ],
        note="Above 1 they raise the error, compared with the mean of the known sets.",
    )


# ----------------------------------------------------------------------------
# The quality of a predictor that was fitted.
# ----------------------------------------------------------------------------

_TITLES = {
    "left out": "sets of unseen configurations",
    "real": "real sets, none of them fitted",
    "real, inside": "real sets on which it does not abstain",
}


def _of_fit(
    question: Mapping[str, Any],
    outcomes: Sequence[Outcome],
    run: Run,
    fit: Outcome | None,
    quality: Sequence[Block],
) -> Report:
    if fit is None:
        caveats, verdicts = [Caveat(text="The predictor could not be fitted.")], []
    else:
        caveats, verdicts = [], [_gained(name, part) for name, part in fit.details.items()]
    return Report(
        title=f"Predictor fitted to {question['refit']}",
        command="forecast",
        question=question,
        facts=facts_of({"Table": question["refit"]}, outcomes, run, trains=False),
        verdicts=verdicts,
        caveats=caveats,
        blocks=list(quality),
    )


def _gained(name: str, part: Mapping[str, Any]) -> Verdict:
    """Says whether choosing by the profile beats always taking the best single family."""
    gain, regrets = _read(part["gain"]), part["regrets"]
    own, constant = (_read(regrets[k]) for k in ("profile", "constant"))
    where = f"On {part['worlds']} {_TITLES[name]},"
    if gain.value is None or gain.low is None or gain.high is None:
        return Verdict(claim=f"{where} nothing can be said: {gain.method}.")
    numbers = f"Regret in log10: {text(own)} against {text(constant)}; gain {text(gain)}, 95 %."
    if gain.low <= 0 <= gain.high:
        claim = "choosing by the profile cannot be distinguished from the best single family"
        return Verdict(claim=f"{where} {claim}.", because=numbers)
    word = "better" if gain.low > 0 else "worse"
    return Verdict(
        claim=f"{where} choosing by the profile is significantly {word} than the best single "
        "family.",
        because=numbers,
    )


def _read(plain: Mapping[str, Any]) -> Estimate:
    return Estimate(**plain)


def _quality(details: Mapping[str, Any]) -> Iterator[Block]:
    for name, part in details.items():
        yield Section(
            title=f"Quality of the predictor on {_TITLES[name]}",
            blocks=[_scores(part), _regrets(part)],
            open=True,
        )


def _scores(part: Mapping[str, Any]) -> Table:
    predictors = list(part["scores"])
    rows: list[list[Cell]] = []
    for family in part["coverage"]:
        own = part["scores"]["profile"][family]
        rows.append(
            [
                family,
                *(_read(part["scores"][p][family]["mae"]) for p in predictors),
                _read(own["r2"]),
                _read(own["spearman"]),
                _read(part["coverage"][family]),
            ]
        )
    return Table(
        title="Prediction of the error",
        columns=[
            Column(name="family"),
            *(
                Column(name=p, better="lower", group="Mean absolute error of log10")
                for p in predictors
            ),
            Column(name="R2", better="higher", group="Profile"),
            Column(name="rank correlation", better="higher", group="Profile"),
            Column(name="coverage", group="Profile", help="Of the nominal 90 % interval."),
        ],
        rows=rows,
        note="95 % bootstrap intervals over sets. The baselines know the budget, and nothing "
        "else, the dimensions, or the distance to a Gaussian.",
    )


def _regrets(part: Mapping[str, Any]) -> Table:
    return Table(
        title="Choice of a family",
        columns=[
            Column(name="chosen by"),
            Column(
                name="regret",
                better="lower",
                help="Log10 error of the chosen family above that of the best.",
            ),
        ],
        rows=[[name, _read(e)] for name, e in part["regrets"].items()],
        note="Constant is the family that is best on average at the budget. If significant: that "
        "one too, unless another is predicted to be significantly better. Sets on which the "
        f"predictor does not abstain: {part['inside']:.0%}.",
    )
