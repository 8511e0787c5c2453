"""``gantlet.Watch``: three lines in a training loop of one's own."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast, final

from torch import Tensor, nn

from gantlet.compute.meters import Count
from gantlet.core.errors import UserError
from gantlet.core.model import Game
from gantlet.core.spec import writers
from gantlet.domains.domains import domain_of
from gantlet.given import SamplesLike, to_spec
from gantlet.models.generator import Latent
from gantlet.report.blocks import Report
from gantlet.report.documents import render
from gantlet.report.html import as_fragment
from gantlet.report.json import as_json
from gantlet.run.store import Hold, append_line, hold, write_bytes, write_sealed
from gantlet.watch import looks
from gantlet.watch.alarms import Alarm, Alarms
from gantlet.watch.drawing import (
    Sampler,
    drawn,
    norms,
    plain_torch,
    sampling_function,
    stream,
)
from gantlet.watch.looks import Curve, Last, Look
from gantlet.watch.pace import Pace
from gantlet.watch.players import CriticAttack, GradientNoise
from gantlet.watch.reference import METRICS, Reference, resolved
from gantlet.watch.report import Course, report_of
from gantlet.watch.writers import Sink

T = TypeVar("T")

_LOG = logging.getLogger("gantlet.watch")

_VERSION = 1
# Samples of a look are not thinned below this; looks are, instead.
_LEAST = 150
# How many samples are drawn at the first call, to see that it can be done.
_TRIED = 8
# Losses wait so many calls before they are read, which on a GPU waits for the device.
_WAITING = 50
# Pictures on the page; all are in the folder.
_PICTURES = 8
_APART = 1.2
# Seconds after which an open page reloads.
_REFRESH = 20
# CPU seconds that a page is taken to cost before one was written.
_PAGE = 0.1
# So many different notes are kept.
_NOTES = 20


@final
@dataclass(slots=True)
class _Progress:
    """How far a loop is, and how it is looked at, under the names of a stored state.

    Attributes:
        n: Samples of a look.
        sized: Whether ``n`` was fitted to the share.
        scale: Scale of the samples of the loop, as the first look takes it.
        step: The largest step so far, -1 before the first.
        first: The first step.
        skipped: Looks that were due and did not fit into the share.
    """

    n: int
    sized: bool
    scale: str | None = None
    step: int = -1
    first: int | None = None
    skipped: int = 0


@final
class Watch:
    """Evaluates a generative model inside a training loop, and alarms when it goes wrong.

    At each look fresh samples are compared with real ones: KID, precision, recall, effective
    support and, with ``train``, copies, each with its interval beside the noise floor (held-out
    real samples in place of the fakes), and with the paired change since the look before. The
    page ``report.html`` in ``out`` grows while training runs.

    The loop is left as it was: no global random state moves, modules keep their mode, gradients
    stay. After the first call nothing raises: what fails is a missing number, and is said.

    Args:
        real: Real samples: everything that ``gantlet.evaluate`` takes.
        every: Steps from one look to the next.
        out: Run folder, or None to keep everything in memory.
        to: Writers besides the page, in written form; ``gantlet list writers``.
        train: What the model is trained on, to find copies; as ``real``.
        features: Feature extractor; by default chosen by the kind of data.
        metrics: What is measured besides KID: metrics of two sets of features.
        samples: The most samples of a look.
        share: The largest share of the loop's CPU time that watching may take; looks and samples
            are thinned to keep it. None looks at every due step, which repeats exactly.
        seed: Seed of all that is random.
        latent: Size or shape of the generator's latent; by default read off the network.
        prior: Distribution of latents: normal, or uniform on [-1, 1].
        flops: Operations of a step of the loop: a number, or what ``gantlet.count`` returned.
        game: The modules of the loop with their losses, as ``gantlet.game`` makes them: the
            gradient noise scale of each player is measured at looks, and how easily its critic is
            fooled.
        batch: Batch size of the loop, for the gradient noise.
        name: Name of the run; by default that of its folder.
        overwrite: Whether another run's record in ``out`` may be replaced.

    Raises:
        UserError: If an argument is wrong, or a writer's package is not installed.

    Example:
        >>> import torch, gantlet
        >>> real = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
        >>> watch = gantlet.Watch(real, every=10, samples=100, share=None)
        >>> for step in range(21):
        ...     look = watch(step, sample=lambda n: torch.randn(n, 2), losses={"g": 0.5})
        >>> [look.step for look in watch.looks], len(watch.alarms)
        ([0, 10, 20], 0)
    """

    def __init__(
        self,
        real: SamplesLike,
        *,
        every: int = 500,
        out: str | Path | None = None,
        to: str | Sequence[str] = ("csv",),
        train: SamplesLike | None = None,
        features: str = "",
        metrics: Sequence[str] = METRICS,
        samples: int = 1000,
        share: float | None = 0.05,
        seed: int = 0,
        latent: int | Sequence[int] | None = None,
        prior: str = "normal",
        flops: float | Count | None = None,
        game: Game | None = None,
        batch: int = 128,
        name: str | None = None,
        overwrite: bool = False,
    ) -> None:
        _check(every=every, samples=samples, share=share, prior=prior, batch=batch)
        self._every, self._seed, self._overwrite = every, seed, overwrite
        self._latent = Latent(shape=_shape(latent), prior=prior)
        self._folder = None if out is None else Path(out)
        self._name = name or ("watched" if self._folder is None else self._folder.name)
        self._pace = Pace(share)
        if out is not None:
            self._pace.largest["page"] = _PAGE
        with self._pace.setting_up(), plain_torch():
            self._writers = [writers.make(t) for t in ((to,) if isinstance(to, str) else to)]
            self._reference = _reference_of(
                real, train, features=features, metrics=metrics, samples=samples, seed=seed
            )
            self._progress = _Progress(self._reference.n, sized=share is None)
            self._noise, self._attack = _of_game(game, self._reference, batch=batch, seed=seed)
            # The noise floor is measured and counted as a look is, and tells what one will cost.
            with self._pace.taking("look"):
                self._alarms = _alarms_of(self._reference)
        self._last, self._looks = Last(), list[Look]()
        self._curves: dict[str, Curve] = {}
        self._waiting: list[tuple[int, dict[str, Any]]] = []
        self._pictures: dict[int, bytes] = {}
        self._notes: dict[str, None] = dict.fromkeys(self._reference.notes)
        self._flops = flops.flops if isinstance(flops, Count) else flops
        self._sinks: list[Sink] | None = None
        self._sample: Sampler | None = None
        self._shown_looks = 0
        self._ended = False
        self._lock: Hold | None = None

    # ------------------------------------------------------------------------
    # What the user calls.
    # ------------------------------------------------------------------------

    def __call__(
        self,
        step: int,
        *,
        sample: Sampler | None = None,
        losses: Mapping[str, float | Tensor] | None = None,
        players: Mapping[str, nn.Module] | None = None,
    ) -> Look | None:
        """Tells of a step of the loop, and looks where a look is due and the share allows it.

        Args:
            step: Number of the step, growing from call to call.
            sample: What draws samples: a network whose input is a latent, a module with
                ``sample(n)``, or a function ``n -> samples``; kept from call to call.
            losses: Losses of this step by name; tensors are not waited for.
            players: Networks by name, whose modes are kept and whose norms are recorded.

        Returns:
            The look, or None where there was none.

        Raises:
            UserError: At the first call only: if an argument is wrong.
        """
        with self._pace.watching():
            is_first = self._sinks is None
            if is_first:
                self._begin(step, sample, losses or {}, players or {})
            self._sample = sample if sample is not None else self._sample
            due, comes_next = self._is_due(step), self._is_due(step, ahead=1)
            self._progress.step = max(self._progress.step, step)
            if losses:
                self._waiting.append((step, {k: _kept(v) for k, v in losses.items()}))
            self._guarded("losses", lambda: self._read_losses(wait=not due))
            look = None
            if due and self._sample is not None:
                look = self._guarded(
                    f"the look at step {step}", lambda: self._look(step, players or {})
                )
            if comes_next:
                self._guarded("the attack on the critic", self._remember)
            return look

    def report(self) -> Report:
        """Ends the record, writes the page and ``report.json``, and returns the report."""
        with self._pace.watching():
            self._guarded("losses", lambda: self._read_losses(wait=False))
            self._ended = True
            self._each(lambda sink: sink.close())
            self._sinks = self._sinks and []
            report = self._report()
            self._guarded("the page", lambda: self._write(report))
            self._guarded("the lock of the folder", self._release)
        return report

    @property
    def looks(self) -> Sequence[Look]:
        """The looks so far."""
        return tuple(self._looks)

    @property
    def alarms(self) -> Sequence[Alarm]:
        """The alarms so far, each kind once, in the order in which they were raised."""
        return tuple(self._alarms.raised.values())

    @property
    def left_out(self) -> int:
        """How many looks were due and did not fit into the share."""
        return self._progress.skipped

    @property
    def share_spent(self) -> float:
        """CPU time of watching so far over that of the loop, set-up included."""
        return self._pace.spent

    def state_dict(self) -> dict[str, Any]:
        """Returns all that a resumed loop needs, plain values and tensors, for ``torch.save``."""
        with self._pace.watching():
            self._guarded("losses", lambda: self._read_losses(wait=False))
        return {
            "version": _VERSION,
            "fingerprint": self._reference.fingerprint,
            "looks": [look.plain() for look in self._looks],
            "last": self._last.state(),
            "alarms": self._alarms.state(),
            "curves": {name: curve.state() for name, curve in self._curves.items()},
            "pictures": dict(self._pictures),
            "pace": self._pace.state(),
            "attack": None if self._attack is None else self._attack.state(),
            "run": asdict(self._progress) | {"notes": list(self._notes)},
        }

    def load_state_dict(self, state: Any) -> None:
        """Goes on from what ``state_dict`` returned, before the first call.

        Raises:
            UserError: If it is of other real samples or features, or the loop already runs.
        """
        if self._sinks is not None:
            raise UserError("load_state_dict comes before the first call of watch.")
        if not isinstance(state, Mapping) or state.get("version") != _VERSION:
            raise UserError("This is not the state of a Watch of this version.")
        if state["fingerprint"] != self._reference.fingerprint:
            raise UserError(
                "The state is of other real samples, features or samples=. Give the same ones."
            )
        self._looks = [Look.of_plain(plain) for plain in state["looks"]]
        self._last.load(state["last"])
        self._alarms.load(state["alarms"])
        for name, curve in state["curves"].items():
            self._curves.setdefault(name, Curve()).load(curve)
        self._pictures = dict(state["pictures"])
        self._pace.load(state["pace"])
        if self._attack is not None:
            self._attack.load(state.get("attack"))
        run = dict(state["run"])
        self._notes |= dict.fromkeys(run.pop("notes"))
        self._progress = _Progress(**run)
        self._overwrite = True

    def _repr_html_(self) -> str:
        """Returns answer and table of the looks so far, for a notebook."""
        return as_fragment(self._report())

    # ------------------------------------------------------------------------
    # The first call: here arguments are checked, and raise.
    # ------------------------------------------------------------------------

    def _begin(
        self,
        step: int,
        sample: Sampler | None,
        losses: Mapping[str, float | Tensor],
        players: Mapping[str, nn.Module],
    ) -> None:
        _check_call(step, losses, players)
        if sample is not None:
            self._try(sample, players)
        self._open()
        if self._progress.first is None:
            self._progress.first = step

    def _try(self, sample: Sampler, players: Mapping[str, nn.Module]) -> None:
        """Draws a few samples, so that what can never work is said at once."""
        sampling_function(sample, self._latent)
        try:
            array = self._drawn(sample, _TRIED, "trial", players)
        except UserError:
            raise
        except Exception as error:  # a border: what a function of the user raises may be anything
            raise UserError(
                f"sample was asked for {_TRIED} samples and raised {_told(error)}"
            ) from error
        if not looks.not_finite(array):
            with plain_torch():
                self._reference.brought(array, self._reference.scale_of(array))

    def _open(self) -> None:
        if self._folder is None:
            self._sinks = []
            return
        page = self._folder / "report.json"
        if page.exists() and not self._overwrite:
            raise UserError(
                f"{self._folder} holds the record of a run. Go on with load_state_dict, give "
                "another out=, or overwrite=True."
            )
        history = [look.entries for look in self._looks]
        folder = self._folder
        folder.mkdir(parents=True, exist_ok=True)
        self._seize(folder)
        self._sinks = [w.open(folder, self._name, history) for w in self._writers]

    def _seize(self, folder: Path) -> None:
        """Holds the lock of the folder, by which others see that the loop runs."""
        if self._lock is None and not self._ended:
            self._lock = hold(folder)
            if self._lock is not None:
                self._log("started", step=self._progress.step)

    def _release(self) -> None:
        if self._lock is not None:
            self._log("ended", how="finished", step=self._progress.step)
            self._lock.release()
            self._lock = None

    def _log(self, event: str, *, step: int, **details: str) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        if self._folder is not None:
            entry = {"event": event, "at": now, "step": step, **details}
            append_line(self._folder / "log.jsonl", entry)

    # ------------------------------------------------------------------------
    # A look.
    # ------------------------------------------------------------------------

    def _is_due(self, step: int, *, ahead: int = 0) -> bool:
        """Returns whether a multiple of ``every`` was reached since the last call.

        Args:
            step: The step of this call.
            ahead: Whether it will be reached so many steps after this call, and not at it.
        """
        if ahead:
            return (step + ahead) // self._every > step // self._every
        if self._progress.step < 0:
            return step % self._every == 0
        return step // self._every > self._progress.step // self._every

    def _look(self, step: int, players: Mapping[str, nn.Module]) -> Look | None:
        if not self._may_look():
            self._progress.skipped += 1
            self._guarded("the page", lambda: self._publish(force=False))
            return None
        with self._pace.taking("look"):
            look = self._measured(step, players)
        numbers: dict[str, float | None] = {f"loss/{k}": c.since() for k, c in self._losses()}
        numbers |= norms(players)
        self._check_players(step, players)
        look = looks.with_numbers(look, numbers, "mean since the last look, no interval")
        look = self._guarded("the gradient noise", lambda: self._with_noise(look)) or look
        attacked = self._guarded("the attack on the critic", lambda: self._with_attack(look))
        look = attacked or look
        self._looks.append(look)
        self._each(lambda sink: sink.write(look.entries))
        self._guarded("the page", lambda: self._publish(force=bool(look.alarms)))
        return look

    def _with_noise(self, look: Look) -> Look:
        """Adds the gradient noise of a game, where it fits into the share."""
        if self._noise is None or not self._pace.affords("noise", "page"):
            return look
        with self._pace.taking("noise"), plain_torch():
            return replace(look, entries=(*look.entries, *self._noise.entries(look.step)))

    def _remember(self) -> None:
        """Remembers what the update before the next look begins from, where one is afforded."""
        if self._attack is not None and self._pace.affords("look", "attack", "page"):
            with plain_torch():
                self._attack.remember(self._progress.step)

    def _with_attack(self, look: Look) -> Look:
        """Adds how easily the critic of a game is fooled, where it fits into the share."""
        if self._attack is None or not self._pace.affords("attack", "page"):
            return look
        with self._pace.taking("attack"), plain_torch():
            return replace(look, entries=(*look.entries, *self._attack.entries(look.step)))

    def _may_look(self) -> bool:
        """Returns whether a look fits into the share; the first one may take fewer samples."""
        if not self._progress.sized and self._pace.loop > 0:
            self._progress.sized = True
            passed = max(self._progress.step - (self._progress.first or 0), 1) / self._every
            room = (self._pace.share or 1.0) * self._pace.loop / max(passed, 1.0)
            cost = self._pace.largest["look"]
            # What is compared pair by pair takes a quarter for half as many samples.
            while cost > room and self._progress.n // 2 >= _LEAST:
                self._progress.n //= 2
                cost /= 3
            self._pace.largest["look"] = cost
        return self._pace.affords("look", "page")

    def _drawn(
        self, sample: Sampler, n: int, purpose: str, players: Mapping[str, nn.Module]
    ) -> Any:
        return drawn(
            sample,
            n,
            latent=self._latent,
            players=list(players.values()),
            rng=stream(self._seed, purpose),
        )

    def _measured(self, step: int, players: Mapping[str, nn.Module]) -> Look:
        """Draws and measures; whatever fails is said in the look."""
        assert self._sample is not None
        names = list(self._reference.metrics)
        try:
            array = self._drawn(self._sample, self._progress.n, f"look/{step}", players)
            if bad := looks.not_finite(array):
                raised = self._alarms.not_finite(step, f"{bad} of {self._progress.n} samples")
                self._tell(raised)
                look = looks.failed(
                    step, self._progress.n, names, f"{bad} samples hold NaN or infinity"
                )
                return looks.raising(look, raised)
            self._progress.scale = self._progress.scale or self._reference.scale_of(array)
            with plain_torch():
                x = self._reference.brought(array, self._progress.scale)
                if caution := self._reference.unlike(x):
                    self._notes[caution] = None
                look = looks.measured(step, x, self._reference, self._alarms, self._last)
        except Exception as error:  # noqa: BLE001 - a border: the user's function, or torch, raised
            return looks.failed(step, self._progress.n, names, _told(error))
        self._tell(look.alarms)
        self._guarded("the picture", lambda: self._picture(step, players))
        return look

    def _picture(self, step: int, players: Mapping[str, nn.Module]) -> None:
        """Draws the same latents every time, as far as they are ours to choose.

        So often that the steps of two pictures differ by a fifth; without a folder, never.
        """
        is_early = self._pictures and step + 1 < _APART * (max(self._pictures) + 1)
        if self._folder is None or is_early:
            return
        space = self._reference.space
        array = self._drawn(self._sample_or_raise(), self._shown(), "picture", players)
        with plain_torch():
            x = looks.shown(self._reference.brought(array, self._progress.scale or "as they are"))
            png = domain_of(space).picture(space, x)
        if png is None:
            return
        self._pictures[step] = png
        write_bytes(self._folder / "samples" / f"{step}.png", png)
        self._each(lambda sink: sink.picture(step, png))
        _thin(self._pictures)

    def _shown(self) -> int:
        """Returns how many samples a picture shows."""
        domain = domain_of(self._reference.space)
        return min(self._progress.n, 32 if domain.is_spatial else max(domain.shown, 500))

    def _sample_or_raise(self) -> Sampler:
        assert self._sample is not None
        return self._sample

    def _check_players(self, step: int, players: Mapping[str, nn.Module]) -> None:
        for name, module in players.items():
            if not all(bool(p.isfinite().all()) for p in module.parameters()):
                self._tell(self._alarms.not_finite(step, f"weights of {name}"))

    # ------------------------------------------------------------------------
    # Losses.
    # ------------------------------------------------------------------------

    def _losses(self) -> list[tuple[str, Curve]]:
        return list(self._curves.items())

    def _read_losses(self, *, wait: bool) -> None:
        if wait and len(self._waiting) < _WAITING:
            return
        waiting, self._waiting = self._waiting, []
        for step, losses in waiting:
            found = {name: looks.number(value) for name, value in losses.items()}
            raised = self._alarms.losses(step, found)
            for name, value in found.items():
                self._curves.setdefault(name, Curve()).add(step, value)
            self._tell(raised)

    # ------------------------------------------------------------------------
    # Where it goes.
    # ------------------------------------------------------------------------

    def _tell(self, alarms: Sequence[Alarm]) -> None:
        for alarm in alarms:
            _LOG.warning("%s at step %s: %s", alarm.kind, f"{alarm.step:,}", alarm.text)
            self._each(partial(_alarm, alarm=alarm))

    def _each(self, run: Callable[[Sink], None]) -> None:
        """Hands something to each writer; one that fails takes none of the others along."""
        for writer, sink in zip(self._writers, self._sinks or (), strict=False):
            self._guarded(f"writer {type(writer).__name__}", partial(run, sink))

    def _guarded(self, what: str, run: Callable[[], T]) -> T | None:
        """Runs something of ours; that it failed is a note, never an error of the loop."""
        try:
            return run()
        except Exception as error:  # noqa: BLE001 - a border: disks, packages; the loop goes on
            if len(self._notes) < _NOTES:
                self._notes[f"{what} failed: {_told(error)}"] = None
            return None

    def _publish(self, *, force: bool) -> None:
        is_stale = len(self._looks) > self._shown_looks or force
        # One page is always kept in reserve, for the end.
        affords = self._pace.affords("page", "page")
        if self._folder is None or not (force or (is_stale and affords)):
            return
        self._shown_looks = len(self._looks)
        # The lock may have been that of an object which has gone by now.
        self._seize(self._folder)
        with self._pace.taking("page"):
            self._write(self._report())

    def _write(self, report: Report) -> None:
        if self._folder is not None:
            page = self._folder / "report.html"
            write_sealed(self._folder / "report.json", as_json(report, str(page)))
            write_bytes(page, render(report, "html").encode())

    def _report(self) -> Report:
        return report_of(
            Course(
                name=self._name,
                looks=self._looks,
                alarms=self.alarms,
                curves={name: curve.points for name, curve in self._curves.items()},
                pictures=self._pictures,
                reference=self._reference,
                pace=self._pace,
                notes=tuple(self._notes),
                step=self._progress.step,
                steps=self._progress.step - (self._progress.first or 0),
                every=self._every,
                skipped=self._progress.skipped,
                n=self._progress.n,
                flops=self._flops,
                seed=self._seed,
                refresh=None if self._ended else _REFRESH,
            )
        )


def _reference_of(
    real: SamplesLike,
    train: SamplesLike | None,
    *,
    features: str,
    metrics: Sequence[str],
    samples: int,
    seed: int,
) -> Reference:
    """Returns what looks compare with."""
    return Reference(
        to_spec(real, "real", n=None, seed=seed),
        None if train is None else to_spec(train, "train", n=None, seed=seed),
        features=features,
        measured=resolved(metrics),
        samples=samples,
        seed=seed,
    )


def _alarms_of(reference: Reference) -> Alarms:
    """Measures the noise floor, and returns the alarms that follow from it."""
    floor = reference.floor(reference.n)
    reference.support_of_floor(reference.n)
    distance = looks.distance_of(floor.get("kid"))
    return Alarms(reference.near[1], reference.copies_of_floor, distance)


def _of_game(
    game: Game | None, reference: Reference, *, batch: int, seed: int
) -> tuple[GradientNoise | None, CriticAttack | None]:
    """Returns what is measured of the modules of a loop, as far as it can be."""
    if game is None:
        return None, None
    source = reference.learned
    noise = GradientNoise(game, source, reference.space, batch=batch, seed=seed)
    return noise, CriticAttack.of(game, source, seed=seed)


def _told(error: Exception) -> str:
    """Returns an error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def _alarm(sink: Sink, alarm: Alarm) -> None:
    sink.alarm(alarm.step, f"{alarm.kind}: {alarm.text}")


