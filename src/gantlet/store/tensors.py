"""Tensors on disk, without pickle: safetensors, and JSON for the plain values between them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from gantlet.core.errors import UserError
from gantlet.store.files import read_json, write_bytes, write_json

_TENSOR = "__tensor__"


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Saves tensors; those that share memory (tied weights) are saved once each."""
    whole = {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}
    # Written by Python: the library's own writer hides from the caller that a disk is full.
    write_bytes(path, save(whole))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Returns the tensors of a file.

    Raises:
        UserError: If there is no such file, or it is not of this format.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist.")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path} is not a whole safetensors file: {error}.") from error


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Saves a nested state of tensors and plain values as ``path`` in two files.

    The JSON file is written last and names the tensors' file, so that a reader never pairs
    halves of different states.
    """
    tensors: dict[str, Tensor] = {}
    plain = _lift(state, "", tensors)
    generation = _generation(path) + 1
    file = path.with_name(f"{path.name}.{generation % 2}.safetensors")
    save_tensors(file, tensors)
    write_json(path.with_suffix(".json"), {"generation": generation, "state": plain})


def load_state(path: Path) -> dict[str, Any] | None:
    """Returns the state that ``save_state`` saved, or None where there is none."""
    index = path.with_suffix(".json")
    if not index.exists():
        return None
    entry = read_json(index)
    tensors = load_tensors(path.with_name(f"{path.name}.{entry['generation'] % 2}.safetensors"))
    state: dict[str, Any] = _drop(entry["state"], tensors)
    return state


def drop_state(path: Path) -> None:
    """Removes a saved state."""
    for file in path.parent.glob(f"{path.name}.*"):
        file.unlink()


def _generation(path: Path) -> int:
    index = path.with_suffix(".json")
    return int(read_json(index)["generation"]) if index.exists() else 0


def _lift(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Moves the tensors of ``value`` into ``tensors`` and returns what is left, for JSON."""
    if isinstance(value, torch.Tensor):
        tensors[name] = value
        return {_TENSOR: name}
    if isinstance(value, Mapping):
        # Keys are kept apart as pairs: optimizers use whole numbers, which JSON would not keep.
        return {"__items__": [[k, _lift(v, f"{name}/{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_lift(v, f"{name}/{i}", tensors) for i, v in enumerate(value)]
    return value


def _drop(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict) and _TENSOR in value:
        return tensors[value[_TENSOR]]
    if isinstance(value, dict):
        return {k: _drop(v, tensors) for k, v in value["__items__"]}
    if isinstance(value, list):
        return [_drop(v, tensors) for v in value]
    return value
