"""Published runs: parameters and operations against the authors' and against hand counts."""

import math

import pytest
import torch

from gantlet.report import terminal
from gantlet.research.published.flows import GlowRun, TarFlowRun
from gantlet.research.published.gans import ProGanRun, R3GanRun
from gantlet.research.published.report import (
    compare_article,
    published_report,
    published_rows,
    published_runs,
)
from gantlet.research.published.run import NOT_CHECKED, Stated, flops, zeros


@pytest.fixture(scope="module")
def rows():
    before = torch.get_rng_state()
    found = list(published_rows())
    assert torch.equal(before, torch.get_rng_state())
    return dict(zip(["glow", "progan", "r3gan", "edm", "cfm", "tarflow"], found, strict=True))


def parameters(run):
    nets = run.networks()
    return {name: sum(p.numel() for p in net.parameters()) for name, net in nets.items()}


class TestParameters:
    def test_progressive_gan(self, rows):
        assert rows["progan"].train_parameters.value == pytest.approx(46.2e6, rel=0.01)
        assert rows["progan"].sample_parameters.value == pytest.approx(23.1e6, rel=0.01)

    def test_glow_and_its_mixing_matrices(self, rows):
        # 168.8 million without the invertible 1x1 convolutions, which are trained like the rest.
        mixing = 32 * sum((12 * 2**level) ** 2 for level in range(6))
        assert rows["glow"].train_parameters.value - mixing == pytest.approx(168.8e6, rel=0.01)
        assert rows["glow"].train_parameters.value == pytest.approx(175.1e6, rel=0.01)

    def test_r3gan_and_its_labels(self, rows):
        # 20.7 million each without labels; the critic then ends in one number, not in 768.
        labels = {"generator": 10 * 64 + 64 * 768, "critic": 10 * 768 + 767 * 768}
        for name, found in parameters(R3GanRun()).items():
            assert found - labels[name] == pytest.approx(20.7e6, rel=0.01)
        assert rows["r3gan"].train_parameters.value == pytest.approx(42.1e6, rel=0.01)

    @pytest.mark.parametrize(
        ("name", "millions"), [("edm", 55.7), ("cfm", 35.7), ("tarflow", 460)]
    )
    def test_one_network(self, rows, name, millions):
        assert rows[name].train_parameters.value == pytest.approx(millions * 1e6, rel=0.01)


class TestOperations:
    @pytest.mark.parametrize(
        ("name", "forward", "step", "sample"),
        [
            # GLOW's code gives its convolutions a channel that marks the edge: 1.5 % on top of
            # the 482 GFLOP of the plain layers.
            ("glow", 489.7e9, 1.47e12, 492.4e9),
            ("progan", 55.0e9, 0.989e12, 55.0e9),
            ("r3gan", 14.0e9, 266.8e9, 14.0e9),
            ("edm", 42.4e9, 127e9, 1483e9),
            ("cfm", 12.4e9, 37.3e9, 1244e9),
            ("tarflow", 1134e9, 3.40e12, 1030e9),
        ],
    )
    def test_match_an_independent_count(self, rows, name, forward, step, sample):
        row = rows[name]
        assert row.forward.value == pytest.approx(forward, rel=0.005)
        assert row.step.value == pytest.approx(step, rel=0.005)
        assert row.sample.value == pytest.approx(sample, rel=0.005)

    def test_follow_the_rule_of_passes(self, rows):
        for run, row in zip(published_runs(), rows.values(), strict=True):
            forward = run.forward()
            rule = sum(times * forward[name] for name, times in run.passes.items())
            assert row.step.value == pytest.approx(rule, rel=0.005)

    def test_progressive_gan_without_fusing(self):
        run = ProGanRun(is_fused=False)
        assert run.forward()["generator"] == pytest.approx(85e9, rel=0.01)
        assert run.step() == pytest.approx(1.53e12, rel=0.01)
        assert run.step_at(256) == pytest.approx(1.01e12, rel=0.01)

    def test_growth_shows_all_images(self):
        schedule = dict(ProGanRun().schedule())
        assert sum(schedule.values()) == 12e6
        assert (schedule[4], schedule[8], schedule[512], schedule[1024]) == (
            6e5,
            1.2e6,
            1.2e6,
            3e6,
        )

    @pytest.mark.parametrize("at", ["forward_at", "step_at"])
    @pytest.mark.parametrize("run", [GlowRun(), TarFlowRun()])
    def test_repeated_parts_cost_the_same(self, run, at):
        cost = [getattr(run, at)(n) for n in (1, 2, 3)]
        assert cost[2] - cost[1] == pytest.approx(cost[1] - cost[0])

    def test_a_cached_patch_costs_in_proportion_to_those_before(self):
        run = TarFlowRun()
        with torch.device("meta"):
            flow = run.networks()["flow"].flows[0]
        costs = [run.patch_flops(flow, seen) for seen in (0, 100, 200)]
        assert costs[2] - costs[1] == costs[1] - costs[0] > 0

    def test_the_flow_inverts_what_it_does(self):
        glow = GlowRun().on_meta(1)
        assert glow(zeros(2, 3, 256, 256)).shape == ()
        assert glow.inverse(zeros(2, 384, 4, 4)).shape == (2, 3, 256, 256)


class TestRows:
    def test_totals_and_rates(self, rows):
        assert rows["glow"].total.value is None
        assert rows["progan"].total.value == pytest.approx(6.0e18, rel=0.01)
        assert rows["r3gan"].total.value == pytest.approx(66.7e18, rel=0.01)
        assert rows["edm"].total.value == pytest.approx(25.4e18, rel=0.01)
        assert rows["cfm"].total.value == pytest.approx(1.91e18, rel=0.01)
        assert rows["r3gan"].rate.value == pytest.approx(24e12, rel=0.01)
        assert rows["edm"].rate.value == pytest.approx(18.4e12, rel=0.01)
        assert rows["tarflow"].rate.value is None

    def test_what_was_not_counted_says_so(self):
        for run in published_runs():
            claims = (run.claims.images, run.claims.gpus, run.claims.days)
            for stated in filter(None, claims):
                assert stated.is_read == (NOT_CHECKED not in stated.label)

    def test_a_stated_number_in_words(self):
        stated = Stated(value=12e6, source="a blog")
        assert stated.label == "12,000,000 (a blog; as published, not verified)"

    def test_uncountable_work_is_refused(self):
        with pytest.raises(ArithmeticError, match="linalg_matrix_exp"):
            flops(lambda: torch.linalg.matrix_exp(zeros(3, 3)))


class TestArticle:
    def test_the_ratios(self, rows):
        c = compare_article(rows["glow"], rows["progan"])
        assert (c.gpu_days, c.pixels) == (17.5, 16)
        assert c.parameters == pytest.approx(3.79, abs=0.01)
        assert c.image == pytest.approx(1.49, abs=0.01)
        assert c.sample == pytest.approx(8.96, abs=0.01)

    def test_the_three_factors_multiply_to_the_gap(self, rows):
        c = compare_article(rows["glow"], rows["progan"])
        assert math.prod((c.images, c.mean_image, c.slowness)) == pytest.approx(17.5)
        # 98 steps of 8 images in each of the user's 1300 epochs, in 32 GPU-days.
        assert c.images == pytest.approx(560 * 1300 * 98 * 8 / 32 / 12e6)

    def test_the_report_shows_every_row(self, rows):
        report = published_report(list(rows.values()))
        text = terminal.render(report)
        assert len(report.rows) == 6 * 7
        assert all(row.name in text.replace("\n", " ") for row in rows.values())
        assert NOT_CHECKED in text.replace("\n", " ")
