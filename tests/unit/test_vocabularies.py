"""Named measurements of text, tables, sounds and graphs, against what they are named after."""

import math
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch

from gantlet.core.data import InMemory, Space, Splits
from gantlet.core.rng import Rng
from gantlet.domains.attributes import jitter
from gantlet.domains.audio import Spectrogram
from gantlet.domains.cells import TableCells
from gantlet.domains.domains import attributes_of
from gantlet.domains.graphs import GraphCode, GraphStatistics
from gantlet.domains.recordings import AudioCode
from gantlet.domains.table_code import TableCode
from gantlet.domains.text import Ngrams, TextCode
from gantlet.features.sound import bands
from gantlet.stats.graph_statistics import normalised_spectra
from gantlet.stats.permutation import p_values
from gantlet.testing import check_extractor
from gantlet.testing.contracts import labelled_splits

RATE = 8000


def measured(code, x):
    """Returns measurements by name, shape ``(n,)``."""
    found = attributes_of(code.space, x, None, code)
    assert len({w.name for w in found.words}) == len(found.words)
    assert bool(found.values.isfinite().all())
    return {w.name: v for w, v in zip(found.words, found.values.T, strict=True)}


def test_haze_is_small_and_follows_from_the_sample():
    x = torch.rand(4000, 5, generator=Rng(0).stream("x")).round()
    dust = jitter(torch.cat([x, torch.rand(4000, 5, generator=Rng(0).stream("y"))]), 0.1)[4000:]
    assert float(dust.mean()) == pytest.approx(0, abs=0.01)
    assert float(dust.std()) == pytest.approx(0.1, rel=0.1)
    assert torch.equal(jitter(x[:1], 0.1), jitter(x, 0.1)[:1])


# Text


def text(*lines):
    code = TextCode.of([*lines] * 2, "words", None)
    x = torch.from_numpy(code.write(lines, own=False).astype(np.float32))
    return code, measured(code, x)


def test_lines_are_measured_by_their_tokens():
    code, found = text("The dog saw the 3 dogs.", "the dog saw the dog saw", "Oh no no!")
    assert found["length"].exp().tolist() == pytest.approx([8, 7, 5])
    near = {"abs": 0.05}
    assert found["punctuation"].tolist() == pytest.approx([1 / 7, 0, 1 / 4], **near)
    assert found["capitals"].tolist() == pytest.approx([1 / 7, 0, 1 / 4], **near)
    assert found["digits"].tolist() == pytest.approx([1 / 7, 0, 0], **near)
    assert found["sentence end"].round().tolist() == [1, 0, 1]
    assert found["word length"].tolist() == pytest.approx([17 / 6, 3, 2])
    # "the dog" and "dog saw" come twice; five pairs in all.
    assert found["repeated phrases"].tolist() == pytest.approx([0, 2 / 5, 0], **near)
    assert found["tokens twice in a row"].tolist() == pytest.approx([0, 0, 1 / 3], **near)
    assert found["variety"].tolist() == pytest.approx([1, 3 / 6, 3 / 4])
    assert found["share of the word 'the'"].tolist() == pytest.approx([1 / 7, 1 / 3, 0])
    assert code.tokens[0] == "dog"


def test_a_word_that_the_code_lacks_is_unknown():
    code = TextCode.of(["a b c"] * 3, "words", None)
    found = measured(code, torch.from_numpy(code.write(["a b x", "a b c"], own=False)).float())
    assert found["unknown"].tolist() == pytest.approx([1 / 3, 0], abs=0.03)


def test_the_order_of_words_is_their_mean_surprise():
    lines = ["a b"] * 300 + ["a c"] * 100
    code = TextCode.of(lines, "words", None)
    x = torch.from_numpy(code.write(["a b", "b a"], own=False)).float()
    table = code.following
    expected = [
        (table[0, 1] + table[1, 2] + table[2, 0]) / 3,
        (table[0, 2] + table[2, 1] + table[1, 0]) / 3,
    ]
    assert measured(code, x)["order of words"].tolist() == pytest.approx(
        list(map(float, expected))
    )


# Tables


def cells(**columns):
    names = list(columns)
    written = [np.array([str(v) for v in values], dtype=object) for values in columns.values()]
    return TableCells(
        path=Path("t.csv"), names=names, columns=written, places=np.arange(len(written[0]))
    )


