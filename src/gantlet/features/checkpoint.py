"""Reading weights from files of others, without running what they hold."""

import pickle
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gantlet.core.errors import UserError

# What the reader may raise on bytes that are no weights.
_BROKEN = (
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
    OSError,
    MemoryError,
    OverflowError,
)
_ASIDE = "num_batches_tracked"  # counts that no result depends on; old files lack them


def read(path: Path) -> dict[str, Tensor]:
    """Returns the named tensors of a file that ``torch.save`` wrote, on the CPU.

    Nothing in the file is run: only tensors and plain values are read.

    Raises:
        UserError: If it is not whole, is not such a file, or holds anything but tensors.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the file; the error below says more
            found = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251  runs no code
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is no file of weights, or wants to run code, which it must not: only tensors "
            "are read. Nothing was run."
        ) from error
    except _BROKEN as error:
        raise UserError(
            f"{path} is no whole file of weights; it may be another kind of file, or a download "
            "that broke off."
        ) from error
    if not isinstance(found, Mapping) or not all(torch.is_tensor(t) for t in found.values()):
        raise UserError(
            f"{path} holds no plain table of named tensors (got {type(found).__name__}); save the "
            "network's state_dict() alone."
        )
    return {str(name): tensor for name, tensor in found.items()}


def read_script(path: Path) -> dict[str, Tensor]:
    """Returns the named tensors of a TorchScript archive, on the CPU.

    Loading an archive may run what it holds; the caller knows its hash.

    Raises:
        UserError: If it is no whole archive.
    """
    return dict(load_script(path).state_dict())


def load_script(path: Path) -> torch.jit.ScriptModule:
    """Returns the network of a TorchScript archive, on the CPU, ready for use.

    Raises:
        UserError: If it is no whole archive.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # files of others stay as they are
            load: Any = torch.jit.load
            net: torch.jit.ScriptModule = load(str(path), map_location="cpu")
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{path} is no whole TorchScript archive.") from error
    net.eval()
    return net


def fill(net: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Gives ``net``, made on the meta device, the tensors of ``state`` in float32.

    Raises:
        UserError: If names or shapes are not those of the network.
    """
    wanted = {k: t for k, t in net.state_dict().items() if not k.endswith(_ASIDE)}
    given = {k: t for k, t in state.items() if not k.endswith(_ASIDE)}
    _compare(wanted, given, path)
    counts = {k: torch.zeros((), dtype=torch.long) for k in net.state_dict() if k.endswith(_ASIDE)}
    net.load_state_dict({k: t.float() for k, t in given.items()} | counts, assign=True)


def _compare(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], path: Path) -> None:
    start = f"{path} does not fit this network:"
    lacks, extra = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    if lacks:
        raise UserError(f"{start} it lacks {_some(lacks)}.")
    if extra:
        raise UserError(f"{start} it also holds {_some(extra)}.")
    for name, tensor in wanted.items():
        shape, own = tuple(tensor.shape), tuple(given[name].shape)
        if shape != own:
            raise UserError(f"{start} {name} should have shape {shape}, but has {own}.")


def _some(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
