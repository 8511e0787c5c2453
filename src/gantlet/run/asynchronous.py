"""Asynchronous training: workers compute gradients at parameters that others move meanwhile.

The training loop stays what it is. Its solver becomes a server: each step hands a batch to an idle
worker, waits for any worker's gradient, and applies it to the parameters as they are by then.
Gradients carry the version of the parameters that they were computed at, so that the staleness of
every update is known; it is recorded, and ``stale:delays=replay`` repeats it.

Workers are processes on this host with shared memory, or Ray actors, behind the same ``Workers``.
One that dies is replaced, and its batch is computed again.
"""

import abc
import io
import os
import pickle
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing.connection import Connection, wait
from typing import Any, final

import torch
from torch import Tensor, multiprocessing
from typing_extensions import override

from gantlet.core.errors import UserError
from gantlet.core.model import Game, Generative, Losses, Play, Solver
from gantlet.games.field import Field, Networks, PlayerParameters, Slopes, Vector
from gantlet.games.solvers import Memory, Update
from gantlet.games.stale import COLUMN
from gantlet.options import AsyncEngine
from gantlet.run.execute import deaf_to_interrupts, environment, without_main
from gantlet.run.worker import end_with

# A worker that dies so many times in a row, with no gradient in between, is not replaced again.
_MOST_DEATHS = 3

