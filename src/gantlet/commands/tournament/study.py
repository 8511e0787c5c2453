"""Question 5: which generator fools which critic? The study and its report."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Any, final

from gantlet import options
from gantlet.commands.tournament.play import (
    CRITIC,
    MIXTURE,
    REALS,
    Best,
    Contender,
    OwnPlayers,
    Player,
    Standings,
    TournamentTrial,
    best_mixture,
    courses_of,
    from_tensors,
    run_tournament,
    standings,
)
from gantlet.commands.trained import ModelTrial
from gantlet.core.arguments import check_fields
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate, Outcome, Trial
from gantlet.core.spec import Between, datasets
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
)
from gantlet.report.format import listed, text
from gantlet.run.execute import Watch, facts_of
from gantlet.run.store import Run, TrialFolder
from gantlet.run.trials import RunData
from gantlet.stats.intervals import holm, is_separated, p_value
from gantlet.stats.ratings import spearman

# ----------------------------------------------------------------------------
# Which generators are significantly better than others, by their ratings.
# ----------------------------------------------------------------------------

_LEVEL = 0.05
# So many generators are named that do not differ significantly from the first.
_NAMED = 5


@final
@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The generators by rating, and which of them differ significantly from the first.

    Attributes:
        order: The generators, real data left out, the highest rating first.
        level: Those whose rating is not significantly below that of the first.
        behind: Those whose rating is.
        pairs: How many pairs were tested together.
    """

    order: Sequence[Player]
    level: Sequence[Player]
    behind: Sequence[Player]
    pairs: int

    @property
    def best(self) -> Player | None:
        """The generator that is significantly better than every other, if one is."""
        return self.order[0] if self.behind and not self.level else None


def ranking(table: Standings) -> Ranking:
    """Tests all pairs of generators by Holm's procedure, 5 % in all."""
    players = [g for g in table.generators if g.course != REALS]
    order = sorted(players, key=lambda p: -(table.rating(p).value or 0.0))
    pairs = list(combinations(order, 2))
    sure = holm([p_value(table.lead(a, b)) for a, b in pairs], level=_LEVEL)
    apart = {b: s for (a, b), s in zip(pairs, sure, strict=True) if a == order[0]}
    return Ranking(
        order,
        [p for p in order[1:] if not apart[p]],
        [p for p in order[1:] if apart[p]],
        len(pairs),
    )


# ----------------------------------------------------------------------------
# The tables and charts of a tournament.
# ----------------------------------------------------------------------------

_MOST_COLUMNS = 10
_MOST_CYCLES = 50


def blocks(
    table: Standings, found: Ranking, best: Best, distances: Mapping[str, Estimate]
) -> Iterator[Block]:
    """Yields the main table, the curves, the mixture, the critics, the win rates, the cycles."""
    yield _main(table, found, distances)
    yield from _curve(table)
    yield Section(title="Equilibrium mixture", blocks=[_mixture(best)])
    yield Section(title="Critics", blocks=[_critics(table)])
    yield Section(title="Win rates", blocks=[_matches(table, found)])
    if table.cycles:
        yield Section(title="Cycles", blocks=[_cycles(table)], open=True)


def _main(table: Standings, found: Ranking, distances: Mapping[str, Estimate]) -> Table:
    best = found.best
    columns = [
        Column(name="generator"),
        Column(
            name="Bradley-Terry",
            better="higher",
            unit="points",
            help="Over all matches at once; the mean of all generators is 1500.",
            group="Rating",
            best=() if best is None else (best.name,),
        ),
        Column(
            name="Glicko-2",
            better="higher",
            unit="points",
            help="After ten rounds, each with a tenth of the samples.",
            group="Rating",
        ),
        Column(
            name="win rate",
            better="higher",
            help="Mean over critics; 0.5 is as good as real data.",
            group="Samples",
        ),
        Column(
            name="energy distance",
            better="lower",
            help="From validation data, on raw values.",
            group="Samples",
        ),
    ]
    real = [g for g in table.generators if g.course == REALS]
    rows: list[list[Cell]] = [
        [g.name, table.rating(g), table.streamed(g.name), table.mean_rate(g), distances[g.name]]
        for g in [*found.order, *real]
    ]
    return Table(
        title="Generators",
        columns=columns,
        rows=rows,
        references=[REALS],
        note="Highest Bradley-Terry rating first; 400 points are odds of ten to one. A sample "
        "wins against a critic that scores it above a validation sample.",
    )


