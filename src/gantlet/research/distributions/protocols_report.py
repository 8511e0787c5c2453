"""The report of the protocols: measured beside published, and beside the bounds of theory."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from gantlet.core.data import KnownSupport
from gantlet.core.estimate import Estimate, Outcome, Spend
from gantlet.core.spec import Spec, datasets
from gantlet.data.manifolds import Manifolds
from gantlet.report.blocks import (
    Block,
    Caveat,
    Cell,
    Column,
    Lines,
    Report,
    Row,
    Table,
    Verdict,
    failed_trials,
)
from gantlet.research.distributions.analysis import curve, shown, student_p
from gantlet.research.distributions.drawn import COVERED, DRAWN_TIMES, FARTHEST, TOLERANCE
from gantlet.research.distributions.protocols import (
    CONSTANT,
    COVERAGE,
    FOUND,
    MODE_FAMILIES,
    POINTS,
    REAL_DRAWN,
)
from gantlet.run.execute import facts_of
from gantlet.run.store import Run
from gantlet.stats.intervals import holm_adjusted, mean, paired, proportion
from gantlet.stats.theory import planar_precision, precision_bound, simplicial_precision

FLOOR = 5e-4
"""Energy distances below this are noise: about the standard error of real samples against real."""

STEEPEST = "Lipschitz constant, lower bound"
"""How the probe names the largest slope that it found."""


@final
@dataclass(frozen=True, slots=True)
class Published:
    """Numbers of Lin et al., 2018, table 1: means of ten trainings and their standard errors.

    Attributes:
        modes: Modes found.
        modes_error: Standard error.
        quality: Share of samples of high quality, in %.
        kl: Reverse divergence.
    """

    modes: float
    modes_error: float | None
    quality: float | None
    kl: float | None


PUBLISHED: Mapping[tuple[str, str], Published] = {
    ("ring", "plain"): Published(6.3, 0.5, 98.2, 0.45),
    ("ring", "packing, 2"): Published(7.9, None, 95.6, 0.07),
    ("grid", "plain"): Published(17.3, 0.8, 94.8, 0.70),
    ("grid", "packing, 2"): Published(23.8, None, None, None),
}
"""Published numbers of two of the models; https://arxiv.org/abs/1712.04086."""

_SOURCE = "Lin et al., 2018, https://arxiv.org/abs/1712.04086"


def protocol_answer(question: Mapping[str, Any], outcomes: Sequence[Outcome], run: Run) -> Report:
    """Returns the report of the protocols that have been measured so far."""
    parts = {p: [o for o in outcomes if o.trial.parts["part"] == p] for p in question["parts"]}
    good = {p: [o for o in found if FOUND in o.details] for p, found in parts.items()}
    makers = {
        "coverage": _coverage,
        "modes": _modes,
        "tails": _tails,
        "lipschitz": _lipschitz,
        "drawn": _drawn,
        "published": _as_published,
    }
    made = [makers[p](found) for p, found in good.items() if found]
    return Report(
        title="Protocols of mode coverage, and the limits of push-forward models",
        command="study distributions",
        question=question,
        spend=sum((o.spend for o in outcomes), Spend()),
        facts=facts_of(_facts(question), outcomes, run),
        verdicts=[v for verdicts, _ in made for v in verdicts]
        or [Verdict(claim="Nothing has been measured yet.")],
        caveats=[Caveat(text=text) for text in _caveats(question)],
        rows=list(_rows(outcomes)),
        blocks=[
            *(b for _, blocks in made for b in blocks),
            *failed_trials(outcomes, column="model"),
        ],
    )


_DRAWN_CAVEATS = (
    (
        "Dots and pies smaller than published: images of 32 and 16 pixels in place of 64, seconds "
        "of training, and a plain GAN in place of one with a gradient penalty."
    ),
    "Stacked digits and triangles as published need a GPU and were not run.",
)


