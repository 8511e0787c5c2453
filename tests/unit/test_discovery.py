"""Codes learned from the discovery half: what only judged samples hold is unknown in both sets."""

from collections import Counter

import numpy as np
import pytest
import torch

from gantlet.core.data import InMemory, Space
from gantlet.core.rng import Rng
from gantlet.domains.attributes import AttributeTable
from gantlet.domains.cells import read_cells
from gantlet.domains.domains import attributes_of, domain_of
from gantlet.domains.table_code import TableCode
from gantlet.domains.text import FIRST, UNKNOWN, TextCode
from gantlet.flaws.named import distinct, repeats_p
from gantlet.flaws.search import residual_accuracies
from gantlet.flaws.split import DiscoveryValidation, Representation, split_halves


def relearned(code, space, x, places):
    return domain_of(space).relearned(code, space, InMemory(x), places)


OWN, JUDGED = torch.arange(60), torch.arange(60, 120)


def lines(seed, n=120):
    draw = np.random.default_rng(seed)
    return [" ".join(f"w{i}" for i in draw.zipf(1.4, 6) % 500) for _ in range(n)]


def text(real, places=OWN):
    code = TextCode.of(real, "words", None)
    x = torch.from_numpy(code.write(real, own=True).astype(np.float32))
    return code, x, relearned(code, code.space, x, places)


def words(found, x):
    known = [None, None, *found.code.tokens]
    return [[known[i] for i in row if i] for row in x.long().tolist()]


def test_a_word_is_known_that_two_lines_of_the_discovery_half_have():
    real, fake = lines(0), lines(1)
    code, x, found = text(real)
    stands = Counter(w for i in OWN for w in set(real[i].split()))
    assert found.code.tokens == tuple(
        sorted((w for w in stands if stands[w] > 1), key=lambda w: (-stands[w], w))
    )
    for some, z in (
        ([real[i] for i in JUDGED], x[JUDGED]),
        (fake, torch.from_numpy(code.write(fake, own=False).astype(np.float32))),
    ):
        expected = [[w if stands[w] > 1 else None for w in s.split()] for s in some]
        assert words(found, found.write(z)) == expected
    # In its own line a word must be known without that line.
    expected = [[w if stands[w] > 2 else None for w in real[i].split()] for i in OWN]
    assert words(found, found.write_own(x[OWN])) == expected


def test_what_is_learned_of_a_text_does_not_depend_on_the_judged_lines():
    real = lines(0)
    codes = [text(real[:60] + lines(seed, 60))[2].code for seed in (2, 3)]
    assert codes[0].tokens == codes[1].tokens
    assert codes[0].half == codes[1].half
    assert torch.equal(codes[0].following, codes[1].following)


def test_shares_of_pairs_are_those_of_a_loop():
    _, x, found = text(lines(0))
    table, rows = found.code.following, found.write(x[OWN]).long().tolist()
    k = len(table)
    counts = np.zeros((k, k))
    for row in rows:
        kinds = [k - 1 if i == UNKNOWN else min(i - FIRST + 1, k - 1) for i in row if i]
        for a, b in zip([0, *kinds], [*kinds, 0], strict=True):
            counts[a, b] += 1
    expected = np.outer(counts.sum(1), counts.sum(0)) / counts.sum()
    assert table.numpy() == pytest.approx(np.log((counts + 1) / (expected + 1)))


def test_a_text_of_words_that_never_return_has_a_code():
    real = [f"a{i} b{i}" for i in range(120)]
    _, x, found = text(real)
    assert found.code.tokens == ()
    assert bool((found.write(x) == UNKNOWN).all())
    probes = attributes_of(found.space, found.write(x), None, found.code)
    assert bool(probes.values.isfinite().all())


def table(tmp_path, rows, name="t.csv"):
    path = tmp_path / name
    path.write_text("size,kind\n" + "\n".join(rows) + "\n")
    cells = read_cells(path)
    code = TableCode.of(cells, (0, 1))
    return code, torch.from_numpy(code.write(cells)), cells


def test_a_category_is_known_that_two_rows_of_the_discovery_half_have(tmp_path):
    kinds = ["a"] * 30 + ["b"] * 28 + ["c"] + ["d"] + ["c"] * 30 + ["e"] * 29 + [""]
    code, x, _ = table(tmp_path, [f"{i},{k}" for i, k in enumerate(kinds)])
    found = relearned(code, code.space, x, OWN)
    kind = found.code.columns[1]
    assert kind.categories == ("a", "b")
    shown = [s.split("kind=")[1] for s in found.code.read(found.write(x))]
    assert shown == [k if k in ("a", "b") else "another" if k else "missing" for k in kinds]
    size = found.code.columns[0]
    assert size.middle == pytest.approx(29.5)
    assert size.spread == pytest.approx(np.arange(60).std())


