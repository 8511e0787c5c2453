"""DINOv2 and CLIP: sizes, published names, and forward passes against independent twins."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import (
    conv2d,
    gelu,
    interpolate,
    layer_norm,
    linear,
    multi_head_attention_forward,
)

from gantlet.core.data import InMemory, Space, Splits
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.features import vit
from gantlet.features.preprocess import NetworkInput
from gantlet.features.vit import Shape, VisionTransformer
from gantlet.testing import check_extractor

_none = InMemory(torch.empty(0))
NOTHING = Splits(train=_none, validation=_none, test=_none)
COLOUR = Space("image", (3, 32, 32), 256)
SMALL = {"patch": 14, "side": 16, "width": 24, "layers": 2, "heads": 3}
SMALL_DINO = Shape(**SMALL, clip=False, out=24)
SMALL_CLIP = Shape(**(SMALL | {"patch": 32, "side": 7}), clip=True, out=10)


def count(shape):
    with torch.device("meta"):
        return sum(p.numel() for p in VisionTransformer(shape).parameters())


@pytest.mark.parametrize(
    ("model", "published"),
    # Those of the files, with positions of 37 x 37 patches and a mask token.
    [("vit-s-14", 22_056_576), ("vit-b-14", 86_580_480), ("vit-l-14", 304_368_640)],
)
def test_the_parameters_of_dinov2(model, published):
    shape = vit.DINOV2_SHAPES[model]
    assert count(shape) + (37**2 - 16**2 + 1) * shape.width == published


@pytest.mark.parametrize(
    ("model", "published"),
    [("vit-b-32", 87_849_216), ("vit-b-16", 86_192_640), ("vit-l-14-336", 304_293_888)],
)
def test_the_parameters_of_clip(model, published):
    assert count(vit.CLIP_SHAPES[model]) == published


@pytest.mark.parametrize("shape", [*vit.DINOV2_SHAPES.values(), *vit.CLIP_SHAPES.values()])
def test_the_shapes_of_all_networks(shape):
    with torch.device("meta"):
        net = VisionTransformer(shape)
        side = shape.patch * shape.side
        seen = {}
        net.blocks.register_forward_hook(lambda _, x, y: seen.update(tokens=y.shape))
        assert net(torch.empty(2, 3, side, side)).shape == (2, shape.out)
    assert seen["tokens"] == (2, 1 + shape.side**2, shape.width)


def random_dino(side=37):
    """Tensors under the names of the published files."""
    rng, w = torch.Generator().manual_seed(0), SMALL["width"]

    def some(*shape):
        return torch.randn(shape, generator=rng) / shape[-1] ** 0.5

    state = {"cls_token": some(1, 1, w), "pos_embed": some(1, 1 + side**2, w)}
    state |= {"mask_token": some(1, w), "norm.weight": some(w) + 1, "norm.bias": some(w)}
    state |= {"patch_embed.proj.weight": some(w, 3, 14, 14), "patch_embed.proj.bias": some(w)}
    for i in range(SMALL["layers"]):
        b = f"blocks.{i}."
        for norm in ("norm1", "norm2"):
            state |= {f"{b}{norm}.weight": some(w) + 1, f"{b}{norm}.bias": some(w)}
        sizes = {"attn.qkv": (3 * w, w), "attn.proj": (w, w)}
        sizes |= {"mlp.fc1": (4 * w, w), "mlp.fc2": (w, 4 * w)}
        for name, size in sizes.items():
            state |= {f"{b}{name}.weight": some(*size), f"{b}{name}.bias": some(size[0])}
        state |= {f"{b}ls1.gamma": some(w) + 1, f"{b}ls2.gamma": some(w) + 1}
    return state


def dino_twin(state, x):
    g, w, heads = state.__getitem__, SMALL["width"], SMALL["heads"]
    patches = conv2d(x, g("patch_embed.proj.weight"), g("patch_embed.proj.bias"), stride=14)
    grid = g("pos_embed")[0, 1:].reshape(1, 37, 37, w).permute(0, 3, 1, 2)
    grid = interpolate(grid, scale_factor=(16.1 / 37, 16.1 / 37), mode="bicubic")
    tokens = [g("cls_token")[0, 0] + g("pos_embed")[0, 0] + torch.zeros(len(x), w)]
    for i in range(16):
        tokens.extend(patches[:, :, i, j] + grid[0, :, i, j] for j in range(16))
    t = torch.stack(tokens, 1)
    for i in range(SMALL["layers"]):
        p = lambda name, i=i: (g(f"blocks.{i}.{name}.weight"), g(f"blocks.{i}.{name}.bias"))  # noqa: E731
        y = linear(layer_norm(t, (w,), *p("norm1"), 1e-6), *p("attn.qkv"))
        q, k, v = (part.unflatten(2, (heads, -1)) for part in y.split(w, 2))
        share = (torch.einsum("nahd,nbhd->nhab", q, k) / (w // heads) ** 0.5).softmax(3)
        y = torch.einsum("nhab,nbhd->nahd", share, v).flatten(2)
        t = t + g(f"blocks.{i}.ls1.gamma") * linear(y, *p("attn.proj"))
        y = gelu(linear(layer_norm(t, (w,), *p("norm2"), 1e-6), *p("mlp.fc1")))
        t = t + g(f"blocks.{i}.ls2.gamma") * linear(y, *p("mlp.fc2"))
    return layer_norm(t, (w,), g("norm.weight"), g("norm.bias"), 1e-6)[:, 0]


def random_clip():
    rng, w = torch.Generator().manual_seed(1), SMALL["width"]

    def some(*shape):
        return torch.randn(shape, generator=rng) / shape[-1] ** 0.5

    state = {"class_embedding": some(w), "positional_embedding": some(50, w)}
    state |= {"conv1.weight": some(w, 3, 32, 32), "proj": some(w, SMALL_CLIP.out)}
    for norm in ("ln_pre", "ln_post"):
        state |= {f"{norm}.weight": some(w) + 1, f"{norm}.bias": some(w)}
    for i in range(SMALL["layers"]):
        b = f"transformer.resblocks.{i}."
        state |= {f"{b}attn.in_proj_weight": some(3 * w, w), f"{b}attn.in_proj_bias": some(3 * w)}
        for norm in ("ln_1", "ln_2"):
            state |= {f"{b}{norm}.weight": some(w) + 1, f"{b}{norm}.bias": some(w)}
        sizes = {"attn.out_proj": (w, w), "mlp.c_fc": (4 * w, w), "mlp.c_proj": (w, 4 * w)}
        for name, size in sizes.items():
            state |= {f"{b}{name}.weight": some(*size), f"{b}{name}.bias": some(size[0])}
    text = {"logit_scale": torch.tensor(4.6), "transformer.resblocks.0.ln_1.weight": some(8)}
    return {f"visual.{k}": t for k, t in state.items()} | text


def clip_twin(state, x):
    g, w = lambda name: state[f"visual.{name}"], SMALL["width"]
    patches = conv2d(x, g("conv1.weight"), stride=32).flatten(2).permute(2, 0, 1)
    t = torch.cat([g("class_embedding").expand(1, len(x), w), patches])
    t = layer_norm(
        t + g("positional_embedding")[:, None], (w,), g("ln_pre.weight"), g("ln_pre.bias")
    )
    for i in range(SMALL["layers"]):
        p = lambda name, i=i: g(f"transformer.resblocks.{i}.{name}")  # noqa: E731
        y = layer_norm(t, (w,), p("ln_1.weight"), p("ln_1.bias"))
        # fmt: off
        y, _ = multi_head_attention_forward(
            y, y, y, w, SMALL["heads"], p("attn.in_proj_weight"), p("attn.in_proj_bias"),
            bias_k=None, bias_v=None, add_zero_attn=False, dropout_p=0.0,
            out_proj_weight=p("attn.out_proj.weight"), out_proj_bias=p("attn.out_proj.bias"),
            training=False, need_weights=False,
        )
        # fmt: on
        t = t + y
        y = linear(
            layer_norm(t, (w,), p("ln_2.weight"), p("ln_2.bias")),
            p("mlp.c_fc.weight"),
            p("mlp.c_fc.bias"),
        )
        t = t + linear(y / (1 + (-1.702 * y).exp()), p("mlp.c_proj.weight"), p("mlp.c_proj.bias"))
    return layer_norm(t[0], (w,), g("ln_post.weight"), g("ln_post.bias")) @ g("proj")


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Weights of small networks, in files such as the published ones."""
    monkeypatch.setitem(vit.DINOV2_SHAPES, "vit-l-14", SMALL_DINO)
    monkeypatch.setitem(vit.CLIP_SHAPES, "vit-b-32", SMALL_CLIP)
    torch.save(random_dino(), tmp_path / "dino.pth")
    torch.save({k: t.half() for k, t in random_clip().items()}, tmp_path / "clip.pt")
    return tmp_path


