"""A folder, or an archive, of sound files."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Self, final

from torch import Tensor

from gantlet.core.code import Code
from gantlet.core.dataset import Splits
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between
from gantlet.data.sounds import LONGEST, AudioCode, Clips, Recordings, audio_code, recordings
from gantlet.data.splits import by_share


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Audio:
    """The sound files of a folder and below, or of a tar file, as clips of one length.

    All that libsndfile decodes: wav of every width, FLAC, Ogg, AIFF, MP3, ... All files must have
    one rate. Channels are averaged. Longer clips are cut, which is said, silence is added to
    shorter ones.

    Attributes:
        path: The folder, or a file that ends in .tar, .tar.gz or .tgz.
        length: How many numbers a clip has, or none for the longest, at most 65,536.
        validation: Share of the clips for validation.
        test: Share of the clips for the test.
        limit: Most clips for training, or none.
        skip_bad: How many files that cannot be read may be left out.
    """

    path: str
    length: Annotated[int, Between(1)] | None = None
    validation: Annotated[float, Between(0, 1)] = 0.1
    test: Annotated[float, Between(0, 1)] = 0.1
    limit: Annotated[int, Between(1)] | None = None
    skip_bad: Annotated[int, Between(0)] = 0

    @property
    def space(self) -> Space:
        """Clips of one channel, as long as the longest."""
        return self.code().space

    def load(self, *, rng: Rng) -> Splits:
        """Returns the splits.

        Raises:
            UserError: If a file cannot be read, or their rates differ.
        """
        return by_share(
            self.whole(), validation=self.validation, test=self.test, limit=self.limit, rng=rng
        )

    def whole(self) -> Clips:
        """Returns all clips by the names of their files.

        Raises:
            UserError: If a file cannot be read, or their rates differ.
        """
        return self._clips(self.code().length)

    def code(self, rows: Tensor | None = None) -> AudioCode:
        """Returns rate and length of the clips, of all whatever ``rows`` are.

        Raises:
            UserError: If a file cannot be read, or their rates differ.
        """
        del rows
        found = self._recordings()
        return AudioCode(found.rate, self.length or min(int(found.lengths.max()), LONGEST))

    def roomy(self) -> Self:
        """Returns the same clips with room for others twice as long, unless a length is given."""
        return self if self.length is not None else replace(self, length=self.code().room)

    def coded(self, code: Code, own: Tensor | None = None) -> tuple[Clips, str]:
        """Returns all clips in the length of others; it is the same whichever are ``own``.

        Raises:
            UserError: If a file cannot be read, or the rate is another one.
        """
        del own
        found, wanted = self._recordings(), audio_code(code, self.path)
        if found.rate != wanted.rate:
            raise UserError(
                f"{self.path} has {found.rate} numbers a second, the real samples {wanted.rate}. "
                "Resample it."
            )
        clips = self._clips(wanted.length)
        return clips, "; ".join(clips.cut)

    def _clips(self, length: int) -> Clips:
        return Clips(self._recordings(), length, Path(self.path).name)

    def _recordings(self) -> Recordings:
        return recordings(Path(self.path).expanduser(), skip=self.skip_bad)
