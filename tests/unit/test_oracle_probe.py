"""Likelihoods against a known truth: where both sides are known in closed form."""

import pytest
import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.data import all_samples
from gantlet.core.model import Density, LogProb, Model
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families, probes
from gantlet.data.synthetic_tokens import KnownTokens, Markov


class Chain(Density):
    """A known distribution of token rows as a model."""

    def __init__(self, data: KnownTokens) -> None:
        super().__init__()
        self.data, self.space = data, data.space

    @override
    def _sample(self, n, context, *, rng):
        return self.data.draw(n, rng).float()

    @override
    def _log_prob(self, x, context, *, rng):
        return LogProb(self.data.log_density(x), "exact")


class Samples(Model):
    """Rows that are always the same."""

    def __init__(self, data: KnownTokens, row: Tensor) -> None:
        super().__init__()
        self.space, self.row = data.space, row

    @override
    def _sample(self, n, context, *, rng):
        return self.row.expand(n, -1)


def found(model, data, **settings):
    splits = data.load(rng=Rng(0))
    probe = probes.make("oracle")
    real = all_samples(splits.test)
    return probe.examine(model, real, data=data, splits=splits, rng=Rng(1)).scores


def holds(estimate, value):
    return estimate.low <= value <= estimate.high


@pytest.mark.parametrize("name", ["markov", "pcfg", "oracle"])
def test_the_truth_itself_has_no_divergence_and_costs_its_entropy(name):
    data = datasets.make(name)
    scores = found(Chain(data), data)
    entropy = scores["oracle entropy"].value
    assert entropy == pytest.approx(data.entropy().value / data.tokens)
    for key in ("oracle NLL", "NLL of oracle samples"):
        assert scores[key].low - 0.02 < entropy < scores[key].high + 0.02
        assert f"entropy of the truth {entropy:.3f}" in scores[key].method
        assert scores[key].also["entropy"] == entropy
        assert scores[key].unit == "nats/token"
    for key in ("KL(oracle, model)", "KL(model, oracle)"):
        assert scores[key].value == pytest.approx(0, abs=1e-6)
    assert scores["possible under the oracle"].value == 1


def test_divergences_of_two_chains_are_those_of_their_transitions():
    truth, other = Markov(vocabulary=5, length=8), Markov(vocabulary=5, length=8, world=1)
    scores = found(Chain(other), truth)
    for key, (p, q) in {
        "KL(oracle, model)": (truth, other),
        "KL(model, oracle)": (other, truth),
    }.items():
        first = (p.stationary * (p.stationary / q.stationary).log()).sum()
        each = (p.transitions * (p.transitions / q.transitions).log()).sum(1)
        exact = float(first + 7 * (p.stationary @ each)) / 8
        assert holds(scores[key], exact)
        assert scores[key].half_width < 0.1 * exact


def test_one_likely_row_is_below_the_entropy_and_has_no_density():
    data = datasets.make("markov")
    rows = all_samples(data.load(rng=Rng(0)).train)
    likely = rows[data.log_density(rows).argmax()]
    scores = found(Samples(data, likely), data)
    assert scores["oracle NLL"].value < 0.7 * scores["oracle entropy"].value
    for key in ("NLL of oracle samples", "KL(oracle, model)", "KL(model, oracle)"):
        assert scores[key].value is None
        assert "no density" in scores[key].method


def test_impossible_samples_are_counted_and_have_no_likelihood():
    data = datasets.make("pcfg")
    row = torch.zeros(data.length)
    row[:2] = 1
    scores = found(Samples(data, row), data)
    assert scores["possible under the oracle"].value == 0
    assert scores["oracle NLL"].value is None
    assert "probability 0" in scores["oracle NLL"].method


def test_data_without_a_known_density_say_so():
    data = datasets.make("digits:limit=50")
    splits = data.load(rng=Rng(0))
    model = families.make("memorizer").fit(data.space, all_samples(splits.train), rng=Rng(0)).model
    scores = (
        probes.make("oracle")
        .examine(model, all_samples(splits.test), data=data, splits=splits, rng=Rng(0))
        .scores
    )
    assert "not known" in scores["oracle NLL"].method


def test_continuous_data_are_judged_by_the_sample():
    data = datasets.make("ring:n=2000,held_out=500,std=0.1")
    train = all_samples(data.load(rng=Rng(0)).train)
    model = families.make("gmm:components=8").fit(data.space, train, rng=Rng(0)).model
    scores = found(model, data)
    assert scores["oracle NLL"].unit == "nats"
    assert 0 <= scores["KL(oracle, model)"].value < 0.1
