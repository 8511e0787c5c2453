"""The report of the experiment: which family suits which distribution, and why."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast, final

from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate, Outcome, Spend
from gantlet.core.spec import Spec, label
from gantlet.forecast.candidates import out_of_fold
from gantlet.forecast.experiment import parse
from gantlet.forecast.predictor import Predictor
from gantlet.forecast.validation import PROFILE, Validation, held_out, leave_out
from gantlet.report.blocks import (
    Block,
    Caveat,
    Cell,
    Column,
    Lines,
    Report,
    Row,
    Section,
    Table,
    Verdict,
    failed_trials,
)
from gantlet.report.json import PER_TRIAL
from gantlet.research.distributions.analysis import (
    RESPONSES,
    Errors,
    Standing,
    curve,
    effect_p,
    groups,
    main_effects,
    means_of,
    shown,
    standing,
    ties,
)
from gantlet.research.distributions.hypotheses import (
    HYPOTHESES,
    Test,
    level_with_dimension,
    rank_of,
    slope_in_n,
    tests,
    verdicts,
)
from gantlet.research.distributions.table import Experiment, table_of
from gantlet.run.execute import facts_of
from gantlet.run.store import Run
from gantlet.stats.intervals import holm_adjusted

UNIT: Final = "log10"
"""Errors are decimal logarithms: 0.3 is a factor of two in energy distance."""

DIMENSION = "dimension"
"""The baseline that knows the ambient and the intrinsic dimension alone."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Findings:
    """What the worlds of the design say at the largest budget, each computed once.

    Attributes:
        table: The table of the run.
        errors: Errors at that budget.
        groups: Families on each group of worlds, and those that tie with its best.
        effects: By factor the effect on the error of each family.
        clear: Factors and families whose effect is not 0.
        tests: The tests of the hypotheses, and what each says.
    """

    table: Experiment
    errors: Errors
    groups: Sequence[tuple[Standing, Sequence[str]]]
    effects: Mapping[str, Mapping[str, Estimate]]
    clear: frozenset[tuple[str, str]]
    tests: Sequence[tuple[Test, str]]

    @classmethod
    def of(cls, table: Experiment, errors: Errors) -> "_Findings":
        """Returns them; ``errors`` are of at least two worlds."""
        made = [standing(" ".join(of), e) for of, e in groups(table, errors) if len(e.worlds) > 1]
        found = effects(table, errors)
        tested = tests(table, errors)
        return cls(
            table=table,
            errors=errors,
            groups=list(zip(made, ties(made), strict=True)),
            effects=found,
            clear=_significant(found),
            tests=list(zip(tested, verdicts(tested), strict=True)),
        )


def answer(question: Mapping[str, Any], outcomes: Sequence[Outcome], run: Run) -> Report:
    """Returns the report from what has been measured so far."""
    table = table_of(question, outcomes, str(run.facts["command"]))
    blocks: list[Block] = []
    found: list[Verdict] = []
    caveats = list(caveats_of(table))
    if table["flops"]:
        made, real = (Errors.of(table, table["flops"][-1], real=r) for r in (False, True))
        if len(made.worlds) > 1:
            findings = _Findings.of(table, made)
            blocks += _blocks(findings)
            found += _verdicts(findings)
        if len(real.worlds):
            blocks.append(_real_table(table, real))
            found += _on_real(real)
        try:
            told, shown_blocks = _predicted(table)
            found, blocks = [*found, *told], [*blocks, *shown_blocks]
        except UserError as error:
            caveats.append(Caveat(text=f"The error was not predicted from the data: {error}"))
    return Report(
        title="Which distributions can which family model?",
        command="study distributions",
        question=question,
        spend=sum((o.spend for o in outcomes), Spend()),
        facts=facts_of(_facts(question, table), outcomes, run),
        verdicts=found or [Verdict(claim="Nothing to compare yet: too few worlds are finished.")],
        caveats=caveats,
        rows=list(_rows(table)),
        blocks=[*blocks, *failed_trials(outcomes, column="model")],
        extra={PER_TRIAL: table},
    )


def _facts(question: Mapping[str, Any], table: Experiment) -> dict[str, str]:
    worlds = table["worlds"]
    trained = {(r["world"], r["family"], r["seed"]) for r in table["results"]}
    designed = question["worlds"]
    return {
        "Size": str(question["size"]),
        "Worlds": f"{sum(not w['real'] for w in worlds)} of the design (of "
        f"{sum(not w['real'] for w in designed)}), {sum(w['real'] for w in worlds)} real sets (of "
        f"{sum(w['real'] for w in designed)}), in {len({w['block'] for w in worlds})} "
        "configurations",
        "Families": "; ".join(f"{k} = {label(v)}" for k, v in table["families"].items()),
        "Trainings": str(len(trained)),
        "Training FLOPs": ", ".join(f"{f:.0e}" for f in table["flops"]),
        "Batch": str(question["batch"]),
    }


