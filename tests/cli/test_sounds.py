"""Models of sound on the command line: a comparison that is played, and inputs that are wrong."""

import json
import tarfile

import numpy as np
import pytest
import soundfile

from gantlet.cli.main import run
from gantlet.core.data import all_samples
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets

RATE = 4000


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Runs go below the working folder."""
    monkeypatch.chdir(tmp_path)


def write(path, x, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, x, rate, subtype="PCM_16")


def tone(hertz, rate=RATE, seconds=0.1):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


DATA = "tones:length=96,low=440,partials=2,pitches=2,n=60,held_out=30"
QUICK = ["--metric", "energy", "--features", "spectrogram"]


def test_models_of_sound_are_compared_played_and_written(tmp_path, capsys):
    asked = ["compare", "spec-gan:frame=32,width=16", "wavenet:layers=3,width=8", "codec:frame=32"]
    limits = ["--steps", "3", "--batch", "8", "--seeds", "1", "--out", "o", "--json"]
    assert run([*asked, "--data", DATA, *QUICK, *limits]) == 0
    page = (tmp_path / "o/report.html").read_text()
    # Three models and held-out data, six clips each.
    assert page.count("<audio") == 24
    assert page.count("data:audio/wav;base64,") == 24
    found = json.loads(capsys.readouterr().out)
    models = {row["model"] for row in found["rows"]}
    assert any(m.startswith("wavenet") for m in models)
    assert run(["sample", "o", "--model", "spec-gan", "--n", "4", "--out", "s.tar"]) == 0
    capsys.readouterr()
    with tarfile.open(tmp_path / "s.tar") as archive:
        files = archive.getmembers()
        assert soundfile.info(archive.extractfile(files[0])).samplerate == 8000
    assert len(files) == 4


@pytest.mark.parametrize(
    ("model", "data", "says"),
    [
        ("spec-gan", "ring", "spec-gan models clips of sound"),
        ("wave-gan", "ring", "wave-gan models clips of sound"),
        ("wavenet", "digits", "wavenet models clips of sound"),
        ("spec-gan:frame=100,hop=33", "tones:n=20,held_out=9", "multiple of hop"),
    ],
)
def test_what_a_model_of_sound_cannot_take_is_one_line(model, data, says, capsys):
    code = run(["compare", model, "--data", data, "--steps", "2", "--seeds", "1"])
    found = capsys.readouterr()
    assert code == 2
    assert says in found.err
    assert found.err.count("\n") == 1


def test_classes_come_from_names_and_folders(tmp_path):
    for i, name in enumerate(("10_a", "9_b", "9_c", "10_d", "9_e", "10_f")):
        write(tmp_path / "s" / name[0] / f"{name}.wav", tone(200 + i))
    by_name = datasets.make(f"audio:path={tmp_path / 's'},labels=name").whole()
    assert by_name.names == ("1/10_a", "1/10_d", "1/10_f", "9/9_b", "9/9_c", "9/9_e")
    assert by_name.labels.tolist() == [1, 1, 1, 0, 0, 0]
    by_folder = datasets.make(f"audio:path={tmp_path / 's'},labels=folder").whole()
    assert by_folder.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert datasets.make(f"audio:path={tmp_path / 's'}").whole().labels is None


@pytest.mark.parametrize(
    ("labels", "says"), [("name", "before the first _"), ("folder", "sub-folder")]
)
def test_a_name_without_a_class_is_one_line(labels, says, tmp_path):
    write(tmp_path / "s/plain.wav", tone(200))
    with pytest.raises(UserError, match=says) as caught:
        datasets.make(f"audio:path={tmp_path / 's'},labels={labels}").whole()
    assert "\n" not in str(caught.value)
    assert "plain" in str(caught.value)


def test_files_of_two_rates_are_resampled_where_it_is_asked_for(tmp_path):
    write(tmp_path / "s/a.wav", tone(300, 4000), 4000)
    write(tmp_path / "s/b.wav", tone(300, 8000), 8000)
    with pytest.raises(UserError, match="Give rate=4000") as caught:
        datasets.make(f"audio:path={tmp_path / 's'}").whole()
    assert "\n" not in str(caught.value)
    data = datasets.make(f"audio:path={tmp_path / 's'},rate=4000")
    x = all_samples(data.whole())
    assert data.code().rate == 4000
    assert any("1 file was resampled to 4000" in note for note in data.whole().notes)
    # The same tone, but for the ends of the filter.
    assert np.abs((x[0] - x[1])[0, 30:-30].numpy()).max() < 0.01


def test_resampling_lets_nothing_fold_back(tmp_path):
    write(tmp_path / "s/a.wav", tone(3000, 8000, 0.5), 8000)
    x = all_samples(datasets.make(f"audio:path={tmp_path / 's'},rate=4000").whole())
    # Above half of the new rate, so that nothing of it may be left.
    assert float(x[0, 0, 100:-100].std()) < 0.01


def test_stereo_is_averaged_with_a_note_and_few_clips_are_noted(tmp_path):
    for i in range(6):
        write(tmp_path / f"s/{i}.wav", np.stack([tone(200), 0 * tone(200)], 1))
    splits = datasets.make(f"audio:path={tmp_path / 's'}").load(rng=Rng(0))
    assert any("several channels, which were averaged" in note for note in splits.notes)
    assert any(note.startswith("only 4 clips to train on") for note in splits.notes)
    assert float(all_samples(splits.train).abs().max()) == pytest.approx(0.25, abs=0.01)