def _curve(table: Standings) -> Iterator[Lines]:
    if courses := table.courses():
        yield Lines(
            title="Rating over training",
            x_label="step",
            y_label="rating of the generator, points",
            series=[_series(table, name, players) for name, players in courses.items()],
            note="Bands are 95 % intervals, over critics.",
        )


def _series(table: Standings, name: str, players: Sequence[Player]) -> Series:
    found = [table.rating(p) for p in players]
    values = [e.value or 0.0 for e in found]
    return Series(
        name=name,
        x=[float(p.step or 0) for p in players],
        y=values,
        low=[v if e.low is None else e.low for e, v in zip(found, values, strict=True)],
        high=[v if e.high is None else e.high for e, v in zip(found, values, strict=True)],
    )


def _mixture(best: Best) -> Table:
    sides = (("generator", best.generators), ("critic", best.critics))
    return Table(
        title="Equilibrium of generators and critics",
        columns=[
            Column(name="player"),
            Column(name="side"),
            Column(name="weight", help="Its probability in the mixed strategy."),
        ],
        rows=[
            [p.name, side, weight]
            for side, own in sides
            for p, weight in sorted(own.items(), key=lambda item: -item[1])
        ],
        note="The Nash equilibrium of the zero-sum game of win rates, by a linear programme on "
        "half of the samples. Players that are not listed have weight 0.",
    )


def _critics(table: Standings) -> Table:
    return Table(
        title="Critics",
        columns=[
            Column(name="critic"),
            Column(name="Bradley-Terry", better="higher", unit="points", group="Rating"),
            Column(name="Glicko-2", better="higher", unit="points", group="Rating"),
        ],
        rows=[
            [c.name, table.rating(c, critic=True), table.streamed(CRITIC + c.name)]
            for c in sorted(
                table.critics, key=lambda c: -(table.rating(c, critic=True).value or 0.0)
            )
        ],
        note="On the scale of the generators, highest Bradley-Terry rating first; intervals are "
        "over generators.",
    )


