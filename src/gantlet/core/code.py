"""How samples that are no numbers in their files become numbers, and are read again."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol, Self, runtime_checkable

from torch import Tensor

from gantlet.core.dataset import OwnFile, Source
from gantlet.core.space import Space


class Code(ABC):
    """What the numbers of a sample stand for.

    Sets can be compared where they are written in one code: that of the real samples.
    """

    @property
    @abstractmethod
    def space(self) -> Space:
        """What one sample is."""

    def relearned(self, x: Tensor) -> Self:
        """Returns the code with all that it knows of a distribution learned from ``x`` alone.

        What the numbers of a sample stand for stays, so that ``x``, shape ``(n, *space.shape)``,
        and all others are samples of the new code too. A code that knows nothing of a distribution
        is returned as it is.
        """
        del x
        return self


class Readable(Code):
    """A code whose samples people read as text."""

    @abstractmethod
    def read(self, x: Tensor) -> Sequence[str]:
        """Returns samples, shape ``(n, *space.shape)``, as one line of text each."""


@runtime_checkable
class Roomy(Protocol):
    """Files whose code has a size, that of the largest sample."""

    def roomy(self) -> Self:
        """Returns the same files with room for larger samples: those of other sets may be."""
        ...


@runtime_checkable
class Coded(OwnFile, Protocol):
    """Samples in the user's own files that only a code makes comparable."""

    def code(self, rows: Tensor | None = None) -> Code | None:
        """Returns the code that these files ask for, or None where they hold plain numbers.

        Args:
            rows: The samples that it is learned from, by their places in the files; None for all.

        Raises:
            UserError: If the files cannot be found or used.
        """
        ...

    def coded(self, code: Code, own: Tensor | None = None) -> tuple[Source, str]:
        """Returns all samples in a code, in their order, and what was lost, in words.

        Args:
            code: The code, of these files or of others.
            own: The places of the samples that it was learned from, where they are of these files.
                Each of them is written by what the others teach, as a fresh sample is: so both
                are alike if they come from one source.

        Raises:
            UserError: If the files do not hold what the code is for.
        """
        ...
