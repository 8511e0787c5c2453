"""Metrics of text: against slow twins and constants of NLTK, on text whose truth is known."""

import math
from collections import Counter

import pytest
import torch

from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families, metrics
from gantlet.metrics.bleu import Bleu, SelfBleu, Sentences
from gantlet.metrics.verbatim import longest_runs


def lines(n, seed=0, levels=6, length=9):
    x = torch.randint(0, levels, (n, length), generator=torch.Generator().manual_seed(seed))
    return x * ((x == 0).cumsum(1) == 0)


def text(*rows, length=8):
    """Returns sentences as rows of numbered words."""
    words = {}
    split = [row.split() for row in rows]
    x = torch.zeros(len(rows), length, dtype=torch.int64)
    for line, row in zip(split, x, strict=True):
        row[: len(line)] = torch.tensor([words.setdefault(w, len(words) + 1) for w in line])
    return x, len(words) + 1


def slow_bleu(references, hypothesis, order):
    """BLEU by its definition, with method 1 of smoothing."""
    if not hypothesis:
        return 0.0
    logs = []
    for k in range(1, order + 1):
        own = Counter(tuple(hypothesis[i : i + k]) for i in range(len(hypothesis) - k + 1))
        most = Counter()
        for r in references:
            most |= Counter(tuple(r[i : i + k]) for i in range(len(r) - k + 1))
        shared = (own & most).total()
        if k == 1 and not shared:
            return 0.0
        logs.append(math.log((shared or 0.1) / max(own.total(), 1)))
    n = len(hypothesis)
    nearest = min((abs(len(r) - n), len(r)) for r in references)[1]
    return (1 if n > nearest else math.exp(1 - nearest / n)) * math.exp(sum(logs) / order)


@pytest.mark.parametrize("order", [1, 2, 4, 5])
def test_bleu_is_that_of_its_definition(order):
    x = lines(70)
    plain = [[t for t in row if t] for row in x.tolist()]
    assert [] in plain
    is_reference = torch.arange(70) < 40
    found = Sentences(x, 6, order).bleu(~is_reference, is_reference)
    known = [slow_bleu(plain[:40], h, order) for h in plain[40:]]
    assert found.tolist() == pytest.approx(known, abs=1e-12)
    every = torch.ones(70, dtype=torch.bool)
    found = Sentences(x, 6, order).bleu(every, every)
    known = [slow_bleu(plain[:i] + plain[i + 1 :], plain[i], order) for i in range(70)]
    assert found.tolist() == pytest.approx(known, abs=1e-12)


def test_bleu_has_the_values_that_nltk_gives():
    # nltk 3.10.4, sentence_bleu with SmoothingFunction().method1.
    x, levels = text(
        "the cat sat on the mat",
        "there is a cat on the mat",
        "the the the the",
        "the cat is on the mat today",
        "a dog",
        "",
    )
    is_reference = torch.arange(6) < 2
    found = Sentences(x, levels, 4).bleu(~is_reference, is_reference)
    known = [0.05795053470733952, 0.21515344521672802, 0.020237345084409754, 0.0]
    assert found.tolist() == pytest.approx(known, abs=1e-15)


@pytest.mark.parametrize("metric", [Bleu(references=150), SelfBleu(sentences=150)])
def test_the_interval_is_as_wide_as_draws_differ(metric):
    draws = datasets.make("pcfg").draw(24 * 300, Rng(0).stream("x")).float() / 16
    found = [
        metric.measure(x[:150], x[150:], rng=Rng(i).stream("m"))
        for i, x in enumerate(torch.split(draws, 300))
    ]
    spread = torch.tensor([e.value for e in found]).double().std()
    claimed = torch.tensor([e.half_width / 2.05 for e in found]).double().mean()
    assert 0.65 < float(claimed / spread) < 1.7


def test_the_number_of_references_is_told_and_decides_the_value():
    x = lines(300).double() / 5
    few, many = (
        Bleu(references=n).measure(x[:200], x[200:], rng=Rng(0).stream("m")) for n in (20, 200)
    )
    assert "20 references" in few.method
    assert few.value < many.value
    repeats = x[:4].repeat(50, 1)
    alike = SelfBleu().measure(x[:200], repeats, rng=Rng(0).stream("m"))
    assert alike.low > alike.also["real"]


# ---- language models ---------------------------------------------------------------------------


def pair(name, n=2000):
    """Returns real samples of a known chain, fresh ones, and their entropy for each token."""
    data = datasets.make(name)
    x = data.draw(2 * n, Rng(0).stream("x")).float() / (data.space.levels - 1)
    return x[:n], x[n:], data.entropy().value / data.tokens


def measured(name, real, fake):
    return metrics.make(name).measure(real, fake, rng=Rng(0).stream("m"))


