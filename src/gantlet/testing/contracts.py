"""The contracts of components, as functions that raise where one is broken."""

import json
import pickle
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar, final

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot
from typing_extensions import override

from gantlet.core.data import Code, Dataset, InMemory, Space, Splits, all_samples, groups_of, rows
from gantlet.core.errors import UserError
from gantlet.core.estimate import Outcome
from gantlet.core.metric import DataProbe, Extract, Extractor, Findings, Metric, Probe
from gantlet.core.model import (
    Adversarial,
    Decoder,
    Density,
    Family,
    FittedFamily,
    Game,
    Generative,
    Invertible,
    Model,
    Solver,
    Toy,
)
from gantlet.core.rng import Rng
from gantlet.core.spec import extractors, metrics, solvers
from gantlet.domains.domains import Domain, reader_of
from gantlet.models.nets import seeded
from gantlet.report.json import as_json, from_json
from gantlet.run.execute import Study, facts
from gantlet.run.store import Run


@final
class Tug(Game):
    """Two small players with noisy, coupled losses, for checks of solvers."""

    def __init__(self) -> None:
        with seeded(Rng(0).stream("init")):
            self._players = nn.ModuleDict({"a": nn.Linear(3, 2), "b": nn.Linear(3, 2)})

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return dict(self._players.items())

    @override
    def loss(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        a, b = (p(batch) for p in self.players.values())
        noise = torch.randn(a.shape, generator=rng, device=a.device)
        product = (a * b).mean()
        own = (a if player == "a" else b) - noise
        loss: Tensor = own.square().mean() + (product if player == "a" else -product)
        return loss


def check_solver(solver: Solver) -> None:
    """Checks that a solver moves every player, and goes on bit by bit from a saved state.

    Raises:
        AssertionError: If it does not; the message names the broken clause.
    """
    whole, parts = Tug(), Tug()
    start = {k: v.clone() for k, v in _weights(whole).items()}
    _play(solver, whole, range(6))
    kept = _play(solver, parts, range(3))
    _play(solver, parts, range(3, 6), kept)
    for name, weight in _weights(whole).items():
        assert torch.equal(weight, _weights(parts)[name]), f"saved and resumed, {name} differs"
        assert not torch.equal(weight, start[name]), f"every player moves: {name} does not"


def _weights(game: Game) -> dict[str, Tensor]:
    return {
        f"{player}.{name}": weight.detach()
        for player, module in game.players.items()
        for name, weight in module.named_parameters()
    }


def _play(
    solver: Solver, game: Game, steps: range, state: dict[str, object] | None = None
) -> dict[str, object]:
    play = solver.start(game)
    if state is not None:
        play.load_state_dict(state)
    for step in steps:
        draws = Rng(step)
        batch = torch.randn(8 * play.batches, 3, generator=draws.stream("batch"))
        losses = play.step(batch, rng=draws.stream("noise"))
        assert set(losses) == set(game.players), "a step reports the loss of every player"
    return play.state_dict()


def made_up(space: Space, n: int, *, seed: int = 0) -> Tensor:
    """Returns ``n`` smooth random samples of ``space``, shape ``(n, *space.shape)``."""
    rng = Rng(seed).stream("made up")
    x = torch.randn(n, *space.shape, generator=rng)
    if space.kind == "walk":
        return _walks(x, space.levels or 1)
    if space.kind == "graph":
        return _networks(x)
    if space.parts:
        return torch.cat([_mixed(x[:, i:j], kind) for kind, i, j in _places(space)], 1)
    if space.levels is None:
        return x
    # Correlated components, as in images, and every level in use.
    x = (x + torch.randn(n, *([1] * len(space.shape)), generator=rng)) / 2**0.5
    uniform = 0.5 * (1 + torch.erf(x / 2**0.5))
    return (uniform * space.levels).floor().clamp(0, space.levels - 1)


def _walks(x: Tensor, nodes: int) -> Tensor:
    """Returns walks on a ring of nodes with chords, by normal numbers, shape ``(n, steps)``."""
    uniform = 0.5 * (1 + torch.erf(x / 2**0.5))
    start = (uniform[:, :1] * nodes).floor().clamp(max=nodes - 1)
    jumps = torch.tensor([-2.0, -1.0, 1.0, 2.0])[(4 * uniform[:, 1:]).long().clamp(0, 3)]
    return torch.cat([start, start + jumps.cumsum(1)], 1) % nodes


def _networks(x: Tensor) -> Tensor:
    """Returns graphs of random sizes, nodes first, from normal numbers ``(n, nodes, nodes)``."""
    nodes = x.shape[1]
    count = (0.5 * (1 + torch.erf(x[:, 0, 0] / 2**0.5)) * (nodes + 1)).floor()
    edge = (x.triu(1) > 0.5).float()
    full = edge + edge.mT + torch.eye(nodes)
    there = (torch.arange(nodes) < count[:, None]).float()
    return full * there[:, :, None] * there[:, None]


def _places(space: Space) -> Generator[tuple[str, int, int]]:
    start = 0
    for part in space.parts:
        yield part.kind, start, start + part.width
        start += part.width


def _mixed(x: Tensor, kind: str) -> Tensor:
    """Returns numbers as they are, flags and categories by the signs and sizes of numbers."""
    if kind == "flag":
        return (x > 1).float()
    return x if kind == "number" else one_hot(x.argmax(1), x.shape[1]).float()


# ----------------------------------------------------------------------------
# The contract of families, and of the models that they build.
# ----------------------------------------------------------------------------

_T = TypeVar("_T")


def check_family(
    family: Family, space: Space, context_space: Space | None = None, *, n: int = 32
) -> None:
    """Checks that ``family`` keeps the contract on samples of ``space``.

    Args:
        family: The family.
        space: What one sample is.
        context_space: What samples are conditioned on, of a family that can; a family that is not
            asked for a context must refuse one. Losses see samples alone, so those of a
            conditional game are not looked at.
        n: How many samples to look at.

    Raises:
        AssertionError: If it does not; the message names the broken clause.
    """
    x = made_up(space, n)
    with untouched_global_state():
        first, second = (family.build(space, context_space, rng=Rng(0)) for _ in range(2))
        for game in (first, second):
            game.prepare(x, rng=Rng(0).stream("prepare"))
        for (name, a), b in zip(
            first.model.named_parameters(), second.model.parameters(), strict=True
        ):
            assert torch.equal(a, b), f"same seed, same weights: {name} differs"
        if context_space is None:
            _check_training(family, first, second, x)
    assert first.model.context_space == context_space, "the model has the context asked for"
    check_model(first.model, space, n=n)
    if isinstance(first, Adversarial):
        _check_critic(first, space)


def _check_training(family: Family, first: Generative, second: Generative, x: Tensor) -> None:
    """Checks losses, validation and two steps, all of which see samples without a context."""
    for player in first.players:
        losses = [game.loss(player, x, rng=Rng(0).stream("loss")) for game in (first, second)]
        assert losses[0].shape == (), f"the loss of {player} is a scalar"
        assert losses[0].isfinite(), f"the loss of {player} is finite"
        assert torch.equal(losses[0], losses[1]), f"same seed, same loss: {player} differs"
        coupled = first.coupled(player, x, rng=Rng(0).stream("loss"))
        assert torch.allclose(coupled, losses[0]), f"coupled is loss: {player} differs"
    with torch.no_grad():
        value = first.validate(x, rng=Rng(0).stream("validate"))
    assert value.shape == (), "validate returns a scalar"
    assert value.isfinite(), "validate is finite"
    play = solvers.make(family.solver).start(first)
    for _ in range(2):
        play.step(torch.cat([x] * play.batches), rng=Rng(0).stream("step"))


def _check_critic(game: Adversarial, space: Space) -> None:
    x = made_up(space, 4, seed=3)
    with torch.no_grad():
        score = _given(game.model, 4, lambda context: game.critic(x, context))
    assert score.shape == (4,), "the critic gives each sample one score"
    assert score.isfinite().all(), "scores are finite"


def check_fitted(family: FittedFamily, space: Space, *, n: int = 200) -> None:
    """Checks that a baseline keeps the contract, and comes back from its saved tensors.

    Raises:
        AssertionError: If it does not; the message names the broken clause.
    """
    x = made_up(space, n)
    with untouched_global_state():
        fit = family.fit(space, x, rng=Rng(0))
        again = family.fit(space, x, rng=Rng(0))
    assert fit.flops >= 0, "the cost of fitting is counted"
    state = fit.model.state_dict()
    for name, tensor in again.model.state_dict().items():
        assert torch.equal(tensor, state[name]), f"same seed, same fit: {name} differs"
    check_model(fit.model, space, n=32)
    restored = family.restore(space, state)
    samples = (m.sample(5, rng=Rng(0).stream("fake")) for m in (fit.model, restored))
    assert torch.equal(*samples), "a restored model gives the same samples"


def check_model(model: Model, space: Space, *, n: int = 32) -> None:
    """Checks what ``model`` says it can do.

    Raises:
        AssertionError: If it cannot; the message names the broken clause.
    """
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with untouched_global_state():
        fake, again = (
            _given(model, 5, lambda c: model.sample(5, context=c, rng=Rng(0).stream("fake")))
            for _ in range(2)
        )
        space.check(fake, "sample(n)")
        assert len(fake) == 5, "sample(n) returns n samples"
        assert torch.equal(fake, again), "same generator state, same samples"
        assert not fake.requires_grad, "samples keep no gradient"
        assert model.sample_depth >= 0, "sample_depth counts network evaluations"
        if isinstance(model, Density):
            _check_density(model, space, n)
        if isinstance(model, Decoder):
            _check_decoder(model, space)
        if isinstance(model, Invertible):
            _check_inverse(model, space)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), f"measuring leaves the model alone: {name}"