# ----------------------------------------------------------------------------
# What goes to workers, and what comes back.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One gradient to be computed.

    Attributes:
        number: Which one; no two that the same workers are given have the same.
        batch: Real samples.
        seed: From which the noise of the losses follows.
    """

    number: int
    batch: Tensor
    seed: int


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """A gradient that a worker computed.

    Attributes:
        worker: Whose.
        job: Of which job.
        version: The version of the parameters that it was computed at.
        gradient: Of all players, each of its own loss, flat.
        losses: The losses there.
        buffers: Buffers of the players, such as running means, as the worker has them now.
    """

    worker: int
    job: int
    version: int
    gradient: Tensor
    losses: Losses
    buffers: Sequence[Tensor] = ()


@final
@dataclass(frozen=True, slots=True)
class Lost:
    """A worker that died.

    Attributes:
        worker: Which.
    """

    worker: int


@final
class WorkerError(RuntimeError):
    """The losses of a game failed in a worker, as they would have failed here."""


def _in_one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _failed_in_worker(error: str, trace: str) -> WorkerError:
    found = WorkerError(f"in a worker of asynchronous training: {error}")
    found.add_note(trace)
    return found


@final
class GradientWorker:
    """Computes gradients of a game; lives in a process of its own.

    Args:
        packed: The game, pickled.
        threads: Threads of its computations.
    """

    def __init__(self, packed: bytes, threads: int) -> None:
        torch.set_num_threads(threads)
        self._parameters = PlayerParameters(pickle.loads(packed))  # noqa: S301  (of the parent)

    def gradient(self, z: Tensor, batch: Tensor, seed: int) -> tuple[Tensor, Losses, list[Tensor]]:
        """Returns the gradient at ``z``, the losses, and the buffers after that.

        Args:
            z: Parameters of all players, flat.
            batch: Real samples.
            seed: From which noise follows.
        """
        self._parameters.write(z.to(self._parameters.all[0]))
        found, losses = gradient_of(self._parameters, batch, seed)
        return found.flat.cpu(), losses, [b.cpu() for b in self._parameters.buffers()]


def gradient_of(parameters: PlayerParameters, batch: Tensor, seed: int) -> tuple[Vector, Losses]:
    """Returns the gradient of all players where they stand, and their losses."""
    losses: dict[str, float] = {}
    device = parameters.all[0].device
    rng = torch.Generator(device).manual_seed(seed)
    looked = Networks(parameters, batch.to(device), rng=rng, losses=losses)
    with parameters.moving() as home:
        return looked.value(home), losses


class Workers(abc.ABC):
    """Some workers, each with at most one job at a time."""

    @abc.abstractmethod
    def publish(self, z: Tensor, version: int) -> None:
        """Makes new parameters known: jobs that begin from now on see these, or later ones."""

    @abc.abstractmethod
    def send(self, worker: int, job: Job) -> None:
        """Gives a job to an idle worker."""

    @abc.abstractmethod
    def wait(self) -> Push | Lost:
        """Returns the next gradient, or death of a worker.

        Raises:
            WorkerError: If the losses of the game failed in a worker.
        """

    @abc.abstractmethod
    def replace(self, worker: int) -> None:
        """Starts a worker in the place of one that died, with the game as it is now."""

    @abc.abstractmethod
    def drop(self, worker: int) -> None:
        """Goes on without a worker that died."""

    @abc.abstractmethod
    def close(self) -> None:
        """Ends all workers; what they were computing is lost."""


# ----------------------------------------------------------------------------
# Processes on this host. Nobody takes a lock that a dead process could keep.
# ----------------------------------------------------------------------------


def _shared(tensor: Tensor) -> Tensor:
    moved: Tensor = tensor.share_memory_()  # type: ignore[no-untyped-call]
    return moved


@final
class SharedParameters:
    """Parameters in shared memory, written by one process and read by others without a lock.

    Versions are written to two places in turn. A reader takes that of the newest version and reads
    again if a newer one appeared meanwhile: the one after that may be being written over it.

    Args:
        z: The first parameters, flat.
    """

    def __init__(self, z: Tensor) -> None:
        self._slots = _shared(torch.stack([z, z]))
        self._version = _shared(torch.zeros(1, dtype=torch.int64))

    def publish(self, z: Tensor, version: int) -> None:
        """Writes the parameters of a version, one above the last."""
        self._slots[version % 2].copy_(z)
        self._version[0] = version

    def pull(self) -> tuple[Tensor, int]:
        """Returns a copy of the newest parameters, and their version."""
        while True:
            version = int(self._version)
            z = self._slots[version % 2].clone()
            if int(self._version) == version:
                return z, version


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Post:
    """What a process works with.

    Attributes:
        packed: The game, pickled.
        parameters: Where its parameters are read.
        gradient: Where its gradient is written.
        threads: Threads of its computations.
        parent: The process that it works for.
    """

    packed: bytes
    parameters: SharedParameters
    gradient: Tensor
    threads: int
    parent: int


@final
@dataclass(frozen=True, slots=True)
class _Failed:
    """What a process says of an error of the game.

    Attributes:
        error: The error in one line.
        trace: Where it happened.
    """

    error: str
    trace: str


def _serve(connection: Connection, post: _Post) -> None:
    """Computes gradients until there is nobody to send them to, or the game fails."""
    end_with(post.parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _answer(connection, post)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except Exception as error:  # noqa: BLE001  (losses are of the user, and may fail in any way)
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.send(_Failed(_in_one_line(error), traceback.format_exc()))


def _answer(connection: Connection, post: _Post) -> None:
    worker = GradientWorker(post.packed, post.threads)
    while True:
        number, batch, seed = connection.recv()
        z, version = post.parameters.pull()
        found, losses, buffers = worker.gradient(z, torch.from_numpy(batch), seed)
        post.gradient.copy_(found)
        # As arrays: tensors would each be put into a shared file of their own.
        arrays = [b.numpy() for b in buffers]
        connection.send((number, version, dict(losses), arrays))


@final
class ProcessWorkers(Workers):
    """Processes on this host that read parameters from shared memory and write gradients to it.

    Args:
        game: The game as it is now.
        z: Its parameters, flat.
        count: How many.
        threads: Threads of each.

    Raises:
        UserError: If the game cannot be sent to another process.
    """

    def __init__(self, game: Game, z: Tensor, *, count: int, threads: int) -> None:
        self._game = game
        self._is_of_main = _is_of_main(game)
        self._threads = threads
        self._parameters = SharedParameters(z.cpu())
        self._gradients = [_shared(torch.zeros_like(z, device="cpu")) for _ in range(count)]
        self._connections: dict[int, Connection] = {}
        self._processes: dict[int, Any] = {}
        self._last = 0
        for i in range(count):
            self._place(i)

    def _place(self, worker: int) -> None:
        context = multiprocessing.get_context("spawn")
        mine, theirs = context.Pipe()
        post = _Post(
            packed=pack(self._game),
            parameters=self._parameters,
            gradient=self._gradients[worker],
            threads=self._threads,
            parent=os.getpid(),
        )
        process = context.Process(target=_serve, args=(theirs, post), daemon=True)
        with environment(self._threads), deaf_to_interrupts(), without_main(not self._is_of_main):
            process.start()
        theirs.close()
        self._connections[worker], self._processes[worker] = mine, process

    @property
    def processes(self) -> list[int]:
        """The process ids of all workers."""
        return [process.pid for process in self._processes.values()]

    @override
    def publish(self, z: Tensor, version: int) -> None:
        self._parameters.publish(z, version)

    @override
    def send(self, worker: int, job: Job) -> None:
        # That it is dead is seen when its answer is waited for.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._connections[worker].send((job.number, job.batch.cpu().numpy(), job.seed))

    @override
    def wait(self) -> Push | Lost:
        ready = wait(list(self._connections.values()))
        # Whoever is ready and comes next after the last one: nobody waits for long.
        order = sorted(self._connections, key=lambda i: (i <= self._last, i))
        self._last = worker = next(i for i in order if self._connections[i] in ready)
        try:
            answer = self._connections[worker].recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            return Lost(worker)
        if isinstance(answer, _Failed):
            raise _failed_in_worker(answer.error, answer.trace)
        job, version, losses, buffers = answer
        return Push(
            worker=worker,
            job=job,
            version=version,
            gradient=self._gradients[worker],
            losses=losses,
            buffers=[torch.from_numpy(b) for b in buffers],
        )

    @override
    def replace(self, worker: int) -> None:
        self.drop(worker)
        self._place(worker)

    @override
    def drop(self, worker: int) -> None:
        process, connection = self._processes.pop(worker), self._connections.pop(worker)
        process.kill()
        process.join()
        connection.close()

    @override
    def close(self) -> None:
        for worker in list(self._processes):
            self.drop(worker)


def pack(game: Game, dumps: Callable[[Game], bytes] = pickle.dumps) -> bytes:
    """Returns a game as another process can read it.

    Raises:
        UserError: If it holds what cannot be sent, such as a local function.
    """
    try:
        return dumps(game)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"Asynchronous training sends the model to other processes, which this one does not "
            f"allow ({reason}). Define its networks and losses at the top of a module."
        ) from error


def _is_of_main(game: Game) -> bool:
    """Returns whether a game has parts that only the program that runs defines."""
    modules = {type(m).__module__ for p in game.players.values() for m in p.modules()}
    return "__main__" in modules | {type(game).__module__}


# ----------------------------------------------------------------------------
# Ray actors.
# ----------------------------------------------------------------------------


@final
class RayWorkers(Workers):
    """Ray actors, here or on other hosts; parameters go by Ray's object store.

    They run on the cluster that this process is connected to, or else on the one that Ray finds by
    itself: that of RAY_ADDRESS, or one that ``ray start`` started on this host. Where there is
    none, one is started for this training and ended with it.

    Args:
        game: The game as it is now.
        z: Its parameters, flat.
        count: How many.
        threads: Threads of each.

    Raises:
        UserError: If Ray is not installed.
    """

    def __init__(self, game: Game, z: Tensor, *, count: int, threads: int) -> None:
        self._ray = ray()
        self._is_ours = not self._ray.is_initialized()
        if self._is_ours:
            self._connect(count)
        self._game = game
        self._threads = threads
        self._actor = self._ray.remote(num_cpus=1, max_restarts=0)(GradientWorker)
        self._actors = {i: self._new() for i in range(count)}
        self._current = self._ray.put(z.cpu()), 0
        self._running: dict[Any, tuple[int, int, int]] = {}

    def _connect(self, count: int) -> None:
        try:
            # One core for each actor, whatever the machine has: they wait for one another anyway.
            self._ray.init(num_cpus=count, include_dashboard=False, log_to_driver=False)
        except ValueError:
            # Ray found a cluster that runs, whose number of cores cannot be set.
            self._ray.init(log_to_driver=False)

    def _new(self) -> Any:
        # Ray's own pickle also sends what only the program that runs defines.
        packed = pack(self._game, self._ray.cloudpickle.dumps)
        return self._actor.remote(packed, self._threads)

    @property
    def processes(self) -> list[Any]:
        """The handles of all actors."""
        return list(self._actors.values())

    @override
    def publish(self, z: Tensor, version: int) -> None:
        self._current = self._ray.put(z.cpu()), version

    @override
    def send(self, worker: int, job: Job) -> None:
        place, version = self._current
        promise = self._actors[worker].gradient.remote(place, job.batch.cpu(), job.seed)
        self._running[promise] = worker, job.number, version

    @override
    def wait(self) -> Push | Lost:
        (promise,), _ = self._ray.wait(list(self._running), num_returns=1)
        worker, job, version = self._running.pop(promise)
        try:
            gradient, losses, buffers = self._ray.get(promise)
        except self._ray.exceptions.RayActorError:
            return Lost(worker)
        except self._ray.exceptions.RayTaskError as error:
            raise _failed_in_worker(_in_one_line(error.cause), str(error)) from error
        return Push(
            worker=worker,
            job=job,
            version=version,
            gradient=gradient,
            losses=losses,
            buffers=buffers,
        )

    @override
    def replace(self, worker: int) -> None:
        self._actors[worker] = self._new()

    @override
    def drop(self, worker: int) -> None:
        del self._actors[worker]

    @override
    def close(self) -> None:
        for actor in self._actors.values():
            self._ray.kill(actor)
        self._actors = {}
        if self._is_ours:
            self._ray.shutdown()


def ray() -> Any:
    """Returns the Ray library.

    Raises:
        UserError: If it is not installed.
    """
    # Nothing of a training leaves this host unasked.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        return import_module("ray")
    except ImportError as error:
        raise UserError(
            "--async-engine ray needs the package ray, which is not installed. Run: pip install "
            "'gantlet[ray]', or leave the option out: workers are then processes on this host."
        ) from error


_ENGINES: Mapping[AsyncEngine, Callable[..., Workers]] = {
    "processes": ProcessWorkers,
    "ray": RayWorkers,
}

# ----------------------------------------------------------------------------
# The server: a solver that waits for gradients.
# ----------------------------------------------------------------------------


@final
@dataclass(slots=True, kw_only=True)
class AsyncRecord:
    """The course of an asynchronous training.

    Attributes:
        staleness: Of every update, in order: how many updates were applied between the pull of the
            parameters and the push of the gradient.
        workers: Whose gradient it was; -1 is this process, which makes the first one.
        deaths: How often a worker died and was replaced.
        dropped: How many died and were not replaced.
        discarded: Gradients that came for a job that was done, and were not applied.
        in_flight: Gradients that were being computed when training ended, and were not applied.
    """

    staleness: list[int] = field(default_factory=list[int])
    workers: list[int] = field(default_factory=list[int])
    deaths: int = 0
    dropped: int = 0
    discarded: int = 0
    in_flight: int = 0

    def histogram(self) -> dict[int, int]:
        """Returns how many updates had each staleness, in order."""
        return dict(sorted(Counter(self.staleness).items()))

    def trace(self) -> str:
        """Returns the staleness of every update as CSV, for ``stale:delays=replay``."""
        text = io.StringIO()
        text.write(f"update,worker,{COLUMN}\n")
        rows = zip(self.workers, self.staleness, strict=True)
        text.writelines(f"{i},{worker},{late}\n" for i, (worker, late) in enumerate(rows))
        return text.getvalue()

    def details(self) -> dict[str, Any]:
        """Returns what an outcome keeps of it, as plain JSON values."""
        return {
            "staleness": {str(late): n for late, n in self.histogram().items()},
            "deaths": self.deaths,
            "dropped": self.dropped,
            "discarded": self.discarded,
            "in flight": self.in_flight,
        }

    def state(self) -> dict[str, Any]:
        """Returns the record as tensors and plain values."""
        return {
            "staleness": torch.tensor(self.staleness),
            "workers": torch.tensor(self.workers),
            "counts": [self.deaths, self.dropped, self.discarded],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state`` returned."""
        self.staleness = state["staleness"].tolist()
        self.workers = state["workers"].tolist()
        self.deaths, self.dropped, self.discarded = state["counts"]


