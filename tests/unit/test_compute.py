"""Clock, memory, critical path and machine."""

import gc
import json
from itertools import count

import pytest
import torch
from torch import nn

from gantlet.compute.machine import (
    Clock,
    Peak,
    Stopwatch,
    Usage,
    machine,
    measure_peak,
    peak_process_memory,
    wait,
)
from gantlet.compute.meters import (
    DepthMeter,
    MemoryMeter,
    critical_path,
    parameters_read,
    peak_memory,
    pretend,
)
from gantlet.compute.meters import count as count_flops

K = 1000 * 4  # bytes of a thousand numbers


@pytest.fixture(autouse=True)
def own_random_state():
    """Networks here may be made without a seed: only their shapes matter."""
    with torch.random.fork_rng(devices=[]):
        yield


def ticking(step):
    ticks = count(0, step)
    return lambda: next(ticks)


class TestClock:
    def test_stopwatch_adds_stretches_and_nothing_between(self):
        memory = iter([5, 3])
        watch = Stopwatch(Clock(ticking(1.0), ticking(0.25), lambda: next(memory)))
        for _ in range(2):
            with watch:
                pass
        assert watch.usage == Usage(wall=2.0, cpu=0.5, peak_memory=5)

    def test_a_failed_stretch_counts(self):
        watch = Stopwatch(Clock(ticking(1.0), ticking(1.0), lambda: 0))
        with pytest.raises(KeyError), watch:
            raise KeyError
        assert watch.usage.wall == 1.0

    def test_usage_adds_times_and_keeps_the_larger_peak(self):
        a, b = Usage(wall=1, cpu=2, peak_memory=7), Usage(wall=3, cpu=4, peak_memory=5)
        assert a + b == Usage(wall=4, cpu=6, peak_memory=7)

    def test_the_real_clock_sees_work(self):
        with (watch := Stopwatch()):
            torch.ones(200, 200) @ torch.ones(200, 200)
        wait()
        assert watch.usage.wall > 0
        assert watch.usage.cpu >= 0
        # A Python with torch in it holds more than 50 MB and less than 1 TB.
        assert 5e7 < peak_process_memory() < 1e12


