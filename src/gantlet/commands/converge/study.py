"""Question 4: is a training converging, and if not, what would help? The study and its report."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, final

from gantlet import options
from gantlet.commands.compare.trial import ComparisonTrial
from gantlet.commands.converge.course import (
    GOOD,
    LOST,
    ConvergeTrial,
    SavedTraining,
    blank,
    is_run,
    is_toy,
    resolved,
    run_parts,
    short,
    straddles_good,
    usual_solver,
)
from gantlet.commands.converge.diagnosis import GROWTH, SHARE, DiagnosisKey, keys
from gantlet.commands.converge.snippets import NOTE
from gantlet.commands.converge.trial import TRIES, run_trial
from gantlet.commands.own_games import LIVE, content_of, written
from gantlet.commands.trained import find_trial
from gantlet.core.arguments import check_fields
from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget, Estimate, Outcome, Trial
from gantlet.core.model import Game
from gantlet.core.spec import Spec, datasets, solvers
from gantlet.games.stale import solver_inside
from gantlet.report.blocks import (
    Block,
    Caveat,
    Cell,
    Code,
    Column,
    Lines,
    Report,
    Row,
    Section,
    Series,
    Table,
    Verdict,
)
from gantlet.report.format import text
from gantlet.run.execute import Watch, facts_of
from gantlet.run.store import Run, TrialFolder
from gantlet.run.trials import RunData

# ----------------------------------------------------------------------------
# The diagnosis in sentences.
# ----------------------------------------------------------------------------

_STATES = {
    "converging": "converges",
    "rotating": "oscillates and does not settle",
    "diverging": "diverges",
    "stuck": "does not learn",
}

# A curvature counts as negative below this share of the largest.
_DOWN = 1e-3


def verdicts(
    name: str, details: Mapping[str, Any], scores: Mapping[str, Estimate]
) -> Iterator[Verdict]:
    """Yields what the training does, why, and what would help."""
    yield Verdict(claim=f"{name} {state_in_words(details)}.", because=details["because"])
    yield from _forecast(details, scores)
    yield from _nash(details)
    yield from _advice_verdicts(details, scores)
    yield from _tried(details)


def state_in_words(details: Mapping[str, Any]) -> str:
    """Describes the state of a training, and how good it is where that is known.

    Where a number that decides may lie on the other side of its threshold, both are said.
    """
    said, ratio = _STATES[details["state"]], details["ratio"]
    if others := details.get("others"):
        also = ", or ".join(_STATES[other] for other in others)
        return f"is between verdicts: it {said}, or {also}"
    if details["state"] != "converging" or ratio is None:
        return said
    if _held(details):
        said = (
            f"holds the level of the weights that it began with, {_times(ratio)} the noise floor"
        )
    else:
        said += f", to a validation loss {_times(ratio)} the noise floor"
    interval = details.get("range")
    if interval is not None and straddles_good(interval):
        low, high = interval
        return f"{said} ({low:.1f} to {high:.1f}): between near the data and far from them"
    return said if ratio <= GOOD else f"{said}: steady, and still far from the data"


def _held(details: Mapping[str, Any]) -> bool:
    """Returns whether a training began far from the data where it ended: it learned elsewhere."""
    quality: Sequence[float] = details.get("quality") or ()
    far = details["ratio"] > GOOD
    return far and len(quality) > 0 and details["end"] > quality[0] / LOST


def _times(ratio: float) -> str:
    return "at" if ratio <= 1 else f"{ratio:.1f} times"


def _forecast(details: Mapping[str, Any], scores: Mapping[str, Estimate]) -> Iterator[Verdict]:
    growth, share = scores.get(GROWTH), scores[SHARE]
    if growth is None or growth.value is None:
        return
    decays, stays = growth.value < 1 - 1e-9, abs(growth.value - 1) <= 1e-9
    real, imaginary = details["modes"][0]
    kind = "oscillate" if abs(imaginary) > abs(real) else "do not oscillate"
    fate = "neither decay nor grow" if stays else "decay" if decays else "grow"
    claim = f"The leading modes {kind} and are predicted to {fate}."
    settled = details["state"] == "converging"
    if decays and details["state"] in {"rotating", "diverging"}:
        claim += " The spectrum does not predict this training: the field may not be smooth, or "
        claim += "batch noise may dominate."
    if not decays and settled:
        claim += " The spectrum does not predict this training: "
        claim += "it converges" if details["ratio"] is None else "its loss is steady"
        claim += " nevertheless."
    because = f"Growth factor per step: {growth.value:.4g}."
    if share.value is not None:
        because += f" Rotation makes up {100 * share.value:.0f} % of the Jacobian (|A|²/|J|²)."
    yield Verdict(claim=claim, because=because)


def _nash(details: Mapping[str, Any]) -> Iterator[Verdict]:
    if details["state"] != "converging":
        return
    down = [p for p, ends in details["curvature"].items() if curves_down(ends)]
    if not down or len(details["curvature"]) < 2:
        return
    summary = "; ".join(f"{p}: {details['curvature'][p][0]:.3g}" for p in down)
    because = f"Smallest curvature of the player's own loss: {summary}."
    whose = "its own loss" if len(down) == 1 else "their own losses"
    claim = f"The end point is not a (local) Nash equilibrium: {' and '.join(down)} could lower "
    claim += f"{whose} by moving alone."
    if repels(details["rightmost"]):
        claim += " Nor does the gradient field attract to it: the weights may still be moving."
        because += f" Rightmost eigenvalue of the Jacobian: {details['rightmost'][0][0]:.3g}."
    else:
        claim += " That is usual: a stable point of a game need not be one."
    yield Verdict(claim=claim, because=because)


def repels(rightmost: Sequence[Sequence[float]]) -> bool:
    """Returns whether an eigenvalue has a positive real part, beyond the residual of its search.

    Example:
        >>> repels([[0.3, 0.0, 1e-4]]), repels([[1e-6, 2.0, 1e-4]]), repels([])
        (True, False, False)
    """
    return any(
        real > _DOWN * abs(complex(real, im)) and real > sum(r) for real, im, *r in rightmost
    )


def curves_down(ends: tuple[float | None, float | None]) -> bool:
    """Returns whether a player's own loss has a direction in which it curves down."""
    low, high = ends
    if low is None or high is None:
        return False
    return low < -_DOWN * max(abs(low), abs(high))


