"""One method with one seed: what it offers, how exploitable that is, and how good its samples."""

from collections.abc import Iterator, Sequence

import torch

from gantlet.core.budget import Spend
from gantlet.core.components import families, solvers
from gantlet.core.dataset import everything
from gantlet.core.estimate import Estimate
from gantlet.core.family import Family
from gantlet.core.game import Adversarial, Generative
from gantlet.core.model import Model
from gantlet.core.rng import Rng
from gantlet.core.trial import Outcome, Trial
from gantlet.games.equilibria import Course as Rounds
from gantlet.games.equilibria import fictitious_play, hedge
from gantlet.games.mixed import GENERATOR, Mixed, Mixture, mixed_gap
from gantlet.metrics.energy import Energy
from gantlet.store.run import TrialFolder
from gantlet.studies.base import Watch
from gantlet.studies.convergence.equilibria_arms import (
    FAR_LAST,
    FAR_MIXED,
    LANGEVIN,
    NEAR_LAST,
    NEAR_MIXED,
    Course,
    Offer,
    mixtures,
)
from gantlet.studies.convergence.equilibria_oracle import oracle
from gantlet.studies.convergence.equilibria_plan import (
    FAR,
    GAN,
    LOOSE,
    MATRIX,
    NEAR,
    ORACLE,
    PLAIN,
    Scale,
    scale_of,
)
from gantlet.studies.convergence.equilibria_plan import LANGEVIN as WANDER
from gantlet.studies.sources import draw, features_of, source_of
from gantlet.train.loop import Plan, train
from gantlet.train.snapshots import Snapshots

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


def run_trial(trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
    """Trains by one method and judges what it offers."""
    scale = scale_of(trial)
    if trial.parts["method"] == MATRIX:
        return Outcome(trial=trial, scores=dict(_matrix(scale)))
    offers, spend = _offers(trial, folder, watch)
    scores: dict[str, Estimate] = {}
    for i, offer in enumerate(offers):
        watch(0.6 + 0.4 * i / len(offers), f"judging {offer.arm}")
        scores |= _judged(trial, offer)
    return Outcome(trial=trial, spend=spend, scores=scores)


def _offers(trial: Trial, folder: TrialFolder, watch: Watch) -> tuple[list[Offer], Spend]:
    scale, rng = scale_of(trial), Rng(trial.seed, trial.parts["device"])
    _, splits = source_of(trial)
    method = trial.parts["method"]

    def told(share: float) -> None:
        watch(0.6 * min(share, 1.0), f"{method}, training")

    if method == ORACLE:
        found = list(oracle(_pair(trial), splits, scale, rng=rng, watch=told))
        steps = found[-1].responses * scale.response
        return found, Spend(flops=found[-1].flops, steps=steps)
    family = families.make(trial.parts["model"])
    game = _built(trial, trial.parts["model"])
    trained = train(
        game,
        solvers.make(trial.parts["solver"]),
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
        watch=told,
    )
    files = sorted(file.stem for file in folder.path.glob("snapshot-*.safetensors"))
    snapshots = [folder.load(name) for name in files]
    course = Course(game=_pair(trial), snapshots=snapshots, scale=scale, splits=splits, rng=rng)
    return list(_made(method, course)), trained.spend


def _made(method: str, course: Course) -> Iterator[Offer]:
    shares = course.scale.shares
    if method in {PLAIN, LOOSE}:
        yield from course.plain()
    elif method == NEAR:
        yield from (course.last(NEAR_LAST, share, 10) for share in shares)
        yield from (course.uniform(NEAR_MIXED, share) for share in shares)
    elif method == FAR:
        yield from (course.last(FAR_LAST, share, 20) for share in shares)
        yield from (course.uniform(FAR_MIXED, share) for share in shares)
    elif method == WANDER:
        yield from (course.uniform(LANGEVIN, share) for share in shares)
    else:
        yield from mixtures(course.snapshots, course.scale)


def _built(trial: Trial, model: str) -> Generative:
    family = families.make(model)
    if not isinstance(family, Family):
        raise TypeError(f"{model} is not trained")
    space, _ = source_of(trial)
    return family.build(space, rng=Rng(trial.seed, trial.parts["device"]))


def _pair(trial: Trial) -> Adversarial:
    """Returns one generator and one critic, which can take the weights of every method's."""
    game = _built(trial, GAN)
    if not isinstance(game, Adversarial):
        raise TypeError(f"{GAN} has no critic")
    return game


def _judged(trial: Trial, offer: Offer) -> dict[str, Estimate]:
    """Returns what test samples say of an offer; best responses learn from training samples."""
    scale, rng = scale_of(trial), Rng(trial.seed, trial.parts["device"]).stream("judge")
    _, splits = source_of(trial)
    judge = Rng(rng.initial_seed(), trial.parts["device"])
    test = everything(splits.test).to(judge.device)
    game = _pair(trial)
    gap = mixed_gap(
        game,
        offer.mixed,
        everything(splits.train).to(judge.device),
        test,
        steps=scale.search,
        rng=judge,
        batch=scale.batch,
    )
    seen = features_of(trial, "pixels")
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


def _mixture(trial: Trial, mixed: Mixed) -> Model:
    parts: list[Model] = []
    for state in mixed.generators:
        game = _pair(trial)
        game.players[GENERATOR].load_state_dict(state)
        parts.append(game.model)
    return Mixture.weighted(parts, mixed.rows).to(trial.parts["device"])


def _matrix(scale: Scale) -> Iterator[tuple[str, Estimate]]:
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
