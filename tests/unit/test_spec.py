import os
import re
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gantlet.core.errors import UserError
from gantlet.core.spec import (
    REGISTRIES,
    Between,
    Later,
    Spec,
    datasets,
    families,
    metrics,
    options,
    probes,
)


@dataclass(frozen=True, kw_only=True)
class Thing:
    path: str
    width: Annotated[int, Between(1)] = 8
    widths: tuple[int, ...] = (4, 5)
    rate: Annotated[float, Between(0, 1)] | None = None
    loss: Literal["ns", "hinge"] = "ns"
    flag: bool = False


names = st.from_regex(r"[a-z][a-z_]*", fullmatch=True)
# Paths may hold anything but null: quotes, commas, line breaks, bytes that are no UTF-8.
values = st.text() | st.binary().map(os.fsdecode) | st.text('",= ')


@given(names, st.dictionaries(names, values))
def test_written_form_round_trips(name, given_options):
    spec = Spec(name, given_options)
    assert Spec.parse(str(spec)) == spec


@given(
    st.builds(
        Thing,
        path=values,
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
        ('thing:path="a', "has quotes that do not enclose its value"),
        ('thing:path="a"b', "has quotes that do not enclose its value"),
        ("thing:path=runs/a,b", "A value with a comma goes in double quotes"),
        ("thing:path=a,rate=nan", "thing:rate must be a finite number. Got 'nan'."),
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


def test_quotes_inside_quotes_are_doubled():
    assert Spec.parse('npy:path="a, ""b"".npy",layout=nd').options == {
        "path": 'a, "b".npy',
        "layout": "nd",
    }
    assert Spec.parse('npy:path=a"b.npy').options == {"path": 'a"b.npy'}
    inner = str(Spec("gan", {"loss": "ns", "latent": "8"}))
    assert Spec.parse(str(Spec("mix", {"of": inner}))).options == {"of": inner}


@pytest.mark.parametrize(
    ("registry", "written", "means"),
    [
        (families, "realnvp", "flow:arch=realnvp"),
        (families, "glow:layers=4", "flow:arch=glow,layers=4"),
        (families, "wgan-gp", "gan:loss=wgan,penalty=gp,gamma=20"),
        (families, "wgan_gp:gamma=2", "gan:loss=wgan,penalty=gp,gamma=2"),
        (families, "dcgan", "gan:net=conv,loss=ns,penalty=none"),
        (families, "GAN", "gan"),
        (metrics, "is", "inception-score"),
        (metrics, "fd", "frechet"),
        (metrics, "swd:directions=64", "sliced-wasserstein:directions=64"),
        (metrics, "MS_SSIM", "ms-ssim"),
        (datasets, "CIFAR-10", "cifar10"),
        (probes, "nll", "likelihood"),
    ],
)
def test_names_that_people_use_are_aliases(registry, written, means):
    assert registry.resolve(written) == registry.resolve(means)
    assert type(registry.make(written)) is registry.load(Spec.parse(means).name)


def test_every_alias_and_pointer_is_sound():
    for registry in REGISTRIES.values():
        for alias, means in registry.aliases.items():
            assert alias not in registry.names()
            spec = Spec.parse(means)
            assert spec.name in registry.names()
            assert set(spec.options) <= {o.name for o in options(registry.load(spec.name))}
        assert not registry.pointers.keys() & {*registry.names(), *registry.aliases}


@pytest.mark.parametrize(
    ("registry", "written", "message"),
    [
        (metrics, "fid", "--metric frechet --features inception"),
        (metrics, "FID", "--metric frechet --features inception"),
        (metrics, "nll", "Likelihood is measured on every trained model"),
        (families, "ddpm", "The nearest is diffusion"),
        (
            metrics,
            "inception",
            "'inception' is not a metric but an extractor: --features inception.",
        ),
        (families, "adam", "'adam' is not a family but a solver: --solver adam."),
        (metrics, "fidd", "Did you mean 'fid'?"),
        (families, "dcgann", "Did you mean 'dcgan'?"),
        (datasets, "mnits", "Did you mean 'mnist'?"),
    ],
)
def test_other_names_lead_to_what_is_meant(registry, written, message):
    with pytest.raises(UserError, match=re.escape(message)):
        registry.make(written)


def test_a_path_with_a_comma_is_never_cut_silently(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "a,limit=30"):
        (tmp_path / folder).mkdir()
    for text in ("images:path=a,limit=30", "images:path=a,limit=30,size=8"):
        with pytest.raises(UserError, match=re.escape('images:path="a,limit=30"')):
            datasets.make(text)
    assert datasets.make('images:path="a,limit=30",size=8').path == "a,limit=30"
    assert datasets.make("images:path=a,size=8").path == "a"


@dataclass(frozen=True, kw_only=True)
class Older:
    width: Annotated[int, Between(1)] = 8


@dataclass(frozen=True, kw_only=True)
class Newer:
    width: Annotated[int, Between(1)] = 8
    critics: Annotated[int, Between(1, 9), Later()] = 1
    attack: Annotated[Literal["none", "both"], Later()] = "none"
    patch: Annotated[int, Between(1), Later()] | None = None


def test_options_added_later_leave_the_written_form_as_it_was():
    assert str(Spec.of("thing", Newer())) == str(Spec.of("thing", Older())) == "thing:width=8"
    changed = Newer(critics=3)
    assert str(Spec.of("thing", changed)) == "thing:width=8,critics=3"
    assert Spec.parse("thing:width=8,critics=3").build(Newer) == changed
    assert Spec.parse("thing:critics=1").build(Newer) == Newer()
    with pytest.raises(UserError, match="critics must be from 1 to 9"):
        Spec.parse("thing:critics=10").build(Newer)


def test_options_added_later_are_listed_with_the_others():
    shown = {o.name: (o.kind, o.default) for o in options(Newer)}
    assert shown["critics"] == ("int from 1 to 9", "1")
    assert shown["attack"] == ("none | both", "none")
