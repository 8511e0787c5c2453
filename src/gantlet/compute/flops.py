"""Counting floating point operations while they happen, on any device, ``meta`` included."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from torch.utils.flop_counter import flop_registry
from typing_extensions import override

from gantlet.compute.formulas import FORMULAS
from gantlet.compute.heavy import is_heavy
from gantlet.compute.meter import Meter


@final
class FlopMeter(Meter):
    """Counts the floating point operations of everything that runs inside it.

    A multiply-add counts as two. Products of matrices, convolutions, attention, recurrent layers,
    distances, Fourier transforms and linear algebra count; element-wise work, which is limited by
    memory and not by arithmetic, does not. Gradients, gradients of gradients (penalties) and
    ``torch.func`` transforms count like anything else. Attention counts as the whole matrix of
    scores, causal or not, and its gradient as twice the forward pass, whichever kernel runs:
    the same model then costs the same on every device.

    Differs from ``torch.utils.flop_counter.FlopCounterMode``: survives gradients with respect to
    leaf tensors (pytorch #131753), counts the gradient of a grouped convolution right, and CPU
    attention, LSTM, matrix-vector products and linear algebra at all.

    Example:
        >>> import torch
        >>> with FlopMeter() as meter:
        ...     _ = torch.ones(2, 3) @ torch.ones(3, 5)
        >>> meter.flops
        60.0
    """

    def __init__(self) -> None:
        super().__init__()
        self._flops: defaultdict[str, float] = defaultdict(float)
        self._unknown: Counter[str] = Counter()

    @property
    def flops(self) -> float:
        """Operations so far."""
        return float(sum(self._flops.values()))

    @property
    def by_operator(self) -> Mapping[str, float]:
        """Operations so far, for each operator that was counted."""
        return dict(self._flops)

    @property
    def unknown(self) -> Mapping[str, int]:
        """Calls of each operator that is heavy by its name, and that the meter cannot count."""
        return dict(self._unknown)

    @override
    def call(
        self, name: str, operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        out = operator(*args, **kwargs)
        if formula := FORMULAS.get(name):
            self._flops[name] += formula(args, out)
        elif theirs := flop_registry.get(getattr(operator, "overloadpacket", operator)):
            self._flops[name] += theirs(*args, **kwargs, out_val=out)
        elif is_heavy(name):
            self._unknown[name] += 1
        return out


@final
@dataclass(frozen=True, slots=True)
class Count:
    """What a call took.

    Attributes:
        flops: Floating point operations; a multiply-add counts as two.
        unknown: Calls of each heavy operator that could not be counted.
    """

    flops: float
    unknown: Mapping[str, int]


def count(run: Callable[[], object]) -> Count:
    """Returns the floating point operations of one call of ``run``.

    Example:
        >>> import torch
        >>> count(lambda: torch.ones(2, 3, device="meta") @ torch.ones(3, 5, device="meta"))
        Count(flops=60.0, unknown={})
    """
    with FlopMeter() as meter:
        run()
    return Count(meter.flops, meter.unknown)