def _caveats(question: Mapping[str, Any]) -> Iterator[str]:
    if "coverage" in question["parts"]:
        yield (
            f"Smaller than published: {question['steps']:,} steps of 64 samples and 128 hidden "
            "units in place of 400,000 steps of 100, 400 units with batch normalisation and a "
            f"maxout critic; {question['seeds']} trainings in place of 10."
        )
    if "drawn" in question["parts"]:
        yield from _DRAWN_CAVEATS
    yield (
        "Intervals are Student's t over trainings, cut to what is possible: shares to 0 to 100 %, "
        "numbers of modes to 0 to all of them, divergences to 0 and above. Where all trainings "
        "agree exactly they have no width, which so few trainings cannot vouch for."
    )


_Made = tuple[list[Verdict], list[Block]]


def _facts(question: Mapping[str, Any]) -> dict[str, str]:
    if "drawn" not in question["parts"]:
        return {"Steps": str(question["steps"]), "Seeds": str(question["seeds"])}
    return {
        "Size": str(question["size"]),
        "Steps of GANs of coverage and Lipschitz parts": str(question["steps"]),
        "Training FLOPs of parts on modes and tails": f"{question['flops']:.0e}",
        "Training FLOPs of dots and pies": f"{DRAWN_TIMES * question['flops']:.1e}",
        "Seeds": str(question["seeds"]),
        "Not run": "stacked digits, triangles: they need a GPU",
    }


def _rows(outcomes: Sequence[Outcome]) -> Iterator[Row]:
    for o in outcomes:
        for name, value in o.details.get(FOUND, {}).items():
            yield Row(
                data=o.trial.parts["data"],
                model=o.trial.parts["model"],
                seed=o.trial.seed,
                name=name,
                estimate=Estimate(value=value, n=1, method="one training: no interval"),
            )


def _mean(outcomes: Sequence[Outcome], name: str) -> Estimate:
    return mean([o.details[FOUND][name] for o in outcomes if name in o.details[FOUND]])


def _share(values: Sequence[float], most: float = 1.0) -> Estimate:
    return _cut(mean(values), 0.0, most)


def _on_support(outcomes: Sequence[Outcome]) -> list[float]:
    """Returns of each training the share of its samples that is on the support."""
    return [1 - o.details[FOUND]["off_support"] for o in outcomes]


def _modes_found(outcomes: Sequence[Outcome]) -> Estimate:
    """Returns the mean number of modes found; all outcomes are of data with as many modes."""
    return _cut(_mean(outcomes, "modes"), 0.0, _mode_count(outcomes[0]))


def _mode_count(outcome: Outcome) -> float:
    data = datasets.make(outcome.trial.parts["data"])
    if not isinstance(data, KnownSupport):
        raise TypeError("the modes are not known")
    return float(len(data.weights))


def _cut(e: Estimate, least: float, most: float) -> Estimate:
    """Returns a number with the part of its interval that is possible.

    Student's t knows no bounds. As the truth lies within them, what is cut covers it no less.
    """
    if e.low is None or e.high is None:
        return e
    bounds = f"cut to {least:g} and above" if math.isinf(most) else f"cut to {least:g} to {most:g}"
    low, high = max(e.low, least), min(e.high, most)
    return replace(e, low=low, high=high, method=f"{e.method}, {bounds}")


# ----------------------------------------------------------------------------
# Coverage.
# ----------------------------------------------------------------------------


def _coverage(outcomes: Sequence[Outcome]) -> _Made:
    cells = {
        (data, name): held
        for data in ("ring", "grid")
        for name in COVERAGE
        if (
            held := [
                o
                for o in outcomes
                if o.trial.parts["name"] == name and Spec.parse(o.trial.parts["data"]).name == data
            ]
        )
    }
    rows = [_coverage_row(data, name, held) for (data, name), held in cells.items()]
    table = Table(
        title="Mode coverage of rings and grids",
        columns=[
            Column(name="model"),
            Column(name="modes", better="higher"),
            Column(name="high quality", unit="%", better="higher"),
            Column(name="reverse KL", better="lower"),
            Column(name="modes", group="published"),
            Column(name="high quality", unit="%", group="published"),
            Column(name="reverse KL", group="published"),
        ],
        rows=rows,
        note=f"{POINTS:,} generated points; a point is of high quality within three standard "
        "deviations of a mode, of which a perfect sampler has 98.89 %. Rings have 8 modes, grids "
        f"25. Published: {_SOURCE}, table 1.",
    )
    return list(_coverage_verdicts(cells)), [table]