@final
class _Pushed(Field):
    """A field of which one gradient is known: that at the place where the players stand.

    Args:
        home: That place.
        gradient: The gradient.
    """

    def __init__(self, home: Vector, gradient: Tensor) -> None:
        self.layout = home.layout
        self._home = home
        self._gradient: Tensor | None = gradient

    @override
    def value(self, z: Vector) -> Vector:
        if z is not self._home or self._gradient is None:
            raise _Unfit
        found, self._gradient = self._gradient, None
        return Vector(self.layout, found.clone().to(z.parts[0]))

    @override
    def own(self, player: str, z: Vector) -> Sequence[Tensor]:
        raise _Unfit

    @override
    def slopes(self, z: Vector, *, cross: bool = True) -> Slopes:
        raise _Unfit


class _Unfit(Exception):  # noqa: N818  (an answer, not an error)
    """A solver asks for other gradients than workers send."""


def check_async(solver: Solver, name: str, game: Game) -> Update:
    """Returns a solver that can be played asynchronously.

    Args:
        solver: The solver.
        name: Its written form.
        game: What it would train.

    Raises:
        UserError: If it takes other gradients than one of all players where they stand, or the
            game remembers earlier steps.
    """
    if isinstance(game, Generative) and game.remembers:
        raise UserError(
            "Workers of asynchronous training cannot share what a game remembers of earlier "
            "steps, such as past fakes. Leave out history= or --async."
        )
    if isinstance(solver, Update):
        parameters = PlayerParameters(game)
        home = Vector(parameters.layout, parameters.read())
        with suppress(_Unfit):
            _apply(solver, home, torch.zeros_like(home.flat), solver.begin(home))
            return solver
    raise UserError(
        "Asynchronous training needs a solver that moves all players at once by one gradient: "
        f"adam, sgd or lookahead with mode=simultaneous, or optimistic. Got {name!r}."
    )


