"""Tones, codecs, GANs of sound and WaveNet, against closed forms and slow twins."""

import copy
import io
import math
from itertools import pairwise

import numpy as np
import pytest
import soundfile
import torch
from scipy import signal, stats

from gantlet.core.data import Space, all_samples
from gantlet.core.errors import UserError
from gantlet.core.model import Tunable
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, extractors, families, solvers
from gantlet.domains.audio import AudioDomain, heard
from gantlet.domains.recordings import AudioCode
from gantlet.features.sound import LogMel
from gantlet.metrics.classifier import inception_score
from gantlet.models.codecs import InstantaneousFrequency, LogMagnitude, Stft, Waveform, ended
from gantlet.models.nets import seeded
from gantlet.models.sound_gan import WaveCritic, shuffled
from gantlet.models.wavenet import MuLaw
from gantlet.testing import check_extractor

SHORT = "tones:length=64,rate=2000,low=200,partials=2,pitches=3,noise=0.01,n=200,held_out=50"
CLIPS = Space("audio", (1, 300))


@pytest.fixture(scope="module")
def tones():
    return datasets.make("tones:n=400,held_out=200")


@pytest.fixture(scope="module")
def clips(tones):
    return tones.load(rng=Rng(0)).train


# Tones


def by_formula(data, k):
    """Returns the covariance of clips of one pitch, from the formula of the documentation."""
    t = np.arange(data.length) / data.rate
    envelope = (1 - np.exp(-t / 0.005)) * np.exp(-t / 0.12)
    envelope /= envelope.max()
    f = data.low * 2 ** (k / data.pitches)
    total = data.noise**2 * np.eye(data.length)
    for h in range(1, data.partials + 1):
        lag = t[:, None] - t
        total += np.outer(envelope, envelope) * (0.15 / h) ** 2 * np.cos(2 * np.pi * h * f * lag)
    return total


def test_the_density_of_tones_is_that_of_their_gaussians():
    data = datasets.make(SHORT)
    x = all_samples(data.load(rng=Rng(1)).test, 20)
    flat = x.flatten(1).double().numpy()
    gaussians = [stats.multivariate_normal(cov=by_formula(data, k)).logpdf(flat) for k in range(3)]
    expected = np.logaddexp.reduce(gaussians, 0) - math.log(3)
    assert data.log_density(x).numpy() == pytest.approx(expected, rel=1e-5)


def test_tones_have_the_covariance_of_their_pitch():
    data = datasets.make(SHORT.replace("n=200", "n=30000"))
    train = data.load(rng=Rng(0)).train
    x = all_samples(train)[train.labels == 1].flatten(1).double()
    expected = by_formula(data, 1)
    found = (x.T @ x / len(x)).numpy()
    assert np.abs(found - expected).max() < 5 * expected.max() * math.sqrt(2 / len(x))


def test_the_label_is_the_pitch_that_a_spectrum_shows(tones, clips):
    x = all_samples(clips).flatten(1).numpy()
    frequency, power = signal.periodogram(x, tones.rate, nfft=2**15)
    near = [
        sum(power[:, np.abs(frequency - h * f).argmin()] for h in range(1, tones.partials + 1))
        for f in tones.hertz.numpy()
    ]
    agree = np.argmax(near, 0) == clips.labels.numpy()
    assert agree.mean() > 0.97


def test_supports_of_two_pitches_are_apart_by_the_gap(tones, clips):
    assert tones.gap > 0.2
    x = all_samples(clips).flatten(1).double()
    x = x * (math.sqrt(0.01 * float(x.square().sum(1).mean())) / x.norm(dim=1, keepdim=True))
    distance = torch.cdist(x, x)
    other = clips.labels[:, None] != clips.labels
    assert float(distance[other].min()) >= tones.gap


def test_what_is_no_tone_is_off_the_support(tones, clips):
    x = all_samples(clips, 50)
    noise = 0.1 * torch.randn(x.shape, generator=Rng(0).stream("noise"))
    assert bool(tones.on_support(x).all())
    for wrong in (noise, x + noise, 0 * x, 0.001 * x, x.flip(-1), x[:, :, :1].expand_as(x)):
        assert not bool(tones.on_support(wrong).any())
    between = tones.low * 2 ** (0.5 / tones.pitches)
    t = torch.arange(tones.length) / tones.rate
    assert not bool(tones.on_support(0.3 * (2 * math.pi * between * t).sin().view(1, 1, -1)).any())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tones:low=1000", "highest partial"),
        ("tones:length=40", "two periods"),
        ("tones:pitches=0", "pitches"),
    ],
)
def test_tones_that_cannot_be_are_refused_in_one_line(text, says):
    with pytest.raises(UserError, match=says) as caught:
        datasets.make(text)
    assert "\n" not in str(caught.value)