def _matches(table: Standings, found: Ranking) -> Table:
    n = len(table.critics)
    every = max(1, -(-n // _MOST_COLUMNS))
    shown = list(table.critics)[::-1][::every][::-1]
    rest = f" {len(shown)} of {n} critics are shown; report.json has all." if every > 1 else ""
    return Table(
        title="Win rates of generators",
        columns=[Column(name="generator"), *map(_critic_column, shown)],
        rows=[
            [g.name, *(table.rates[g.name, c.name].value for c in shown)]
            for g in [*found.order, *(g for g in table.generators if g.course == REALS)]
        ],
        references=[REALS],
        note=f"Each column is a critic; 0.5 is as good as real data.{rest}",
    )


def _critic_column(critic: Player) -> Column:
    if critic.step is None:
        return Column(name=critic.name)
    return Column(name=f"step {critic.step:,}", group=f"Critic of {critic.course}")


def _cycles(table: Standings) -> Table:
    shown = table.cycles[:_MOST_CYCLES]
    rest = (
        f" The first {len(shown)} of {len(table.cycles)}."
        if len(shown) < len(table.cycles)
        else ""
    )
    return Table(
        title="Cycles",
        columns=[Column(name="players"), Column(name="each beats the next, the last the first")],
        rows=[[len(c), " > ".join(c)] for c in shown],
        note="A player beats another where the win rate differs significantly from 0.5, by Holm's "
        f"procedure over all matches.{rest}",
    )


# ----------------------------------------------------------------------------
# The report of a tournament.
# ----------------------------------------------------------------------------

_FEW_CRITICS = 6


def answer(question: Mapping[str, Any], outcomes: Sequence[Outcome], run: Run) -> Report:
    """Returns the report of a tournament from its outcome."""
    outcome = outcomes[0] if outcomes else None
    if outcome is None or outcome.error is not None:
        reason = "it has not been played" if outcome is None else outcome.error
        return Report(
            title="Tournament",
            command="tournament",
            question=question,
            facts=facts_of({}, outcomes, run),
            caveats=[Caveat(text=f"There are no ratings: {reason}.")],
        )
    scores = from_tensors(run.folder(outcome.trial).load("scores"))
    table, best = standings(scores), best_mixture(scores)
    agreements, found = dict(_agreements(table, outcome.scores)), ranking(table)
    return Report(
        title=f"Tournament of {len(table.generators) - 1} generators and "
        f"{len(table.critics)} critics on {datasets.short(question['data'])}",
        command="tournament",
        question=question,
        facts=facts_of(_setting(question), outcomes, run),
        verdicts=[*_verdicts(table, found, agreements), mixing(best, outcome.scores)],
        caveats=list(_caveats(table)),
        rows=list(_rows(question, table, best, outcome.scores, agreements)),
        blocks=list(blocks(table, found, best, outcome.scores)),
        extra={"cycles": [list(c) for c in table.cycles]},
    )


def _setting(question: Mapping[str, Any]) -> dict[str, str]:
    return {
        "Runs": ", ".join(question["runs"]),
        "Data": question["data"],
        "Calibration": "scores become ranks among a critic's scores of validation samples; test "
        "samples play as real data",
        "Samples per generator": f"at most {question['samples']:,}",
        "Seed": str(question["seed"]),
    }


def _agreements(
    table: Standings, distances: Mapping[str, Estimate]
) -> Iterator[tuple[str, Estimate]]:
    """Yields the correlation of ratings with energy distance: overall, and in each training."""
    everyone = [g for g in table.generators if g.course != REALS]
    courses = table.courses()
    groups = {"all generators": everyone, **(courses if len(courses) > 1 else {})}
    for name, players in groups.items():
        ratings = [table.rating(p).value or 0.0 for p in players]
        yield name, spearman(ratings, [distances[p.name].value or 0.0 for p in players])


def _verdicts(
    table: Standings, found: Ranking, agreements: Mapping[str, Estimate]
) -> Iterator[Verdict]:
    yield _best(table, found)
    yield from (stopping(table, players) for players in table.courses().values())
    yield _transitive(table)
    for name, rho in agreements.items():
        if rho.value is not None:
            yield Verdict(
                claim=f"{_sense(rho)} ({name}).",
                because=f"Spearman's rho {text(rho)}; −1 is full agreement, since a smaller "
                f"distance is better. {rho.method}.",
            )


def _sense(rho: Estimate) -> str:
    full = rho.value is not None and abs(rho.value) == 1
    if not full and not is_separated(rho):
        return "Ratings and energy distance are not significantly correlated"
    if (rho.value or 0.0) < 0:
        return "Ratings agree with the energy distance"
    return "Ratings contradict the energy distance"


def _best(table: Standings, found: Ranking) -> Verdict:
    """Says which generators are not distinguishable from the best-rated one, and which are."""
    first, second = found.order[0], found.order[1:2]
    if not second:
        return Verdict(claim=f"{first.name} is the only generator.")
    rating = text(table.rating(first))
    if found.best is not None:
        claim = f"{first.name} has the highest rating, {rating}, significantly above all others."
    elif len(found.level) > _NAMED:
        claim = (
            f"{first.name} has the highest rating, {rating}, but {len(found.level)} of the "
            f"{len(found.order) - 1} other generators are not significantly different from it."
        )
    else:
        claim = f"{_and([first, *found.level])} are not significantly different"
        claim += _lower(found.behind)
        claim += f". The highest rating is {rating}, of {first.name}."
    ahead = text(table.lead(first, second[0]))
    return Verdict(
        claim=claim,
        because=f"{first.name} is ahead of {second[0].name} by {ahead}. Holm's procedure over "
        f"{found.pairs} pair{'s' * (found.pairs != 1)} of generators, {_LEVEL * 100:g} % in all.",
    )


def _lower(players: Sequence[Player]) -> str:
    if not players:
        return ""
    be = "is" if len(players) == 1 else "are"
    return f"; {_and(players)} {be} rated significantly lower"


def _and(players: Sequence[Player]) -> str:
    """Returns players as a list in a sentence, snapshots of one training together."""
    steps: dict[str, list[int]] = {}
    for p in players:
        steps.setdefault(p.course, []).extend([] if p.step is None else [p.step])
    return listed([_at_steps(course, sorted(at)) for course, at in steps.items()])


def _at_steps(course: str, steps: Sequence[int]) -> str:
    return f"{course} @{', @'.join(map(str, steps))}" if steps else course


def stopping(table: Standings, players: Sequence[Player]) -> Verdict:
    """Returns whether a training went on too long, by the ratings of its snapshots.

    The best snapshot was looked for, so its lead over the last must be sure at a level divided by
    the number of snapshots (Bonferroni).
    """
    best = max(players, key=lambda p: table.rating(p).value or 0.0)
    last = players[-1]
    if best == last:
        return Verdict(
            claim=f"{last.course}: the last snapshot has the highest rating; longer training may "
            "help.",
            because=f"It is ahead of the first by {text(table.lead(last, players[0]))}.",
        )
    lead = table.lead(best, last, level=1 - 0.05 / (len(players) - 1))
    because = (
        f"Step {best.step} is ahead of the last, step {last.step}, by {text(lead)}, at the level "
        "of Bonferroni for the best of all snapshots."
    )
    if is_separated(lead):
        claim = (
            f"{last.course}: stop at step {best.step}; the last snapshot is significantly worse."
        )
    else:
        claim = f"{last.course}: no snapshot is significantly better than the last."
    return Verdict(claim=claim, because=because)


def _transitive(table: Standings) -> Verdict:
    n = len(table.cycles)
    if not n:
        return Verdict(claim="No significant cycles of wins.")
    return Verdict(
        claim=f"{n} significant cycle{'s' if n > 1 else ''} of wins: ratings on one scale do not "
        "describe all matches.",
        because=f"For example, {' beats '.join([*table.cycles[0], table.cycles[0][0]])}.",
    )


def mixing(best: Best, distances: Mapping[str, Estimate]) -> Verdict:
    """Returns which mixture of generators does best against its worst critic, and its gain."""
    summary = ", ".join(
        f"{100 * w:.0f} % {g.name}"
        for g, w in sorted(best.generators.items(), key=lambda item: -item[1])
    )
    energy = {p: distances.get(p) for p in (MIXTURE, best.single.name)}
    far = "; ".join(f"{p} {text(e)}" for p, e in energy.items() if e is not None)
    if len(best.generators) == 1:
        only = next(iter(best.generators)).name
        claim = f"No mixture of generators does better against its worst critic than {only} alone."
    elif is_separated(best.gain) and (best.gain.value or 0.0) > 0:
        claim = (
            f"A mixture of generators does significantly better against its worst critic than "
            f"any generator alone: {summary}."
        )
    else:
        claim = (
            f"Against its worst critic, the equilibrium mixture ({summary}) is not significantly "
            f"better than {best.single.name} alone."
        )
    return Verdict(
        claim=claim,
        because=f"Win rate against the worst critic, on the half of the samples that chose "
        f"neither: mixture {text(best.mixed)}, {best.single.name} alone {text(best.alone)}, "
        f"difference {text(best.gain)}. Energy distance: {far}.",
    )


def _caveats(table: Standings) -> Iterator[Caveat]:
    yield Caveat(
        text="Ratings hold within this tournament only: other critics would give other ratings. "
        "Critics of one training are similar, which the intervals do not account for."
    )
    if len(table.critics) < _FEW_CRITICS:
        yield Caveat(
            text=f"The ratings of generators rest on only {len(table.critics)} critics; more "
            "snapshots give narrower intervals."
        )
    players = [g for g in table.generators if g.course != REALS]
    blind = [g.name for g in players if (table.mean_rate(g).low or 0.0) > 0.5]
    if blind:
        yield Caveat(
            text=f"Critics score samples of {', '.join(blind)} above real data on average: a high "
            "rating then shows what critics overlook, not that the samples are perfect."
        )


def _rows(
    question: Mapping[str, Any],
    table: Standings,
    best: Best,
    distances: Mapping[str, Estimate],
    agreements: Mapping[str, Estimate],
) -> Iterator[Row]:
    def row(model: str, name: str, estimate: Estimate) -> Row:
        seed = question["seed"]
        return Row(data=question["data"], model=model, seed=seed, name=name, estimate=estimate)

    for g in table.generators:
        yield row(g.name, "rating", table.rating(g))
        yield row(g.name, "Glicko-2 rating", table.streamed(g.name))
        yield row(g.name, "energy (pixels)", distances[g.name])
    for c in table.critics:
        yield row(CRITIC + c.name, "rating", table.rating(c, critic=True))
        yield row(CRITIC + c.name, "Glicko-2 rating", table.streamed(CRITIC + c.name))
    for (g_name, c_name), rate in table.rates.items():
        yield row(g_name, f"win rate against {CRITIC}{c_name}", rate)
    yield row(MIXTURE, "win rate against its worst critic", best.mixed)
    yield row(MIXTURE, "gain over the best single generator", best.gain)
    if MIXTURE in distances:
        yield row(MIXTURE, "energy (pixels)", distances[MIXTURE])
    for g, weight in best.generators.items():
        chosen = Estimate(value=weight, method="linear programme on half of the samples; chosen")
        yield row(g.name, f"weight in the {MIXTURE}", chosen)
    for name, rho in agreements.items():
        yield row(name, "rho of rating and energy distance", rho)


# ----------------------------------------------------------------------------
# The study: its question, its trials, its answer.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Tournament:
    """Generators and critics of some runs, all against all.

    Attributes:
        runs: Run folders of ``train`` or ``compare``, of the same data.
        own: Games of the user's own, of the same data.
        samples: Most samples of each generator; never more than the test split has.
        seed: Draws the samples.
        threads: Threads; part of what decides the last digits.
    """

    runs: tuple[str, ...]
    samples: Annotated[int, Between(20, 2**31)] = options.Tournament.samples
    seed: options.Seed = options.Tournament.seed
    threads: options.Threads = options.Tournament.threads
    own: tuple[OwnPlayers, ...] = ()

    @classmethod
    def of(
        cls, asked: options.Tournament, runs: Sequence[str], own: Sequence[OwnPlayers] = ()
    ) -> "Tournament":
        """Returns the study that ``gantlet tournament`` asks for.

        Args:
            asked: The options.
            runs: The run folders.
            own: Games of the user's own.
        """
        return cls(
            runs=tuple(runs),
            own=tuple(own),
            samples=asked.samples,
            seed=asked.seed,
            threads=asked.threads,
        )

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        trial = self._trial()
        return {
            "command": "tournament",
            "runs": [*self.runs, *(o.name for o in self.own)],
            "data": trial.data,
            "data_seed": trial.data_seed,
            "samples": self.samples,
            "seed": self.seed,
            "threads": self.threads,
            "fingerprint": trial.fingerprint,
        }

    def trials(self) -> Sequence[Trial]:
        """One: all matches together take seconds."""
        return [self._trial().written()]

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Plays all matches."""
        return run_tournament(trial, RunData(), folder, watch, own=self.own)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Rates everybody."""
        return answer(self.question(), outcomes, run)

    def _trial(self) -> TournamentTrial:
        if not self.runs and not self.own:
            raise UserError("Name at least one run folder, such as runs/demo.")
        check_fields(self)
        courses = courses_of(self.runs, self.own)
        trained = ModelTrial.of(courses[0].trial)
        return TournamentTrial(
            runs=self.runs,
            data=trained.data,
            data_seed=trained.data_seed,
            samples=self.samples,
            fingerprint=_fingerprint(courses),
            threads=self.threads,
            seed=self.seed,
        )


def _fingerprint(courses: Sequence[Contender]) -> str:
    """Returns a short name for what is in the runs, which may grow."""
    text = json.dumps([[c.name, c.trial.key, c.snapshots] for c in courses])
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
