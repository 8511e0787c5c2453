"""A tournament: generators and critics of run folders, their matches, ratings, equilibrium."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, TypeAlias, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.commands.own_games import placed, written
from gantlet.commands.trained import ModelTrial, draw, find_trial
from gantlet.compute.machine import threads
from gantlet.core.data import Space, Splits, all_samples
from gantlet.core.errors import UserError
from gantlet.core.estimate import REAL, Estimate, Outcome, Trial
from gantlet.core.metric import Extract, Features, NotForRanking
from gantlet.core.model import Adversarial, FittedFamily, Game, Generative
from gantlet.core.rng import Rng
from gantlet.core.spec import Between, families, label
from gantlet.features.base import block_of, digest, full_precision
from gantlet.games.equilibria import equilibrium
from gantlet.metrics.kernel import Energy
from gantlet.models.gan import CriticNetwork
from gantlet.run.execute import Watch
from gantlet.run.store import Run, TrialFolder
from gantlet.run.trials import RunData, TypedTrial, space_of
from gantlet.stats.intervals import mean
from gantlet.stats.permutation import ranks
from gantlet.stats.ratings import (
    Match,
    PairwiseResults,
    Skill,
    Strengths,
    after_round,
    bradley_terry,
    cycles,
    win_rate,
    wins_of,
)

# ----------------------------------------------------------------------------
# Who plays in a tournament, and how its scores are kept.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TournamentTrial(TypedTrial):
    """All matches of a tournament.

    Attributes:
        runs: The run folders.
        data: The data set in written form that all models were trained on.
        data_seed: Seed of its split.
        samples: Most samples of each generator.
        fingerprint: A short name for what is in the runs, which may grow.
        threads: Threads of the trial; part of what decides the last digits.
        device: Where critics judge.
        model: Always the same: what reports of progress name the trial by.
        seed: Draws the samples.
    """

    model: str = "tournament"
    runs: tuple[str, ...]
    data: str
    data_seed: int
    samples: int
    fingerprint: str
    threads: int
    device: str = "cpu"
    seed: int


REALS = "held-out real data"
"""The player that is real data: test samples, which no critic has seen."""

SCALE = "validation data"
"""What critics are calibrated on: real samples that they have not learned from."""


@final
@dataclass(frozen=True, slots=True)
class Player:
    """A generator or a critic.

    Attributes:
        course: Of which training.
        step: After how many steps; None for a final model, or for data.
    """

    course: str
    step: int | None = None

    @property
    def name(self) -> str:
        """What the report calls it."""
        return self.course if self.step is None else f"{self.course} @{self.step}"


Scores: TypeAlias = Mapping[tuple[Player, Player], Tensor]
"""The scores, shape ``(n,)``, that a critic gives to the samples of a player, by both."""


def sorted_players(players: Iterable[Player]) -> Iterator[Player]:
    """Yields each player once, by training and step; real data last."""
    once = dict.fromkeys(players)
    yield from sorted(once, key=lambda p: (p.course == REALS, p.course, p.step or 0))


def as_tensors(scores: Scores) -> dict[str, Tensor]:
    """Returns scores as a trial's folder can keep them; ``from_tensors`` reads them again."""
    return {
        json.dumps([critic.course, critic.step, player.course, player.step]): x
        for (critic, player), x in scores.items()
    }


def from_tensors(tensors: Mapping[str, Tensor]) -> Scores:
    """Returns the scores that ``as_tensors`` wrote, or an earlier version of it."""
    return {_pair(name): x for name, x in tensors.items()}


def _pair(name: str) -> tuple[Player, Player]:
    if not name.startswith("["):
        # Version 0.1 kept them by "gan #0 @20 judges gan #0 @10".
        critic, player = name.split(" judges ")
        return _named(critic), _named(player)
    first, first_step, second, second_step = json.loads(name)
    return Player(first, first_step), Player(second, second_step)


def _named(name: str) -> Player:
    course, at, step = name.rpartition(" @")
    return Player(course, int(step)) if at else Player(name)


# ----------------------------------------------------------------------------
# The mixture of generators that the worst of all critics finds hardest to tell from data.
# ----------------------------------------------------------------------------

MIXTURE = "equilibrium mixture"
"""The player that is a mixture of the others."""