# Codecs


@pytest.mark.parametrize(("length", "frame", "hop"), [(300, 64, 16), (301, 50, 25), (20, 64, 32)])
def test_the_transform_is_that_of_scipy_and_its_inverse_is_exact(length, frame, hop):
    x = torch.randn(3, 1, length, generator=Rng(0).stream("x"))
    stft = Stft(length, frame, hop)
    found = stft(x)
    assert found.shape == (3, stft.frames, stft.bins)
    padded = np.pad(x[:, 0].numpy(), [(0, 0), (frame - hop, 2 * frame)])
    window = np.sin(np.pi * (np.arange(frame) + 0.5) / frame) ** 2
    for i in range(stft.frames):
        own = np.fft.rfft(padded[:, i * hop : i * hop + frame] * window)
        assert np.abs(found[:, i].numpy() - own).max() < 1e-4
    assert torch.allclose(stft.inverse(found), x, atol=1e-6)


def test_the_inverse_is_the_nearest_clip():
    stft = Stft(40, 16, 4)
    rng = Rng(0).stream("spectrum")
    wanted = torch.randn(1, stft.frames, stft.bins, generator=rng, dtype=torch.complex64)
    # Real transforms have real ends, and their inner frequencies count twice.
    wanted[:, :, 0], wanted[:, :, -1] = wanted[:, :, 0].real, wanted[:, :, -1].real
    weight = torch.tensor([1.0, *[2.0] * (stft.bins - 2), 1.0])
    best = stft.inverse(wanted)

    def error(x):
        return float(((stft(x) - wanted).abs().square() * weight).sum())

    for seed in range(10):
        assert error(best) < error(
            best + 0.01 * torch.randn(best.shape, generator=Rng(seed).stream("d"))
        )


def test_instantaneous_frequency_loses_nothing(clips):
    x = all_samples(clips, 50)
    codec = InstantaneousFrequency(2048, 256, 64)
    codec.fit(x)
    y = codec.encode(x)
    assert y.shape == (50, *codec.view.shape)
    assert float(y.abs().max()) <= 1
    assert torch.allclose(codec.decode(y), x, atol=2e-6)


def test_a_steady_tone_has_a_steady_instantaneous_frequency():
    t = torch.arange(4096) / 8000
    codec = InstantaneousFrequency(4096, 256, 64)
    x = (2 * math.pi * 1000 * t).sin().view(1, 1, -1)
    codec.fit(x)
    turn = codec.encode(x)[0, 1, 8:-8, 32]  # 1000 Hz is the 32nd of steps of 31.25 Hz
    # 64 numbers are 8 whole periods: the phase does not turn.
    assert float(turn.abs().max()) < 1e-3


