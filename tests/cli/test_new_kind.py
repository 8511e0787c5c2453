"""A kind of sample that one module and its registered name add goes through every command."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import gantlet
from gantlet.cli.main import run
from gantlet.core.data import InMemory, Space
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.core.metric import SpaceMetric
from gantlet.core.spec import Between, installed_points
from gantlet.data.splits import random_split
from gantlet.domains.attributes import attribute, attribute_table
from gantlet.domains.domains import Domain, domain_of
from gantlet.report.pictures import grid

LETTERS = "ACGT"


# ----------------------------------------------------------------------------
# The kind: reading, attributes, drawing, writing.
# ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequences:
    """Strands of DNA, one a line.

    Attributes:
        path: The file.
    """

    path: str

    @property
    def space(self):
        return Space("dna", (self.whole().take(torch.arange(1)).shape[1],), len(LETTERS))

    def load(self, *, rng):
        return random_split(self.whole(), validation=0.1, test=0.2, limit=None, rng=rng)

    def whole(self):
        lines = Path(self.path).read_text().split()
        return InMemory(torch.tensor([[LETTERS.index(c) for c in line] for line in lines]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap(SpaceMetric):
    """How much more of one letter the fakes have; what a letter is only the space knows.

    Attributes:
        letter: The letter.
        levels: How many letters there are, once that is known.
    """

    better: ClassVar = "lower"
    unit: ClassVar = "1"
    sees: ClassVar = "samples"
    quadratic: ClassVar = False

    letter: str = "G"
    levels: Annotated[int, Between(0)] = 0

    def on(self, space, code):
        if space.kind != "dna":
            raise UserError(f"letter-gap is for dna. Got {space.label}.")
        return replace(self, levels=space.levels)

    def measure(self, real, fake, *, rng):
        space = Space("dna", tuple(real.shape[1:]), self.levels)
        shares = [(space.raw(x) == LETTERS.index(self.letter)).double() for x in (fake, real)]
        gap = float(shares[0].mean() - shares[1].mean())
        return Estimate(value=gap, n=len(fake), unit="1", method="no interval: a test")


class Dna(Domain):
    """Strands of one length."""

    endings = (".dna",)
    metrics = ("letter-gap",)
    models = ("histogram", "memorizer")

    def attributes(self, space, x, code):
        return attribute_table(
            {
                attribute(f"share of {c}", f"too little {c}", f"too much {c}"): (x == i)
                .double()
                .mean(1)
                for i, c in enumerate(LETTERS)
            }
        )

    def reader(self, path, *, skip_bad=0):
        return Sequences(path=str(path)) if path.suffix == ".dna" else None

    def picture(self, space, x):
        stripes = (space.unit(x[: self.shown]) * 255).byte().numpy()
        return grid(np.repeat(stripes[:, None, :, None], 4, axis=1), columns=1)

    def writers(self, space, code) -> Mapping:
        return {".dna": write}


def write(path, x):
    path.write_text("".join("".join(LETTERS[int(i)] for i in row) + "\n" for row in x))


# ----------------------------------------------------------------------------
# What the commands make of it.
# ----------------------------------------------------------------------------


def strands(n, seed, share_of_g=0.25):
    rest = (1 - share_of_g) / 3
    draw = np.random.default_rng(seed).choice(4, (n, 40), p=[rest, rest, share_of_g, rest])
    return torch.from_numpy(draw)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package of which two lines say what it adds, as if it were installed."""
    info = tmp_path / "site" / "strands-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strands\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[gantlet.domains]\ndna = strands:Dna\n[gantlet.datasets]\ndna = strands:Sequences\n"
        "[gantlet.metrics]\nletter-gap = strands:Gap\n"
    )
    monkeypatch.syspath_prepend(str(info.parent))
    monkeypatch.setitem(sys.modules, "strands", sys.modules[__name__])
    monkeypatch.chdir(tmp_path)
    installed_points.cache_clear()
    write(Path("real.dna"), strands(600, 0))
    write(Path("same.dna"), strands(600, 1))
    write(Path("rich.dna"), strands(600, 2, share_of_g=0.4))
    yield
    installed_points.cache_clear()


def asked(*arguments, capsys):
    assert run(list(arguments)) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("installed")
def test_evaluate_reads_it_and_draws_it(capsys):
    words = ["evaluate", "rich.dna", "same.dna", "--against", "real.dna", "--out", "o", "--json"]
    found = asked(*words, "--metric", "energy", "--features", "pixels", capsys=capsys)
    energy = {r["model"]: r["low"] for r in found["rows"] if r["name"] == "energy (pixels)"}
    assert energy["rich.dna"] > 0
    assert energy["rich.dna"] > energy["same.dna"]
    assert found["question"]["features"] == ["pixels"]
    assert Path("o/report.html").read_text().count("data:image/png") >= 3


