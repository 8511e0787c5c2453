"""A game of the user's own modules is the game that Gantlet makes of the same networks."""

import json
import shutil
from argparse import Namespace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import softplus

import gantlet
from gantlet.cli.main import run
from gantlet.commands.generators import samples_of_text
from gantlet.commands.own_games import OwnFamily, content_of, load_weights, meaning, written
from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import families, label, solvers, toys
from gantlet.features.user import find_object
from gantlet.games.field import GameField
from gantlet.games.spectrum import leading
from gantlet.games.toys import Dirac
from gantlet.models.gan import Gan, GanGame
from gantlet.models.losses import LOSSES, PENALTIES, AdversarialObjective
from gantlet.models.nets import seeded
from gantlet.models.own import bound, reinitialized
from gantlet.run.trials import RunData
from gantlet.testing import check_family

PLANE = Space("vector", (2,))


def stream(name="test"):
    return Rng(0).stream(name)


def networks():
    """The networks of gan, without a scale of their own."""
    return Gan(latent=3, width=8).networks(PLANE, Rng(0), family="gan")


def native(loss, penalty, gamma=0.7):
    generator, critic = networks()
    return GanGame(
        generator, critic, AdversarialObjective(loss=loss, penalty=penalty, gamma=gamma)
    )


def own(losses, penalty="none", gamma=0.7, **options):
    generator, critic = networks()
    players = {"generator": generator.net, "critic": critic}
    return gantlet.game(players, losses=losses, penalty=penalty, gamma=gamma, latent=3, **options)


FUNCTIONS = {
    "ns": {
        "critic": lambda critic, real, fake: (
            softplus(-critic(real)).mean() + softplus(critic(fake)).mean()
        ),
        "generator": lambda fake_score: softplus(-fake_score).mean(),
    },
    "wgan": {
        "critic": lambda real_score, fake_score: fake_score.mean() - real_score.mean(),
        "generator": lambda generator, critic, z: -critic(generator(z)).mean(),
    },
}
CASES = [(loss, penalty, loss) for loss in LOSSES for penalty in PENALTIES]
CASES += [
    (loss, penalty, FUNCTIONS[loss]) for loss in FUNCTIONS for penalty in ("none", "r1", "gp")
]


@pytest.mark.parametrize(("loss", "penalty", "losses"), CASES)
def test_field_and_jacobian_are_those_of_gan_bit_for_bit(loss, penalty, losses):
    batch = torch.randn(16, 2, generator=stream())
    fields = [
        GameField(game, batch, rng=stream("field"))
        for game in (native(loss, penalty), own(losses, penalty))
    ]
    # Functions with a penalty ask the critic twice, so that sums are rounded in another order.
    near = {"rtol": 0, "atol": 0} if losses == loss else {"rtol": 1e-5, "atol": 1e-6}
    values = [f.value() for f in fields]
    assert values[0].abs().max() > 1e-3
    assert torch.allclose(*values, **near)
    u = torch.randn(fields[0].size, generator=stream("u"))
    assert torch.allclose(*(f.pull(u) for f in fields), **near)
    assert torch.allclose(*(f.push(u) for f in fields), **near)
    spectra = [leading(f.jacobian, 4, rng=stream("search")).values for f in fields]
    assert np.allclose(*spectra, rtol=near["rtol"], atol=near["atol"])


@pytest.mark.parametrize(
    "solver",
    [
        "adam:lr=0.01,beta1=0.5",
        "sgd:lr=0.05",
        "extragradient:lr=0.01",
        "optimistic:base=sgd,lr=0.05",
        "lookahead:lr=0.01,k=2",
        "consensus:base=sgd,lr=0.05,gamma=0.3",
    ],
)
@pytest.mark.parametrize("losses", ["ns", FUNCTIONS["ns"]], ids=["named", "functions"])
def test_steps_of_solvers_are_those_of_gan_bit_for_bit(solver, losses):
    after = []
    for game in (native("ns", "r1"), own(losses, "r1")):
        play, noise = solvers.make(solver).start(game), stream("noise")
        data = torch.randn(5, 16 * play.batches, 2, generator=stream())
        found = [play.step(batch, rng=noise) for batch in data]
        weights = [p.detach().clone() for m in game.players.values() for p in m.parameters()]
        after.append((found, torch.cat([w.flatten() for w in weights])))
    if losses == "ns":
        assert after[0][0] == after[1][0]
        assert torch.equal(after[0][1], after[1][1])
    assert torch.allclose(after[0][1], after[1][1], rtol=1e-5, atol=1e-6)


