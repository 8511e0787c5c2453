"""gantlet evaluate: what it finds, and what it refuses in one line."""

import json

import numpy as np
import pytest
from PIL import Image

from gantlet.cli.main import run
from gantlet.commands.evaluate import study as evaluation
from gantlet.core.data import all_samples
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets
from gantlet.features import base
from gantlet.metrics import kernel, kernel_sums
from gantlet.run.store import save_tensors

QUICK = ["--features", "pixels", "--metric", "energy", "--metric", "recall"]


def blobs(n, seed, d=6, shift=0.0):
    return (np.random.default_rng(seed).normal(size=(n, d)) + shift).astype(np.float32)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("real.npy", blobs(300, 0))
    np.save("same.npy", blobs(300, 1))
    np.savez("far.npz", x=blobs(300, 2, shift=2.0))
    return tmp_path


def told(*arguments, capsys):
    assert run([str(a) for a in arguments]) == 0
    out, _ = capsys.readouterr()
    return out


def asked(*arguments, capsys):
    return json.loads(told(*arguments, "--json", capsys=capsys))


def test_one_set_is_told_from_real_data_or_not(files, capsys):
    far = asked("evaluate", "far.npz", "--against", "real.npy", *QUICK, capsys=capsys)
    assert "differs significantly from real data on 2 of 2 metrics" in " ".join(
        v["claim"] for v in far["verdicts"]
    )
    same = asked("evaluate", "same.npy", "--against", "real.npy", *QUICK, capsys=capsys)
    assert "is not significantly different from real data" in same["verdicts"][0]["claim"]
    names = {(row["model"], row["name"]) for row in same["rows"]}
    assert {("same.npy", "energy (pixels)"), ("real", "energy (pixels)")} <= names


def test_several_sets_are_ranked_by_paired_differences(files, capsys):
    sets = ["a=same.npy", "b=far.npz", "c=real.npy"]
    out = told("evaluate", *sets, "--against", "real.npy", *QUICK, "--out", "o", capsys=capsys)
    said = " ".join(out.split())
    # The set that is the reference is said to be that, and is not ranked.
    assert "a is significantly better than b (kid, raw values: " in said
    assert "c is significantly" not in said
    table = json.loads((files / "o/report.json").read_text())["blocks"][0]
    assert [row[0] for row in table["rows"]] == ["a", "b", "c", "real against real"]
    assert table["references"] == ["c", "real against real"]
    best = {column["name"].partition(" ")[0]: column["best"] for column in table["columns"]}
    assert best["kid"] == ["a"]
    assert not any("c" in names for names in best.values())
    assert "1 of 2 sets differs significantly from real data" in out
    assert "c and the reference are the same samples: all 300 occur in both" in out
    page = (files / "o/report.html").read_text()
    assert "Every pair of sets" in page


def test_the_same_command_resumes_and_another_question_is_refused(files, capsys, monkeypatch):
    command = ["evaluate", "far.npz", "--against", "real.npy", *QUICK, "--out", "o"]
    first = told(*command, capsys=capsys)

    def nothing_is_measured(*_arguments):
        raise AssertionError("measured again")

    monkeypatch.setattr(evaluation, "run_trial", nothing_is_measured)
    assert told(*command, capsys=capsys) == first
    np.savez(files / "far.npz", x=blobs(300, 3, shift=2.0))
    assert run(command) == 2
    assert "holds a run with another configuration" in capsys.readouterr().err


def test_features_come_from_the_cache_the_second_time(files, capsys, monkeypatch):
    command = ["evaluate", "far.npz", "--against", "real.npy", *QUICK, "--out"]
    first = asked(*command, "o", capsys=capsys)

    def nothing_is_extracted(*_arguments):
        raise AssertionError("extracted again")

    monkeypatch.setattr(base, "write_parts", nothing_is_extracted)
    assert asked(*command, "p", capsys=capsys)["rows"] == first["rows"]