def _advice_verdicts(
    details: Mapping[str, Any], scores: Mapping[str, Estimate]
) -> Iterator[Verdict]:
    found = details["advice"]
    if details["good"]:
        between = details.get("others") or straddles_good(details.get("range"))
        claim = "Nothing needs to be changed."
        yield Verdict(claim="Before anything is changed, train longer." if between else claim)
        return
    if details["improving"]:
        ratio = details["ratio"]
        slowly = ratio is not None and _held(details)
        yield Verdict(
            claim="It improves, but slowly: a much larger budget may be what it lacks."
            if slowly
            else "It is still improving: a larger budget comes first.",
            because="The loss falls over the last half of training, by a t-test of its trend.",
        )
    predicted = [a for a in found if a["basis"] == "prediction"]
    if predicted and found[0] is predicted[0]:
        yield _recommended(predicted[0], scores[GROWTH])
    elif found:
        yield _not_predicted(found, details["state"], scores.get(GROWTH))
    elif not details["improving"]:
        yield Verdict(claim="None of the changes considered is predicted to help.")


def _recommended(best: Mapping[str, Any], growth: Estimate) -> Verdict:
    return Verdict(
        claim=f"Recommended: {best['what']}. {best['code']}".strip(),
        because=f"Predicted growth factor of the leading modes per step: {best['growth']:.4g} "
        f"instead of {text(growth.value)}.",
    )


def _not_predicted(
    found: Sequence[Mapping[str, Any]], state: str, growth: Estimate | None
) -> Verdict:
    """Says what may be tried where the spectrum recommends nothing."""
    first = found[0]
    grows = growth is not None and growth.value is not None and growth.value > 1
    if growth is None or growth.value is None:
        why = "What this solver makes of the spectrum is not known"
    elif state == "converging":
        why = "The spectrum does not predict this training" if grows else "No mode grows here"
        why += ", so that nothing is recommended by it"
    else:
        why = "At this point the spectrum predicts no improvement from any change"
    reason = {
        "theory": "R1 is proved to attract near an equilibrium (Mescheder et al., 2018)",
        "defaults": "these are the defaults of the family",
    }.get(first["basis"], "its modes grow least")
    others = "; ".join(a["what"] for a in found[1:TRIES])
    return Verdict(
        claim=f"{why}. Worth trying, with --try: {first['what']}. {first['code']}".strip(),
        because=f"Not a prediction: {reason}." + (f" Then: {others}." if others else ""),
    )


def _tried(details: Mapping[str, Any]) -> Iterator[Verdict]:
    """Says what trainings with a change did, the best first."""
    for one in details["tried"]:
        yield Verdict(
            claim=f"Tried {one['what']}: training {state_in_words(one)}{_better(one, details)}.",
            because=f"{one['because']}{_foreseen(one, details)}",
        )