def test_the_modules_that_were_given_stay_as_they_are(tmp_path):
    made = own("ns", data=torch.randn(200, 2, generator=stream()))
    before = {k: v.clone() for m in made.players.values() for k, v in m.state_dict().items()}
    steps = gantlet.Budget(steps=30)
    report = gantlet.converge(made, budget=steps, batch=16, out=tmp_path / "run")
    assert report.verdicts
    assert report.question["model"].startswith("game:players=critic+generator,loss=ns")
    after = {k: v for m in made.players.values() for k, v in m.state_dict().items()}
    assert all(torch.equal(before[k], after[k]) for k in before)


# ----------------------------------------------------------------------------
# Games in closed form.
# ----------------------------------------------------------------------------


class Point(nn.Module):
    """A player that is a number."""

    def __init__(self, at):
        super().__init__()
        self.at = nn.Parameter(torch.tensor([at], dtype=torch.float64))


class Slope(Point):
    """A linear critic."""

    def forward(self, x):
        return x @ self.at


class Place(Point):
    """A generator that ignores its latent."""

    def forward(self, z):
        return self.at.expand(len(z), 1)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.7, 2.0])
@pytest.mark.parametrize("loss", ["ns", "minimax"])
def test_the_dirac_gan_has_the_eigenvalues_of_the_closed_form(loss, gamma):
    """Mescheder et al., 2018: -gamma/2 +- sqrt(gamma^2/4 - 1/4)."""
    players = {"critic": Slope(0.0), "generator": Place(0.0)}
    penalty = "r1" if gamma else "none"
    game = gantlet.game(players, losses=loss, latent=1, penalty=penalty, gamma=gamma)
    field = GameField(game, torch.zeros(1, 1, dtype=torch.float64), rng=stream())
    root = np.emath.sqrt(gamma**2 / 4 - 0.25)
    wanted = sorted([-gamma / 2 - root, -gamma / 2 + root], key=lambda v: (v.real, v.imag))
    found = sorted(leading(field.jacobian, rng=stream()).values, key=lambda v: (v.real, v.imag))
    assert np.allclose(found, wanted, rtol=0, atol=1e-9)
    toy = GameField(
        Dirac(loss=loss, penalty=penalty, gamma=gamma, theta=0.0, psi=0.0).build(),
        torch.zeros(1, 1, dtype=torch.float64),
        rng=stream(),
    )
    assert torch.equal(field.jacobian.dense(), toy.jacobian.dense())


@pytest.mark.parametrize(("a", "b", "c"), [(0.0, 0.0, 1.0), (-1.0, 3.0, 2.0), (0.5, 0.25, 3.0)])
def test_a_linear_quadratic_game_of_modules_has_its_eigenvalues(a, b, c):
    losses = {
        "x": lambda x, y: a / 2 * x.at.square().sum() + c * (x.at * y.at).sum(),
        "y": lambda x, y: b / 2 * y.at.square().sum() - c * (x.at * y.at).sum(),
    }
    game = gantlet.game({"x": Point(1.0), "y": Point(1.0)}, losses=losses)
    field = GameField(game, torch.zeros(1, 1, dtype=torch.float64), rng=stream())
    wanted = np.linalg.eigvals([[-a, -c], [c, -b]])
    found = leading(field.jacobian, rng=stream()).values
    key = lambda v: (v.real, v.imag)  # noqa: E731
    assert np.allclose(sorted(found, key=key), sorted(wanted, key=key), rtol=0, atol=1e-9)
    saddle = toys.make(f"saddle:own={a}+{b},cross={c}")
    twin = GameField(saddle.build(), saddle.real, rng=stream())
    assert torch.equal(field.value(), twin.value())


