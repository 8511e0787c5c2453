"""The trials of the study of annealing: flows, noise widths, temperatures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

import torch
from torch import Tensor

from gantlet.commands.trained import Training, build
from gantlet.compute.machine import threads
from gantlet.core.data import Splits, all_samples
from gantlet.core.errors import UserError
from gantlet.core.estimate import Better, Budget, Estimate, Outcome, Trial
from gantlet.core.model import Family, Model
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families, solvers
from gantlet.probes.ais import spread
from gantlet.probes.annealing import Annealer, FlatDecoder, GaussianNoise, decoding_of, simulate
from gantlet.run.execute import Watch
from gantlet.run.store import TrialFolder
from gantlet.run.trials import RunData, TypedTrial
from gantlet.stats.intervals import mean

Size = Literal["small", "full"]

PLANE = "energy:index=4,held_out=2000"
"""Points of the plane, where noise can be integrated over by simple Monte Carlo."""

LIKELIHOOD = "flow:layers=4,width=64"
ADVERSARIAL = "flow-gan:weight=0,layers=4,width=64"
"""The same flow, trained by maximum likelihood and against a critic alone."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class AnnealingGrid:
    """At what a trained flow is annealed.

    Attributes:
        sigmas: Widths of the noise, in standard deviations of the data.
        temperatures: Numbers of temperatures.
        chains: Chains of each sample.
        tuning: Validation samples, on which the width is chosen.
        points: Test samples that are judged.
        simulated: Samples that the model draws itself, for each width.
        draws: Draws of the noise with which a smoothed density is integrated, or 0.
    """

    sigmas: tuple[float, ...]
    temperatures: tuple[int, ...]
    chains: int
    tuning: int
    points: int
    simulated: int
    draws: int = 0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DataPart:
    """One data set.

    Attributes:
        models: The flows.
        flops: What each may spend in training.
        grid: At what they are annealed.
    """

    models: tuple[str, ...]
    flops: float
    grid: AnnealingGrid