def _check(*, every: object, samples: object, share: object, prior: object, batch: object) -> None:
    for name, value, least in (("every", every, 1), ("samples", samples, 20), ("batch", batch, 1)):
        if not _is_whole(value) or cast("int", value) < least:
            raise UserError(f"{name} must be a whole number from {least}. Got {value!r:.60}.")
    if share is not None and not (isinstance(share, (int, float)) and 0 < share <= 1):
        raise UserError(f"share must be above 0 and at most 1, or None. Got {share!r:.60}.")
    if prior not in ("normal", "uniform"):
        raise UserError(f"prior must be 'normal' or 'uniform'. Got {prior!r:.60}.")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_call(step: object, losses: Mapping[str, object], players: Mapping[str, object]) -> None:
    if not _is_whole(step):
        raise UserError(f"step must be a whole number. Got {step!r:.60}.")
    for name, module in players.items():
        if not isinstance(module, nn.Module):
            raise UserError(
                f"players must be networks by name. {name!r} is {type(module).__name__}."
            )
    for name, value in losses.items():
        if not isinstance(value, (int, float, Tensor)):
            raise UserError(
                f"losses must be numbers or tensors by name. {name!r} is {type(value).__name__}."
            )


def _shape(latent: int | Sequence[int] | None) -> tuple[int, ...] | None:
    if latent is None:
        return None
    shape = (latent,) if isinstance(latent, int) else tuple(latent)
    if not shape or not all(_is_whole(s) and s >= 1 for s in shape):
        raise UserError(f"latent must be a size or a shape. Got {latent!r:.60}.")
    return shape


def _kept(value: float | Tensor) -> float | Tensor:
    """Returns a loss that the loop may go on to change; it is read later."""
    return value.detach().clone() if isinstance(value, Tensor) else value


def _thin(pictures: dict[int, bytes]) -> None:
    """Leaves the first picture, the last, and those that divide the run best, as a log scale."""
    while len(pictures) > _PICTURES:
        steps = sorted(pictures)
        gaps = [(steps[i + 1] + 1) / (steps[i - 1] + 1) for i in range(1, len(steps) - 1)]
        del pictures[steps[1 + gaps.index(min(gaps))]]