def _better(one: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """Returns by how much the loss at the end is lower or higher than before, in words."""
    if before["ratio"] is None or one["ratio"] is None:
        return ""
    share = before["end"] / one["end"]
    if share > 1:
        return f"; the loss at the end is {share:.1f} times lower"
    return f"; the loss at the end is {1 / share:.1f} times higher"


def _foreseen(one: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """Says so where a change helped that the spectrum called no better."""
    helped = one["state"] == "converging" and before["state"] != "converging"
    if one["basis"] == "prediction" or one["growth"] is None or not helped:
        return ""
    return (
        f" The spectrum had not predicted that (growth factor {one['growth']:.4g}): it does not "
        "describe this training."
    )


# ----------------------------------------------------------------------------
# The diagnosis as tables and charts.
# ----------------------------------------------------------------------------


def blocks(details: Mapping[str, Any], scores: Mapping[str, Estimate]) -> Iterator[Block]:
    """Yields the numbers, the advice, the course, the path and the eigenvalues."""
    yield _numbers(keys(details), scores)
    if details["advice"]:
        yield _advice_table(details["advice"])
        yield from _snippets(details["advice"])
    yield _course(details)
    yield from _path(details)
    yield Section(title="Eigenvalues", blocks=[_eigenvalues(details)])


def _numbers(which: Mapping[str, DiagnosisKey], scores: Mapping[str, Estimate]) -> Table:
    after = {which[k].what: e for k, e in scores.items() if which[k].after}
    before = {which[k].what: e for k, e in scores.items() if not which[k].after}
    rows: list[list[Cell]] = [
        [name, e, after.get(name)] if after else [name, e] for name, e in before.items()
    ]
    columns = [
        Column(name="quantity"),
        Column(name="value", mixed=True),
        Column(name="with the best change tried", mixed=True),
    ]
    return Table(
        title="Local dynamics of the game",
        columns=columns if after else columns[:2],
        rows=rows,
        note="Eigenvalues of the Jacobian of the gradient field at one fixed batch; negative real "
        "parts attract. Largest steps and delays are predicted from eigenvalues with negative "
        "real part.",
    )


def _advice_table(found: list[dict[str, Any]]) -> Table:
    return Table(
        title="Changes considered",
        columns=[
            Column(name="change"),
            Column(name="basis"),
            Column(
                name="growth per step",
                better="lower",
                help="Factor by which the leading modes grow.",
                group="Prediction",
            ),
            Column(
                name="leading mode",
                help="Eigenvalue for one step of gradient descent; 0 is neutral.",
                group="Prediction",
            ),
            Column(name="in your own loop", group="How"),
            Column(name="model", group="How"),
            Column(name="solver", group="How"),
        ],
        rows=[
            [
                a["what"],
                a["basis"],
                _growth(a["growth"]),
                _complex(*a["predicted modes"][0]) if a["predicted modes"] else None,
                a["code"],
                a["model"],
                a["solver"],
            ]
            for a in found
        ],
        note="In the order in which they are recommended or worth trying. Predictions are for the "
        "same point, ordered by decay per unit of learning rate and per gradient. Changes on the "
        "basis of theory or of the family's defaults are not predictions.",
    )


def _snippets(found: Sequence[Mapping[str, Any]]) -> Iterator[Code]:
    """Yields the first changes as lines of PyTorch; outcomes of earlier versions have none."""
    for one in found[:TRIES]:
        if lines := one.get("pytorch"):
            yield Code(title=f"In PyTorch: {one['what']}", text=lines, note=NOTE)


def _growth(value: float | None) -> Estimate:
    if value is None:
        return Estimate.missing("not predicted", better="lower")
    return Estimate(value=value, n=1, better="lower", method="predicted: no interval")


def _complex(real: float, imaginary: float) -> str:
    sign = "+" if imaginary >= 0 else "−"
    return f"{real:.3g} {sign} {abs(imaginary):.3g}i".replace("-", "−")


def _course(details: Mapping[str, Any]) -> Lines:
    runs = [("as asked", details), *((f"with {t['what']}", t) for t in details["tried"])]
    return Lines(
        title="Quality during training",
        x_label="step",
        y_label="quality, lower is better",
        series=[
            Series(name=name, x=[float(s) for s in run["steps"]], y=run["quality"])
            for name, run in runs
        ],
        log_y=all(q > 0 for _, run in runs for q in run["quality"]),
        note=f"Quality is {details['measure']}.",
    )


def _path(details: Mapping[str, Any]) -> Iterator[Lines]:
    tried = [(f"with {t['what']}", t["path"]) for t in details["tried"]]
    runs = [("as asked", details["path"]), *tried]
    nan = float("nan")
    yield Lines(
        title="Path angle from start to end",
        x_label="position: 0 is the start, 1 the point examined",
        y_label="cosine between the gradient field and the path",
        series=[
            Series(name=name, x=path["place"], y=[nan if c is None else c for c in path["cosine"]])
            for name, path in runs
        ],
        note="A sign change at 1 shows attraction, a bump rotation (Berard et al., 2020).",
    )
    yield Lines(
        title="Norm of the gradient field from start to end",
        x_label="position: 0 is the start, 1 the point examined",
        y_label="norm",
        series=[Series(name=name, x=path["place"], y=path["norm"]) for name, path in runs],
        log_y=True,
    )


def _eigenvalues(details: Mapping[str, Any]) -> Table:
    rows: list[list[Cell]] = [
        [which, _complex(value[0], value[1]), _exact(value[2])]
        for which in ("leading", "rightmost")
        for value in details[which]
    ]
    return Table(
        title="Eigenvalues of the Jacobian",
        columns=[Column(name="which"), Column(name="eigenvalue"), Column(name="residual")],
        rows=rows,
        note="Residual: |J x − λ x| of the unit eigenvector x found.",
    )


def _exact(value: float) -> str:
    return f"{value:.1e}".replace("-", "−")


# ----------------------------------------------------------------------------
# The report of a diagnosis.
# ----------------------------------------------------------------------------


def answer(question: Mapping[str, Any], outcomes: Sequence[Outcome], run: Run) -> Report:
    """Returns the report of a diagnosis from its outcome."""
    name = short(question["model"])
    good = [o for o in outcomes if o.error is None]
    if not good:
        reason = outcomes[0].error if outcomes else "it has not been run"
        return Report(
            title=f"Does {name} converge?",
            command="converge",
            question=question,
            facts=facts_of({}, outcomes, run),
            caveats=[Caveat(text=f"There is no diagnosis: {reason}.")],
        )
    (outcome,) = good
    which = keys(outcome.details)
    return Report(
        title=f"Does {name} converge?",
        command="converge",
        question=question,
        spend=outcome.spend,
        facts=facts_of(_setting(question, outcome), outcomes, run),
        verdicts=list(verdicts(_subject(question["model"]), outcome.details, outcome.scores)),
        caveats=list(_caveats(question)),
        rows=[_row(question, outcome, which[k], e) for k, e in outcome.scores.items()],
        blocks=list(blocks(outcome.details, outcome.scores)),
        extra=dict(outcome.details),
    )


def _subject(model: str) -> str:
    """Returns a model as a sentence begins with it."""
    name = short(model)
    return f"{name[0].upper()}{name[1:]}" if Spec.parse(model).name == LIVE else name


def _setting(question: Mapping[str, Any], outcome: Outcome) -> dict[str, str]:
    budget = ", ".join(f"{v:g} {k}" for k, v in question["budget"].items())
    data = {} if question["data"] == "none" else {"Data": str(question["data"])}
    return {
        "Model": str(question["model"]),
        "Solver": str(question["solver"]),
        **data,
        "Budget": budget,
        "Point examined": f"step {outcome.details['looked at step']}",
        "Seed": str(question["seed"]),
    }


def _row(question: Mapping[str, Any], outcome: Outcome, key: DiagnosisKey, e: Estimate) -> Row:
    return Row(
        data=question["data"],
        model=outcome.details["tried"][0]["model"] if key.after else question["model"],
        seed=question["seed"],
        name=key.what,
        estimate=e,
    )


def _caveats(question: Mapping[str, Any]) -> Iterator[Caveat]:
    yield Caveat(
        text="One training run, one seed. Whether it converges is judged by its validation loss; "
        "eigenvalues, steps, delays and the effects of changes are predictions at one point, "
        "valid for small displacements only."
    )
    if question["data"] == "none":
        return
    yield Caveat(
        text="The gradient field is evaluated on one fixed batch, so batch noise is not included."
    )
    solver = Spec.parse(solver_inside(question["solver"]))
    if "adam" in {solver.name, solver.options.get("base")}:
        yield Caveat(
            text="Adam divides by second moments; predictions use their mean over batches at the "
            "point examined, as if the players had been there for long."
        )


# ----------------------------------------------------------------------------
# The study: its question, its trials, its answer.
# ----------------------------------------------------------------------------


_TOY_STEPS = 1000

DATA = "digits"
"""The data set by default."""


@final
@dataclass(frozen=True, kw_only=True)
class Converge:
    """One training, diagnosed.

    Attributes:
        model: A family or toy game in written form, or ``RUN@MODEL#SEED``: a finished training
            with snapshots.
        data: The data set; toy games and runs have their own.
        budget: What training may spend; toy games know steps only.
        seed: From which every random number follows.
        solver: How the players move; ``auto`` is what suits the family.
        batch: Samples in a batch.
        retry: Whether to train again with what is recommended, at most three changes.
        data_seed: Seed of the train/validation/test split.
        threads: Threads; part of what decides the last digits.
        device: Where to train.
        live: Games that were given as objects, by the hash of their content.
    """

    model: str
    data: str = DATA
    budget: Budget
    seed: options.Seed = options.Converge.seed
    solver: str = options.Converge.solver
    batch: options.BatchSize = options.Converge.batch
    retry: bool = options.Converge.apply_advice
    data_seed: options.Seed = options.Converge.data_seed
    threads: options.Threads = options.Converge.threads
    device: str = options.Converge.device
    live: Mapping[str, Game] = field(default_factory=dict[str, Game], repr=False, compare=False)

    @classmethod
    def of(cls, asked: options.Converge, data: str | None = None) -> "Converge":
        """Returns the study that ``gantlet converge`` asks for.

        Args:
            asked: The options.
            data: The data set in written form, or None for the usual one.
        """
        own = None if isinstance(asked.model, str) else asked.model
        return cls(
            model=asked.model if isinstance(asked.model, str) else written(asked.model),
            live={} if own is None else {content_of(own): own},
            data=DATA if data is None else data,
            budget=asked.budget or options.DEFAULT_BUDGET,
            seed=asked.seed,
            solver=asked.solver,
            batch=asked.batch,
            retry=asked.apply_advice,
            data_seed=asked.data_seed,
            threads=asked.threads,
            device=asked.device,
        )

    @cached_property
    def loaded(self) -> RunData:
        """The data of this run, loaded once."""
        return RunData(self.live)

    def fresh(self) -> "Converge":
        """Returns the same study, which has read nothing yet."""
        return replace(self)

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        trial = self._trial()
        budget = {k: v for k, v in asdict(trial.budget).items() if v is not None}
        parts = {k: v for k, v in trial.written().parts.items() if k != "run"}
        run = {"run": self.model} if trial.saved.path else {}
        found: dict[str, object] = {"command": "converge", **parts, **run}
        found |= {"budget": budget, "seed": trial.seed}
        if trial.data == "none":
            return found
        mark = self.loaded.fingerprint(trial.data, trial.data_seed)
        return {**found, "data fingerprint": mark}

    def trials(self) -> Sequence[Trial]:
        """One.

        Raises:
            UserError: If what is asked does not fit together.
        """
        check_fields(self)
        trial = self._trial()
        solvers.make(trial.solver).start(blank(trial, self.loaded))
        return [trial.written()]

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Trains, measures and advises."""
        return run_trial(trial, self.loaded, folder, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Says what the training does and what would help."""
        return answer(self.question(), outcomes, run)

    def _trial(self) -> ConvergeTrial:
        if is_run(self.model):
            return self._of_run()
        toy = is_toy(self.model, self.loaded)
        model = resolved(self.model)
        chosen = self.solver
        return ConvergeTrial(
            model=model,
            solver=usual_solver(model, self.loaded)
            if chosen == "auto"
            else solvers.resolve(chosen),
            data="none" if toy else datasets.resolve(self.data),
            data_seed=self.data_seed,
            batch=1 if toy else self.batch,
            retry=self.retry,
            threads=self.threads,
            device=self.device,
            budget=Budget(steps=self._toy_steps()) if toy else self.budget,
            seed=self.seed,
        )

    def _toy_steps(self) -> int:
        if self.budget.steps is not None:
            return self.budget.steps
        # A toy has no data and costs nothing that would be worth counting.
        return _TOY_STEPS

    def _of_run(self) -> ConvergeTrial:
        path, model, seed = run_parts(self.model)
        was, folder = find_trial(path, model, seed)
        if not any(folder.path.glob("snapshot-*.safetensors")):
            raise UserError(
                f"{self.model} has no snapshots to look at. Train with --snapshots 8 first."
            )
        trained = ComparisonTrial.of(was)
        return ConvergeTrial(
            model=trained.model,
            solver=trained.training.solver,
            data=trained.data,
            data_seed=trained.data_seed,
            batch=trained.training.batch,
            saved=SavedTraining(path=path, model=model, seed=seed),
            retry=self.retry,
            threads=self.threads,
            device=self.device,
            budget=was.budget,
            seed=was.seed,
        )