def test_rows_are_measured_by_their_columns():
    draw = np.random.default_rng(0)
    age, kind = draw.normal(40, 10, 1000), draw.choice(["a", "b"], 1000)
    code = TableCode.of(cells(age=age, kind=kind), (0, 1))
    x = code.write(cells(age=[40, 50, 1000, "", *age[4:]], kind=["a", "c", "", *kind[3:]]))
    found = measured(code, torch.from_numpy(x))
    middle, spread = np.median(age), age.std()
    assert found["age"][:2].tolist() == pytest.approx(
        [(v - middle) / spread for v in (40, 50)], abs=1e-5
    )
    assert found["extremes of age"][:3].round().tolist() == [0, 0, 1]
    assert found["missing values of age"][:4].round().tolist() == [0, 0, 0, 1]
    # What is missing counts as the mean of the others.
    there = torch.arange(1000) != 3
    assert float(found["age"][3]) == pytest.approx(float(found["age"][there].mean()))
    assert found["share of kind=a"][:3].tolist() == [1, 0, 0]
    assert found["other values of kind"][:3].round().tolist() == [0, 1, 0]
    assert found["missing values of kind"][:3].round().tolist() == [0, 0, 1]


def test_a_correlation_does_not_depend_on_how_columns_are_spread():
    draw = np.random.default_rng(0)
    x = draw.normal(size=2000)
    y = 0.7 * x + 0.51**0.5 * draw.normal(size=2000)
    code = TableCode.of(cells(x=x, y=y), (0, 1))
    name = "correlation of x and y"

    def fit(a, b):
        return float(measured(code, torch.from_numpy(code.write(cells(x=a, y=b))))[name].mean())

    # The correlation less that of the real table, over 1 less its square.
    assert fit(x, y) == pytest.approx(0, abs=0.02)
    assert fit(np.exp(x), 100 + y**3) == pytest.approx(fit(x, y), abs=1e-3)
    assert fit(x, draw.permutation(y)) == pytest.approx(-0.7 / 0.51, abs=0.1)
    assert fit(x, x) == pytest.approx(0.3 / 0.51, abs=0.05)


def test_p_values_of_a_strong_correlation_are_even_though_ranks_are_of_each_set():
    draw, found = np.random.default_rng(0), []
    labels = torch.Generator().manual_seed(0)
    for _ in range(200):
        tables = []
        for _ in range(2):
            x = draw.normal(size=150)
            tables.append(cells(x=x, y=0.96 * x + (1 - 0.96**2) ** 0.5 * draw.normal(size=150)))
        code = TableCode.of(tables[0], (0, 1))
        fits = [
            measured(code, torch.from_numpy(code.write(t)))["correlation of x and y"][75:, None]
            for t in tables
        ]
        found.append(float(p_values(*fits, permutations=99, rng=labels)))
    # Of 200 with chance 0.1 each: more than 33 come once in a thousand times. With the squared
    # difference of the ranks alone it is 0.18.
    assert sum(p <= 0.1 for p in found) <= 33


# Sounds


def sounds(*waves):
    code = AudioCode(RATE, max(map(len, waves)))
    x = torch.zeros(len(waves), 1, code.length)
    for row, w in zip(x[:, 0], waves, strict=True):
        row[: len(w)] = torch.as_tensor(w)
    return measured(code, x)


def tone(hertz, seconds=1.0, size=0.5):
    t = torch.arange(int(RATE * seconds), dtype=torch.float64) / RATE
    return size * torch.sin(2 * math.pi * hertz * t + 0.3)


def test_tones_are_measured_by_their_pitch_and_loudness():
    found = sounds(tone(200), tone(400, 0.5), 0.5 * tone(200), tone(200) + 0.05)
    assert found["pitch"].exp().tolist() == pytest.approx([200, 400, 200, 200], rel=0.02)
    assert found["periodicity"][:3].tolist() == pytest.approx([1, 1, 1], abs=0.06)
    assert found["duration"].exp().tolist() == pytest.approx([1.01, 0.51, 1.01, 1.01], abs=1e-3)
    assert found["loudness"].exp().tolist()[:3] == pytest.approx([0.3537] * 2 + [0.1769], rel=0.01)
    assert float(found["offset"][3] - found["offset"][0]) == pytest.approx(0.14, abs=0.05)
    assert found["spectral centre"].exp()[:2].tolist() == pytest.approx([201, 401], rel=0.05)
    # At any volume: "loudness" alone tells a tone from one half as loud.
    same = set(found) - {"loudness", "offset", "clicks", "flat peaks", "start", "pauses"}
    assert {k for k in same if abs(float(found[k][2] - found[k][0])) > 0.02} == set()