def _check_density(model: Density, space: Space, n: int) -> None:
    x = made_up(space, n, seed=1)
    with torch.no_grad():
        found, again = (
            _given(model, n, lambda c: model.log_prob(x, c, rng=Rng(0).stream("density")))
            for _ in range(2)
        )
    assert found.value.shape == (n,), "log_prob has shape (n,)"
    assert found.value.isfinite().all(), "log_prob is finite"
    assert torch.equal(found.value, again.value), "same generator state, same log_prob"
    assert model.density_depth >= 0, "density_depth counts network evaluations"


def _check_decoder(model: Decoder, space: Space) -> None:
    z = model.prior(3, rng=Rng(0).stream("prior")).requires_grad_()
    assert z.shape == (3, model.latent_dim), "prior has shape (n, latent_dim)"
    out = _given(model, 3, lambda context: model.decode(z, context))
    assert out.shape == (3, *space.shape), "decode has shape (n, *space.shape)"
    (gradient,) = torch.autograd.grad(out.sum(), z)
    assert gradient.shape == z.shape, "decode is differentiable"


def _check_inverse(model: Invertible, space: Space) -> None:
    x = made_up(space, 4, seed=2)
    x = x if space.levels is None else x + 0.5
    with torch.no_grad():
        z, log_det = _given(model, 4, lambda context: model.encode(x, context))
        back = _given(model, 4, lambda context: model.decode(z, context))
    assert z.shape == (4, space.size), "codes have shape (n, space.size)"
    assert log_det.shape == (4,), "the log-determinant has shape (n,)"
    error = float((back - x).abs().max() / x.abs().max())
    assert error < 1e-2, f"decode(encode(x)) is x. Off by {error:.2g} of its size"