def test_a_memorizer_and_a_collapsed_generator_are_caught_in_words(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    splits = datasets.make("digits").load(rng=Rng(0))
    train = all_samples(splits.train).numpy().astype(np.uint8)
    np.save("copies.npy", train[:300])
    np.save("collapsed.npy", np.repeat(train[:3], 100, 0))
    common = ["--against", "digits", "--train", "digits@train", "--features", "pixels"]
    common += ["--metric", "recall", "--metric", "birthday", "--metric", "authenticity"]
    found = asked("evaluate", "copies.npy", *common, capsys=capsys)
    assert any("copies of training samples" in v["claim"] for v in found["verdicts"])
    found = asked("evaluate", "collapsed.npy", *common, capsys=capsys)
    (few,) = (v for v in found["verdicts"] if "too little variety" in v["claim"])
    assert "against 0 of 180 held-out real samples" in few["because"]
    honest = asked("evaluate", "v=digits@validation", *common, capsys=capsys)
    claims = " ".join(v["claim"] for v in honest["verdicts"])
    assert "copies" not in claims
    assert "too little variety" not in claims


def test_folders_runs_trials_and_data_sets_are_found(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "png").mkdir()
    rng = np.random.default_rng(0)
    for i in range(20):
        pixels = rng.integers(0, 17, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"png/{i}.png")
    train = ["compare", "histogram", "--steps", "1", "--seeds", "1", "--metric", "energy"]
    told(*train, "--features", "pixels", "--workers", "1", "--out", "run", capsys=capsys)
    (trial,) = [p.parent for p in tmp_path.glob("run/trials/*/model.safetensors")]
    sets = ["images:path=png,colour=grey", "run@histogram", trial, "digits@all"]
    found = asked("evaluate", *sets, "--against", "digits", *QUICK, capsys=capsys)
    assert {r["model"] for r in found["rows"]} == {*map(str, sets), "real"}


@pytest.mark.parametrize(
    ("fake", "message"),
    [
        ("nowhere.npz", "nowhere.npz does not exist"),
        ("digit", "neither a file, a folder nor a data set. Did you mean the data set 'digits'?"),
        ("nothere", "nothere does not exist: it is neither a file, a folder nor a data set."),
        ("runs/nothere", "runs/nothere does not exist: it is neither a file, a folder nor"),
        ("rael.npy", "Did you mean 'real.npy'?"),
        ("a/b=real.npy", "A name with a slash or a colon goes in double quotes"),
        ("text.npy", "cannot be read as numbers"),
        ("empty.npy", "holds no values"),
        ("nan.npy", "NaN or infinite"),
        ("wide.npy", "wide.npy holds vector 7"),
        ("a.odt", "is of no known kind"),
        ("broken", "cannot be read as an image"),
        ("two.safetensors", "holds 2 tensors"),
    ],
)
def test_bad_samples_are_refused_in_one_line(files, capsys, fake, message):
    (files / "text.npy").write_text("hello")
    (files / "a.odt").write_text("hello")
    np.save("empty.npy", np.zeros((0, 6), np.float32))
    np.save("nan.npy", np.full((5, 6), np.nan, np.float32))
    np.save("wide.npy", blobs(20, 0, d=7))
    (files / "broken").mkdir()
    (files / "broken/a.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    import torch

    save_tensors(files / "two.safetensors", {"a": torch.ones(3, 2), "b": torch.ones(3, 2)})
    before = sorted(files.rglob("*"))
    assert run(["evaluate", fake, "--against", "real.npy", *QUICK]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert sorted(files.rglob("*")) == before


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--metric", "frechett"], "Unknown metric 'frechett'. Did you mean 'frechet'?"),
        (["--features", "pixel"], "Unknown extractor 'pixel'. Did you mean 'pixels'?"),
        (["--rank", "kids"], "Unknown metric 'kids'. Did you mean 'kid'?"),
        (["--samples", "1"], "samples must be from 2 to 2147483648. Got 1."),
        (["far.npz"], "named twice"),
    ],
)
def test_bad_options_are_refused_in_one_line(files, capsys, more, message):
    assert run(["evaluate", "far.npz", "--against", "real.npy", *more]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_samples_give_reasons_instead_of_numbers(files, capsys, n):
    np.save("few.npy", blobs(n, 5))
    metrics = [a for m in ("frechet", "kid", "recall", "c2st") for a in ("--metric", m)]
    command = ["evaluate", "few.npy", "--against", "real.npy", "--features", "pixels", *metrics]
    found = asked(*command, capsys=capsys)
    rows = [r for r in found["rows"] if r["model"] == "few.npy"]
    assert len(rows) == 4
    unmeasured = [r for r in rows if r["value"] is None]
    assert all("samples" in r["method"] for r in unmeasured)
    for r in rows:
        assert r["low"] is None or r["low"] <= r["value"] <= r["high"]
    assert len(unmeasured) >= 5 - n


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_fractions_are_read_as_levels_and_said_so(tmp_path, monkeypatch, capsys, scale):
    monkeypatch.chdir(tmp_path)
    x = all_samples(datasets.make("digits").load(rng=Rng(0)).validation).numpy() / 16
    np.save("unit.npy", (x * scale - (scale - 1)).astype(np.float32))
    found = asked("evaluate", "unit.npy", "--against", "digits", *QUICK, capsys=capsys)
    assert any("read as" in c for c in found["caveats"])
    assert "is not significantly different from real data" in found["verdicts"][0]["claim"]


def test_outputs_are_compared_with_their_targets(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    x = all_samples(datasets.make("digits").load(rng=Rng(0)).validation).numpy()[:60]
    rng = np.random.default_rng(0)
    outputs = np.repeat(x, 2, 0) + rng.normal(size=(120, 1, 8, 8))
    np.save("targets.npy", x.astype(np.uint8))
    np.save("outputs.npy", np.clip(np.rint(outputs), 0, 16).astype(np.uint8))
    command = ["evaluate", "outputs.npy", "--against", "digits", "--pairs", "targets.npy"]
    found = asked(*command, "--outputs", "2", *QUICK, capsys=capsys)
    scores = {r["name"]: r["value"] for r in found["rows"] if r["name"].endswith("(pairs)")}
    mse = ((np.repeat(x, 2, 0) - np.load("outputs.npy")) ** 2).mean((1, 2, 3)) / 256
    assert scores["psnr (pairs)"] == pytest.approx((-10 * np.log10(mse)).mean())
    assert scores["diversity (pairs)"] > 0
    assert set(scores) == {
        f"{n} (pairs)" for n in ("psnr", "ms-ssim", "feature distance", "diversity")
    }
    assert run([*command, *QUICK]) == 2
    assert "60 outputs are needed" in capsys.readouterr().err


def test_the_curve_of_precision_and_recall_is_drawn_where_it_is_asked_for(files, capsys):
    command = ["evaluate", "far.npz", "--against", "real.npy", "--features", "pixels"]
    told(*command, "--metric", "prd", "--out", "o", capsys=capsys)
    assert "Precision and recall of distributions" in (files / "o/report.html").read_text()


def test_kernels_that_share_products_of_sets_in_parts_give_the_number_of_the_formula(
    tmp_path, monkeypatch, capsys
):
    # Products are shared from 512 features on; sets larger than this are looked at in parts.
    assert kernel.WORTH_SHARING <= 512
    monkeypatch.setattr(kernel_sums, "LARGE_TILE", 64)
    monkeypatch.chdir(tmp_path)
    x, y = blobs(100, 0, d=512, shift=0.5), blobs(150, 1, d=512, shift=0.5)
    np.save("real.npy", x)
    np.save("fake.npy", y)
    command = ["evaluate", "fake.npy", "--against", "real.npy", "--features", "pixels"]
    found = asked(*command, "--metric", "kid", "--metric", "energy", capsys=capsys)
    values = {r["name"]: r["value"] for r in found["rows"] if r["model"] == "fake.npy"}
    totals = {"kid (pixels)": 0.0, "energy (pixels)": 0.0}
    x, y = x.astype(float), y.astype(float)
    for a, b, sign in ((x, x, 1), (y, y, 1), (x, y, -2)):
        product = a @ b.T
        level = product / 512 + 1
        apart = np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * product
        # The energy distance is the discrepancy with the kernel -|a - b|.
        for name, k in zip(totals, (level * level * level, -np.sqrt(apart.clip(0))), strict=True):
            same, pairs = sign == 1, len(a) * (len(b) - (sign == 1))
            totals[name] += sign * (k.sum() - same * k.trace()) / pairs
    for name, total in totals.items():
        assert values[name] == pytest.approx(total, abs=1e-8), name
