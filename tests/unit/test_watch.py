"""Watch: looks, alarms and cost in a loop of one's own, which it leaves as it was."""

import copy
import csv
import json
import math
import random
import time
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import gantlet
from gantlet.commands.copies import copies, nearest
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.games.noise import Look as Gradients
from gantlet.given import to_spec
from gantlet.models.generator import Latent, latent_shape
from gantlet.models.nets import seeded
from gantlet.run.execute import read_report
from gantlet.watch.alarms import LEVELS, Alarms, Counts, Distance
from gantlet.watch.drawing import drawn, own_randomness, stream
from gantlet.watch.looks import Curve, Look
from gantlet.watch.pace import Pace
from gantlet.watch.reference import Reference, resolved


def normal(n, seed=0, d=2):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


REAL = normal(240)


def healthy(n, generator):
    return torch.randn(n, 2, generator=generator)


def watch(real=REAL, **options):
    given = {"every": 10, "samples": 60, "share": None, "to": ()} | options
    return gantlet.Watch(real, **given)


def run(watched, steps, sample=healthy, start=0):
    for step in range(start, steps):
        watched(step, sample=sample, losses={"g": 1 / (step + 1)})
    return watched


# ----------------------------------------------------------------------------
# A look.
# ----------------------------------------------------------------------------


def test_a_look_has_numbers_with_intervals_beside_the_floor_and_paired_changes():
    found = run(watch(train=normal(100, 7)), 21)
    assert [look.step for look in found.looks] == [0, 10, 20]
    last = found.looks[-1]
    names = ["kid", "precision", "recall", "effective-support", "copies", "loss/g"]
    assert [e.name for e in last.entries] == names
    for entry in last.entries[:-1]:
        e = entry.estimate
        assert entry.floor is not None
        assert e.value is None or e.low <= e.value <= e.high
    assert found.looks[0].changes == {}
    assert set(last.changes) == {"kid", "precision", "recall"}
    before = found.looks[1].estimate("kid").value
    assert last.changes["kid"].value == pytest.approx(last.estimate("kid").value - before)
    assert "paired" in last.changes["kid"].method


def test_pairing_makes_the_change_surer():
    found = run(watch(), 11)
    alone = [look.estimate("kid").half_width for look in found.looks]
    assert found.looks[1].changes["kid"].half_width < math.hypot(*alone)


def test_the_change_of_a_model_that_did_not_change_is_a_coin_toss():
    """Of 40 paired changes of an unchanged model about one in twenty is called significant."""
    found = run(watch(every=1), 41)
    wrong = [look for look in found.looks[1:] if not holds(look.changes["kid"], 0)]
    assert len(wrong) <= 6


def holds(e, truth):
    return e.low <= truth <= e.high


def reference_of(real):
    where = to_spec(real, "real", n=None, seed=0)
    return Reference(where, None, features="", measured=("kid",), samples=60, seed=0)


def test_a_look_is_what_the_metrics_say():
    x = normal(60, 5)
    look = watch(metrics=["energy"])(0, sample=lambda n: x[:n])
    metric = gantlet.components.metrics.make("energy")
    rows = reference_of(REAL).rows
    direct = metric.measure(rows, x, rng=gantlet.Rng(0).stream("energy"))
    assert look.estimate("energy").value == pytest.approx(direct.value, rel=1e-9)
    assert look.estimate("energy").low == pytest.approx(direct.low, rel=1e-9)


def test_the_floor_shares_no_sample_with_the_reference():
    reference = reference_of(REAL)
    both = torch.cat([reference.rows, reference.held])
    assert len(torch.unique(both, dim=0)) == len(both) == 180
    assert len(reference.held) == 60


