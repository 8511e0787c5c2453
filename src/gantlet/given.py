"""Conversion of samples given as Python objects to files that a run can refer to."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gantlet.commands.evaluate.inputs import named, spec_with_name
from gantlet.commands.generators import (
    Drawing,
    dataset_text,
    drawn_from,
    is_generator,
    samples_of_text,
)
from gantlet.commands.own_games import OwnFamily
from gantlet.commands.tournament.play import OwnPlayers
from gantlet.commands.trained import draw
from gantlet.compute.machine import memory
from gantlet.core.data import Dataset, all_samples
from gantlet.core.errors import UserError
from gantlet.core.model import Game, Generative, Model
from gantlet.core.rng import Rng
from gantlet.core.spec import Spec, datasets, families
from gantlet.models.generator import Latent
from gantlet.models.own import OwnGame
from gantlet.run.given_samples import store_array, store_table, stored_samples

# ----------------------------------------------------------------------------
# Collection of arrays from items and batches of loaders and lists.
# ----------------------------------------------------------------------------

Array = NDArray[Any]

# Common keys of samples in dictionaries, in order of preference.
_KEYS = (
    "x",
    "image",
    "images",
    "img",
    "imgs",
    "pixel_values",
    "sample",
    "samples",
    "input",
    "inputs",
    "data",
    "features",
)
_CHANNELS = (1, 3)
# Number of consecutive empty batches after which an iterator is considered empty.
_PATIENCE = 1000
_SHARE = 2  # share of the memory for samples given in Python


@final
@dataclass(frozen=True, slots=True)
class Collected:
    """Collected samples.

    Attributes:
        array: The samples along the first axis.
        note: Conversions that were made, or empty.
    """

    array: Array
    note: str = ""


def is_map_style(given: Any) -> bool:
    """Returns whether an object is a map-style data set, like those of torch."""
    if isinstance(given, (list, tuple, Mapping, str, bytes)) or is_loader(given):
        return False
    return hasattr(given, "__getitem__") and hasattr(given, "__len__")


def is_loader(given: Any) -> bool:
    """Returns whether an object is a loader of batches."""
    return isinstance(given, torch.utils.data.DataLoader)


def collect(
    pieces: Iterable[Any], name: str, *, most: int | None = None, items: bool = False
) -> Collected:
    """Collects the samples of an iterable in one array, samples first.

    Args:
        pieces: Arrays, tensors or images; each a sample or a batch; alone, or in tuples or
            dictionaries with labels.
        name: Name of the samples, for messages.
        most: Maximum number of samples, or None for all that fit into memory.
        items: Whether each piece is known to be one sample.

    Raises:
        UserError: If they cannot be combined, or do not end.
    """
    found, notes = list[Array](), dict[str, None]()
    single = True if items else _tells(pieces)
    count = size = empty = 0
    room = memory() // _SHARE
    for piece in _pieces(pieces, name):
        array, note, is_image = _numbers(piece, name)
        notes |= dict.fromkeys([note] if note else [])
        if single is None:
            single = is_image or _is_sample(array, is_list=isinstance(pieces, (list, tuple)))
        empty = 0 if array.size else empty + 1
        if empty > _PATIENCE:
            raise UserError(f"{name} gave {_PATIENCE} batches in a row that are empty.")
        if not array.size:
            continue
        found.append(array)
        count, size = count + (1 if single else len(array)), size + array.nbytes
        if size > room:
            raise UserError(
                f"{name} gave more than {room / 2**30:.1f} GB, half of the memory, and had not "
                "ended. Give samples=N, or save the samples to a .npy file and give its path."
            )
        if most is not None and count >= most:
            break
    whole = _joined(found, name, single=bool(single), is_list=isinstance(pieces, (list, tuple)))
    if most is not None and len(whole) >= most:
        whole = whole[:most]
        notes[f"the first {most:,} samples of {name} were taken"] = None
    return Collected(whole, "; ".join(notes))


def one_array(given: Any, name: str) -> Array:
    """Converts a tensor, an array or an array-like to a numeric array.

    Raises:
        UserError: If it holds anything but numbers.
    """
    if isinstance(given, Tensor):
        return _tensor(given, name)
    if isinstance(given, np.ma.MaskedArray):
        if np.ma.is_masked(given):
            raise UserError(f"{name} has masked values. Fill or remove them.")
        return np.asarray(given)
    try:
        return np.asarray(given)
    except Exception as error:  # a border: the object's own conversion may raise anything
        raise UserError(f"{name} cannot be read as an array ({error}).") from error


def checked_array(array: Array, name: str) -> Array:
    """Converts an array to a storable type: half precision becomes single, without loss.

    Raises:
        UserError: If it holds anything but real numbers, or no samples.
    """
    if array.dtype.kind not in "buif":
        what = "Python objects" if array.dtype.kind == "O" else str(array.dtype)
        raise UserError(f"{name} holds {what}. An array of real numbers is needed.")
    if array.ndim < 2:
        raise UserError(
            f"{name} has shape {array.shape}. Samples come first: (n, d), (n, h, w) or "
            "(n, channels, h, w)."
        )
    if array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
        return array.astype(np.float32 if array.dtype.itemsize < 4 else np.float64)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _tells(pieces: Any) -> bool | None:
    """Returns whether an iterable yields single samples, if known."""
    return pieces.batch_sampler is None if is_loader(pieces) else None


def _pieces(pieces: Iterable[Any], name: str) -> Iterator[Any]:
    """Yields pieces; errors of the iterator are reported with its name."""
    try:
        # Not "yield from", which would close a generator of the caller at the end.
        for piece in pieces:  # noqa: UP028
            yield piece
    except (UserError, GeneratorExit):
        raise
    except Exception as error:  # a border: the user's iterator may raise anything
        raise UserError(f"{name} raised {type(error).__name__}: {error}") from error


def _numbers(piece: Any, name: str) -> tuple[Array, str, bool]:
    """Returns the samples in a piece, which part of it they are, and whether it is an image."""
    if isinstance(piece, (tuple, list)) and piece and not _is_nested_numbers(piece):
        _check_parts(piece, name)
        array, note, is_image = _numbers(piece[0], name)
        return array, note or f"of each item of {name} the first part was taken", is_image
    if isinstance(piece, Mapping):
        key = _key(piece, name)
        array, _, is_image = _numbers(piece[key], name)
        return array, f"of each item of {name} the part {key!r} was taken", is_image
    if hasattr(piece, "getbands"):
        return *_image(piece, name), True
    if isinstance(piece, (str, bytes)) or piece is None:
        raise UserError(
            f"{name} gave {type(piece).__name__}, which is not a sample. For files, give the "
            "folder; for texts, give a .txt file with one per line."
        )
    return one_array(piece, name), "", False


def first_part(pair: Sequence[Any], name: str) -> Collected:
    """Returns the samples of a tuple of samples and labels.

    Raises:
        UserError: If it is ambiguous.
    """
    array, note, _ = _numbers(pair, name)
    return Collected(array, note)


def _is_nested_numbers(piece: Sequence[Any]) -> bool:
    """Returns whether a list is a nested list of numbers, rather than samples and labels."""
    first = piece[0]
    if isinstance(first, (list, Mapping, str, bytes, type(None))) or hasattr(first, "getbands"):
        return isinstance(first, list)
    return not isinstance(first, tuple) and getattr(first, "ndim", 0) == 0


def _check_parts(piece: Sequence[Any], name: str) -> None:
    """Refuses an ambiguous item, of which several parts may be the samples."""
    shapes = {tuple(getattr(p, "shape", getattr(p, "size", ()))) for p in piece}
    alike = len(piece) > 1 and len(shapes) == 1 and shapes != {()}
    if alike or isinstance(piece[0], (tuple, list)):
        raise UserError(
            f"{name} gave {len(piece)} arrays at once, of which any may be the samples. Give them "
            "alone, or in a dictionary under 'x'."
        )


def _key(piece: Mapping[Any, Any], name: str) -> Any:
    known = next((k for k in _KEYS if k in piece), None)
    if known is not None:
        return known
    wide = [k for k, v in piece.items() if getattr(v, "ndim", 0) >= 2 or hasattr(v, "getbands")]
    if len(wide) == 1:
        return wide[0]
    raise UserError(
        f"{name} gave dictionaries with {', '.join(map(repr, piece))}. Which holds the samples? "
        "Call that one 'x', or give it alone."
    )


def _image(image: Any, name: str) -> tuple[Array, str]:
    """Converts a PIL image to an array, with a note; palettes and alpha become colours."""
    if image.mode in ("L", "RGB"):
        return np.asarray(image), ""
    if image.mode in ("I;16", "I", "F", "I;16B", "I;16L"):
        return np.asarray(image), ""
    mode = "L" if image.mode in ("1", "LA", "La") else "RGB"
    return (
        np.asarray(image.convert(mode)),
        f"images of {name} in mode {image.mode} were converted to {mode}",
    )


def _tensor(given: Tensor, name: str) -> Array:
    if given.is_complex() or given.is_quantized:
        raise UserError(f"{name} holds {given.dtype}. Real numbers are needed.")
    if given.is_sparse or given.layout is not torch.strided:
        given = given.to_dense()
    x = given.detach().cpu()
    # NumPy has no bfloat16; float32 holds all values of bfloat16 and float16.
    return (x.float() if x.is_floating_point() and x.dtype.itemsize < 4 else x).numpy()


def _is_sample(array: Array, *, is_list: bool) -> bool:
    """Returns whether a piece is one sample rather than a batch, by its shape."""
    if array.ndim == 3:
        return array.shape[0] in _CHANNELS or (is_list and array.shape[2] in _CHANNELS)
    return array.ndim < 2


def _joined(found: Sequence[Array], name: str, *, single: bool, is_list: bool) -> Array:
    """Returns samples or batches as one array."""
    if not found:
        raise UserError(f"{name} holds no samples.")
    if len({a.dtype for a in found}) > 1:
        kinds = ", ".join(sorted({str(a.dtype) for a in found}))
        raise UserError(f"{name} mixes {kinds}, which may be of different ranges. Give one type.")
    shapes = list(dict.fromkeys(a.shape if single else a.shape[1:] for a in found))
    if len(shapes) > 1:
        summary = " and ".join(map(str, shapes[:2]))
        raise UserError(
            f"The samples of {name} differ in shape: {summary}. All must have one shape."
        )
    if found[0].ndim == 0:
        raise UserError(f"{name} gave numbers where samples are needed: give one array (n, d).")
    same = len({a.shape for a in found}) == 1
    if is_list and not single and found[0].ndim == 2 and same and len(found) > 1:
        raise UserError(
            f"{name} is a list of arrays of shape {found[0].shape}, which may be samples or "
            "batches. Give numpy.stack(...) of samples, or numpy.concatenate(...) of batches."
        )
    return np.stack(found) if single else np.concatenate(found)


# ----------------------------------------------------------------------------
# Storage of samples given as Python objects, so that a run can refer to them.
# ----------------------------------------------------------------------------

SamplesLike: TypeAlias = (
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
"""Samples: their location, as text or a path; or a tensor, an array, a pandas table; a list of
arrays, tensors or PIL images; a data set of Gantlet or of torch, a loader or an iterator of
batches, alone, in tuples or in dictionaries; a game, a model or module with ``sample``, a
generator network, or a function ``n -> samples``."""

# Default number of samples drawn from a model.
_DRAWN = 10_000
_KINDS = (
    "a path, a tensor, an array, a table, a list of images, a data set, a loader, an iterator, a "
    "model or a function n -> samples"
)


def to_spec(given: SamplesLike, name: str, *, n: int | None, seed: int) -> str:
    """Returns the location of samples as on the command line; objects are stored in the cache.

    Args:
        given: The samples.
        name: Name for samples given as an object.
        n: Number to draw from a model or to take from an iterator; None for 10,000 of a model
            and all of an iterator.
        seed: Random seed of a model's samples and of data splits, whose test split is used.

    Raises:
        UserError: If the object does not hold samples.
    """
    if isinstance(given, str):
        return _generated(given, n, seed)
    if isinstance(given, Path):
        return _path(given)
    if isinstance(given, Dataset) and (known := _registered(given)) is not None:
        return known
    if hasattr(given, "to_csv") and hasattr(given, "columns"):
        frame: Any = given
        return spec_with_name(name, store_table(frame.to_csv(index=False), name))
    # Foreign loaders and functions may draw from the global generator, whose state is restored.
    with torch.random.fork_rng(devices=[]):
        found = _gathered(given, name, n, seed)
    return spec_with_name(name, store_array(checked_array(found.array, name), name, found.note))


def _generated(text: str, n: int | None, seed: int) -> str:
    """Returns the location of samples; those of a generator in written form are drawn now."""
    name, where = named(text)
    if not is_generator(where):
        return text
    count = _DRAWN if n is None else n
    found = samples_of_text(where, count, seed=seed)
    stored = store_array(checked_array(found.x.numpy(), name), name, f"{name}: {found.note}")
    return spec_with_name(name, stored)


def to_dataset(given: SamplesLike, name: str, seed: int) -> str:
    """Returns samples as a data set in written form; objects are stored in the cache.

    Args:
        given: A data set by name, or samples as for ``to_spec``.
        name: Name for samples given as an object.
        seed: Random seed of a model's samples.

    Raises:
        UserError: If the object does not hold samples.
    """
    if isinstance(given, str) and not is_generator(given):
        return given
    where = named(to_spec(given, name, n=None, seed=seed))[1]
    stored = stored_samples(where, name)
    return where if stored is None else dataset_text(stored.path)


def own_data(model: str | Game) -> Any:
    """Returns the data of a game of the user's own, or None where it has none.

    Args:
        model: A game, or a model in written form.

    Raises:
        UserError: If a game of modules that makes samples comes without data.
    """
    own: Any = model
    if isinstance(model, str):
        if Spec.parse(model).name != "module":
            return None
        own = _game_of(model)
    if not isinstance(own, OwnGame) or own.parts.generator is None:
        return None
    if own.parts.data.value is None and not isinstance(model, str):
        raise UserError("Give data=, the real samples: a data set by name, a tensor or a loader.")
    return own.parts.data.value


def own_players(runs: Any) -> list[str | OwnPlayers]:
    """Returns the run folders of a tournament, and the games of the user's own.

    Args:
        runs: One or several run folders or games, or a mapping with their names.

    Raises:
        UserError: If a game has no data.
    """
    if isinstance(runs, Game):
        return [_own_player("game", runs)]
    if isinstance(runs, Mapping):
        several = cast("Mapping[str, Any]", runs)
        return [_own_player(name, one) for name, one in several.items()]
    texts = [str(runs)] if isinstance(runs, (str, Path)) else [str(run) for run in runs]
    pairs = [(*named(text), text) for text in texts]
    return [
        _own_player(name, where) if is_generator(where) else text for name, where, text in pairs
    ]


def _own_player(name: str, given: str | Path | Game) -> str | OwnPlayers:
    if isinstance(given, (str, Path)) and not is_generator(str(given)):
        return str(given)
    own = given if isinstance(given, Game) else _game_of(str(given))
    data = own_data(own)
    if data is None:
        raise UserError(f"{name} has no data. Give gantlet.game(..., data=...).")
    return OwnPlayers(name, own, datasets.resolve(to_dataset(data, "data", 0)))


def _game_of(text: str) -> Game:
    made = families.make(text)
    if not isinstance(made, OwnFamily):
        raise UserError(f"{text} is no game of your own: give module:path=FILE.py:FUNCTION.")
    return made.game()


def _path(path: Path) -> str:
    """Returns a path as unambiguous text.

    Raises:
        UserError: If it does not exist.
    """
    if not path.expanduser().exists():
        raise UserError(f"No file or folder {path} exists.")
    return str(path)


def _registered(dataset: Dataset) -> str | None:
    """Returns a data set in written form, or None if it is not registered."""
    names = [n for n in datasets.names() if datasets.load(n) is type(dataset)]
    return str(Spec.of(names[0], dataset)) if names else None


def _gathered(given: Any, name: str, n: int | None, seed: int) -> Collected:
    """Returns the samples of an object, with a note on conversions."""
    found = _asked(given, name, n or _DRAWN, seed)
    if found is not None:
        return found
    if isinstance(given, (Tensor, np.ndarray)) or hasattr(given, "__array__"):
        return Collected(one_array(given, name))
    if is_map_style(given):
        return _chosen_of(given, name, n, seed)
    if isinstance(given, (str, bytes, dict, set)) or not isinstance(given, Iterable):
        raise UserError(f"{name} must be {_KINDS}. Got {type(given).__name__}.")
    return collect(given, name, most=None if _ends(given) else n)


def _ends(given: Any) -> bool:
    """Returns whether an iterable is known to end."""
    return hasattr(given.dataset if is_loader(given) else given, "__len__")


def _asked(given: Any, name: str, n: int, seed: int) -> Collected | None:
    """Returns samples drawn from a model, data set or function, or None for other objects."""
    if isinstance(given, (Game, Model)):
        return _of_model(given, name, n, seed)
    if isinstance(given, Dataset):
        x = all_samples(given.load(rng=Rng(seed)).test)
        return Collected(_levels(x, given.space.levels))
    if inspect.isclass(given):
        raise UserError(f"{name} is the class {given.__name__}. Give an object of it.")
    if isinstance(given, torch.distributions.Distribution):
        return _called(lambda k: given.sample(torch.Size([k])), name, n)
    if callable(getattr(given, "sample", None)) and not hasattr(given, "__getitem__"):
        return _called(given.sample, name, n)
    return _of_function(given, name, n, seed)


def _of_function(given: Any, name: str, n: int, seed: int) -> Collected | None:
    """Returns samples drawn from a network or a function, or None for other objects."""
    if isinstance(given, torch.nn.Module):
        found = drawn_from(given, Drawing(latent=Latent()), n, rng=Rng(seed).stream("sample"))
        return Collected(one_array(found.x, name), f"{name}: {found.note}")
    if callable(given) and not isinstance(given, Iterable) and not hasattr(given, "__array__"):
        return _called(given, name, n)
    return None


def _of_model(given: Game | Model, name: str, n: int, seed: int) -> Collected:
    """Returns samples of a model, or of that of a game."""
    if isinstance(given, Game) and not isinstance(given, Generative):
        raise UserError(f"{name} is a game without a generator, which makes no samples.")
    model = given.model if isinstance(given, Generative) else given
    _check_room(4 * n * model.space.size, name, n)
    x = draw(model, n, rng=Rng(seed).stream("sample")).cpu()
    return Collected(_levels(x, model.space.levels))


def _check_room(size: int, name: str, n: int) -> None:
    room = memory() // 2
    if size > room:
        raise UserError(
            f"{n} samples of {name} take {size / 2**30:.1f} GB, more than half of the memory "
            f"({room / 2**30:.1f} GB). Ask for fewer samples."
        )


def _called(function: Callable[[int], Any], name: str, n: int) -> Collected:
    """Returns the ``n`` samples that one call of a function gives."""
    try:
        with torch.no_grad():
            answer = function(n)
    except UserError:
        raise
    except Exception as error:  # a border: the user's function may raise anything
        raise UserError(
            f"{name} was asked for {n} samples and raised {type(error).__name__}: {error}"
        ) from error
    if isinstance(answer, tuple):
        found = first_part(answer, name)
    elif isinstance(answer, list):
        found = collect(answer, name)
    elif hasattr(answer, "__array__"):
        found = Collected(one_array(answer, name))
    else:
        raise UserError(
            f"{name} was asked for {n} samples and returned {type(answer).__name__}. A tensor or "
            "an array, samples first, is needed."
        )
    got = len(found.array) if found.array.ndim else 0
    if got != n:
        raise UserError(f"{name} was asked for {n} samples and returned {got}.")
    return found


def _chosen_of(given: Any, name: str, n: int | None, seed: int) -> Collected:
    """Returns samples of a data set that is read by index, at most ``n``, chosen by ``seed``."""
    size = len(given)
    if n is None or size <= n:
        return collect((given[i] for i in range(size)), name, items=True)
    # Floyd's algorithm, without listing all indices.
    index = np.random.default_rng(seed).choice(size, n, replace=False, shuffle=False)
    found = collect((given[i] for i in sorted(index.tolist())), name, items=True)
    kept = f"{n:,} of the {size:,} items of {name} were read, chosen by seed {seed}"
    return Collected(found.array, "; ".join(filter(None, (kept, found.note))))


def _levels(x: Tensor, levels: int | None) -> NDArray[Any]:
    """Returns samples with few levels as bytes, so that they are recognized as levels."""
    few = levels is not None and levels <= 256
    return x.numpy().astype(np.uint8) if few else x.numpy()