def test_binary_cross_entropy_of_probabilities_is_the_loss_of_torch():
    generator, critic = networks()
    players = {
        "generator": generator.net,
        "critic": nn.Sequential(critic, nn.Unflatten(0, (-1, 1)), nn.Sigmoid()),
    }
    game = gantlet.game(players, losses="bce")
    real = torch.randn(16, 2, generator=stream())
    z = torch.randn(16, generator.latent_dim, generator=stream("noise"))
    fake, bce = generator.net(z), nn.BCELoss()
    p_real, p_fake = players["critic"](real), players["critic"](fake)
    one, zero = torch.ones_like(p_real), torch.zeros_like(p_real)
    wanted = {"critic": bce(p_real, one) + bce(p_fake, zero), "generator": bce(p_fake, one)}
    for player, loss in wanted.items():
        found = game.loss(player, real, rng=stream("noise"))
        assert found.item() == pytest.approx(loss.item(), rel=1e-6)
        inside = list(players[player].parameters())
        a, b = (torch.autograd.grad(x, inside, retain_graph=True) for x in (found, loss))
        assert all(torch.allclose(x, y, rtol=1e-4, atol=1e-7) for x, y in zip(a, b, strict=True))


def test_least_squares_has_its_minimum_at_real_one_and_fake_zero():
    game = own("lsgan")
    real = torch.randn(16, 2, generator=stream())
    score = game.critic(real)
    fake = game.critic(game.model.net(torch.randn(16, 3, generator=stream("noise"))))
    wanted = ((score - 1) ** 2).mean() / 2 + (fake**2).mean() / 2
    assert game.loss("critic", real, rng=stream("noise")).item() == pytest.approx(wanted.item())


# ----------------------------------------------------------------------------
# Layers with modes, noise of their own, levels and ranges.
# ----------------------------------------------------------------------------


def images(norm=True):
    """A small GAN of images with batch normalisation and dropout."""
    with seeded(stream("images")):
        generator = nn.Sequential(
            nn.Linear(5, 32),
            *([nn.BatchNorm1d(32)] if norm else []),
            nn.ReLU(),
            nn.Linear(32, 64),
            nn.Tanh(),
        )
        critic = nn.Sequential(
            nn.Linear(64, 16), nn.LeakyReLU(0.2), nn.Dropout(0.5), nn.Linear(16, 1)
        )
    return {"generator": generator, "critic": critic}


def test_dropout_and_batch_statistics_repeat_and_leave_the_global_state_alone():
    game = gantlet.game(images(), losses="ns", range=(-1, 1), shape=(1, 8, 8))
    x = torch.randint(256, (16, 1, 8, 8), generator=stream()).float()
    field = GameField(game, x, rng=stream("field"))
    assert torch.equal(field.value(), GameField(game, x, rng=stream("field")).value())
    assert not torch.equal(field.value(), GameField(game, x, rng=stream("other")).value())
    u = torch.randn(field.size, generator=stream("u"))
    step = 1e-3 * u / u.norm()
    game64 = GameField(game, x, rng=stream("field"), precise=True)
    here, product = game64.position, game64.push(step.double())
    game64.move(here + step.double())
    after = game64.value()
    game64.move(here - step.double())
    slope = (after - game64.value()) / 2
    assert torch.allclose(slope, product, rtol=2e-2, atol=1e-5)


def test_levels_pass_to_the_range_of_the_networks_and_back():
    space = Space("image", (1, 8, 8), 17)
    game = bound(gantlet.game(images(), losses="ns", range=(-1, 1), shape=(1, 8, 8)), space)
    x = torch.arange(17).repeat(64)[: 16 * 64].reshape(16, 1, 8, 8).float()
    seen = game.model.conversion.seen(x)
    assert (seen.min(), seen.max(), seen.shape) == (-1, 1, (16, 64))
    assert torch.allclose(game.model.conversion.made(seen), x, atol=1e-5)
    drawn = game.model.sample(50, rng=stream())
    space.check(drawn)
    assert all(m.training for m in game.players.values())
    twin = game.model.sample(50, rng=stream())
    assert torch.equal(drawn, twin)


def test_a_generator_samples_in_evaluation_mode():
    players = images()
    game = gantlet.game(players, losses="ns")
    one = game.model.decode(torch.ones(1, 5))
    many = game.model.decode(torch.cat([torch.ones(1, 5), 9 * torch.ones(7, 5)]))
    assert torch.allclose(one[0], many[0], atol=1e-6)