def _given(model: Model, n: int, look: Callable[[Tensor | None], _T]) -> _T:
    """Returns the result of ``look`` for a valid context, having checked what it refuses."""
    if model.context_space is None:
        _check_refused(look, torch.zeros(n, 1), "an unconditional model refuses a context")
        return look(None)
    context = made_up(model.context_space, n, seed=4)
    _check_refused(look, None, "a conditional model refuses to go without a context")
    _check_refused(look, context[:-1], "each sample has a context of its own")
    return look(context)


def _check_refused(
    look: Callable[[Tensor | None], object], context: Tensor | None, law: str
) -> None:
    try:
        look(context)
    except UserError:
        return
    raise AssertionError(law)


@contextmanager
def untouched_global_state() -> Generator[None]:
    """Checks that what runs inside neither reads nor moves torch's global random state.

    Raises:
        AssertionError: If the state has moved.
    """
    before = torch.random.get_rng_state()
    yield
    assert torch.equal(before, torch.random.get_rng_state()), (
        "the global random state is untouched"
    )


def check_dataset(dataset: Dataset, *, most: int = 1000) -> None:
    """Checks that ``dataset`` keeps the contract.

    Args:
        dataset: The data set.
        most: How many samples of each split to look at.

    Raises:
        AssertionError: If it does not; the message names the broken clause.
    """
    with untouched_global_state():
        first, second = (dataset.load(rng=Rng(0)) for _ in range(2))
    assert first.note, "splits say how they were made"
    for name in ("train", "validation", "test"):
        split, again = getattr(first, name), getattr(second, name)
        assert len(split) > 1, f"{name} has samples"
        x = all_samples(split, most)
        dataset.space.check(x, name)
        assert x.dtype == torch.float32, f"{name} is float32"
        assert torch.equal(x, all_samples(again, most)), f"same seed, same split: {name} differs"
        ends = torch.tensor([len(split) - 1, 0])
        last = split.take(ends)
        assert torch.equal(last[1], x[0]), f"{name} is taken by index"
        if split.labels is not None:
            assert len(split.labels) == len(split), f"every sample of {name} has a label"
        both = rows(split, ends)
        assert torch.equal(both.x, last), f"rows of {name} are its samples"
        for kept, whole in ((both.context, split.labels), (both.groups, groups_of(split))):
            assert (kept is None) == (whole is None), f"rows of {name} hold labels and groups"
            if kept is not None and whole is not None:
                assert torch.equal(kept, whole[ends].to(kept.dtype)), f"rows of {name} fit"


