"""Absurd arguments of every public function end in one line, at once, and nothing is made."""

import itertools
import math
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

import gantlet
from gantlet import options
from gantlet.options import Search

X = torch.zeros(40, 2)
HUGE, NAN, INF = 2**70, math.nan, math.inf
NUMBERS = [-1, HUGE, -HUGE, 10**400, NAN, INF, 1.5, "3", None, True, [1], {}, object(), 1j]
WORDS = [None, 3, b"gan", "", "\0", "nothere", "gan:x", "gan:,", "x" * 10**6, ["gan"], object()]
LISTS = [None, 3, "gan", b"gan", {"a": 1}, [3], [None], ["\0"], [""], (x for x in "ab"), ["nope"]]
PLACES = [
    3,
    b"o",
    "",
    "\0",
    "x" * 5000,
    object(),
    ["o"],
    Path("/proc/nowhere/o"),
    Path("/dev/null"),
]


def cases():
    compare = {"models": ["gmm"], "data": "ring:n=300"}
    evaluate = {"fake": X, "against": X, "metrics": ["energy"], "features": ["pixels"]}
    converge = {"model": "dirac"}
    flaws = {"fake": X, "against": X}
    for name, values in {
        "seeds": [*NUMBERS, 0],
        "batch": [*NUMBERS, 0],
        "samples": [*NUMBERS, 0, 1],
        "snapshots": NUMBERS,
        "patience": [*NUMBERS, 0],
        "threads": [*NUMBERS, 0],
        "workers": [*NUMBERS, 0],
        "data_seed": NUMBERS,
        "models": LISTS,
        "metrics": LISTS,
        "features": LISTS,
        "probes": LISTS,
        "data": WORDS,
        "solver": WORDS,
        "device": WORDS,
        "out": PLACES,
        "budget": [3, "1e9", {"steps": 3}, object()],
    }.items():
        yield from (("compare", {**compare, name: v}) for v in values if _is_absurd(name, v))
    for name, values in {
        "fake": [None, 3, {}, object(), "", "\0", {3: X}, {"": X}, {"a": None}],
        "against": [None, 3, {}, object(), "", "\0", {"a": X}],
        "train": [3, {}, object(), "", "nothere"],
        "pairs": [3, {}, object(), "nothere"],
        "samples": [*NUMBERS, 0, 1],
        "outputs": [*NUMBERS, 0],
        "seed": NUMBERS,
        "rank": WORDS,
        "metrics": LISTS,
        "features": LISTS,
        "out": PLACES,
    }.items():
        yield from (("evaluate", {**evaluate, name: v}) for v in values if _is_absurd(name, v))
    for name, values in {
        "seed": NUMBERS,
        "model": WORDS,
        "batch": [*NUMBERS, 0],
        "out": PLACES,
    }.items():
        yield from (("converge", {**converge, name: v}) for v in values)
    for name, values in {
        "search": [
            3,
            "guided",
            object(),
            Search(max_directions=10**9),
            Search(level=NAN),
            Search(mode="x"),
        ],
        "features": [3, None, ["pixels"], "nope"],
        "samples": [*NUMBERS, 0],
    }.items():
        yield from (("flaws", {**flaws, name: v}) for v in values if _is_absurd(name, v))
    yield from (("load_report", {"path": v}) for v in [*PLACES, None])
    yield from (("load_model", {"path": v}) for v in [*PLACES, None])
    yield from (("load_model", {"path": ".", "model": v}) for v in WORDS)
    yield from (("run_study", {"study": v, "out": "o"}) for v in (None, 3, "compare", object()))
    yield "tournament", {}
    yield from (("tournament", {"samples": v}) for v in NUMBERS)


def _is_absurd(name, value):
    """Returns whether an argument has no meaning: None and nothing are the default of some."""
    has_none = {"samples", "patience", "workers", "train", "pairs", "batch"}
    return not (value is None and name in has_none)


@pytest.fixture
def in_time():
    """Ends what would never end."""

    def ring(*_):
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("in_time")
def test_every_absurd_call_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wrong, number = [], 0
    for name, arguments in cases():
        number += 1
        signal.alarm(20)
        try:
            getattr(gantlet, name)(**arguments)
        except (gantlet.UserError, TypeError) as error:
            if "\n" in str(error) or len(str(error)) > 2010:
                wrong.append((name, _last(arguments), "more than a line"))
        except BaseException as error:  # noqa: BLE001  (whatever it is, it is the finding)
            wrong.append((name, _last(arguments), repr(error)[:200]))
        else:
            wrong.append((name, _last(arguments), "it was accepted"))
    assert not wrong, f"{len(wrong)} of {number}: {wrong[:20]}"
    assert number > 250
    assert [p.name for p in tmp_path.iterdir()] in ([], ["runs"])


def _last(arguments):
    key = list(arguments)[-1]
    return key, repr(arguments[key])[:50]


@pytest.mark.parametrize(
    ("budget", "value"),
    list(
        itertools.product(
            ["flops", "steps", "seconds"], [0, -1, NAN, INF, 10**400, "3", [1], True]
        )
    ),
)
def test_budgets_that_are_none(budget, value):
    with pytest.raises((gantlet.UserError, TypeError)) as caught:
        gantlet.Budget(**{budget: value})
    assert "\n" not in str(caught.value)


def test_whole_numbers_of_numpy_are_numbers():
    for value in (np.int64(3), np.uint8(3), torch.tensor(3)):
        seeds = options.Compare(["gmm"], seeds=value).seeds
        assert type(seeds) is int
        assert seeds == 3


@pytest.mark.parametrize("option", ["--seeds", "--seed", "--samples", "--batch", "--snapshots"])
@pytest.mark.parametrize("value", ["-1", str(2**70), "nan", "x"])
@pytest.mark.usefixtures("in_time")
def test_the_command_line_refuses_them_too(option, value, tmp_path, monkeypatch, capsys):
    from gantlet.cli.main import run

    monkeypatch.chdir(tmp_path)
    command = "train" if option == "--seed" else "compare"
    assert run([command, "gmm", "--data", "ring:n=300", f"{option}={value}"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert not list(tmp_path.iterdir())
