"""What all kinds of sample share: a line-up, metrics, a trade-off, and rows of numbers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import gantlet
from gantlet.cli.main import run
from gantlet.commands.evaluate.inputs import find_samples, harmonize
from gantlet.commands.exhibits import save_samples
from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.metric import metric_on
from gantlet.core.model import FittedFamily
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families, metrics
from gantlet.domains.domains import adapted_to, domains

DOMAINS = [d for d in domains() if d.models]
NAMES = [type(d).__name__ for d in DOMAINS]


@pytest.mark.parametrize("domain", DOMAINS, ids=NAMES)
def test_a_line_up_is_of_known_families_from_trivial_to_adversarial(domain):
    made = [families.make(name) for name in domain.models]
    assert len(made) >= 2
    assert isinstance(made[0], FittedFamily), "the first is a trivial baseline"
    assert len(set(domain.models)) == len(made)


@pytest.mark.parametrize("domain", list(domains()), ids=lambda d: type(d).__name__)
def test_metrics_and_trade_offs_of_a_kind_exist(domain):
    for name in domain.metrics:
        metrics.make(name)
    quality, coverage = map(metrics.make, domain.trade_off)
    assert {quality.sees, coverage.sees} <= {"features", "samples"}
    assert quality != coverage


def names_file(path, n, longest):
    draw = torch.Generator().manual_seed(n)
    sizes = torch.randint(2, longest + 1, (n,), generator=draw).tolist()
    letters = torch.randint(0, 5, (n, longest), generator=draw).tolist()
    lines = ("".join("abcde"[i] for i in row[:k]) for row, k in zip(letters, sizes, strict=True))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_rows_of_a_model_of_a_text_are_text_for_watch_and_evaluate(tmp_path):
    """The files have room for longer samples; a model trained on them has none."""
    path = names_file(tmp_path / "a.txt", 200, 8)
    data = datasets.make(f"text:path={path}")
    splits = data.load(rng=Rng(0))
    rows = splits.train.take(torch.arange(120))
    assert rows.shape[1] == 8
    watch = gantlet.Watch(f"text:path={path}", every=1, samples=40, share=None, metrics=("kid",))
    look = watch(0, sample=lambda n: rows[:n], losses={"loss": 1.0})
    assert {e.name for e in look.entries} >= {"kid"}
    report = gantlet.evaluate(
        rows, against=f"text:path={path}", metrics=["energy"], out=tmp_path / "run", workers=1
    )
    energy = next(
        r.estimate for r in report.rows if r.name.startswith("energy") and r.model != "real"
    )
    assert abs(energy.value) < 0.05


def test_rows_of_numbers_take_the_kind_that_is_wanted_only_where_it_can_be_longer():
    wanted = Space("tokens", (8,), 5)
    short = adapted_to(Space("vector", (6,)), wanted)
    assert short.change(torch.ones(2, 6)).tolist() == [[1.0] * 6 + [0.0] * 2] * 2
    assert adapted_to(Space("vector", (9,)), wanted) is None
    assert adapted_to(Space("image", (1, 8, 8), 2), wanted) is None


def test_a_stack_of_matrices_takes_the_kind_that_is_wanted():
    images, graphs = Space("image", (1, 6, 6), 256), Space("graph", (6, 6), 2)
    x = torch.eye(6).expand(3, 1, 6, 6)
    assert torch.equal(adapted_to(images, graphs).change(x), x[:, 0])
    assert adapted_to(images, Space("graph", (8, 8), 2)) is None
    assert adapted_to(Space("image", (3, 6, 6), 256), graphs) is None


def test_sampled_graphs_are_read_again(tmp_path):
    made = datasets.make("trees:n=60,held_out=40")
    x = made.load(rng=Rng(1)).train.take(torch.arange(40)).to(torch.uint8)
    np.savez(tmp_path / "made.npz", x=x.numpy())
    report = gantlet.evaluate(
        tmp_path / "made.npz",
        against="trees:n=60,held_out=40",
        metrics=["energy"],
        out=tmp_path / "run",
        workers=1,
    )
    assert "is not significantly different from real data" in report.verdicts[0].claim
    assert adapted_to(Space("vector", (6,)), Space("vector", (8,))) is None


def refusal(name, space):
    """What a metric says of samples of another kind, or nothing where it takes them."""
    try:
        metric_on(metrics.make(name), space, None)
    except UserError as error:
        return str(error)
    return ""


def test_a_metric_of_another_kind_is_one_line():
    space = Space("image", (1, 8, 8), 17)
    told = [refusal(name, space) for d in domains() for name in d.metrics]
    assert any(told)
    assert all("image" in t and "\n" not in t for t in told if t)


def test_a_sampled_table_is_read_again_beside_the_made_one(tmp_path, capsys):
    made = "mixed-table:n=60,held_out=40"
    rows = datasets.make(made).load(rng=Rng(1)).train.take(torch.arange(40))
    path = tmp_path / "made.csv"
    save_samples(path, rows, made)
    report = gantlet.evaluate(
        path, against=made, metrics=["energy"], out=tmp_path / "run", workers=1
    )
    assert "is not significantly different from real data" in report.verdicts[0].claim
    head, first, *rest = path.read_text().splitlines()
    gap = ",".join(["", *first.split(",")[1:]])
    path.write_text("\n".join([head, gap, *rest]) + "\n")
    assert run(["evaluate", str(path), "--against", made]) == 2
    assert "Column 'age'" in (text := capsys.readouterr().err)
    assert "has missing values" in text


def test_rows_of_nodes_are_named_by_the_network_that_they_are_judged_against():
    real = find_samples("sbm-network:nodes=40,blocks=2,length=6,held_out=60", "real")
    rows = replace(real, space=Space("vector", (6,)), code=None)
    found, _ = harmonize(rows, real)
    assert found.code is real.code is not None
