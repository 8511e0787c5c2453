"""The options of a command are the same on the command line, in Python and in run.json."""

import inspect
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Annotated

import pytest

import gantlet
from gantlet import options
from gantlet.api import public
from gantlet.cli import commands
from gantlet.cli.main import EVERYDAY, run
from gantlet.cli.running import Printing, command
from gantlet.core.option_fields import OptionHelp, fields_of
from gantlet.core.spec import Between

CLASSES = {name: getattr(options, name.capitalize()) for name in sorted(EVERYDAY)}
# What only a command line has; in Python the report itself, and gantlet.plan.
PRINTING = {"json", "dry_run"}


def inside(field):
    return [f.name for f in parts(field)]


def parts(field):
    return fields_of(field.group) if field.group else [field]


@pytest.mark.parametrize("name", CLASSES)
def test_command_line_and_python_know_the_same_options(name):
    python = inspect.signature(getattr(gantlet, name)).parameters
    line = inspect.signature(getattr(commands, name)).parameters
    fields = {f.name: f for f in fields_of(CLASSES[name])}
    assert list(python) == list(fields)
    old = {alias for f in fields.values() for part in parts(f) for alias in part.option.aliases}
    assert set(line) - PRINTING - old == {n for f in fields.values() for n in inside(f)}


@pytest.mark.parametrize("name", CLASSES)
def test_command_line_and_python_have_the_same_defaults(name):
    python = inspect.signature(getattr(gantlet, name)).parameters
    line = inspect.signature(getattr(commands, name)).parameters
    compared = 0
    for f in fields_of(CLASSES[name]):
        usual = python[f.name].default
        assert usual is f.default
        if f.group is not None:
            for inner in fields_of(f.group):
                expected = None if usual is None else getattr(usual, inner.name)
                assert line[inner.name].default == expected, inner.name
        elif line[f.name].kind is not inspect.Parameter.VAR_POSITIONAL:
            # Nothing, in a list or a text, is told by leaving the option out.
            expected = None if usual in ((), "") else usual
            assert line[f.name].default == expected, f.name
        compared += 1
    assert compared >= 4


@pytest.mark.parametrize("name", CLASSES)
def test_every_option_is_explained_in_both(name):
    # In a process of its own: the width of a terminal is looked up once.
    called = [sys.executable, "-m", "gantlet.cli", name, "--help"]
    env = {**os.environ, "COLUMNS": "1000"}
    told = subprocess.run(called, env=env, capture_output=True, text=True, check=True).stdout
    doc = getattr(gantlet, name).__doc__
    for f in fields_of(CLASSES[name]):
        assert f.help, f.name
        assert f"{f.name}: {f.help}" in " ".join(doc.split()), f.name
        if f.group is None:
            assert f.help in told, f.name
            continue
        for inner in fields_of(f.group):
            assert inner.help in told, inner.name


def test_evaluate_and_flaws_read_alike():
    evaluate, flaws = (inspect.signature(f) for f in (gantlet.evaluate, gantlet.flaws))
    assert list(evaluate.parameters)[:2] == list(flaws.parameters)[:2] == ["fake", "against"]
    judging = {f.name for f in fields_of(options.Judging)}
    assert {n: evaluate.parameters[n] for n in judging} == {
        n: flaws.parameters[n] for n in judging
    }


