"""One large network from the command line: compared, sampled as a network, and refused."""

import json

import networkx as nx
import numpy as np
import pytest

from gantlet.cli.main import run
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets

SMALL = "sbm-network:nodes=40,blocks=2,inside=0.5,between=0.05,length=6,passes=1,held_out=100"


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The run folder of a comparison of models of a small network."""
    folder = tmp_path_factory.mktemp("networks") / "run"
    models = ["rewire", "cell:rank=20,overlap=1"]
    options = ["--steps", "5", "--seeds", "1", "--workers", "1", "--metric", "energy"]
    options += ["--features", "walk-embedding", "--probe", "network:graphs=2"]
    assert run(["compare", *models, "--data", SMALL, *options, "--out", str(folder)]) == 0
    return folder


def report(folder, form, tmp_path):
    out = tmp_path / f"report.{form}"
    assert run(["report", str(folder), "--format", form, "--out", str(out)]) == 0
    return out.read_text()


def test_the_report_says_who_copies_and_shows_statistics(compared, tmp_path):
    text = report(compared, "markdown", tmp_path)
    assert "Copied edges and link prediction" in text
    assert "Statistics of the networks" in text
    assert "Statistics at equal overlap" in text
    assert "clustering (NetGAN)" in text
    assert "cell:rank=20,overlap=1.0 memorizes" in text
    assert "rewire memorizes" not in text
    rows = json.loads(report(compared, "json", tmp_path))["rows"]
    found = {r["name"]: r for r in rows if r["model"].startswith("cell")}
    assert found["edge overlap"]["value"] > 0.95
    assert found["held-out edges found"]["value"] < 0.2


@pytest.mark.parametrize("suffix", ["edges", "graphml"])
def test_walks_are_written_as_the_network_they_add_up_to(compared, tmp_path, suffix):
    out = tmp_path / f"made.{suffix}"
    told = ["sample", str(compared), "--model", "cell:rank=20,overlap=1.0", "-n", "3000"]
    assert run([*told, "--out", str(out)]) == 0
    made = nx.read_graphml(out) if suffix == "graphml" else nx.read_edgelist(out)
    train = datasets.make(SMALL).load(rng=Rng(0)).code.train
    assert made.number_of_edges() == len(train.edges)
    assert set(made) == {str(i) for i in range(40)}


def evaluated(capsys, fake, *arguments):
    capsys.readouterr()
    told = ["evaluate", str(fake), *map(str, arguments), "--features", "walk-embedding"]
    assert run([*told, "--metric", "energy", "--workers", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    return next(r for r in found["rows"] if r["name"].startswith("energy")), found


def test_a_sampled_network_is_evaluated_against_the_real_one(compared, tmp_path, capsys):
    """The nodes of both files are the same by their names, not by their place."""
    graph = datasets.make(SMALL).load(rng=Rng(0)).code.full
    pairs = graph.edges.tolist()
    real, twin, wrong = (tmp_path / f"{name}.edges" for name in ("real", "twin", "wrong"))
    real.write_text("".join(f"{a} {b}\n" for a, b in pairs))
    # Node 0 is gone, so that every other node has another place in the order of names.
    twin.write_text("".join(f"{b} {a}\n" for a, b in pairs[::-1] if a))
    wrong.write_text("".join(f"{(3 * a) % 40} {(3 * b) % 40}\n" for a, b in pairs))
    same, found = evaluated(capsys, twin, "--against", real, "--out", tmp_path / "same")
    other, _ = evaluated(capsys, wrong, "--against", real, "--out", tmp_path / "other")
    assert other["low"] > 5 * same["high"]
    assert f"{len(pairs) - graph.degrees[0]} edges of twin.edges" in json.dumps(found)
    made = tmp_path / "made.edges"
    told = ["sample", str(compared), "--model", "rewire", "-n", "3000"]
    assert run([*told, "--out", str(made)]) == 0
    evaluated(capsys, made, "--against", SMALL, "--out", tmp_path / "made")


@pytest.mark.parametrize(
    ("fake", "real", "message"),
    [
        ("new.edges", "real.edges", "new.edges has 1 node that the real network lacks"),
        ("real.edges", "lines.txt", "real.edges is a network; the real samples are not"),
        ("lines.txt", "real.edges", "lines.txt is text; the real samples are not"),
    ],
)
def test_networks_that_cannot_be_compared_are_one_line(tmp_path, capsys, fake, real, message):
    (tmp_path / "real.edges").write_text("0 1\n1 2\n2 3\n")
    (tmp_path / "new.edges").write_text("0 1\n1 zed\n")
    (tmp_path / "lines.txt").write_text("one line\n" * 9)
    told = ["evaluate", str(tmp_path / fake), "--against", str(tmp_path / real)]
    assert run([*told, "--out", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cell", "--data", "ring"], "cell models random walks on a network. Got vector 2"),
        (["netgan", "--data", "ring"], "netgan models random walks on a network. Got vector 2"),
        (["cell", "--data", "network:path=no.edges"], "No file no.edges. Check the path."),
        (["cell", "--data", "network:path=loop.edges"], "has 1 loop, edges from a node to itself"),
        (["cell", "--data", "network:path=empty.edges"], "has no edges. A network needs some"),
        (["cell", "--data", "network:path=two.edges"], "Give component=largest"),
        (["cell", "--data", "network:path=both.edges"], "give directions=ignore"),
        (["cell", "--data", "network:path=loop.edges,loop=drop"], "Did you mean 'loops'?"),
        (["cell:rank=0", "--data", SMALL], "cell:rank must be at least 1. Got 0."),
        (["gan", "--data", SMALL], "gan models vectors and images. Got walk 6 with 40 levels"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    texts = {"loop": "0 1\n1 1\n", "empty": "\n", "two": "0 1\n2 3\n", "both": "0 1\n1 0\n1 2\n"}
    for name, text in texts.items():
        (tmp_path / f"{name}.edges").write_text(text)
    assert run(["compare", *arguments, "--steps", "2", "--seeds", "1", "--out", "run"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_a_matrix_with_python_objects_is_one_line(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", adj=np.array([{}], object), edges=np.array([{}], object))
    told = ["compare", "cell", "--data", f"network:path={tmp_path / 'a.npz'}", "--steps", "2"]
    assert run([*told, "--seeds", "1", "--out", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert "Python objects, which are never loaded" in err
    assert err.count("\n") == 1
