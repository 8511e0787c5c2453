"""Nearest neighbours that several measurements ask for, searched for once."""

from collections import OrderedDict
from collections.abc import Callable
from threading import RLock
from typing import TypeAlias, final

from typing_extensions import override

from gantlet.metrics.neighbour_search import Nearest, Points, knn_within

KEPT = 2**23
"""So many neighbours are kept in all: 128 MB with their distances."""

_Key: TypeAlias = tuple[object, ...]


@final
class Searches:
    """The nearest neighbours of samples that were searched for before.

    Whoever measures several things of the same sets, or several sets against the same one, makes
    one of these and passes it on; what it holds goes with it. Sets are known by their contents,
    so that one that was read again is the same. Several threads may share it; a copy in another
    process holds nothing yet.
    """

    def __init__(self) -> None:
        self._held: OrderedDict[_Key, Nearest] = OrderedDict()
        self._lock = RLock()

    @override
    def __reduce__(self) -> tuple[type["Searches"], tuple[()]]:
        """Pickles nothing of what was found."""
        return Searches, ()

    def within(self, x: Points, k: int, kept: int) -> Nearest:
        """Returns what ``knn_within`` does of the same arguments, to the last bit."""
        return self._got(("within", x.content, k, kept), lambda: knn_within(x, k, kept=kept))

    def first(self, x: Points) -> Nearest:
        """Returns for each sample at least the nearest other one.

        Whoever searched the set for more has found it.
        """
        with self._lock:
            for key, found in reversed(self._held.items()):
                if key[:2] == ("within", x.content) and found.index.shape[1]:
                    return found
        return self._got(("within", x.content, 1, None), lambda: knn_within(x, 1))

    def across(self, queries: Points, base: Points) -> Nearest | None:
        """Returns at least the sample of ``base`` nearest to each query, or None if not known."""
        with self._lock:
            return self._held.get(("across", queries.content, base.content))

    def keep_across(self, queries: Points, base: Points, found: Nearest) -> None:
        """Keeps what was found."""
        self._got(("across", queries.content, base.content), lambda: found)

    def _got(self, key: _Key, make: Callable[[], Nearest]) -> Nearest:
        with self._lock:
            if key not in self._held:
                self._held[key] = make()
            self._held.move_to_end(key)
            found = self._held[key]
            while sum(near.index.numel() for near in self._held.values()) > KEPT:
                self._held.popitem(last=False)
            return found