def check_metric(metric: Metric, *, n: int = 200, d: int = 8, place_matters: bool = True) -> None:
    """Checks that ``metric`` keeps the contract on Gaussian features.

    Args:
        metric: The metric, which must see features.
        n: How many samples.
        d: How many features.
        place_matters: Whether samples in another place must score worse; False for metrics of
            shape or variety alone.

    Raises:
        AssertionError: If it does not; the message names the broken clause.
    """
    rng = Rng(0).stream("features")
    real, near = torch.randn(2, n, d, generator=rng)
    far = near + 3
    with untouched_global_state():
        close, again, apart = (
            metric.measure(real, fake, rng=Rng(0).stream("m")) for fake in (near, near, far)
        )
    assert close == again, "same generator state, same estimate"
    assert close.better == metric.better, "the estimate says which direction is better"
    assert close.value is not None, f"{n} samples are enough: {close.method}"
    assert apart.value is not None, f"{n} samples are enough: {apart.method}"
    worse = apart.value > close.value if metric.better == "lower" else apart.value < close.value
    assert worse or not place_matters, "samples three standard deviations away are worse"
    assert close.n > 0, "the estimate says how many samples it rests on"
    if close.low is not None and close.high is not None:
        assert close.low <= close.high, "the interval is the right way round"
    for few in (0, 1, 2):
        nothing = metric.measure(real[:few], near[:few], rng=Rng(0).stream("m"))
        assert nothing.value is None or nothing.method, f"{few} samples give a reason or a number"


