"""The critical path: how many heavy operators must wait for one another."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from torch import Tensor
from typing_extensions import override

from gantlet.compute.formulas import FORMULAS
from gantlet.compute.heavy import is_heavy
from gantlet.compute.meter import Meter
from gantlet.compute.storages import StorageNotes, tensors, written


@final
class DepthMeter(Meter):
    """Follows, for each tensor made inside it, the longest chain of operators that led to it.

    Only heavy operators (products of matrices, convolutions, attention, factorisations) count as
    links. A fused recurrent layer is as many links as it has time steps. Views share the depth of
    their storage; a write into part of a tensor deepens the whole of it.

    Attributes:
        depth: The longest chain so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.depth: int = 0
        self._depths = StorageNotes[int]()

    @override
    def call(
        self, name: str, operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        before = max((self._depths.get(x, 0) for x in tensors((args, kwargs))), default=0)
        out = operator(*args, **kwargs)
        after = before + _links(name, args)
        for x in (*tensors(out), *written(operator, args, kwargs)):
            self._deepen(x, after)
        self.depth = max(self.depth, after)
        return out

    def _deepen(self, x: Tensor, depth: int) -> None:
        if depth > self._depths.get(x, 0):
            self._depths.put(x, depth)


def _links(name: str, args: Sequence[Any]) -> int:
    if name.startswith(("mkldnn_rnn_layer", "_cudnn_rnn")):
        steps: int = args[0].shape[0]
        return steps
    return int(name in FORMULAS or is_heavy(name))


def critical_path(run: Callable[[], object]) -> int:
    """Returns the longest chain of heavy operators in one call of ``run``.

    However many processors there were, the call could not take less time than this many heavy
    operators one after the other.

    Example:
        >>> import torch
        >>> w = torch.eye(3)
        >>> critical_path(lambda: w @ w @ w), critical_path(lambda: (w @ w) + (w @ w))
        (2, 1)
    """
    with DepthMeter() as meter:
        run()
    return meter.depth
