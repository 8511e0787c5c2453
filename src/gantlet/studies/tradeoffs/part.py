"""One part of the study's report."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from gantlet.report.blocks import Block, Caveat, Verdict


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one part of the study found.

    Attributes:
        title: Its heading.
        verdicts: Its answers.
        blocks: Its tables and charts.
        caveats: What limits it.
    """

    title: str
    verdicts: Sequence[Verdict] = ()
    blocks: Sequence[Block] = ()
    caveats: Sequence[Caveat] = ()
