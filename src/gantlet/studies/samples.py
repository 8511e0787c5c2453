"""Writes samples in the format that a file's name asks for."""

from pathlib import Path

import numpy as np
from torch import Tensor

from gantlet.core.errors import UserError, unknown
from gantlet.core.trial import Trial
from gantlet.store.files import draft_of, write_bytes
from gantlet.store.tensors import save_tensors
from gantlet.studies.gallery import picture
from gantlet.studies.sources import source_of

_SUFFIXES = (".npz", ".npy", ".safetensors", ".png")


def save_samples(path: Path, x: Tensor, trial: Trial) -> None:
    """Writes samples, shape ``(n, *space.shape)``; levels up to 256 as bytes where arrays allow.

    Raises:
        UserError: If the format is not known, or the samples are nothing to look at.
    """
    space, _ = source_of(trial)
    discrete = space.levels is not None and space.levels <= 256
    array = x.cpu().numpy().astype(np.uint8 if discrete else np.float32)
    if path.suffix == ".png":
        png = picture(space, x.cpu())
        if png is None:
            raise UserError(f"Samples of {space.label} are no picture. Give --out samples.npz.")
        write_bytes(path, png)
    elif path.suffix == ".safetensors":
        save_tensors(path, {"samples": x})
    elif path.suffix in _SUFFIXES:
        with draft_of(path) as draft, draft.open("wb") as file:
            np.save(file, array) if path.suffix == ".npy" else np.savez_compressed(file, x=array)
    else:
        raise unknown("format of samples", path.suffix, _SUFFIXES)
