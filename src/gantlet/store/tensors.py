"""Tensors on disk, without pickle: safetensors, and JSON for the plain values between them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save
from torch import Tensor

from gantlet.core.errors import UserError
from gantlet.store.files import (
    DamagedError,
    digest_of_file,
    read_sealed,
    write_bytes,
    write_sealed,
)

_TENSOR = "__tensor__"


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Saves tensors; those that share memory (tied weights) are saved once each."""
    whole = {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}
    # Written by Python: the library's own writer hides from the caller that a disk is full.
    write_bytes(path, save(whole), durable=True)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Returns the tensors of a file.

    Raises:
        DamagedError: If there is no such file, or it is not of this format.
    """
    if not path.exists():
        raise DamagedError(f"{path} does not exist.")
    try:
        # The library takes names of files in UTF-8 alone: under others it is given the bytes.
        return load_file(path) if _is_utf8(path) else load(path.read_bytes())
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise DamagedError(f"{path} is not a whole safetensors file: {error}.") from error


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def save_state(
    path: Path, state: Mapping[str, Any], owner: str = "", files: Mapping[str, str] | None = None
) -> None:
    """Saves a nested state of tensors and plain values as ``path``, beside the one before.

    Two generations are kept, each as tensors and an index with the checksum of both. The index is
    written last; a generation whose halves do not fit together does not count.

    Args:
        path: The files are named after it: ``state.0.safetensors``, ``state.0.json`` and so on.
        state: Tensors and plain values, in dictionaries and lists.
        owner: To whom the state belongs: that of another is never taken up.
        files: Checksums of files in the same folder without which the state is worth nothing.
    """
    tensors: dict[str, Tensor] = {}
    plain = _lift(state, "", tensors)
    generation = max((found for found, _ in _generations(path, str)), default=0) + 1
    index = _index(path, generation)
    file = index.with_suffix(".safetensors")
    save_tensors(file, tensors)
    entry = {"generation": generation, "owner": owner, "tensors": digest_of_file(file)}
    write_sealed(index, {**entry, "files": files or {}, "state": plain})
    # What an earlier version wrote refers to tensors that have been written over by now.
    path.with_suffix(".json").unlink(missing_ok=True)


def load_state(
    path: Path, owner: str = "", warn: Callable[[str], object] = lambda _: None
) -> dict[str, Any] | None:
    """Returns the latest state that ``save_state`` saved and that is whole, or None.

    Args:
        path: As for ``save_state``.
        owner: As for ``save_state``.
        warn: Told of each generation that is damaged.
    """
    for _, index in sorted(_generations(path, warn), reverse=True):
        try:
            return _state_of(path, index, owner)
        except (UserError, LookupError, TypeError, OSError) as error:
            warn(f"the checkpoint {index.name} cannot be used ({error})")
    return None


def drop_state(path: Path) -> None:
    """Removes a saved state."""
    for file in path.parent.glob(f"{path.name}.*"):
        file.unlink()


def _index(path: Path, generation: int) -> Path:
    return path.with_name(f"{path.name}.{generation % 2}.json")


def _generations(path: Path, warn: Callable[[str], object]) -> list[tuple[int, Path]]:
    """Returns the generations whose index is whole, with that index; one by an earlier version."""
    found: list[tuple[int, Path]] = []
    for file in (_index(path, 0), _index(path, 1), path.with_suffix(".json")):
        if not file.exists():
            continue
        try:
            found.append((int(read_sealed(file, since="tensors")["generation"]), file))
        except (UserError, LookupError, TypeError, ValueError, OSError) as error:
            warn(f"the checkpoint {file.name} cannot be used ({error})")
    return found


def _state_of(path: Path, index: Path, owner: str) -> dict[str, Any]:
    entry = read_sealed(index, since="tensors")
    file = _index(path, int(entry["generation"])).with_suffix(".safetensors")
    if entry.get("owner", owner) != owner:
        raise DamagedError(f"{index} belongs to {entry['owner']}.")
    if "tensors" in entry:
        for name, wanted in {file.name: entry["tensors"], **entry["files"]}.items():
            if digest_of_file(path.with_name(name)) != wanted:
                raise DamagedError(f"{path.with_name(name)} is damaged: its checksum is another.")
    state: dict[str, Any] = _drop(entry["state"], load_tensors(file))
    return state


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
