"""The report of an attack: what updates are held for, each by a stated test, tables, changes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

from torch import Tensor

from gantlet.commands.attack.trial import SHOWN, SIDES, WARM_UP
from gantlet.commands.converge.course import short
from gantlet.commands.converge.snippets import NOTE, pytorch_lines
from gantlet.commands.own_games import loss_of
from gantlet.core.estimate import Estimate, Outcome
from gantlet.core.spec import Spec
from gantlet.domains.domains import domain_of
from gantlet.games.accident import DIRECTIONS
from gantlet.games.attack import fixed_threshold
from gantlet.games.masking import MASKED, SIGNS
from gantlet.report.blocks import (
    Block,
    Caveat,
    Cell,
    Code,
    Column,
    Gallery,
    Lines,
    Picture,
    Report,
    Row,
    Section,
    Series,
    Table,
    Verdict,
)
from gantlet.report.format import listed, text
from gantlet.run.execute import facts_of
from gantlet.run.store import Run
from gantlet.run.trials import space_of
from gantlet.stats.intervals import holm, p_value

# ----------------------------------------------------------------------------
# What updates of the generator are: the tests behind the headline.
# ----------------------------------------------------------------------------

_LEVEL = 0.05

Judgment: TypeAlias = Literal[
    "unknown", "astray", "blunt", "attack", "mixed", "improvement", "open"
]
"""What an update is held for.

``unknown``: it cannot be measured. ``astray``: steps towards the data lower the critic's score,
significantly, so that there is nothing to measure by. ``blunt``: attacks on this critic transfer
no less than steps towards the data, so that nothing can be distinguished. ``attack``: the update
transfers significantly less than steps towards the data, and not significantly more than the
attack. ``mixed``: significantly less than the one and more than the other. ``improvement``: not
significantly less than the steps towards the data, and significantly more than the attack.
``open``: significantly different from neither.
"""

_TESTED = ("update - oracle", "update - attack", "oracle - attack", "own oracle")
"""The scores of a stage that are tested: three differences of transfer, and whether the step
towards the data changes the critic's score at all."""


def judgments(outcomes: Sequence[Outcome]) -> list[Judgment]:
    """Returns what the updates of each stage are, by Holm's procedure over all stages at 5 %."""
    tests = [o.scores[name] for o in outcomes for name in _TESTED]
    sure = holm([p_value(e) for e in tests], level=_LEVEL)
    each = len(_TESTED)
    return [_judgment(tests[i : i + each], sure[i : i + each]) for i in range(0, len(tests), each)]


def _judgment(tests: Sequence[Estimate], sure: Sequence[bool]) -> Judgment:
    behind, ahead, apart, gained = (e.value for e in tests)
    if gained is not None and sure[3] and gained < 0:
        return "astray"
    if behind is None or ahead is None or apart is None:
        return "unknown"
    if not sure[2] or apart < 0:
        return "blunt"
    is_less, is_more = sure[0] and behind < 0, sure[1] and ahead > 0
    if is_less:
        return "mixed" if is_more else "attack"
    return "improvement" if is_more else "open"


def verdicts(
    name: str, outcomes: Sequence[Outcome], changes: Sequence["Change"]
) -> Iterator[Verdict]:
    """Yields what updates are, how far the critic's threshold is, and what to change."""
    judged = judgments(outcomes)
    last = outcomes[-1]
    yield _progress(name, last, judged[-1], len(outcomes))
    if len(outcomes) > 1:
        yield over_training(outcomes, judged)
    yield _fragile(last)
    yield _masked(last)
    yield _least(last)
    for change in changes:
        yield Verdict(claim=change.claim, because=change.because)


