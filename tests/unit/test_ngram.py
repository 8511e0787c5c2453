"""N-grams with Witten and Bell's smoothing: against a slow twin, by simulation, as a family."""

import math
from collections import Counter
from itertools import product

import pytest
import torch

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import families
from gantlet.stats.witten_bell import WittenBell, events

TEXT = Space("tokens", (5,), 4)


def rows(n, seed=0, levels=4, length=5, ends=True):
    x = torch.randint(0, levels, (n, length), generator=torch.Generator().manual_seed(seed))
    return x * events(x, ends=True) if ends else x


def slow(train, levels, order, ends, has_zero):
    """The recursion of Witten and Bell on dictionaries: returns p(token, tokens before)."""
    after = {}
    for row in train.tolist():
        line = row[: row.index(0) + 1] if ends and 0 in row else row
        told = ["start", *line]
        for i in range(1, len(told)):
            for k in range(order):
                if i - k >= 0:
                    after.setdefault(tuple(told[i - k : i]), Counter())[told[i]] += 1
    even = 1 / (levels if has_zero else levels - 1)

    def p(token, before):
        lower = p(token, before[1:]) if before else (even if token or has_zero else 0.0)
        found = after.get(before)
        if not found:
            return lower
        return (found[token] + len(found) * lower) / (found.total() + len(found))

    return lambda token, before: p(token, ("start", *before)[-(order - 1) :] if order > 1 else ())


@pytest.mark.parametrize("order", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("kind", ["text", "no end", "walk"])
def test_probabilities_are_those_of_a_slow_twin(order, kind):
    train, test = rows(30, 1, ends=kind == "text"), rows(40, 2, ends=kind == "text")
    if kind == "no end":
        train, test = train.clamp(min=1), test.clamp(min=1)
    table = WittenBell.fit(train, 4, order, ends=kind == "text", has_zero=kind != "no end")
    p = slow(train, 4, order, kind == "text", kind != "no end")
    found = table.log_prob(test)
    for row, values in zip(test.tolist(), found.tolist(), strict=True):
        for i, (token, value) in enumerate(zip(row, values, strict=True)):
            if kind == "text" and 0 in row[:i]:
                assert value == 0
            else:
                assert value == pytest.approx(math.log(p(token, row[:i])), abs=1e-12)


@pytest.mark.parametrize("order", [1, 3, 6])
def test_probabilities_of_all_rows_sum_to_one_at_every_temperature(order):
    model = families.make(f"ngram:order={order}").fit(TEXT, rows(50).float(), rng=Rng(0)).model
    every = torch.tensor(list(product(range(4), repeat=5))).float()
    for one in (model, model.tuned(0.5), model.tuned(3.0)):
        value = one.log_prob(every, rng=Rng(0).stream("x")).value.double()
        assert float(value.exp().sum()) == pytest.approx(1, abs=1e-5)
        wrong = (every == 0).cummax(1).values & (every > 0)
        assert bool((value[wrong.any(1)] == -torch.inf).all())


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_samples_have_the_probabilities_that_the_model_gives(temperature):
    model = families.make("ngram:order=3").fit(TEXT, rows(60).float(), rng=Rng(0)).model
    model = model.tuned(temperature)
    n = 40_000
    kinds, counts = torch.unique(
        model.sample(n, rng=Rng(1).stream("x")), dim=0, return_counts=True
    )
    expected = n * model.log_prob(kinds, rng=Rng(0).stream("x")).value.double().exp()
    often = expected > 10
    assert int(often.sum()) > 50
    chi2 = float(((counts - expected)[often].square() / expected[often]).sum())
    # Five standard deviations of a chi-squared number; the rest is one more cell.
    degrees = int(often.sum())
    assert chi2 < degrees + 5 * math.sqrt(2 * degrees)


def test_a_low_temperature_makes_samples_likelier_and_fewer():
    model = families.make("ngram").fit(TEXT, rows(200).float(), rng=Rng(0)).model
    found = []
    for value in (*model.knob.values, 1.0):
        x = model.tuned(value).sample(1000, rng=Rng(1).stream("x"))
        mean = model.log_prob(x, rng=Rng(0).stream("x")).value.mean()
        found.append((value, float(mean), len(torch.unique(x, dim=0))))
    found.sort()
    assert [m for _, m, _ in found] == sorted((m for _, m, _ in found), reverse=True)
    assert found[0][2] < found[-1][2]


def test_a_long_context_is_a_verbatim_copy():
    train = rows(40, length=5).float()
    model = families.make("ngram:order=6").fit(TEXT, train, rng=Rng(0)).model
    known = {tuple(r) for r in train.tolist()}
    x = model.sample(500, rng=Rng(1).stream("x"))
    assert sum(tuple(r) in known for r in x.tolist()) > 250


def test_text_without_an_end_has_none_and_a_walk_has_a_node_of_number_0():
    full = rows(50).clamp(min=1).float()
    model = families.make("ngram").fit(TEXT, full, rng=Rng(0)).model
    assert bool((model.sample(300, rng=Rng(1).stream("x")) > 0).all())
    walk = Space("walk", (5,), 4)
    model = (
        families.make("ngram:order=2").fit(walk, rows(50, ends=False).float(), rng=Rng(0)).model
    )
    x = model.sample(300, rng=Rng(1).stream("x"))
    after = x[:, 1:][x[:, :-1] == 0]
    assert bool((after > 0).any())


def test_the_markov_chain_of_walks_approaches_the_true_one():
    step = torch.tensor([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3], [0.0, 0.5, 0.5]])
    rng = torch.Generator().manual_seed(0)
    x = torch.randint(0, 3, (4000, 1), generator=rng)
    for _ in range(7):
        x = torch.cat([x, torch.multinomial(step[x[:, -1]], 1, generator=rng)], 1)
    table = WittenBell.fit(x, 3, 2, ends=False)
    found = table.probabilities(table.advance(table.start(3), torch.arange(3)), 3)
    assert torch.allclose(found, step.double(), atol=0.015)


@pytest.mark.parametrize("space", [Space("image", (1, 8, 8), 17), Space("tokens", (4,))])
def test_other_samples_are_refused_in_one_line(space):
    with pytest.raises(UserError, match="ngram models rows of tokens") as error:
        families.make("ngram").fit(space, torch.zeros(4, *space.shape), rng=Rng(0))
    assert "\n" not in str(error.value)