def caveats_of(table: Experiment) -> Iterator[Caveat]:
    """Returns what limits the answer of a table: sizes, steps, what was left out or diverged."""
    yield Caveat(
        text="Networks of 64 hidden units and budgets of seconds: how families rank at published "
        "sizes is not what this measures."
    )
    yield Caveat(
        text="Equal compute is not equal steps: autoregressive models and Flow-GANs make a fifth "
        "to a third of the steps of a GAN, VAEs and diffusion models two to three times as many."
    )
    seeds = {r["seed"] for r in table["results"]}
    trained = {(r["world"], r["seed"], r["family"]) for r in table["results"]}
    per_world = Counter((world, seed) for world, seed, _ in trained)
    worlds = {world for world, _ in per_world}
    again = [w for w in worlds if per_world[w, max(seeds)] == len(table["families"])]
    if len(seeds) > 1 and len(again) < len(worlds):
        yield Caveat(
            text=f"Stopped early: training {max(seeds) + 1} of each family was made on "
            f"{len(again)} of {len(worlds)} worlds."
        )
    if len(seeds) < 2:
        yield Caveat(
            text="One training of each family on each world: intervals are over worlds, and a "
            "single cell may be luck."
        )
    diverged = sum(r["diverged"] for r in table["results"])
    if diverged:
        yield Caveat(
            text=f"{diverged} of {len(table['results'])} results diverged, and are charged the "
            "error of a constant."
        )


def _rows(table: Experiment) -> Iterator[Row]:
    for r in table["results"]:
        yield Row(
            data=table["worlds"][r["world"]]["form"],
            model=table["families"][r["family"]],
            seed=r["seed"],
            name=f"error at {r['flops']:.0e} FLOPs",
            estimate=Estimate(
                value=r["error"],
                n=1,
                unit=UNIT,
                better="lower",
                method="log10 of the energy distance over the mean distance; one training",
            ),
        )


# ----------------------------------------------------------------------------
# Families overall, and by group of worlds.
# ----------------------------------------------------------------------------


def _blocks(found: _Findings) -> Iterator[Block]:
    yield _overall(found.table)
    yield from _responses(found)
    yield _by_group(found)
    yield _effects(found)
    yield _modes_chart(found)
    yield _hypotheses(found)
    yield Section(title="Features and errors", blocks=[_features(found)])


def _overall(table: Experiment) -> Table:
    per_budget = [(f, Errors.of(table, f, real=False)) for f in table["flops"]]
    whole = [(f, e, standing(f"{f:.0e}", e)) for f, e in per_budget]
    names = whole[-1][1].families
    best = [{s.best, *ties([s])[0]} for _, _, s in whole]
    return Table(
        title="Error over all worlds of the design, at each budget",
        columns=[
            Column(name="family"),
            *(
                Column(
                    name=f"{f:.0e} FLOPs",
                    better="lower",
                    unit=UNIT,
                    best=[s.best] if len(b) == 1 else [],
                )
                for (f, _, s), b in zip(whole, best, strict=True)
            ),
        ],
        rows=[[n, *(s.means[n] for _, _, s in whole)] for n in names],
        note="Mean of log10(energy distance / mean distance of two real samples), not below the "
        f"noise floor; {whole[-1][2].count} worlds. Differences are paired over worlds, which the "
        "intervals of the means are not.",
    )


def _responses(found: _Findings) -> Iterator[Table]:
    """Yields the other responses, where the table holds any: earlier versions measured fewer."""
    known = [(r, v) for r in RESPONSES if (v := means_of(found.table, found.errors, r))]
    if not known:
        return
    yield Table(
        title="Other responses at the largest budget",
        columns=[
            Column(name="family"),
            *(Column(name=r.label, better=r.better, unit=r.unit, help=r.help) for r, _ in known),
        ],
        rows=[[f, *(v.get(f) for _, v in known)] for f in found.errors.families],
        note="Means over worlds, of means over seeds; 95 % intervals. Nothing is ranked by these "
        "numbers.",
    )


