"""gantlet evaluate on samples that others published."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr

import gantlet
from gantlet.features.efficientnet import WEIGHTS

pytestmark = pytest.mark.data

GANS = ("began", "cramer", "dcgan", "dfm", "dragan", "minibatch_dis", "progressive", "sndcgan")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def decoded(file, n):
    """Returns the first ``n`` images of the set as JPEG files hold them."""
    archive = np.load(file)
    raw, at = archive["jpeg_train"].tobytes(), archive["offset_train"]
    images = [Image.open(io.BytesIO(raw[at[i] : at[i + 1]])) for i in range(n)]
    return np.stack([np.asarray(image.convert("RGB")) for image in images])


@pytest.mark.usefixtures("here")
def test_kid_ranks_nine_gans_as_their_published_fid_and_tells_jpeg(shared_data):
    pytest.importorskip("onnxruntime")
    images = shared_data / "images"
    samples = images / "generated/cifar10_published_samples.npz"
    told = json.loads(bytes(np.load(samples)["meta_json"]).decode())
    real = np.load(images / "cifar10/cifar10_lossless_first4000.npz")["x"]
    fakes = {k: f"npz:path={samples},key=gan.{k}" for k in (*GANS, "wgan_gp")}
    jpeg = {"jpeg": decoded(images / "cifar10/cifar10_jpeg_q75_60k.npz", 400)}
    report = gantlet.evaluate(
        {**fakes, **jpeg},
        real[400:1900],
        metrics=["kid"],
        features=[f"onnx:path={shared_data}/weights/mobilenet_v1_imagenet.onnx,size=96"],
    )
    kid = {r.model.partition("=")[0]: r.estimate.value for r in report.rows}
    published = [told[f"gan.{k}"]["published_FID"] for k in fakes]
    assert spearmanr([kid[k] for k in fakes], published).statistic >= 0.9
    first = report.verdicts[0]
    assert "pairs" in first.because
    assert "Not significantly different: " in first.because
    (apart,) = (v for v in report.verdicts if "significantly from real data" in v.claim)
    assert "jpeg (1 of 1)" in apart.because


@pytest.mark.usefixtures("here")
def test_a_collapsed_generator_is_caught_by_the_first_screen(shared_data, monkeypatch):
    monkeypatch.setenv("GANTLET_DATA", str(shared_data))
    file = shared_data / "images/generated/mnist_fashion_published_samples.npz"
    report = gantlet.evaluate(
        f"npz:path={file},key=mnist.EBGAN.rand.epoch000",
        "mnist",
        features=["pixels"],
        metrics=["recall", "birthday", "vendi", "ms-ssim"],
        samples=1000,
    )
    claims = [v.claim for v in report.verdicts]
    assert any("too little variety" in claim for claim in claims), claims


@pytest.mark.usefixtures("here")
@pytest.mark.skipif(WEIGHTS.find() is None, reason="gantlet[images] is not installed")
def test_the_default_features_rank_nine_gans_and_tell_two_from_real_images(shared_data):
    images = shared_data / "images"
    samples = images / "generated/cifar10_published_samples.npz"
    told = json.loads(bytes(np.load(samples)["meta_json"]).decode())
    real = np.load(images / "cifar10/cifar10_lossless_first4000.npz")["x"][:1500]
    names = (*GANS, "wgan_gp")
    report = gantlet.evaluate(
        {k: f"npz:path={samples},key=gan.{k}" for k in names}, real, metrics=["kid"]
    )
    assert report.question["features"][0].startswith("efficientnet-lite0")
    rows = [r for r in report.rows if r.name == "kid (efficientnet-lite0)"]
    kid = {r.model.partition("=")[0]: r.estimate.value for r in rows}
    published = [told[f"gan.{k}"]["published_FID"] for k in names]
    assert spearmanr([kid[k] for k in names], published).statistic >= 0.93
    for name in ("dcgan", "progressive"):
        one = gantlet.evaluate(
            f"npz:path={samples},key=gan.{name}", real, metrics=["kid", "energy"]
        )
        assert "differs significantly from real data" in one.verdicts[0].claim
    fake = np.load(samples)["ar.pixelcnnpp_lr0.00020_resnet5_filters160"]
    linear = ["c2st:classifier=logistic"]
    told_apart = gantlet.evaluate(fake, real, metrics=linear).rows[0].estimate
    assert told_apart.value >= 0.8
    same = gantlet.evaluate(real[:200], real[200:], metrics=linear).rows[0].estimate
    assert same.low <= 0.5 <= same.high