@final
@dataclass(frozen=True, slots=True)
class Best:
    """The equilibrium of the game "be held for real" between generators and critics.

    It is found on one half of the samples and judged on the other.

    Attributes:
        generators: The weight of each generator that is played at all.
        critics: The weight of each critic that is played at all.
        single: The generator that does best alone against its worst critic.
        mixed: The win rate of the mixture against its worst critic.
        alone: The win rate of ``single`` against its worst critic.
        gain: The first less the second.
    """

    generators: Mapping[Player, float]
    critics: Mapping[Player, float]
    single: Player
    mixed: Estimate
    alone: Estimate
    gain: Estimate


def best_mixture(scores: Scores) -> Best:
    """Returns the equilibrium of a tournament from the scores of critics.

    A generator's payoff is its win rate, which is linear in mixtures of either side; so the
    linear programme's mixture has the largest win rate against its worst critic. Which generators,
    which single one and which critics are the worst is read off one half of all samples, the win
    rates off the other.

    Args:
        scores: Scores of critics, as ``standings`` takes them.
    """
    halves = [{pair: x[i::2] for pair, x in scores.items()} for i in (0, 1)]
    critics = list(sorted_players(critic for critic, _ in scores))
    left_out = {Player(REALS), Player(SCALE)}
    generators = list(sorted_players(p for _, p in scores if p not in left_out))
    table = torch.tensor(
        [[_rate(halves[0], {g: 1.0}, c).value or 0.0 for c in critics] for g in generators],
        dtype=torch.float64,
    )
    # Rows minimise: what a generator pays is how often its fakes are seen through.
    found = equilibrium(1 - table)
    mixture = _played(generators, found.rows)
    single = generators[int(table.min(1).values.argmax())]
    mixed, alone = (_worst(halves, critics, weights) for weights in (mixture, {single: 1.0}))
    return Best(
        mixture, _played(critics, found.columns), single, mixed, alone, _gain(mixed, alone)
    )


def pooled(samples: Mapping[Player, Tensor], weights: Mapping[Player, float]) -> Tensor:
    """Returns the first samples of each generator, as many as its weight says, in their order."""
    return _pool({g: samples[g] for g in weights}, weights)


def _played(players: Sequence[Player], weights: Tensor) -> dict[Player, float]:
    return {p: w for p, w in zip(players, weights.tolist(), strict=True) if w > 0}


def _worst(
    halves: Sequence[Scores],
    critics: Sequence[Player],
    weights: Mapping[Player, float],
) -> Estimate:
    """Returns the win rate on the second half against the critic that is worst on the first."""
    worst = min(critics, key=lambda c: _rate(halves[0], weights, c).value or 0.0)
    return _rate(halves[1], weights, worst)


def _rate(scores: Scores, weights: Mapping[Player, float], critic: Player) -> Estimate:
    fakes = {g: scores[critic, g] for g in weights}
    return win_rate(_pool(fakes, weights), scores[critic, Player(SCALE)])


def _pool(parts: Mapping[Player, Tensor], weights: Mapping[Player, float]) -> Tensor:
    n = min(len(x) for x in parts.values())
    ends = [round(n * share) for share in torch.tensor(list(weights.values())).cumsum(0).tolist()]
    starts = [0, *ends[:-1]]
    shares = zip(parts.values(), starts, ends, strict=True)
    return torch.cat([x[: end - start] for x, start, end in shares])


def _gain(mixed: Estimate, alone: Estimate) -> Estimate:
    """Returns the difference, its interval as if samples were not shared: wider than need be."""
    if mixed.value is None or alone.value is None:
        return Estimate.missing("one of the two is missing")
    half = math.hypot(mixed.half_width or 0.0, alone.half_width or 0.0)
    value = mixed.value - alone.value
    return replace(
        mixed,
        value=value,
        low=value - half,
        high=value + half,
        method="win rate of the mixture less that of the best single generator, unpaired",
    )


# ----------------------------------------------------------------------------
# Ratings of all players from the scores that critics gave.
# ----------------------------------------------------------------------------

CRITIC = "critic of "
"""Begins the name of a critic, to tell it from the generator of the same step."""

POINTS = 400 / math.log(10)
"""Points of rating in one unit of the logit: 400 points are odds of ten to one."""

_CENTRE = 1500.0
_ROUNDS = 10


