"""Training towards mixed equilibria, each method with the same operations."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from gantlet.commands.trained import draw
from gantlet.compute.meters import count
from gantlet.core.data import Splits, all_samples
from gantlet.core.estimate import Budget, Estimate, Outcome, Spend, Trial
from gantlet.core.model import Adversarial, Family, Generative, Model
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families, solvers
from gantlet.games.equilibria import RepeatedPlay as Rounds
from gantlet.games.equilibria import Round, double_oracle, fictitious_play, hedge
from gantlet.games.mixed import (
    CRITIC,
    GENERATOR,
    GeneratorMixture,
    Mixed,
    NetworkOracles,
    State,
    kept,
    mixed_gap,
    payoffs,
    respond,
    state_of,
    tournament,
)
from gantlet.metrics.kernel import Energy
from gantlet.models.gan import energy_distance
from gantlet.research.convergence.strategy import Size, StrategyTrial
from gantlet.run.execute import Watch
from gantlet.run.store import TrialFolder
from gantlet.run.train import Plan, Snapshots, train
from gantlet.run.trials import RunData, space_of

Method = Literal[
    "plain",
    "without penalty",
    "near past",
    "far past",
    "langevin",
    "mix-gan",
    "double oracle",
    "matrix games",
]

PLAIN: Method = "plain"
LOOSE: Method = "without penalty"
NEAR: Method = "near past"
FAR: Method = "far past"
LANGEVIN: Method = "langevin"
ORACLE: Method = "double oracle"
MATRIX: Method = "matrix games"

_SIZE = "latent=8,width=32,depth=2,loss=ns"
_NETS = f"{_SIZE},penalty=r1,gamma=0.1"
_ADAM = "adam:lr=0.001,beta1=0.0,beta2=0.99"
_TRAINED: dict[Method, tuple[str, str]] = {
    PLAIN: (f"gan:{_NETS}", _ADAM),
    LOOSE: (f"gan:{_SIZE},penalty=none", _ADAM),
    NEAR: (f"gan:{_NETS}", "history:last=5,every=1"),
    FAR: (f"gan:{_NETS}", "history:last=10,every=50"),
    LANGEVIN: (f"gan:{_NETS}", "langevin:inner=2,temperature=1e-9"),
    "mix-gan": (f"mix-gan:k=3,{_NETS}", _ADAM),
    ORACLE: (f"gan:{_NETS}", _ADAM),
}

GAN = _TRAINED[PLAIN][0]
"""The two networks that every method trains, one pair or several."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class EquilibriumSize:
    """How large everything is.

    Attributes:
        flops: What each method may spend on training and on choosing its mixture.
        shares: At which shares of the budget methods are judged.
        snapshots: How many snapshots of a training there are.
        response: Steps of a best response in the double oracle.
        search: Steps of the best responses that judge; the same for all.
        judged: Held-out samples on which a method chooses.
        batch: Samples in one batch of a judge.
        rounds: Rounds of the matrix game.
    """

    flops: float
    shares: tuple[float, ...] = (0.25, 0.5, 1.0)
    snapshots: int = 20
    response: int = 100
    search: int = 150
    judged: int = 512
    batch: int = 250
    rounds: tuple[int, ...] = (100, 1000, 10_000)


