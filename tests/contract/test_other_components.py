"""Kinds of samples, probes, toy games and studies keep their contracts; broken ones are caught."""

import itertools
from dataclasses import dataclass, replace

import networkx as nx
import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from gantlet.commands.compare.study import Compare
from gantlet.commands.converge.study import Converge
from gantlet.commands.evaluate.inputs import EvaluationSpec
from gantlet.commands.evaluate.study import Evaluate
from gantlet.commands.flaws.study import FindFlaws
from gantlet.core.data import Encoded, Space, all_samples
from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget, Estimate
from gantlet.core.metric import Findings
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families, probes, toys
from gantlet.domains.attributes import AttributeTable, attribute
from gantlet.domains.domains import domain_of, domains, reader_of
from gantlet.domains.vectors import VectorDomain
from gantlet.games.toys import Dirac
from gantlet.options import Search
from gantlet.research.calibration.study import Calibration
from gantlet.research.convergence.study import Convergence
from gantlet.testing import check_domain, check_probe, check_study, check_toy

PLANE = Space("vector", (2,))


# ---- kinds of samples --------------------------------------------------------------------------


def words_file(folder):
    draw = np.random.default_rng(0)
    lines = [" ".join(f"w{k}" for k in draw.choice(9, 4)) for _ in range(20)]
    (folder / "a.txt").write_text("\n".join(lines))
    return folder / "a.txt"


def rows_file(folder):
    rows = [f"{i / 7 if i % 5 else ''},{'ab'[i % 2]},{i % 4}" for i in range(30)]
    (folder / "a.csv").write_text("size,kind,count\n" + "\n".join(rows) + "\n")
    return folder / "a.csv"


def sounds_folder(folder):
    draw = np.random.default_rng(0)
    for i in range(12):
        soundfile.write(folder / f"{i:02}.wav", draw.normal(size=900) / 9, 8000, subtype="FLOAT")
    return folder


def graphs_file(folder):
    made = [nx.gnp_random_graph(7 + i % 3, 0.5, seed=i) for i in range(16)]
    np.savez(
        folder / "a.npz",
        num_nodes=[len(g) for g in made],
        num_edges=[g.number_of_edges() for g in made],
        edges=np.concatenate([np.array(g.edges) for g in made]),
    )
    return folder / "a.npz"


FILES = {"tokens": words_file, "table": rows_file, "audio": sounds_folder, "graph": graphs_file}


@pytest.mark.parametrize("kind", FILES)
def test_kinds_that_have_a_code_keep_the_contract(kind, tmp_path):
    data = reader_of(FILES[kind](tmp_path))
    domain = domain_of(data.space)
    assert data.space.kind == kind
    code = data.code() if isinstance(data, Encoded) else None
    check_domain(domain, data.space, all_samples(data.whole()), code=code)
    check_domain(domain, data.space, all_samples(data.whole()))


@pytest.mark.parametrize(
    "space",
    [PLANE, Space("vector", (70,)), Space("image", (1, 8, 8), 17), Space("image", (3, 16, 16))],
    ids=str,
)
def test_kinds_of_plain_numbers_keep_the_contract(space):
    check_domain(domain_of(space), space)


def test_walks_on_a_network_keep_the_contract():
    data = datasets.make("sbm-network")
    splits = data.load(rng=Rng(0))
    x = all_samples(splits.test, 100)
    check_domain(domain_of(data.space), data.space, x, code=splits.code)


def test_no_kind_is_left_out():
    plain = (PLANE, Space("image", (1, 8, 8), 17), Space("walk", (4,), 9))
    seen = {type(domain_of(space)) for space in plain}
    coded = {type(domain_of(Space(kind, (4,)))) for kind in FILES}
    assert {type(d) for d in domains()} == seen | coded


class Neighbourly(VectorDomain):
    """Measures a sample by its distance from the mean of its set, and does not say so."""

    def attributes(self, space, x, code):
        far = (x - x.mean(0)).flatten(1).norm(dim=1, keepdim=True).double()
        return AttributeTable(words=(attribute("far", "too near", "too far"),), values=far)


class Greedy(VectorDomain):
    """Takes every file for its own."""

    def reader(self, path, *, skip_bad=0):
        return datasets.make(f"npy:path={path}")


class Doubled(VectorDomain):
    """Changes the samples that it is shown."""

    def picture(self, space, x):
        x *= 2


@pytest.mark.parametrize(
    ("domain", "law"),
    [
        (Neighbourly(), "a sample is measured alone"),
        (Greedy(), "files of another kind are left to it"),
        (Doubled(), "samples are left as they are"),
    ],
)
def test_broken_kinds_are_caught(domain, law):
    with pytest.raises(AssertionError, match=law):
        check_domain(domain, PLANE)


# ---- probes ------------------------------------------------------------------------------------


def fitted(name):
    x = torch.randn(80, 2, generator=Rng(0).stream("x"))
    return families.make(name).fit(PLANE, x, rng=Rng(0)).model, x[:20]


# What probes of model and data are shown.
PLANAR = datasets.make("ring:n=100,held_out=40")
QUICK = {
    "ais": "ais:temperatures=5,chains=2,points=4,simulated=4,tuning=4",
    "sampling": "sampling:batch=4,repeats=2,seconds=5",
}


# Probes of one kind of data, which refuse others; the tests of each hold it to the contract.
OF_ONE_KIND = {"network"}
ANYWHERE = [n for n in probes.names() if n not in OF_ONE_KIND]


