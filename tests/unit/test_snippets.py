"""The lines of PyTorch that converge recommends do what Gantlet's own solver and penalty do."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import relu, softplus

import gantlet
from gantlet.commands.converge.snippets import pytorch_lines
from gantlet.commands.own_games import loss_of
from gantlet.core.rng import Rng
from gantlet.core.spec import solvers
from gantlet.models.losses import LOSSES
from gantlet.models.nets import mlp, seeded

PLAYERS = ["critic", "generator"]
BASE = "gan:loss=ns,penalty=none,gamma=0"


def stream(name="test"):
    return Rng(0).stream(name)


def networks():
    """A GAN in double precision, so that steps can be compared to the last digits but few."""
    with seeded(stream("init")):
        return {"critic": mlp(2, 8, 1).double(), "generator": mlp(3, 8, 2).double()}


def critic_loss(critic, real, fake):
    """With R1, so that gradients of gradients are in it."""
    x = real.detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    loss = softplus(-critic(real)).mean() + softplus(critic(fake)).mean()
    return loss + 0.3 * slope.square().sum(1).mean()


LOSS = {"critic": critic_loss, "generator": lambda critic, fake: softplus(-critic(fake)).mean()}


def batches(solver, n=7):
    """Pairs of real samples, and the latents that Gantlet draws for each look at them."""
    count = solvers.make(solver).start(gantlet.game(networks(), losses=LOSS)).batches
    return torch.randn(n, 16 * count, 2, generator=stream("real"), dtype=torch.float64)


def played(solver, n=7):
    """Where Gantlet's solver leads, and the latents it drew, look by look."""
    drawn = []
    game = gantlet.game(networks(), losses=LOSS)
    players = copy.deepcopy(dict(game.players))
    game = gantlet.game(players, losses=LOSS)
    model, original = game.model, type(game.model).drawn

    def drawn_and_kept(count, rng):
        z = original(model, count, rng)
        drawn.append(z)
        return z

    model.drawn = drawn_and_kept
    play, noise = solvers.make(solver).start(game), stream("noise")
    looks = []
    for batch in batches(solver, n):
        drawn.clear()
        play.step(batch, rng=noise)
        looks.append(list(drawn))
    return [p.detach() for m in players.values() for p in m.parameters()], looks


def pasted(lines):
    """Runs a snippet in a loop of its own; returns its names and the networks."""
    nets = networks()
    critic, generator = nets["critic"], nets["generator"]
    scope = {
        "torch": torch,
        **nets,
        "critic_loss": lambda real, z: LOSS["critic"](critic, real, generator(z)),
        "generator_loss": lambda real, z: LOSS["generator"](critic, generator(z)),
    }
    exec(lines, scope)
    return scope, [p for m in nets.values() for p in m.parameters()]


def lines_of(solver, model=BASE, before="sgd:lr=0.123"):
    return pytorch_lines(
        model, solvers.resolve(solver), before=(BASE, solvers.resolve(before)), players=PLAYERS
    )


def assert_same(a, b):
    assert all(torch.allclose(x, y, rtol=1e-9, atol=1e-12) for x, y in zip(a, b, strict=True))


ALTERNATING = [
    "adam:lr=0.01,beta1=0.5,beta2=0.9",
    "adam:lr=0.02+0.005,beta1=0.0,beta2=0.99",
    "sgd:lr=0.05",
    "sgd:lr=0.05+0.1,momentum=0.5",
]


@pytest.mark.parametrize("solver", ALTERNATING)
def test_optimizers_that_alternate(solver):
    wanted, looks = played(solver)
    scope, found = pasted(lines_of(solver))
    for batch, zs in zip(batches(solver), looks, strict=True):
        for player, z in zip(PLAYERS, zs, strict=True):
            own = list(scope[player].parameters())
            grads = torch.autograd.grad(scope[f"{player}_loss"](batch, z), own)
            for p, g in zip(own, grads, strict=True):
                p.grad = g
            scope[f"opt_{player}"].step()
    assert_same(wanted, found)


