"""The trials of the study: a GAN is trained, and attacked at several moments.

The training set is dealt out: one part is what the GAN sees, the other what fresh critics see.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import final

import torch
from torch import Tensor, nn

from gantlet.compute.machine import Stopwatch, threads
from gantlet.compute.meters import count
from gantlet.core.data import InMemory, KnownDensity, all_samples
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate, Outcome, Spend, Trial
from gantlet.core.model import Play
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families, solvers
from gantlet.games.accident import (
    DIRECTIONS,
    USUAL,
    Accident,
    Moves,
    Reality,
    Way,
    accident,
)
from gantlet.games.attack import Goal, Nearest, median_distance, minimal, scores_of
from gantlet.games.fresh import FreshCritics, train_critics
from gantlet.games.mixed import ZeroSumGame, duality_gap
from gantlet.models.gan import Gan, energy_distance
from gantlet.models.robust import CriticEnsemble
from gantlet.research.adversarial.arms import WAYS, AdversarialTrial
from gantlet.run.averaging import Average, Averaging
from gantlet.run.execute import Watch
from gantlet.run.train import Batches, DivergedError
from gantlet.run.trials import RunData
from gantlet.stats.intervals import mean

# The share of the training samples that a GAN sees; fresh critics see the others.
_SEEN = 0.4
# Training samples that are used at most.
_MOST = 20_000
# Samples from which a game is prepared, as in ordinary training.
_PREPARE = 512
# Fakes that fresh critics are trained on.
_FAKES = 1_000


def judge(family: Gan) -> Gan:
    """Returns the GAN whose critics are fresh critics: the same for all arms of a data set."""
    shape = Gan(latent=family.latent, width=family.width, depth=family.depth, net=family.net)
    return replace(shape, loss="ns", penalty="r1", gamma=1.0)


# ----------------------------------------------------------------------------
# Names of scores.
# ----------------------------------------------------------------------------

TO_REAL = "distance to real, L2"
TO_REAL_LARGEST = "distance to real, Linf"
TO_FAKE = "distance to fake, L2"
NEAREST = "distance to the nearest real sample"
LENGTH = "length of an update"
CALLED_REAL = "fakes called real"
COSINE = "cosine on the batch"
HELD_COSINE = "cosine on other latents"
KERNEL = "cosine with the kernel prediction"
EFFICIENCY = "efficiency"
SHARE = "accident share"
KIN = "fresh critics of the same kind"
QUALITY = "energy distance"
GAP = "duality gap"
DENSITY = "log-density of samples"


def transfer_of(direction: str) -> str:
    """Returns the name of the transfer of a direction."""
    return f"transfer of {direction}"


def worth_of(direction: str) -> str:
    """Returns the name of what a direction is worth."""
    return f"worth of {direction}"


def at(what: str, stage: float = 1.0, way: str = "") -> str:
    """Returns the name of a score.

    Args:
        what: What is measured.
        stage: After which share of the training.
        way: How the generator moved, where not as usual.

    Example:
        >>> at(SHARE), at(SHARE, 0.2), at(EFFICIENCY, way="20 steps")
        ('accident share', 'accident share after 20 %', 'efficiency, 20 steps')
    """
    late = "" if stage == 1 else f" after {100 * stage:.0f} %"
    return f"{what}{f', {way}' if way else ''}{late}"


# ----------------------------------------------------------------------------
# Training, with a look now and then.
# ----------------------------------------------------------------------------


def run_trial(written: Trial, data: RunData, watch: Watch) -> Outcome:
    """Trains the GAN of a trial and attacks it.

    Raises:
        UserError: If the model is not ``gan``.
        DivergedError: If a loss is not finite.
    """
    trial = AdversarialTrial.of(written)
    with threads(trial.threads), Stopwatch() as clock:
        training = _Training(trial, data)
        scores = dict[str, Estimate]()
        for stage in trial.stages:
            training.go_on(round(stage * trial.steps), watch)
            watch(0.5 * stage, f"attacking after {100 * stage:.0f} % of the training")
            scores |= training.look(stage)
        watch(0.9, "judging the generator")
        scores |= training.judged()
    seconds = Estimate(value=clock.usage.cpu, unit="s", method="one run, this machine")
    return Outcome(trial=written, spend=training.spend, scores=scores, clock={"CPU time": seconds})


@final
class _Training:
    """A GAN in training."""

    def __init__(self, trial: AdversarialTrial, data: RunData) -> None:
        self._trial = trial
        self._rng = rng = Rng(trial.seed, trial.device)
        self._family = _gan(trial.model)
        space, splits = data.of(trial)
        train = all_samples(splits.train, _MOST).to(rng.device)
        seen = round(_SEEN * len(train))
        self._seen, self._unseen = train[:seen], train[seen:]
        self._test = all_samples(splits.test, trial.probe.judged).to(rng.device)
        self._game = self._family.build(space, rng=rng)
        self._game.prepare(self._seen[:_PREPARE], rng=rng.stream("prepare"))
        self._play: Play = solvers.make(trial.solver).start(self._game)
        self._average = Average(self._game.model, Averaging(decay=self._family.ema))
        self._batches = Batches(InMemory(self._seen.cpu()), rng=rng)
        self._noise = rng.stream("noise")
        self._cost = 0.0
        self.spend = Spend()

    def go_on(self, until: int, watch: Watch) -> None:
        """Trains up to a step."""
        while self.spend.steps < until:
            self._step()
            if self.spend.steps % 50 == 0:
                share = self.spend.steps / self._trial.steps
                watch(0.5 * share, f"training, step {self.spend.steps}")

    def _step(self) -> None:
        n = self._trial.batch * self._play.batches
        losses: dict[str, float] = {}

        def one() -> None:
            losses.update(self._play.step(self._batches.next(n), rng=self._noise))
            self._game.advance(rng=self._noise)
            self._average.update()

        if self.spend.steps:
            one()
        else:
            self._cost = count(one).flops
        self.spend += Spend(flops=self._cost, examples=n, steps=1)
        for name, loss in losses.items():
            if not math.isfinite(loss):
                raise DivergedError(
                    f"diverged at step {self.spend.steps}: the loss of {name} is {loss}"
                )

    # ------------------------------------------------------------------------
    # One moment: distances, and what updates are worth.
    # ------------------------------------------------------------------------

    def look(self, stage: float) -> dict[str, Estimate]:
        """Returns what is measured at this moment; training goes on as if nothing happened."""
        rng, probe = self._rng, self._trial.probe
        moves = self._moves(stage)
        with torch.no_grad():
            z = self._game.model.prior(_FAKES, rng=rng.stream(f"fakes/{stage}"))
            fakes = self._game.model.decode(z)
        fresh = self._fresh(fakes, judge(self._family), f"judges/{stage}")
        usual = self._measured(moves, fresh, updates=probe.updates, stream=f"usual/{stage}")
        scores = _of_updates(usual)
        scores |= self._distances(moves, fakes / moves.scale, whole=stage == 1)
        if self._trial.ablated and stage == 1:
            scores |= self._ablated(moves, fresh)
            scores |= self._of_kin(moves, fakes)
        return {at(name, stage): e for name, e in scores.items()}

    def _ablated(self, moves: Moves, fresh: FreshCritics) -> dict[str, Estimate]:
        """Returns the scores of updates that are made in other ways."""
        updates, scores = self._trial.probe.ablated_updates, dict[str, Estimate]()
        for name, way in WAYS.items():
            found = self._measured(moves, fresh, updates=updates, stream=name, way=way)
            scores |= _of_way(found, name)
        return scores

    def _of_kin(self, moves: Moves, fakes: Tensor) -> dict[str, Estimate]:
        """Returns what fresh critics say that are trained as the GAN's own critic is."""
        kin = self._fresh(fakes, self._family, "kin")
        updates = self._trial.probe.updates // 2
        found = self._measured(moves, kin, updates=updates, stream="kin")
        return {
            at(SHARE, way=KIN): found.share(),
            at(transfer_of("attack"), way=KIN): found.transfer("attack"),
            at(transfer_of("update"), way=KIN): found.transfer("update"),
        }

    def _moves(self, stage: float) -> Moves:
        model, probe = self._game.model, self._trial.probe
        held_out = model.prior(probe.held_out, rng=self._rng.stream(f"held out/{stage}"))
        return Moves(
            self._game,
            solvers.make(self._trial.solver),
            held_out=held_out,
            memory=self._play.state_dict(),
            scale=model.scaling.scale,
        )

    def _fresh(self, fakes: Tensor, family: Gan, name: str) -> FreshCritics:
        """Returns critics of other seeds, trained on real samples that the GAN has not seen."""
        probe = self._trial.probe
        space = self._game.model.space
        made = [
            family.build(space, rng=Rng(_other(self._trial.seed, k), self._trial.device))
            for k in range(probe.critics)
        ]
        return train_critics(
            [_single(game.net) for game in made],
            self._unseen,
            fakes,
            rules=made[0].rules,
            see=self._see,
            rng=self._rng.stream(name),
            steps=probe.critic_steps,
            batch=probe.critic_batch,
        )

    def _see(self, x: Tensor, rng: torch.Generator | None) -> Tensor:
        scaling = self._game.model.scaling
        if rng is not None:
            return scaling.noisy(x, rng=rng)
        seen: Tensor = scaling(x + self._game.model.middle)
        return seen

    def _measured(
        self,
        moves: Moves,
        fresh: FreshCritics,
        *,
        updates: int,
        stream: str,
        way: Way = USUAL,
    ) -> Accident:
        rng = self._rng.stream(f"updates/{stream}")
        return accident(
            moves,
            self._drawn(moves.batches, self._rng.stream(f"batches/{stream}")),
            fresh,
            self._reality(moves.scale),
            updates=updates,
            rng=rng,
            way=way,
            steps=self._trial.probe.attack_steps,
        )

    def _drawn(self, batches: int, rng: torch.Generator) -> Iterator[Tensor]:
        n = self._trial.batch * batches
        while True:
            index = torch.randint(len(self._seen), (n,), generator=rng, device=rng.device)
            yield self._seen[index]

    def _reality(self, scale: float | Tensor) -> Reality:
        real = self._test[: self._trial.probe.real] / scale
        density = self._log_density()
        if density is None:
            return Reality(real=real)
        return Reality(real=real, log_density=lambda x: density(x * scale))

    def _log_density(self) -> Callable[[Tensor], Tensor] | None:
        data = datasets.make(self._trial.data)
        return data.log_density if isinstance(data, KnownDensity) else None

    def _distances(self, moves: Moves, fakes: Tensor, *, whole: bool) -> dict[str, Estimate]:
        """Returns how far fakes are from looking real, and real ones from looking fake."""
        probe = self._trial.probe
        some, real = fakes[: probe.samples], self._test[: probe.samples] / moves.scale
        called = scores_of(moves.score, fakes) > 0
        known = torch.cat([self._seen, self._unseen]) / moves.scale
        apart = torch.cdist(some.flatten(1), known.flatten(1)).min(1).values
        scores = {
            TO_REAL: self._nearest(moves, some, Goal()),
            NEAREST: median_distance(apart),
            CALLED_REAL: Estimate(
                value=float(called.float().mean()),
                n=len(called),
                method=f"share of {len(called)} fakes, one generator: no interval",
            ),
        }
        if whole:
            scores[TO_REAL_LARGEST] = self._nearest(moves, some, Goal(), norm=math.inf)
            scores[TO_FAKE] = self._nearest(moves, real, Goal(towards="fake"))
        return scores

    def _nearest(self, moves: Moves, x: Tensor, goal: Goal, norm: float = 2.0) -> Estimate:
        """Returns the median distance of the samples that are not past the threshold already."""
        probe = self._trial.probe
        short = x[goal.gap(scores_of(moves.score, x)) > 0]
        if len(short) == 0:
            return Estimate.missing("all of them are on the other side already")
        found: Nearest = minimal(
            moves.score,
            short,
            goal,
            norm=norm,
            steps=probe.attack_steps,
            bisections=probe.bisections,
        )
        return median_distance(found.distance)

    # ------------------------------------------------------------------------
    # The end: how good the generator is.
    # ------------------------------------------------------------------------

    @torch.no_grad()
    def judged(self) -> dict[str, Estimate]:
        """Returns the quality of the averaged generator, and the duality gap of the players."""
        probe, model = self._trial.probe, self._game.model
        with self._average.applied():
            made = model.sample(probe.judged, rng=self._rng.stream("judged"))
        scale = model.scaling.scale
        apart = float(energy_distance(made / scale, self._test / scale))
        once = f"{len(made):,} samples, {len(self._test):,} of the test set; one training"
        scores = {QUALITY: Estimate(value=apart, n=1, better="lower", method=once)}
        density = self._log_density()
        if density is not None:
            level = float(density(made).mean())
            scores[DENSITY] = Estimate(value=level, n=1, unit="nats", better="higher", method=once)
        with torch.enable_grad():
            scores[GAP] = duality_gap(
                ZeroSumGame(self._game),
                self._seen,
                self._test[:256],
                steps=probe.response,
                rng=self._rng,
                batch=64,
            )
        return scores


