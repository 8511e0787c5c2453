"""BLEU beside that of NLTK."""

import pytest
import torch

from gantlet.metrics.bleu import Sentences

peer = pytest.importorskip("nltk.translate.bleu_score")


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_bleu_and_self_bleu_are_those_of_nltk(order):
    x = torch.randint(0, 6, (80, 10), generator=torch.Generator().manual_seed(order))
    x = x * ((x == 0).cumsum(1) == 0)
    plain = [[t for t in row if t] for row in x.tolist()]
    smooth, weights = peer.SmoothingFunction().method1, (1 / order,) * order
    is_reference, every = torch.arange(80) < 50, torch.ones(80, dtype=torch.bool)
    sentences = Sentences(x, 6, order)
    known = [peer.sentence_bleu(plain[:50], h, weights, smooth) for h in plain[50:]]
    found = sentences.bleu(~is_reference, is_reference).tolist()
    assert found == pytest.approx(known, abs=1e-12)
    known = [
        peer.sentence_bleu(plain[:i] + plain[i + 1 :], h, weights, smooth)
        for i, h in enumerate(plain)
    ]
    assert sentences.bleu(every, every).tolist() == pytest.approx(known, abs=1e-12)
