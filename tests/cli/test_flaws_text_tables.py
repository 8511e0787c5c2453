"""gantlet flaws on lines of text and on rows of tables: planted flaws get their names."""

import csv
import json
import re

import numpy as np
import pytest

from gantlet.cli.main import run
from gantlet.features.minilm import is_installed

MANY = ["--permutations", "999"]
N = 500


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Runs go below the working folder."""
    monkeypatch.chdir(tmp_path)


def listed(fake, real, capsys, *more):
    most = [] if "--permutations" in more else MANY
    assert run(["flaws", str(fake), "--against", str(real), *most, *more, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["lists"].values()
    return [f["title"] for f in found]


# Text


def sentences(seed, n=N):
    draw = np.random.default_rng(seed)
    nouns = [f"{a}{b}" for a in ("dog", "cat", "bird", "ship", "tree") for b in ("", "house", "s")]
    verbs = ["sees", "likes", "finds", "hears", "has"]
    adjectives = ["big", "small", "red", "old", "green", "loud"]
    share = 1 / np.arange(1, len(nouns) + 1)

    def thing():
        some = draw.choice(adjectives, draw.integers(0, 3), replace=False)
        noun = draw.choice(nouns, p=share / share.sum())
        return ["the" if draw.random() < 0.6 else "a", *some, noun]

    def sentence():
        words = [*thing(), draw.choice(verbs), *thing()]
        if draw.random() < 0.7:
            words[0] = words[0].capitalize()
        if draw.random() < 0.4:
            words.insert(draw.integers(1, len(words)), ",")
        return " ".join([*words, "."] if draw.random() < 0.7 else words)

    return [sentence() for _ in range(n)]


def shuffled(line, draw):
    return " ".join(draw.permutation(line.split()))


def with_a_phrase_twice(line, draw):
    words = line.split()
    i = draw.integers(len(words) - 3)
    return " ".join([*words[: i + 3], *words[i : i + 3], *words[i + 3 :]])


DAMAGED = [
    (shuffled, "wrong order of words"),
    (with_a_phrase_twice, "repeated phrases"),
    (lambda line, draw: " ".join(line.split()[:6]), "too short"),
    (lambda line, draw: re.sub(r"\bsees\b", "likes", line), "word 'sees' too rare"),
    (lambda line, draw: re.sub("ship", "shup", line), "too many rare or unknown words"),
    (lambda line, draw: line.lower(), "capitals missing"),
    (lambda line, draw: line.replace(",", ""), "word ',' too rare"),
]


def write(path, lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(("damage", "title"), DAMAGED, ids=[title for _, title in DAMAGED])
def test_the_first_flaw_of_a_text_is_the_planted_one(damage, title, tmp_path, capsys):
    draw = np.random.default_rng(5)
    real = write(tmp_path / "real.txt", sentences(0))
    fake = write(tmp_path / "fake.txt", [damage(line, draw) for line in sentences(1)])
    assert listed(fake, real, capsys)[0] == title


def test_another_text_of_the_same_source_has_no_flaw_and_letters_do(tmp_path, capsys):
    real, fake = (write(tmp_path / f"{k}.txt", sentences(k)) for k in (0, 2))
    assert listed(fake, real, capsys) == []
    draw = np.random.default_rng(0)
    names = [
        "".join(draw.choice(list("aeiou")) + draw.choice(list("nmrl")) for _ in range(4))
        for _ in range(800)
    ]
    real = write(tmp_path / "names.txt", names[:400])
    wrong = ["".join(draw.permutation(list(name))) for name in names[400:]]
    assert (
        listed(write(tmp_path / "wrong.txt", wrong), real, capsys)[0]
        == "wrong order of characters"
    )


def test_lines_are_shown_as_they_are_and_never_as_markup(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    hostile = "<script>alert(1)</script> [red]a|b[/red] *c*"
    real = write(tmp_path / "real.txt", [hostile] * 30 + sentences(0, 120))
    write(tmp_path / "fake.txt", [hostile] * 120 + sentences(1, 30))
    assert run(["flaws", "fake.txt", "--against", str(real), *MANY, "--out", "o"]) == 0
    capsys.readouterr()
    page = (tmp_path / "o/report.html").read_text()
    assert "Samples that have it most and least" in page
    assert "<script>alert" not in page
    assert "&lt; script &gt; alert ( 1 )" in page
    assert run(["report", "o", "--format", "markdown"]) == 0
    assert "<script>" not in capsys.readouterr().out


def test_texts_are_evaluated_too(tmp_path, capsys):
    real, fake = (write(tmp_path / f"{k}.txt", sentences(k, 200)) for k in (0, 1))
    command = ["evaluate", str(fake), "--against", str(real), "--metric", "energy"]
    assert run([*command, "--out", str(tmp_path / "o"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    usual = {"energy (ngrams)", "energy (minilm)"} if is_installed() else {"energy (ngrams)"}
    assert {r["name"] for r in found["rows"]} == usual
    page = (tmp_path / "o/report.html").read_text()
    assert sentences(1, 1)[0].replace(" .", ".").replace(" ,", ",") in page


# Tables


def people(seed, n=N):
    draw = np.random.default_rng(seed)
    age = draw.normal(40, 12, n).round(1)
    income = np.exp(0.04 * age + draw.normal(0, 0.7, n)).round(3)
    city = draw.choice(["Rome", "Oslo", "Lima", "Bonn"], n, p=[0.4, 0.3, 0.2, 0.1])
    older = draw.random(n) < 1 / (1 + np.exp(-(age - 40) / 3))
    return {
        "height": draw.normal(170, 8, n).round(1),
        "age": age,
        "income": income,
        "city": city,
        "plan": np.where(older, "gold", "basic"),
        "since": [f"20{y:02}-05-17" for y in draw.integers(0, 24, n)],
    }


def save(path, columns):
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(columns)
        out.writerows(zip(*columns.values(), strict=True))
    return path


def without_lima(columns, draw):
    keep = columns["city"] != "Lima"
    return {k: np.asarray(v)[keep] for k, v in columns.items()}


def changed(name, change):
    def damage(columns, draw):
        return {**columns, name: change(np.asarray(columns[name], dtype=object), draw)}

    return damage


WRONG = [
    (changed("height", lambda v, draw: v + 8), "height too high"),
    (changed("income", lambda v, draw: draw.permutation(v)), "correlation of age and income lost"),
    (changed("plan", lambda v, draw: draw.permutation(v)), "correlation of age and plan lost"),
    (without_lima, "city=Lima missing or too rare"),
    (
        changed("city", lambda v, draw: np.where(draw.random(len(v)) < 0.08, "Cairo", v)),
        "city with rare or unknown values",
    ),
    (
        changed("income", lambda v, draw: np.where(draw.random(len(v)) < 0.1, "", v)),
        "too many missing values of income",
    ),
    (
        changed("age", lambda v, draw: np.where(draw.random(len(v)) < 0.06, 0.0, v)),
        "age out of range",
    ),
]


@pytest.mark.parametrize(("damage", "title"), WRONG, ids=[title for _, title in WRONG])
def test_the_first_flaw_of_a_table_is_the_planted_one(damage, title, tmp_path, capsys):
    real = save(tmp_path / "real.csv", people(0))
    fake = save(tmp_path / "fake.csv", damage(people(1), np.random.default_rng(7)))
    assert listed(fake, real, capsys)[0] == title


def test_another_table_of_the_same_source_has_no_flaw(tmp_path, capsys):
    real, fake = (save(tmp_path / f"{k}.csv", people(k)) for k in (0, 3))
    assert listed(fake, real, capsys) == []


def test_columns_of_numbers_keep_their_names_in_any_order(tmp_path, capsys):
    real, fake = ({k: v for k, v in people(k).items() if k in ("age", "income")} for k in (0, 1))
    fake = {"income": fake["income"], "age": fake["age"] - 10}
    found = listed(save(tmp_path / "fake.csv", fake), save(tmp_path / "real.csv", real), capsys)
    assert found[0] == "age too low"


def test_rows_are_shown_with_their_columns(tmp_path, capsys):
    real = save(tmp_path / "real.csv", people(0, 120))
    fake = save(tmp_path / "fake.csv", without_lima(people(1, 160), None))
    assert (
        run(["flaws", str(fake), "--against", str(real), *MANY, "--out", str(tmp_path / "o")]) == 0
    )
    capsys.readouterr()
    page = (tmp_path / "o/report.html").read_text().replace("<wbr>", "")
    assert re.search(
        r"height=[\d.]+, age=[\d.]+, income=[\d.]+, city=Rome, plan=gold, since=20\d\d-05-17", page
    )


def test_files_of_other_kinds_are_refused_in_one_line(tmp_path, capsys):
    real = save(tmp_path / "real.csv", people(0, 60))
    fake = write(tmp_path / "fake.txt", sentences(0, 60))
    for a, b, message in ((fake, real, "is text;"), (real, fake, "is a table;")):
        assert run(["flaws", str(a), "--against", str(b)]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert message in error


# Data of others


@pytest.mark.data
def test_captions_are_no_flaw_of_captions_and_shuffled_ones_are(shared_data, tmp_path, capsys):
    lines = (shared_data / "text/image_coco.txt").read_text().splitlines()
    draw = np.random.default_rng(0)
    order = draw.permutation(len(lines))
    real = write(tmp_path / "real.txt", [lines[i] for i in order[:800]])
    other = [lines[i] for i in order[800:1600]]
    assert listed(write(tmp_path / "same.txt", other), real, capsys) == []
    wrong = [shuffled(line, draw) for line in other if len(line.split()) > 1]
    found = listed(write(tmp_path / "wrong.txt", wrong), real, capsys)
    assert found[0] == "wrong order of words"


@pytest.mark.data
def test_a_synthetic_table_of_others_has_named_flaws(shared_data, capsys):
    folder = shared_data / "tabular"
    real, fake = (folder / f"student_placements_{k}.csv" for k in ("real", "synthetic"))
    found = listed(fake, real, capsys, "--permutations", "3999")
    # Their synthetic students are numbered from 0, the real ones from 17,264.
    assert found[0] == "student_id too low"
