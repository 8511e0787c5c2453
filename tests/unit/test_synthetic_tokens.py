"""Token rows with known probabilities: by enumeration, against a peer, by simulation."""

import math
from itertools import product

import pytest
import torch

from gantlet.core.data import KnownDensity, all_samples
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets
from gantlet.data.synthetic_tokens import RandomLstm
from gantlet.models.nets import seeded

SMALL = [
    "markov:vocabulary=3,length=5",
    "markov:vocabulary=2,length=1,spread=0",
    "pcfg:length=6,variables=1,operators=1",
    "pcfg:length=5,variables=2,operators=1,nest=0.5,join=0.2",
    "pcfg:length=4,variables=3,operators=2,nest=0",
    "pcfg:length=5,variables=2,operators=1,join=0",
    "oracle:vocabulary=4,length=5,hidden=3",
]


def every_row(data):
    return torch.tensor(list(product(range(data.space.levels), repeat=data.length))).float()


@pytest.fixture(scope="module", params=SMALL)
def small(request):
    data = datasets.make(request.param)
    return data, every_row(data)


def test_the_density_is_known(small):
    assert isinstance(small[0], KnownDensity)


def test_probabilities_sum_to_one(small):
    data, rows = small
    assert float(data.log_density(rows).double().exp().sum()) == pytest.approx(1, abs=1e-5)


def test_the_entropy_is_that_of_all_rows(small):
    data, rows = small
    p = data.log_density(rows.double()).exp()
    found, known = data.entropy(), float(torch.special.entr(p).sum())
    if found.low == found.high:
        assert found.value == pytest.approx(known, abs=1e-12)
    else:
        assert found.low - 0.01 < known < found.high + 0.01


def test_the_mean_number_of_tokens_is_that_of_all_rows(small):
    data, rows = small
    p = data.log_density(rows.double()).exp()
    is_end = (rows == 0).long()
    tokens = (is_end.cumsum(1) - is_end == 0).sum(1)
    assert data.tokens == pytest.approx(float(p @ tokens.double()), abs=1e-5)


def test_draws_have_these_probabilities(small):
    data, _ = small
    n = 40_000
    kinds, counts = torch.unique(data.draw(n, Rng(3).stream("x")), dim=0, return_counts=True)
    expected = n * data.log_density(kinds.double()).exp()
    often = expected > 10
    chi2 = float(((counts - expected)[often].square() / expected[often]).sum())
    assert chi2 < int(often.sum()) + 5 * math.sqrt(2 * int(often.sum()))


def test_a_sentence_has_matching_brackets_and_is_an_expression():
    data = datasets.make("pcfg:n=500,held_out=10")
    signs = ["", *["1"] * 10, *["+"] * 4, "(", ")"]
    rows = all_samples(data.load(rng=Rng(0)).train)
    assert max(int((r > 0).sum()) for r in rows) > 15
    for row in rows.long().tolist():
        # Python reads it: brackets match, and operators stand between terms.
        assert eval("".join(signs[i] for i in row)) > 0


def test_what_is_no_sentence_has_no_probability():
    data = datasets.make("pcfg:length=6,variables=1,operators=1")
    one, plus, opening, closing = 1, 2, 3, 4
    wrong = [
        [0, 0, 0, 0, 0, 0],
        [one, one, 0, 0, 0, 0],
        [plus, one, 0, 0, 0, 0],
        [one, plus, 0, 0, 0, 0],
        [opening, one, 0, 0, 0, 0],
        [one, closing, 0, 0, 0, 0],
        [opening, closing, 0, 0, 0, 0],
        [one, 0, one, 0, 0, 0],
        [opening, opening, opening, one, closing, closing],
    ]
    assert bool((data.log_density(torch.tensor(wrong).float()) == -torch.inf).all())
    right = [[opening, one, closing, 0, 0, 0], [one, plus, one, plus, one, 0]]
    assert bool(data.log_density(torch.tensor(right).float()).isfinite().all())


def test_the_stationary_distribution_is_stationary():
    for spread in (0.5, 2.0, 6.0):
        data = datasets.make(f"markov:vocabulary=40,spread={spread}")
        share = data.stationary
        assert float(share.sum()) == pytest.approx(1, abs=1e-14)
        assert torch.allclose(share @ data.transitions, share, rtol=1e-10, atol=1e-15)
        assert bool((share > 0).all())


def test_rows_that_end_are_never_drawn_by_a_chain_or_the_oracle():
    for name in ("markov:length=4", "oracle:length=4"):
        data = datasets.make(name)
        x = all_samples(data.load(rng=Rng(0)).test)[:2]
        assert bool((x > 0).all())
        x[1, 3] = 0
        found = data.log_density(x)
        assert bool(found[0].isfinite())
        assert float(found[1]) == -math.inf


def test_the_oracle_is_an_lstm_of_torch():
    data = datasets.make("oracle:vocabulary=7,length=6,hidden=5,world=3")
    net = RandomLstm(7, 5, Rng(3).stream("oracle"))
    with seeded(Rng(0).stream("peer")):
        peer = torch.nn.LSTM(5, 5, batch_first=True)
    # Its gates come as input, forget, cell, output.
    order = torch.cat([torch.arange(5) + 5 * i for i in (0, 1, 3, 2)])
    with torch.no_grad():
        peer.weight_ih_l0.copy_(net.inputs.T[order])
        peer.weight_hh_l0.copy_(net.states.T[order])
        peer.bias_ih_l0.copy_(net.bias[order])
        peer.bias_hh_l0.zero_()
        x = data.draw(50, Rng(0).stream("x"))
        before = torch.cat([torch.zeros(50, 1, dtype=torch.int64), x[:, :-1]], 1)
        out, _ = peer(net.embedding[before])
        log_p = (out @ net.out + net.out_bias).log_softmax(2)
        known = log_p.gather(2, (x - 1)[..., None])[..., 0].sum(1)
    assert torch.allclose(data.log_density(x.float()), known, atol=1e-4)


def test_oracles_of_other_seeds_have_other_entropies():
    found = [datasets.make(f"oracle:world={i},vocabulary=50").entropy() for i in range(2)]
    assert found[0].high < found[1].low or found[1].high < found[0].low
    again = datasets.make("oracle:world=0,vocabulary=50,n=5").entropy()
    assert again == found[0]


def test_settings_that_make_no_sense_are_refused_in_one_line():
    for text in ("pcfg:join=1", "markov:vocabulary=1", "oracle:length=0"):
        with pytest.raises(UserError) as error:
            datasets.make(text)
        assert "\n" not in str(error.value)
