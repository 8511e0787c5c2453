"""Networks of the user's own: what is shown to them, and what is taken from them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor

from gantlet.core.errors import UserError
from gantlet.core.measure import Extract, Features
from gantlet.core.space import Space
from gantlet.features.images import Looks
from gantlet.features.pretrained import Run, in_batches

Pixels = Literal["0..255", "0..1", "-1..1", "imagenet", "clip"]
"""What pixel values a network of the user's own wants."""

# Most samples, and most numbers of input, that a network sees at a time.
_SAMPLES, _NUMBERS = 64, 2**22


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """A network of the user's own.

    Attributes:
        run: From its input to whatever it returns.
        output: Which of what it returns are the vectors.
        logits: Which are logits of classes, or None.
        name: Its name and its weights, for the fingerprint.
        what: What it is, in words.
    """

    run: Callable[[Tensor], Any]
    output: str | None
    logits: str | None
    name: str
    what: str

    @property
    def outputs(self) -> str:
        """What is taken from it, for the fingerprint."""
        return f"{self.output or 0}" + (f" and {self.logits}" if self.logits is not None else "")


def looks_of(
    space: Space, *, channels: int | None, size: int | None, pixels: Pixels
) -> Looks | None:
    """Returns how samples are shown to a network; None for what is no image: as they are.

    Raises:
        UserError: If they cannot be shown to it.
    """
    if space.kind != "image":
        if size is not None or channels is not None:
            raise UserError(f"size= and channels= are for images. Got {space.label}.")
        return None
    looks = Looks(space=space, channels=channels, size=size, resize="bilinear", pixels=pixels)
    looks.check()
    return looks


def features_of_own(own: Own, space: Space, looks: Looks | None) -> Features:
    """Returns the extractor that a network is.

    Args:
        own: The network.
        space: The space of the samples.
        looks: How samples become its input, or None to give them as they are.

    Raises:
        UserError: If it does not return one vector for each sample.
    """
    show: Callable[[Tensor], Tensor] = torch.Tensor.float if looks is None else looks
    vectors = _whole(own, own.output)
    d, batch = _width(own, vectors, show, space), _batch(show, space)
    shown = "samples as they are" if looks is None else f"images {looks.label}"
    return Features(
        extract=in_batches(_or_none(vectors, d), show, batch=batch),
        note=f"{d} features of {own.what}; {shown}",
        fingerprint=f"{own.name}/{own.outputs}/{shown}/{space.label}",
        classify=_classifier(own, show, space, batch=batch),
    )


def _batch(show: Callable[[Tensor], Tensor], space: Space) -> int:
    """Returns how many samples at a time keep memory bounded."""
    return max(1, min(_SAMPLES, _NUMBERS // show(torch.zeros(1, *space.shape)).numel()))


def _classifier(
    own: Own, show: Callable[[Tensor], Tensor], space: Space, *, batch: int
) -> Extract | None:
    if own.logits is None:
        return None
    logits = _whole(own, own.logits)
    classes = _or_none(logits, _width(own, logits, show, space))
    return in_batches(lambda x: classes(x).softmax(1), show, batch=batch)


def _whole(own: Own, which: str | None) -> Run:
    def run(x: Tensor) -> Tensor:
        y = pick(own.run(x), which, own.what)
        if y.ndim < 2 or len(y) != len(x):
            raise UserError(
                f"{own.what} must return one vector for each sample. For {len(x)} samples it "
                f"returned shape {tuple(y.shape)}."
            )
        return y.flatten(1).float()

    return run


def _or_none(run: Run, d: int) -> Run:
    """Returns ``run``, which then need not know what to do without samples."""
    return lambda x: run(x) if len(x) else x.new_empty(0, d)


@torch.no_grad()
def _width(own: Own, run: Run, show: Callable[[Tensor], Tensor], space: Space) -> int:
    """Returns how many numbers come out for one sample, by trying."""
    try:
        return run(show(torch.zeros(2, *space.shape))).shape[1]
    except UserError:
        raise
    except (RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:
        shown = tuple(show(torch.zeros(2, *space.shape)).shape)
        line = str(error).strip().splitlines()
        raise UserError(
            f"{own.what} cannot see inputs of shape {shown} (size=, channels= and pixels= change "
            f"them): {line[0] if line else type(error).__name__}"
        ) from error


def pick(found: Any, which: str | None, what: str) -> Tensor:
    """Returns one tensor of what a network returned: the only one, or that named or counted.

    Raises:
        UserError: If it is not there.
    """
    if isinstance(found, Mapping):
        known: dict[str, Any] = {str(k): v for k, v in found.items()}
    elif isinstance(found, Sequence):
        known = {str(i): v for i, v in enumerate(found)}
    else:
        known = {"0": found}
    name = which if which is not None else next(iter(known), "0")
    tensor = known.get(name)
    if not isinstance(tensor, torch.Tensor):
        outputs = ", ".join(k for k, v in known.items() if isinstance(v, torch.Tensor)) or "none"
        raise UserError(f"{what} has no output {name!r} that is a tensor. There are: {outputs}.")
    return tensor