def _progress(name: str, last: Outcome, judged: Judgment, stages: int) -> Verdict:
    scores = last.scores
    share = scores["share update"]
    at = "" if last.details["step"] is None else f" at step {last.details['step']:,}"
    measured = (
        f"Transfer to fresh critics: update {text(scores['transfer update'])}, strongest attack "
        f"of the same length {text(scores['transfer attack'])}, step towards real samples "
        f"{text(scores['transfer oracle'])}."
    )
    tests = f" Holm's procedure over {len(_TESTED) * stages} comparisons, 5 % in all."
    scale = scores["calibrated share"]
    if scale.value is not None:
        measured += f" On the scale from the last (0) to the attack (1): {text(scale)}."
    begin = f"Accident share: {text(share)}."
    if judged == "unknown":
        reasons = [scores[k].method for k in _TESTED if scores[k].value is None]
        return Verdict(
            claim=f"How much of the progress of {name} is an attack on its critic{at} cannot be "
            f"measured: {reasons[0]}."
        )
    claim = _CLAIMS[judged].format(at=at, name=name)
    rest = "" if judged in {"blunt", "astray"} else f" {begin}"
    return Verdict(claim=claim + rest, because=measured + tests)


_CLAIMS: Mapping[Judgment, str] = {
    "blunt": "Attacks and improvements cannot be distinguished for {name}{at}: attacks on its "
    "critic transfer to fresh critics not significantly less than steps towards the data do.",
    "astray": "The critic of {name}{at} points away from the data: steps towards real samples "
    "lower its score, so that no update that follows it can be held for an improvement.",
    "attack": "The generator's updates{at} cannot be distinguished from an attack on its own "
    "critic: fresh critics confirm significantly less of them than of steps towards the data.",
    "mixed": "The generator's updates{at} are significantly more than an attack on its own "
    "critic, and significantly less than steps towards the data.",
    "improvement": "The generator's updates{at} cannot be distinguished from steps towards the "
    "data: fresh critics confirm what its own critic gains.",
    "open": "The generator's updates{at} can be distinguished neither from steps towards the data "
    "nor from an attack: more --updates or --critics are needed.",
}


_OF_STAGES: Mapping[tuple[Judgment, ...], str] = {
    ("unknown", "blunt", "astray"): "attacks and improvements cannot be distinguished",
    ("open",): "they can be distinguished neither from an attack nor from steps towards the data",
    ("attack",): "they cannot be distinguished from an attack",
    ("mixed",): "they are between an attack and a step towards the data",
    ("improvement",): "they cannot be distinguished from steps towards the data",
}


def over_training(outcomes: Sequence[Outcome], judged: Sequence[Judgment]) -> Verdict:
    """Returns at how many stages updates are what, those that cannot be distinguished first."""
    known = [o for o in outcomes if o.scores["share update"].value is not None]
    parts = [
        f"at {count}, {words}"
        for kinds, words in _OF_STAGES.items()
        if (count := sum(j in kinds for j in judged))
    ]
    claim = f"Updates at {len(outcomes)} stages of training: {listed(parts)}."
    because = "; ".join(
        f"step {o.details['step']:,}: {text(o.scores['share update'])}" for o in known
    )
    return Verdict(claim=claim, because=f"Accident share: {because}." if because else "")


def _fragile(last: Outcome) -> Verdict:
    real, fake = (last.scores[f"{side} L2"] for side in SIDES)
    if real.value is None:
        claim = f"The critic cannot be made to take half of the fakes for real: {real.method}."
        return Verdict(claim=claim)
    if real.value == 0:
        return Verdict(
            claim="The critic takes half of the fakes for real as they are.",
            because=f"Median distance of real samples to fake: {text(fake)}.",
        )
    updates = last.scores["real L2 in updates"]
    claim = (
        f"Half of the fakes look real to the critic after a change of length {text(real)} "
        f"({last.details['unit']}): as long as {text(updates)} of the generator."
    )
    near = last.scores["real L2 in neighbours"]
    because = (
        f"That is {text(near)} of the distance to the nearest real sample. Largest component of "
        f"a change: {text(last.scores['real Linf'])}. Real samples look fake after {text(fake)}."
    )
    return Verdict(claim=claim, because=because)


def _masked(last: Outcome) -> Verdict:
    found = [name for name, _, p in last.details["masking"] if p <= MASKED]
    if not found:
        return Verdict(
            claim="No sign of masked gradients: the distances are not an artefact of the attack.",
            because=f"{len(last.details['masking'])} tests, {100 * MASKED:g} % in all (Holm).",
        )
    return Verdict(
        claim="The critic's gradients are masked: it may be far more fragile than the distances "
        "say, which are upper bounds.",
        because="; ".join(SIGNS[name] for name in found).capitalize() + ".",
    )


