"""Asynchronous training by workers: what is applied, how stale it is, and who dies."""

import csv
import os
import pickle
import signal
import sys
from collections import Counter, deque
from types import SimpleNamespace
from typing import final

import pytest
import torch
from torch import nn

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget
from gantlet.core.model import Game
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families, solvers
from gantlet.games.field import PlayerParameters
from gantlet.games.stale import read_trace
from gantlet.games.toys import PointPlayer
from gantlet.run.asynchronous import (
    AsyncPlay,
    AsyncRecord,
    Job,
    Lost,
    ProcessWorkers,
    Push,
    RayWorkers,
    SharedParameters,
    WorkerError,
    Workers,
    asynchronous,
    check_async,
    gradient_of,
    ray,
)
from gantlet.run.train import Plan, train
from gantlet.testing.contracts import Tug

SOLVER = "adam:lr=0.01,beta1=0.0,beta2=0.9,mode=simultaneous"


@final
class Scripted(Workers):
    """Workers in this process that answer in an order given beforehand.

    Args:
        order: Whose answer comes next; ``-i - 1`` kills worker ``i``, and ``(i, "twice")`` has it
            answer the same job twice.
    """

    def __init__(self, game, z, order):
        self._parameters = PlayerParameters(game)
        self.order = deque(order)
        self._now = z, 0
        self._jobs, self._again = {}, deque()
        self.applied, self.sent, self.closed = [], [], 0

    def publish(self, z, version):
        self._now = z.clone(), version

    def send(self, worker, job):
        self.sent.append((worker, job.number))
        # A worker reads the parameters when it begins.
        self._jobs[worker] = job, *self._now

    def wait(self):
        if self._again:
            return self._again.popleft()
        who = self.order.popleft()
        if isinstance(who, int) and who < 0:
            return Lost(-who - 1)
        worker = who if isinstance(who, int) else who[0]
        job, z, version = self._jobs[worker]
        here = self._parameters.read()
        self._parameters.write(z)
        gradient, losses = gradient_of(self._parameters, job.batch, job.seed)
        self._parameters.write(here)
        push = Push(
            worker=worker,
            job=job.number,
            version=version,
            gradient=gradient.flat.clone(),
            losses=losses,
            buffers=[b.clone() for b in self._parameters.buffers()],
        )
        if not isinstance(who, int):
            self._again.append(push)
        return push

    def replace(self, worker):
        pass

    def drop(self, worker):
        pass

    def close(self):
        self.closed += 1


def played(order, steps, game=None):
    game = game or Tug()
    teams, record = [], AsyncRecord()

    def hire(z):
        teams.append(Scripted(game, z, order))
        return teams[0]

    play = AsyncPlay(solvers.make(SOLVER), game, hire, 2, record)
    noise, taken, work = Rng(0).stream("noise"), 0, []
    for _ in range(steps):
        n = play.batches
        work.append(play.work)
        batch = torch.cat(
            [torch.randn(8, 3, generator=Rng(taken + i).stream("x")) for i in range(n)]
        )
        taken += n
        play.step(batch, rng=noise)
    play.close()
    return game, record, teams[0] if teams else None, work


def place(game):
    return PlayerParameters(game).read()


def test_one_worker_is_synchronous_training_bit_for_bit():
    """In the order of one worker after the other nothing is stale but the first of the second."""
    game, record, _, _ = played([0] * 5, 6)
    twin, noise = Tug(), Rng(0).stream("noise")
    moved = solvers.make(SOLVER).start(twin)
    parameters = PlayerParameters(twin)
    assert set(record.staleness) == {0}
    # The same jobs: batch 2 went to the second worker, who never answered.
    seeds = [int(torch.randint(2**62, (), generator=noise)) for _ in range(7)]
    memory = solvers.make(SOLVER).begin(parameters.home())
    for i in (0, 1, 3, 4, 5, 6):
        batch = torch.randn(8, 3, generator=Rng(i).stream("x"))
        gradient, _ = gradient_of(parameters, batch, seeds[i])
        with parameters.moving() as home:
            _, memory = solvers.make(SOLVER).step([Fixed(gradient)], home, memory)
    assert torch.equal(place(twin), place(game))
    assert moved.state_dict()


class Fixed:
    """A field that is the same everywhere."""

    def __init__(self, gradient):
        self.gradient = gradient

    def value(self, z):
        return self.gradient


def test_staleness_is_the_number_of_updates_since_the_pull():
    # Both begin at version 0. Worker 0 answers three times before worker 1 does.
    _, record, team, work = played([0, 0, 0, 1, 1, 0], 7)
    assert record.staleness == [0, 0, 0, 0, 3, 0, 2]
    assert record.workers == [-1, 0, 0, 0, 1, 1, 0]
    assert record.histogram() == {0: 5, 2: 1, 3: 1}
    # The first step is made here, the second begins two gradients, the others one.
    assert work == [1, 2, 1, 1, 1, 1, 1]
    assert record.in_flight == 1
    assert team.closed == 1