@pytest.mark.parametrize("kinds", [60, 80, 120, 400])
def test_which_categories_are_known_does_not_depend_on_judged_rows_where_a_reader_left_some_out(
    tmp_path, kinds
):
    """Of many categories a reader keeps the 32 that most rows have, the judged ones included."""
    fewer = []
    for seed in range(60):
        draw = np.random.default_rng(seed)
        real = [f"{draw.normal():.3f},c{k}" for k in draw.integers(0, kinds, 300)]
        fake = [f"{draw.normal():.3f},c{k}" for k in draw.integers(0, kinds, 300)]
        code, _, own = table(tmp_path, real, f"r{seed}.csv")
        _, _, cells = table(tmp_path, fake, f"f{seed}.csv")
        # As a reader writes the rows that it has learned from.
        x = torch.from_numpy(code.write(own, torch.arange(300)))
        found = relearned(code, code.space, x, torch.arange(150))
        written = found.write(x)[150:], found.write(torch.from_numpy(code.write(cells)))[150:]
        other = [float(z[:, found.code.columns[1].end - 2].mean()) for z in written]
        fewer.append(other[1] - other[0])
    mean, error = np.mean(fewer), np.std(fewer) / len(fewer) ** 0.5
    assert abs(mean) < 3 * error + 1e-9, "unknown as often among judged reals as among fakes"


def test_columns_of_plain_vectors_get_spread_and_correlation():
    x = torch.randn(400, 3, generator=Rng(0).stream("x"))
    x[:, 1] = x[:, 0] + 0.1 * x[:, 1]
    found = relearned(None, Space("vector", (3,)), x, torch.arange(200))
    assert torch.equal(found.write(x), x)
    names = [w.name for w in attributes_of(found.space, x, None, found.code).words]
    assert {"column 2", "spread of column 2", "correlation of column 0 and column 1"} <= {*names}
    assert relearned(None, Space("vector", (65,)), torch.zeros(50, 65), torch.arange(25)) is None
    assert relearned(None, Space("image", (1, 8, 8), 17), torch.zeros(50, 1, 8, 8), OWN) is None


@pytest.mark.parametrize("m", [120, 60, 41])
def test_judged_samples_are_never_of_the_half_that_codes_are_learned_from(m):
    x = torch.randn(120, 2, generator=Rng(1).stream("x"))
    seen = Representation(probes=attributes_of(Space("vector", (2,)), x), features=x)
    halves = DiscoveryValidation.of(seen, seen.at(torch.arange(m)), rng=Rng(5))
    own, judged = split_halves(120, "real", rng=Rng(5))
    assert set(halves.seek_places.real.tolist()) <= set(own.tolist())
    assert set(halves.places.real.tolist()) <= set(judged.tolist())
    assert not set(own.tolist()) & set(judged.tolist())


def test_equal_fakes_are_no_copies_where_real_samples_are_equal_too():
    draw = Rng(2).stream("x")
    real, fake = (torch.randint(0, 4, (200, 3), generator=draw).double() for _ in range(2))
    space = Space("vector", (3,))
    sets = [Representation(probes=attributes_of(space, z), features=z) for z in (real, fake)]
    assert len(distinct(DiscoveryValidation.of(*sets, rng=Rng(0)), fake)) == 200
    real, copies = torch.randn(200, 3, generator=draw), torch.randn(50, 3, generator=draw)
    copies = copies.repeat(4, 1)
    sets = [Representation(probes=attributes_of(space, z), features=z) for z in (real, copies)]
    assert len(distinct(DiscoveryValidation.of(*sets, rng=Rng(0)), copies)) <= 50


def test_few_fakes_are_whitened_by_every_real_sample_of_the_discovery_half():
    # A shift in a narrow direction of 40: as many real samples as fakes cannot show it is narrow.
    rng = np.random.default_rng(3)
    spread = np.full(40, 1.0)
    spread[-1] = 0.05
    real = torch.from_numpy(rng.normal(size=(2000, 40)) * spread).float()
    fake = torch.from_numpy(rng.normal(size=(80, 40)) * spread).float()
    fake[:, -1] += 0.15
    turn = torch.linalg.qr(torch.from_numpy(rng.normal(size=(40, 40)))).Q.float()
    sets = [
        Representation(
            probes=AttributeTable(words=(), values=z[:, :0].double()), features=z @ turn
        )
        for z in (real, fake)
    ]
    halves = DiscoveryValidation.of(*sets, rng=Rng(0))
    covariance = torch.cov(halves.frame(sets[0].features).T)
    # Fitted to 40 real samples alone, some of its eigenvalues are far above 1.
    assert float(torch.linalg.eigvalsh(covariance).max()) < 1.5
    total, *_ = residual_accuracies(halves, [])
    assert total.value > 0.75


def test_repeats_are_sought_among_judged_samples_where_features_were_learned():
    # What was learned from 60 rows tells these apart and no others: their features are a fit.
    draw = Rng(4).stream("x")
    real, fake = (torch.randint(0, 3, (120, 2), generator=draw).double() for _ in range(2))
    own, _ = split_halves(120, "real", rng=Rng(0))
    real[own] += torch.randn(60, 2, generator=draw).double()
    no_probes = AttributeTable(words=(), values=real[:, :0])
    for learned, found in ((False, True), (True, False)):
        sets = [
            Representation(probes=no_probes, features=z, learned=learned) for z in (real, fake)
        ]
        halves = DiscoveryValidation.of(*sets, rng=Rng(0))
        assert len(halves.exchangeable.real) == (60 if learned else 120)
        p = repeats_p(halves.exchangeable, permutations=199, rng=Rng(0))
        assert (p <= 0.05) == found