def _by_group(found: _Findings) -> Table:
    rows = [
        [
            s.group,
            s.count,
            *(s.means[f].value for f in found.errors.families),
            s.best + ("" if not tied else f" (or {', '.join(tied)})"),
        ]
        for s, tied in found.groups
    ]
    return Table(
        title="Which family on which distribution",
        columns=[
            Column(name="worlds with"),
            Column(name="worlds"),
            *(Column(name=f, unit=UNIT) for f in found.errors.families),
            Column(name="lowest error"),
        ],
        rows=rows,
        note="Mean error at the largest budget. In brackets: families that are not significantly "
        "worse than the best, by paired t tests over worlds and Holm's procedure over all "
        "comparisons of the table at 5 %.",
    )


# ----------------------------------------------------------------------------
# Effects of the factors.
# ----------------------------------------------------------------------------


def effects(table: Experiment, errors: Errors) -> dict[str, dict[str, Estimate]]:
    """Returns by factor the effect on the error of each family, and on gan minus diffusion."""
    forms = {w: table["worlds"][w]["form"] for w in errors.worlds}
    held = errors.only([w for w, f in forms.items() if Spec.parse(f).name == "manifolds"])
    written = [forms[w] for w in held.worlds]
    columns = {f: held[f] for f in held.families}
    if {"gan", "diffusion"} <= set(held.families):
        columns["gan - diffusion"] = held["gan"] - held["diffusion"]
    found: dict[str, dict[str, Estimate]] = {}
    for name, y in columns.items():
        for factor, effect in (main_effects(written, y) if written else {}).items():
            found.setdefault(factor, {})[name] = effect
    return found


def _significant(found: Mapping[str, Mapping[str, Estimate]]) -> frozenset[tuple[str, str]]:
    """Returns the effects that are not 0, by Holm's procedure over all of them."""
    cells = [(factor, name) for factor, row in found.items() for name in row]
    adjusted = holm_adjusted([effect_p(found[f][name], len(found)) for f, name in cells])
    return frozenset(cell for cell, p in zip(cells, adjusted, strict=True) if p <= 0.05)


def _effects(found: _Findings) -> Table:
    names = list(dict.fromkeys(n for row in found.effects.values() for n in row))
    return Table(
        title="Effect of each factor on the error",
        columns=[
            Column(name="factor"),
            *(Column(name=n, unit=UNIT) for n in names),
            Column(name="significant for"),
        ],
        rows=[
            [
                factor,
                *(row.get(n) for n in names),
                ", ".join(n for n in names if (factor, n) in found.clear) or "none",
            ]
            for factor, row in found.effects.items()
        ],
        note="From the first to the last level with all other factors held (for edges, topology "
        "and balance: this level against gaussian, blob and equal), by least squares over the "
        "unions of manifolds; 95 % intervals, significance by t tests and Holm's procedure over "
        "the table.",
    )


def _modes_chart(found: _Findings) -> Lines:
    grouped = groups(found.table, found.errors)
    levels = {level: e for (factor, level), e in grouped if factor == "modes"}
    x = list(map(float, levels))
    by_level = [standing("", e).means for e in levels.values()]
    return Lines(
        title="Error by number of modes",
        x_label="modes",
        y_label="error, log10",
        series=[curve(f, x, [means[f] for means in by_level]) for f in found.errors.families],
        log_x=True,
        note="Means over the unions of manifolds with so many modes, which differ in all other "
        "factors; 95 % intervals.",
    )


# ----------------------------------------------------------------------------
# Hypotheses and features.
# ----------------------------------------------------------------------------


def _hypotheses(found: _Findings) -> Table:
    return Table(
        title="Hypotheses written down before the experiment",
        columns=[
            Column(name="hypothesis"),
            Column(name="what it expects above 0"),
            Column(name="measured", mixed=True),
            Column(name="verdict"),
        ],
        rows=[[t.hypothesis, t.says, t.estimate, word] for t, word in found.tests],
        note="Significance by Holm's procedure over all rows at 5 %. "
        + " ".join(f"{k}: {v}." for k, v in HYPOTHESES.items()),
    )


def _features(found: _Findings) -> Table:
    names = list(dict.fromkeys(n for w in found.table["worlds"] for n in w["profile"]))
    rows = {n: rank_of(n, found.table, found.errors) for n in names}
    columns = list(dict.fromkeys(c for row in rows.values() for c in row))
    return Table(
        title="Rank correlation of each feature of the data with the error",
        columns=[Column(name="feature"), *(Column(name=c) for c in columns)],
        rows=[[n, *row.values()] for n, row in rows.items()],
        note="Spearman over the worlds of the design at the largest budget: exploratory, without "
        "tests. The last column is with the error of the GAN above that of diffusion.",
    )