def check_extractor(extractor: Extractor, space: Space, *, n: int = 150) -> None:
    """Checks that ``extractor`` keeps the contract on made-up labelled samples of ``space``.

    Args:
        extractor: The extractor.
        space: The space of the samples.
        n: How many samples each split has.

    Raises:
        AssertionError: If it does not; the message names the broken clause.
    """
    data = labelled_splits(space, n)
    x = made_up(space, 7, seed=9)
    before = x.clone()
    with untouched_global_state():
        first, again = (extractor.fit(space, data, rng=Rng(0)) for _ in range(2))
        found, twin, once_more = first.extract(x), again.extract(x), first.extract(x)
    assert found.ndim == 2, "features have shape (n, d)"
    assert len(found) == len(x), "there is one vector for each sample"
    assert found.shape[1] > 0, "there is at least one feature"
    assert found.dtype == torch.float32, "features are float32"
    assert found.device == x.device, "features are where the samples are"
    assert bool(found.isfinite().all()), "features are finite"
    assert not found.requires_grad, "features keep no gradient"
    assert torch.equal(x, before), "samples are left as they are"
    assert torch.equal(found, once_more), "extracting changes nothing"
    assert torch.equal(found, twin), "same seed, same features"
    assert first.fingerprint == again.fingerprint, "same seed, same fingerprint"
    assert first.note, "there is a note"
    assert "\n" not in first.note, "the note is one line"
    parts = torch.cat([first.extract(part) for part in torch.split(x, 3)])
    assert torch.allclose(parts, found, rtol=1e-3, atol=1e-4), (
        "features of a sample do not depend on its neighbours"
    )
    assert first.extract(x[:0]).shape == (0, found.shape[1]), "no samples, no features"
    if first.classify is not None:
        check_probabilities(first.classify, x)


def check_probabilities(classify: Extract, x: Tensor) -> None:
    """Checks that ``classify`` keeps the contract on samples ``x``.

    Raises:
        AssertionError: If it does not; the message names the broken clause.
    """
    with untouched_global_state():
        p = classify(x)
    assert p.ndim == 2, "probabilities have shape (n, classes)"
    assert len(p) == len(x), "there is one row for each sample"
    assert p.dtype == torch.float32, "probabilities are float32"
    assert p.device == x.device, "probabilities are where the samples are"
    assert not p.requires_grad, "probabilities keep no gradient"
    assert bool((p >= 0).all()), "probabilities are not negative"
    assert torch.allclose(p.sum(1), torch.ones_like(p[:, 0]), atol=1e-5), (
        "the probabilities of a sample add up to one"
    )
    assert torch.equal(p, classify(x)), "classifying changes nothing"
    assert classify(x[:0]).shape == (0, p.shape[1]), "no samples, no probabilities"


def labelled_splits(space: Space, n: int) -> Splits:
    """Returns three made-up splits of ``n`` samples with two classes."""

    def split(seed: int) -> InMemory:
        x = made_up(space, n, seed=seed)
        size = x.flatten(1).mean(1)
        return InMemory(x, (size > size.median()).long())

    return Splits(train=split(1), validation=split(2), test=split(3), note="made up")


def check_probe(
    probe: Probe | DataProbe, model: Model, real: Tensor, data: Dataset | None = None
) -> None:
    """Checks that ``probe`` keeps the contract on a model.

    Args:
        probe: The probe.
        model: The model, in training mode, so that a probe that changes its mode is found out.
        real: Samples of the model's space, shape ``(n, *space.shape)``.
        data: The data set that a ``DataProbe`` is shown.

    Raises:
        AssertionError: If it does not; the message names the broken clause.
    """
    before = {k: v.clone() for k, v in model.state_dict().items()}
    untouched, training = real.clone(), model.training
    with untouched_global_state():
        first, again = (_probed(probe, model, real, data) for _ in range(2))
    assert first.scores or first.clock, "a probe finds something, or says why it cannot"
    assert first.scores == again.scores, "same seed, same scores"
    assert first.clock.keys() == again.clock.keys(), "what depends on the machine keeps its names"
    assert not first.scores.keys() & first.clock.keys(), "each number has a name of its own"
    assert torch.equal(real, untouched), "samples are left as they are"
    assert model.training == training, "the model stays in its mode"
    for name, parameter in model.named_parameters():
        assert parameter.grad is None, f"no gradient is left behind: {name} has one"
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == before[name].dtype, f"the model keeps its precision: {name}"
        assert torch.equal(tensor, before[name]), f"measuring leaves the model alone: {name}"