def _least(last: Outcome) -> Verdict:
    e = last.scores["least transfer"]
    if e.value is None:
        return Verdict(
            claim=f"Whether the least perturbations fool fresh critics is not known: {e.method}."
        )
    claim = f"Of what the least perturbations gain, fresh critics confirm {text(e)}."
    if e.low is not None and e.high is not None and e.low <= 0 <= e.high:
        claim = (
            "The least perturbations fool this critic alone: their effect on fresh critics is "
            f"not significantly different from zero ({text(e)} of the gain)."
        )
    return Verdict(claim=claim, because=f"Fresh critics: {last.details['fresh']}.")


# ----------------------------------------------------------------------------
# What to change.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change that may help.

    Attributes:
        claim: What to do, in words.
        because: On what basis.
        title: Of its lines of PyTorch.
        lines: These lines; "" where there are none.
    """

    claim: str
    because: str
    title: str = ""
    lines: str = ""


def changes_of(model: str, solver: str, last: Outcome, judged: Judgment) -> list[Change]:
    """Returns what may make a critic's signal mean more, where its updates are attacks."""
    if judged not in {"attack", "mixed", "astray"}:
        return []
    found: list[Change] = []
    if change := _penalty(model, solver, last):
        found.append(change)
    found.append(_robust(last))
    return found


_BASIS = (
    "Not a prediction: penalties on the critic's slope lengthen the least perturbation and raise "
    "its transfer where they were measured. Run gantlet attack again after the change."
)


def _penalty(model: str, solver: str, last: Outcome) -> Change | None:
    spec = Spec.parse(model)
    kind, gamma = spec.options.get("penalty"), float(spec.options.get("gamma", 0))
    if kind is None:
        return None
    has = kind in {"r1", "r2", "r1r2"} and gamma > 0
    to, weight = (kind, 4 * gamma) if has else ("r1r2", 0.3)
    new = str(Spec(spec.name, {**spec.options, "penalty": to, "gamma": f"{weight:g}"}))
    lines = pytorch_lines(
        new,
        solver,
        before=(model, solver),
        players=last.details["players"],
        loss=last.details["loss"] or loss_of(model),
    )
    what = f"penalty={to},gamma={weight:g}"
    claim = f"Worth trying: a {'stronger ' * has}gradient penalty on the critic, {what}."
    return Change(claim=claim, because=_BASIS, title=f"In PyTorch: {what}", lines=lines)


def _robust(last: Outcome) -> Change:
    critic = next(p for p in last.details["players"] if p != "generator")
    size = last.details["update"]["L2"]
    lines = f"""\
# In the step of {critic}: replace fake (and real) by what attacks it before its loss.
def attacked(x, towards_real, radius={size:.3g}, steps=3):
    p = torch.zeros_like(x)
    for _ in range(steps):
        p.requires_grad_()
        score = {critic}(x + p).sum() * (1 if towards_real else -1)
        (slope,) = torch.autograd.grad(score, p)
        unit = slope / slope.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, *[1] * (x.ndim - 1))
        p = (p + 2.5 * radius / steps * unit).detach()
        long = p.flatten(1).norm(dim=1).clamp(min=radius).view(-1, *[1] * (x.ndim - 1))
        p = p * radius / long
    return (x + p).detach()

fake, real = attacked(fake.detach(), True), attacked(real, False)"""
    return Change(
        claim="Worth trying: train the critic on attacked samples, within the length of one "
        f"update of the generator ({size:.3g}).",
        because="Not a prediction: robust critics gave perturbations that transfer (Zhou and "
        "Krähenbühl, 2019).",
        title="In PyTorch: a critic trained on attacked samples",
        lines=lines,
    )


# ----------------------------------------------------------------------------
# Tables, charts and pictures.
# ----------------------------------------------------------------------------

