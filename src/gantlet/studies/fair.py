"""Which extractors may rank models."""

from collections.abc import Sequence

from gantlet.core.components import extractors
from gantlet.core.errors import UserError
from gantlet.core.measure import Partisan


def refuse_partisans(texts: Sequence[str]) -> None:
    """Checks that extractors may rank models.

    Raises:
        UserError: If one comes from a model that may be ranked.
    """
    for text in texts:
        extractor = extractors.make(text)
        if isinstance(extractor, Partisan):
            raise UserError(f"{text.partition(':')[0]} cannot rank: {extractor.why}.")