def _coverage_row(data: str, name: str, held: Sequence[Outcome]) -> list[Cell]:
    known = PUBLISHED.get((data, name))
    return [
        f"{data}, {name}",
        _modes_found(held),
        _share([100 * share for share in _on_support(held)], 100.0),
        _cut(_mean(held, "reverse_kl"), 0.0, math.inf),
        known.modes if known else None,
        known.quality if known else None,
        known.kl if known else None,
    ]


def _coverage_verdicts(
    cells: Mapping[tuple[str, str], Sequence[Outcome]],
) -> Iterator[Verdict]:
    for (data, name), held in cells.items():
        known, found = PUBLISHED.get((data, name)), _modes_found(held)
        if known is None or known.modes_error is None or found.low is None:
            continue
        published = known.modes - 2 * known.modes_error, known.modes + 2 * known.modes_error
        agree = found.low <= published[1] and (found.high or 0) >= published[0]
        yield Verdict(
            claim=f"{data}, {name} GAN: {found.value:.1f} modes, {'' if agree else 'not '}"
            f"compatible with the published {known.modes}.",
            because=f"{_spread(found, '.1f')}; published {known.modes} +- {known.modes_error}.",
        )
    for data in ("ring", "grid"):
        plain = cells.get((data, "plain"))
        told = [
            f"{name}: {_with_spread(gap, '+.1f')}"
            for (where, name), held in cells.items()
            if where == data and name != "plain" and plain
            if (gap := _more_modes(held, plain)).low is not None and gap.value is not None
        ]
        if told:
            yield Verdict(
                claim=f"Modes found on the {data} beyond those of the plain GAN: "
                + "; ".join(told)
                + ".",
                because="Paired over seeds, Student's t.",
            )


def _spread(e: Estimate, form: str) -> str:
    """Returns the interval in words; one without width vouches for no more than its trainings."""
    if e.low == e.high:
        return f"The same in all {e.n} trainings"
    return f"95 % interval [{e.low:{form}}, {e.high:{form}}] of {e.n} trainings"


def _with_spread(e: Estimate, form: str) -> str:
    spread = f"in all {e.n} trainings" if e.low == e.high else f"[{e.low:{form}}, {e.high:{form}}]"
    return f"{e.value:{form}} {spread}"


def _more_modes(a: Sequence[Outcome], b: Sequence[Outcome]) -> Estimate:
    most = _mode_count(a[0])
    return _cut(_gap(a, b, "modes"), -most, most)


def _gap(a: Sequence[Outcome], b: Sequence[Outcome], name: str) -> Estimate:
    mine = {o.trial.seed: o.details[FOUND][name] for o in a}
    other = {o.trial.seed: o.details[FOUND][name] for o in b}
    both = sorted(mine.keys() & other.keys())
    return paired([mine[s] for s in both], [other[s] for s in both])


# ----------------------------------------------------------------------------
# Generators that are held at a Lipschitz constant.
# ----------------------------------------------------------------------------


