"""Question 1: what does each kind of model give for the same compute?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self, final

from gantlet import options
from gantlet.commands.compare.report import answer
from gantlet.commands.compare.trial import ComparisonTrial, check_metrics, run_model
from gantlet.commands.cost import cost_of, expected, samples_found
from gantlet.commands.standings import ModelResults, model_results
from gantlet.commands.trained import Training, training_speed
from gantlet.compute.machine import has_bf16
from gantlet.core.arguments import check_duration, check_fields
from gantlet.core.data import Dataset, Encoded, Space
from gantlet.core.errors import UserError
from gantlet.core.estimate import REAL, Budget, Outcome, Trial
from gantlet.core.model import BATCH, Family, Selective, default_batch
from gantlet.core.rng import Rng
from gantlet.core.spec import Spec, datasets, extractors, families, metrics, probes, solvers
from gantlet.domains.domains import Domain, default_features, domain_of
from gantlet.features.base import check_ranking_features
from gantlet.options import METRICS
from gantlet.probes.tradeoff import TRADE_OFF
from gantlet.report.blocks import Report
from gantlet.report.format import text
from gantlet.run.asynchronous import check_async, ray
from gantlet.run.execute import Watch
from gantlet.run.monitors import resolved_monitors
from gantlet.run.store import Run, TrialFolder
from gantlet.run.trials import RunData

__all__ = ["METRICS", "PROBES", "Compare", "with_usual"]

# Numbers of the samples of one model that are judged at most: 256 MiB. Of colour images of 128
# pixels these are 1,365, of 512 pixels 85.
_NUMBERS = 2**26
# Fewer are judged of no data.
_LEAST = 64

BUDGETS = "budgets"
"""Where a question keeps the FLOPs of each model, if they were measured."""

PROBES = ("likelihood", "parameters", "sampling", "inverse")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """Models on one data set under one budget.

    Attributes:
        models: The models, each as ``name:key=value,...``; empty means the line-up of the kind of
            data.
        data: The data set.
        budget: What each model may spend in training, validation included.
        time: Seconds that training each model may take on this machine, in place of a budget.
        budgets: The FLOPs that each model makes in ``time``, once they are measured; None for a
            model that no FLOPs are needed for, as it is fitted directly.
        seeds: How many times to repeat everything; trials of one seed are paired.
        metrics: The distances between samples and held-out data; ``energy``, which ranks, is
            always among them. Empty means the usual ones and those of the kind of data.
        features: What the distances are measured on, ``pixels`` always among them where the
            numbers of a sample are quantities of one unit; the first other ones rank. Empty means
            what suits the data: for images ``classifier``, or ``random-conv`` where the data has
            no labels.
        probes: What is measured on the model itself; the line-up gets its trade-off and what suits
            the kind of data besides.
        solver: Optimizer of the players; ``auto`` is what suits each family.
        batch: Samples in a batch; None is what each family says.
        samples: How many samples to judge at most; never more than the test split has.
        select: Which weights are judged: those that validated best, or the last.
        patience: Stop after this many validations without a better one; None spends the budget.
        snapshots: How often to save all players over the budget, for ``gantlet tournament``.
        ema: Decay of the exponential moving average of weights; None is that of each family.
        average_from: Share of the budget from which on weights enter a uniform average, or None.
        average_every: Steps from one set of weights in that average to the next.
        asynchronous: Number of workers of asynchronous training; 0 is synchronous.
        async_engine: What these workers are.
        monitors: What is measured along the way of each training.
        precision: Arithmetic of training steps.
        data_seed: Seed of the train/validation/test split, the same for all trials.
        threads: Threads of each trial; part of what decides the last digits.
        device: Where models are trained and measured.
        first_seed: The first seed; the others follow it.
        command: Which command asks.
        loaded: The data of this run, loaded once.
    """

    models: tuple[str, ...]
    data: str
    budget: Budget
    time: float | None = None
    budgets: tuple[float | None, ...] = ()
    seeds: options.Seeds = options.Compare.seeds
    metrics: tuple[str, ...] = METRICS
    features: tuple[str, ...] = ()
    probes: tuple[str, ...] = PROBES
    solver: str = options.Compare.solver
    batch: options.BatchSize | None = options.Compare.batch
    samples: options.SampleCount = options.Compare.samples
    select: options.Select = options.Compare.select
    patience: options.Patience | None = options.Compare.patience
    snapshots: options.Snapshots = options.Compare.snapshots
    ema: options.Share | None = options.Compare.ema
    average_from: options.Share | None = options.Compare.average_from
    average_every: options.Steps = options.Compare.average_every
    asynchronous: options.AsyncWorkers = options.Compare.asynchronous
    async_engine: options.AsyncEngine = options.Compare.async_engine
    monitors: tuple[str, ...] = ()
    precision: options.Precision = options.Compare.precision
    data_seed: options.Seed = options.Compare.data_seed
    threads: options.Threads = options.Compare.threads
    device: str = options.Compare.device
    first_seed: options.Seed = options.Train.seed
    command: str = "compare"
    loaded: RunData = field(default_factory=RunData, repr=False, compare=False)

    @property
    def line_up(self) -> tuple[str, ...]:
        """The models that are compared: those named, or else those of the kind of data."""
        return self.models or self._domain().models

    def fresh(self) -> "Compare":
        """Returns the same study, which has read nothing yet."""
        return replace(self, loaded=RunData())

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        shared = self._spec(REAL, "none")
        known = set(self.budgets) - {None}
        budget = Budget(flops=known.pop()) if len(known) == 1 else self.budget
        return {
            "command": self.command,
            "models": [families.resolve(m) for m in self.line_up],
            "solvers": [self._solver_of(m) for m in self.line_up],
            "budget": {k: v for k, v in asdict(budget).items() if v is not None},
            **self._own_batches(),
            **({} if self.time is None else {"time": self.time, BUDGETS: list(self.budgets)}),
            "seeds": list(self._seeds()),
            **shared.plain(),
            "data fingerprint": self.loaded.fingerprint(shared.data, self.data_seed),
        }

    def trials(self) -> Sequence[Trial]:
        """One for each model and seed, and one for real data."""
        self._check()
        shared = self._spec(REAL, "none")
        models = [
            replace(
                shared,
                model=families.resolve(m),
                training=self._training(m, self._solver_of(m)),
                budget=budget,
            )
            for m, budget in zip(self.line_up, self._budgets(), strict=True)
        ]
        return [
            shared.written(),
            *(replace(spec, seed=seed).written() for seed in self._seeds() for spec in models),
        ]

    def in_time(self) -> dict[str, object] | None:
        """Returns the question as it is before the budget is measured; None without a time."""
        return None if self.time is None else replace(self, budgets=()).question()

    def recalled(self, question: Mapping[str, Any]) -> Self:
        """Returns the study with the FLOPs of its own question, which was recorded before."""
        return replace(self, budgets=tuple(question[BUDGETS]))

    def measured(self) -> Self:
        """Returns the study with the FLOPs of each model, from a short run of each."""
        self._check()
        return replace(self, budgets=tuple(map(self._flops_in_time, self.line_up)))

    def _flops_in_time(self, model: str) -> float | None:
        family = families.make(model)
        if not isinstance(family, Family) or self._cannot(model) is not None:
            return None
        solver = self._solver_of(model)
        spec = replace(
            self._spec(families.resolve(model), solver), budget=Budget(seconds=self.time)
        )
        rng = Rng(self.first_seed, self.device)
        speed = training_speed(family, spec, data=self.loaded, rng=rng)
        if speed <= 0:
            raise UserError(
                f"No operations of {families.short(model)} can be counted, so that no time is a "
                "number of FLOPs. Give --steps or --seconds."
            )
        return float(f"{(self.time or 0.0) * speed:.3g}")

    def _budgets(self) -> Sequence[Budget]:
        """Returns the budget of each model."""
        if self.time is None:
            return [self.budget] * len(self.line_up)
        # What is fitted directly spends its own cost; its time limits nothing.
        within = Budget(seconds=self.time)
        return [within if f is None else Budget(flops=f) for f in self.budgets]

    def notes(self) -> Sequence[str]:
        """Says what of the files was left out, converted or guessed, and who is compared."""
        _, splits = self.loaded.load(datasets.resolve(self.data), self.data_seed)
        about = (self._about_models, self._about_time, self._about_bf16, self._about_samples)
        return (*splits.notes, *(note for notes in about for note in notes()))

    def _about_bf16(self) -> Iterator[str]:
        """Says whether bf16 is emulated on this device, which makes training slower."""
        if self.precision == "bf16" and not has_bf16(Rng(0, self.device).device):
            yield (
                "this device has no bf16 arithmetic of its own: training is slower than in fp32, "
                "with the same result as elsewhere but for rounding"
            )

    def _about_samples(self) -> Iterator[str]:
        """Says that fewer samples are judged than could be, as they are large."""
        _, splits = self.loaded.load(datasets.resolve(self.data), self.data_seed)
        n, wanted = self._samples(datasets.resolve(self.data)), min(self.samples, len(splits.test))
        if n < wanted:
            yield f"samples are so large that {n:,} of {wanted:,} are judged, to save memory"

    def _about_time(self) -> Iterator[str]:
        """Says how many FLOPs each model makes in its time."""
        for model, flops in zip(self.line_up, self.budgets, strict=False):
            if flops is not None:
                yield (
                    f"{text(self.time, 's')} of training {families.short(model)} on this machine "
                    f"are {text(flops, 'FLOP')}"
                )

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Trains one model and measures it."""
        return run_model(trial, self.loaded, folder, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Ranks the models and says how sure the ranking is."""
        notes = self._about_models()
        return answer(self.command, self.question(), outcomes, run, data=self.loaded, notes=notes)

    def results_among(self, found: Mapping[str, Outcome], run: Run) -> list[ModelResults]:
        """Returns the results of its models where several comparisons share their trials.

        Args:
            found: The outcomes of all comparisons, by the key of the trial.
            run: Where the trials kept what paired differences need.
        """
        keys = dict.fromkeys(t.key for t in self.trials())
        return model_results([found[key] for key in keys if key in found], run)

    def plan(self) -> Sequence[str]:
        """Says how many samples there are, and what each training will take.

        A few steps of each model are made and timed.
        """
        space, splits = self.loaded.load(datasets.resolve(self.data), self.data_seed)
        found = [samples_found(splits)]
        for model, budget in dict(zip(self.line_up, self._budgets(), strict=True)).items():
            if (reason := self._cannot(model)) is not None:
                found.append(f"{families.short(model)} cannot be trained: {reason}")
                continue
            if (solver := self._solver_of(model)) == "none":
                # To know the cost of a fit is to make it, which may take minutes.
                found.append(f"{families.short(model)}: fitted directly, whatever the budget.")
                continue
            cost = cost_of(
                model,
                space,
                splits.train,
                budget=budget,
                batch=self._batch(model),
                solver=solver,
            )
            found.append(expected(cost))
        return found

    def _seeds(self) -> range:
        return range(self.first_seed, self.first_seed + self.seeds)

    @classmethod
    def of(cls, asked: options.Compare) -> "Compare":
        """Returns the study that ``gantlet compare`` asks for."""
        study = cls(
            models=tuple(asked.models),
            seeds=asked.seeds,
            metrics=tuple(asked.metrics),
            features=tuple(asked.features),
            probes=with_usual(asked.probes),
            **_shared(asked),
        )
        return study if asked.budget is not None else study.with_default_budget()

    @classmethod
    def of_one(cls, asked: options.Train) -> "Compare":
        """Returns the study that ``gantlet train`` asks for."""
        study = cls(
            models=(asked.model,),
            seeds=1,
            metrics=(),
            first_seed=asked.seed,
            command="train",
            **_shared(asked),
        )
        return study if asked.budget is not None else study.with_default_budget()

    def with_default_budget(self) -> Self:
        """Returns the study with the budget that suits its data, unless a time limits it."""
        if self.time is not None:
            return self
        space = self._space()
        return replace(self, budget=options.default_budget(space.kind, space.size))

    def _check(self) -> None:
        if not self.line_up:
            raise UserError(
                "Name at least one model, such as gan or flow:layers=4: "
                f"{self._space().kind} data has no line-up of its own."
            )
        check_fields(self)
        options.check_averaging(self.ema, self.average_from, self.average_every)
        if not self.budget.is_limited and self.time is None:
            raise UserError("Give a budget: flops, examples, steps or seconds.")
        self._check_engine()
        check_metrics(self._spec(REAL, "none"), self.loaded)
        self._check_features()
        reasons = [self._cannot(model) for model in self.line_up]
        if None not in reasons:
            raise UserError(str(reasons[0]))

    def _about_models(self) -> tuple[str, ...]:
        """Says which models are compared where none was named."""
        if self.models:
            return ()
        kind, named = self._space().kind, ", ".join(self.line_up)
        return (f"no model was named: the line-up for {kind} data is {named}",)

    def _check_engine(self) -> None:
        if self.async_engine == "ray":
            if not self.asynchronous:
                raise UserError("--async-engine ray needs a number of workers, such as --async 2.")
            ray()

    def _cannot(self, model: str) -> str | None:
        """Returns why a family cannot be trained on the data; its trial fails, the others go on.

        Raises:
            UserError: If the model or its solver cannot be made at all.
        """
        data = datasets.resolve(self.data)
        solver = self._solver_of(model)
        family = families.make(model)
        space, _ = self.loaded.load(data, self.data_seed)
        try:
            if isinstance(family, Selective):
                family.check_space(space)
            if not isinstance(family, Family):
                return None
            game = family.build(space, rng=Rng(0, "cpu"))
        except UserError as error:
            return str(error)
        made = solvers.make(solver)
        if self.asynchronous:
            check_async(made, solvers.short(solver), game)
        made.start(game)
        return None

    def _check_features(self) -> None:
        shared = self._spec(REAL, "none")
        check_ranking_features(self.features)
        for extractor in shared.features:
            if not extractors.make(extractor).learns:
                self.loaded.features(shared.data, self.data_seed, extractor, self.device)

    def _solver_of(self, model: str) -> str:
        family = families.make(model)
        if not isinstance(family, Family):
            return "none"
        if self.solver != "auto":
            return solvers.resolve(self.solver)
        return at_once(family.solver) if self.asynchronous else solvers.resolve(family.solver)

    def _spec(self, model: str, solver: str) -> ComparisonTrial:
        """Returns the trial of a model without budget and seed."""
        data = datasets.resolve(self.data)
        seen = self.features or self._default_features(datasets.make(data), data)
        measured = _with(self.metrics or (*METRICS, *self._domain().metrics), "energy")
        return ComparisonTrial(
            model=model,
            training=self._training(model, solver),
            data=data,
            data_seed=self.data_seed,
            metrics=tuple(metrics.resolve(m) for m in measured),
            features=tuple(extractors.resolve(f) for f in self._seen(seen)),
            probes=tuple(probes.resolve(p) for p in self._probes()),
            samples=self._samples(data),
            threads=self.threads,
            device=self.device,
        )

    def _seen(self, chosen: tuple[str, ...]) -> tuple[str, ...]:
        """Returns the extractors, with plain numbers where distances of them say something."""
        return _with(chosen, "pixels") if self._domain().is_metric else chosen

    def _probes(self) -> tuple[str, ...]:
        """Returns the probes; where no model was named with those of the kind of data."""
        usual = () if self.models else (TRADE_OFF, *self._domain().probes)
        named = {probe.partition(":")[0] for probe in self.probes}
        return (*self.probes, *(probe for probe in usual if probe not in named))

    def _own_batches(self) -> dict[str, list[int]]:
        """Returns the batches of all models, where one differs from what all share."""
        batches = [self._batch(model) for model in self.line_up]
        return {"batches": batches} if set(batches) != {self._batch(REAL)} else {}

    def _batch(self, model: str) -> int:
        """Returns the batch of a model: the one that is asked for, or that of its family."""
        if self.batch is not None or model == REAL:
            return self.batch or BATCH
        return default_batch(families.make(model), self._space())

    def _training(self, model: str, solver: str) -> Training:
        return Training(
            solver=solver,
            batch=self._batch(model),
            patience=self.patience,
            select=self.select,
            snapshots=self.snapshots,
            ema=self.ema,
            average_from=self.average_from,
            average_every=self.average_every,
            asynchronous=self.asynchronous,
            async_engine=self.async_engine,
            monitors=resolved_monitors(self.monitors),
            precision=self.precision,
        )

    def _samples(self, data: str) -> int:
        space, splits = self.loaded.load(data, self.data_seed)
        return min(self.samples, len(splits.test), max(_LEAST, _NUMBERS // space.size))

    def _space(self) -> Space:
        return self.loaded.load(datasets.resolve(self.data), self.data_seed)[0]

    def _domain(self) -> Domain:
        return domain_of(self._space())

    def _default_features(self, dataset: Dataset, data: str) -> tuple[str, ...]:
        code = dataset.code() if isinstance(dataset, Encoded) else None
        space, splits = self.loaded.load(data, self.data_seed)
        return default_features(space, code, labelled=splits.train.labels is not None)[:1]


def _shared(asked: options.Training) -> dict[str, Any]:
    """Returns the settings that are called the same in options and study."""
    names = ("data", "solver", "batch", "samples", "select", "patience", "snapshots", "data_seed")
    average = ("ema", "average_from", "average_every")
    ways = ("asynchronous", "async_engine", "precision", "threads", "device")
    found = {name: getattr(asked, name) for name in (*names, *average, *ways)}
    seconds = None if asked.time is None else check_duration("time", asked.time)
    budget = asked.budget or Budget()
    return {**found, "budget": budget, "time": seconds, "monitors": tuple(asked.monitors)}


def with_usual(probes: Sequence[str]) -> tuple[str, ...]:
    """Returns the usual probes and ``probes``, which take the place of those of the same name.

    Example:
        >>> with_usual(["ais", "likelihood:most=9"])
        ('parameters', 'sampling', 'inverse', 'ais', 'likelihood:most=9')
    """
    named = {probe.partition(":")[0] for probe in probes}
    return (*(probe for probe in PROBES if probe not in named), *probes)


def at_once(solver: str) -> str:
    """Returns a solver whose players move at once, in written form, where it lets them choose.

    Example:
        >>> at_once("sgd:lr=0.1")
        'sgd:lr=0.1,momentum=0.0,clip=none,steps=1,mode=simultaneous'
    """
    spec = Spec.parse(solvers.resolve(solver))
    if "mode" not in spec.options:
        return str(spec)
    return str(Spec(spec.name, {**spec.options, "mode": "simultaneous"}))


def _with(components: tuple[str, ...], name: str) -> tuple[str, ...]:
    """Returns components with one called ``name`` among them."""
    has = any(c.partition(":")[0] == name for c in components)
    return components if has else (name, *components)