@pytest.mark.parametrize("name", ["lm-forward:order=2", "lm-reverse:order=2"])
def test_fresh_text_of_a_chain_costs_its_entropy_and_what_counting_adds(name):
    real, fresh, entropy = pair("markov:vocabulary=8,length=20", 4000)
    found = measured(name, real, fresh)
    # About (number of free probabilities) / (2 tokens) are lost by estimating them.
    lost = 8 * 7 / (2 * 4000 * 20)
    assert found.low < entropy + lost < found.high
    assert found.half_width < 0.02


def test_the_interval_of_the_language_models_is_as_wide_as_draws_differ():
    data = datasets.make("markov:vocabulary=6,length=6")
    draws = data.draw(24 * 300, Rng(1).stream("x")).float() / 6
    for name in ("lm-forward:order=3", "lm-reverse:order=3"):
        found = [
            metrics.make(name).measure(x[:100], x[100:], rng=Rng(i).stream("m"))
            for i, x in enumerate(torch.split(draws, 300))
        ]
        spread = torch.tensor([e.value for e in found]).double().std()
        claimed = torch.tensor([e.half_width / 2.05 for e in found]).double().mean()
        assert 0.65 < float(claimed / spread) < 1.6


def test_temperature_moves_quality_and_coverage_against_each_other():
    data = datasets.make("markov:n=4000,held_out=1000")
    train = data.draw(4000, Rng(2).stream("x")).float()
    real, *_ = pair("markov", 1000)
    model = families.make("ngram:order=2").fit(data.space, train, rng=Rng(0)).model
    forward, reverse = [], []
    for value in (1.0, 0.6, 0.3):
        fake = model.tuned(value).sample(1000, rng=Rng(3).stream("x")) / 20
        forward.append(measured("lm-forward", real, fake))
        reverse.append(measured("lm-reverse", real, fake))
    assert forward[0].low > forward[1].high > forward[1].low > forward[2].high
    assert reverse[0].high < reverse[1].low < reverse[1].high < reverse[2].low
    # Below real text: too predictable.
    assert forward[2].high < forward[2].also["real"]


def test_tokens_behind_the_end_of_a_fake_are_not_read_and_told():
    x = lines(60, levels=9).float() / 8
    y = lines(60, 1, levels=9).float() / 8
    dirty = torch.where((y == 0).cumsum(1) > 1, torch.full_like(y, 0.5), y)
    clean, cut = (measured("lm-forward", x, z) for z in (y, dirty))
    assert cut.value == clean.value
    assert "behind their end" in cut.method
    assert "behind their end" not in clean.method


# ---- copies ------------------------------------------------------------------------------------


def slow_run(row, train):
    best = 0
    for start in range(len(row)):
        for stop in range(start + 1, len(row) + 1):
            part = row[start:stop]
            if any(part == t[i : i + len(part)] for t in train for i in range(len(t))):
                best = max(best, len(part))
    return best


def test_the_longest_run_is_that_of_a_slow_search():
    x, train = lines(30, 1), lines(20, 2)
    plain = [[[t for t in row if t] for row in part.tolist()] for part in (x, train)]
    assert longest_runs(x, train, 6).tolist() == [slow_run(r, plain[1]) for r in plain[0]]


def judged(name, real, fake, train):
    return metrics.make(name).judge(real, fake, train=train, rng=Rng(0).stream("m"))


@pytest.mark.parametrize("name", ["verbatim", "longest-copy"])
def test_a_model_that_copies_is_caught_and_a_fresh_sample_is_not(name):
    data = datasets.make("markov:n=500,held_out=200,spread=1.5")
    train, real, fresh = (
        data.draw(n, Rng(i).stream("x")).float() for i, n in enumerate((500, 200, 200))
    )
    model = families.make("ngram:order=10").fit(data.space, train, rng=Rng(0)).model
    copies = model.sample(200, rng=Rng(3).stream("x"))
    found = {
        k: judged(name, real / 20, y / 20, train / 20)
        for k, y in {"copies": copies, "fresh": fresh}.items()
    }
    assert found["copies"].also["p"] < 1e-6
    assert found["copies"].low > found["copies"].also["real"]
    assert found["fresh"].also["p"] > 0.01


def test_short_lines_that_repeat_by_themselves_are_no_copies():
    data = datasets.make("pcfg")
    train, real, fresh = (
        data.draw(n, Rng(i).stream("x")).float() / 16 for i, n in enumerate((2000, 400, 400))
    )
    found = judged("verbatim", real, fresh, train)
    assert found.value > 0.3
    assert found.also["p"] > 0.01


@pytest.mark.parametrize("name", ["bleu", "self-bleu", "lm-forward", "lm-reverse"])
def test_what_is_not_text_is_refused_in_one_line(name):
    wrong = {
        "shape": torch.zeros(9, 1, 4, 4),
        "scaled to": torch.randn(9, 5, generator=torch.Generator().manual_seed(0)),
    }
    for message, x in wrong.items():
        with pytest.raises(UserError, match=message) as error:
            measured(name, x, x)
        assert "\n" not in str(error.value)
        assert name in str(error.value)