def test_no_update_is_applied_twice():
    _, once, _, _ = played([0, 1, 0, 1, 0], 6)
    game, record, _, _ = played([(0, "twice"), 1, (0, "twice"), 1, 0], 6)
    assert record.discarded == 2
    assert record.staleness == once.staleness
    assert torch.equal(place(game), place(played([0, 1, 0, 1, 0], 6)[0]))


def test_a_dead_worker_is_replaced_and_its_batch_computed_again():
    game, record, team, work = played([0, -2, 0, 1, 0], 5)
    assert record.deaths == 1
    assert record.dropped == 0
    # Its job has a new number, and cost a gradient more.
    numbers = [n for w, n in team.sent if w == 1]
    assert len(numbers) == len(set(numbers)) == 3
    assert work == [1, 2, 1, 2, 1]
    assert torch.isfinite(place(game)).all()


def test_a_worker_that_only_dies_is_dropped_and_all_of_them_end_training():
    _, record, _, work = played([-2, -2, -2, -2, 0, 0, 0], 4)
    assert (record.deaths, record.dropped) == (3, 1)
    assert work == [1, 2, 5, 1]
    with pytest.raises(UserError, match="All 2 workers of asynchronous training died again"):
        played([-1, -2] * 5, 3)


def test_a_checkpoint_holds_the_record_and_what_the_solver_remembers():
    game = Tug()
    record = AsyncRecord()
    play = AsyncPlay(solvers.make(SOLVER), game, lambda z: Scripted(game, z, [0, 1, 0]), 2, record)
    noise = Rng(0).stream("noise")
    for _ in range(4):
        play.step(torch.randn(8 * play.batches, 3, generator=Rng(1).stream("x")), rng=noise)
    saved = play.state_dict()
    again = AsyncRecord()
    other = AsyncPlay(solvers.make(SOLVER), game, lambda z: Scripted(game, z, [1, 1]), 2, again)
    other.load_state_dict(saved)
    assert (again.staleness, again.workers) == (record.staleness, record.workers)
    # What was in flight is lost: both workers begin again, which the budget pays for.
    assert other.batches == other.work == 2
    other.step(torch.randn(16, 3, generator=Rng(2).stream("x")), rng=noise)
    assert len(again.staleness) == 5


def test_what_is_lost_with_a_worker_is_still_owed_after_a_checkpoint():
    game, noise = Tug(), Rng(0).stream("noise")

    def start(order):
        hire = lambda z: Scripted(game, z, order)  # noqa: E731
        return AsyncPlay(solvers.make(SOLVER), game, hire, 2, AsyncRecord())

    play = start([0, -2, 0])
    for _ in range(3):
        play.step(torch.randn(8 * play.batches, 3, generator=Rng(1).stream("x")), rng=noise)
    assert play.work == 2
    other = start([])
    other.load_state_dict(play.state_dict())
    # Both workers begin again, and one gradient was lost before.
    assert (other.batches, other.work) == (2, 3)


@final
class Served:
    """A solver whose two workers answer in turn, in this process."""

    def start(self, game):
        def hire(z):
            return Scripted(game, z, [0, 1] * 500)

        return AsyncPlay(solvers.make(SOLVER), game, hire, 2, AsyncRecord())


def watched(game):
    """Returns the numbers of samples that a game is validated with from now on."""
    seen, validate = set(), game.validate

    def counted(x, *, rng):
        seen.add(len(x))
        return validate(x, rng=rng)

    game.validate = counted
    return seen


@pytest.mark.parametrize("budget", [Budget(examples=3200), Budget(steps=100), Budget(flops=2e9)])
def test_as_many_samples_validate_as_without_workers(budget):
    """The second step begins two gradients, which is no sign that a gradient costs more."""
    found = []
    for solver in (solvers.make(SOLVER), Served()):
        data, game = ring()
        seen = watched(game)
        trained = train(game, solver, data, Plan(budget=budget, batch=32), rng=Rng(0))
        assert budget.fits(trained.spend)
        found.append((seen, trained.curve[1]["step"]))
    assert found[0][0] == found[1][0]
    assert abs(found[0][1] - found[1][1]) <= 2


def test_shared_parameters_are_read_whole():
    shared = SharedParameters(torch.zeros(5))
    for version in range(1, 6):
        shared.publish(torch.full((5,), float(version)), version)
        z, seen = shared.pull()
        assert (z.tolist(), seen) == ([float(version)] * 5, version)