def test_phases_fit_better_with_each_iteration(clips):
    x = all_samples(clips, 20)
    errors = []
    for iterations in (0, 1, 4, 16, 32):
        codec = LogMagnitude(2048, 256, 64, iterations=iterations)
        codec.fit(x)
        size = codec.stft(x).abs()
        errors.append(float((codec.stft(codec.decode(codec.encode(x))).abs() - size).norm()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 3


def test_the_codec_is_the_ceiling_and_phases_are_what_it_loses(tones, clips):
    x = all_samples(clips)
    shares = {}
    for text in ("codec", "codec:representation=if"):
        model = families.make(text).fit(tones.space, x, rng=Rng(0)).model
        made = model.sample(200, rng=Rng(0).stream("s"))
        shares[text] = float(tones.on_support(made).double().mean())
    assert shares["codec:representation=if"] > 0.98
    assert shares["codec"] < 0.1


def test_clips_end_where_nothing_is_heard():
    x = torch.tensor([[[0.0, 0.5, 1e-5, -0.3, 1e-5, 0.0]], [[1e-5] * 6]])
    assert ended(x).tolist() == [
        [[0.0, 0.5, x[0, 0, 2].item(), x[0, 0, 3].item(), 0, 0]],
        [[0] * 6],
    ]


def test_silence_alone_is_encoded_and_decoded():
    x = torch.zeros(4, 1, 300)
    for codec in (LogMagnitude(300, 64, 32, iterations=3), InstantaneousFrequency(300, 64, 16)):
        codec.fit(x)
        assert float(codec.decode(codec.encode(x)).abs().max()) < 1e-6
    wave = Waveform(300)
    wave.fit(x)
    assert not bool(wave.encode(x).any())


# GANs


@pytest.mark.parametrize("shift", [-2, -1, 0, 1, 2])
def test_phase_shuffle_reflects_the_ends(shift):
    x = torch.randn(2, 3, 9, generator=Rng(0).stream("x"))
    padded = np.pad(x.numpy(), [(0, 0), (0, 0), (2, 2)], mode="reflect")
    expected = padded[:, :, 2 - shift : 11 - shift]
    assert shuffled(x, torch.tensor(shift)).numpy() == pytest.approx(expected)


def test_the_critic_of_waves_sees_other_phases_in_each_loss():
    with seeded(Rng(0).stream("init")):
        critic = WaveCritic(300, 4, 2)
    rng = Rng(0).stream("shifts")
    drawn = torch.stack([critic.shifts(rng) for _ in range(200)])
    assert set(drawn.flatten().tolist()) == {-2, -1, 0, 1, 2}
    x = torch.randn(3, 1, 1, 300, generator=Rng(0).stream("x"))
    assert torch.equal(critic(x), critic(x, torch.zeros(2, dtype=torch.long)))
    assert not torch.allclose(critic(x), critic(x, torch.tensor([2, -1])))
    critic.shuffle = 0
    assert critic.shifts(rng) is None


def test_wave_gan_has_the_published_size():
    game = families.make("wave-gan:width=64,latent=100").build(
        Space("audio", (1, 16384)), rng=Rng(0)
    )
    counts = {k: sum(p.numel() for p in m.parameters()) for k, m in game.players.items()}
    # The published networks, counted layer by layer: dense, then kernels of 25 and biases.
    widths = [1024, 512, 256, 128, 64, 1]
    made = 101 * 16384 + sum(25 * a * b + b for a, b in pairwise(widths))
    down = [1, 64, 128, 256, 512, 1024]
    seen = sum(25 * a * b + b for a, b in pairwise(down)) + 16385
    assert counts == {"generator": made, "critic": seen}


@pytest.mark.parametrize("text", ["spec-gan", "spec-gan:representation=if", "wave-gan", "wavenet"])
def test_models_of_sound_have_a_knob_that_shares_their_parameters(text):
    game = families.make(text).build(CLIPS, rng=Rng(0))
    x = 0.1 * torch.randn(8, 1, 300, generator=Rng(0).stream("x"))
    game.prepare(x, rng=Rng(0).stream("p"))
    model = game.model
    with torch.no_grad():
        for p in model.parameters():  # the last layer of wavenet starts at zero
            p.add_(0.1 * torch.randn(p.shape, generator=Rng(3).stream("moved")))
    assert isinstance(model, Tunable)
    tuned = model.tuned(0.1)
    assert {p.data_ptr() for p in tuned.parameters()} == {p.data_ptr() for p in model.parameters()}
    one, other = (m.sample(3, rng=Rng(1).stream("s")) for m in (model, tuned))
    assert not torch.equal(one, other)
    neutral = model.tuned(model.knob.neutral).sample(3, rng=Rng(1).stream("s"))
    assert torch.equal(neutral, one)


def test_spec_gan_learns_a_spectrum():
    data = datasets.make("tones:length=128,low=440,n=300,held_out=200,pitches=2,partials=2")
    splits = data.load(rng=Rng(0))
    family = families.make("spec-gan:frame=32,width=128,latent=16")
    game = family.build(data.space, rng=Rng(0))
    x, held = all_samples(splits.train), all_samples(splits.validation)
    game.prepare(x, rng=Rng(0).stream("p"))
    average = copy.deepcopy(game.model)

    def distance(samples):
        return float(game.distance(held, samples))

    start = distance(average.sample(200, rng=Rng(0).stream("s")))
    play = solvers.make("adam:lr=0.002,beta1=0.0,beta2=0.99").start(game)
    order = Rng(0).stream("order")
    for step in range(450):
        batch = x[torch.randint(len(x), (32,), generator=order)]
        play.step(batch, rng=Rng(step).stream("step"))
        for a, b in zip(average.parameters(), game.model.parameters(), strict=True):
            a.data.lerp_(b.data, 0.02)
    assert distance(average.sample(200, rng=Rng(0).stream("s"))) < 0.6 * start
    assert abs(distance(x[:200])) < 0.05 * start


# WaveNet


def small(levels=15):
    game = families.make(f"wavenet:width=8,layers=3,levels={levels},crop=10").build(
        Space("audio", (1, 40)), rng=Rng(0)
    )
    model = game.model
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=Rng(5).stream(str(p.shape))))
    model.code.peak.fill_(0.5)
    return game


