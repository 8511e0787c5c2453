"""Text, tables of any kind, sounds and graphs: what is read, and what is said of bad files."""

import io
import tarfile
import wave

import numpy as np
import pytest
import torch

from gantlet.core.data import Part, Space, all_samples, notes_of
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets
from gantlet.data import splits
from gantlet.domains.cells import normal_scores
from gantlet.domains.recordings import LONGEST, AudioCode
from gantlet.domains.text import UNKNOWN, cut
from gantlet.testing import check_dataset


def lines(path, *text):
    path.write_text("\n".join(text), encoding="utf-8")
    return datasets.make(f"text:path={path}")


def refused(make):
    """Returns the one line with which a call is refused."""
    with pytest.raises(UserError) as caught:
        make()
    message = str(caught.value)
    assert "\n" not in message
    return message


# Text


def test_lines_become_tokens_and_are_read_again(tmp_path):
    text = lines(
        tmp_path / "a.txt", "a dog's life, they say.", "", "a cat's life, they say!", "a a"
    )
    assert cut("Mr. Smith-Jones isn’t in!", words=True) == [
        "Mr",
        ".",
        "Smith-Jones",
        "isn’t",
        "in",
        "!",
    ]
    code, x = text.code(), all_samples(text.whole())
    assert text.space == Space("tokens", (7,), len(code.tokens) + 2)
    assert x.shape == (3, 7)
    # Of two lines each, or of three; a word of a single line is unknown there.
    assert code.read(x) == ["a □ life, they say □", "a □ life, they say □", "a a"]
    assert code.tokens[0] == "a"
    text.space.check(x)


def test_letters_are_tokens_where_lines_are_single_words(tmp_path):
    text = lines(tmp_path / "a.txt", "emma", "anna", "amelia")
    assert text.code().unit == "character"
    assert text.code().read(all_samples(text.whole()))[1] == "a□□a"
    words = datasets.make(f"text:path={tmp_path / 'a.txt'},level=words,length=2")
    assert words.space.shape == (2,)


def test_another_text_is_written_in_the_words_of_the_real_one(tmp_path):
    real = lines(tmp_path / "real.txt", "the cat sat", "the dog sat", "the cat ran")
    fake = lines(tmp_path / "fake.txt", "the cow ran far away", "dog sat")
    source, told = fake.coded(real.code())
    assert real.code().read(all_samples(source)) == ["the □ ran", "dog sat"]
    # What is longer than the longest real line is cut; "dog" and "ran" are in one line each.
    cut_there = "1 line of fake.txt is longer than 3 words and cut there"
    assert told == f"1 of the 5 words of fake.txt are unknown to the real text; {cut_there}"
    # Where sets are compared there is room.
    roomy = real.roomy()
    assert roomy.code().read(all_samples(fake.coded(roomy.code())[0]))[0] == "the □ ran □ □"
    assert (roomy.space.shape, roomy.roomy(), roomy.length) == ((6,), roomy, 6)


def test_real_lines_are_unknown_as_often_as_fresh_ones(tmp_path):
    draw = np.random.default_rng(0)
    share = 1 / np.arange(1, 3001)
    share = share / share.sum()
    text = [
        [" ".join(f"w{k}" for k in draw.choice(3000, 8, p=share)) for _ in range(1500)]
        for _ in range(2)
    ]
    real, fresh = (lines(tmp_path / f"{i}.txt", *t) for i, t in enumerate(text))
    own = (real.whole().array == UNKNOWN).mean(1)
    other = (fresh.coded(real.code())[0].array == UNKNOWN).mean(1)
    assert own.mean() > 0.03
    error = np.hypot(own.std(), other.std()) / 1500**0.5
    assert abs(own.mean() - other.mean()) < 4 * error


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("cafe\u0301 nai\u0308ve", ["cafe\u0301", "nai\u0308ve"]),
        ("العَرَبِيَّة", ["العَرَبِيَّة"]),
        ("می\u200cخواهم بروم", ["می\u200cخواهم", "بروم"]),
        ("so 👩‍👩‍👧 and 👍🏽!", ["so", "👩‍👩‍👧", "and", "👍🏽", "!"]),
    ],
)
def test_letters_keep_their_marks(text, words):
    assert cut(text, words=True) == words
    assert "".join(cut(text, words=False)) == text
    assert all(len(c) > 1 for c in cut("e\u0301👍🏽", words=False))