class TestMemory:
    @pytest.mark.parametrize("device", ["cpu", "meta"])
    def test_a_chain_holds_two_at_a_time(self, device):
        def chain():
            x = torch.zeros(1000, device=device)
            for _ in range(10):
                x = x + 1
            return x

        assert peak_memory(chain) == 2 * K

    @pytest.mark.parametrize("device", ["cpu", "meta"])
    def test_a_list_holds_all(self, device):
        assert peak_memory(lambda: [torch.zeros(1000, device=device) for _ in range(10)]) == 10 * K

    def test_views_and_writes_in_place_are_free(self):
        def run():
            x = torch.zeros(1000)
            x.view(10, 100)[3:].t().add_(1)
            x[:10] = 2

        assert peak_memory(run) == K

    def test_what_was_there_before_is_free(self):
        x = torch.zeros(1000)
        assert peak_memory(lambda: x.mul_(2)) == 0
        assert peak_memory(lambda: x + x) == K

    def test_autograd_keeps_what_it_needs(self):
        x = torch.zeros(1000, requires_grad=True)

        def forward():
            return x.exp().exp().exp()

        with torch.no_grad():
            assert peak_memory(forward) == 2 * K
        assert peak_memory(forward) == 3 * K

    def test_live_falls_when_tensors_die(self):
        with MemoryMeter() as meter:
            a, b = torch.zeros(1000), torch.zeros(500)
            del a
            gc.collect()
            assert (meter.live, meter.peak) == (K // 2, K * 3 // 2)
            c = torch.zeros(250)
        assert (meter.live, meter.peak) == (K * 3 // 4, K * 3 // 2)
        assert len(b) + len(c) == 750

    def test_repeats_exactly(self):
        net, x = nn.Sequential(nn.Linear(20, 50), nn.Tanh(), nn.Linear(50, 3)), torch.ones(8, 20)
        peaks = {peak_memory(lambda: net(x).sum().backward()) for _ in range(3)}
        net.zero_grad()
        assert len(peaks | {peak_memory(lambda: net(x).sum().backward())}) <= 2


def mlp(layers, device="cpu"):
    parts = [nn.Sequential(nn.Linear(4, 4, device=device), nn.Tanh()) for _ in range(layers)]
    return nn.Sequential(*parts)


class TestCriticalPath:
    x = torch.ones(2, 4)

    @pytest.mark.parametrize("device", ["cpu", "meta"])
    def test_an_mlp_is_as_deep_as_its_layers(self, device):
        net = mlp(5, device)
        assert critical_path(lambda: net(self.x.to(device))) == 5

    def test_a_gradient_is_as_deep_again(self):
        net = mlp(5)
        # Back through four layers, and then the gradient of the first weight.
        assert critical_path(lambda: net(self.x).sum().backward()) == 10

    def test_a_loop_waits_for_itself(self):
        w = torch.eye(4)

        def loop(steps):
            h = self.x
            for _ in range(steps):
                h = (h @ w).tanh()
            return h

        assert critical_path(lambda: loop(17)) == 17

    def test_two_branches_run_side_by_side(self):
        short, long = mlp(2), mlp(3)
        assert critical_path(lambda: short(self.x) + long(self.x)) == 3
        assert critical_path(lambda: mlp(2)(short(self.x) + long(self.x))) == 5

    def test_a_batch_is_parallel(self):
        net = mlp(3)
        assert critical_path(lambda: [net(x[None]) for x in torch.ones(9, 4)]) == 3

    def test_a_cache_that_is_written_in_place_carries_depth(self):
        w = torch.eye(4)

        def decode(steps):
            cache, h = torch.zeros(steps, 4), torch.zeros(4)
            for t in range(steps):
                cache[t] = h
                h = cache[: t + 1].sum(0) @ w
            return h

        assert critical_path(lambda: decode(6)) == 6

    def test_freed_memory_leaves_no_depth_behind(self):
        w = torch.eye(64)
        with DepthMeter() as meter:
            for _ in range(50):
                # The allocator gives the same memory to every turn.
                _ = torch.ones(64, 64) @ w
        assert meter.depth == 1

    def test_a_fused_recurrent_layer_is_as_deep_as_it_is_long(self):
        net = nn.LSTM(3, 4)
        assert critical_path(lambda: net(torch.ones(7, 2, 3))) == 7

    def test_composite_operators_in_inference_mode(self):
        net = mlp(3)
        with torch.inference_mode():
            assert critical_path(lambda: net(self.x)) == 3

    def test_attention_convolution_and_nothing(self):
        q = torch.ones(1, 2, 5, 4)
        attention = nn.functional.scaled_dot_product_attention
        assert critical_path(lambda: attention(attention(q, q, q), q, q)) == 2
        assert critical_path(lambda: q.exp().sum()) == 0
        assert critical_path(lambda: nn.Conv2d(2, 3, 1)(q)) == 1


class TestPretend:
    def test_counts_as_if_computed_and_leaves_weights_alone(self):
        net, x = mlp(3), torch.ones(5, 4)
        before = [p.clone() for p in net.parameters()]

        def step(x):
            loss = net(x).square().mean()
            torch.autograd.grad(loss, list(net.parameters()))

        real = count_flops(lambda: step(x))
        with pretend() as shape:
            assert count_flops(lambda: step(shape(x))) == real
        assert all(map(torch.equal, before, net.parameters()))
        assert all(p.grad is None for p in net.parameters())

    def test_takes_no_memory(self):
        with pretend() as shape:
            huge = shape(torch.ones(1, 1)).expand(10**6, 10**6) + 1
            assert (huge @ huge).shape == (10**6, 10**6)

    def test_numbers_cannot_be_looked_at(self):
        with pretend() as shape, pytest.raises(RuntimeError):
            shape(torch.ones(1)).exp().item()


class TestReads:
    def test_only_what_is_read_counts(self):
        nets = nn.ModuleList([mlp(2), mlp(3)])
        x = torch.ones(1, 4)
        assert parameters_read(lambda: nets[0](x), nets) == 2 * 20
        assert parameters_read(lambda: nets[1](x), nets) == 3 * 20
        assert parameters_read(x.exp, nets) == 0

    def test_tied_weights_count_once(self):
        net = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
        net[1].weight = net[0].weight
        assert parameters_read(lambda: net(torch.ones(1, 4)), net) == 16

    def test_views_and_fused_layers_are_seen(self):
        net = nn.LSTM(3, 4)
        assert parameters_read(lambda: net(torch.ones(5, 1, 3)), net) == 4 * 4 * (3 + 4 + 2)


class TestMachine:
    def test_facts_are_plain(self):
        facts = machine().facts()
        assert json.loads(json.dumps(facts)) == facts
        assert facts["threads"] == torch.get_num_threads()
        assert all(facts.values())

    def test_peak_is_positive_and_short(self):
        peak = measure_peak(seconds=0.0)
        assert peak.matmul > 1e6
        assert peak.numpy > 1e6
        assert peak.fp32 == max(peak.matmul, peak.convolution, peak.numpy)
        assert peak.matmul_bf16 is None or peak.matmul_bf16 > 0

    def test_peak_is_the_best_rate_seen(self):
        # Every reading of this clock is a second later: each run takes one second.
        peak = measure_peak(seconds=3.0, clock=Clock(ticking(1.0)))
        assert peak.matmul == 2 * 512**3
        assert peak.convolution == 2 * 2 * 32**2 * 64**2 * 9
        assert peak.numpy == 2 * 512**3

    def test_fp32_is_the_fastest_of_all(self):
        assert Peak(matmul=3.0, convolution=2.0).fp32 == 3.0
        assert Peak(matmul=3.0, convolution=2.0, numpy=5.0).fp32 == 5.0
