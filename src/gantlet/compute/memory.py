"""The most memory that the tensors of a call hold at one time, counted and not sampled."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from typing_extensions import override

from gantlet.compute.meter import Meter
from gantlet.compute.storages import StorageNotes, tensors


@final
class MemoryMeter(Meter):
    """Follows the bytes of the tensors that are made inside it.

    Exact and repeatable, also on ``meta``. Tensors that existed before do not count, nor does the
    scratch memory that an operator frees before it returns.

    Attributes:
        live: Bytes held now by tensors made inside.
        peak: The most bytes held at one time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live: int = 0
        self.peak: int = 0
        self._sizes = StorageNotes[int](self._freed)

    @override
    def call(
        self, name: str, operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        # What came in was made before, unless it is known already: it is not charged.
        for x in tensors((args, kwargs)):
            if x not in self._sizes:
                self._sizes.put(x, 0)
        out = operator(*args, **kwargs)
        for x in tensors(out):
            if x not in self._sizes:
                size = x.untyped_storage().nbytes()
                self._sizes.put(x, size)
                self.live += size
        self.peak = max(self.peak, self.live)
        return out

    def _freed(self, size: int) -> None:
        self.live -= size


def peak_memory(run: Callable[[], object]) -> int:
    """Returns the most bytes held at one time by tensors made during one call of ``run``.

    Example:
        >>> import torch
        >>> peak_memory(lambda: torch.zeros(10) + 1)
        80
    """
    with MemoryMeter() as meter:
        run()
    return meter.peak