_PLANE = AnnealingGrid(
    sigmas=(0.005, 0.02, 0.1, 0.4),
    temperatures=(100, 1000, 10_000),
    chains=2,
    tuning=8,
    points=32,
    simulated=16,
    draws=16_384,
)
_IMAGES = AnnealingGrid(
    sigmas=(0.02, 0.05, 0.2, 0.5),
    temperatures=(100, 1000),
    chains=2,
    tuning=8,
    points=16,
    simulated=8,
)
_SCALES: Mapping[Size, tuple[DataPart, DataPart]] = {
    "small": (
        DataPart(models=("flow:layers=4,width=16,depth=1",), flops=6e8, grid=_PLANE),
        DataPart(models=(LIKELIHOOD, ADVERSARIAL), flops=6e10, grid=_IMAGES),
    ),
    "full": (
        DataPart(
            models=("flow:layers=8,width=64", "flow:coupling=spline,layers=4,width=32"),
            flops=1e11,
            grid=replace(_PLANE, chains=8, tuning=32, points=128, simulated=64),
        ),
        DataPart(
            models=("flow", "flow-gan:weight=0"),
            flops=1e12,
            grid=replace(
                _IMAGES,
                temperatures=(100, 1000, 10_000),
                chains=8,
                tuning=32,
                points=128,
                simulated=32,
            ),
        ),
    ),
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class AnnealingTrial(TypedTrial):
    """One flow that is trained and annealed.

    Attributes:
        model: The flow in written form with all defaults.
        training: How it is trained.
        data: The data set in written form.
        data_seed: Seed of the train/validation/test split.
        grid: At what it is annealed.
        threads: Threads of the trial.
        device: Where it is trained and annealed.
        budget: What training may spend.
        seed: From which every random number follows.
    """

    model: str
    training: Training
    data: str
    data_seed: int
    grid: AnnealingGrid
    threads: int
    device: str
    budget: Budget
    seed: int


def parts(size: Size, data: str) -> dict[str, DataPart]:
    """Returns the parts of the study: on the plane, and on ``data``."""
    plane, images = _SCALES[size]
    return {PLANE: plane, data: images}


def trials(
    asked: Mapping[str, DataPart], *, seeds: int, data_seed: int, threads: int, device: str
) -> Sequence[Trial]:
    """Lists one trial for each flow and seed.

    Raises:
        UserError: If a flow cannot be built or the data cannot be found.
    """
    if seeds < 1:
        raise UserError(f"seeds must be at least 1. Got {seeds}.")
    return [
        AnnealingTrial(
            model=families.resolve(model),
            training=_training(model),
            data=datasets.resolve(where),
            data_seed=data_seed,
            grid=part.grid,
            threads=threads,
            device=device,
            budget=Budget(flops=part.flops),
            seed=seed,
        ).written()
        for where, part in asked.items()
        for model in part.models
        for seed in range(seeds)
    ]


def _training(model: str) -> Training:
    family = families.make(model)
    if not isinstance(family, Family):
        raise UserError(f"{model} is fitted, not trained: the study needs a flow.")
    return Training(solver=solvers.resolve(family.solver), batch=128, patience=None, select="last")


EXACT = "exact log-likelihood"
TUNING = "AIS log-likelihood, validation"
AIS = "AIS log-likelihood"
OFF = "AIS minus exact"
SMOOTH = "smoothed minus exact"
SHORT = "smoothed minus AIS"
GAP = "sandwich gap"
ACCEPTANCE = "acceptance"

# Numbers of noise that are held at a time.
_BLOCK = 2**18


def at(what: str, sigma: float, temperatures: int | None = None) -> str:
    """Returns the name of a score.

    Example:
        >>> at(OFF, 0.05, 1000)
        'AIS minus exact (sigma 0.05, 1000 temperatures)'
    """
    more = "" if temperatures is None else f", {temperatures} temperatures"
    return f"{what} (sigma {sigma:g}{more})"


def run_trial(written: Trial, data: RunData, folder: TrialFolder, watch: Watch) -> Outcome:
    """Trains the flow of a trial and anneals it.

    Raises:
        UserError: If the model is not a flow, or cannot be annealed.
    """
    trial = AnnealingTrial.of(written)
    with threads(trial.threads):
        rng = Rng(trial.seed, trial.device)
        built = build(trial, folder, _first_tenth(watch), data=data, rng=rng)
        folder.save("model", built.model.state_dict())
        scores = _measure(_Flow.of(built.model, trial, data.of(trial)[1], rng), watch)
    return Outcome(
        trial=written,
        spend=built.spend,
        scores=built.scores() | scores,
        clock=built.clock(),
        notes=built.notes,
    )


def _first_tenth(watch: Watch) -> Watch:
    """Training is a tenth of a trial."""
    return lambda share, what: watch(0.1 * share, what)


@torch.no_grad()
def _measure(flow: "_Flow", watch: Watch) -> dict[str, Estimate]:
    scores, done = flow.known(), 0
    for temperatures in flow.grid.temperatures:
        share = 0.1 + 0.9 * done / sum(flow.grid.temperatures)
        watch(share, f"annealing through {temperatures} temperatures")
        scores |= flow.anneal(temperatures)
        done += temperatures
    return scores


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Flow:
    """A trained flow, its samples as flat tensors, and what is known of them exactly."""

    decoding: FlatDecoder
    grid: AnnealingGrid
    rng: Rng
    validation: Tensor
    test: Tensor
    unit: Tensor
    exact: Tensor

    @classmethod
    def of(cls, model: Model, trial: AnnealingTrial, splits: Splits, rng: Rng) -> "_Flow":
        decoding = decoding_of(model, dequantised=True)
        fault = (
            "it has no latent vectors"
            if decoding is None
            else decoding.fault(rng=rng.stream("check"))
        )
        if decoding is None or fault is not None:
            raise UserError(f"The study cannot anneal {trial.model}: {fault}.")
        grid = trial.grid
        validation, test = (
            decoding.flat(all_samples(split, n).to(rng.device), rng=rng.stream(name))
            for split, n, name in (
                (splits.validation, None, "validation"),
                (splits.test, grid.points, "test"),
            )
        )
        exact = decoding.exact(test)
        if exact is None:
            raise UserError(f"The study needs an exact density. {trial.model} has none.")
        return cls(
            decoding=decoding,
            grid=grid,
            rng=rng,
            validation=validation[: grid.tuning],
            test=test,
            unit=spread(validation, each=decoding.space.kind != "image"),
            exact=exact,
        )

    def known(self) -> dict[str, Estimate]:
        """Returns the scores without annealing: of the exact density, and of the smoothed one."""
        scores = {EXACT: _mean(self.exact, "change of variables, without noise", "higher")}
        for sigma, smooth in self.smoothed().items():
            method = f"simple Monte Carlo over {self.grid.draws} draws of the noise, paired"
            scores[at(SMOOTH, sigma)] = _mean(smooth - self.exact, method)
        return scores

    def smoothed(self) -> dict[float, Tensor]:
        """Returns ``log p_sigma(x)`` of the test samples by width, where the dimension allows."""
        stream = self.rng.stream("noise of the smoothed density")
        draws = self.grid.draws
        return {
            sigma: smoothed(self.decoding, self.test, sigma * self.unit, draws=draws, rng=stream)
            for sigma in self.grid.sigmas
            if draws
        }

    def anneal(self, temperatures: int) -> dict[str, Estimate]:
        """Returns bounds of all samples at all widths, which are annealed together."""
        how = Annealer(temperatures=temperatures, chains=self.grid.chains)
        drawn = [self._simulated(sigma) for sigma in self.grid.sigmas]
        x = torch.cat([torch.cat([self.validation, self.test, seen]) for _, seen in drawn])
        each = len(x) // len(drawn)
        below = how.lower(
            self.decoding, self._noise(each), x, rng=self.rng.stream(f"lower {temperatures}")
        )
        last = self.grid.simulated
        pace = below.pace.view(-1, len(drawn), each)[:, :, -last:].flatten(1)
        above = how.upper(
            self.decoding,
            self._noise(last),
            torch.cat([seen for _, seen in drawn]),
            torch.cat([z for z, _ in drawn]),
            pace=pace,
            rng=self.rng.stream(f"upper {temperatures}"),
        )
        values = zip(
            self.grid.sigmas,
            below.value.view(len(drawn), -1),
            above.value.view(len(drawn), -1),
            below.acceptance.view(len(drawn), -1),
            strict=True,
        )
        smooth = self.smoothed()
        scores: dict[str, Estimate] = {}
        for sigma, low, high, acceptance in values:
            found = self._scores(low, high, acceptance, smooth.get(sigma))
            scores |= {at(name, sigma, temperatures): e for name, e in found.items()}
        return scores

    def _simulated(self, sigma: float) -> tuple[Tensor, Tensor]:
        stream = self.rng.stream(f"simulated {sigma}")
        return simulate(
            self.decoding, GaussianNoise(sigma * self.unit), self.grid.simulated, rng=stream
        )

    def _noise(self, each: int) -> GaussianNoise:
        """Returns the noise of so many samples at each width, in rows."""
        widths = torch.tensor(self.grid.sigmas, dtype=self.unit.dtype, device=self.unit.device)
        return GaussianNoise(widths.repeat_interleave(each).unsqueeze(1) * self.unit)

    def _scores(
        self, low: Tensor, high: Tensor, acceptance: Tensor, smooth: Tensor | None
    ) -> dict[str, Estimate]:
        tuning, points = self.grid.tuning, len(self.test)
        test = low[tuning : tuning + points]
        summary = f"{self.grid.chains} chains, sigmoid schedule"
        scores = {
            TUNING: _mean(low[:tuning], f"lower bound, {summary}", "higher"),
            AIS: _mean(test, f"lower bound, {summary}", "higher"),
            OFF: _mean(test - self.exact, f"paired, {summary}"),
            GAP: _mean(high - low[tuning + points :], f"simulated samples, {summary}", "lower"),
            ACCEPTANCE: _mean(acceptance, "mean over chains").named(unit="1", better=None),
        }
        if smooth is not None:
            scores[SHORT] = _mean(smooth - test, f"paired, {summary}", "lower")
        return scores


def smoothed(
    decoding: FlatDecoder, x: Tensor, width: Tensor, *, draws: int, rng: torch.Generator
) -> Tensor:
    """Returns ``log p_sigma(x)`` of flat samples by simple Monte Carlo, shape ``(n,)``.

    The density with noise is ``p_sigma(x) = E p(x + sigma e)``, the mean of the flow's exact
    density around ``x``; in two dimensions a few thousand draws suffice.

    Args:
        decoding: A flow's.
        x: The samples, shape ``(n, size)``.
        width: ``sigma``, of each component or of all.
        draws: How many draws of the noise.
        rng: Decides the noise.
    """
    found: list[Tensor] = []
    for one in x:
        noise = torch.randn(draws, len(one), generator=rng, device=x.device, dtype=x.dtype)
        near = torch.split(one + width * noise, _BLOCK // len(one))
        values = [v for part in near if (v := decoding.exact(part)) is not None]
        found.append(torch.cat(values).logsumexp(0) - math.log(draws))
    return torch.stack(found)


def _mean(values: Tensor, method: str, better: Better | None = None) -> Estimate:
    wrong = int((~values.isfinite()).sum())
    if wrong:
        why = f"{wrong} of {len(values)} samples are not finite: {method}"
        return Estimate.missing(why, unit="nats", better=better)
    found = mean(values.double().tolist(), unit="nats", better=better, of="samples")
    return replace(found, method=f"{method}; {found.method}")