def test_composed_and_decomposed_letters_are_the_same(tmp_path):
    one, other = "café au lait", "cafe\u0301 au lait"
    real = lines(tmp_path / "a.txt", *[one] * 3)
    source, told = lines(tmp_path / "b.txt", *[other] * 3).coded(real.code())
    assert torch.equal(all_samples(source), all_samples(real.whole()))
    assert told == ""


def test_both_sets_of_text_are_treated_alike(tmp_path):
    draw = np.random.default_rng(1)
    texts = [[" ".join(f"w{k}" for k in draw.choice(40, draw.integers(3, 9))) for _ in range(60)]
             for _ in range(2)]  # fmt: skip
    a, b = (lines(tmp_path / f"{i}.txt", *t).roomy() for i, t in enumerate(texts))
    # Whichever is the real one: no line is cut, and each is read as it is but for unknown words.
    for (real, own), (fake, other) in (
        ((a, texts[0]), (b, texts[1])),
        ((b, texts[1]), (a, texts[0])),
    ):
        code = real.code()
        for source in (real.whole(), fake.coded(code)[0]):
            assert len(code.read(all_samples(source))) == 60
        for source, text in ((real.whole(), own), (fake.coded(code)[0], other)):
            sizes = [len(line.split()) for line in text]
            assert (all_samples(source) > 0).sum(1).tolist() == sizes


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_text_in_other_encodings(tmp_path, encoding):
    (tmp_path / "a.txt").write_bytes("naïve café\r\nnaïve café\r\n".encode(encoding))
    text = datasets.make(f"text:path={tmp_path / 'a.txt'},level=words")
    assert text.code().tokens == ("café", "naïve")
    assert bool(text.whole().notes) == (encoding == "latin-1")


def test_a_text_is_learned_from_some_of_its_lines_alone(tmp_path):
    text = lines(tmp_path / "a.txt", "a b", "a b", "a c", "d c", "d c")
    code = text.code(torch.tensor([0, 1, 2]))
    assert set(code.tokens) == {"a", "b", "c"}
    x = all_samples(text.coded(code, torch.tensor([0, 1, 2]))[0])
    # To the third line its own c is unknown; to the others it is known from there.
    assert code.read(x) == ["a b", "a b", "a □", "□ c", "□ c"]


def test_a_code_of_text_is_relearned_from_samples(tmp_path):
    text = lines(tmp_path / "a.txt", *(["a b"] * 30 + ["a c"] * 10 + ["b c"] * 10))
    whole, x = text.code(), all_samples(text.whole())
    found, again = whole.relearned(x[:40]), lines(tmp_path / "b.txt", *["a b"] * 30, *["a c"] * 10)
    assert (found.tokens, found.counts) == (whole.tokens, (40, 30, 10))
    assert torch.equal(found.following, again.code().following)
    assert found.half == again.code().half


def test_the_order_of_a_chain_is_told_by_its_probabilities(tmp_path):
    # After a comes b nine times in ten, else c.
    text = lines(tmp_path / "a.txt", *(["a b"] * 900 + ["a c"] * 100))
    table = text.code().following
    assert table.shape == (5, 5)
    # Of 3,000 pairs 900 are of a and b; 1,000 start at a and 900 end at b.
    assert float(table[1, 2]) == pytest.approx(np.log(901 / (1000 * 900 / 3000 + 1)))


# Tables

TABLE = """age,city,born,note,id
30,Rome,2001-02-03,,a1
40.5,Oslo,1999-12-31,x,a2
,Rome,2000-01-01,x,a3
50,Oslo,2000-01-02,?,a4
60,Lima,2000-01-03,y,a5
70,Rome,2000-01-04,x,a6
80,Oslo,2000-01-05,x,a7
"""


def table(path, text):
    path.write_text(text)
    return datasets.make(f"table:path={path}")