@final
@dataclass(frozen=True, slots=True)
class Standings:
    """All ratings of a tournament.

    Attributes:
        generators: Those who make samples, real data among them, last.
        critics: Those who judge.
        rates: The win rate of each generator against each critic, by their names.
        fits: The strengths with intervals for generators, and for critics.
        skills: Glicko-2 skills, by name; those of critics begin with ``critic of``.
        cycles: Players of whom each surely beats the next.
    """

    generators: Sequence[Player]
    critics: Sequence[Player]
    rates: Mapping[tuple[str, str], Estimate]
    fits: tuple[Strengths, Strengths]
    skills: Mapping[str, Skill]
    cycles: Sequence[tuple[str, ...]]

    def rating(self, player: Player, *, critic: bool = False) -> Estimate:
        """Returns the rating in points; 1500 is the mean of all generators, data left out."""
        weights = -self._mean()
        weights[self._index(player, critic)] += 1
        e = _in_points(self.fits[critic].contrast(weights))
        return _shifted(e, _CENTRE)

    def lead(self, a: Player, b: Player, *, level: float = 0.95) -> Estimate:
        """Returns by how many points generator ``a`` is rated above ``b``."""
        weights = torch.zeros(len(self.generators) + len(self.critics), dtype=torch.float64)
        weights[self._index(a, critic=False)] += 1
        weights[self._index(b, critic=False)] -= 1
        return _in_points(self.fits[0].contrast(weights, level=level))

    def streamed(self, name: str) -> Estimate:
        """Returns the Glicko-2 rating of a player by name, in points."""
        low, high = self.skills[name].interval
        return Estimate(
            value=self.skills[name].rating,
            low=low,
            high=high,
            n=_ROUNDS,
            unit="points",
            better="higher",
            method=f"Glicko-2 after {_ROUNDS} rounds, 1.96 deviations either way",
        )

    def mean_rate(self, player: Player) -> Estimate:
        """Returns the mean win rate of a generator over all critics."""
        found = [self.rates[player.name, c.name].value or 0.0 for c in self.critics]
        return mean(found, better="higher", of="critics")

    def courses(self) -> dict[str, list[Player]]:
        """Returns the generators of each training that has several snapshots, by step."""
        found: dict[str, list[Player]] = {}
        for player in self.generators:
            if player.step is not None:
                found.setdefault(player.course, []).append(player)
        return {course: players for course, players in found.items() if len(players) > 1}

    def _mean(self) -> Tensor:
        shares = [0.0 if g.course == REALS else 1.0 for g in self.generators]
        weights = torch.tensor(shares + [0.0] * len(self.critics), dtype=torch.float64)
        return weights / weights.sum()

    def _index(self, player: Player, critic: bool) -> int:
        if critic:
            return len(self.generators) + list(self.critics).index(player)
        return list(self.generators).index(player)


def standings(scores: Scores) -> Standings:
    """Rates everybody from the scores of critics."""
    scale = Player(SCALE)
    critics = list(sorted_players(critic for critic, _ in scores))
    generators = list(sorted_players(player for _, player in scores if player != scale))
    reals = {c.name: scores[c, scale] for c in critics}
    fakes = {(g.name, c.name): scores[c, g] for g in generators for c in critics}
    rates = {pair: win_rate(x, reals[pair[1]]) for pair, x in fakes.items()}
    calibrated = {pair: ranks(x, reals[pair[1]]) for pair, x in fakes.items()}
    return Standings(
        generators=generators,
        critics=critics,
        rates=rates,
        fits=_fits(len(generators), len(critics), calibrated),
        skills=_skills(calibrated),
        cycles=cycles(wins_of({(g, CRITIC + c): e for (g, c), e in rates.items()})),
    )


def _fits(
    generators: int, critics: int, calibrated: Mapping[tuple[str, str], Tensor]
) -> tuple[Strengths, Strengths]:
    """Returns strengths with the intervals of generators, and with those of critics.

    A generator is sure where critics agree on it, so critics are its clusters, and the other way
    round. ``calibrated`` goes over generators, and within each over critics.
    """
    first = torch.arange(generators).repeat_interleave(critics)
    second = torch.arange(critics).repeat(generators)
    games = torch.tensor([float(len(x)) for x in calibrated.values()], dtype=torch.float64)
    wins = torch.stack([x.sum() for x in calibrated.values()])

    def fit(cluster: Tensor) -> Strengths:
        bouts = PairwiseResults(
            first=first, second=second + generators, wins=wins, games=games, cluster=cluster
        )
        return bradley_terry(bouts, generators + critics)

    return fit(second), fit(first)


def _skills(calibrated: Mapping[tuple[str, str], Tensor]) -> dict[str, Skill]:
    """Returns Glicko-2 skills after ten rounds, each with a tenth of the samples."""
    skills: dict[str, Skill] = {}
    parts = {pair: torch.chunk(x, _ROUNDS) for pair, x in calibrated.items()}
    for i in range(min(len(p) for p in parts.values())):
        matches = [
            Match(generator, CRITIC + critic, float(part[i].mean()))
            for (generator, critic), part in parts.items()
        ]
        skills = after_round(skills, matches)
    return skills


