"""gantlet flaws on sounds and on sets of graphs: planted flaws get their names."""

import json
import tarfile
import wave
from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
import torch

from gantlet.cli.main import run
from gantlet.domains.audio_attributes import audio_attributes
from gantlet.domains.recordings import AudioCode

MANY = ["--permutations", "999"]
RATE = 4000


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Runs go below the working folder."""
    monkeypatch.chdir(tmp_path)


def listed(fake, real, capsys, *more):
    assert run(["flaws", str(fake), "--against", str(real), *MANY, *more, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["lists"].values()
    return [f["title"] for f in found]


def named(titles):
    return [t for t in titles if not t.startswith("unnamed")]


# Sounds


def voices(seed, n=150):
    """Returns tones with harmonics that swell and fade, between pauses with a faint hiss."""
    draw = np.random.default_rng(seed)

    def voice():
        size = int(draw.integers(1400, 2000))
        t = np.arange(size) / RATE
        pitch = draw.uniform(100, 250)
        tone = sum(np.sin(2 * np.pi * k * pitch * t + draw.uniform(0, 6)) / k for k in range(1, 9))
        swell = np.exp(-(((t - draw.uniform(0.15, 0.25)) / 0.08) ** 2))
        loud = draw.uniform(0.15, 0.25)
        breath = draw.uniform(0, 0.2) * draw.normal(size=size)
        hiss = 0.004 * draw.uniform(0.8, 1.25) * draw.normal(size=size)
        return loud * (tone + breath) * swell + hiss

    return [voice() for _ in range(n)]


def write_sounds(folder, waves):
    folder.mkdir(parents=True)
    for i, x in enumerate(waves):
        with wave.open(str(folder / f"{i:03}.wav"), "wb") as file:
            file.setparams((1, 2, RATE, len(x), "NONE", ""))
            file.writeframes((np.clip(x, -1, 1) * 32767).astype("<i2").tobytes())
    return folder


def low_passed(x, draw):
    found = np.fft.rfft(x)
    found[len(found) // 3 :] = 0
    return np.fft.irfft(found, len(x))


def clipped(x, draw):
    return np.clip(x, -0.5 * np.abs(x).max(), 0.5 * np.abs(x).max())


def noisy(x, draw):
    return x + 0.006 * draw.normal(size=len(x))


WRONG = [
    (low_passed, "dull: high frequencies missing"),
    (clipped, "clipped: flat peaks"),
    (lambda x, draw: 0.3 * x, "too quiet"),
    (lambda x, draw: x + 0.05, "an offset above zero"),
]


@pytest.mark.parametrize(("damage", "title"), WRONG, ids=[title for _, title in WRONG])
def test_the_first_flaw_of_sounds_is_the_planted_one(damage, title, tmp_path, capsys):
    draw = np.random.default_rng(9)
    real = write_sounds(tmp_path / "real", voices(0))
    fake = write_sounds(tmp_path / "fake", [damage(x, draw) for x in voices(1)])
    assert named(listed(fake, real, capsys))[0] == title


def test_silent_clips_and_a_constant_tone_are_named(tmp_path, capsys):
    real = write_sounds(tmp_path / "real", voices(0))
    t = np.arange(2000) / RATE
    clips = voices(1)
    tone = [0.1 * np.sin(2 * np.pi * 440 * t[: len(x)]) for x in clips]
    draw = np.random.default_rng(9)
    hiss = [1e-4 * draw.standard_normal(len(x)) for x in clips]
    some = [hiss[i] if i % 4 == 0 else x for i, x in enumerate(clips)]
    found = named(listed(write_sounds(tmp_path / "tone", tone), real, capsys))
    assert "a constant tone: one frequency alone" in found
    found = named(listed(write_sounds(tmp_path / "some", some), real, capsys))
    # Not that they are dull or have no pitch: nothing can be said of silence but that.
    assert set(found) == {"silent clips: nothing is heard", "repeated samples"}


def test_silence_is_measured_of_each_clip():
    x = torch.zeros(3, 1, 2000)
    x[1] = 1e-4 * torch.sin(torch.arange(2000.0))
    x[2] = 0.1 * torch.sin(torch.arange(2000.0))
    table = audio_attributes(AudioCode(rate=RATE, length=2000), x)
    silence = table.values[:, [w.name for w in table.words].index("silence")]
    assert silence[:2].min() > 0.5
    assert silence[2] < 0.5


def test_noise_is_named_or_the_pauses_that_it_fills(tmp_path, capsys):
    draw = np.random.default_rng(9)
    real = write_sounds(tmp_path / "real", voices(0))
    fake = write_sounds(tmp_path / "fake", [noisy(x, draw) for x in voices(1)])
    found = named(listed(fake, real, capsys))
    assert found[0] in {"background noise", "too few pauses"}


def test_other_sounds_of_the_same_source_have_no_flaw(tmp_path, capsys):
    real = write_sounds(tmp_path / "real", voices(0))
    fake = write_sounds(tmp_path / "fake", voices(2))
    with tarfile.open(tmp_path / "fake.tar.gz", "w:gz") as archive:
        archive.add(fake, "fake")
    assert listed(tmp_path / "fake.tar.gz", real, capsys) == []
    # Neither set is cut, whichever of them holds the longest clip.
    assert listed(real, tmp_path / "fake.tar.gz", capsys) == []


def test_sounds_that_are_longer_than_all_real_ones_have_flaws(tmp_path, capsys):
    real = write_sounds(tmp_path / "real", [x[:1400] for x in voices(0)])
    fake = write_sounds(tmp_path / "fake", [np.concatenate([x, x[:800]]) for x in voices(1)])
    assert named(listed(fake, real, capsys))


def test_sounds_are_shown_and_evaluated(tmp_path, capsys):
    real = write_sounds(tmp_path / "real", voices(0, 80))
    fake = write_sounds(tmp_path / "fake", [0.3 * x for x in voices(1, 80)])
    for command in (["flaws", *MANY], ["evaluate", "--metric", "energy"]):
        folder = tmp_path / command[0]
        asked = [command[0], str(fake), "--against", str(real), *command[1:], "--out", str(folder)]
        assert run(asked) == 0
        assert (folder / "report.html").read_text().count("data:image/png") >= 2
    assert "spectrogram" in capsys.readouterr().out


# Graphs


def clustered(seed, n=90):
    draw = np.random.default_rng(seed)
    sizes = draw.integers(18, 26, n)
    return [
        nx.powerlaw_cluster_graph(int(k), 3, 0.9, seed=int(draw.integers(10**6))) for k in sizes
    ]


def rewired(graph, draw):
    found = nx.Graph(graph)
    times, seed = 3 * graph.number_of_edges(), int(draw.integers(10**6))
    nx.double_edge_swap(found, times, max_tries=10**5, seed=seed)
    assert dict(found.degree) == dict(graph.degree)
    return found


def thinned(graph, draw):
    found = nx.Graph(graph)
    found.remove_edges_from([e for e in graph.edges if draw.random() < 0.15])
    return found


def with_a_stranger(graph, draw):
    return nx.disjoint_union(graph, nx.complete_graph(4))


def write_graphs(path, graphs):
    np.savez(
        path,
        num_nodes=[len(g) for g in graphs],
        num_edges=[g.number_of_edges() for g in graphs],
        edges=np.concatenate([np.array(list(g.edges)) for g in graphs]),
    )
    return path


BROKEN = [
    (thinned, "too few edges"),
    (with_a_stranger, "largest part too small"),
]


@pytest.mark.parametrize(("damage", "title"), BROKEN, ids=[title for _, title in BROKEN])
def test_the_first_flaw_of_graphs_is_the_planted_one(damage, title, tmp_path, capsys):
    draw = np.random.default_rng(4)
    write_graphs(tmp_path / "real.npz", clustered(0))
    fake = write_graphs(tmp_path / "fake.npz", [damage(g, draw) for g in clustered(1)])
    real = f"graphs:path={tmp_path / 'real.npz'},nodes=32"
    assert named(listed(fake, real, capsys))[0] == title


def test_graphs_rewired_at_the_same_degrees_lose_their_triangles(tmp_path, capsys):
    draw = np.random.default_rng(4)
    real = write_graphs(tmp_path / "real.npz", clustered(0))
    fake = write_graphs(tmp_path / "fake.npz", [rewired(g, draw) for g in clustered(1)])
    found = named(listed(fake, real, capsys))
    # Clusters that are gone no longer hold the rest apart.
    assert found[0] in {"too few triangles", "hangs together too well"}
    assert "too few triangles" in found


def test_other_graphs_of_the_same_source_have_no_flaw(tmp_path, capsys):
    write_graphs(tmp_path / "real.npz", clustered(0))
    fake = write_graphs(tmp_path / "fake.npz", clustered(2))
    real = f"graphs:path={tmp_path / 'real.npz'},nodes=32"
    assert listed(fake, real, capsys) == []


def test_graphs_are_shown_and_a_larger_one_is_refused(tmp_path, capsys):
    real = write_graphs(tmp_path / "real.npz", clustered(0))
    draw = np.random.default_rng(4)
    fake = write_graphs(tmp_path / "fake.npz", [rewired(g, draw) for g in clustered(1)])
    asked = ["flaws", str(fake), "--against", str(real), *MANY, "--out", str(tmp_path / "o")]
    assert run(asked) == 0
    assert (tmp_path / "o/report.html").read_text().count("data:image/png") >= 4
    capsys.readouterr()
    large = write_graphs(tmp_path / "large.npz", [nx.path_graph(40)] * 50)
    assert run(["flaws", str(large), "--against", str(real)]) == 2
    error = capsys.readouterr().err
    assert "graphs of 40 nodes, the real ones have 25 at most" in error
    assert error.count("\n") == 1


# Data of others


@pytest.mark.data
def test_spoken_digits_have_no_flaw_and_low_passed_ones_do(shared_data, tmp_path, capsys):
    from gantlet.domains.recordings import recordings

    found = recordings(shared_data / "audio/fsdd_recordings.tar.gz")
    clips = [found.sound[a:b] for a, b in pairwise(found.starts)]
    order = np.random.default_rng(1).permutation(len(clips))
    real, other = ([clips[i] for i in order[k : k + 160]] for k in (0, 160))
    real = write_sounds(tmp_path / "real", real)
    assert listed(write_sounds(tmp_path / "same", other), real, capsys) == []
    wrong = write_sounds(tmp_path / "wrong", [low_passed(x, None) for x in other])
    assert listed(wrong, real, capsys)[0] == "dull: high frequencies missing"


@pytest.mark.data
def test_published_graphs_have_no_flaw_and_thinned_ones_do(shared_data, tmp_path, capsys):
    path = shared_data / "graphs/planar_edges.npz"
    with np.load(path) as archive:
        counts, edges = archive["train_num_edges"], archive["train_edges"]
        nodes = archive["train_num_nodes"]
    kept = np.random.default_rng(0).random(len(edges)) > 0.2
    graph = np.repeat(np.arange(len(nodes)), counts)[kept]
    wrong = tmp_path / "wrong.npz"
    np.savez(
        wrong,
        num_nodes=nodes,
        num_edges=np.bincount(graph, minlength=len(nodes)),
        edges=edges[kept],
    )
    real, same = f"graphs:path={path},part=train", f"graphs:path={path},part=test"
    assert listed(same, real, capsys) == []
    assert listed(wrong, real, capsys)[0] == "too few edges"