def _gan(model: str) -> Gan:
    made = families.make(model)
    if not isinstance(made, Gan):
        raise UserError(f"The study attacks critics of gan. Got {model}.")
    return made


def _single(net: nn.Module) -> nn.Module:
    """Returns a critic, or the first of several."""
    return net.members[0] if isinstance(net, CriticEnsemble) else net


def _other(seed: int, k: int) -> int:
    """Returns the seed of a fresh critic, which no training has."""
    return 1_000_000 + 1_000 * seed + k


# ----------------------------------------------------------------------------
# Scores of updates.
# ----------------------------------------------------------------------------


def _over(values: Tensor) -> Estimate:
    return mean(values.tolist(), of="updates")


def _of_updates(found: Accident) -> dict[str, Estimate]:
    """Returns the scores of updates, those of every direction."""
    scores = {
        SHARE: found.share(),
        EFFICIENCY: found.efficiency(),
        COSINE: _over(found.cosine),
        HELD_COSINE: _over(found.held_cosine),
        KERNEL: _over(found.kernel),
        LENGTH: _over(found.length),
    }
    for direction in DIRECTIONS:
        scores[worth_of(direction)] = _over(found.worth[direction])
        if direction != "random":
            scores[transfer_of(direction)] = found.transfer(direction)
    return scores


def _of_way(found: Accident, way: str) -> dict[str, Estimate]:
    """Returns the scores of updates that were made in another way."""
    return {
        at(SHARE, way=way): found.share(),
        at(transfer_of("update"), way=way): found.transfer("update"),
        at(EFFICIENCY, way=way): found.efficiency(),
        at(LENGTH, way=way): _over(found.length),
        at(worth_of("update"), way=way): _over(found.worth["update"]),
    }