def _apply(
    solver: Update, home: Vector, gradient: Tensor, memory: Memory
) -> tuple[Vector, Memory]:
    """Returns where the players go by one gradient, and what the solver then remembers."""
    if solver.batches != 1:
        raise _Unfit
    return solver.step([_Pushed(home, gradient)], home, memory)


@final
class Asynchronous:
    """A solver played by workers; see ``asynchronous``.

    Args:
        update: What moves the players by each gradient.
        workers: How many workers.
        engine: What they are.
        threads: Threads of each.
    """

    def __init__(self, update: Update, *, workers: int, engine: AsyncEngine, threads: int) -> None:
        self.record = AsyncRecord()
        self._update = update
        self._workers = workers
        self._engine: AsyncEngine = engine
        self._threads = threads
        self._play: AsyncPlay | None = None

    def start(self, game: Game) -> "AsyncPlay":
        """Returns the solver, ready to play ``game``; workers start with the second step."""
        self.close()
        self.record = AsyncRecord()

        def hire(z: Tensor) -> Workers:
            return _ENGINES[self._engine](game, z, count=self._workers, threads=self._threads)

        self._play = AsyncPlay(self._update, game, hire, self._workers, self.record)
        return self._play

    def close(self) -> None:
        """Ends all workers."""
        if self._play is not None:
            self._play.close()


