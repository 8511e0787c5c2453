"""The laws that every extractor must keep."""

import pytest

from gantlet.core.components import extractors
from gantlet.core.measure import Extractor
from gantlet.core.space import Space
from gantlet.testing import check_extractor

SPACES = [
    Space("vector", (2,)),
    Space("vector", (5,), 7),
    Space("image", (1, 8, 8), 17),
    Space("image", (3, 20, 16), 256),
    Space("image", (1, 3, 3)),
]
# Short training, so that the contract takes no minute.
SHORT = {"classifier": "classifier:steps=20"}


@pytest.mark.parametrize("name", extractors.names())
@pytest.mark.parametrize("space", SPACES, ids=lambda s: s.label)
def test_every_extractor_keeps_the_contract(name, space):
    check_extractor(extractors.make(SHORT.get(name, name)), space)


@pytest.mark.parametrize("name", extractors.names())
def test_every_extractor_has_a_written_form_and_a_source(name):
    made = extractors.make(name)
    assert isinstance(made, Extractor)
    assert extractors.make(extractors.resolve(name)) == made
    assert "Source:" in type(made).__doc__
    assert "Attributes:" in type(made).__doc__ or not type(made).__dataclass_fields__