def test_damage_to_sounds_is_measured():
    rng = Rng(0).stream("noise")
    clean = tone(300) * torch.linspace(0.2, 1, RATE)
    hiss = 0.02 * torch.randn(RATE, generator=rng, dtype=torch.float64)
    jump = clean.clone()
    jump[4000] += 0.8
    late = torch.cat([torch.full((2000,), 1e-4, dtype=torch.float64), clean[:6000]])
    found = sounds(clean, clean.clamp(-0.2, 0.2), clean + hiss, jump, late)
    for name, damaged in (
        ("flat peaks", 1),
        ("noise floor", 2),
        ("high frequencies", 2),
        ("clicks", 3),
        ("start", 4),
    ):
        values = found[name] - found[name][0]
        assert float(values[damaged]) > 0.15, name
        assert name == "high frequencies" or int(values.argmax()) == damaged, name


def test_silence_is_measured_too():
    found = sounds(torch.zeros(300), torch.ones(5) * 0.1)
    assert float(found["loudness"][0]) == pytest.approx(math.log(1e-4))


# Graphs


def as_matrix(graph, room):
    n = graph.number_of_nodes()
    x = torch.zeros(room, room)
    x[:n, :n] = torch.from_numpy(nx.to_numpy_array(graph)) + torch.eye(n)
    return x


def some_graphs():
    return [
        nx.karate_club_graph(),
        nx.gnp_random_graph(30, 0.05, seed=1),
        nx.path_graph(8),
        nx.complete_graph(6),
        nx.empty_graph(3),
        nx.barabasi_albert_graph(34, 3, seed=2),
    ]


def test_graphs_are_measured_as_networkx_does():
    graphs = [nx.Graph(g.edges) if len(g.edges) else g for g in some_graphs()]
    graphs = [nx.convert_node_labels_to_integers(g) for g in graphs]
    x = torch.stack([as_matrix(g, 40) for g in graphs])
    found = measured(GraphCode(40), x)
    for i, g in enumerate(graphs):
        n, degrees = len(g), [d for _, d in g.degree]
        wedges = max(sum(d * (d - 1) / 2 for d in degrees), 1) / n
        triangles = sum(nx.triangles(g).values()) / 3
        expected = (triangles / n / wedges**1.5) ** 0.5
        assert float(found["triangles"][i]) == pytest.approx(expected, abs=0.03)
        squares = sum(1 for c in nx.simple_cycles(g, length_bound=4) if len(c) == 4)
        assert float(found["squares"][i]) == pytest.approx(
            (squares / n / wedges**2) ** 0.5, abs=0.03
        )
        parts = list(nx.connected_components(g))
        assert float(found["parts"][i]) == pytest.approx(math.log(len(parts)), abs=0.18)
        largest = max(map(len, parts)) / n
        assert float(found["largest part"][i]) == pytest.approx(largest, abs=0.05)
        mean = sum(degrees) / n
        assert float(found["edges"][i]) == pytest.approx(math.log(mean + 0.1), abs=0.05)
        if len(set(degrees)) > 1:
            theirs = nx.degree_assortativity_coefficient(g)
            assert float(found["assortativity"][i]) == pytest.approx(theirs, abs=1e-9)


def test_measurements_of_graphs_do_not_depend_on_the_order_of_nodes():
    x = as_matrix(nx.karate_club_graph().to_undirected(), 34)[None].ne(0).float()
    order = torch.randperm(34, generator=Rng(0).stream("order"))
    one, two = (measured(GraphCode(34), y) for y in (x, x[:, order][:, :, order]))
    # But for what is added so that nothing is without deviation.
    assert {k for k in one if abs(float(one[k] - two[k])) > 0.08} <= {"parts"}
    assert abs(float(one["parts"] - two["parts"])) < 0.4
    seen = GraphStatistics().fit(Space("graph", (34, 34), 2), None, rng=Rng(0)).extract
    assert torch.allclose(seen(x), seen(x[:, order][:, :, order]), atol=1e-6)


