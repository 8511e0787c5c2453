from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gantlet.core.errors import UserError
from gantlet.core.spec import Between, Spec, options


@dataclass(frozen=True, kw_only=True)
class Thing:
    path: str
    width: Annotated[int, Between(1)] = 8
    widths: tuple[int, ...] = (4, 5)
    rate: Annotated[float, Between(0, 1)] | None = None
    loss: Literal["ns", "hinge"] = "ns"
    flag: bool = False


names = st.from_regex(r"[a-z][a-z_]*", fullmatch=True)
values = st.from_regex(r"[A-Za-z0-9./+ :-]+", fullmatch=True)


@given(names, st.dictionaries(names, values))
def test_written_form_round_trips(name, given_options):
    spec = Spec(name, given_options)
    assert Spec.parse(str(spec)) == spec


@given(
    st.builds(
        Thing,
        path=st.from_regex(r"[a-z,/ ]+", fullmatch=True),
        width=st.integers(1, 99),
        widths=st.lists(st.integers(), min_size=1).map(tuple),
        rate=st.none() | st.floats(0, 1),
        loss=st.sampled_from(["ns", "hinge"]),
        flag=st.booleans(),
    )
)
def test_every_component_comes_back_from_its_written_form(thing):
    assert Spec.parse(str(Spec.of("thing", thing))).build(Thing) == thing


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thing:path", "Option 'path' of 'thing:path' needs the form key=value."),
        ("thing:path=a,path=b", "Option 'path' of 'thing:path=a,path=b' is given twice."),
        ("thing:width=3", "thing needs path=... Got 'thing:width=3'."),
        ("thing:path=a,widht=3", "Unknown option of 'thing' 'widht'. Did you mean 'width'?"),
        ("thing:path=a,width=x", "thing:width must be int. Got 'x'."),
        ("thing:path=a,width=0", "thing:width must be at least 1. Got 0."),
        ("thing:path=a,rate=2", "thing:rate must be from 0 to 1. Got 2."),
        ("thing:path=a,loss=nss", "Unknown value of thing:loss 'nss'. Did you mean 'ns'?"),
        ("thing:path=a,flag=yes", "Unknown value of thing:flag 'yes'."),
        ("thing:path=a,widths=1+b", "thing:widths must be int. Got 'b'."),
    ],
)
def test_mistakes_are_named(text, message):
    with pytest.raises(UserError) as caught:
        Spec.parse(text).build(Thing)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_options_are_explained():
    kinds = {o.name: (o.kind, o.default) for o in options(Thing)}
    assert kinds["path"] == ("str", None)
    assert kinds["width"] == ("int at least 1", "8")
    assert kinds["rate"] == ("float from 0 to 1 or none", "none")
    assert kinds["widths"] == ("int+...", "4+5")