@contextmanager
def asynchronous(
    update: Update, *, workers: int, engine: AsyncEngine = "processes", threads: int = 1
) -> Generator[Asynchronous]:
    """Yields a solver whose gradients are computed by workers, which end with the block.

    Which update a gradient meets depends on the timing of workers: the result does not repeat bit
    for bit. The staleness of every update is in its ``record``.

    Args:
        update: What moves the players by each gradient.
        workers: How many workers.
        engine: Processes on this host, or Ray actors.
        threads: Threads of each.
    """
    solver = Asynchronous(update, workers=workers, engine=engine, threads=threads)
    try:
        yield solver
    finally:
        solver.close()


@final
class AsyncPlay(Play):
    """An asynchronous training between two steps.

    The first step of a training is made by this process alone, so that the cost of a step is
    counted; the second hands a batch to every worker.

    Args:
        update: What moves the players by each gradient.
        game: The game.
        hire: Starts the workers.
        count: How many there will be.
        record: Where the course of training is noted.
    """

    def __init__(
        self,
        update: Update,
        game: Game,
        hire: Callable[[Tensor], Workers],
        count: int,
        record: AsyncRecord,
    ) -> None:
        self._update = update
        self._parameters = PlayerParameters(game)
        self._memory = update.begin(self._parameters.home())
        self._hire = hire
        self._count = count
        self._record = record
        self._team: Workers | None = None
        self._jobs: dict[int, Job] = {}
        self._idle = list(range(count))
        self._number = self._version = self._owed = 0
        self._in_a_row = Counter[int]()

    @property
    def team(self) -> Workers | None:
        """The workers, or None before they have started."""
        return self._team

    @property
    @override
    def batches(self) -> int:
        return len(self._idle) if self._record.staleness else 1

    @property
    @override
    def work(self) -> int:
        """Gradients that the next step begins, and those lost with workers since the last."""
        return self.batches + self._owed

    @override
    def step(self, batch: Tensor, *, rng: torch.Generator) -> Losses:
        parts = batch.chunk(self.batches)
        self._owed = 0
        jobs = [self._job(part, rng) for part in parts]
        if not self._record.staleness:
            gradient, losses = gradient_of(self._parameters, jobs[0].batch, jobs[0].seed)
            self._move(gradient.flat, worker=-1, staleness=0)
            return losses
        team = self._team or self._start()
        for worker, job in zip(self._idle, jobs, strict=True):
            self._jobs[worker] = job
            team.send(worker, job)
        self._idle = []
        push = self._next(team)
        self._take_buffers(push.buffers)
        self._move(push.gradient, worker=push.worker, staleness=self._version - push.version)
        team.publish(self._parameters.read(), self._version)
        return push.losses

    def _start(self) -> Workers:
        self._version = 0
        self._team = self._hire(self._parameters.read())
        return self._team

    def _job(self, batch: Tensor, rng: torch.Generator) -> Job:
        self._number += 1
        seed = int(torch.randint(2**62, (), generator=rng, device=rng.device))
        # A copy: a part of a larger batch would be sent whole.
        return Job(number=self._number, batch=batch.clone(), seed=seed)

    def _next(self, team: Workers) -> Push:
        """Returns the next gradient of a job that is not done yet."""
        while True:
            news = team.wait()
            if isinstance(news, Lost):
                self._bury(team, news.worker)
                continue
            mine = self._jobs.get(news.worker)
            if mine is None or mine.number != news.job:
                self._record.discarded += 1
                continue
            del self._jobs[news.worker]
            self._idle.append(news.worker)
            self._in_a_row[news.worker] = 0
            return news

    def _bury(self, team: Workers, worker: int) -> None:
        """Puts another worker in the place of a dead one, with its job under a new number.

        One that only dies is dropped, and its batch is left out.

        Raises:
            UserError: If all workers were dropped.
        """
        job = self._jobs.pop(worker)
        self._owed += 1
        self._in_a_row[worker] += 1
        if self._in_a_row[worker] > _MOST_DEATHS:
            self._drop(team, worker)
            return
        team.replace(worker)
        self._record.deaths += 1
        self._number += 1
        self._jobs[worker] = Job(number=self._number, batch=job.batch, seed=job.seed)
        team.send(worker, self._jobs[worker])

    def _drop(self, team: Workers, worker: int) -> None:
        team.drop(worker)
        self._record.dropped += 1
        # While one is waited for, every worker has a job.
        if not self._jobs:
            raise UserError(
                f"All {self._count} workers of asynchronous training died again and again (out of "
                "memory?). Use fewer of them, or a smaller --batch."
            )

    @torch.no_grad()
    def _take_buffers(self, buffers: Sequence[Tensor]) -> None:
        for mine, theirs in zip(self._parameters.buffers(), buffers, strict=True):
            mine.copy_(theirs)

    def _move(self, gradient: Tensor, *, worker: int, staleness: int) -> None:
        with self._parameters.moving() as home:
            own = list(home.parts)
            z, self._memory = _apply(self._update, home, gradient, self._memory)
            if z is not home:
                for mine, part in zip(own, z.parts, strict=True):
                    mine.copy_(part)
        self._record.staleness.append(staleness)
        self._record.workers.append(worker)
        self._version += 1

    def close(self) -> None:
        """Ends all workers; gradients in flight are lost."""
        if self._team is not None:
            self._record.in_flight = len(self._jobs)
            self._team.close()
            self._team = None

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"memory": self._memory, "record": self._record.state(), "owed": self._owed}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._memory = deepcopy(state["memory"])
        self._record.load(state["record"])
        # Checkpoints of earlier versions do not have it.
        self._owed = state.get("owed", 0)