_SIDES_IN_WORDS = {"real": "fakes to real", "fake": "real samples to fake"}
_NAMES = {
    "update": "update of the generator",
    "attack": "strongest attack",
    "oracle": "step towards real samples",
    "random": "random direction",
}


def blocks(outcomes: Sequence[Outcome], run: Run, data: str) -> Iterator[Block]:
    """Yields the numbers of the last stage, their course, pictures and the tests."""
    last = outcomes[-1]
    yield _updates(last)
    yield _fragility(last)
    if len(outcomes) > 1:
        yield from _courses(outcomes)
    yield from _pictures(run.folder(last.trial).load("pictures"), data)
    if "ways" in last.details:
        yield _ways(last)
    yield Section(title="Masked gradients", blocks=[_signs(last)])
    if len(outcomes) > 1:
        yield Section(
            title="Earlier stages",
            blocks=[b for o in outcomes[:-1] for b in (_updates(o), _fragility(o))],
        )


def _of_step(o: Outcome) -> str:
    return "" if o.details["step"] is None else f", step {o.details['step']:,}"


def _updates(o: Outcome) -> Table:
    worth = "log-density" if o.details["density"] else "energy distance"
    rows: list[list[Cell]] = [
        [
            _NAMES[d],
            o.scores[f"own {d}"],
            o.scores[f"transfer {d}"],
            o.scores[f"share {d}"],
            o.scores[f"worth {d}"],
        ]
        for d in DIRECTIONS
    ]
    s = o.scores
    return Table(
        title=f"What an update does{_of_step(o)}",
        columns=[
            Column(name="displacement"),
            Column(
                name="critic's gain",
                help="Mean rise of the critic's score, in units of its gap between real and fake.",
            ),
            Column(
                name="confirmed",
                better="higher",
                help="Share of the gain that fresh critics confirm, each in units of its own gap.",
            ),
            Column(name="accident share", better="lower", help="1 less that, within 0 and 1."),
            Column(
                name=f"{worth} gained",
                better="higher",
                help="Of held-out fakes: mean rise of the log-density of the data."
                if o.details["density"]
                else "Of held-out fakes: how far the energy distance to test data falls.",
                mixed=True,
            ),
        ],
        rows=rows,
        note=f"All displacements of a fake are as long as that of the update, in the median "
        f"{o.details['update']['L2']:.3g}. Cosine of update and critic's gradient: "
        f"{text(s['cosine'])} on the batch, {text(s['held cosine'])} on other latents (a random "
        f"direction: 0 ± {o.details['size'] ** -0.5:.2g}). The update gains "
        f"{text(s['efficiency'])} of what the strongest attack gains. Cosine of update and "
        f"gradient descent as the generator's kernel predicts it: {text(s['kernel'])}.",
    )


def _fragility(o: Outcome) -> Table:
    zero = fixed_threshold(o.details["loss"])
    rows: list[list[Cell]] = []
    for side in SIDES:
        for norm in ("L2", "Linf"):
            key = f"{side} {norm}"
            rows.append(
                [
                    _SIDES_IN_WORDS[side],
                    norm,
                    o.scores[key],
                    o.scores[f"{key} in updates"],
                    o.scores.get(f"{key} in neighbours"),
                    o.scores[f"{key} within an update"],
                ]
            )
    return Table(
        title=f"Distance to the critic's threshold{_of_step(o)}",
        columns=[
            Column(name="attack"),
            Column(name="norm"),
            Column(name="median distance", better="higher", mixed=True),
            Column(
                name="in updates",
                better="higher",
                help="In median lengths of one update of the generator, in the same norm.",
                mixed=True,
            ),
            Column(
                name="in neighbour distances",
                better="higher",
                help="In median distances of a fake from the nearest real sample.",
                mixed=True,
            ),
            Column(
                name="within one update",
                better="lower",
                help="Share of samples that a change as long as one update takes across.",
            ),
        ],
        rows=rows,
        note=f"Unit: {o.details['unit']}. The threshold is "
        + ("the median score of real samples." if zero is None else f"a score of {zero:g}.")
        + f" A fake is {o.details['nearest']:.3g} from the nearest real sample.",
    )


