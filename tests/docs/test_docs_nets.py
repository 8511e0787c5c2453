"""From which size of images on ``net=auto`` takes convolutions: the documentation and the code."""

from pathlib import Path

import pytest

from gantlet.core.data import Space
from gantlet.core.rng import Rng
from gantlet.core.spec import families
from gantlet.models.nets import ResidualConv, ToPatches
from gantlet.models.vae import StridedDecoder

DOCS = Path(__file__).parents[2] / "docs" / "families"

LARGER = "images larger than 28x28 grey"
SMALL = "an MLP for vectors and images up to 8x8"


def convolves(family, shape):
    game = families.make(family).build(Space("image", shape, levels=256), rng=Rng(0))
    kinds = (ResidualConv, StridedDecoder, ToPatches)
    return any(isinstance(m, kinds) for p in game.players.values() for m in p.modules())


@pytest.mark.parametrize(
    ("family", "page", "sentence", "whole", "larger"),
    [
        ("gan:width=8", "gan", LARGER, (1, 28, 28), (1, 29, 28)),
        ("mix-gan:width=8", "mix-gan", LARGER, (1, 28, 28), (1, 29, 28)),
        ("pac-gan:width=8", "pac-gan", LARGER, (1, 28, 28), (1, 29, 28)),
        ("ot-gan:width=8", "ot-gan", LARGER, (1, 28, 28), (1, 29, 28)),
        ("sinkhorn-gan:width=8,learned=true", "sinkhorn-gan", LARGER, (1, 28, 28), (1, 29, 28)),
        ("flow-gan:critic_width=8,width=4,layers=1", "flow-gan", LARGER, (1, 28, 28), (1, 32, 28)),
        ("vae:width=8", "vae", SMALL, (1, 8, 8), (1, 8, 9)),
    ],
)
def test_the_size_that_the_page_names_is_that_of_the_code(family, page, sentence, whole, larger):
    assert sentence in (DOCS / f"{page}.md").read_text()
    assert not convolves(family, whole)
    assert convolves(family, larger)
    assert "up to 8x8. For larger" not in (DOCS / f"{page}.md").read_text()