def _in_points(e: Estimate) -> Estimate:
    low, high = (None if end is None else end * POINTS for end in (e.low, e.high))
    return replace(
        e, value=None if e.value is None else e.value * POINTS, low=low, high=high, unit="points"
    )


def _shifted(e: Estimate, by: float) -> Estimate:
    value, low, high = (None if end is None else end + by for end in (e.value, e.low, e.high))
    return replace(e, value=value, low=low, high=high, better="higher")


# ----------------------------------------------------------------------------
# Who plays: the snapshots and final samples in run folders.
# ----------------------------------------------------------------------------

HOW = "train with --snapshots N, as in: gantlet train gan --snapshots 8"


@final
@dataclass(frozen=True, slots=True)
class OwnPlayers:
    """A game of the user's own in a tournament.

    Attributes:
        name: What the report calls it.
        game: The game.
        data: Its data set in written form.
        data_seed: Seed of the split.
    """

    name: str
    game: Game
    data: str
    data_seed: int = 0

    def trial(self) -> Trial:
        """Returns what it is as a trial, whose key changes with its weights."""
        parts = {"model": written(self.game), "data": self.data, "data_seed": str(self.data_seed)}
        return Trial(parts=parts, seed=0)


@final
@dataclass(frozen=True, slots=True)
class Contender:
    """One training: where its weights are.

    Attributes:
        name: What the report calls it.
        trial: What was trained.
        folder: Its folder; None for a game of the user's own.
        snapshots: The names of its snapshots, in order; empty where none were saved.
        own: The game of the user's own, which plays as it is, or None.
    """

    name: str
    trial: Trial
    folder: TrialFolder | None
    snapshots: tuple[str, ...]
    own: Game | None = None

    def game(self) -> Generative | None:
        """Returns the game, untrained but for the user's own, or None for a baseline."""
        trained = ModelTrial.of(self.trial)
        if self.own is not None:
            return placed(self.own, space_of(trained.data), Rng(trained.seed))
        family = families.make(trained.model)
        if isinstance(family, FittedFamily):
            return None
        return family.build(space_of(trained.data), rng=Rng(trained.seed))


@final
@dataclass(frozen=True, slots=True)
class Snapshot:
    """The players of a game at one step.

    Attributes:
        step: After how many steps; None for a game of the user's own.
        game: The game with its weights of then; shared, so that only the latest is valid.
        sampled: The weights that samples come from.
    """

    step: int | None
    game: Generative
    sampled: dict[str, Tensor]

    def sample(self, n: int, *, rng: torch.Generator) -> Tensor:
        """Returns samples of the generator of then, after which no critic may be asked."""
        self.game.model.load_state_dict(self.sampled)
        return draw(self.game.model, n, rng=rng)


def courses_of(runs: Sequence[str], own: Sequence[OwnPlayers] = ()) -> list[Contender]:
    """Returns every finished training in some run folders, and the games of the user's own.

    Args:
        runs: The run folders.
        own: Games of the user's own, with their data.

    Raises:
        UserError: If there is none, they are of different data, or no critic was saved.
    """
    if len(set(runs)) < len(runs):
        raise UserError("The same run was named twice.")
    found = [(Path(run), outcome) for run in runs for outcome in _trials(Path(run))]
    if not found and not own:
        raise UserError("Name run folders of gantlet train or compare: these hold no model.")
    given = [Contender(o.name, o.trial(), None, (), o.game) for o in own]
    _check_data([trial for _, (trial, _) in found] + [c.trial for c in given])
    several = len({path for path, _ in found}) > 1
    named = [(path.name + "/" if several else "", trial, f) for path, (trial, f) in found]
    courses = [
        Contender(f"{prefix}{label(t.model)} #{t.seed}", t, f, snapshots_in(f))
        for prefix, t, f in sorted(named, key=lambda x: (x[0], x[1].model, x[1].seed))
    ]
    courses += given
    names = [c.name for c in courses]
    if twice := next((n for n in names if names.count(n) > 1), None):
        hint = "Give them names: NAME=module:path=..."
        if all(o.name != twice for o in own):
            hint = "Rename one of the run folders."
        raise UserError(f"Two players are called {twice!r}. {hint}")
    if not any(_has_critic(c) for c in courses):
        raise UserError(f"No run holds snapshots of a critic to play against: {HOW}.")
    return courses