# ----------------------------------------------------------------------------
# Real sets and verdicts.
# ----------------------------------------------------------------------------


def _real_table(table: Experiment, errors: Errors) -> Table:
    rows: list[list[Cell]] = []
    for i, w in enumerate(errors.worlds):
        world = table["worlds"][w]
        name = Spec.parse(world["form"]).options["name"]
        best = errors.families[int(errors.values[i].argmin())]
        floor = next(r["floor"] for r in table["results"] if r["world"] == w)
        values = [float(v) for v in errors.values[i]]
        rows.append([name, world["n"], world["d"], *values, floor, best])
    return Table(
        title="Real sets",
        columns=[
            Column(name="set"),
            Column(name="training samples"),
            Column(name="dimension"),
            *(Column(name=f, unit=UNIT) for f in errors.families),
            Column(name="noise floor", unit=UNIT),
            Column(name="lowest error"),
        ],
        rows=rows,
        note="Errors at the largest budget, not below the floor: the standard error of the energy "
        "distance of real samples to real ones at these sizes.",
    )


def _on_real(errors: Errors) -> Iterator[Verdict]:
    if len(errors.worlds) < 2:
        return
    s = standing("real", errors)
    yield Verdict(
        claim=f"On {s.count} real sets {_ranking(s, ties([s])[0])}",
        because=_means(s),
    )


def _ranking(s: Standing, tied: Sequence[str]) -> str:
    if not tied:
        return f"{s.best} has a lower error than every other family."
    return f"{s.best} has the lowest error; not distinguishable from it: {', '.join(tied)}."


def _means(s: Standing) -> str:
    order = sorted(s.means, key=lambda f: s.means[f].value or 0.0)
    told = "; ".join(f"{f} {shown(s.means[f], '.2f')}" for f in order)
    return f"Mean error, log10: {told}"


def _verdicts(found: _Findings) -> Iterator[Verdict]:
    s = standing("all", found.errors)
    yield Verdict(
        claim=f"Over {s.count} worlds at {found.table['flops'][-1]:.0e} FLOPs "
        f"{_ranking(s, ties([s])[0])}",
        because=_means(s),
    )
    yield _group_verdict(found)
    yield _effect_verdict(found)
    for name, says in HYPOTHESES.items():
        words = [word for test, word in found.tests if test.hypothesis == name]
        if words:
            told = ", ".join(
                f"{word} in {n} of {len(words)} tests" for word, n in Counter(words).items()
            )
            yield Verdict(claim=f"{name}, {says}: {told}.", because=_why(name, found))


def _group_verdict(found: _Findings) -> Verdict:
    clear: dict[str, list[str]] = {}
    for s, tied in found.groups:
        if not tied:
            clear.setdefault(s.best, []).append(s.group)
    told = "; ".join(f"{f} with {', '.join(g)}" for f, g in clear.items())
    count = sum(map(len, clear.values()))
    return Verdict(
        claim=f"One family is significantly better than all others in {count} of "
        f"{len(found.groups)} groups of worlds{': ' + told if told else ''}."
    )


def _effect_verdict(found: _Findings) -> Verdict:
    value = {(f, n): found.effects[f][n].value or 0.0 for f, n in found.clear}
    strong = sorted(value, key=lambda c: (-abs(value[c]), c))
    told = "; ".join(f"{f} on {n}: {value[f, n]:+.2f}" for f, n in strong[:12])
    return Verdict(
        claim=f"{len(found.clear)} of {sum(map(len, found.effects.values()))} effects of factors "
        f"on errors are significant{'; largest first: ' + told if told else ''}.",
        because="Change of log10 error from the first to the last level of the factor.",
    )


def _why(name: str, found: _Findings) -> str:
    parts = [f"{t.says}: {shown(t.estimate)}" for t, _ in found.tests if t.hypothesis == name]
    if name == "H6":
        slopes = slope_in_n(found.table, found.errors)
        parts += [f"slope in log10 n at d = {d}: {shown(e)}" for d, e in slopes.items()]
        level = level_with_dimension(found.table, found.errors)
        parts += [f"rank correlation of id with {f}: {shown(e)}" for f, e in level.items()]
    return "; ".join(parts)


# ----------------------------------------------------------------------------
# How well the error of a family is predicted from the data alone: left-out worlds, real sets.
# ----------------------------------------------------------------------------