def _courses(outcomes: Sequence[Outcome]) -> Iterator[Lines]:
    yield Lines(
        title="Accident share over training",
        x_label="step",
        y_label="accident share",
        series=[
            s
            for d in ("update", "attack", "oracle")
            if (s := _series(_NAMES[d], outcomes, f"share {d}")).x
        ],
        note="Bands are 95 % intervals over fresh critics and updates.",
    )
    series = [
        s for side in SIDES if (s := _series(_SIDES_IN_WORDS[side], outcomes, f"{side} L2")).x
    ]
    if series:
        yield Lines(
            title="Distance to the critic's threshold over training",
            x_label="step",
            y_label=f"median L2 distance, {outcomes[-1].details['unit']}",
            series=series,
        )


def _series(name: str, outcomes: Sequence[Outcome], key: str) -> Series:
    known = [(o, o.scores[key]) for o in outcomes if o.scores[key].value is not None]
    values = [e.value or 0.0 for _, e in known]
    return Series(
        name=name,
        x=[float(o.details["step"]) for o, _ in known],
        y=values,
        low=[v if e.low is None else e.low for (_, e), v in zip(known, values, strict=True)],
        high=[v if e.high is None else e.high for (_, e), v in zip(known, values, strict=True)],
    )


def _pictures(shown: Mapping[str, Tensor], data: str) -> Iterator[Block]:
    space = space_of(data)
    domain = domain_of(space)
    if space.kind == "image":
        change, updated = shown["perturbation"], shown["updated"] - shown["fake"]
        # Differences are shown around grey, stretched so that the largest fills the range.
        top = float(space.levels - 1) if space.levels else 1.0
        rows = {
            "fakes G(z)": shown["fake"],
            "G(z) + p, real to the critic": shown["attacked"],
            "p, stretched": _stretched(change, top),
            "after one update, G'(z)": shown["updated"],
            "G'(z) - G(z), stretched": _stretched(updated, top),
        }
    elif space.size == 2:
        rows = {
            "fakes G(z)": shown["cloud"],
            "G(z) + p, real to the critic": shown["attacked cloud"],
        }
    else:
        return
    pictures = [
        Picture(caption=name, png=png, description=f"{name}.")
        for name, x in rows.items()
        if (png := domain.picture(space, x)) is not None
    ]
    note = f"The first {SHOWN} fakes, none left out; p is the least perturbation that was found."
    yield Gallery(
        title="Attacked fakes", pictures=pictures, note=note if space.kind == "image" else ""
    )


def _stretched(change: Tensor, top: float) -> Tensor:
    largest = change.abs().amax().clamp(min=1e-12)
    return top / 2 * (1 + change / largest)


def _ways(o: Outcome) -> Table:
    rows: list[list[Cell]] = [["one step of the solver", *_way_cells(o.scores, "")]]
    for name, way in o.details["ways"].items():
        if "error" in way:
            rows.append([name, None, None, None, None])
        else:
            rows.append([name, *_way_cells(o.scores, f"{name}: ")])
    failed = [f"{n}: {w['error']}" for n, w in o.details["ways"].items() if "error" in w]
    return Table(
        title="Other ways to move the generator",
        columns=[
            Column(name="updates"),
            Column(name="cosine, batch", help="With the critic's gradient, on the batch."),
            Column(name="cosine, other latents"),
            Column(name="confirmed", better="higher"),
            Column(name="accident share", better="lower"),
        ],
        rows=rows,
        note="An attack makes many steps, on the same samples, free in every component; an update "
        "makes one, on new latents, through the parameters. Free samples move as far as one "
        "update. " + " ".join(failed),
    )


def _way_cells(scores: Mapping[str, Estimate], prefix: str) -> list[Cell]:
    names = ("cosine", "held cosine", "transfer update", "share update")
    return [scores[prefix + name] for name in names]


def _signs(o: Outcome) -> Table:
    return Table(
        title="Tests for masked gradients",
        columns=[Column(name="sign"), Column(name="share of samples"), Column(name="p-value")],
        rows=[
            [SIGNS[name], f"{100 * share:.0f} %", f"{p:.2g}"]
            for name, share, p in o.details["masking"]
        ],
        note=f"p-values are Holm's; a sign is significant at {MASKED:g} or below.",
    )