def test_columns_of_any_kind_become_components(tmp_path):
    found = table(tmp_path / "t.csv", TABLE)
    age, city, born, note, own = found.code().columns
    assert (age.kind, city.kind, born.kind, note.kind) == (
        "number",
        "category",
        "time",
        "category",
    )
    assert (age.middle, city.categories, note.categories) == (55.0, ("Oslo", "Rome"), ("x",))
    # Of names that nobody shares none has a component.
    assert own.categories == ()
    x = all_samples(found.whole())
    assert x[2, age.start : age.end].tolist() == [55.0, 1]
    assert x[4, city.start : city.end].tolist() == [0, 0, 1, 0]
    assert x[0, note.start : note.end].tolist() == [0, 0, 1]
    assert float(x[1, born.start] - x[2, born.start]) == -1
    number, flag = Part("number"), Part("flag")
    parts = (number, flag, Part("category", 4), number, flag, Part("category", 3))
    assert found.space == Space("table", (2 + 4 + 2 + 3 + 2,), parts=(*parts, Part("category", 2)))
    read = found.code().read(x[2:3])[0]
    assert read == "age=missing, city=Rome, born=2000-01-01, note=x, id=another"


def test_rare_categories_are_as_rare_in_real_rows_as_in_fresh_ones(tmp_path):
    draw = np.random.default_rng(3)
    known: list[list[float]] = []
    for i in range(20):
        rows = draw.integers(0, 400, (2, 600))
        real, fresh = (
            table(tmp_path / f"{i}{j}.csv", "a,b\n" + "".join(f"k{v},1\n" for v in own))
            for j, own in enumerate(rows)
        )
        code = real.code()
        other = len(code.columns[0].categories)
        both = (real.whole(), fresh.coded(code)[0])
        known.append([1 - float(all_samples(s)[:, other].mean()) for s in both])
    found = np.array(known)
    apart = found[:, 0] - found[:, 1]
    # With the row itself among those that make a category known it would be 0.17 to 0.08.
    assert found[:, 1].mean() == pytest.approx(32 / 400, abs=0.01)
    assert abs(apart.mean()) < 4 * apart.std() / 20**0.5


def test_a_code_of_a_table_is_relearned_from_samples(tmp_path):
    draw = np.random.default_rng(0).normal(size=(50, 2))
    text = "".join(f"{a},{a + b},x\n" for a, b in draw)
    real = table(tmp_path / "t.csv", "a,b,c\n" + text)
    part = table(tmp_path / "p.csv", "a,b,c\n" + "".join(text.splitlines(keepends=True)[:20]))
    found = real.code().relearned(all_samples(real.whole())[:20])
    few, chosen = part.code(), real.code(torch.arange(20))
    for one, other, same in zip(found.columns, few.columns, chosen.columns, strict=True):
        assert one.middle == pytest.approx(other.middle, rel=1e-6)
        assert one.spread == pytest.approx(other.spread, rel=1e-6)
        assert same == other
    assert found.bonds[0].correlation == pytest.approx(few.bonds[0].correlation, rel=1e-6)


def test_columns_are_matched_by_their_names(tmp_path):
    real = table(tmp_path / "real.csv", TABLE)
    fake = table(
        tmp_path / "fake.csv",
        "id;note;city;age;born\n"
        "q;x;Bonn;old;1990-01-01\nq;x;Bonn;;1990-01-01\nq;x;Bonn;4;1990-01-01\n",
    )
    source, told = fake.coded(real.code())
    assert told == "fake.csv: column age: 1 of 3 cells is not a number ('old'), read as missing"
    x = all_samples(source)[:1]
    read = "age=missing, city=another, born=1990-01-01, note=x, id=another"
    assert real.code().read(x) == [read]
    lacking = table(tmp_path / "lacking.csv", "age,town\n3,Rome\n")
    said = refused(lambda: lacking.coded(real.code()))
    assert "has no column 'city'" in said
    assert "age, town" in said