def _probed(
    probe: Probe | DataProbe, model: Model, real: Tensor, data: Dataset | None
) -> Findings:
    if isinstance(probe, Probe):
        return probe.inspect(model, real, rng=Rng(0))
    assert data is not None, "a probe of model and data is shown a data set"
    return probe.examine(model, real, data=data, splits=data.load(rng=Rng(0)), rng=Rng(0))


def check_toy(toy: Toy, *, steps: int = 3) -> None:
    """Checks that ``toy`` keeps the contract, and that its default solver can play it.

    Args:
        toy: The toy game.
        steps: How many steps are played.

    Raises:
        AssertionError: If it does not; the message names the broken clause.
    """
    real = toy.real
    assert len(real) > 0, "there is at least one sample, a dummy where a game has no data"
    assert real.dtype == torch.float64, "samples are float64"
    assert torch.equal(real, toy.real), "same settings, same samples"
    with untouched_global_state():
        game, twin = toy.build(), toy.build()
        for name, weight in _weights(game).items():
            assert weight.dtype == torch.float64, f"players are float64: {name} is not"
            assert torch.equal(weight, _weights(twin)[name]), f"same settings, same start: {name}"
        for player in game.players:
            both = [g.loss(player, real, rng=Rng(0).stream("loss")) for g in (game, twin)]
            assert both[0].shape == (), f"the loss of {player} is a scalar"
            assert both[0].isfinite(), f"the loss of {player} is finite"
            assert torch.equal(*both), f"same seed, same loss: {player} differs"
        play = solvers.make(toy.solver).start(game)
        for step in range(steps):
            losses = play.step(torch.cat([real] * play.batches), rng=Rng(step).stream("noise"))
            assert set(losses) == set(game.players), "a step reports the loss of every player"
    moved = [k for k, w in _weights(game).items() if not torch.equal(w, _weights(twin)[k])]
    assert moved, "the default solver moves a player"
    for name, weight in _weights(game).items():
        assert bool(weight.isfinite().all()), f"the default solver does not diverge: {name}"


def check_study(study: Study, folder: Path, *, most: int = 1) -> None:
    """Checks that ``study`` keeps the contract, on its first trials.

    Each of these runs twice, so give a study whose trials are quick.

    Args:
        study: The study.
        folder: Where runs are kept; must be empty or missing.
        most: How many trials are run.

    Raises:
        AssertionError: If it does not; the message names the broken clause.
    """
    question, trials = study.question(), study.trials()
    plain = json.loads(json.dumps(question))
    assert study.question() == question, "the question is the same each time"
    assert trials, "there is at least one trial"
    assert list(study.trials()) == list(trials), "trials are the same each time"
    assert len({t.key for t in trials}) == len(trials), "no trial is listed twice"
    for trial in trials:
        for name, part in trial.parts.items():
            assert isinstance(part, str), f"parts of a trial are text: {name} is not"
    sent = pickle.loads(pickle.dumps(study))  # noqa: S301  (its own)
    assert json.loads(json.dumps(sent.question())) == plain, "a study can go to another process"
    shares: list[float] = []

    def watch(share: float, _what: object) -> None:
        shares.append(share)

    where = facts("cpu", torch.get_num_threads(), ["check_study"])
    runs = [Run.create(folder / name, question, where) for name in ("first", "second")]
    first, second = (
        [s.run(t, run.folder(t), watch) for t in trials[:most]]
        for s, run in zip((study, sent), runs, strict=True)
    )
    for trial, one, other in zip(trials, first, second, strict=False):
        assert one.trial == trial, "an outcome is that of its trial"
        assert one.scores == other.scores, "the same trial gives the same scores"
        assert one.clock.keys() == other.clock.keys(), "what the clock saw keeps its names"
    assert all(0 <= share <= 1 for share in shares), "progress is a share from 0 to 1"
    _check_conclusion(study, first, runs[0])