# ----------------------------------------------------------------------------
# The report.
# ----------------------------------------------------------------------------


def answer(question: Mapping[str, Any], outcomes: Sequence[Outcome], run: Run) -> Report:
    """Returns the report of an attack from the outcomes of its stages."""
    name = short(question["model"])
    good = sorted((o for o in outcomes if o.error is None), key=lambda o: o.details["step"] or 0)
    title = f"How fragile is the critic of {name}?"
    facts = facts_of(_setting(question), outcomes, run)
    if not good:
        reason = outcomes[0].error if outcomes else "it has not been run"
        return Report(
            title=title,
            command="attack",
            question=question,
            facts=facts,
            caveats=[Caveat(text=f"Nothing was measured: {reason}.")],
        )
    last = good[-1]
    changes = changes_of(
        str(question["model"]), str(question["solver"]), last, judgments(good)[-1]
    )
    found = list(blocks(good, run, str(question["data"])))
    found += [Code(title=c.title, text=c.lines, note=NOTE) for c in changes if c.lines]
    return Report(
        title=title,
        command="attack",
        question=question,
        facts=facts,
        verdicts=list(verdicts(name, good, changes)),
        caveats=list(_caveats(good, outcomes)),
        rows=[r for o in good for r in _rows(question, o)],
        blocks=found,
        extra={"stages": [dict(o.details) for o in good]},
    )


def _setting(question: Mapping[str, Any]) -> dict[str, str]:
    return {
        "Model": str(question["model"]),
        "Solver": str(question["solver"]),
        "Data": str(question["data"]),
        "Samples attacked": f"{question['samples']} fakes and as many real samples",
        "Updates": str(question["updates"]),
        "Fresh critics": f"{question['critics']}, each on its own part of the training data",
        "Seed": str(question["seed"]),
    }


def _caveats(good: Sequence[Outcome], outcomes: Sequence[Outcome]) -> Iterator[Caveat]:
    yield Caveat(
        text="One training, one seed. Distances are upper bounds: a better attack may find "
        "smaller ones."
    )
    yield Caveat(
        text="Fresh critics learn from parts of the data that the critic was trained on too, and "
        "against the generator as it stood; the accident share says what critics of other seeds "
        "do not confirm, not what is lost."
    )
    yield Caveat(
        text=f"Snapshots do not hold the solver's memory: it is rebuilt by {WARM_UP} steps of "
        "training before anything is measured."
    )
    if len(good) < len(outcomes):
        yield Caveat(text=f"{len(outcomes) - len(good)} of {len(outcomes)} stages failed.")


_ROWS = {
    "cosine": "cosine of update and critic's gradient (batch)",
    "held cosine": "cosine of update and critic's gradient (other latents)",
    "kernel": "cosine of update and kernel prediction",
    "efficiency": "gain of the update as a share of the attack's",
    "calibrated share": "accident share between step towards real samples (0) and attack (1)",
    "least transfer": "transfer of least perturbations",
    **{f"own {d}": f"critic's gain ({name})" for d, name in _NAMES.items()},
    **{f"transfer {d}": f"transfer ({name})" for d, name in _NAMES.items()},
    **{f"share {d}": f"accident share ({name})" for d, name in _NAMES.items()},
    **{f"worth {d}": f"gain in quality ({name})" for d, name in _NAMES.items()},
    **{
        f"{side} {norm}": f"median {norm} distance, {words}"
        for side, words in _SIDES_IN_WORDS.items()
        for norm in ("L2", "Linf")
    },
}


def _rows(question: Mapping[str, Any], o: Outcome) -> Iterator[Row]:
    step = "" if o.details["step"] is None else f" @{o.details['step']}"
    for key, name in _ROWS.items():
        yield Row(
            data=str(question["data"]),
            model=f"{question['model']}{step}",
            seed=int(question["seed"]),
            name=name,
            estimate=o.scores[key],
        )