def _lipschitz(outcomes: Sequence[Outcome]) -> _Made:
    keys = sorted({(int(o.trial.parts["modes"]), int(o.trial.parts["latent"])) for o in outcomes})
    rows: list[list[Cell]] = []
    beaten = 0
    precision: dict[tuple[int, int], list[float]] = {}
    found: dict[tuple[int, int], list[float]] = {}
    for modes, latent in keys:
        held = [
            o
            for o in outcomes
            if (o.trial.parts["modes"], o.trial.parts["latent"]) == (str(modes), str(latent))
        ]
        bounds = [_bounds(o, modes) for o in held]
        precision[modes, latent] = _on_support(held)
        found[modes, latent] = [o.details[FOUND]["modes"] for o in held]
        beaten += sum(
            _is_above(p, b[0]) for p, b in zip(precision[modes, latent], bounds, strict=True)
        )
        layout = [b[1] if latent == modes - 1 else b[2] for b in bounds]
        rows.append(
            [
                f"{modes} modes, {latent} latent dimensions",
                _share(precision[modes, latent]),
                _share([b[0] for b in bounds]),
                _share(layout),
                _mean(held, STEEPEST),
                _mean(held, CONSTANT),
                _modes_found(held),
            ]
        )
    table = Table(
        title="Precision of generators that are held at one Lipschitz constant",
        columns=[
            Column(name="world"),
            Column(name="precision", better="higher"),
            Column(name="bound", help="no generator with this constant is above it"),
            Column(name="layout", help="what the simplicial or planar layout reaches"),
            Column(name="steepest", help="largest slope found, a lower bound of the constant"),
            Column(name="constant", help="product of the layers' norms, an upper bound"),
            Column(name="modes found", better="higher"),
        ],
        rows=rows,
        note="Gaussian modes at the corners of a simplex, their supports about one Lipschitz "
        "constant apart. Bound and layout are for the upper bound of the constant of each "
        "training; layout: the simplicial one for M - 1 latent dimensions, equal sectors for 2. A "
        "generator that drops modes can have more precision than either layout.",
    )
    return list(_lipschitz_verdicts(precision, found, beaten, len(outcomes))), [table]


def _bounds(outcome: Outcome, modes: int) -> tuple[float, float, float]:
    """Returns the bound, and what the simplicial and the planar layout reach."""
    world = datasets.make(outcome.trial.parts["data"])
    if not isinstance(world, Manifolds):
        raise TypeError("not a union of manifolds")
    gap, constant = world.gap, outcome.details[FOUND][CONSTANT]
    return (
        precision_bound(modes, gap, constant),
        simplicial_precision(modes, gap, constant),
        planar_precision(modes, gap, constant),
    )


def _is_above(precision: float, bound: float) -> bool:
    """Whether a precision is above a bound beyond its 95 % interval."""
    low = proportion(round(precision * POINTS), POINTS).low
    return low is not None and low > bound


def _lipschitz_verdicts(
    precision: Mapping[tuple[int, int], Sequence[float]],
    found: Mapping[tuple[int, int], Sequence[float]],
    beaten: int,
    count: int,
) -> Iterator[Verdict]:
    yield Verdict(
        claim=f"H4: {beaten} of {count} held generators are above the precision bound of their "
        "Lipschitz constant beyond the interval of their precision.",
        because=f"Exact binomial interval of {POINTS:,} samples.",
    )
    for modes in sorted({m for m, _ in precision}):
        told = [
            f"{name} {gap.value:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}]"
            for name, values in (("precision", precision), ("modes found", found))
            if (gap := _difference(values, modes)).low is not None and gap.value is not None
        ]
        if told:
            yield Verdict(
                claim=f"H4: with {modes} modes, {modes - 1} latent dimensions change against 2: "
                f"{'; '.join(told)}.",
                because=f"{len(found[modes, 2])} pairs of trainings, Student's t.",
            )


def _difference(values: Mapping[tuple[int, int], Sequence[float]], modes: int) -> Estimate:
    wide, flat = values.get((modes, modes - 1), ()), values.get((modes, 2), ())
    if len(wide) != len(flat):
        return Estimate.missing("not the same trainings of both")
    return paired(list(wide), list(flat))


# ----------------------------------------------------------------------------
# Published sizes.
# ----------------------------------------------------------------------------