def test_spectra_and_histograms_are_those_of_networkx():
    g = nx.karate_club_graph()
    x = as_matrix(nx.Graph(g.edges), 40)[None].double()
    node = x.diagonal(dim1=1, dim2=2)
    edge = x - torch.diag_embed(node)
    values = normalised_spectra(edge, edge.sum(2), node)[0]
    theirs = np.sort(nx.normalized_laplacian_spectrum(nx.Graph(g.edges)))
    assert values[:34].numpy() == pytest.approx(theirs, abs=1e-9)
    assert values[34:].tolist() == pytest.approx([3] * 6)
    found = GraphStatistics(bins=10).fit(Space("graph", (40, 40), 2), None, rng=Rng(0)).extract(x)
    degrees = np.minimum([d for _, d in g.degree], 9)
    assert found[0, :10].numpy() == pytest.approx(np.bincount(degrees, minlength=10) / 34)
    around = np.minimum(
        (np.array(list(nx.clustering(nx.Graph(g.edges)).values())) * 10).astype(int), 9
    )
    assert found[0, 10:20].numpy() == pytest.approx(np.bincount(around, minlength=10) / 34)
    bins = np.minimum(((theirs / 2 + 1e-6) * 10).astype(int), 9)
    assert found[0, 20:30].numpy() == pytest.approx(np.bincount(bins, minlength=10) / 34)
    assert float(found[0, 30]) == pytest.approx(34 / 40)


# Features


@pytest.mark.parametrize(
    ("extractor", "space"),
    [
        (Ngrams(), Space("tokens", (12,), 50)),
        (Spectrogram(), Space("audio", (1, 900))),
        (Spectrogram(), Space("audio", (1, 100))),
        (GraphStatistics(), Space("graph", (9, 9), 2)),
    ],
    ids=lambda x: x.label if isinstance(x, Space) else type(x).__name__,
)
def test_every_extractor_keeps_the_contract(extractor, space):
    check_extractor(extractor, space)


def test_ngrams_weigh_tokens_by_how_rare_they_are():
    space = Space("tokens", (4,), 20)
    data = labelled_splits(space, 200)
    seen = Ngrams(features=64).fit(space, data, rng=Rng(0)).extract
    train = data.train.take(torch.arange(200))
    x = torch.tensor([[5.0, 0, 0, 0], [5, 5, 0, 0]])
    one, two = seen(x)
    known = int((train == 5).any(1).sum())
    weight = 1 + math.log(201 / (1 + known))
    # Alone a token adds to one of the first half, and its pair with the end to one of the second.
    assert one[:32].abs().sum() == pytest.approx(weight)
    assert two[:32].abs().sum() == pytest.approx(2 * weight / 2**0.5)
    assert int((one[32:] != 0).sum()) == 1


def test_ngrams_weigh_samples_that_they_learned_from_as_fresh_ones():
    draw = torch.Generator().manual_seed(0)
    x = (torch.rand(1200, 6, generator=draw).pow(2) * 398).floor() + 2
    space = Space("tokens", (6,), 400)
    splits = Splits(train=InMemory(x[:400]), validation=InMemory(x[:2]), test=InMemory(x[:2]))
    size = Ngrams().fit(space, splits, rng=Rng(0)).extract(x).square().sum(1)
    own, fresh = size[:400], size[400:]
    error = (own.var() / 400 + fresh.var() / 800).sqrt()
    # Weighed by their plain counts, samples that were learned from are 23 errors smaller.
    assert abs(float(own.mean() - fresh.mean()) / float(error)) < 3


def test_bands_cover_all_frequencies_and_a_tone_lies_in_its_own():
    weights = bands(32, 129)
    assert weights.sum(0) == pytest.approx(torch.ones(32))
    assert bool((weights[2:-2].sum(1) > 0).all())
    seen = Spectrogram().fit(Space("audio", (1, RATE)), None, rng=Rng(0)).extract
    found = seen(torch.stack([tone(500), tone(1000)])[:, None].float())[:, :32]
    places = weights.T @ torch.linspace(0, RATE / 2, 129)
    for mean, hertz in zip(found, (500, 1000), strict=True):
        assert float(places[mean.argmax()]) == pytest.approx(hertz, rel=0.1)
    # Silence at the end does not matter.
    short = seen(torch.cat([tone(500, 0.512), torch.zeros(RATE - 4096)])[None, None].float())
    assert torch.allclose(short[:, :32], found[:1], atol=0.7)