@pytest.mark.parametrize("d", [5, 80])  # 80: products in float32, decisions in float64
def test_copies_are_nearer_than_a_third_of_the_way_to_the_next_training_sample(d):
    train = normal(200, 1, d)
    scales = 10 ** torch.linspace(-2, 2, 150)[:, None]
    x = train[:150] + scales * normal(150, 2, d) / d**0.5
    apart, within = (torch.cdist(z.double(), train.double()) for z in (x, train))
    owner = apart.argmin(1)
    expected = apart.amin(1) <= within.fill_diagonal_(math.inf).amin(1)[owner] / 3
    assert 20 < int(expected.sum()) < 130
    assert torch.equal(copies(x, train), expected)
    assert torch.equal(nearest(REAL.repeat(1, d // 2 + 1)[:, :d], x, train)["copy"], expected)
    assert copies(x, train[:1]) is None


def test_a_twin_of_two_equal_training_samples_is_a_copy_and_its_neighbour_is_none():
    train = torch.tensor([[0.0, 0.0], [0.0, 0.0], [5.0, 5.0], [9.0, 9.0]])
    x = torch.tensor([[0.0, 0.0], [0.1, 0.0], [5.0, 5.5]])
    assert copies(x, train).tolist() == [True, False, True]


def test_the_effective_support_is_a_third_where_a_third_is_left():
    real = torch.eye(6).repeat(60, 1) + 0.01 * normal(360, d=6)
    few = torch.eye(6)[:2].repeat(30, 1)
    look = watch(real, samples=60)(0, sample=lambda n: few[:n] + 0.01 * normal(n, 3, d=6))
    found = look.estimate("effective-support")
    assert found.low < 1 / 3 < found.high


def test_the_same_seed_gives_the_same_record_and_another_does_not():
    a, b = (run(watch(), 21).state_dict()["looks"] for _ in range(2))
    assert a == b
    assert run(watch(seed=1), 21).state_dict()["looks"] != a


# ----------------------------------------------------------------------------
# The loop is left as it was.
# ----------------------------------------------------------------------------


def states():
    return (
        torch.get_rng_state().tolist(),
        random.getstate(),
        np.random.get_state(legacy=False)["state"]["key"].tolist(),  # noqa: NPY002
    )


def careless(n):
    """Draws from all global generators, as functions of users do."""
    assert random.random() < 1
    return torch.randn(n, 2) + float(np.random.rand()) * 0.01  # noqa: NPY002


def test_no_global_random_state_is_moved_and_none_decides():
    before = states()
    first = run(watch(), 11, careless).state_dict()["looks"]
    assert states() == before
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(99)
        again = run(watch(), 11, careless).state_dict()["looks"]
    assert first == again


def test_random_states_come_back_when_a_function_raises():
    before = states()
    with pytest.raises(ZeroDivisionError), own_randomness(stream(0, "x")):
        assert int(torch.rand(3).sum()) // 0
    assert states() == before


def network():
    with torch.random.fork_rng():
        net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    net[1].eval()
    return net


def backward(net):
    with torch.random.fork_rng():  # dropout
        net(normal(9, d=4)).sum().backward()


def test_modes_buffers_and_gradients_are_left_alone():
    net, other = network(), network()
    backward(net)
    modes = [m.training for m in net.modules()]
    buffers = copy.deepcopy(net.state_dict())
    grads = [p.grad.clone() for p in net.parameters()]
    found = watch()
    for step in range(11):
        found(step, sample=net, players={"critic": other, "generator": net})
    assert not found.looks[0].note
    assert [m.training for m in net.modules()] == modes
    assert all(torch.equal(v, buffers[k]) for k, v in net.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(net.parameters(), grads, strict=True))
    assert all(p.requires_grad for p in net.parameters())
    assert torch.is_grad_enabled()


def test_norms_of_the_players_are_recorded():
    net = network()
    backward(net)
    look = watch()(0, sample=net, players={"generator": net})
    grads = torch.cat([p.grad.flatten() for p in net.parameters()])
    assert look.estimate("gradient/generator").value == pytest.approx(float(grads.norm()))


def test_automatic_precision_of_the_loop_does_not_reach_the_numbers():
    plain = run(watch(), 1).looks[0].estimate("kid")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert run(watch(), 1).looks[0].estimate("kid") == plain


def test_nothing_raises_after_the_first_call():
    calls = []

    def worse(n):
        calls.append(n)
        if len(calls) > 2:  # the trial and the first look
            raise RuntimeError("out of luck")
        return normal(n)

    found = run(watch(), 31, worse)
    assert found.looks[0].note == ""
    assert "out of luck" in found.looks[1].note
    assert found.looks[2].estimate("kid").value is None
    assert "out of luck" in found.looks[2].estimate("kid").method
    assert "Nothing could be measured" in found.report().verdicts[-1].claim


def test_a_metric_that_fails_takes_no_other_along():
    constant = torch.zeros(240, 2)
    found = run(watch(constant), 11, lambda n: torch.zeros(n, 2))
    assert len(found.looks) == 2
    assert found.report().verdicts


def test_a_writer_that_fails_is_a_limitation(tmp_path):
    found = watch(out=tmp_path / "run", to=("csv",))
    found(0, sample=healthy)
    (tmp_path / "run/looks.csv").unlink()
    (tmp_path / "run/looks.csv").mkdir()
    run(found, 21, start=1)
    assert len(found.looks) == 3
    (told,) = [c.text for c in found.report().caveats if "looks.csv" in c.text]
    assert told.startswith("Writer Csv failed: IsADirectoryError")


# ----------------------------------------------------------------------------
# What can be sampled from.
# ----------------------------------------------------------------------------


def test_a_latent_is_read_off_the_network():
    with torch.random.fork_rng():
        assert latent_shape(nn.Sequential(nn.Linear(5, 2))) == (5,)
        assert latent_shape(nn.Sequential(nn.ConvTranspose2d(7, 2, 3))) == (7, 1, 1)
        convolution = nn.Sequential(nn.Conv2d(3, 2, 1))
    with pytest.raises(UserError, match="latent="):
        latent_shape(convolution)
    convolution.latent_dim = 9
    assert latent_shape(convolution) == (9,)


def test_a_network_is_sampled_as_by_hand():
    net = network().eval()
    rng = stream(3, "look")
    found = drawn(net, 20, latent=Latent(), players=[], rng=rng)
    again = stream(3, "look")
    torch.randint(2**31, (), generator=again)  # seeds the global states
    with torch.no_grad():
        by_hand = net(torch.randn(20, 4, generator=again))
    assert np.allclose(found, by_hand.numpy(), atol=1e-6)


def test_uniform_latents_lie_between_minus_one_and_one():
    z = Latent(shape=(3,), prior="uniform").drawn(nn.Identity(), 1000, stream(0, "z"))
    assert z.min() < -0.99
    assert 0.99 < z.max() <= 1


def test_models_modules_and_functions_are_sampled():
    class Sampled(nn.Module):
        def sample(self, n):
            return normal(n, 4)

    moons = gantlet.components.datasets.make("moons:n=300,held_out=100")
    splits = moons.load(rng=gantlet.Rng(0))
    x = splits.train.take(torch.arange(300))
    family = gantlet.components.families.make("gmm")
    model = family.fit(moons.space, x, rng=gantlet.Rng(0)).model
    for sample in (Sampled(), model, lambda n: normal(n).numpy(), lambda n: (normal(n), None)):
        assert watch()(0, sample=sample).note == ""


def test_images_of_a_network_are_compared_with_bytes():
    real = torch.randint(0, 256, (120, 1, 8, 8), generator=stream(0, "r"), dtype=torch.uint8)

    def fake(n, generator):
        return 2 * torch.rand(n, 1, 8, 8, generator=generator) - 1

    found = watch(real, samples=40)
    look = found(0, sample=fake)
    kid = look.entries[0]
    assert not look.note
    assert kid.estimate.value == pytest.approx(kid.floor.value, abs=3 * kid.floor.half_width)


def test_everything_that_evaluate_takes_is_real(tmp_path):
    np.savez(tmp_path / "real.npz", x=REAL.numpy())
    data = torch.utils.data.TensorDataset(REAL)
    loader = torch.utils.data.DataLoader(data, batch_size=50)
    known = watch().state_dict()["fingerprint"]
    for real in (REAL.numpy(), data, loader, str(tmp_path / "real.npz"), tmp_path / "real.npz"):
        assert watch(real).state_dict()["fingerprint"] == known
    assert run(watch("moons:n=400,held_out=100"), 1).looks


# ----------------------------------------------------------------------------
# Mistakes are one line, at once.
# ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"every": 0}, "every must be a whole number from 1. Got 0"),
        ({"samples": 3}, "samples must be a whole number from 20"),
        ({"share": 5}, "share must be above 0 and at most 1"),
        ({"prior": "gauss"}, "'normal' or 'uniform'"),
        ({"latent": 0}, "latent must be a size or a shape"),
        ({"to": "tensorbord"}, "Did you mean 'tensorboard'"),
        ({"metrics": ["fidd"]}, "Unknown metric 'fidd'"),
        ({"metrics": ["ct"]}, "not a distance between two sets"),
        ({"features": "pixel"}, "Did you mean 'pixels'"),
        ({"real": "nowhere.npz"}, "does not exist"),
        ({"real": REAL[:4]}, "holds 4 samples|At least 10"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(options, told):
    with pytest.raises(UserError, match=told) as error:
        watch(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ({"step": 1.5}, "step must be a whole number"),
        ({"sample": 3}, "sample must be a network"),
        ({"sample": lambda n: normal(n + 1)}, "asked for 8 samples and returned 9"),
        ({"sample": lambda n: normal(n, d=3)}, r"shape \(n, 2\)"),
        ({"sample": lambda n: 1 / 0}, "raised ZeroDivisionError"),
        ({"losses": {"g": "low"}}, "'g' is str"),
        ({"players": {"g": 3}}, "'g' is int"),
    ],
)
def test_a_wrong_first_call_is_refused_in_one_line(call, told):
    with pytest.raises(UserError, match=told) as error:
        watch()(**{"step": 0, "sample": healthy} | call)
    assert "\n" not in str(error.value)


def test_the_record_of_another_run_is_not_overwritten(tmp_path):
    run(watch(out=tmp_path), 11).report()
    with pytest.raises(UserError, match="holds the record of a run"):
        run(watch(out=tmp_path), 1)
    run(watch(out=tmp_path, overwrite=True), 1)


# ----------------------------------------------------------------------------
# Alarms.
# ----------------------------------------------------------------------------


def counts(near=3, realistic=3, far=0, copies=0, n=300):
    return Counts(pairs=n // 2, near=near, realistic=realistic, n=n, far=far, copies=copies)


def alarms():
    floor = Distance(value=0.0, variance=1e-4)
    return Alarms(0.02, (0, 300), floor)


def test_all_alarms_together_are_false_in_at_most_five_per_cent():
    assert sum(LEVELS.values()) <= 0.05


def test_healthy_counts_at_the_edge_of_the_margins_raise_nothing():
    """Rates as large as a healthy run may have, in 300 runs of 40 looks; 5 % is 15."""
    draw, alarmed = np.random.default_rng(0), 0
    for _ in range(300):
        found = alarms()
        for look in range(40):
            c = counts(
                near=int(draw.binomial(150, 0.04 if look else 0.02)),
                realistic=int(draw.binomial(150, 0.02)),
                far=int(draw.binomial(300, 0.2)),
                copies=int(draw.binomial(300, 0.05)),
            )
            found.look(look, c, None)
        alarmed += bool(found.raised)
    assert alarmed <= 15


def test_collapse_is_found_at_once_and_early_noise_is_none():
    found = alarms()
    # A network at its start gives the same for all latents: nothing has collapsed yet.
    for step in range(3):
        assert found.look(step, counts(near=150, realistic=0, far=300), None) == []
    for step in range(3, 9):
        assert found.look(step, counts(near=3), None) == []
    (alarm,) = found.look(9, counts(near=60), None)
    assert (alarm.kind, alarm.step) == ("collapse", 9)
    assert alarm.p < 0.015
    assert found.look(10, counts(near=60), None) == []  # once


def test_a_model_that_never_had_more_than_few_modes_is_found_where_they_are_realistic():
    found = alarms()
    (alarm,) = found.look(0, counts(near=150, realistic=120), None)
    assert alarm.kind == "collapse"


def test_copying_and_samples_out_of_range_are_found():
    found = alarms()
    assert found.look(0, counts(), None) == []
    kinds = {a.kind for a in found.look(1, counts(copies=200, far=250), None)}
    assert kinds == {"copying", "divergence"}


def progress(values, spread=0.001):
    found = alarms()
    for step, value in enumerate(values):
        raised = found.look(step, counts(), Distance(value=value, variance=spread**2))
        if raised:
            return step, raised[0].kind
    return None


def test_a_plateau_above_the_floor_is_no_progress_and_one_at_the_floor_is_an_end():
    draw = np.random.default_rng(0)
    noise = 0.001 * draw.standard_normal(60)
    step, kind = progress([2 * 0.8 ** min(i, 12) + noise[i] + 0.5 for i in range(60)])
    assert kind == "no progress"
    assert step >= 17
    assert progress([2 * 0.8**i + noise[i] for i in range(60)]) is None
    assert progress([0.001 * noise[i] for i in range(60)]) is None


def test_a_model_that_goes_up_and_down_by_more_than_its_samples_is_not_stuck():
    """Steady progress under swings between looks, in 200 runs; 1.2 % may be wrong."""
    draw, wrong = np.random.default_rng(1), 0
    for _ in range(200):
        swings = np.exp(0.5 * draw.standard_normal(40))
        wrong += progress([0.97**i * swings[i] for i in range(40)]) is not None
    assert wrong <= 6


def test_numbers_that_are_not_finite_are_divergence():
    found = watch()
    run(found, 10)
    run(found, 21, lambda n: torch.full((n, 2), math.nan), start=10)
    (alarm,) = found.alarms
    assert alarm.kind == "divergence"
    assert "60 of 60 samples" in alarm.text
    assert found.looks[-1].estimate("kid").value is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e7])
def test_a_loss_that_explodes_is_divergence_without_a_look(bad):
    found = watch(every=1000)
    for step in range(1, 200):
        found(step, sample=healthy, losses={"critic": torch.tensor(bad if step > 120 else 2.0)})
    (alarm,) = found.alarms
    assert (alarm.kind, alarm.step) == ("divergence", 121)
    assert "loss critic" in alarm.text


def test_weights_that_are_not_finite_are_divergence():
    net = network()
    with torch.no_grad():
        next(net.parameters()).fill_(math.inf)
    found = watch()
    found(0, sample=healthy, players={"critic": net})
    assert "weights of critic" in found.alarms[0].text


def test_an_alarm_is_logged_and_leads_the_report(caplog):
    found = run(watch(train=REAL[:120] + 9), 21)
    assert not found.alarms
    same = normal(3, 8)
    run(found, 41, lambda n: same[torch.arange(n) % 3], start=21)
    assert [a.kind for a in found.alarms] == ["collapse"]
    assert "collapse at step 30" in caplog.text
    report = found.report()
    assert report.verdicts[0].claim == "Collapse at step 30."
    assert report.extra["alarms"][0]["kind"] == "collapse"


# ----------------------------------------------------------------------------
# Cost.
# ----------------------------------------------------------------------------


def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_watching_takes_its_share_and_says_what_was_left_out():
    found = watch(share=0.5, every=1)
    for step in range(80):
        burn(0.02)
        found(step, sample=healthy)
    assert 0 < len(found.looks) < 80
    assert len(found.looks) + found.left_out == 80
    assert found.share_spent < 0.5
    assert any("left out, to keep watching below 50%" in c.text for c in found.report().caveats)
    # And much of the share was used.
    assert found.share_spent > 0.2


def test_a_call_without_a_look_costs_microseconds():
    found = run(watch(every=10**6), 10)
    loss, net = torch.tensor(1.0), network()
    before = time.process_time()
    for step in range(10, 2010):
        found(step, sample=healthy, losses={"g": loss}, players={"g": net})
    assert (time.process_time() - before) / 2000 < 1e-3


def test_the_pace_counts_loop_and_watching_apart():
    pace = Pace(0.5)
    for _ in range(2):
        with pace.watching():
            burn(0.01)
        burn(0.03)
    with pace.watching():
        pass
    assert pace.loop == pytest.approx(0.06, abs=0.02)
    assert pace.own == pytest.approx(0.02, abs=0.01)
    again = Pace(0.5)
    again.load(pace.state())
    assert (again.loop, again.own) == (pace.loop, pace.own)


def test_operations_of_a_step_are_those_of_the_public_meter():
    net = network()
    cost = gantlet.count(lambda: net.eval()(normal(10, d=4)))
    assert cost.flops == 2 * 10 * (4 * 8 + 8 * 2)
    found = run(watch(flops=cost), 11)
    facts = {f.name: f.value for f in found.report().facts.items}
    assert facts["Operations"].startswith("960 FLOP a step")
    assert "9.60 kFLOP in all" in facts["Operations"].replace("\u00a0", " ")


# ----------------------------------------------------------------------------
# The record: files, page, state.
# ----------------------------------------------------------------------------


def test_a_killed_loop_goes_on_without_a_gap(tmp_path):
    both = {"to": ("csv", "jsonl"), "name": "mine"}
    whole = run(watch(out=tmp_path / "a", **both), 61)
    first = run(watch(out=tmp_path / "b", **both), 31)
    saved = tmp_path / "state.pt"
    torch.save(first.state_dict(), saved)
    run(first, 45, start=31)  # goes on and is killed: what it wrote beyond the state must go
    again = watch(out=tmp_path / "b", **both)
    again.load_state_dict(torch.load(saved, weights_only=True))  # noqa: TID251  (as users do)
    run(again, 61, start=31)
    for file in ("looks.csv", "looks.jsonl"):
        assert (tmp_path / "a" / file).read_text() == (tmp_path / "b" / file).read_text()
    assert whole.report().rows == again.report().rows
    a, b = (w.state_dict() for w in (whole, again))
    for key in ("looks", "alarms", "curves", "pictures", "run"):
        assert a[key] == b[key], key


def test_a_state_of_another_run_is_refused():
    state = run(watch(), 1).state_dict()
    with pytest.raises(UserError, match="other real samples"):
        watch(REAL + 1).load_state_dict(state)
    with pytest.raises(UserError, match="not the state of a Watch"):
        watch().load_state_dict({})
    begun = run(watch(), 1)
    with pytest.raises(UserError, match="before the first call"):
        begun.load_state_dict(state)


def test_files_hold_whole_looks(tmp_path):
    found = run(watch(out=tmp_path, to=("csv", "jsonl")), 21)
    with (tmp_path / "looks.csv").open() as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (tmp_path / "looks.jsonl").read_text().splitlines()]
    assert len(rows) == len(lines) == sum(len(x.entries) for x in found.looks)
    kid = found.looks[1].estimate("kid")
    at = next(i for i, r in enumerate(lines) if (r["step"], r["name"]) == (10, "kid"))
    assert lines[at]["value"] == kid.value == float(rows[at]["value"])
    assert lines[at]["low"] == kid.low
    assert float(rows[at]["floor"]) == found.looks[1].entries[0].floor.value


def test_the_page_grows_while_training_runs_and_rests_when_it_has_ended(tmp_path):
    found = run(watch(out=tmp_path), 11)
    early = (tmp_path / "report.html").read_text()
    assert 'http-equiv="refresh"' in early
    assert read_report(tmp_path).extra["running"] is True
    run(found, 31, start=11).report()
    late = (tmp_path / "report.html").read_text()
    assert 'http-equiv="refresh"' not in late
    assert "Samples over time" in late
    assert len(late) > len(early)
    assert [f.name for f in tmp_path.glob(".*")] == [".lock"], "no draft is left"
    report = read_report(tmp_path)
    assert (report.command, report.extra["running"]) == ("watch", False)
    kid = {r.name: r.estimate.value for r in report.rows}["kid, step 20"]
    assert kid == found.looks[2].estimate("kid").value


def test_pictures_are_kept_in_bounds_and_spread_over_the_run(tmp_path):
    found = run(watch(out=tmp_path, every=1), 30)
    steps = sorted(found.state_dict()["pictures"])
    assert len(steps) == 8
    assert steps[0] == 0
    assert steps[-1] > 20
    assert len(list((tmp_path / "samples").glob("*.png"))) > 8


def test_a_notebook_shows_answer_and_table():
    found = run(watch(), 11)
    text = found._repr_html_()
    assert "No alarm in 2 looks" in text
    assert "<table" in text
    assert watch()._repr_html_()


def test_without_a_noise_floor_it_says_so():
    found = run(watch(REAL[:15], samples=20), 1)
    assert found.looks[0].entries[0].floor is None
    assert any("no noise floor" in c.text for c in found.report().caveats)


def test_looks_are_where_multiples_were_passed():
    found = watch(every=10)
    for step in range(3, 60, 7):
        found(step, sample=healthy)
    assert [x.step for x in found.looks] == [10, 24, 31, 45, 52]


def test_losses_alone_need_no_sampler():
    found = watch()
    for step in range(25):
        assert found(step, losses={"g": 1.0}) is None
    assert found.report().verdicts[0].claim.startswith("No look yet")


def test_a_look_survives_the_plain_form():
    look = run(watch(), 11).looks[-1]
    assert Look.of_plain(json.loads(json.dumps(look.plain()))) == look


def test_a_long_curve_is_its_means():
    curve, values = Curve(), np.random.default_rng(0).standard_normal(10_000)
    for step, value in enumerate(values):
        curve.add(step, float(value))
    steps, means = curve.points
    assert len(steps) == len(means) <= 401
    assert float(np.mean(values)) == pytest.approx(curve.since())
    again = Curve()
    again.load(curve.state())
    assert again.points == curve.points


def test_kid_is_always_measured():
    assert resolved(("recall", "kid", "recall")) == ("kid", "recall")


def test_no_warning_reaches_the_loop(tmp_path):
    """Recorded, not raised: what raises inside a look is caught there and told as a note."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = run(watch(train=normal(50, 3), out=tmp_path, to="csv"), 21)
        found.report()
    assert len(found.looks) == 3
    assert not [str(w.message) for w in told]


def test_missing_numbers_have_no_scalars():
    from gantlet.watch.writers import Entry

    assert Entry(step=0, name="kid", estimate=Estimate.missing("none")).scalars() == {}


# ----------------------------------------------------------------------------
# Gradient noise of a game.
# ----------------------------------------------------------------------------


def small_game():
    with seeded(torch.Generator().manual_seed(0)):
        players = {
            "generator": nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 2)),
            "critic": nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1)),
        }
    return gantlet.game(players, losses="ns", latent=3)


def test_the_gradient_noise_of_a_game_is_measured_at_looks(tmp_path):
    game = small_game()
    watched = watch(game=game, batch=64, out=tmp_path / "run")
    before = {k: v.clone() for p in game.players.values() for k, v in p.state_dict().items()}
    run(watched, 21)
    for look in watched.looks:
        found = {p: look.estimate(f"noise-scale/{p}") for p in ("critic", "generator", "together")}
        assert all(e.value > 0 and e.n == 128 for e in found.values())
    after = {k: v for p in game.players.values() for k, v in p.state_dict().items()}
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert all(p.grad is None for m in game.players.values() for p in m.parameters())
    exact = Gradients(game, REAL, rng=torch.Generator().manual_seed(0), unit="example")
    scale = exact.moments()["critic"].parts().scale()
    seen = [look.estimate("noise-scale/critic") for look in watched.looks]
    assert any(e.low is None or (e.low < scale.high and scale.low < e.high) for e in seen)
    charts = [b.title for b in watched.report().blocks]
    assert "Gradient noise scale" in charts


def test_a_game_of_other_samples_is_refused():
    with pytest.raises(UserError, match=r"shape \(2,\), and the real ones have shape \(3,\)"):
        watch(normal(240, d=3), game=small_game())
    with pytest.raises(UserError, match=r"game must be gantlet\.game"):
        watch(game=nn.Identity())
    with pytest.raises(UserError, match="batch must be a whole number from 1"):
        watch(batch=0)