def test_a_table_of_numbers_has_names_too(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,5\n4,4\n")
    real = datasets.make(f"csv:path={tmp_path / 't.csv'}")
    assert real.space == Space("vector", (2,)) == real.code().space
    (tmp_path / "f.csv").write_text("b,a\n7,8\n")
    fake = datasets.make(f"csv:path={tmp_path / 'f.csv'}")
    assert all_samples(fake.coded(real.code())[0]).tolist() == [[8, 7]]
    (tmp_path / "p.csv").write_text("1,2\n")
    plain = datasets.make(f"csv:path={tmp_path / 'p.csv'}")
    assert all_samples(plain.coded(real.code())[0]).tolist() == [[1, 2]]
    bad = table(tmp_path / "bad.csv", "a,b\n1,many\n")
    said = refused(lambda: bad.coded(real.code()))
    assert "bad.csv, line 2, column 'b'" in said
    assert "'many' is not a number" in said


def test_bonds_are_correlations_of_normal_scores_and_of_categories(tmp_path):
    draw = np.random.default_rng(1)
    x = draw.normal(size=2000)
    y = 0.6 * x + 0.8 * draw.normal(size=2000)
    kind = np.where(y + 0.5 * draw.normal(size=2000) > 0, "high", "low")
    loose = draw.choice(["p", "q"], 2000)
    rows = "\n".join(
        f"{a},{np.exp(b)},{k},{q}" for a, b, k, q in zip(x, y, kind, loose, strict=True)
    )
    found = table(tmp_path / "t.csv", f"x,y,kind,loose\n{rows}\n").code()
    bonds = {b.columns: b.correlation for b in found.bonds}
    scores = [normal_scores(torch.from_numpy(v)) for v in (x, y)]
    expected = float(torch.corrcoef(torch.stack(scores))[0, 1])
    assert bonds[0, 1] == pytest.approx(expected, abs=1e-6)
    # The correlation of a number with an indicator.
    other = np.corrcoef(scores[1].numpy(), kind == "high")[0, 1]
    assert bonds[1, 2] == pytest.approx(abs(other), abs=1e-3)
    assert not {(0, 3), (1, 3), (2, 3)} & bonds.keys()


# Sounds


def pcm(x, *, rate=8000, width=2, channels=1):
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        whole = np.round(np.asarray(x) * (2 ** (8 * width - 1) - 1)).astype(np.int64)
        whole = whole + 128 if width == 1 else whole
        raw = [int(v).to_bytes(width, "little", signed=width > 1) for v in whole.ravel()]
        file.writeframes(b"".join(raw))
    return out.getvalue()


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_sounds_of_every_width_are_read(tmp_path, width):
    x = np.array([0.0, 0.5, -0.5, 0.25])
    (tmp_path / "a.wav").write_bytes(pcm(x, width=width))
    (tmp_path / "b.WAV").write_bytes(pcm(np.stack([x[:3], -x[:3]], 1), width=width, channels=2))
    (tmp_path / ".c.wav").write_bytes(b"hidden")
    found = datasets.make(f"audio:path={tmp_path}")
    assert found.space == Space("audio", (1, 4))
    read = all_samples(found.whole())[:, 0]
    assert torch.allclose(read[0], torch.tensor(x).float(), atol=0.02)
    # Channels are averaged, and silence follows.
    assert torch.allclose(read[1], torch.zeros(4), atol=0.02)


def test_an_archive_holds_the_same_as_a_folder_and_clips_are_cut(tmp_path):
    folder = tmp_path / "sounds"
    folder.mkdir()
    for i in range(12):
        (folder / f"{i:02}.wav").write_bytes(pcm(np.linspace(0, 0.9, 20 + i)))
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(folder, arcname="in")
    one, two = (datasets.make(f"audio:path={p}") for p in (folder, tmp_path / "a.tar.gz"))
    assert torch.equal(all_samples(one.whole()), all_samples(two.whole()))
    short = datasets.make(f"audio:path={folder},length=25")
    source, told = two.coded(short.code())
    assert all_samples(source).shape == (12, 1, 25)
    assert told == "6 clips of a.tar.gz are longer than 25 numbers and cut there"
    assert notes_of(short.whole()) == (
        "6 clips of sounds are longer than 25 numbers and cut there",
    )
    assert notes_of(one.whole()) == ()
    check_dataset(datasets.make(f"audio:path={folder},validation=0.2,test=0.2"))


def test_sounds_have_room_for_longer_ones_where_sets_are_compared(tmp_path):
    for name, sizes in (("real", (20, 30)), ("fake", (45, 60, 61))):
        (tmp_path / name).mkdir()
        for size in sizes:
            (tmp_path / name / f"{size}.wav").write_bytes(pcm(np.full(size, 0.5)))
    real, fake = (datasets.make(f"audio:path={tmp_path / n}") for n in ("real", "fake"))
    roomy = real.roomy()
    assert (roomy.space.shape, roomy.roomy()) == ((1, 60), roomy)
    x = all_samples(roomy.whole())
    assert [(row != 0).sum() for row in x] == [20, 30]
    assert torch.equal(x[..., :30], all_samples(real.whole()))
    source, told = fake.coded(roomy.code())
    assert [(row != 0).sum() for row in all_samples(source)] == [45, 60, 60]
    assert told == "1 clip of fake is longer than 60 numbers and cut there"
    assert AudioCode(8000, 40_000).room == LONGEST < AudioCode(8000, 70_000).room == 70_000


def packed(path, *members, mode="w:gz", **how):
    """Writes a tar file of members: name and content, or a size that is not there."""
    with tarfile.open(path, mode, **how) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = content if isinstance(content, int) else len(content)
            archive.addfile(info, None if isinstance(content, int) else io.BytesIO(content))
    return path


@pytest.fixture
def _small(monkeypatch):
    """Half of the memory are two megabytes."""
    monkeypatch.setattr(splits, "memory", lambda: 2**22)


ZEROS = bytes(2**23)
BOMBS = {
    "a sound that expands": [("a.wav", ZEROS)],
    "many sounds": [(f"{i}.wav", bytes(2**18)) for i in range(9)],
    "something else to be unpacked": [("a.bin", ZEROS), ("a.wav", pcm([0.1] * 9))],
    "a size that is not there": [("a.wav", 2**40)],
    "many entries": [(f"{i}.txt", b"") for i in range(2100)],
}


@pytest.mark.parametrize("members", BOMBS.values(), ids=BOMBS)
@pytest.mark.usefixtures("_small")
def test_an_archive_that_would_not_fit_is_refused_by_what_it_claims(tmp_path, members):
    path = packed(tmp_path / "a.tar.gz", *members)
    assert path.stat().st_size < 2**18
    said = refused(datasets.make(f"audio:path={path}").whole)
    assert "a.tar.gz would take" in said
    assert "half of the memory" in said


@pytest.mark.usefixtures("_small")
def test_an_entry_of_an_archive_that_is_no_file_is_bounded_too(tmp_path):
    # The name of a file is an entry of its own, which is read whole.
    path = packed(tmp_path / "a.tgz", ("a" * 2**22, b""), format=tarfile.GNU_FORMAT)
    said = refused(datasets.make(f"audio:path={path}").whole)
    assert "a.tgz would take" in said
    assert "half of the memory" in said


@pytest.mark.usefixtures("_small")
def test_other_files_of_an_archive_that_is_not_packed_are_passed_over(tmp_path):
    members = [("b.bin", ZEROS), ("c/b.wav", pcm([0.5] * 9)), ("a.wav", pcm([0.1] * 9))]
    for mode, ok in (("w", True), ("w:xz", False), ("w:bz2", False)):
        path = packed(tmp_path / f"{mode[2:]}.tar", *members, mode=mode)
        found = datasets.make(f"audio:path={path}")
        if ok:
            assert list(found.whole().names) == ["a", "c/b"]
            assert all_samples(found.whole())[:, 0, 0].tolist() == pytest.approx(
                [0.1, 0.5], abs=0.01
            )
        else:
            assert "would take" in refused(found.whole)


@pytest.mark.usefixtures("_small")
def test_sounds_that_would_not_fit_are_refused_by_their_headers(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    (tmp_path / "one").mkdir()
    soundfile.write(tmp_path / "one/a.flac", np.zeros(2**20), 8000)
    assert "a.flac would take" in refused(datasets.make(f"audio:path={tmp_path / 'one'}").whole)
    (tmp_path / "two").mkdir()
    for name in "abc":
        soundfile.write(tmp_path / f"two/{name}.flac", np.zeros(2**18), 8000)
    assert "two would take" in refused(datasets.make(f"audio:path={tmp_path / 'two'}").whole)
    (tmp_path / "three").mkdir()
    with (tmp_path / "three/a.wav").open("wb") as file:
        file.truncate(2**30)
    assert "a.wav would take 1.0 GB" in refused(
        datasets.make(f"audio:path={tmp_path / 'three'}").whole
    )


def test_sounds_that_cannot_be_compared_are_refused(tmp_path):
    for name, rate in (("a", 8000), ("b", 16000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.wav").write_bytes(pcm([0.1] * 9, rate=rate))
    a, b = (datasets.make(f"audio:path={tmp_path / n}") for n in "ab")
    assert "16000 numbers a second, the real samples 8000" in refused(lambda: b.coded(a.code()))
    both = datasets.make(f"audio:path={tmp_path}")
    assert "x.wav has 16000 numbers a second, those before 8000" in refused(both.whole)
    (tmp_path / "a/y.wav").write_bytes(b"RIFFnothing")
    assert "y.wav cannot be read as a sound file" in refused(a.whole)
    (tmp_path / "none").mkdir()
    assert "holds no sound files" in refused(
        datasets.make(f"audio:path={tmp_path / 'none'}").whole
    )
    assert "does not exist" in refused(datasets.make(f"audio:path={tmp_path / 'not'}").whole)


# Graphs


def graphs(path, *sets, names=("",)):
    arrays = {}
    for name, found in zip(names, sets, strict=True):
        arrays[f"{name}num_nodes"] = np.array([n for n, _ in found])
        arrays[f"{name}num_edges"] = np.array([len(e) for _, e in found])
        arrays[f"{name}edges"] = np.concatenate([np.reshape(e, (-1, 2)) for _, e in found]).astype(
            int
        )
    np.savez(path, **arrays)
    return datasets.make(f"graphs:path={path}")


def test_graphs_become_matrices_with_their_nodes_on_the_diagonal(tmp_path):
    found = graphs(tmp_path / "g.npz", [(3, [(0, 1), (2, 1)]), (4, []), (2, [(1, 0), (0, 1)])])
    assert found.space == Space("graph", (4, 4), 2)
    first, second, third = all_samples(found.whole())
    expected = torch.tensor([[1.0, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]])
    assert torch.equal(first, expected)
    assert torch.equal(second, torch.eye(4))
    assert third.sum() == 4
    large = graphs(tmp_path / "large.npz", [(7, [(0, 6)])])
    said = refused(lambda: large.coded(found.code()))
    assert "graphs of 7 nodes, the real ones have 4" in said
    assert "nodes=7" in said
    roomy = datasets.make(f"graphs:path={tmp_path / 'g.npz'},nodes=9")
    assert all_samples(large.coded(roomy.code())[0]).sum() == 9


def test_a_test_part_stays_the_test(tmp_path):
    train, test = [(3, [(0, 1)])] * 30, [(5, [(0, 4)])] * 10
    found = graphs(tmp_path / "g.npz", train, test, names=("train_", "test_"))
    splits = found.load(rng=Rng(0))
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [27, 3, 10]
    assert bool((all_samples(splits.test).diagonal(dim1=1, dim2=2).sum(1) == 5).all())
    part = datasets.make(f"graphs:path={tmp_path / 'g.npz'},part=train")
    assert len(part.whole()) == 30
    wrong = datasets.make(f"graphs:path={tmp_path / 'g.npz'},part=tset")
    assert "Did you mean 'test'" in refused(wrong.whole)
    check_dataset(found)


@pytest.mark.parametrize(
    ("graph", "message"),
    [((2, [(0, 2)]), "an edge to a node that it lacks"), ((2, [(1, 1)]), "a loop")],
)
def test_graphs_that_cannot_be_are_refused(tmp_path, graph, message):
    found = graphs(tmp_path / "g.npz", [(2, [(0, 1)]), graph])
    said = refused(found.whole)
    assert "graph 1 (from 0)" in said
    assert message in said


def test_files_without_graphs_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros(3))
    assert "holds no graphs" in refused(datasets.make(f"graphs:path={tmp_path / 'x.npz'}").whole)
    np.savez(tmp_path / "y.npz", num_nodes=[2], num_edges=[3], edges=np.zeros((1, 2), int))
    assert "of shape (their sum, 2)" in refused(
        datasets.make(f"graphs:path={tmp_path / 'y.npz'}").whole
    )


def test_codes_of_other_kinds_are_refused(tmp_path):
    text = lines(tmp_path / "a.txt", "a b c", "a b d")
    rows = table(tmp_path / "t.csv", TABLE)
    (tmp_path / "x.wav").write_bytes(pcm([0.1] * 9))
    sound = datasets.make(f"audio:path={tmp_path}")
    graph = graphs(tmp_path / "g.npz", [(2, [(0, 1)])])
    found = [text, rows, sound, graph]
    for one in found:
        for other in found:
            if one is not other:
                assert "real samples" in refused(
                    lambda one=one, other=other: one.coded(other.code())
                )