def pictures(n):
    return torch.randint(
        0, 256, (n, 3, 32, 32), generator=torch.Generator().manual_seed(3)
    ).float()


def shown(x, mean, std):
    y = interpolate(x, (224, 224), mode="bicubic", antialias=True).clamp(0, 255) / 255
    return (y - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def test_dinov2_equals_its_twin(small):
    x = pictures(3)
    found = vit.DinoV2(weights=str(small / "dino.pth")).fit(COLOUR, NOTHING, rng=Rng(0))
    theirs = dino_twin(random_dino(), shown(x, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    assert torch.allclose(found.extract(x), theirs, rtol=1e-4, atol=1e-5)
    assert found.classify is None
    assert "dinov2 vit-l-14/sha256:" in found.fingerprint
    assert "bicubic to 224x224 pixels imagenet" in found.fingerprint


CLIP_COLOURS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


def test_clip_equals_its_twin(small):
    x = pictures(3)
    made = vit.Clip(weights=str(small / "clip.pt"))
    ours = made.fit(COLOUR, NOTHING, rng=Rng(0)).extract(x)
    state = {k: t.half().float() for k, t in random_clip().items()}
    theirs = clip_twin(state, shown(x, *CLIP_COLOURS))
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    unit = vit.Clip(weights=str(small / "clip.pt"), unit=True).fit(COLOUR, NOTHING, rng=Rng(0))
    assert torch.allclose(unit.extract(x), ours / ours.norm(dim=1, keepdim=True), atol=1e-6)
    plain = vit.Clip(weights=str(small / "clip.pt"), resize="plain")
    names = {f.fit(COLOUR, NOTHING, rng=Rng(0)).fingerprint for f in (made, plain)}
    assert len(names | {unit.fingerprint}) == 3


@pytest.mark.parametrize("file", ["dino.pth", "clip.pt"])
def test_the_contract(small, file):
    kind = vit.DinoV2 if file == "dino.pth" else vit.Clip
    check_extractor(kind(weights=str(small / file)), Space("image", (1, 8, 8), 17), n=4)


def test_weights_of_another_network(small):
    with pytest.raises(UserError, match=r"dino\.pth does not fit this network: it lacks "):
        vit.Clip(weights=str(small / "dino.pth")).fit(COLOUR, NOTHING, rng=Rng(0))
    for change, message in (
        ({"norm.bias": torch.zeros(7)}, r"norm.bias should have shape \(24,\), but has \(7,\)"),
        ({"head.weight": torch.zeros(2)}, "it also holds head.weight"),
    ):
        torch.save(random_dino() | change, small / "changed.pth")
        with pytest.raises(UserError, match=message):
            vit.DinoV2(weights=str(small / "changed.pth")).fit(COLOUR, NOTHING, rng=Rng(0))


def test_absent_weights_are_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("GANTLET_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    for made, name in ((vit.DinoV2(), "dinov2-vit-l-14"), (vit.Clip(), "clip-vit-b-32")):
        with pytest.raises(UserError) as caught:
            made.fit(COLOUR, NOTHING, rng=Rng(0))
        line = str(caught.value)
        assert line.startswith(f"The weights {name} were not found in ")
        assert f"Run 'gantlet weights fetch {name}'" in line
        assert "\n" not in line


def test_positions_of_as_many_patches_stay(small):
    position = torch.randn(1 + 16**2, 24, generator=torch.Generator().manual_seed(0))
    assert torch.equal(vit.resized(position, 16), position)


@pytest.mark.parametrize(("mode", "filter_"), [("bilinear", "BILINEAR"), ("bicubic", "BICUBIC")])
@pytest.mark.parametrize(("shape", "size"), [((20, 16), 48), ((50, 64), 24)])
def test_resizing_is_that_of_pillow(mode, filter_, shape, size):
    looks = NetworkInput(
        space=Space("image", (1, *shape), 256),
        channels=None,
        size=size,
        resize=mode,
        pixels="0..255",
    )
    # Away from black and white, where the overshoot of the bicubic curve is cut off.
    x = torch.randint(100, 150, (1, 1, *shape), generator=torch.Generator().manual_seed(5))
    image = Image.fromarray(x[0, 0].float().numpy(), mode="F")
    pillow = torch.from_numpy(np.array(image.resize((size, size), Image.Resampling[filter_])))
    assert torch.allclose(looks(x)[0, 0], pillow, atol=1e-3)


@pytest.mark.parametrize(
    ("pixels", "black", "white"),
    [
        ("0..255", 0, 255),
        ("0..1", 0, 1),
        ("-1..1", -1, 1),
        ("inception", -1, 127 / 128),
        ("imagenet", -0.485 / 0.229, 0.515 / 0.229),
    ],
)
def test_ranges_of_pixels(pixels, black, white):
    looks = NetworkInput(
        space=Space("image", (1, 2, 2), 17),
        channels=3,
        size=None,
        resize="bilinear",
        pixels=pixels,
    )
    found = looks(torch.tensor([0.0, 16.0]).view(2, 1, 1, 1).expand(2, 1, 2, 2))
    assert found.shape == (2, 3, 2, 2)
    assert torch.allclose(found[:, 0, 0, 0], torch.tensor([black, white]).float())