@pytest.mark.parametrize("name", sorted(OF_ONE_KIND))
def test_a_probe_of_one_kind_of_data_refuses_others_in_one_line(name):
    model, real = fitted("gmm")
    with pytest.raises(UserError, match=f"probe {name} needs") as error:
        check_probe(probes.make(name), model, real, PLANAR)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ANYWHERE)
def test_every_probe_keeps_the_contract_on_a_density(name):
    model, real = fitted("gmm:components=2")
    check_probe(probes.make(QUICK.get(name, name)), model, real, PLANAR)


@pytest.mark.parametrize("name", ANYWHERE)
def test_every_probe_keeps_the_contract_on_a_flow(name):
    model = families.make("flow:layers=2,width=4").build(PLANE, rng=Rng(0)).model
    _, real = fitted("gmm")
    check_probe(probes.make(QUICK.get(name, name)), model, real, PLANAR)


@dataclass(frozen=True)
class Careless:
    """A probe that breaks one law."""

    law: str

    def inspect(self, model, real, *, rng):
        if self.law == "mode":
            model.eval()
        if self.law == "samples":
            real += 1
        if self.law == "weights":
            next(iter(model.state_dict().values())).add_(1)
        noise = torch.rand(()) if self.law == "global" else 0.0
        value = float(torch.randn(())) if self.law == "global" else 1.0
        found = {"a": Estimate.exact(value + float(noise))}
        return Findings(found, found if self.law == "names" else {})


@pytest.mark.parametrize(
    ("law", "message"),
    [
        ("mode", "the model stays in its mode"),
        ("samples", "samples are left as they are"),
        ("weights", "measuring leaves the model alone"),
        ("global", "the global random state is untouched"),
        ("names", "each number has a name of its own"),
    ],
)
def test_careless_probes_are_caught(law, message):
    model, real = fitted("gmm:components=2")
    model.train()
    with torch.random.fork_rng(), pytest.raises(AssertionError, match=message):
        check_probe(Careless(law), model, real)


# ---- toy games ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", toys.names())
def test_every_toy_keeps_the_contract(name):
    check_toy(toys.make(name))


class Single:
    """A toy in single precision."""

    solver, real = Dirac().solver, Dirac().real

    def build(self):
        game = Dirac().build()
        for player in game.players.values():
            player.float()
        return game


class Resting(Single):
    """A toy whose solver stands still."""

    solver = "sgd:lr=1e-300"

    def build(self):
        return Dirac().build()


class Drawn(Single):
    """A toy that starts elsewhere each time."""

    def build(self):
        game = Dirac().build()
        for player in game.players.values():
            nn.utils.vector_to_parameters(torch.randn(1, dtype=torch.float64), player.parameters())
        return game


@pytest.mark.parametrize(
    ("toy", "law"),
    [
        (Single(), "players are float64"),
        (Resting(), "the default solver moves a player"),
        (Drawn(), "same settings, same start"),
    ],
)
def test_broken_toys_are_caught(toy, law):
    with torch.random.fork_rng(), pytest.raises(AssertionError, match=law):
        check_toy(toy)


# ---- studies -----------------------------------------------------------------------------------


def sets(folder):
    draw = np.random.default_rng(0)
    for name in ("real", "fake"):
        np.save(folder / f"{name}.npy", draw.normal(size=(120, 3)).astype("float32"))
    return EvaluationSpec(
        real=str(folder / "real.npy"), train=None, fakes=(f"f={folder}/fake.npy",)
    )


STUDIES = {
    "compare": lambda _: Compare(
        models=("histogram",), data="moons:n=200,held_out=100", budget=Budget(flops=1e6)
    ),
    "converge": lambda _: Converge(model="dirac", budget=Budget(steps=20)),
    "evaluate": lambda folder: Evaluate(asked=sets(folder), metrics=("energy",)),
    "flaws": lambda folder: FindFlaws(
        asked=sets(folder), search=Search(mode="linear", permutations=200, max_directions=1)
    ),
    "calibration": lambda _: Calibration(
        metrics=("energy",), ns=(30,), ds=(2,), scenarios=("equal",), seeds=2
    ),
}


@pytest.mark.parametrize("name", STUDIES)
def test_studies_keep_the_contract(name, tmp_path):
    check_study(STUDIES[name](tmp_path), tmp_path / "runs", most=2)


def test_a_study_of_several_strategies_lists_its_trials_once():
    trials = Convergence().trials()
    assert len({t.key for t in trials}) == len(trials)


class Talkative(Calibration):
    """A study that writes while it concludes."""

    def conclude(self, outcomes, run):
        (run.path / "note.txt").write_text("concluded")
        return super().conclude(outcomes, run)


COUNT = itertools.count()


class Fickle(Calibration):
    """A study whose trials never measure the same."""

    def run(self, trial, folder, watch):
        found = super().run(trial, folder, watch)
        return replace(found, scores={"x": Estimate.exact(next(COUNT))})


@pytest.mark.parametrize(
    ("kind", "law"),
    [(Talkative, "concluding writes nothing"), (Fickle, "the same trial gives the same scores")],
)
def test_broken_studies_are_caught(kind, law, tmp_path):
    study = kind(metrics=("energy",), ns=(30,), ds=(2,), scenarios=("equal",), seeds=2)
    with pytest.raises(AssertionError, match=law):
        check_study(study, tmp_path / "runs")
