"""The report of the experiment: which family suits which distribution, and why."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from gantlet.core.estimate import Estimate, Outcome, Spend
from gantlet.core.spec import Spec, label
from gantlet.report.blocks import (
    Block,
    Caveat,
    Cell,
    Column,
    Lines,
    Report,
    Row,
    Section,
    Series,
    Table,
    Verdict,
    failed_trials,
)
from gantlet.report.json import PER_TRIAL
from gantlet.research.distributions.analysis import (
    Errors,
    Standing,
    groups,
    main_effects,
    standing,
    ties,
)
from gantlet.research.distributions.hypotheses import (
    HYPOTHESES,
    level_with_dimension,
    rank_of,
    slope_in_n,
    tests,
    verdicts,
)
from gantlet.research.distributions.prediction import predicted
from gantlet.research.distributions.table import Experiment, table_of
from gantlet.run.execute import facts_of
from gantlet.run.store import Run
from gantlet.stats.intervals import holm_adjusted, p_value

UNIT: Final = "log10"
"""Errors are decimal logarithms: 0.3 is a factor of two in energy distance."""


def answer(question: Mapping[str, Any], outcomes: Sequence[Outcome], run: Run) -> Report:
    """Returns the report from what has been measured so far."""
    table = table_of(question, outcomes, str(run.facts["command"]))
    budgets = table["flops"]
    made = Errors.of(table, budgets[-1], real=False) if budgets else None
    real = Errors.of(table, budgets[-1], real=True) if budgets else None
    blocks: list[Block] = []
    found: list[Verdict] = []
    if made is not None and len(made.worlds) > 1:
        blocks += _blocks(table, made)
        found += _verdicts(table, made)
    if real is not None and len(real.worlds):
        blocks.append(_real_table(table, real))
        found += _on_real(real)
    told, shown = predicted(table)
    found, blocks = [*found, *told], [*blocks, *shown]
    return Report(
        title="Which distributions can which family model?",
        command="study distributions",
        question=question,
        spend=sum((o.spend for o in outcomes), Spend()),
        facts=facts_of(_facts(question, table, outcomes), outcomes, run),
        verdicts=found or [Verdict(claim="Nothing to compare yet: too few worlds are finished.")],
        caveats=list(_caveats(table)),
        rows=list(_rows(table)),
        blocks=[*blocks, *failed_trials(outcomes, column="model")],
        extra={PER_TRIAL: table},
    )


def _facts(
    question: Mapping[str, Any], table: Experiment, outcomes: Sequence[Outcome]
) -> dict[str, str]:
    worlds = table["worlds"]
    trained = {(r["world"], r["family"], r["seed"]) for r in table["results"]}
    designed = question["worlds"]
    del outcomes
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


def _caveats(table: Experiment) -> Iterator[Caveat]:
    yield Caveat(
        text="Networks of 64 hidden units and budgets of seconds: how families rank at published "
        "sizes is not what this measures."
    )
    yield Caveat(
        text="Equal compute is not equal steps: autoregressive models and Flow-GANs make a fifth "
        "to a third of the steps of a GAN, VAEs and diffusion models two to three times as many."
    )
    seeds = {r["seed"] for r in table["results"]}
    worlds = {r["world"] for r in table["results"]}
    again = {r["world"] for r in table["results"] if r["seed"] == max(seeds)}
    if len(seeds) > 1 and again < worlds:
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


def _blocks(table: Experiment, errors: Errors) -> Iterator[Block]:
    yield _overall(table)
    yield _by_group(table, errors)
    yield _effects(table, errors)
    yield _modes_chart(table, errors)
    yield _hypotheses(table, errors)
    yield Section(title="Features and errors", blocks=[_features(table, errors)])


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


def _standings(table: Experiment, errors: Errors) -> list[tuple[Standing, list[str]]]:
    made = [standing(" ".join(of), e) for of, e in groups(table, errors) if len(e.worlds) > 1]
    return list(zip(made, ties(made), strict=True))


def _by_group(table: Experiment, errors: Errors) -> Table:
    rows = [
        [
            s.group,
            s.count,
            *(s.means[f].value for f in errors.families),
            s.best + ("" if not tied else f" (or {', '.join(tied)})"),
        ]
        for s, tied in _standings(table, errors)
    ]
    return Table(
        title="Which family on which distribution",
        columns=[
            Column(name="worlds with"),
            Column(name="worlds"),
            *(Column(name=f, unit=UNIT) for f in errors.families),
            Column(name="lowest error"),
        ],
        rows=rows,
        note="Mean error at the largest budget. In brackets: families that are not significantly "
        "worse than the best, paired over worlds, by Holm's procedure over all comparisons of the "
        "table at 5 %.",
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


def _significant(found: Mapping[str, Mapping[str, Estimate]]) -> set[tuple[str, str]]:
    """Returns the effects that are not 0, by Holm's procedure over all of them."""
    cells = [(factor, name) for factor, row in found.items() for name in row]
    adjusted = holm_adjusted([p_value(found[factor][name]) for factor, name in cells])
    return {cell for cell, p in zip(cells, adjusted, strict=True) if p <= 0.05}