def test_options_need_no_torch():
    code = "import sys, gantlet.options; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "case",
    [
        ("compare", "seeds", 0, "seeds must be from 1 to 10000. Got 0."),
        ("train", "batch", -1, "batch must be from 1 to 16777216. Got -1."),
        ("compare", "patience", 0, "patience must be from 1 to 2147483648. Got 0."),
        ("cost", "threads", 0, "threads must be from 1 to 4096. Got 0."),
        ("cost", "flops", 0.0, "flops must be above 0. Got 0.0."),
        ("sample", "n", 0, "n must be from 1 to 2147483648. Got 0."),
        ("tournament", "samples", 19, "samples must be from 20 to 2147483648. Got 19."),
        ("evaluate", "outputs", 0, "outputs must be from 1 to 1048576. Got 0."),
        ("study", "seeds", 0, "seeds must be from 1 to 10000. Got 0."),
    ],
)
def test_a_range_is_one_line_and_the_same_in_both(case, capsys, tmp_path, monkeypatch):
    name, option, value, message = case
    monkeypatch.chdir(tmp_path)
    places = [f for f in fields_of(CLASSES[name]) if f.default is inspect.Parameter.empty]
    given = {f.name: ["x"] if f.option.several else "x" for f in places}
    if name == "cost":
        given["families"] = ["gan"]
    with pytest.raises(gantlet.UserError) as caught:
        getattr(gantlet, name)(**given, **{option: value})
    assert str(caught.value) == message
    words = ["--against", "x"] if "against" in given else []
    assert run([name, "x", *words, f"--{option}={value}"]) == 2
    assert capsys.readouterr().err == f"gantlet: {message}\n"
    assert list(tmp_path.iterdir()) == []


def test_choices_are_those_of_the_annotation(capsys):
    with pytest.raises(gantlet.UserError, match="Did you mean 'best'"):
        gantlet.compare(["gmm"], select="bset")
    with pytest.raises(gantlet.UserError, match="Did you mean 'linear'"):
        gantlet.flaws("a", "b", search=gantlet.Search(mode="linaer"))
    assert run(["flaws", "a", "--against", "b", "--mode", "linaer"]) == 2
    assert "linear" in capsys.readouterr().err


@dataclass(frozen=True)
class Widths(options.Options):
    """Options of which one was renamed.

    Attributes:
        names: Some names.
        width: How wide.
    """

    names: Annotated[Sequence[str], OptionHelp(several=True)]
    _: KW_ONLY
    width: Annotated[int, Between(1, 9), OptionHelp(aliases=("wide",))] = 3


def test_an_old_name_works_in_python_with_a_warning():
    made = public(Widths)(lambda asked: asked)
    assert made(["a"], width=4) == Widths(["a"], width=4)
    with pytest.warns(DeprecationWarning, match="wide= is now width=") as seen:
        assert made(["a"], wide=4).width == 4
    assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(gantlet.UserError, match="the same option"):
            made(["a"], wide=4, width=5)
        with pytest.raises(gantlet.UserError, match=r"width must be from 1 to 9\. Got 10\."):
            made(["a"], wide=10)


def test_an_old_name_works_on_the_command_line_with_a_line(capsys):
    from cyclopts import App

    found = []

    def keep(asked, _printing):
        found.append(asked)
        return 0

    app = App(result_action="return_value", help_format="plaintext")
    app.default(command(Widths, prints=())(keep))
    app(["a", "b", "--width", "4"], exit_on_error=False)
    assert capsys.readouterr().err == ""
    app(["a", "b", "--wide", "4"], exit_on_error=False)
    assert found == [Widths(["a", "b"], width=4)] * 2
    line = "gantlet: --wide is now --width; the old name works in this version only.\n"
    assert capsys.readouterr().err == line
    app(["--help"])
    told = capsys.readouterr().out
    assert "--width" in told
    assert "--wide " not in told


def test_the_reference_may_still_be_called_real():
    with (
        pytest.warns(DeprecationWarning, match="real= is now against="),
        pytest.raises(gantlet.UserError),
    ):
        gantlet.evaluate("nowhere", real="nowhere either")


def test_apply_advice_may_still_be_called_retry():
    with pytest.warns(DeprecationWarning, match="retry=True is now apply_advice=True"):
        asked = options.Converge("dirac", retry=True)
    assert asked == options.Converge("dirac", apply_advice=True)


