"""Late gradients: the simulator against slow twins, and what is predicted of it."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import solvers
from gantlet.games.batched import Ensemble
from gantlet.games.field import GameField
from gantlet.games.spectrum import largest_delay, leading
from gantlet.games.stale import (
    averaged,
    geometric_delay,
    growth,
    growth_with_lookahead,
    largest_workers,
    read_trace,
)
from gantlet.games.toys import Dirac, LgqToy, Saddle
from gantlet.testing import check_solver
from gantlet.testing.contracts import Tug
from toy_games import Bilinear

H = 0.1
SIM = f"sgd:lr={H},mode=simultaneous"


def late(of, **options):
    return ",".join(["stale:" + f'of="{of}"', *(f"{k}={v}" for k, v in options.items())])


def centred(start=(1.0, 0.5)):
    return Bilinear(*(torch.tensor([s], dtype=torch.float64) for s in start))


def place(game):
    return torch.cat(
        [p.detach().flatten().clone() for m in game.players.values() for p in m.parameters()]
    )


def play(text, game, steps, sample=None):
    """Returns the places of a play, shape ``(steps + 1, n)``."""
    player, noise = solvers.make(text).start(game), Rng(0).stream("noise")
    places = [place(game)]
    for step in range(steps):
        batch = torch.randn(4 * player.batches, 3, generator=Rng(step).stream("batch"))
        batch = batch if sample is None else torch.cat([sample] * player.batches)
        player.step(batch, rng=noise)
        places.append(place(game))
    return torch.stack(places)


INSIDE = [
    "adam",
    "adam:mode=simultaneous,clip=0.1",
    "adam:steps=2+1",
    "sgd:momentum=0.3",
    "extragradient",
    "past-extragradient",
    "optimistic",
    "lookahead:k=2",
    "consensus",
    "sga",
    "cgd",
]
PRODUCTS = {"consensus", "sga", "cgd"}


@pytest.mark.parametrize("of", INSIDE)
def test_a_delay_of_zero_is_the_solver_inside_bit_for_bit(of):
    whole = play(of, Tug(), 5)
    for text in (
        late(of, delay=0),
        late(of, delays="geometric", workers=1),
        late(of, delay=0, damping="true"),
        *([] if of in PRODUCTS else [late(of, delay=0, late="opponent")]),
    ):
        assert torch.equal(play(text, Tug(), 5), whole), text


@pytest.mark.parametrize("of", INSIDE)
def test_a_delay_changes_the_path_and_resumes_bit_for_bit(of):
    text = late(of, delay=2)
    check_solver(solvers.make(text))
    assert not torch.equal(play(text, Tug(), 5), play(of, Tug(), 5))


@pytest.mark.parametrize(
    "options",
    [
        {"delays": "geometric", "workers": 3},
        {"delay": 2, "late": "opponent"},
        {"delay": 2, "late": "b"},
        {"delay": 3, "damping": "true"},
    ],
)
def test_every_kind_of_delay_resumes_bit_for_bit(options):
    check_solver(solvers.make(late("adam", **options)))


# ----------------------------------------------------------------------------
# Slow twins on min_x max_y x y, with pen and paper.
# ----------------------------------------------------------------------------


def past(seen, t, delay):
    return seen[max(t - delay, 0)]


@pytest.mark.parametrize("delay", [1, 2, 5])
def test_players_at_once_see_each_other_where_they_were(delay):
    x, y = [1.0], [0.5]
    for t in range(30):
        gx, gy = past(y, t, delay), past(x, t, delay)
        x.append(x[-1] - H * gx)
        y.append(y[-1] + H * gy)
    found = play(late(SIM, delay=delay), centred(), 30)
    assert found.tolist() == [pytest.approx(p, rel=1e-12) for p in zip(x, y, strict=True)]


@pytest.mark.parametrize("delay", [1, 3])
def test_players_in_turn_see_what_the_same_turn_saw(delay):
    x, y, seen = [1.0], [0.5], []
    for t in range(30):
        x.append(x[-1] - H * past(y, t, delay))
        seen.append(x[-1])
        # Before the first step, all are where they begin.
        y.append(y[-1] + H * (seen[t - delay] if t >= delay else x[0]))
    found = play(late(f"sgd:lr={H}", delay=delay), centred(), 30)
    assert found.tolist() == [pytest.approx(p, rel=1e-12) for p in zip(x, y, strict=True)]


def quadratic(late_of, delay, own=0.3, steps=25):
    """``own/2 x^2 + x y`` against ``own/2 y^2 - x y``, with the gradients of some late."""
    x, y = [1.0], [1.0]
    for t in range(steps):
        px, py = past(x, t, delay), past(y, t, delay)
        late_x = {"opponent": (x[t], py), "x": (px, py), "y": (x[t], y[t])}[late_of]
        late_y = {"opponent": (px, y[t]), "x": (x[t], y[t]), "y": (px, py)}[late_of]
        x.append(x[t] - H * (own * late_x[0] + late_x[1]))
        y.append(y[t] - H * (own * late_y[1] - late_y[0]))
    return [pytest.approx(p, rel=1e-12) for p in zip(x, y, strict=True)]


@pytest.mark.parametrize("who", ["opponent", "x", "y"])
def test_gradients_of_some_players_alone_are_late(who):
    toy = Saddle(own=(0.3,))
    found = play(late(SIM, delay=3, late=who), toy.build(), 25, toy.real)
    assert found.tolist() == quadratic(who, 3)


def test_damping_divides_the_step_by_the_delay():
    small = play(late(f"sgd:lr={H / 4},mode=simultaneous", delay=4), centred(), 20)
    found = play(late(SIM, delay=4, damping="true"), centred(), 20)
    assert found.tolist() == [pytest.approx(p, rel=1e-12) for p in small.tolist()]
    # Adam does not see the size of gradients, and is damped all the same.
    adam = "adam:lr=0.01,mode=simultaneous"
    once = play(late(adam, delay=4, damping="true"), centred(), 1)
    whole = play(adam, centred(), 1)
    assert (once[1] - once[0]).tolist() == pytest.approx(((whole[1] - whole[0]) / 4).tolist())


@pytest.mark.parametrize(
    "text", ["stale:delays=replay,path={},", "stale:delays=replay,damping=true,path={},"]
)
def test_a_trace_is_replayed_and_begins_anew(text, tmp_path):
    delays = [0, 1, 3, 0, 2]
    file = tmp_path / "a,b.csv"
    rows = [f"{i},0,{d}" for i, d in enumerate(delays)]
    file.write_text("\n".join(["update,worker,staleness", *rows]))
    assert read_trace(file) == delays
    z = [1 + 0.5j]
    for t in range(12):
        delay = delays[t % 5]
        share = 1 / max(delay, 1) if "damping" in text else 1
        z.append(z[-1] + share * H * 1j * past(z, t, delay))
    solver = solvers.make(text.format(f'"{file}"') + f'of="{SIM}"')
    check_solver(solver)
    found = play(solvers.resolve(text.format(f'"{file}"') + f'of="{SIM}"'), centred(), 12)
    assert found.tolist() == [pytest.approx((p.real, p.imag), rel=1e-12) for p in z]


def test_a_changed_trace_is_refused(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("staleness\n1\n")
    text = solvers.resolve(f"stale:delays=replay,path={file}")
    assert solvers.make(text)
    file.write_text("staleness\n2\n")
    with pytest.raises(UserError, match="was changed since"):
        solvers.make(text)


def test_geometric_delays_are_those_of_independent_workers():
    drawn = np.array([geometric_delay(4, 7, t) for t in range(4000)])
    assert drawn.mean() == pytest.approx(3, abs=4 * math.sqrt(12 / 4000))
    counts = np.bincount(drawn, minlength=6)[:6] / 4000
    expected = 0.25 * 0.75 ** np.arange(6)
    assert np.abs(counts - expected).max() < 4 * math.sqrt(0.25 / 4000)
    assert abs(np.corrcoef(drawn[1:], drawn[:-1])[0, 1]) < 4 / math.sqrt(4000)
    assert [geometric_delay(4, 7, t) for t in range(9)] == drawn[:9].tolist()


# ----------------------------------------------------------------------------
# Many plays at once.
# ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "of", [SIM, "optimistic:base=sgd,lr=0.1", "lookahead:base=sgd,lr=0.1,k=3", "consensus:lr=0.1"]
)
@pytest.mark.parametrize("wrap", ["stale:delay=2,", "elastic:workers=2,period=3,"])
def test_many_plays_at_once_are_those_of_networks(of, wrap):
    game = LgqToy(dim=2).build()
    all_of = Ensemble(game)
    starts = torch.stack([all_of.now, 0.5 * all_of.now + 0.1])
    batch, noise = torch.zeros(2, 4, 2), torch.zeros(2, 0)
    solver = solvers.make(f'{wrap}of="{of}"')
    step, memory = all_of.program(solver, starts, batch, noise)
    z = starts
    for _ in range(3):
        z, memory = step(z, memory, batch, noise)
    all_of.place(starts[1])
    found = play(f'{wrap}of="{of}"', game, 3 * solver.cycle, batch[0])
    assert z[1].tolist() == pytest.approx(found[-1].tolist(), rel=1e-9, abs=1e-12)


# ----------------------------------------------------------------------------
# Elastic averaging.
# ----------------------------------------------------------------------------


def test_elastic_averaging_is_its_algorithm():
    n, period, beta = 3, 2, 0.6
    centre, own = 1 + 0.5j, [1 + 0.5j] * n
    path = [centre]
    for t in range(20):
        i = t % n
        if t // n % period == 0:
            pull = beta / n * (own[i] - centre)
            own[i], centre = own[i] - pull, centre + pull
        own[i] += H * 1j * own[i]
        path.append(centre)
    text = f'elastic:workers={n},period={period},beta={beta},of="{SIM}"'
    found = play(text, centred(), 20)
    assert found.tolist() == [pytest.approx((p.real, p.imag), rel=1e-12) for p in path]
    check_elastic = solvers.make("elastic:workers=2,period=1")
    check_solver(check_elastic)


# ----------------------------------------------------------------------------
# What is predicted.
# ----------------------------------------------------------------------------


def measured(places):
    """Returns the growth in one step of the one mode that is left of a play.

    A pair of roots ``r`` leaves ``z[t+2] = 2 Re(r) z[t+1] - |r|^2 z[t]``, and one root alone
    ``z[t+1] = r z[t]``.
    """
    now, after, later = places[:-2].flatten(), places[1:-1].flatten(), places[2:].flatten()
    # In differences, as a slow rotation hardly changes from one step to the next.
    design = torch.stack([after - now, now], 1).numpy()
    (slope, back), _, rank, _ = np.linalg.lstsq(design, (later - after).numpy(), rcond=1e-10)
    if rank == 1:
        return float((after / now).abs().mean())
    return float(np.abs(np.roots([1, -(1 + slope), slope - back])).max())


@pytest.mark.parametrize(
    ("delay", "bound"), [(0, 2.0), (1, 1.0), (2, 0.618034), (4, 0.347296), (8, 0.184537)]
)
def test_a_stale_minimisation_is_stable_up_to_its_bound(delay, bound):
    exact = 2 * math.sin(math.pi / (2 * (2 * delay + 1)))
    assert exact == pytest.approx(bound, abs=5e-7)
    assert growth(-exact, delay=delay) == pytest.approx(1, abs=1e-9)
    for share, falls in ((0.97, True), (1.03, False)):
        toy = Saddle(own=(1.0,), cross=0.0)
        text = late(f"sgd:lr={share * exact},mode=simultaneous", delay=delay)
        found = measured(play(text, toy.build(), 200, toy.real)[-60:, :1])
        assert (found < 1) == falls
        assert found == pytest.approx(growth(-share * exact, delay=delay), rel=1e-6)


@pytest.mark.parametrize(
    ("delay", "stated"), [(0, 2e-4), (1, 5.99e-4), (2, 9.94e-4), (4, 1.76e-3)]
)
def test_rotation_grows_by_the_effective_delay(delay, stated):
    h = 0.02
    rate = math.log(growth(1j * h, delay=delay))
    assert rate == pytest.approx(stated, rel=6e-3)
    # To the leading order; measured in a play.
    assert rate == pytest.approx(h * h * (delay + 0.5), rel=0.03)
    norm = play(late(f"sgd:lr={h},mode=simultaneous", delay=delay), centred(), 200).norm(dim=1)
    assert math.log(norm[-1] / norm[100]) / 100 == pytest.approx(rate, rel=1e-6)


def test_the_factor_that_the_page_of_solvers_states():
    norm = play(late(SIM, delay=1), centred(), 300).norm(dim=1)
    assert float(norm[-1] / norm[-2]) == pytest.approx(1.014296, abs=5e-7)


def test_optimism_is_a_negative_delay():
    h = 0.02
    for delay in (0, 1, 2):
        text = late(f"optimistic:base=sgd,lr={h}", delay=delay)
        norm = play(text, centred(), 200).norm(dim=1)
        rate = math.log(growth(1j * h, delay=delay, optimism=1.0))
        assert rate == pytest.approx(h * h * (delay - 0.5), rel=0.15)
        assert math.log(norm[-1] / norm[100]) / 100 == pytest.approx(rate, rel=1e-6)


@pytest.mark.parametrize("momentum", [-0.4, 0.5])
def test_momentum_and_delay_together(momentum):
    text = late(f"sgd:lr={H},mode=simultaneous,momentum={momentum}", delay=2)
    norm = play(text, centred(), 400).norm(dim=1)
    rate = math.log(growth(1j * H, delay=2, momentum=momentum))
    assert math.log(norm[-1] / norm[200]) / 200 == pytest.approx(rate, rel=1e-3)


def dirac(gamma):
    toy = Dirac(penalty="r1", gamma=gamma, theta=0.0, psi=0.0)
    field = GameField(toy.build(), toy.real, rng=Rng(0).stream("test"))
    return leading(field.jacobian, rng=Rng(0).stream("test")).values


@pytest.mark.parametrize(
    ("workers", "stated"), [(1, 0.986154), (2, 0.988517), (4, 0.993604), (8, 1.001378)]
)
def test_workers_act_as_momentum(workers, stated):
    found = max(growth(H * v, workers=workers) for v in dirac(0.3))
    assert found == pytest.approx(stated, abs=2e-6)
    # The mean over all draws, by a recursion over geometric weights.
    weights = (1 - 1 / workers) ** np.arange(400) / workers
    s, z = H * dirac(0.3)[0], [0j] * 400 + [1 + 0j]
    for _ in range(900):
        z.append(z[-1] + s * np.dot(weights, z[:-401:-1]))
    assert abs(z[-1]) / abs(z[-2]) == pytest.approx(found, abs=1e-9)


def test_the_largest_number_of_workers_is_where_the_mean_stops_contracting():
    assert largest_workers(dirac(0.3), H) == 7
    assert growth(H * dirac(0.3)[0], workers=7) < 1 < growth(H * dirac(0.3)[0], workers=8)
    assert largest_workers(dirac(0.0), H) is None
    with pytest.raises(ValueError, match="takes no delay"):
        growth(1.0, workers=2, delay=3)


@pytest.mark.parametrize(("gamma", "step"), [(0.1, 0.05), (0.3, 0.05), (0.3, 0.1), (0.6, 0.1)])
def test_the_dirac_gan_stands_the_delay_that_is_predicted(gamma, step):
    limit = largest_delay(dirac(gamma), step)
    # So near the equilibrium the game is linear to six digits; the other modes have died out.
    toy = Dirac(penalty="r1", gamma=gamma, theta=0.001, psi=0.001)
    for delay, falls in ((limit, True), (limit + 1, False)):
        text = late(f"sgd:lr={step},mode=simultaneous", delay=delay)
        found = measured(play(text, toy.build(), 240, toy.real)[-60:])
        assert (found < 1) == falls, delay
        predicted = max(growth(step * v, delay=delay) for v in dirac(gamma))
        assert math.log(found) == pytest.approx(math.log(predicted), rel=1e-2)


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_lookahead_with_late_gradients(delay):
    k, alpha = 5, 0.5
    predicted = growth_with_lookahead(1j * H, delay=delay, k=k, alpha=alpha)
    text = late(f"lookahead:base=sgd,lr={H},mode=simultaneous,k={k},alpha={alpha}", delay=delay)
    norm = play(text, centred(), 300).norm(dim=1)[::k]
    rate = math.log(norm[-1] / norm[30]) / (k * (len(norm) - 31))
    assert rate == pytest.approx(math.log(predicted), rel=1e-6)
    if delay == 0:
        assert predicted == pytest.approx(0.99624, abs=5e-6)


def test_averaging_moves_the_limit_of_rotation():
    ahead = [growth_with_lookahead(1j * H, delay=d, k=20, alpha=0.5) for d in range(12)]
    assert all(growth(1j * H, delay=d) > 1 for d in range(12))
    assert max(ahead[:2]) < 1 < ahead[-1]


def test_a_moving_average_shrinks_what_rotates_and_moves_no_limit():
    decay, s = 0.95, 1j * H
    z, mean, ratio = 1 + 0j, 0j, []
    for _ in range(600):
        z *= 1 + s
        mean = decay * mean + (1 - decay) * z
        ratio.append(abs(mean) / abs(z))
    assert ratio[-1] == pytest.approx(averaged(1 + s, decay), rel=1e-6)
    assert all(b == pytest.approx(a, rel=1e-3) for a, b in pairwise(ratio[-50:]))


# ----------------------------------------------------------------------------
# History with several opponents.
# ----------------------------------------------------------------------------


def test_history_plays_the_mean_of_several_past_selves():
    x, y, snapshots, path = 1.0, 0.5, [], [(1.0, 0.5)]
    for _ in range(12):
        x -= H * np.mean([*(b for _, b in snapshots), y])
        y += H * np.mean([*(a for a, _ in snapshots), x])
        snapshots = [*snapshots, (x, y)][-2:]
        path.append((x, y))
    found = play(f"history:base=sgd,lr={H},last=3,opponents=3", centred(), 12)
    assert found.tolist() == [pytest.approx(p, rel=1e-12) for p in path]
    check_solver(solvers.make("history:last=5,opponents=2"))


# ----------------------------------------------------------------------------
# What users get wrong.
# ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("stale:late=critics", "late"),
        ("stale:delays=replay", "delays=replay needs path=FILE"),
        ("stale:path=x.csv", "delays=replay needs path=FILE"),
        ("stale:delays=replay,path=no-such.csv", "cannot be read"),
        ("stale:of=langevin", "of must be a solver that draws no random numbers"),
        ("stale:of=adamm", "Did you mean"),
        ('stale:of="sga",late=opponent', "takes gradients alone"),
        ("stale:delay=-1", "from 0 to 100000"),
        ("elastic:beta=0", "above 0"),
        ("history:last=2,opponents=3", "opponents must be at most last=2"),
    ],
)
def test_mistakes_are_told_in_one_line(text, says):
    with pytest.raises(UserError, match=says) as error:
        play(text, Tug(), 3)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content", ["", "staleness\n", "delay\n1\n", "staleness\n1.5\n", "staleness\n-1\n"]
)
def test_a_file_that_is_no_trace_is_refused(content, tmp_path):
    file = tmp_path / "t.csv"
    file.write_text(content)
    with pytest.raises(UserError, match="must have a column staleness"):
        read_trace(file)