def _effects(table: Experiment, errors: Errors) -> Table:
    found = effects(table, errors)
    clear = _significant(found)
    names = list(dict.fromkeys(n for row in found.values() for n in row))
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
                ", ".join(n for n in names if (factor, n) in clear) or "none",
            ]
            for factor, row in found.items()
        ],
        note="From the first to the last level with all other factors held (for edges, topology "
        "and balance: this level against gaussian, blob and equal), by least squares over the "
        "unions of manifolds; 95 % intervals, significance by Holm's procedure over the table.",
    )


def _modes_chart(table: Experiment, errors: Errors) -> Lines:
    levels = {level: e for (factor, level), e in groups(table, errors) if factor == "modes"}
    x = [float(level) for level in levels]
    series = []
    for family in errors.families:
        means = [standing("", e).means[family] for e in levels.values()]
        series.append(
            Series(
                name=family,
                x=x,
                y=[m.value if m.value is not None else np.nan for m in means],
                low=[m.low if m.low is not None else np.nan for m in means],
                high=[m.high if m.high is not None else np.nan for m in means],
            )
        )
    return Lines(
        title="Error by number of modes",
        x_label="modes",
        y_label="error, log10",
        series=series,
        log_x=True,
        note="Means over the unions of manifolds with so many modes, which differ in all other "
        "factors; 95 % intervals.",
    )


# ----------------------------------------------------------------------------
# Hypotheses and features.
# ----------------------------------------------------------------------------


def _hypotheses(table: Experiment, errors: Errors) -> Table:
    made = tests(table, errors)
    words = verdicts(made)
    numbered = {h: iter(w) for h, w in words.items()}
    return Table(
        title="Hypotheses written down before the experiment",
        columns=[
            Column(name="hypothesis"),
            Column(name="what it expects above 0"),
            Column(name="measured", mixed=True),
            Column(name="verdict"),
        ],
        rows=[[t.hypothesis, t.says, t.estimate, next(numbered[t.hypothesis])] for t in made],
        note="Significance by Holm's procedure over all rows at 5 %. "
        + " ".join(f"{k}: {v}." for k, v in HYPOTHESES.items()),
    )


def _features(table: Experiment, errors: Errors) -> Table:
    names = list(dict.fromkeys(n for w in table["worlds"] for n in w["profile"]))
    rows = {n: rank_of(n, table, errors) for n in names}
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
    return "Mean error, log10: " + "; ".join(
        f"{f} {e.value:.2f} [{e.low:.2f}, {e.high:.2f}]"
        for f in order
        if (e := s.means[f]).value is not None and e.low is not None
    )


def _verdicts(table: Experiment, errors: Errors) -> Iterator[Verdict]:
    s = standing("all", errors)
    yield Verdict(
        claim=f"Over {s.count} worlds at {table['flops'][-1]:.0e} FLOPs "
        f"{_ranking(s, ties([s])[0])}",
        because=_means(s),
    )
    yield from _group_verdict(table, errors)
    yield from _effect_verdict(table, errors)
    words = verdicts(tests(table, errors))
    for name, says in HYPOTHESES.items():
        if name in words:
            counts = [(w, words[name].count(w)) for w in dict.fromkeys(words[name])]
            told = ", ".join(f"{w} in {n} of {len(words[name])} tests" for w, n in counts)
            yield Verdict(claim=f"{name}, {says}: {told}.", because=_why(name, table, errors))


def _group_verdict(table: Experiment, errors: Errors) -> Iterator[Verdict]:
    clear: dict[str, list[str]] = {}
    for s, tied in _standings(table, errors):
        if not tied:
            clear.setdefault(s.best, []).append(s.group)
    total = len(_standings(table, errors))
    told = "; ".join(f"{f} with {', '.join(g)}" for f, g in clear.items())
    count = sum(map(len, clear.values()))
    yield Verdict(
        claim=f"One family is significantly better than all others in {count} of {total} groups "
        f"of worlds{': ' + told if told else ''}."
    )


def _effect_verdict(table: Experiment, errors: Errors) -> Iterator[Verdict]:
    found = effects(table, errors)
    clear = _significant(found)
    strong = sorted(
        (c for c in clear if found[c[0]][c[1]].value is not None),
        key=lambda c: -abs(found[c[0]][c[1]].value or 0.0),
    )
    told = "; ".join(f"{f} on {n}: {found[f][n].value:+.2f}" for f, n in strong[:12])
    yield Verdict(
        claim=f"{len(clear)} of {sum(map(len, found.values()))} effects of factors on errors are "
        f"significant{'; largest first: ' + told if told else ''}.",
        because="Change of log10 error from the first to the last level of the factor.",
    )


def _why(name: str, table: Experiment, errors: Errors) -> str:
    made = [t for t in tests(table, errors) if t.hypothesis == name]
    parts = [f"{t.says}: {_shown(t.estimate)}" for t in made]
    if name == "H6":
        slopes = slope_in_n(table, errors)
        parts += [f"slope in log10 n at d = {d}: {_shown(e)}" for d, e in slopes.items()]
        level = level_with_dimension(table, errors)
        parts += [f"rank correlation of id with {f}: {_shown(e)}" for f, e in level.items()]
    return "; ".join(parts)


def _shown(e: Estimate) -> str:
    if e.value is None or e.low is None:
        return e.method
    return f"{e.value:+.2f} [{e.low:+.2f}, {e.high:+.2f}]"