def _check_conclusion(study: Study, outcomes: list[Outcome], run: Run) -> None:
    for outcome in outcomes:
        run.record(outcome)
    before = {f: f.stat().st_mtime_ns for f in run.path.rglob("*")}
    report = study.conclude(outcomes, run)
    assert {f: f.stat().st_mtime_ns for f in run.path.rglob("*")} == before, (
        "concluding writes nothing"
    )
    assert report.title, "a report has a title"
    assert report.verdicts, "a report answers, or says why it cannot"
    written = json.loads(json.dumps(as_json(report)))
    assert as_json(from_json(written)) == as_json(report), "a report is read as it was written"


_ENDING = ".gantlet-no-such-kind"


def check_domain(
    domain: Domain, space: Space, x: Tensor | None = None, *, code: Code | None = None
) -> None:
    """Checks that a kind of sample keeps the contract.

    Args:
        domain: The kind.
        space: What one of its samples is.
        x: Samples, shape ``(n, *space.shape)``, 10 or more; made up where none are given.
        code: What the numbers of a sample stand for, where they are not plain numbers.

    Raises:
        AssertionError: If it does not; the message names the broken clause.
    """
    x = made_up(space, 24) if x is None else x
    before = x.clone()
    with untouched_global_state():
        found, again = (domain.attributes(space, x, code) for _ in range(2))
    names = [word.name for word in found.words]
    assert len(set(names)) == len(names), "each attribute has a name of its own"
    assert found.values.shape == (len(x), len(names)), "there is one row for each sample"
    assert found.values.dtype == torch.float64, "attributes are float64"
    assert found.words == again.words, "the same samples have the same attributes"
    assert torch.equal(found.values.nan_to_num(), again.values.nan_to_num()), (
        "the same samples have the same measurements"
    )
    if not domain.depends_on_set(code):
        few = domain.attributes(space, x[:5], code)
        assert few.words == found.words, "attributes do not depend on the number of samples"
        assert torch.allclose(few.values, found.values[:5], equal_nan=True), (
            "a sample is measured alone, or depends_on_set says otherwise"
        )
    _check_settings(domain, space, code)
    picture = domain.picture(space, x)
    assert picture is None or picture.startswith(b"\x89PNG"), "a picture is a PNG file"
    with TemporaryDirectory(prefix="gantlet-domain-") as name:
        _check_files(domain, space, x, code, Path(name))
    assert torch.equal(x, before), "samples are left as they are"


def _check_settings(domain: Domain, space: Space, code: Code | None) -> None:
    assert all(e.startswith(".") for e in domain.endings), "endings of files begin with a dot"
    assert domain.shown >= 10, "a picture shows ten samples or more"
    for labelled in (True, False):
        chosen = domain.features(code, labelled=labelled)
        assert chosen, "there is a default extractor"
        for name in chosen:
            assert extractors.resolve(name), f"the default extractor {name} exists"
    for name in domain.metrics:
        assert metrics.resolve(name), f"the metric {name} exists"
    causes = domain.causes(space)
    assert len({c.name for c in causes}) == len(causes), "each cause has a name of its own"


def _check_files(domain: Domain, space: Space, x: Tensor, code: Code | None, at: Path) -> None:
    other = at / f"file{_ENDING}"
    other.write_bytes(b"?")
    assert domain.reader(other) is None, "files of another kind are left to it"
    for ending, write in domain.writers(space, code).items():
        assert ending.startswith("."), f"endings of files begin with a dot: {ending} does not"
        write(at / "samples.draft", x)
        written = at / "samples.draft"
        assert written.is_dir() or written.stat().st_size > 0, f"{ending} files hold something"
        file = written.rename(at / f"samples{ending}")
        read = domain.reader(file) or reader_of(file)
        assert read is not None, f"{ending} files can be read again"
        assert len(read.whole()) == len(x), f"{ending} files hold every sample"