@pytest.mark.parametrize(
    "text", ["adam", "sga", "extragradient", "langevin", "history", "stale:of=adam"]
)
def test_a_solver_with_other_gradients_is_refused(text):
    with pytest.raises(UserError, match="moves all players at once by one gradient"):
        check_async(solvers.make(text), text, Tug())


@pytest.mark.parametrize("text", [SOLVER, "optimistic", "lookahead:mode=simultaneous"])
def test_a_solver_of_one_gradient_is_taken(text):
    check_async(solvers.make(text), text, Tug())


# ----------------------------------------------------------------------------
# Real workers.
# ----------------------------------------------------------------------------


def ring():
    space = datasets.make("ring").space
    assert isinstance(space, Space)
    return datasets.make("ring").load(rng=Rng(0)), families.make("gan").build(space, rng=Rng(0))


def plan(steps):
    return Plan(budget=Budget(steps=steps), batch=32, validations=2)


@pytest.mark.slow
def test_two_processes_train_a_gan_and_one_that_is_killed_is_replaced():
    data, game = ring()
    first = place(game)
    pids = []

    with asynchronous(solvers.make(SOLVER), workers=2) as solver:
        plays = []
        start = solver.start
        # What the loop plays, so that its processes can be found.
        solver.start = lambda g: plays.append(start(g)) or plays[-1]

        def watch(used):
            team = plays[-1].team
            if isinstance(team, ProcessWorkers) and not pids and used > 0.3:
                pids.extend(team.processes)
                os.kill(pids[1], signal.SIGKILL)

        trained = train(game, solver, data, plan(60), rng=Rng(0), watch=watch)
        record = solver.record
    assert trained.spend.steps == len(record.staleness) == 60
    assert record.deaths == 1
    assert {-1, 0, 1} == set(record.workers)
    assert max(record.staleness) >= 1
    assert not torch.equal(first, place(game))
    # One gradient more was begun than was applied, and one was lost with its worker: all are paid.
    data, twin = ring()
    alone = train(twin, solvers.make(SOLVER), data, plan(60), rng=Rng(0))
    extra = (trained.spend.flops - alone.spend.flops) / trained.step_flops
    assert extra == pytest.approx(2, abs=1e-9)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_the_trace_of_a_training_can_be_replayed(tmp_path):
    _, record, _, _ = played([0, 0, 0, 1, 1, 0], 7)
    file = tmp_path / "staleness.csv"
    file.write_text(record.trace())
    assert read_trace(file) == record.staleness
    rows = list(csv.DictReader(record.trace().splitlines()))
    assert Counter(int(r["worker"]) for r in rows) == Counter(record.workers)


def test_the_simulator_follows_a_recorded_training_bit_for_bit(tmp_path):
    """The same batches and noise at the same delays are the same training."""
    game, record, _, _ = played([0, 0, 1, 1, 0, 0, 1], 8, Still())
    file = tmp_path / "staleness.csv"
    file.write_text(record.trace())
    twin = Still()
    play = solvers.make(f'stale:delays=replay,path={file},of="{SOLVER}"').start(twin)
    for _ in range(8):
        play.step(torch.zeros(8, 3), rng=Rng(0).stream("noise"))
    assert torch.equal(place(twin), place(game))


class Still(Tug):
    """A game whose losses depend on no batch and no noise."""

    def loss(self, player, batch, *, rng):
        return super().loss(player, torch.ones(8, 3), rng=Rng(3).stream("noise"))


@final
class Breaks(Game):
    """A game whose losses fail."""

    def __init__(self):
        self._player = PointPlayer(torch.zeros(3))

    @property
    def players(self):
        return {"player": self._player}

    def loss(self, player, batch, *, rng):
        raise ValueError("no such\ncolumn")


def reported_by(team):
    """Returns what workers report of losses that fail."""
    try:
        team.send(0, Job(number=1, batch=torch.zeros(4, 2), seed=0))
        with pytest.raises(WorkerError, match=r"worker.*: ValueError: no such column") as error:
            team.wait()
    finally:
        team.close()
    return "".join(error.value.__notes__)


@pytest.mark.slow
def test_an_error_of_the_losses_in_a_process_is_reported_and_not_tried_again():
    team = ProcessWorkers(Breaks(), torch.zeros(3), count=1, threads=1)
    assert "in loss" in reported_by(team)


# ----------------------------------------------------------------------------
# Ray: all but its actors is tested with a stand-in that runs them in this process.
# ----------------------------------------------------------------------------


class TaskError(Exception):
    def __init__(self, cause):
        super().__init__(f"traceback of {cause}")
        self.cause = cause


class ActorError(Exception):
    pass