def _as_published(outcomes: Sequence[Outcome]) -> _Made:
    cells: dict[str, list[Outcome]] = {}
    for o in outcomes:
        data = Spec.parse(o.trial.parts["data"]).name
        cells.setdefault(f"{data}, {o.trial.parts['name']}", []).append(o)
    rows: list[list[Cell]] = [
        [
            name,
            _modes_found(held),
            _cut(_mean(held, "reverse_kl"), 0.0, math.inf),
            _share([100 * share for share in _on_support(held)], 100.0),
        ]
        for name, held in cells.items()
    ]
    table = Table(
        title="Stacked digits and triangles",
        columns=[
            Column(name="model"),
            Column(name="modes", better="higher"),
            Column(name="reverse KL", better="lower"),
            Column(name="on the support", unit="%", better="higher"),
        ],
        rows=rows,
        note="Published for stacked digits (1,000 modes; a perfect sampler has a divergence of "
        f"0.0193): DCGAN 78.9 to 99 modes, 3.4 to 4.5; PacDCGAN2 1,000 modes, 0.06; {_SOURCE}.",
    )
    claim = f"Protocols at published size: {len(outcomes)} trainings, see the table."
    return [Verdict(claim=claim)], [table]


# ----------------------------------------------------------------------------
# Modes added one by one.
# ----------------------------------------------------------------------------


def _modes(outcomes: Sequence[Outcome]) -> _Made:
    cells: dict[tuple[str, int], list[Outcome]] = {}
    for o in outcomes:
        modes = int(Spec.parse(o.trial.parts["data"]).options["modes"])
        cells.setdefault((o.trial.parts["name"], modes), []).append(o)
    counts = sorted({m for _, m in cells})
    alone = _mean(cells.get(("gan", 1), []), STEEPEST).value
    rows: list[list[Cell]] = []
    for modes in counts:
        row: list[Cell] = [modes]
        row += [_share(_on_support(cells.get((f, modes), []))) for f in MODE_FAMILIES]
        any_world = next(held[0] for (_, m), held in cells.items() if m == modes)
        own = _mean(cells.get(("gan", modes), []), STEEPEST)
        row += [_predicted(any_world, modes, alone), own, _predicted(any_world, modes, own.value)]
        rows.append(row)
    table = Table(
        title="On the support, as modes are added",
        columns=[
            Column(name="modes"),
            *(
                Column(name=f, better="higher", group="share on the support")
                for f in MODE_FAMILIES
            ),
            Column(name="bound from one mode", group="gan"),
            Column(name="steepest slope", group="gan"),
            Column(name="bound from own slope", group="gan"),
        ],
        rows=rows,
        note="Bound from one mode: the largest precision of any generator as steep as the GAN was "
        "on one mode. Own slope: the steepest that the probe found in the GAN of this row, a "
        "lower bound of its constant, so that its bound may be too low.",
    )
    chart = Lines(
        title="Error as modes are added",
        x_label="modes",
        y_label="energy distance / scale, log10",
        log_x=True,
        series=[
            curve(f, counts, [_log_errors(cells.get((f, m), [])) for m in counts])
            for f in MODE_FAMILIES
        ],
        note=f"95 % intervals over trainings; not below {FLOOR:g}, the noise of real samples.",
    )
    return list(_mode_verdicts(cells, counts, alone)), [table, chart]


def _predicted(outcome: Outcome, modes: int, slope: float | None) -> float | None:
    """Returns the largest precision of a generator of this slope, or None without one."""
    world = datasets.make(outcome.trial.parts["data"])
    if slope is None or not isinstance(world, Manifolds):
        return None
    return precision_bound(modes, world.gap, slope) if modes > 1 else 1.0


def _log_errors(outcomes: Sequence[Outcome]) -> Estimate:
    return mean([math.log10(max(o.details[FOUND]["energy"], FLOOR)) for o in outcomes])


