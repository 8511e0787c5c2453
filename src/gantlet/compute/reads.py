"""Which weights a computation looks at."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from torch import nn
from typing_extensions import override

from gantlet.compute.meter import Meter
from gantlet.compute.storages import key, tensors


@final
class _Reads(Meter):
    """Notes which of the given storages are arguments of an operator."""

    def __init__(self, known: Mapping[int, int]) -> None:
        super().__init__()
        self._known = known
        self.seen: set[int] = set()

    @override
    def call(
        self, name: str, operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        keys = (key(x) for x in tensors((args, kwargs)))
        self.seen.update(k for k in keys if k in self._known)
        return operator(*args, **kwargs)


def parameters_read(run: Callable[[], object], module: nn.Module) -> int:
    """Returns how many parameters of ``module`` one call of ``run`` looks at.

    A weight that the call never touches, such as those of an encoder while samples are drawn, is
    not needed for it and does not count. Weights that share memory count once. Of a module without
    parameters, such as a fitted baseline, the numbers that are saved count.

    Example:
        >>> import torch
        >>> net = nn.ModuleList([nn.Linear(2, 3), nn.Linear(3, 4)])
        >>> parameters_read(lambda: net[0](torch.ones(1, 2)), net)
        9
    """
    kept = list(module.parameters()) or list(module.state_dict().values())
    # They live throughout, so that no temporary tensor can take the key of one.
    sizes = {key(x): x.numel() for x in kept}
    with _Reads(sizes) as reads:
        run()
    return sum(sizes[k] for k in reads.seen)
