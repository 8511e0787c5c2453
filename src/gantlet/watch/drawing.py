"""Draws the samples of a look, so that the loop does not notice it."""

import inspect
import random
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gantlet.commands.generators import Drawing, drawn_from
from gantlet.commands.trained import draw
from gantlet.core.errors import UserError
from gantlet.core.model import Model
from gantlet.core.rng import Rng
from gantlet.given import checked_array, first_part, one_array
from gantlet.models.generator import Latent, evaluating, latent_shape

Sampler: TypeAlias = nn.Module | Callable[..., Any]
"""A generator network whose input is a latent, a module with ``sample(n)``, a model of Gantlet, or
a function ``n -> samples``; one with an argument ``generator`` or ``rng`` is given a generator."""


def sampling_function(given: Sampler, latent: Latent) -> Callable[[int, torch.Generator], Any]:
    """Returns a function of a number and a generator that draws samples.

    Raises:
        UserError: If the object cannot be sampled from.
    """
    if isinstance(given, Model):
        return lambda n, rng: draw(given, n, rng=rng)
    own = getattr(given, "sample", None)
    if isinstance(given, nn.Module) and not callable(own):
        module = given
        if latent.shape is None:
            latent_shape(module)  # raises where it cannot be told
        return lambda n, rng: drawn_from(module, Drawing(latent=latent), n, rng=rng).x
    function = cast("Callable[..., Any] | None", own if callable(own) else given)
    if inspect.isclass(given) or not callable(function):
        raise UserError(
            f"sample must be a network, a model or a function n -> samples. Got {given!r:.60}."
        )
    name = _takes_generator(function)
    if name is not None:
        return lambda n, rng: function(n, **{name: rng})
    return lambda n, _: function(n)


def _takes_generator(function: Callable[..., Any]) -> str | None:
    """Returns the argument by which a function takes a random generator, if it has one."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return None
    return next((name for name in ("generator", "rng") if name in parameters), None)


def drawn(
    given: Sampler, n: int, *, latent: Latent, players: Sequence[nn.Module], rng: torch.Generator
) -> NDArray[Any]:
    """Returns ``n`` samples, shape ``(n, ...)``; the loop finds everything as it left it.

    Modules are put in evaluation mode meanwhile, no gradient is recorded, and the global random
    states are those of before.

    Raises:
        UserError: If it gives anything but ``n`` samples.
    """
    modules = [*players, *([given] if isinstance(given, nn.Module) else [])]
    function = sampling_function(given, latent)
    with ExitStack() as stack:
        stack.enter_context(own_randomness(rng))
        stack.enter_context(torch.no_grad())
        stack.enter_context(evaluating(modules))
        answer = function(n, rng)
    return _array(answer, n)


def _array(answer: Any, n: int) -> NDArray[Any]:
    found = first_part(answer, "sample").array if isinstance(answer, tuple) else None
    array = checked_array(one_array(answer, "sample") if found is None else found, "sample")
    if len(array) != n:
        raise UserError(f"sample was asked for {n} samples and returned {len(array)}.")
    return array


@contextmanager
def own_randomness(rng: torch.Generator) -> Generator[None]:
    """Lets foreign code draw global random numbers that follow from ``rng`` alone.

    The states of torch (CPU, and CUDA where it is in use), NumPy and Python are put back.
    """
    seed = int(torch.randint(2**31, (), generator=rng, device="cpu"))
    numpys = np.random.get_state(legacy=False)  # noqa: NPY002  (to be put back)
    pythons, torchs = random.getstate(), torch.get_rng_state()
    cudas = torch.cuda.get_rng_state_all() if _uses_cuda() else None
    try:
        random.setstate(random.Random(seed).getstate())
        np.random.set_state(np.random.RandomState(seed).get_state())  # noqa: NPY002
        torch.default_generator.manual_seed(seed)
        if cudas is not None:
            torch.cuda.manual_seed_all(seed)
        yield
    finally:
        random.setstate(pythons)
        np.random.set_state(numpys)  # noqa: NPY002
        torch.set_rng_state(torchs)
        if cudas is not None:
            torch.cuda.set_rng_state_all(cudas)


def _uses_cuda() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


@contextmanager
def plain_torch() -> Generator[None]:
    """Keeps the loop's automatic precision, default device and gradients out of measurements."""
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        if torch.get_default_device().type != "cpu":
            # Only where it is needed: the context slows every small operation down.
            stack.enter_context(torch.device("cpu"))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def norms(players: Mapping[str, nn.Module]) -> dict[str, float]:
    """Returns the norm of parameters and of the gradients that the loop left, by player."""
    found: dict[str, float] = {}
    for name, module in players.items():
        with torch.no_grad():
            weights = [p for p in module.parameters() if p.is_floating_point()]
            grads = [p.grad for p in weights if p.grad is not None and not p.grad.is_sparse]
            found[f"weights/{name}"] = _norm(weights)
            if grads:
                found[f"gradient/{name}"] = _norm(grads)
    return found


def _norm(tensors: Sequence[Tensor]) -> float:
    return float(sum(float(x.float().norm()) ** 2 for x in tensors) ** 0.5)


def stream(seed: int, name: str) -> torch.Generator:
    """Returns the generator of one purpose; CPU, whatever the default device is."""
    return Rng(seed).stream(f"watch/{name}")