@final
class StandIn:
    """The part of Ray that is used: objects by reference, actors that are asked and may die.

    Args:
        cluster: Whether one runs already, to which ``init`` connects.
    """

    exceptions = SimpleNamespace(RayTaskError=TaskError, RayActorError=ActorError)
    cloudpickle = pickle

    def __init__(self, cluster=False):
        self.cluster, self.calls, self.actors = cluster, [], []
        self._connected = False

    def is_initialized(self):
        return self._connected

    def init(self, *, num_cpus=None, **_):
        if self.cluster and num_cpus is not None:
            raise ValueError(
                "When connecting to an existing cluster, num_cpus must not be provided."
            )
        self._connected = True
        self.calls.append(("init", num_cpus))

    def shutdown(self):
        self._connected = False
        self.calls.append("shutdown")

    def put(self, value):
        return ("object", value)

    def remote(self, **_):
        def of(cls):
            def new(*args):
                actor = SimpleNamespace(of=cls(*args), packed=args[0], dead=False)
                actor.gradient = SimpleNamespace(remote=lambda *a: Promise(actor, a))
                self.actors.append(actor)
                return actor

            return SimpleNamespace(remote=new)

        return of

    def wait(self, promises, *, num_returns):
        assert num_returns == 1
        return promises[:1], promises[1:]

    def get(self, promise):
        if promise.actor.dead:
            raise ActorError
        (_, place), batch, seed = promise.asked
        try:
            return promise.actor.of.gradient(place, batch, seed)
        except ValueError as error:
            raise TaskError(error) from error

    def kill(self, actor):
        actor.dead = True


@final
class Promise:
    def __init__(self, actor, asked):
        self.actor, self.asked = actor, asked


@pytest.fixture
def stand_in(monkeypatch):
    found = StandIn()
    monkeypatch.setitem(sys.modules, "ray", found)
    return found


@final
class Counted(Game):
    """A game with a buffer: how often it was asked for its loss."""

    def __init__(self):
        self._player = nn.BatchNorm1d(3)

    @property
    def players(self):
        return {"player": self._player}

    def loss(self, player, batch, *, rng):
        return self._player(batch).square().mean()


def test_actors_train_and_one_that_is_killed_begins_with_the_buffers_of_now(stand_in):
    game, batch = Counted(), torch.randn(16, 3, generator=Rng(0).stream("x"))
    with asynchronous(solvers.make(SOLVER), workers=2, engine="ray") as solver:
        play, noise = solver.start(game), Rng(0).stream("noise")
        for step in range(8):
            if step == 5:
                stand_in.kill(play.team.processes[0])
            play.step(batch.repeat(play.batches, 1), rng=noise)
        record = solver.record
    assert (len(record.staleness), record.deaths, record.in_flight) == (8, 1, 1)
    # Both begin at the place of the first step, and wait in a row.
    assert record.staleness[:4] == [0, 0, 1, 1]
    (first, _, new) = (pickle.loads(a.packed).players["player"] for a in stand_in.actors)
    assert int(first.num_batches_tracked) == 1
    assert int(new.num_batches_tracked) > 1
    assert stand_in.calls == [("init", 2), "shutdown"]
    assert all(actor.dead for actor in stand_in.actors)


def test_actors_run_on_a_cluster_that_is_there(stand_in):
    stand_in.cluster = True
    RayWorkers(Counted(), torch.zeros(6), count=2, threads=1).close()
    assert stand_in.calls == [("init", None), "shutdown"]
    # One that the program is connected to is left so.
    stand_in.init()
    RayWorkers(Counted(), torch.zeros(6), count=2, threads=1).close()
    assert stand_in.is_initialized()


@pytest.mark.usefixtures("stand_in")
def test_an_error_of_the_losses_in_an_actor_is_reported():
    assert "traceback" in reported_by(RayWorkers(Breaks(), torch.zeros(3), count=1, threads=1))


@pytest.mark.slow
def test_two_ray_actors_train_a_gan_and_one_that_is_killed_is_replaced():
    try:
        library = ray()
    except UserError:
        pytest.skip("needs the package ray, with real actors: pip install 'gantlet[ray]'")
    data, game = ring()
    with asynchronous(solvers.make(SOLVER), workers=2, engine="ray") as solver:
        plays, killed = [], []
        start = solver.start
        solver.start = lambda g: plays.append(start(g)) or plays[-1]

        def watch(used):
            if not killed and used > 0.5:
                killed.append(plays[-1].team.processes[1])
                library.kill(killed[0])

        trained = train(game, solver, data, plan(30), rng=Rng(0), watch=watch)
        record = solver.record
    assert trained.spend.steps == len(record.staleness) == 30
    assert record.deaths == 1
    assert {-1, 0, 1} == set(record.workers)
    assert max(record.staleness) >= 1


def test_without_ray_the_user_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'gantlet\[ray\]'"):
        ray()
