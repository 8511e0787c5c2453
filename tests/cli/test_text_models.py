"""Text from the command line: its metrics, copies, the oracle, and what is refused."""

import json

import pytest

from gantlet.cli.main import run

QUICK = ["--flops", "1e8", "--seeds", "1", "--workers", "1", "--features", "ngrams"]


def said(capsys, *arguments):
    assert run([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def rows(found, model, *names):
    picked = {r["name"]: r for r in found["rows"] if r["model"].startswith(model)}
    return [next(r for k, r in picked.items() if k.startswith(n)) for n in names]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_likelihood_under_the_oracle_stands_beside_its_entropy(folder, capsys):
    found = said(
        capsys,
        *("compare", "ngram:order=2", "histogram"),
        *("--data", "oracle:vocabulary=20,length=6,n=2000,held_out=300", "--probe", "oracle"),
        *("--metric", "energy", *QUICK, "--out", folder / "run"),
    )
    nll, entropy, kl = rows(found, "ngram", "oracle NLL", "oracle entropy", "KL(oracle, model)")
    worse = rows(found, "histogram", "KL(oracle, model)")[0]
    assert f"entropy of the truth {entropy['value']:.3f}" in nll["method"]
    assert entropy["low"] < entropy["value"] < entropy["high"]
    assert nll["unit"] == "nats/token"
    assert 0 < kl["value"] < worse["low"]


def test_a_language_model_that_copies_is_caught(folder, capsys):
    found = said(
        capsys,
        *("compare", "ngram:order=10", "ngram:order=2"),
        *("--data", "markov:n=400,held_out=300,length=10,spread=1.5", "--metric", "energy"),
        *("--metric", "verbatim", "--metric", "longest-copy", *QUICK, "--out", folder / "run"),
    )
    copies, runs = rows(found, "ngram:order=10", "verbatim", "longest-copy")
    fresh, _ = rows(found, "ngram:order=2", "verbatim", "longest-copy")
    assert copies["low"] > 0.1 > fresh["high"]
    assert runs["value"] > 6


def test_text_is_judged_as_text_by_default(folder, capsys):
    lines = [
        f"the {a} {b} the {c}"
        for a in ["cat", "dog", "owl"]
        for b in ["sees", "likes"]
        for c in ["cat", "dog", "owl", "mouse"]
    ]
    (folder / "real.txt").write_text("\n".join(lines * 3))
    (folder / "fake.txt").write_text("\n".join(lines[:6] * 10))
    found = said(
        capsys,
        *("evaluate", "fake.txt", "--against", "real.txt", "--features", "ngrams"),
        *("--workers", "1", "--out", folder / "run"),
    )
    names = {r["name"].split()[0] for r in found["rows"]}
    assert {"bleu", "self-bleu", "lm-forward", "lm-reverse"} <= names


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bytes(range(256)) * 4, "is a binary file (byte 0 is 0x00). Give a file of plain text"),
        (b"\xff\x01\x02 no text", "is a binary file (byte 1 is 0x01)"),
        (b"a\0b\n" * 9, "is a binary file (byte 1 is 0x00)"),
        (b" \n\n", "holds no text. Write one sample a line."),
    ],
)
def test_a_binary_file_is_no_text(folder, capsys, content, message):
    (folder / "a.txt").write_bytes(content)
    assert run(["compare", "ngram", "--data", "text:path=a.txt", *QUICK]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert message in err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["compare", "ngram", "--data", "digits"], "ngram models rows of tokens"),
        (["compare", "ngram:order=0", "--data", "markov"], "ngram:order must be from 1 to 32"),
        (["compare", "ngram", "--data", "markov:vocabulary=1"], "markov:vocabulary must be"),
        (["compare", "ngram", "--data", "markof"], "Did you mean 'markov'?"),
    ],
)
def test_mistakes_end_in_one_line(folder, capsys, command, message):
    assert run([*command, *QUICK[:-1], "pixels"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert message in err