def _has_critic(course: Contender) -> bool:
    plays = bool(course.snapshots) or course.own is not None
    return plays and isinstance(course.game(), Adversarial)


def _trials(path: Path) -> Iterator[tuple[Trial, TrialFolder]]:
    run = Run.open(path)
    for outcome in run.outcomes():
        trial = outcome.trial
        if outcome.error is None and trial.model != REAL and trial.data:
            yield trial, run.folder(trial)


def _check_data(trials: Sequence[Trial]) -> None:
    found = map(ModelTrial.of, trials)
    data = sorted({f"{t.data} (data seed {t.data_seed})" for t in found})
    if len(data) > 1:
        raise UserError(f"Models can only meet on the same data. Got {' and '.join(data)}.")


def snapshots_in(folder: TrialFolder) -> tuple[str, ...]:
    """Returns the names of the snapshots of a trial, in order."""
    return tuple(sorted(file.stem for file in folder.path.glob("snapshot-*.safetensors")))


def snapshots_of(course: Contender) -> Iterator[Snapshot]:
    """Yields the players at each snapshot; each takes the place of the one before.

    Raises:
        UserError: If weights are of another version.
    """
    game = course.game()
    if game is None:
        return
    if course.folder is None:
        yield Snapshot(None, game, dict(game.model.state_dict()))
        return
    for name in course.snapshots:
        saved = course.folder.load(name)
        try:
            for player, module in game.players.items():
                module.load_state_dict(_below(saved, f"players/{player}/"))
        except RuntimeError as error:
            raise UserError(
                f"{name} in {course.folder.path} does not fit {course.trial.model}: "
                "another version of Gantlet saved it. Use that version, or train again."
            ) from error
        yield Snapshot(int(saved["step"]), game, _below(saved, "model/"))


def _below(saved: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)}


# ----------------------------------------------------------------------------
# A trained GAN's own critic as an extractor.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCritic(NotForRanking):
    """The last hidden layer of the critic that a GAN was trained against.

    It has learned to discriminate its own generator's samples from real ones. So it shows what is
    wrong with them, but is biased against that model: it is not for ranking.

    Source: Radford, Metz and Chintala, 2016, https://arxiv.org/abs/1511.06434, section 5.1: a
    critic as a feature extractor.

    Differs from the paper: the last hidden layer alone, without pooling.

    Attributes:
        run: The run folder, trained with ``--snapshots``.
        model: The model, as the report of the run names it; none where there is only one.
        seed: Its seed.
        snapshot: The number of the snapshot; none is the last.
    """

    learns: ClassVar[bool] = False

    run: str
    model: str | None = None
    seed: int = 0
    snapshot: Annotated[int, Between(1)] | None = None

    @property
    @override
    def why(self) -> str:
        return (
            "a critic has learned to tell samples of one model, so it ranks no models fairly; use "
            "it with gantlet flaws, or give other --features"
        )

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the extractor; nothing is learned from the data.

        Raises:
            UserError: If there is no such critic, or it judges other samples.
        """
        del data, rng
        trial, folder = find_trial(Path(self.run).expanduser(), self.model, self.seed)
        its = space_of(ModelTrial.of(trial).data)
        if (its.kind, its.shape, its.levels) != (space.kind, space.shape, space.levels):
            raise UserError(f"The critic of {self.run} judges {its.label}. Got {space.label}.")
        chosen = self._chosen(snapshots_in(folder))
        course = Contender(f"{label(trial.model)} #{trial.seed}", trial, folder, (chosen,))
        snapshot = next(iter(snapshots_of(course)), None)
        if snapshot is None or not isinstance(snapshot.game, Adversarial):
            raise UserError(f"{course.name} of {self.run} has no critic. Name a GAN.")
        extract, size, weights = _hidden(snapshot.game, space)
        return Features(
            extract=extract,
            note=f"the {size} hidden units of the critic that {course.name} of {self.run} was "
            f"trained against, at step {snapshot.step}: for a list of flaws, not for ranks",
            fingerprint=f"critic/{course.name}/{snapshot.step}/{space.label}/{weights}",
        )

    def _chosen(self, names: tuple[str, ...]) -> str:
        """Returns the name of the snapshot that is meant."""
        if not names:
            raise UserError(f"{self.run} holds no snapshot of a critic: {HOW}.")
        if self.snapshot is None:
            return names[-1]
        wanted = f"snapshot-{self.snapshot:03d}"
        if wanted not in names:
            known = ", ".join(str(int(n.rpartition("-")[2])) for n in names)
            raise UserError(f"{self.run} has no snapshot {self.snapshot}. It has: {known}.")
        return wanted


def _hidden(game: Adversarial, space: Space) -> tuple[Extract, int, str]:
    """Returns the extractor of the critic's last hidden layer, its size, and a hash of it all."""
    players = [player.eval() for player in game.players.values()]
    judges = [m for player in players for m in player.modules() if isinstance(m, CriticNetwork)]
    if len(judges) != 1:
        raise UserError(f"A game with {len(judges)} critics gives no features: one is needed.")
    (judge,) = judges

    @torch.no_grad()
    def extract(x: Tensor) -> Tensor:
        for player in players:
            player.to(x.device)
        with full_precision():
            parts = [_entering(judge, game, part) for part in torch.split(x, block_of(space))]
        return torch.cat(parts).float()

    states = {f"{i}/{k}": v for i, p in enumerate(players) for k, v in p.state_dict().items()}
    return extract, judge.head.in_features, digest(states)