_SCALES: dict[Size, tuple[EquilibriumSize, int]] = {
    "small": (EquilibriumSize(flops=1e10), 3),
    "full": (EquilibriumSize(flops=1e11, response=300, search=1000), 10),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodTrial(StrategyTrial):
    """One method; as it is, that of the matrix game.

    Attributes:
        approach: How mixed strategies are found; the part ``method`` of a run folder.
        scale: How large everything is.
    """

    PARTS: ClassVar[Mapping[str, str]] = {"approach": "method"}

    strategy: str = "equilibria"
    model: str = "matching pennies"
    data: str = "none"
    approach: Method = MATRIX
    scale: EquilibriumSize


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedTrial(MethodTrial):
    """One method that trains networks, with one seed.

    Attributes:
        solver: How the players move, in written form.
        data_seed: Seed of the train/validation/test split.
        budget: What the method may spend.
        seed: From which every random number follows.
    """

    solver: str
    data_seed: int = 0
    budget: Budget
    seed: int


def trials(size: Size) -> Sequence[MethodTrial]:
    """Lists one trial for each method and seed, and one of a matrix game."""
    scale, seeds = _SCALES[size]
    return [
        MethodTrial(scale=scale),
        *(_trained(method, scale, seed) for seed in range(seeds) for method in _TRAINED),
    ]


def _trained(method: Method, scale: EquilibriumSize, seed: int) -> TrainedTrial:
    model, solver = _TRAINED[method]
    return TrainedTrial(
        model=families.resolve(model),
        solver=solvers.resolve(solver),
        data=datasets.resolve("ring"),
        approach=method,
        scale=scale,
        budget=Budget(flops=scale.flops),
        seed=seed,
    )


# ----------------------------------------------------------------------------
# What each method offers as its mixed strategies after a share of the budget.
# ----------------------------------------------------------------------------

LAST = "last iterate"
AVERAGE = "average of weights"
BEST = "best checkpoint"
UNIFORM = "uniform mixture of checkpoints"
SOLVED = "equilibrium of checkpoints"
NEAR_LAST, NEAR_MIXED = "last against the near past", "mixture against the near past"
FAR_LAST, FAR_MIXED = "last against the far past", "mixture against the far past"
LANGEVIN_ARM = "mixture of Langevin dynamics"
MIX = "MIX+GAN"
ORACLE_ARM = "double oracle"
ARMS = (
    LAST,
    AVERAGE,
    BEST,
    UNIFORM,
    SOLVED,
    NEAR_LAST,
    NEAR_MIXED,
    FAR_LAST,
    FAR_MIXED,
    LANGEVIN_ARM,
    MIX,
    ORACLE_ARM,
)
"""All that is compared, in the order of tables; the others are held to the first."""


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Offer:
    """Mixed strategies, and what finding them took.

    Attributes:
        arm: What found them.
        share: With which share of the budget.
        mixed: The strategies.
        flops: Operations spent until then, choosing included.
        held: Networks that had to be kept on the way.
        responses: Best responses that were searched for.
    """

    arm: str
    share: float
    mixed: Mixed
    flops: float
    held: int
    responses: int = 0


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SnapshotCourse:
    """A training of one generator and one critic, as its snapshots.

    Attributes:
        game: Whose players take stored weights.
        snapshots: The saved tensors, in order.
        scale: How large everything is.
        splits: The data; choices look at its validation split.
        rng: Its streams decide noise.
    """

    game: Adversarial
    snapshots: Sequence[Mapping[str, Tensor]]
    scale: EquilibriumSize
    splits: Splits
    rng: Rng

    def plain(self) -> Iterator[Offer]:
        """Yields what can be made of the snapshots of plain training."""
        for share in self.scale.shares:
            n = self._until(share)
            spent = share * self.scale.flops
            yield self._offer(LAST, share, self._mixed([n - 1]), spent, 2)
            last = Mixed.pure(below(self.snapshots[n - 1], "model/"), self._critic(n - 1))
            yield self._offer(AVERAGE, share, last, spent, 3)
            yield self.uniform(UNIFORM, share)
            yield self._best(share)
            yield self._solved(share)

    def last(self, arm: str, share: float, held: int) -> Offer:
        """Returns the present generator against the present critic."""
        mixed = self._mixed([self._until(share) - 1])
        return self._offer(arm, share, mixed, share * self.scale.flops, held)

    def uniform(self, arm: str, share: float) -> Offer:
        """Returns the second half of the snapshots so far, with equal weights."""
        n = self._until(share)
        mixed = self._mixed(range(n // 2, n))
        return self._offer(arm, share, mixed, share * self.scale.flops, mixed.networks)

    def _best(self, share: float) -> Offer:
        """Returns the generator nearest to validation samples, and the critic of then."""
        price = count(lambda: self._distance(0)).flops
        n = self._affordable(share, lambda n: n * price)
        best = min(range(n), key=self._distance)
        return self._offer(BEST, share, self._mixed([best]), self._spent(n) + n * price, 4)

    def _solved(self, share: float) -> Offer:
        """Returns the equilibrium among snapshots, by validation samples."""
        x = self._judged()
        one = self._generator(0), self._critic(0)
        price = count(lambda: payoffs(self.game, one[:1], one[1:], x, rng=self._noise())).flops
        n = self._affordable(share, lambda n: n * n * price)
        nets = [[of(i) for i in range(n)] for of in (self._generator, self._critic)]
        mixed = tournament(self.game, nets[0], nets[1], x, rng=self._noise())
        return self._offer(SOLVED, share, mixed, self._spent(n) + n * n * price, 2 * n)

    def _affordable(self, share: float, price: Callable[[int], float]) -> int:
        """Returns the number of snapshots that fit into the budget, selection included."""
        fits = [
            n
            for n in range(1, self._until(share) + 1)
            if self._spent(n) + price(n) <= share * self.scale.flops
        ]
        return max(fits, default=1)

    def _spent(self, n: int) -> float:
        return n / self.scale.snapshots * self.scale.flops

    def _until(self, share: float) -> int:
        return max(1, min(len(self.snapshots), int(share * self.scale.snapshots)))

    @torch.no_grad()
    def _distance(self, i: int) -> float:
        x = self._judged()
        self.game.players[GENERATOR].load_state_dict(self._generator(i))
        return float(energy_distance(x, self.game.model.sample(len(x), rng=self._noise())))

    def _judged(self) -> Tensor:
        return all_samples(self.splits.validation, self.scale.judged).to(self.rng.device)

    def _noise(self) -> torch.Generator:
        return self.rng.stream("choosing")

    def _mixed(self, which: Sequence[int]) -> Mixed:
        return Mixed.uniform([self._generator(i) for i in which], [self._critic(i) for i in which])

    def _generator(self, i: int) -> State:
        return below(self.snapshots[i], f"players/{GENERATOR}/")

    def _critic(self, i: int) -> State:
        return below(self.snapshots[i], f"players/{CRITIC}/")

    @staticmethod
    def _offer(arm: str, share: float, mixed: Mixed, flops: float, held: int) -> Offer:
        return Offer(arm=arm, share=share, mixed=mixed, flops=flops, held=held)


def below(tensors: Mapping[str, Tensor], prefix: str) -> State:
    """Returns the tensors whose names begin with ``prefix``, under what follows it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def mixtures(snapshots: Sequence[Mapping[str, Tensor]], scale: EquilibriumSize) -> Iterator[Offer]:
    """Yields the mixtures of MIX+GAN from its snapshots."""
    for share in scale.shares:
        saved = snapshots[max(1, min(len(snapshots), int(share * scale.snapshots))) - 1]
        weights = {
            side: below(saved, f"players/{side} weights/")["logits"].double().softmax(0)
            for side in (GENERATOR, CRITIC)
        }
        nets = {
            side: [below(saved, f"players/{side} {i + 1}/") for i in range(len(own))]
            for side, own in weights.items()
        }
        mixed = Mixed(nets[GENERATOR], nets[CRITIC], weights[GENERATOR], weights[CRITIC])
        spent = share * scale.flops
        yield Offer(arm=MIX, share=share, mixed=mixed, flops=spent, held=mixed.networks)


_LR = 1e-3
_BATCH = 128


def oracle(
    game: Adversarial,
    splits: Splits,
    scale: EquilibriumSize,
    *,
    rng: Rng,
    watch: Callable[[float], None],
) -> Iterator[Offer]:
    """Yields the equilibrium of the networks known at each share of the budget.

    Args:
        game: Untrained; its players are the first strategies.
        splits: The data: best responses learn from its train split, payoffs are of validation.
        scale: How large everything is.
        rng: Its streams decide everything random.
        watch: Told the spent share of the budget after each round.
    """
    train = all_samples(splits.train).to(rng.device)
    with torch.no_grad():
        game.prepare(train[:512], rng=rng.stream("prepare"))
    stage = NetworkOracles(
        game,
        train,
        all_samples(splits.validation, scale.judged).to(rng.device),
        steps=scale.response,
        lr=_LR,
        rng=rng,
        batch=_BATCH,
    )
    first = {name: state_of(player) for name, player in game.players.items()}
    response, payoff = _prices(game, stage, train, rng)
    spent, known = payoff, list[tuple[float, Round[State, State]]]()
    for found in double_oracle(stage, [first[GENERATOR]], [first[CRITIC]]):
        known.append((spent, found))
        spent += scale.response * response + (2 * len(found.rows) + 1) * payoff
        watch(min(1.0, spent / scale.flops))
        if spent > scale.flops:
            break
    for share in scale.shares:
        before, found = [k for k in known if k[0] <= share * scale.flops][-1]
        yield Offer(
            arm=ORACLE_ARM,
            share=share,
            mixed=Mixed.solved(found.rows, found.columns, found.equilibrium),
            flops=before,
            held=2 * len(found.rows),
            responses=2 * (len(found.rows) - 1),
        )


def _prices(
    game: Adversarial, stage: NetworkOracles, train: Tensor, rng: Rng
) -> tuple[float, float]:
    """Returns the operations of one step of both best responses, and of one payoff."""
    nets = game.players
    with kept(nets[GENERATOR]), kept(nets[CRITIC]):
        steps = [count(partial(_step, game, player, train, rng)).flops for player in nets]
    pair = state_of(nets[GENERATOR]), state_of(nets[CRITIC])
    return sum(steps), count(partial(stage.payoff, *pair)).flops


def _step(game: Adversarial, player: str, train: Tensor, rng: Rng) -> None:
    respond(game, player, train, steps=1, lr=_LR, rng=rng, batch=_BATCH)


# ----------------------------------------------------------------------------
# One method with one seed: what it offers, how exploitable that is, and how good its samples.
# ----------------------------------------------------------------------------

GAP = "duality gap"
ENERGY = "energy distance"
NETWORKS = "networks to sample from and play against"
HELD = "networks held on the way"
RESPONSES = "best responses"
FLOPS = "operations"

PENNIES = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
LAST_ROUND, AVERAGE_ROUNDS = "last round", "average of rounds"
PLAYERS = ("fictitious play", "hedge", "optimistic hedge")
_STEP = 0.1
_START = (torch.tensor([0.5, 0.0]), torch.tensor([0.8, 0.0]))


def at(what: str, arm: str, share: float) -> str:
    """Returns the name of a score.

    Example:
        >>> at(GAP, "MIX+GAN", 0.5)
        'duality gap (MIX+GAN, 50% of the budget)'
    """
    return f"{what} ({arm}, {share:.0%} of the budget)"


def run_trial(written: Trial, data: RunData, folder: TrialFolder, watch: Watch) -> Outcome:
    """Trains by one method and judges what it offers."""
    asked = MethodTrial.of(written)
    if asked.approach == MATRIX:
        return Outcome(trial=written, scores=dict(_matrix_gaps(asked.scale)))
    trial = TrainedTrial.of(written)
    offers, spend = _offers(trial, data, folder, watch)
    scores: dict[str, Estimate] = {}
    for i, offer in enumerate(offers):
        watch(0.6 + 0.4 * i / len(offers), f"judging {offer.arm}")
        scores |= _judged(trial, data, offer)
    return Outcome(trial=written, spend=spend, scores=scores)


def _offers(
    trial: TrainedTrial, data: RunData, folder: TrialFolder, watch: Watch
) -> tuple[list[Offer], Spend]:
    scale, rng = trial.scale, Rng(trial.seed, trial.device)
    _, splits = data.of(trial)

    def tell(share: float) -> None:
        watch(0.6 * min(share, 1.0), f"{trial.approach}, training")

    if trial.approach == ORACLE:
        found = list(oracle(_pair(trial), splits, scale, rng=rng, watch=tell))
        steps = found[-1].responses * scale.response
        return found, Spend(flops=found[-1].flops, steps=steps)
    family = families.make(trial.model)
    game = _built(trial, trial.model)
    trained = train(
        game,
        solvers.make(trial.solver),
        splits,
        Plan(
            budget=trial.budget,
            ema=family.ema if isinstance(family, Family) else 0.0,
            validations=2,
            select="last",
        ),
        rng=rng,
        keep=folder,
        snapshots=Snapshots(scale.snapshots, folder.save),
        watch=tell,
    )
    files = sorted(file.stem for file in folder.path.glob("snapshot-*.safetensors"))
    snapshots = [folder.load(name) for name in files]
    course = SnapshotCourse(
        game=_pair(trial), snapshots=snapshots, scale=scale, splits=splits, rng=rng
    )
    return list(_made(trial.approach, course)), trained.spend


def _made(method: str, course: SnapshotCourse) -> Iterator[Offer]:
    shares = course.scale.shares
    if method in {PLAIN, LOOSE}:
        yield from course.plain()
    elif method == NEAR:
        yield from (course.last(NEAR_LAST, share, 10) for share in shares)
        yield from (course.uniform(NEAR_MIXED, share) for share in shares)
    elif method == FAR:
        yield from (course.last(FAR_LAST, share, 20) for share in shares)
        yield from (course.uniform(FAR_MIXED, share) for share in shares)
    elif method == LANGEVIN:
        yield from (course.uniform(LANGEVIN_ARM, share) for share in shares)
    else:
        yield from mixtures(course.snapshots, course.scale)


def _built(trial: TrainedTrial, model: str) -> Generative:
    family = families.make(model)
    if not isinstance(family, Family):
        raise TypeError(f"{model} is not trained")
    return family.build(space_of(trial.data), rng=Rng(trial.seed, trial.device))


def _pair(trial: TrainedTrial) -> Adversarial:
    """Returns one generator and one critic, which can take the weights of every method's."""
    game = _built(trial, GAN)
    if not isinstance(game, Adversarial):
        raise TypeError(f"{GAN} has no critic")
    return game


def _judged(trial: TrainedTrial, data: RunData, offer: Offer) -> dict[str, Estimate]:
    """Returns the scores of an offer on test samples; best responses train on training samples."""
    scale, rng = trial.scale, Rng(trial.seed, trial.device).stream("judge")
    _, splits = data.of(trial)
    judge = Rng(rng.initial_seed(), trial.device)
    test = all_samples(splits.test).to(judge.device)
    game = _pair(trial)
    gap = mixed_gap(
        game,
        offer.mixed,
        all_samples(splits.train).to(judge.device),
        test,
        steps=scale.search,
        rng=judge,
        batch=scale.batch,
    )
    seen = data.features(trial.data, trial.data_seed, "pixels", trial.device)
    fake = draw(_mixture(trial, offer.mixed), len(test), rng=judge.stream("samples"))
    energy = Energy().measure(
        seen.extract(test), seen.extract(fake), rng=judge.stream("distances")
    )
    counted = {
        NETWORKS: Estimate.exact(offer.mixed.networks, unit="networks", better="lower"),
        HELD: Estimate.exact(offer.held, unit="networks", better="lower"),
        RESPONSES: Estimate.exact(offer.responses, unit="best responses"),
        FLOPS: Estimate.exact(offer.flops, unit="FLOP", better="lower"),
    }
    found = {GAP: gap, ENERGY: energy, **counted}
    return {at(what, offer.arm, offer.share): e for what, e in found.items()}


def _mixture(trial: TrainedTrial, mixed: Mixed) -> Model:
    parts: list[Model] = []
    for state in mixed.generators:
        game = _pair(trial)
        game.players[GENERATOR].load_state_dict(state)
        parts.append(game.model)
    return GeneratorMixture.weighted(parts, mixed.rows).to(trial.device)


def _matrix_gaps(scale: EquilibriumSize) -> Iterator[tuple[str, Estimate]]:
    for name, course in zip(PLAYERS, _courses(max(scale.rounds)), strict=True):
        for n in scale.rounds:
            for which, gap in ((LAST_ROUND, course.last(n)), (AVERAGE_ROUNDS, course.average(n))):
                yield in_rounds(name, which, n), Estimate.exact(gap, better="lower")


def _courses(rounds: int) -> Sequence[Rounds]:
    return (
        fictitious_play(PENNIES, rounds=rounds),
        hedge(PENNIES, step=_STEP, rounds=rounds, logits=_START),
        hedge(PENNIES, step=_STEP, rounds=rounds, logits=_START, optimistic=True),
    )


def in_rounds(player: str, which: str, rounds: int) -> str:
    """Returns the name of a score of the matrix game.

    Example:
        >>> in_rounds("hedge", LAST_ROUND, 100)
        'duality gap of hedge, last round, 100 rounds'
    """
    return f"duality gap of {player}, {which}, {rounds} rounds"