@pytest.mark.usefixtures("installed")
def test_evaluate_measures_its_own_metric_by_default(capsys):
    words = ["evaluate", "rich.dna", "--against", "real.dna", "--out", "o", "--json"]
    found = asked(*words, "--features", "pixels", capsys=capsys)
    (gap,) = (
        r["value"]
        for r in found["rows"]
        if "letter-gap" in r["name"] and "(real)" not in r["name"] and r["model"] == "rich.dna"
    )
    rich, real = (
        Sequences(path=f"{name}.dna").whole().take(torch.arange(600)) for name in ("rich", "real")
    )
    truth = float((rich == 2).double().mean() - (real == 2).double().mean())
    assert gap == pytest.approx(truth, abs=1e-6)


QUICK = ["--data", "dna:path=real.dna", "--seeds", "1", "--workers", "1", "--metric", "energy"]


@pytest.mark.usefixtures("installed")
def test_compare_takes_the_line_up_and_the_metrics_of_the_kind(capsys):
    words = ["compare", *QUICK[:-2], "--probe", "parameters", "--out", "run", "--json"]
    found = asked(*words, capsys=capsys)
    assert [m.partition(":")[0] for m in found["question"]["models"]] == ["histogram", "memorizer"]
    assert any("the line-up for dna data is histogram, memorizer" in c for c in found["caveats"])
    gaps = {
        r["model"].partition(":")[0]: r["value"]
        for r in found["rows"]
        if r["name"] == "letter-gap"
    }
    assert set(gaps) == {"real", "histogram", "memorizer"}
    samples = load_file(next(Path("run").glob("trials/*/samples.safetensors")))["samples"]
    assert len(samples) == 120
    table = next(
        b for b in gantlet.load_report("run").blocks if b.title == "Models: quality and cost"
    )
    assert "letter-gap" in [c.name for c in table.columns]
    # The same models by name are the same question: the finished run is taken up.
    named = ["compare", "histogram", "memorizer", *words[1:], "--probe", "trade-off"]
    again = asked(*named, capsys=capsys)
    assert again["rows"] == found["rows"]


@pytest.mark.usefixtures("installed")
def test_a_metric_of_another_kind_and_a_kind_without_line_up_are_one_line(capsys, monkeypatch):
    asked_of = ["compare", "histogram", "--data", "ring:n=300", "--metric", "letter-gap"]
    assert run(asked_of) == 2
    assert "letter-gap is for dna. Got vector 2." in capsys.readouterr().err
    monkeypatch.setattr(Dna, "models", ())
    assert run(["compare", *QUICK]) == 2
    assert "Name at least one model" in capsys.readouterr().err


@pytest.mark.usefixtures("installed")
def test_flaws_are_named_by_its_attributes(capsys):
    words = ["flaws", "rich.dna", "--against", "real.dna", "--permutations", "199"]
    found = asked(*words, "--out", "o", "--json", capsys=capsys)
    titles = [f["title"] for f in found["lists"]["rich.dna"]]
    assert titles[0] == "too much G"
    assert Path("o/report.html").read_text().count("data:image/png") >= 2


@pytest.mark.usefixtures("installed")
def test_samples_of_a_model_are_drawn_and_written_and_read_again(capsys):
    words = [
        "compare",
        "memorizer",
        "--data",
        "dna:path=real.dna",
        "--seeds",
        "1",
        "--workers",
        "1",
    ]
    asked(*words, "--out", "run", "--json", capsys=capsys)
    assert "data:image/png" in Path("run/report.html").read_text()
    for name in ("drawn.dna", "drawn.png", "drawn.npy"):
        assert run(["sample", "run", "--model", "memorizer", "-n", "50", "--out", name]) == 0
    x = Sequences(path="drawn.dna").whole().take(torch.arange(50))
    assert torch.equal(x, torch.from_numpy(np.load("drawn.npy")).float())
    with Image.open("drawn.png") as picture:
        assert picture.width == 40
    capsys.readouterr()
    assert run(["sample", "run", "--model", "memorizer", "--out", "drawn.odt"]) == 2
    assert ".dna" in capsys.readouterr().err


@pytest.mark.usefixtures("installed")
def test_files_of_no_kind_are_told_what_there_is(capsys):
    Path("a.odt").write_text("x")
    assert run(["evaluate", "a.odt", "--against", "real.dna"]) == 2
    assert ".dna" in capsys.readouterr().err


def test_a_kind_that_is_not_installed_is_one_line():
    with pytest.raises(UserError, match="Unknown kind of sample 'dna'") as error:
        domain_of(Space("dna", (4,)))
    assert "table" in str(error.value)