def _entering(judge: CriticNetwork, game: Adversarial, x: Tensor) -> Tensor:
    """Returns the input of the last layer of a critic while its game asks it for scores."""
    caught: list[Tensor] = []
    hook = judge.head.register_forward_pre_hook(lambda _, given: caught.append(given[0]))
    try:
        game.critic(x.float())
    finally:
        hook.remove()
    return caught[0]


# ----------------------------------------------------------------------------
# The matches: every critic scores the samples of every generator.
# ----------------------------------------------------------------------------

_BLOCK = 500


def run_tournament(
    asked: Trial,
    data: RunData,
    folder: TrialFolder,
    watch: Watch,
    *,
    own: Sequence[OwnPlayers] = (),
) -> Outcome:
    """Plays all matches: scores of critics are saved, energy distances are the outcome's."""
    trial = TournamentTrial.of(asked)
    with threads(trial.threads), full_precision():
        courses, most = courses_of(trial.runs, own), trial.samples
        _, splits = data.of(trial)
        reals = Player(REALS)
        samples = {reals: all_samples(splits.test, most)}
        for i, course in enumerate(courses):
            watch(0.4 * i / len(courses), f"{course.name} plays")
            samples |= _samples_of_course(course, len(samples[reals]), trial)
        judged = {Player(SCALE): all_samples(splits.validation, most), **samples}
        scores: dict[tuple[Player, Player], Tensor] = {}
        for i, course in enumerate(courses):
            watch(0.4 + 0.4 * i / len(courses), f"{course.name} judges")
            scores |= _scores(course, judged)
        folder.save("scores", as_tensors(scores))
        watch(0.8, "measuring distances")
        mixed = pooled(samples, best_mixture(scores).generators)
        return Outcome(
            trial=asked, scores=_distances(trial, data, {**samples, Player(MIXTURE): mixed})
        )


def _samples_of_course(course: Contender, n: int, trial: TournamentTrial) -> dict[Player, Tensor]:
    """Returns samples of each generator of a training, ``n`` at most."""
    if not course.snapshots and course.folder is not None:
        return {Player(course.name): course.folder.load("samples")["samples"][:n]}
    rng = Rng(trial.seed)
    return {
        Player(course.name, s.step): s.sample(n, rng=rng.stream(f"{course.name} {s.step}"))
        for s in snapshots_of(course)
    }


@torch.no_grad()
def _scores(course: Contender, judged: Mapping[Player, Tensor]) -> Scores:
    """Returns the scores that every critic of a training gives to every player."""
    return {
        (Player(course.name, s.step), player): torch.cat(
            [s.game.critic(part) for part in torch.split(x, _BLOCK)]
        )
        for s in snapshots_of(course)
        if isinstance(s.game, Adversarial)
        for player, x in judged.items()
    }


def _distances(
    trial: TournamentTrial, data: RunData, samples: Mapping[Player, Tensor]
) -> dict[str, Estimate]:
    """Returns the energy distance of each generator from validation samples, on pixels."""
    _, splits = data.of(trial)
    seen = data.features(trial.data, trial.data_seed, "pixels", trial.device)
    real = seen.extract(all_samples(splits.validation, trial.samples))
    return {
        player.name: Energy().measure(
            real, seen.extract(x), rng=Rng(trial.seed).stream("distances")
        )
        for player, x in samples.items()
    }
