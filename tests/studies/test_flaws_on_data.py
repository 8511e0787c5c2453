"""Lists of flaws on real images: compression is named, and one flaw does not hide another."""

import gzip
import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d, one_hot

from gantlet.core.data import Space
from gantlet.core.rng import Rng
from gantlet.domains.corruptions import image_causes
from gantlet.domains.domains import attributes_of
from gantlet.flaws.explain import Causes
from gantlet.flaws.search import list_flaws
from gantlet.flaws.split import Representation
from gantlet.options import Search
from gantlet.testing.planted import Labelled, Planted, plant

pytestmark = pytest.mark.data

SEARCH = Search(permutations=499)


def flaws(real, fake, space, classes=None):
    def see(x):
        shares = None if classes is None else classes(x)
        features = avg_pool2d(space.unit(x), 4).flatten(1).double()
        return Representation(probes=attributes_of(space, x, shares), features=features)

    top = space.levels - 1
    causes = Causes(
        image_causes(space),
        space.unit(real[:128]),
        measure=lambda x: see((x * top).round()).probes,
        extract=lambda x: see((x * top).round()).features,
        every=lambda places: space.unit(real[places]),
    )
    return list_flaws(see(real), see(fake), SEARCH, rng=Rng(0), causes=causes).flaws


def as_tensor(images):
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()


def test_the_first_flaw_of_compressed_photographs_is_compression(shared_data):
    folder = shared_data / "images/cifar10"
    lossless = np.load(folder / "cifar10_lossless_first4000.npz", allow_pickle=False)["x"]
    archive = np.load(folder / "cifar10_jpeg_q75_60k.npz", allow_pickle=False)
    raw, at = archive["jpeg_train"].tobytes(), archive["offset_train"]
    files = [io.BytesIO(raw[at[i] : at[i + 1]]) for i in range(10_000, 11_000)]
    real = as_tensor(lossless[:1000])
    fake = as_tensor([np.asarray(Image.open(file).convert("RGB")) for file in files])
    found = flaws(real, fake, Space("image", (3, 32, 32), 256))
    assert found[0].naming is not None
    assert found[0].naming.topic in {"block edges", "fine detail"}


def test_a_dominating_checkerboard_does_not_hide_a_dropped_class(shared_data):
    folder = shared_data / "images/mnist"
    pixels = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())
    x = torch.from_numpy(np.frombuffer(pixels, np.uint8, offset=16).copy()).view(-1, 1, 28, 28)
    x, y = x.float(), torch.from_numpy(np.frombuffer(labels, np.uint8, offset=8).copy()).long()
    space = Space("image", (1, 28, 28), 256)

    def flat(z):
        z = avg_pool2d(space.unit(z), 2).flatten(1).double()
        return torch.cat([z, z.new_ones(len(z), 1)], 1)

    learn = flat(x[:3000])
    inner = learn.T @ learn + 30 * torch.eye(learn.shape[1], dtype=learn.dtype)
    weight = torch.linalg.solve(inner, learn.T @ one_hot(y[:3000], 10).double())
    plan = [
        Planted(kind="dropped class", strength=1.0, one=3),
        Planted(kind="checkerboard", strength=1.0),
    ]
    fake = plant(plan, Labelled(x=x[4500:], y=y[4500:]), space, 1200, rng=Rng(0).stream("p"))
    found = flaws(x[3000:4200], fake, space, lambda z: one_hot((flat(z) @ weight).argmax(1), 10))
    named = [f.naming.topic for f in found if f.naming is not None]
    assert named[0] == "checkerboard"
    assert "class 3" in named
    assert found[0].size.value > 5 * found[1].size.value
