import pytest
import torch

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.model import FittedFamily
from gantlet.core.rng import Rng
from gantlet.core.spec import families
from gantlet.testing import check_family, check_fitted
from kinds import ONE_KIND, TOKENS

PLANE = Space("vector", (2,))
DIGITS = Space("image", (1, 8, 8), 17)
SMALL = Space("image", (3, 16, 16), 256)
# A game of the user's own needs a file: tests/unit/test_own_models.py holds it to the contract.
ALL = [n for n in families.names() if n != "module"]
NAMES = [n for n in ALL if n not in ONE_KIND]
FITTED = [n for n in NAMES if isinstance(families.make(n), FittedFamily)]
TRAINED = [n for n in NAMES if n not in FITTED]


@pytest.mark.parametrize("space", [PLANE, DIGITS], ids=lambda s: s.label)
@pytest.mark.parametrize("name", TRAINED)
def test_every_family_keeps_the_contract(name, space):
    check_family(families.make(name), space)


@pytest.mark.parametrize("name", ONE_KIND)
def test_every_family_of_one_kind_keeps_the_contract(name):
    family = families.make(name)
    if isinstance(family, FittedFamily):
        check_fitted(family, ONE_KIND[name])
    else:
        check_family(family, ONE_KIND[name])


@pytest.mark.parametrize("name", ONE_KIND)
def test_every_family_of_one_kind_refuses_others(name):
    family = families.make(name)
    # Families of tables model vectors of numbers too.
    other = TOKENS if ONE_KIND[name].kind in {"vector", "table"} else PLANE
    with pytest.raises(UserError) as caught:
        start(family, other)
    assert other.kind in str(caught.value)
    assert "\n" not in str(caught.value)


def start(family, space):
    if isinstance(family, FittedFamily):
        family.fit(space, torch.zeros(4, *space.shape), rng=Rng(0))
    else:
        family.build(space, rng=Rng(0))


@pytest.mark.parametrize("name", TRAINED)
def test_every_family_models_colour_images(name):
    # An autoregressive flow on dense layers would take a minute for 768 components.
    check_family(families.make("zuko:flow=RealNVP" if name == "zuko" else name), SMALL, n=4)


@pytest.mark.parametrize("space", [PLANE, DIGITS], ids=lambda s: s.label)
@pytest.mark.parametrize("name", FITTED)
def test_every_baseline_keeps_the_contract(name, space):
    baseline = families.make(name)
    assert isinstance(baseline, FittedFamily)
    check_fitted(baseline, space)


@pytest.mark.parametrize("name", TRAINED)
def test_every_family_says_what_it_cannot_model(name):
    graph = Space("graph", (5, 5))
    with pytest.raises(UserError) as caught:
        families.make(name).build(graph, rng=Rng(0))
    assert "graph" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", families.names())
def test_every_family_names_its_source_and_explains_its_options(name):
    doc = families.load(name).__doc__
    assert "Source:" in doc or "baseline" in doc.lower()
    assert "Attributes:" in doc or not families.load(name).__dataclass_fields__
