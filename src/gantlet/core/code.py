"""How samples that are no numbers in their files become numbers, and are read again."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

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


class Readable(Code):
    """A code whose samples people read as text."""

    @abstractmethod
    def read(self, x: Tensor) -> Sequence[str]:
        """Returns samples, shape ``(n, *space.shape)``, as one line of text each."""


@runtime_checkable
class Coded(OwnFile, Protocol):
    """Samples in the user's own files that only a code makes comparable."""

    def code(self) -> Code | None:
        """Returns the code that these files ask for, or None where they hold plain numbers.

        Raises:
            UserError: If the files cannot be found or used.
        """
        ...

    def coded(self, code: Code) -> tuple[Source, str]:
        """Returns all samples in another code, in their order, and what was lost, in words.

        Raises:
            UserError: If the files do not hold what the code is for.
        """
        ...