def test_mu_law_levels_are_fine_where_it_is_quiet():
    code = MuLaw(255)
    code.fit(torch.tensor([[[0.5, -0.2]]]))
    x = torch.linspace(-0.5, 0.5, 1001)
    q = code(x)
    assert int(q[500]) == 127
    assert bool((q.diff() >= 0).all())
    assert code(code.inverse(torch.arange(255) + 0.5)).tolist() == list(range(255))
    low, high = code.inverse(q.double()), code.inverse(q.double() + 1)
    assert bool(((low <= x + 1e-7) & (x <= high + 1e-7)).all())
    # The companding curve of G.711 in its continuous form.
    assert float(code.inverse(torch.tensor(255.0))) == pytest.approx(0.5)
    y = torch.tensor(0.25, dtype=torch.float64)
    place = (math.log(1 + 255 * 0.5) / math.log(256) + 1) / 2 * 255
    assert int(code(y)) == math.floor(place)


def test_cached_and_plain_sampling_give_the_same_clips():
    model = small().model
    one, other = (
        model.sample(5, rng=Rng(0).stream("s"), cached=cached) for cached in (True, False)
    )
    assert torch.allclose(one, other, atol=1e-6)
    assert one.unique().numel() > 100


def test_the_density_of_the_next_number_integrates_to_one():
    model = small().model
    before = 0.2 * torch.randn(1, 1, 40, generator=Rng(0).stream("x"))

    def density(last):
        x = before.repeat(len(last), 1, 1)
        x[:, 0, -1] = torch.as_tensor(last, dtype=torch.float32)
        with torch.no_grad():
            found = model.log_prob(x, rng=Rng(0).stream("p")).value
        return found.double()

    with torch.no_grad():
        wave = before.flatten(1)
        q = model.code(wave)
        past = model.conditionals(wave, q, model.logits(model.before(q)))[0, :-1].sum().double()
    edges = model.code.inverse(torch.arange(16, dtype=torch.float64)).numpy()
    grid = np.unique(np.concatenate([np.linspace(a, b, 200) for a, b in pairwise(edges)]))
    inner = grid[:-1] + np.diff(grid) / 2
    total = float(((density(inner) - past).exp().numpy() * np.diff(grid)).sum())
    assert total == pytest.approx(1, abs=2e-3)
    # Beyond the peak a small Gaussian share is left.
    beyond = float((density([0.6]) - past).exp())
    assert beyond == pytest.approx(1e-6 * stats.norm(0, 0.5).pdf(0.6), rel=1e-3)


def test_no_number_is_predicted_from_itself_or_later_ones():
    model = small().model
    q = torch.randint(15, (1, 40), generator=Rng(0).stream("q"))
    other = q.clone()
    other[0, 20] = (q[0, 20] + 5) % 15
    with torch.no_grad():
        one, two = (model.logits(model.before(x))[0] for x in (q, other))
    differs = (one != two).any(0)
    assert not bool(differs[:21].any())
    assert bool(differs[21 : 21 + 2].any())
    assert not bool(differs[21 + model.past + 1 :].any())