def test_weights_are_drawn_anew_by_the_rules_of_the_layers():
    net = images()["generator"]
    before = net[0].weight.clone()
    assert reinitialized(net, stream())
    assert not torch.equal(before, net[0].weight)
    assert not reinitialized(nn.Sequential(net[0], Point(0.0)), stream())


# ----------------------------------------------------------------------------
# From files.
# ----------------------------------------------------------------------------

FILE = """
import torch
from torch import nn
import gantlet

def networks():
    return {
        "generator": nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)),
        "critic": nn.Sequential(nn.Linear(2, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1)),
    }

def build():
    return gantlet.game(networks(), losses="ns", data="moons")

def generator():
    return networks()["generator"]

def broken():
    raise RuntimeError("no luck")
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


def test_the_family_of_a_file_keeps_the_contract(file):
    check_family(families.make(f"module:path={file}:build"), PLANE)


def test_weights_of_a_file_are_those_that_play(file, tmp_path):
    family = OwnFamily(path=f"{file}:build")
    players = family.build(PLANE, rng=Rng(7)).players
    torch.save(players["generator"].state_dict(), tmp_path / "g.pt")
    torch.save(players["critic"].state_dict(), tmp_path / "d.pt")
    torch.save({k: m.state_dict() for k, m in players.items()}, tmp_path / "both.pt")
    torch.save(
        {
            "netG": players["generator"].state_dict(),
            "netD": players["critic"].state_dict(),
            "epoch": 3,
            "optimizer": {"state": {}},
        },
        tmp_path / "loop.pt",
    )
    torch.save(nn.ModuleDict(dict(players)).state_dict(), tmp_path / "flat.pt")
    torch.save(
        {f"module.{k}": v for k, v in nn.ModuleDict(dict(players)).state_dict().items()},
        tmp_path / "parallel.pt",
    )
    wanted = [v for m in players.values() for v in m.state_dict().values()]
    for files in (
        "g.pt+{0}/d.pt",
        "d.pt+{0}/g.pt",
        "both.pt",
        "loop.pt",
        "flat.pt",
        "parallel.pt",
    ):
        weights = f"{tmp_path}/{files.format(tmp_path)}"
        made = OwnFamily(path=f"{file}:build", weights=weights).build(PLANE, rng=Rng(1))
        found = [v for m in made.players.values() for v in m.state_dict().values()]
        assert all(torch.equal(a, b) for a, b in zip(wanted, found, strict=True)), files


def test_a_changed_file_is_another_model(file):
    text = families.resolve(f"module:path={file}:build")
    assert families.resolve(text) == text
    file.write_text(FILE + "\n# changed\n")
    with pytest.raises(UserError, match="have changed"):
        families.make(text)


def test_settings_beside_those_of_a_game_are_refused(file):
    for option in ("loss=hinge", "latent=3", "distribution=uniform", "shape=2"):
        text = f"module:path={file}:build,{option}"
        with pytest.raises(UserError, match=f"leave out {option.partition('=')[0]} here"):
            families.make(text).build(PLANE, rng=Rng(0))


def test_a_penalty_without_a_weight_has_that_of_a_game(file):
    made = families.make(f"module:path={file}:build,penalty=r1").build(PLANE, rng=Rng(0))
    assert (made.parts.penalty, made.parts.gamma) == ("r1", 1.0)


def test_a_label_leaves_out_the_hash_of_files(file):
    text = f"module:path={file}:build,penalty=r1"
    assert label(families.resolve(text)) == text


def test_a_distribution_holds_beside_the_latent_of_a_game(tmp_path):
    """The function of a file is called once; what is asked for comes before what it says."""
    (tmp_path / "own.py").write_text(
        "import gantlet\nfrom torch import nn\ncalls = []\n\n\ndef build():\n"
        "    calls.append(1)\n    g, d = nn.Linear(2, 2), nn.Linear(2, 1)\n"
        "    nn.init.eye_(g.weight), nn.init.zeros_(g.bias)\n"
        "    return gantlet.game({'G': g, 'D': d}, losses='ns', latent=2)\n"
    )
    text = f"module:path={tmp_path}/own.py:build"
    calls = find_object(f"{tmp_path}/own.py:build")[0].calls
    assert samples_of_text(text, 400, seed=0).x.abs().max() > 2
    assert len(calls) == 1
    found = samples_of_text(f"{text},distribution=uniform", 400, seed=0)
    assert 0.9 < found.x.abs().max() <= 1
    assert "uniform on [-1, 1] latents" in found.note


def test_samples_of_a_file_follow_from_the_seed(file, tmp_path):
    torch.save(OwnFamily(path=f"{file}:generator").generator().state_dict(), tmp_path / "g.pt")
    text = f"module:path={file}:generator,weights={tmp_path}/g.pt"
    one, two, other = (samples_of_text(text, 300, seed=s) for s in (0, 0, 1))
    assert torch.equal(one.x, two.x)
    assert not torch.equal(one.x, other.x)
    net = OwnFamily(path=f"{file}:generator", weights=f"{tmp_path}/g.pt").generator()
    rng = Rng(0).stream("sample")
    z = [torch.randn(n, 3, generator=rng) for n in (250, 50)]
    assert torch.allclose(one.x, net(torch.cat(z)), atol=1e-6)
    assert "standard normal latents of size 3" in one.note


def test_a_torchscript_file_gives_the_samples_of_its_network(tmp_path):
    net = images()["generator"].eval()
    # PyTorch advises against the format, but files in it are there.
    with pytest.warns(DeprecationWarning, match="deprecated"):
        torch.jit.save(torch.jit.trace(net, torch.zeros(2, 5)), tmp_path / "g.ts")
    text = f"torchscript:path={tmp_path}/g.ts,latent=5,range=-1+1,shape=1+8+8"
    found = samples_of_text(text, 100, seed=0)
    z = torch.randn(100, 5, generator=Rng(0).stream("sample"))
    wanted = ((net(z) + 1) / 2 * 255).round().to(torch.uint8).reshape(100, 1, 8, 8)
    assert found.x.dtype == torch.uint8
    assert torch.equal(found.x, wanted)
    assert "[-1, 1] became bytes" in found.note
    with pytest.raises(UserError, match="give latent=SIZE"):
        samples_of_text(f"torchscript:path={tmp_path}/g.ts", 10, seed=0)


def message(number, *values):
    """Returns a field of a protocol buffer: a number, a text or nested bytes."""
    out = b""
    for value in values:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def onnx_file(weight, bias, batch):
    """Returns an ONNX file of tanh(z W + b), with a fixed batch or a free one."""

    def tensor(name, x):
        dims = b"".join(message(1, n) for n in x.shape)
        return message(
            5, dims + message(2, 1) + message(8, name) + message(9, x.numpy().tobytes())
        )

    def value(number, name, *shape):
        dims = b"".join(
            message(1, message(1, n) if isinstance(n, int) else message(2, n)) for n in shape
        )
        kind = message(1, message(1, 1) + message(2, dims))
        return message(number, message(1, name) + message(2, kind))

    def node(op, *names):
        return message(1, message(1, *names[:-1]) + message(2, names[-1]) + message(4, op))

    graph = node("MatMul", "z", "w", "a") + node("Add", "a", "b", "c") + node("Tanh", "c", "x")
    graph += message(2, "g") + tensor("w", weight) + tensor("b", bias)
    graph += value(11, "z", batch, weight.shape[0]) + value(12, "x", batch, weight.shape[1])
    return message(1, 8) + message(7, graph) + message(8, message(2, 13))


@pytest.mark.parametrize("batch", ["n", 16])
def test_an_onnx_file_gives_the_samples_of_its_network(tmp_path, batch):
    pytest.importorskip("onnxruntime")
    w, b = torch.randn(4, 3, generator=stream("w")), torch.randn(3, generator=stream("b"))
    (tmp_path / "g.onnx").write_bytes(onnx_file(w, b, batch))
    found = samples_of_text(f"onnx:path={tmp_path}/g.onnx", 100, seed=3)
    z = torch.randn(100, 4, generator=Rng(3).stream("sample"))
    assert torch.allclose(found.x, (z @ w + b).tanh(), atol=1e-6)
    assert "size 4" in found.note
    for options, said in (("latent=5", "latent=SIZE"), ("classes=3", "1 inputs")):
        with pytest.raises(UserError, match=said):
            samples_of_text(f"onnx:path={tmp_path}/g.onnx,{options}", 10, seed=0)
    with pytest.raises(UserError, match="Did you mean 'latent'"):
        samples_of_text(f"onnx:path={tmp_path}/g.onnx,latnt=5", 10, seed=0)


def test_a_live_network_is_a_set_of_samples(tmp_path):
    real = torch.randn(200, 2, generator=stream())
    net = networks()[0].net
    report = gantlet.evaluate(
        {"net": net, "game": own("ns")},
        real,
        samples=200,
        metrics=["energy"],
        out=tmp_path / "run",
    )
    rows = [r for r in report.rows if r.name.startswith("energy")]
    found = {r.model.partition("=")[0]: r.estimate.value for r in rows}
    assert found["net"] == pytest.approx(found["game"], rel=0.5)
    assert found["net"] > 0


MOONS = "moons:n=600,held_out=200"


def test_games_of_ones_own_play_a_tournament(file, tmp_path):
    one, two = own("ns", data=MOONS), own("hinge", data=MOONS)
    with torch.no_grad():
        two.players["generator"][0].weight.mul_(3)
    games = {"one": one, "two": two}
    report = gantlet.tournament(games, samples=100, out=tmp_path / "run")
    rates = {r.name: r.estimate.value for r in report.rows if r.model == "two"}
    x = bound(two, PLANE).model.sample(100, rng=Rng(0).stream("two None"))
    splits = gantlet.components.datasets.make(MOONS).load(rng=Rng(0))
    fake, real = (
        bound(one, PLANE).critic(x),
        bound(one, PLANE).critic(splits.validation.take(torch.arange(100))),
    )
    wins = (fake[:, None] > real).double().mean()
    assert rates["win rate against critic of one"] == pytest.approx(float(wins), abs=1e-6)
    file.write_text(FILE.replace('data="moons"', f'data="{MOONS}"'))
    again = gantlet.tournament([f"mine=module:path={file}:build"], samples=50, out=tmp_path / "b")
    assert {r.model for r in again.rows} >= {"mine"}
    with pytest.raises(UserError, match="Give data="):
        gantlet.tournament({"one": own("ns")}, out=tmp_path / "c")


def test_a_game_is_trained_and_evaluated_like_any_family(file, tmp_path):
    model = f"module:path={file}:build"
    report = gantlet.train(
        model, data=MOONS, budget=gantlet.Budget(steps=40), snapshots=2, out=tmp_path / "run"
    )
    assert report.verdicts
    x = gantlet.load_model(tmp_path / "run").sample(5, rng=stream())
    assert x.shape == (5, 2)
    rated = gantlet.tournament(tmp_path / "run", samples=50, out=tmp_path / "t")
    assert len({r.model for r in rated.rows if r.name == "rating"}) > 2
    twin = shutil.copytree(tmp_path / "run", tmp_path / "other" / "run")
    with pytest.raises(UserError, match=r"'run/module.*Rename one of the run folders"):
        gantlet.tournament([tmp_path / "run", twin], samples=50, out=tmp_path / "u")


def test_a_recommended_penalty_is_added_to_a_live_game():
    game = own("wgan")
    text = written(game).replace("penalty=none,gamma=0", "penalty=r1,gamma=0.7")
    family = meaning(text, RunData({content_of(game): game}))
    real = torch.randn(16, 2, generator=stream())
    found = family.build(PLANE, rng=Rng(0)).loss("critic", real, rng=stream("noise"))
    wanted = own("wgan", "r1").loss("critic", real, rng=stream("noise"))
    assert torch.equal(found, wanted)
    assert not torch.equal(found, game.loss("critic", real, rng=stream("noise")))
    with pytest.raises(UserError, match="given as an object"):
        meaning(text, RunData())


def test_flaws_of_a_game_and_a_diagnosis_of_a_file_on_the_command_line(file, tmp_path, capsys):
    real = torch.randn(300, 2, generator=stream())
    report = gantlet.flaws(own("ns"), real, samples=300, out=tmp_path / "flaws")
    assert report.verdicts
    text = f"module:path={file}:build"
    out = str(tmp_path / "run")
    code = run(["converge", text, "--data", MOONS, "--steps", "20", "--out", out, "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert code == 0
    assert answer["question"]["model"].startswith("module:path=")
    assert answer["leading"]


# ----------------------------------------------------------------------------
# What does not fit is told in one line.
# ----------------------------------------------------------------------------


def pair():
    critic = nn.Linear(2, 1)
    nn.init.constant_(critic.bias, 9.0)
    return {"generator": nn.Linear(3, 2), "critic": critic}


def mean_of(critic, real):
    return critic(real).mean()


D = nn.Linear(2, 1)


@pytest.mark.parametrize(
    ("players", "options", "said"),
    [
        ({"generator": lambda z: z, "critic": D}, {"losses": "ns"}, "must be a torch.nn.Module"),
        ({"generator": nn.Linear, "critic": D}, {"losses": "ns"}, "the class Linear"),
        (
            {"generator": nn.Linear(3, 2), "critic": nn.ReLU()},
            {"losses": "ns"},
            "without parameters",
        ),
        ([1], {"losses": "ns"}, "modules by name"),
        (pair(), {"losses": "hing"}, "Did you mean 'hinge'"),
        (pair(), {"losses": "ns", "latent": 4}, "latent=SIZE"),
        (pair(), {"losses": "ns", "latent": 0}, "size or a shape"),
        (pair(), {"losses": "ns", "range": (1, -1)}, "the lower first"),
        (pair(), {"losses": "ns", "range": (-1, 1)}, "range= is for images"),
        (pair(), {"losses": "ns", "distribution": "norml"}, "Did you mean 'normal'"),
        (pair(), {"losses": "ns", "penalty": "r1r3"}, "Did you mean 'r1r2'"),
        (pair(), {"losses": "bce"}, "Give losses='ns'"),
        (
            {"generator": nn.Linear(3, 2), "critic": nn.Sequential(nn.Linear(2, 1), nn.Sigmoid())},
            {"losses": "ns"},
            "losses='bce'",
        ),
        (pair(), {"losses": {"critic": mean_of}}, "lacks a function for generator"),
        (
            pair(),
            {"losses": {"critic": mean_of, "generatr": mean_of}},
            "Did you mean 'generator'",
        ),
        (
            pair(),
            {"losses": {"critic": lambda critc: critc, "generator": mean_of}},
            "Did you mean 'critic'",
        ),
        (
            pair(),
            {
                "losses": {
                    "critic": lambda real_score, fake_score: real_score - fake_score,
                    "generator": lambda fake_score: -fake_score.mean(),
                }
            },
            "must be a scalar tensor. Got shape (4,). Call .mean()",
        ),
        (
            pair(),
            {
                "losses": {
                    "critic": lambda real_score, fake_score: 1.0,
                    "generator": lambda fake_score: -fake_score.mean(),
                }
            },
            "must be a scalar tensor. Got float",
        ),
        (
            pair(),
            {
                "losses": {
                    "critic": lambda critic, real, fake: (
                        critic(real) - critic(fake.detach())
                    ).mean(),
                    "generator": lambda fake_score: -fake_score.mean(),
                }
            },
            "drop .detach()",
        ),
        (
            {"generator": nn.Linear(3, 2), "critic": D},
            {
                "losses": {
                    "critic": lambda real, fake: (D(real) - D(fake)).mean(),
                    "generator": lambda fake_score: -fake_score.mean(),
                }
            },
            "Take it as an argument",
        ),
        (
            {"generator": nn.Linear(3, 2), "critic": nn.Linear(2, 5)},
            {"losses": "ns"},
            "one score for each sample",
        ),
        (
            {"generator": nn.Linear(3, 2), "critic": nn.Linear(4, 1)},
            {"losses": "ns"},
            "critic cannot",
        ),
        ({"G": nn.Linear(3, 2), "generator": nn.Linear(3, 2)}, {"losses": "ns"}, "one player"),
        ({"a": nn.Linear(3, 2)}, {"losses": {"a": torch.sum}}, "does not tell its arguments"),
    ],
)
def test_what_does_not_fit_is_one_line(players, options, said):
    with pytest.raises(UserError) as caught:
        gantlet.game(players, **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{file}:biuld", "Did you mean 'build'"),
        ("{folder}/none.py:build", "no file"),
        ("{folder}/mien.py:build", "Did you mean"),
        ("{file}:networks", "Give loss=ns"),
        ("{file}:broken", "raised RuntimeError: no luck"),
        ("{file}:generator", "must return gantlet.game"),
        ("{file}:torch", "must be a function"),
        ("{file}", "file.py:attribute"),
        ("{file}:build,weights={folder}/none.pt", "cannot be read"),
        ("{file}:build,weights={folder}/g.pt", "no weights of critic"),
        ("{file}:build,weights={folder}/other.pt", "it lacks 0.weight"),
        ("{file}:build,weights={folder}/other.pt", "it also holds first.weight"),
        ("{file}:build,weights={folder}/wide.pt", "shape"),
        ("{file}:build,weights={folder}/code.pt", "contains code"),
        ("{file}:build,weight={folder}/g.pt", "Did you mean 'weights'"),
        ("{file}:networks,loss=nss", "Did you mean 'ns'"),
    ],
)
def test_files_that_do_not_fit_are_one_line(file, tmp_path, text, said):
    net = OwnFamily(path=f"{file}:generator").generator()
    torch.save(net.state_dict(), tmp_path / "g.pt")
    torch.save({"first.weight": torch.zeros(2, 2)}, tmp_path / "other.pt")
    torch.save({k: torch.cat([v, v]) for k, v in net.state_dict().items()}, tmp_path / "wide.pt")
    torch.save(net, tmp_path / "code.pt")
    with pytest.raises(UserError) as caught:
        families.make(f"module:path={text.format(file=file, folder=tmp_path)}").build(
            PLANE, rng=Rng(0)
        )
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_players_of_one_architecture_need_names(tmp_path):
    with seeded(stream()):
        players = {"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)}
    torch.save(players["a"].state_dict(), tmp_path / "a.pt")
    with pytest.raises(UserError, match="fits a and b alike"):
        load_weights(players, [tmp_path / "a.pt"], needed=["a"])


def test_the_written_form_of_a_live_game_names_its_content():
    one, two = own("ns"), own("ns")
    assert written(one) == written(two)
    assert content_of(one) != content_of(own("hinge"))
    with torch.no_grad():
        next(two.players["critic"].parameters()).add_(1e-3)
    assert content_of(one) != content_of(two)


def weighed(weight):
    return lambda fake_score: weight * softplus(-fake_score).mean()


def default(fake_score, weight=1.0):
    return weight * softplus(-fake_score).mean()


def scaled(weight, fake_score):
    return weight * softplus(-fake_score).mean()


def configured(opt):
    return lambda fake_score: opt.w * softplus(-fake_score).mean()


class Weighed:
    """A loss with a number of its own."""

    def __init__(self, weight):
        self.weight = weight

    def __call__(self, fake_score):
        return self.weight * softplus(-fake_score).mean()


def helped(weight):
    def helper(x):
        return weight * x

    return lambda fake_score: helper(softplus(-fake_score).mean())


@pytest.mark.parametrize(
    "loss",
    [
        weighed,
        lambda w: weighed(torch.tensor(w)),
        lambda w: weighed(np.float32(w)),
        lambda w: partial(default, weight=w),
        Weighed,
        helped,
        lambda w: lambda fake_score, w=w: w * softplus(-fake_score).mean(),
        lambda w: configured(Namespace(w=w)),
        lambda w: partial(scaled, w),
        lambda w: Weighed(w).__call__,
    ],
)
def test_losses_of_one_source_that_weigh_differently_are_two_games(loss):
    """Else the second is answered with the stored diagnosis of the first."""
    critic = FUNCTIONS["ns"]["critic"]
    games = [own({"critic": critic, "generator": loss(w)}) for w in (1.0, 1.0, 2.0)]
    assert written(games[0]) == written(games[1])
    assert written(games[0]) != written(games[2])


def test_the_written_form_keeps_every_digit_of_the_penalty():
    for gamma in (0.7, 1.0, 1 / 3):
        game = own("ns", "r1", gamma)
        family = meaning(written(game), RunData({content_of(game): game}))
        assert family.gamma == gamma
    assert "gamma=1," in written(own("ns", "r1", 1.0))


def test_levels_need_a_range():
    game = gantlet.game(images(), losses="ns")
    with pytest.raises(UserError, match=r"range=\(-1, 1\)"):
        bound(game, Space("image", (1, 8, 8), 17))
    with pytest.raises(UserError, match="of shape"):
        bound(game, PLANE)
    assert game.loss("critic", torch.zeros(4, 64), rng=stream()).isfinite()
