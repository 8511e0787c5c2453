"""The contract of families, and of the models that they build."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from gantlet.core.components import solvers
from gantlet.core.errors import UserError
from gantlet.core.family import Family, Fitted
from gantlet.core.game import Adversarial, Generative
from gantlet.core.model import Decoder, Density, Invertible, Model
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.testing.samples import made_up

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


def check_fitted(family: Fitted, space: Space, *, n: int = 200) -> None:
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
    """Returns what ``look`` does given a context that fits, having checked what it refuses."""
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