def _mode_verdicts(
    cells: Mapping[tuple[str, int], list[Outcome]], counts: Sequence[int], alone: float | None
) -> Iterator[Verdict]:
    first, last = counts[0], counts[-1]
    if len(counts) < 2:
        return
    told = []
    for family in MODE_FAMILIES:
        a = [_log_errors([o]).value or 0.0 for o in cells.get((family, last), [])]
        b = [_log_errors([o]).value or 0.0 for o in cells.get((family, first), [])]
        if len(a) == len(b) > 1:
            gap = paired(a, b)
            told.append(f"{family} {gap.value:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}]")
    if told:
        yield Verdict(
            claim=f"From {first} to {last} modes the log10 error changes by {'; '.join(told)}.",
            because="Paired over seeds, Student's t.",
        )
    gan = cells.get(("gan", last))
    if gan and alone is not None and (most := _predicted(gan[0], last, alone)) is not None:
        on = _share([100 * share for share in _on_support(gan)], 100.0)
        own = _mean(gan, STEEPEST)
        yield Verdict(
            claim=f"A GAN as steep as on one mode (slope {alone:.1f}) could put at most "
            f"{100 * most:.1f} % of its samples on {last} modes; the GAN trained there put "
            f"{shown(on, '.2f')} %, with a slope of {shown(own, '.1f')}.",
            because="A result on one mode does not carry over: what changes is how steep the map "
            "must become.",
        )


# ----------------------------------------------------------------------------
# Tails.
# ----------------------------------------------------------------------------


def _tails(outcomes: Sequence[Outcome]) -> _Made:
    cells: dict[tuple[str, str], list[Outcome]] = {}
    for o in outcomes:
        modes = Spec.parse(o.trial.parts["data"]).options["modes"]
        cells.setdefault((f"{modes} mode(s)", o.trial.parts["name"]), []).append(o)
    rows: list[list[Cell]] = [
        [f"{where}, {name}", _log_errors(held), _mean(held, "hill"), _mean(held, "real_hill")]
        for (where, name), held in cells.items()
    ]
    table = Table(
        title="Heavy tails and the base of a flow",
        columns=[
            Column(name="model"),
            Column(name="error", better="lower", unit="log10"),
            Column(name="Hill estimate"),
            Column(name="Hill estimate of real samples"),
        ],
        rows=rows,
        note="Student t worlds with 2.2 degrees of freedom: a tail index of 2.2, reciprocal 0.45. "
        "Hill: mean log ratio of the largest 2 % of radii, the reciprocal tail index.",
    )
    return list(_tail_verdicts(cells)), [table]


def _tail_verdicts(cells: Mapping[tuple[str, str], list[Outcome]]) -> Iterator[Verdict]:
    for where in dict.fromkeys(where for where, _ in cells):
        normal = cells.get((where, "flow, Gaussian base"), [])
        student = cells.get((where, "flow, Student t base"), [])
        if len(normal) != len(student) or len(normal) < 2:
            continue
        off = [
            [abs(o.details[FOUND]["hill"] - o.details[FOUND]["real_hill"]) for o in held]
            for held in (student, normal)
        ]
        error = [[_log_errors([o]).value or 0.0 for o in held] for held in (student, normal)]
        tail, energy = paired(off[0], off[1]), paired(error[0], error[1])
        yield Verdict(
            claim=f"H3, cure, {where}: a Student t base changes the error of the tail index by "
            f"{tail.value:+.2f} [{tail.low:+.2f}, {tail.high:+.2f}] and the log10 error by "
            f"{energy.value:+.2f} [{energy.low:+.2f}, {energy.high:+.2f}].",
            because=f"Paired over {tail.n} seeds, Student's t.",
        )


# ----------------------------------------------------------------------------
# Dots and pies.
# ----------------------------------------------------------------------------

_SHARES = ("right", "between", "outside")