def test_the_search_takes_its_old_names_and_keeps_them_in_run_folders(capsys):
    search = options.Search(min_effect=0.3, max_directions=4, deflation="projection")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        old = options.Search(smallest=0.3, most=4, blind="project")
    assert old == search
    assert [str(w.message).partition(";")[0] for w in seen] == [
        "smallest= is now min_effect=",
        "most= is now max_directions=",
        "blind= is now deflation=",
    ]
    assert {w.filename for w in seen} == {__file__}
    stored = search.stored()
    assert (stored["smallest"], stored["most"]) == (0.3, 4)
    assert stored["blind"] == "project"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert options.Search.of_stored(stored) == search
    with pytest.raises(TypeError, match="mosst"):
        options.Search(mosst=4)
    assert run(["flaws", "a", "--against", "b", "--most", "4", "--blind", "project"]) == 2
    told = capsys.readouterr().err
    assert "--most is now --max-directions" in told
    assert "--blind is now --deflation" in told


def test_old_flags_of_converge_still_work(capsys):
    assert run(["converge", "dirac", "--steps", "0", "--try"]) == 2
    assert "--try is now --apply-advice" in capsys.readouterr().err


def test_a_question_is_the_same_from_both_and_run_json_keeps_what_was_given(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    words = (
        "compare histogram gmm:components=2 --data ring:n=300 --steps 5 --seeds 1 --metric energy"
    )
    assert run([*words.split(), "--select", "last", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    report = gantlet.compare(
        ["histogram", "gmm:components=2"],
        data="ring:n=300",
        budget=gantlet.Budget(steps=5),
        seeds=1,
        metrics=["energy"],
        select="last",
    )
    assert report.question == told["question"]
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("compare-ring-")
    given = json.loads((folder / "run.json").read_text())["facts"]["options"]
    assert given == {
        "models": ["histogram", "gmm:components=2"],
        "data": "ring:n=300",
        "budget": {"steps": 5},
        "seeds": 1,
        "metrics": ["energy"],
        "select": "last",
    }


def test_a_plan_is_what_a_dry_run_prints(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = "compare histogram --data ring:n=300 --steps 5 --seeds 2"
    assert run([*words.split(), "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    asked = options.Compare(
        ["histogram"], data="ring:n=300", budget=gantlet.Budget(steps=5), seeds=2
    )
    found = gantlet.plan(asked)
    assert {k: found[k] for k in ("question", "out", "trials", "to do")} == {
        k: told[k] for k in ("question", "out", "trials", "to do")
    }
    assert found["trials"] == 3
    assert list(tmp_path.iterdir()) == []


def test_samples_and_cost_from_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {"data": "ring:n=300", "budget": gantlet.Budget(steps=2), "samples": 50}
    report = gantlet.train("gmm:components=2", seed=3, out="run", **settings)
    assert report.question["seeds"] == [3]
    x = gantlet.sample("run", seed=3, n=7, out="x.npy")
    assert x.shape == (7, 2)
    assert (tmp_path / "x.npy").exists()
    with pytest.raises(gantlet.UserError, match="--where=x=1 needs rows of a table"):
        gantlet.sample("run", seed=3, where=["x=1"])
    model = gantlet.load_model("run", seed=3)
    assert (model.sample(7, rng=gantlet.Rng(0).stream("sample")) == x).all()
    assert gantlet.export(["run"], to="rows.csv") == len(report.rows)
    (row, *_) = gantlet.cost(["gmm:components=2"], data="ring:n=300", examples=200).rows
    assert row.model.startswith("gmm")


def test_a_script_without_a_guard_may_use_workers(tmp_path):
    (tmp_path / "script.py").write_text(
        "import gantlet\n"
        "print('started')\n"
        "report = gantlet.compare(['histogram', 'gmm:components=2'], data='ring:n=300', seeds=1,\n"
        "    budget=gantlet.Budget(steps=2), metrics=['energy'], workers=2)\n"
        "print(len(report.verdicts) > 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["started", "True"]


def test_printing_is_all_that_python_lacks():
    assert {f.name for f in fields_of(Printing)} == PRINTING
