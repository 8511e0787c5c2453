"""What each kind of sample brings: readers, adaptations, and files that are read again."""

import numpy as np
import pytest
import torch

from gantlet.core.data import Space, all_samples
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.data.splits import read_once, stamp_of
from gantlet.domains.audio import Audio
from gantlet.domains.domains import domain_of, domains, reader_of
from gantlet.domains.images import Images
from gantlet.domains.recordings import AudioCode
from gantlet.domains.tables import Csv, Table
from gantlet.domains.text import Text


def written(path, data, x):
    """Writes samples of a data set to a file of their kind."""
    domain_of(data.space).writers(data.space, data.code())[path.suffix](path, x)
    return path


def test_sounds_are_written_bit_for_bit_without_the_silence_at_their_ends(tmp_path):
    code = AudioCode(8000, 300)
    x = torch.rand(12, 1, 300, generator=Rng(0).stream("x")) * 2 - 1
    x[3, :, 100:] = 0
    domain_of(code.space).writers(code.space, code)[".tar"](tmp_path / "a.tar", x)
    found = Audio(path=str(tmp_path / "a.tar"))
    assert found.code().rate == 8000
    assert torch.equal(all_samples(found.whole()), x)
    assert (
        int(np.diff(found.whole().take(torch.tensor([3])).numpy()[0, 0].nonzero()[0]).sum()) < 100
    )
    assert domain_of(code.space).writers(code.space, None) == {}, "the rate is not known"


def test_lines_are_written_as_they_are_read(tmp_path):
    lines = ["the cat sat .", "the dog sat .", "a cat ran .", "a dog ran ."]
    (tmp_path / "a.txt").write_text("\n".join(lines * 3))
    data = Text(path=str(tmp_path / "a.txt"))
    x = all_samples(data.whole())
    again = written(tmp_path / "b.txt", data, x)
    assert torch.equal(all_samples(Text(path=str(again)).coded(data.code())[0]), x)
    x[2:4] = 0
    with pytest.raises(UserError, match="2 samples are without any text"):
        written(tmp_path / "c.txt", data, x)


def test_rows_are_written_with_gaps_times_and_categories(tmp_path):
    rows = [
        f"{i / 7 if i % 5 else ''},{'ab'[i % 2] if i % 6 else ''},2024-01-{i % 28 + 1:02}"
        for i in range(60)
    ]
    (tmp_path / "a.csv").write_text("size,kind,day\n" + "\n".join(rows) + "\n")
    data = reader_of(tmp_path / "a.csv")
    assert isinstance(data, Table)
    x = all_samples(data.whole())
    again = written(tmp_path / "b.csv", data, x)
    assert torch.equal(all_samples(Table(path=str(again)).coded(data.code())[0]), x)


def test_numbers_are_written_to_the_last_digit_of_single_precision(tmp_path):
    x = torch.randn(30, 3, generator=Rng(0).stream("x")) * 1e5
    np.savetxt(tmp_path / "a.csv", x.numpy(), "%.9g", ",", header="a,b,c", comments="")
    data = reader_of(tmp_path / "a.csv")
    assert isinstance(data, Csv)
    again = written(tmp_path / "b.csv", data, x)
    assert torch.equal(all_samples(Csv(path=str(again)).whole()), x)


def test_folders_belong_to_images_unless_they_hold_more_sounds(tmp_path):
    assert isinstance(reader_of(tmp_path, skip_bad=2), Images)
    assert reader_of(tmp_path, skip_bad=2).skip_bad == 2
    (tmp_path / "a.wav").write_bytes(b"")
    assert isinstance(reader_of(tmp_path), Audio)
    (tmp_path / "b.odt").write_bytes(b"")
    assert reader_of(tmp_path / "b.odt") is None


@pytest.mark.parametrize(
    ("space", "wanted", "shape"),
    [
        (Space("image", (1, 4, 4)), Space("image", (3, 4, 4)), (2, 3, 4, 4)),
        (Space("image", (1, 4, 4)), Space("image", (3, 8, 8)), None),
        (Space("image", (3, 4, 4)), Space("image", (1, 4, 4)), None),
        (Space("tokens", (5,), 9), Space("tokens", (7,), 9), (2, 7)),
        (Space("tokens", (7,), 9), Space("tokens", (5,), 9), None),
        (Space("tokens", (5,), 9), Space("tokens", (7,), 8), None),
        (Space("audio", (1, 5)), Space("audio", (1, 7)), (2, 1, 7)),
        (Space("vector", (5,)), Space("vector", (7,)), None),
    ],
)
def test_shapes_are_adapted_only_without_loss(space, wanted, shape):
    found = domain_of(space).adapted(space, wanted)
    assert (found is None) == (shape is None)
    if found is not None:
        x = torch.ones(2, *space.shape)
        made = found.change(x)
        assert tuple(made.shape) == shape
        assert float(made.sum()) == float(x.sum()) * (3 if space.kind == "image" else 1)


def test_every_kind_shows_enough_samples_to_be_read():
    assert min(d.shown for d in domains()) >= 10


def test_files_are_read_again_only_if_they_changed(tmp_path):
    read = []

    @read_once(2, stamp_of)
    def text_of(path, *, upper):
        read.append(path)
        return path.read_text().upper() if upper else path.read_text()

    path = tmp_path / "a.txt"
    path.write_text("a")
    assert text_of(path, upper=True) == text_of(path, upper=True) == "A"
    assert text_of(path, upper=False) == "a"
    assert len(read) == 2
    path.write_text("bc")
    assert text_of(path, upper=True) == "BC"
    path.unlink()
    with pytest.raises(UserError, match="No file"):
        text_of(path, upper=True)