@pytest.mark.parametrize(
    "solver",
    [
        "optimistic:base=adam,lr=0.01",
        "optimistic:base=sgd,lr=0.05+0.02",
        "consensus:base=sgd,lr=0.05,gamma=1.0",
        "consensus:base=adam,lr=0.01,gamma=0.5",
        "extragradient:base=adam,lr=0.01",
        "extragradient:base=sgd,lr=0.05",
        "extragradient:base=sgd,lr=0.05,fresh=false",
    ],
)
def test_solvers_that_move_all_players_at_once(solver):
    wanted, looks = played(solver)
    scope, found = pasted(lines_of(solver))
    fresh = solver.startswith("extragradient") and "fresh=false" not in solver
    for batch, zs in zip(batches(solver), looks, strict=True):
        if fresh:
            first, second = batch.chunk(2)
            scope["step"](first, zs[0], second, zs[len(zs) // 2])
        else:
            scope["step"](batch, zs[0])
    assert_same(wanted, found)


@pytest.mark.parametrize(
    "solver", ["lookahead:base=adam,lr=0.01,k=3", "lookahead:base=sgd,lr=0.1"]
)
def test_lookahead(solver):
    wanted, looks = played(solver)
    scope, found = pasted(lines_of(solver))
    every = solvers.make(solver).k
    for step, (batch, zs) in enumerate(zip(batches(solver), looks, strict=True), start=1):
        for player, z in zip(PLAYERS, zs, strict=True):
            own = list(scope[player].parameters())
            grads = torch.autograd.grad(scope[f"{player}_loss"](batch, z), own)
            for p, g in zip(own, grads, strict=True):
                p.grad = g
            scope[f"opt_{player}"].step()
        if step % every == 0:
            scope["look_back"]()
    assert_same(wanted, found)


def test_the_loss_of_a_python_file_is_known_to_its_penalty(tmp_path):
    """Slopes are those of logits where the file, and not the written form, says bce."""
    (tmp_path / "own.py").write_text(
        "import gantlet\nfrom torch import nn\n\n\ndef build():\n"
        "    d = nn.Sequential(nn.Linear(2, 1), nn.Sigmoid())\n"
        "    return gantlet.game({'G': nn.Linear(2, 2), 'D': d}, losses='bce')\n"
    )
    model = f"module:path={tmp_path}/own.py:build"
    assert (loss_of(model), loss_of("gan")) == ("bce", "")
    lines = pytorch_lines(
        f"{model},loss=none,penalty=r1,gamma=2",
        "adam",
        before=(f"{model},loss=none,penalty=none,gamma=1", "adam"),
        players=["D", "G"],
        loss=loss_of(model),
    )
    assert "torch.autograd.grad(torch.logit(D(x), eps=1e-7).sum(), x" in lines


@pytest.mark.parametrize("kind", ["r1", "r2", "r1r2", "gp"])
@pytest.mark.parametrize("loss", ["ns", "bce"])
def test_penalties(kind, loss):
    nets = networks()
    critic = nets["critic"]
    if loss == "bce":
        nets["critic"] = critic = nn.Sequential(critic, nn.Sigmoid())
    game = gantlet.game(nets, losses=loss, penalty=kind, gamma=0.8)
    plain = gantlet.game(nets, losses=loss)
    real = torch.randn(16, 2, generator=stream("real"), dtype=torch.float64)
    wanted = game.loss("critic", real, rng=stream("noise"))
    model = f"module:loss={loss},penalty={kind},gamma=0.8"
    before = f"module:loss={loss},penalty=none,gamma=0"
    lines = pytorch_lines(model, "sgd", before=(before, "sgd"), players=PLAYERS)
    z = game.model.drawn(16, stream("noise"))
    scope = {
        "torch": torch,
        "critic": critic,
        "real": real,
        "fake": nets["generator"](z).detach(),
        "loss": plain.loss("critic", real, rng=stream("noise")),
    }
    if kind == "gp":
        # The same points between real and fake: those that follow the latents.
        rng = stream("noise")
        game.model.drawn(16, rng)
        t = torch.rand(16, 1, generator=rng, dtype=torch.float64)
        lines = lines.replace(
            "torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device)", "t"
        )
        scope["t"] = t
    exec(lines, scope)
    assert scope["loss"].item() == pytest.approx(wanted.item(), rel=1e-9)
    inside = list(critic.parameters())
    assert_same(torch.autograd.grad(wanted, inside), torch.autograd.grad(scope["loss"], inside))


@pytest.mark.parametrize("loss", LOSSES)
def test_losses(loss):
    nets = networks()
    game = gantlet.game(nets, losses=loss)
    real = torch.randn(16, 2, generator=stream("real"), dtype=torch.float64)
    lines = pytorch_lines(
        f"gan:loss={loss},penalty=none,gamma=0",
        "sgd",
        before=("gan:loss=other,penalty=none,gamma=0", "sgd"),
        players=PLAYERS,
    )
    z = game.model.drawn(16, stream("noise"))
    scope = {"critic": nets["critic"], "real": real, "fake": nets["generator"](z)}
    exec(lines, scope)
    assert scope["relu"] is relu
    for player, name in (("critic", "loss"), ("generator", "generator_loss")):
        wanted = game.loss(player, real, rng=stream("noise"))
        assert scope[name].item() == pytest.approx(wanted.item(), rel=1e-9)


@pytest.mark.parametrize(
    ("before", "where"),
    [
        ("penalty=none,gamma=1", "after its loss"),
        ("penalty=r1,gamma=0", "after its loss"),
        ("penalty=r1,gamma=1", "in place of the penalty there"),
    ],
)
def test_a_stronger_penalty_takes_the_place_of_the_one_there(before, where):
    """Added to it, the two would weigh more than what was predicted."""
    old = f"gan:loss=ns,{before}"
    new = "gan:loss=ns,penalty=r1,gamma=3"
    lines = pytorch_lines(new, "sgd", before=(old, "sgd"), players=PLAYERS)
    assert lines.startswith(f"# In the step of critic: {where}, before backward().\n")
    assert "loss = loss + 1.5 *" in lines


def test_what_changes_nothing_has_no_lines():
    assert pytorch_lines(BASE, "sgd", before=(BASE, "sgd"), players=PLAYERS) == ""


def test_names_of_players_become_names_of_python():
    lines = pytorch_lines(
        BASE,
        solvers.resolve("adam"),
        before=(BASE, "sgd"),
        players=["critic 1", "generator-2"],
    )
    assert "opt_critic_1" in lines
    compile(lines, "snippet", "exec")


def test_the_report_shows_them_as_they_are(tmp_path):
    report = gantlet.converge(
        "dirac:loss=ns", budget=gantlet.Budget(steps=60), out=tmp_path / "run"
    )
    found = [b for b in report.blocks if type(b).__name__ == "Code"]
    assert found
    assert "torch.autograd.grad" in found[0].text
    assert found[0].text == report.extra["advice"][0]["pytorch"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert '<pre class="code"' in page
    again = gantlet.load_report(tmp_path / "run")
    assert [b for b in again.blocks if type(b).__name__ == "Code"] == found