def _predicted(table: Experiment) -> tuple[list[Verdict], list[Block]]:
    """Returns verdicts and tables on predictions.

    Raises:
        UserError: If there is too little to fit.
    """
    described = sum(bool(w["profile"]) for w in table["worlds"] if not w["real"])
    if described < len(table["worlds"]) / 2:
        raise UserError(f"{described} of {len(table['worlds'])} worlds are described.")
    whole = parse(cast("dict[str, Any]", table), "the experiment")
    found = out_of_fold(whole.only(real=False).cells)
    left = leave_out(whole, found)
    predictor = Predictor.fit(whole, found)
    told = list(_prediction_verdicts(left, "configurations that were left out"))
    blocks: list[Block] = [_scores(left, "Predictions for configurations that were left out")]
    blocks.append(_regrets({"left out": left}))
    if any(w["real"] for w in table["worlds"]):
        real, inside = held_out(whole, predictor), held_out(whole, predictor, only_inside=True)
        told += _prediction_verdicts(real, "real sets")
        told += _dimension_verdict(real)
        blocks[1] = _regrets({"left out": left, "real": real, "real, inside": inside})
        blocks.append(_scores(real, "Predictions for real sets"))
    return told, blocks


def _scores(found: Validation, title: str) -> Table:
    rows: list[list[Cell]] = []
    for family in found.families:
        by_name = found.scores[PROFILE][family]
        others = [found.scores[n][family].r2.value for n in found.scores if n != PROFILE]
        rows.append(
            [
                family,
                by_name.r2,
                *others,
                by_name.spearman,
                by_name.mae,
                found.coverage[family],
            ]
        )
    names = [n for n in found.scores if n != PROFILE]
    return Table(
        title=title,
        columns=[
            Column(name="family"),
            Column(name="R2", better="higher"),
            *(Column(name=n, group="R2 of baselines") for n in names),
            Column(name="rank correlation", better="higher"),
            Column(name="mean absolute error", unit="log10", better="lower"),
            Column(name="coverage of 90 % intervals"),
        ],
        rows=rows,
        note=f"{found.worlds} worlds at all budgets; bootstrap intervals over worlds. The "
        "intervals of predictions are split-conformal.",
    )


def _regrets(found: Mapping[str, Validation]) -> Table:
    names = list(dict.fromkeys(n for v in found.values() for n in v.regrets))
    return Table(
        title="Regret of choosing the family with the lowest predicted error",
        columns=[
            Column(name="predictor"),
            *(
                Column(name=f"{k} ({v.worlds})", unit="log10", better="lower")
                for k, v in found.items()
            ),
        ],
        rows=[[n, *(v.regrets.get(n) for v in found.values())] for n in names],
        note="Mean log10 error of the chosen family above that of the best one. The constant is "
        "to take always the family that is best on average. Inside: sets on which the predictor "
        "does not abstain.",
    )


def _prediction_verdicts(found: Validation, where: str) -> Iterator[Verdict]:
    r2 = {f: found.scores[PROFILE][f].r2.value for f in found.families}
    rank = {f: found.scores[PROFILE][f].spearman.value for f in found.families}
    told = "; ".join(f"{f} R2 {_number(r2[f])}, rank {_number(rank[f])}" for f in found.families)
    covered = "; ".join(f"{f} {_number(found.coverage[f].value)}" for f in found.families)
    yield Verdict(
        claim=f"Errors on {where} are predicted from the profile with {told}.",
        because=f"{found.worlds} worlds. Coverage of nominal 90 % intervals: {covered}.",
    )
    gain = found.gain
    word = "is" if gain.low is not None and gain.low > 0 else "is not significantly"
    yield Verdict(
        claim=f"Choosing by prediction on {where} {word} better than always the single best "
        f"family: regret {shown(found.regrets[PROFILE], '.2f')} against "
        f"{shown(found.regrets['constant'], '.2f')}, in log10.",
        because=f"Gain {shown(gain, '.2f')}, paired by world.",
    )


def _dimension_verdict(found: Validation) -> Iterator[Verdict]:
    if DIMENSION not in found.scores:
        return
    better = [
        f
        for f in found.families
        if (found.scores[PROFILE][f].mae.value or 0.0)
        < (found.scores[DIMENSION][f].mae.value or 0.0)
    ]
    told = "; ".join(
        f"{f} {_number(found.scores[PROFILE][f].mae.value)} against "
        f"{_number(found.scores[DIMENSION][f].mae.value)}"
        for f in found.families
    )
    yield Verdict(
        claim="H5, the predictor beats the dimensions alone on real sets: its mean absolute error "
        f"is lower for {len(better)} of {len(found.families)} families (not tested).",
        because=f"In log10: {told}.",
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