def test_pieces_are_those_of_whole_clips():
    game = small()
    model = game.model
    x = 0.2 * torch.randn(4, 1, 40, generator=Rng(0).stream("x"))
    wave = x.flatten(1)
    q = model.code(wave)
    with torch.no_grad():
        whole = model.conditionals(wave, q, model.logits(model.before(q)))
        exact = model.log_prob(x, rng=Rng(0).stream("p")).value
    assert torch.allclose(whole.sum(1), exact, atol=1e-4)
    starts = set()
    for seed in range(40):
        with torch.no_grad():
            piece = model.cut(x, 10, rng=Rng(seed).stream("cut"))
        fits = [s for s in range(31) if torch.allclose(whole[:, s : s + 10], piece, atol=1e-4)]
        assert len(fits) == 1
        starts |= set(fits)
    assert len(starts) > 15


def test_wavenet_draws_from_its_density():
    model = small(levels=3).model
    x = model.sample(4000, rng=Rng(0).stream("s"))[:, 0, 0]
    with torch.no_grad():
        q = torch.full((1, 40), model.silence)
        p = model.logits(model.before(q))[0, :, 0].softmax(0).double().numpy()
    seen = np.bincount(model.code(x).numpy(), minlength=3)
    assert stats.chisquare(seen, p / p.sum() * seen.sum()).pvalue > 1e-3


def test_wavenet_learns_the_density_of_noise():
    # White Gaussian noise of a known deviation has a known entropy.
    rng = Rng(0).stream("noise")
    x = 0.1 * torch.randn(200, 1, 64, generator=rng)
    family = families.make("wavenet:width=8,layers=2,levels=31,crop=64")
    game = family.build(Space("audio", (1, 64)), rng=Rng(0))
    game.prepare(x, rng=Rng(0).stream("p"))
    play = solvers.make("adam:lr=0.01").start(game)
    for step in range(150):
        play.step(x[torch.randperm(200, generator=rng)[:64]], rng=Rng(step).stream("s"))
    entropy = (0.5 * math.log(2 * math.pi * math.e) + math.log(0.1)) / math.log(2)
    held = 0.1 * torch.randn(100, 1, 64, generator=rng)
    found = float(game.validate(held, rng=Rng(0).stream("v")))
    assert entropy - 0.05 < found < entropy + 0.15


# Features, and what a page plays


def test_log_mel_spectrograms_are_standardized_and_of_their_view():
    space = Space("audio", (1, 1000))
    x = 0.1 * torch.randn(50, 1, 1000, generator=Rng(0).stream("x"))
    front = LogMel(space)
    front.fit(x)
    y = front(x)
    assert y.shape == (50, *front.view.shape)
    assert float(y.mean()) == pytest.approx(0, abs=1e-4)
    assert float(y.std()) == pytest.approx(1, abs=1e-2)


def test_the_classifier_hears_pitches(tones):
    splits = datasets.make("tones:n=600,held_out=200,length=1024").load(rng=Rng(0))
    found = extractors.make("classifier:epochs=8").fit(
        Space("audio", (1, 1024)), splits, rng=Rng(0)
    )
    x, labels = all_samples(splits.test), splits.test.labels
    p = found.classify(x)
    assert float((p.argmax(1) == labels).double().mean()) > 0.95
    # The score of held-out clips is the ceiling of this classifier: nearly one for each pitch.
    assert 6.5 < inception_score(p) <= 8
    silence = found.classify(torch.zeros(20, 1, 1024))
    assert inception_score(silence) == pytest.approx(1)


def test_the_classifier_of_sounds_keeps_the_contract():
    check_extractor(extractors.make("classifier:epochs=1"), CLIPS)


def test_sounds_are_played_as_they_are():
    rate, x = 8000, 0.5 * torch.rand(9, 1, 400, generator=Rng(0).stream("x"))
    x[0, 0, 100:] = 0
    domain, space = AudioDomain(), Space("audio", (1, 400))
    files = domain.sounds(space, x, AudioCode(rate, 400))
    assert len(files) == 6
    for i, file in enumerate(files):
        sound, found = soundfile.read(io.BytesIO(file))
        assert found == rate
        assert sound == pytest.approx(heard(x[i, 0].numpy()), abs=2**-15)
    assert len(soundfile.read(io.BytesIO(files[0]))[0]) == 100
    assert domain.sounds(space, x, None) == ()
    long = domain.sounds(
        Space("audio", (1, 200_000)), torch.ones(3, 1, 200_000), AudioCode(rate, 200_000)
    )
    assert len(long) == 1
    assert sum(map(len, long)) <= 150_000
