"""The page of features says of networks from packages what their benchmark found."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULT = json.loads((ROOT / "benchmarks/results/eyes.json").read_text())
PAGE = " ".join((ROOT / "docs/features.md").read_text().split())


def told(ends, places):
    value, low, high = (f"{v:.{places}f}" for v in ends)
    return f"{value} ({low} to {high})"


def row(results, places):
    return f"| {' | '.join(told(r, places) for r in results)} |"


def test_the_table_of_images_is_that_of_the_benchmark():
    both = ("efficientnet-lite0", "random-conv")
    gans, critic = RESULT["nine GANs"], RESULT["pictures told by a linear critic"]
    assert row((gans[name]["spearman"] for name in both), 2) in PAGE
    for fake in ("PixelCNN++", "real"):
        assert row((critic[name][fake]["accuracy"] for name in both), 3) in PAGE


def test_the_correlations_are_not_told_apart_and_the_accuracies_are():
    mine, other = (RESULT["nine GANs"][name] for name in ("efficientnet-lite0", "random-conv"))
    assert other["spearman"][2] > mine["spearman"][1]
    critic = RESULT["pictures told by a linear critic"]
    mine, other = (critic[name]["PixelCNN++"] for name in ("efficientnet-lite0", "random-conv"))
    assert mine["accuracy"][1] > other["accuracy"][2]


def test_the_accuracies_on_captions_are_those_of_the_benchmark():
    critic = RESULT["captions told by a linear critic"]
    for name in ("minilm", "ngrams"):
        for fake in ("bigram captions", "real"):
            assert told(critic[name][fake]["accuracy"], 3) in PAGE


def test_what_sharing_saves_is_that_of_the_benchmark():
    shared = json.loads((ROOT / "benchmarks/results/shared_pairs.json").read_text())
    assert shared["samples"] == [10_000, 10_000]
    for name in ("KID and energy distance", "neighbours"):
        found = shared[name]
        ends = (found["CPU seconds, each alone"], found["CPU seconds, shared"])
        assert f" | {ends[0]} | {ends[1]} |" in PAGE
    assert shared["KID and energy distance"]["largest difference, of an interval"] < 1e-7
    assert shared["neighbours"]["the same to the last bit"]


def test_what_an_evaluation_costs_beside_a_peer_is_that_of_the_benchmark():
    speed = RESULT["speed"]
    peer = speed["torch-fidelity"]
    assert f"exhibits | {speed['CPU seconds']:.0f} | {speed['peak memory, GiB']:.1f} |" in PAGE
    cost, network = peer["CPU seconds"], peer["of these the network"]
    memory = peer["peak memory, GiB"]
    assert f"| {cost:.0f}, of these the network {network:.0f} | {memory:.1f} |" in PAGE
    same = speed["CPU seconds, the same four, features known"]
    assert f"take {cost - network:.0f} CPU seconds, and Gantlet's same four {same:.0f}" in PAGE
    per_image = speed["CPU ms an image, features alone"]
    assert f"{per_image['96']}, {per_image['128']} or {per_image['224']:.0f} ms" in PAGE
    assert speed["peak memory, GiB"] < 2
    assert RESULT["nine GANs"]["efficientnet-lite0"]["CPU seconds"] < 30
