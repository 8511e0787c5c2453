"""Samples given as Python objects, written down so that a run can name them."""

from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gantlet.core.components import datasets
from gantlet.core.dataset import Dataset, everything
from gantlet.core.errors import UserError
from gantlet.core.model import Model
from gantlet.core.places import cache_home
from gantlet.core.rng import Rng
from gantlet.core.spec import Spec
from gantlet.store.files import draft_of
from gantlet.studies.contest import draw

Given: TypeAlias = str | Path | Tensor | NDArray[Any] | Dataset | Model | Iterable[Tensor]
"""Samples: where they are, in words or a path; or a tensor, an array, a data set, a model that is
sampled, or an iterator of batches."""


def written(given: Given, name: str, *, n: int, seed: int) -> str:
    """Returns samples in the words of the command line; objects are saved to the cache first.

    Args:
        given: The samples.
        name: What to call them where they are an object.
        n: How many to draw from a model.
        seed: Draws the samples of a model, and splits a data set, whose test split is taken.

    Raises:
        UserError: If they are nothing that holds samples.
    """
    if isinstance(given, (str, Path)):
        return str(given)
    if isinstance(given, Dataset) and (known := _registered(given)) is not None:
        return known
    array = _array(given, n, seed)
    digest = blake2b(repr((array.shape, array.dtype)).encode(), digest_size=16)
    digest.update(array.tobytes())
    file = cache_home() / "inputs" / f"{digest.hexdigest()}.npy"
    if not file.exists():
        with draft_of(file) as draft, draft.open("wb") as out:
            np.save(out, array)
    return f"{name}={file}"


def _registered(dataset: Dataset) -> str | None:
    """Returns a data set in written form, or None where the registry does not know it."""
    names = [n for n in datasets.names() if datasets.load(n) is type(dataset)]
    return str(Spec.of(names[0], dataset)) if names else None


def _array(given: Any, n: int, seed: int) -> NDArray[Any]:
    if isinstance(given, Model):
        x = draw(given, n, rng=Rng(seed).stream("sample")).cpu()
        return _levels(x, given.space.levels)
    if isinstance(given, Dataset):
        x = everything(given.load(rng=Rng(seed)).test)
        return _levels(x, given.space.levels)
    if isinstance(given, Tensor):
        return given.detach().cpu().numpy()
    if isinstance(given, np.ndarray):
        return cast("NDArray[Any]", given)
    if isinstance(given, Iterable):
        batches = [torch.as_tensor(batch) for batch in given]
        if batches:
            return torch.cat(batches).detach().cpu().numpy()
    raise UserError(
        "Samples are a path, a tensor, an array, a data set, a model or an iterator of batches. "
        f"Got {type(given).__name__}."
    )


def _levels(x: Tensor, levels: int | None) -> NDArray[Any]:
    """Returns samples with few levels as bytes, so that they are known to be levels."""
    few = levels is not None and levels <= 256
    return x.numpy().astype(np.uint8) if few else x.numpy()
