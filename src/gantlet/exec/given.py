"""Samples given as Python objects, written down so that a run can name them."""

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gantlet.compute.machine import memory
from gantlet.core.components import datasets
from gantlet.core.dataset import Dataset, everything
from gantlet.core.errors import UserError
from gantlet.core.model import Model
from gantlet.core.rng import Rng
from gantlet.core.spec import Spec
from gantlet.exec.pieces import (
    Gathered,
    checked_array,
    first_part,
    gather,
    is_loader,
    is_map_style,
    one_array,
)
from gantlet.store.kept import keep_array, keep_table
from gantlet.studies.evaluation.inputs import naming
from gantlet.studies.sources import draw

Given: TypeAlias = (
    str
    | Path
    | Tensor
    | NDArray[Any]
    | Dataset
    | Model
    | Iterable[Any]
    | Callable[[int], Any]
    | torch.utils.data.Dataset[Any]
)
"""Samples: where they are, in words or a path; or a tensor, an array, a pandas table; a list of
arrays, tensors or PIL images; a data set of Gantlet or of torch, a loader or an iterator of
batches, alone, in tuples or in dictionaries; a model or module with ``sample``, or a function
``n -> samples`` that is asked for them."""

# How many samples are drawn from a model where no number is given.
_DRAWN = 10_000
_KINDS = (
    "a path, a tensor, an array, a table, a list of images, a data set, a loader, an iterator, a "
    "model or a function n -> samples"
)


def written(given: Given, name: str, *, n: int | None, seed: int) -> str:
    """Returns samples in the words of the command line; objects are saved to the cache first.

    Args:
        given: The samples.
        name: What to call them where they are an object.
        n: How many to draw from a model or to take from an iterator; None for 10,000 of a model
            and all of an iterator.
        seed: Draws the samples of a model, and splits a data set, whose test split is taken.

    Raises:
        UserError: If they are nothing that holds samples.
    """
    if isinstance(given, str):
        return given
    if isinstance(given, Path):
        return _path(given)
    if isinstance(given, Dataset) and (known := _registered(given)) is not None:
        return known
    if hasattr(given, "to_csv") and hasattr(given, "columns"):
        frame: Any = given
        return naming(name, keep_table(frame.to_csv(index=False), name))
    # Loaders and functions of others draw from the global generator, which is left as it was.
    with torch.random.fork_rng(devices=[]):
        found = _gathered(given, name, n, seed)
    return naming(name, keep_array(checked_array(found.array, name), name, found.note))


def _path(path: Path) -> str:
    """Returns a path as a word that can mean nothing but a path.

    Raises:
        UserError: If it does not exist.
    """
    if not path.expanduser().exists():
        raise UserError(f"There is no file or folder {path}.")
    return str(path)


def _registered(dataset: Dataset) -> str | None:
    """Returns a data set in written form, or None where the registry does not know it."""
    names = [n for n in datasets.names() if datasets.load(n) is type(dataset)]
    return str(Spec.of(names[0], dataset)) if names else None


def _gathered(given: Any, name: str, n: int | None, seed: int) -> Gathered:
    """Returns the samples of an object, and what was done to get them."""
    found = _asked(given, name, n or _DRAWN, seed)
    if found is not None:
        return found
    if isinstance(given, (Tensor, np.ndarray)) or hasattr(given, "__array__"):
        return Gathered(one_array(given, name))
    if is_map_style(given):
        return _chosen_of(given, name, n, seed)
    if isinstance(given, (str, bytes, dict, set)) or not isinstance(given, Iterable):
        raise UserError(f"{name} must be {_KINDS}. Got {type(given).__name__}.")
    return gather(given, name, most=None if _ends(given) else n)


def _ends(given: Any) -> bool:
    """Returns whether an iterable is known to end."""
    return hasattr(given.dataset if is_loader(given) else given, "__len__")


def _asked(given: Any, name: str, n: int, seed: int) -> Gathered | None:
    """Returns samples of what has to be asked for them, or None where it is something else."""
    if isinstance(given, Model):
        _check_room(4 * n * given.space.size, name, n)
        x = draw(given, n, rng=Rng(seed).stream("sample")).cpu()
        return Gathered(_levels(x, given.space.levels))
    if isinstance(given, Dataset):
        x = everything(given.load(rng=Rng(seed)).test)
        return Gathered(_levels(x, given.space.levels))
    if inspect.isclass(given):
        raise UserError(f"{name} is the class {given.__name__}. Give an object of it.")
    if isinstance(given, torch.distributions.Distribution):
        return _called(lambda k: given.sample(torch.Size([k])), name, n)
    if callable(getattr(given, "sample", None)) and not hasattr(given, "__getitem__"):
        return _called(given.sample, name, n)
    if isinstance(given, torch.nn.Module):
        raise UserError(
            f"{name} is a module without a method sample(n). Give a function n -> samples, such "
            "as lambda n: net(torch.randn(n, 64))."
        )
    if callable(given) and not isinstance(given, Iterable) and not hasattr(given, "__array__"):
        return _called(given, name, n)
    return None


def _check_room(size: int, name: str, n: int) -> None:
    room = memory() // 2
    if size > room:
        raise UserError(
            f"{n} samples of {name} take {size / 2**30:.1f} GB, more than half of the memory "
            f"({room / 2**30:.1f} GB). Ask for fewer samples."
        )


def _called(function: Callable[[int], Any], name: str, n: int) -> Gathered:
    """Returns what a function gives that is asked once for ``n`` samples."""
    try:
        with torch.no_grad():
            answer = function(n)
    except Exception as error:
        raise UserError(
            f"{name} was asked for {n} samples and raised {type(error).__name__}: {error}"
        ) from error
    if isinstance(answer, tuple):
        found = first_part(answer, name)
    elif isinstance(answer, list):
        found = gather(answer, name)
    elif hasattr(answer, "__array__"):
        found = Gathered(one_array(answer, name))
    else:
        raise UserError(
            f"{name} was asked for {n} samples and returned {type(answer).__name__}. A tensor or "
            "an array, samples first, is needed."
        )
    got = len(found.array) if found.array.ndim else 0
    if got != n:
        raise UserError(f"{name} was asked for {n} samples and returned {got}.")
    return found


def _chosen_of(given: Any, name: str, n: int | None, seed: int) -> Gathered:
    """Returns samples of a data set that is read by index, at most ``n``, chosen by ``seed``."""
    size = len(given)
    if n is None or size <= n:
        return gather((given[i] for i in range(size)), name, items=True)
    # Floyd's algorithm: the indices of a billion items are not listed.
    index = np.random.default_rng(seed).choice(size, n, replace=False, shuffle=False)
    found = gather((given[i] for i in sorted(index.tolist())), name, items=True)
    kept = f"{n:,} of the {size:,} items of {name} were read, chosen by seed {seed}"
    return Gathered(found.array, "; ".join(filter(None, (kept, found.note))))


def _levels(x: Tensor, levels: int | None) -> NDArray[Any]:
    """Returns samples with few levels as bytes, so that they are known to be levels."""
    few = levels is not None and levels <= 256
    return x.numpy().astype(np.uint8) if few else x.numpy()