def _drawn(outcomes: Sequence[Outcome]) -> _Made:
    cells: dict[tuple[str, str], list[Outcome]] = {}
    for o in outcomes:
        data = Spec.parse(o.trial.parts["data"]).name
        cells.setdefault((data, o.trial.parts["name"]), []).append(o)
    rows: list[list[Cell]] = []
    for data in dict.fromkeys(data for data, _ in cells):
        held = {name: found for (where, name), found in cells.items() if where == data}
        rows += [[f"{data}, {name}", *_shares(found)] for name, found in held.items()]
        rows.append([f"{data}, real", *_shares(next(iter(held.values())), REAL_DRAWN)])
    table = Table(
        title="Dots and pies",
        columns=[
            Column(name="images of"),
            Column(name="right", unit="%", better="higher"),
            Column(name="between", unit="%", better="lower"),
            Column(name="outside", unit="%", better="lower"),
            Column(name="rarest", unit="%", help="50 % if both training values are as frequent"),
        ],
        rows=rows,
        note="Trained on pies of which 30 % or 70 % is red, and on two or four dots. Right: as "
        f"one of the two, for pies within {TOLERANCE:g} in the share of red, diameter and place. "
        "Between: a share of red between the two, or three dots. Outside: all others, also what "
        f"is no pie (further than {FARTHEST:g} in root mean square from the pie drawn from "
        f"its measures) and no dots (covers less than {COVERED[0]:g} or more than {COVERED[1]:g} "
        "times the area of the dots counted). Rarest: "
        "the training value that is seen less, among images that are right. All by rules on "
        "pixels, whose own errors are those of the real held-out images.",
    )
    return [*_drawn_shares(cells), _drawn_gaps(cells)], [table]


def _shares(outcomes: Sequence[Outcome], of: str = "") -> list[Cell]:
    if of:  # The same images whatever the training: there is nothing to average.
        found = outcomes[0].details[FOUND]
        return [100 * found[of + name] for name in (*_SHARES, "rarest")]
    return [*(_percent(outcomes, name) for name in _SHARES), _percent(outcomes, "rarest", 50.0)]


def _percent(outcomes: Sequence[Outcome], name: str, most: float = 100.0) -> Estimate:
    found = [o.details[FOUND] for o in outcomes]
    return _share([100 * of[name] for of in found if name in of], most)


def _drawn_shares(cells: Mapping[tuple[str, str], Sequence[Outcome]]) -> Iterator[Verdict]:
    for data in dict.fromkeys(data for data, _ in cells):
        held = {name: found for (where, name), found in cells.items() if where == data}
        real = next(iter(held.values()))[0].details[FOUND]
        told = "; ".join(
            f"{name} {shown(_percent(found, 'right'), '.1f')} right and "
            f"{shown(_percent(found, 'between'), '.1f')} between"
            for name, found in held.items()
        )
        yield Verdict(
            claim=f"Of {data}, in %: {told}.",
            because=f"Of real images {100 * real[REAL_DRAWN + 'right']:.1f} are right and "
            f"{100 * real[REAL_DRAWN + 'between']:.1f} between, by the same rules.",
        )


def _drawn_gaps(cells: Mapping[tuple[str, str], Sequence[Outcome]]) -> Verdict:
    """Returns what tells the GAN from the others, over both data sets."""
    gaps = {
        f"{data}, {share}, against {name}": _gap(cells[data, "gan"], held, share)
        for (data, name), held in cells.items()
        if name != "gan" and (data, "gan") in cells
        for share in _SHARES[:2]
    }
    adjusted = holm_adjusted([student_p(gap, gap.n - 1) for gap in gaps.values()])
    clear = {n: gap for (n, gap), p in zip(gaps.items(), adjusted, strict=True) if p <= 0.05}
    told = "; ".join(f"{name} {100 * (gap.value or 0.0):+.0f}" for name, gap in clear.items())
    return Verdict(
        claim=f"{len(gaps) - len(clear)} of {len(gaps)} differences of the GAN in these shares "
        f"cannot be distinguished from 0{'; the others, in points: ' + told if told else ''}.",
        because="Paired over seeds, t tests at 5 % by Holm's procedure over all of them.",
    )
