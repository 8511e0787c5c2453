"""Context reaches every ability of a model that takes one, and is refused by all others."""

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import softplus

from gantlet.core.data import InMemory, Samples, Space, all_samples, rows
from gantlet.core.errors import UserError
from gantlet.core.model import Adversarial, Decoder, FittedFamily, Invertible, LogProb
from gantlet.core.rng import Rng
from gantlet.core.spec import families
from gantlet.data.splits import Concatenated, Subset, random_split
from gantlet.games.mixed import GeneratorMixture
from gantlet.models.flow import MaximumLikelihood
from gantlet.models.nets import seeded
from gantlet.testing import check_family, check_model
from kinds import ONE_KIND

PLANE = Space("vector", (2,))
CLASSES = Space("vector", (), 3)
CONDITION = Space("vector", (4,))


class ClassGaussian(Invertible):
    """A unit Gaussian around a mean of each class."""

    def __init__(self, space, classes):
        super().__init__()
        self.space, self.context_space = space, classes
        self.mean = nn.Parameter(10.0 * torch.arange(classes.levels * 2.0).view(-1, 2))

    def _encode(self, x, context):
        return x - self.mean[context.long()], x.new_zeros(len(x))

    def _decode(self, z, context):
        return z + self.mean[context.long()]

    def _log_prob(self, x, context, *, rng):
        z, _ = self._encode(x, context)
        return LogProb(-0.5 * z.square().sum(1) - math.log(2 * math.pi), "exact")

    @torch.no_grad()
    def _sample(self, n, context, *, rng):
        return self._decode(torch.randn(n, 2, generator=rng), context)


@dataclass(frozen=True)
class ClassGaussians:
    solver = "adam:lr=0.1"
    ema = 0.0

    def build(self, space, context_space=None, *, rng):
        return MaximumLikelihood(ClassGaussian(space, context_space), player="model")


class ConditionalGenerator(Decoder):
    latent_dim = 3

    def __init__(self, space, context_space):
        super().__init__()
        self.space, self.context_space = space, context_space
        self.net = nn.Sequential(nn.Linear(3 + 4, 8), nn.Tanh(), nn.Linear(8, 2))

    def prior(self, n, *, rng):
        return torch.randn(n, 3, generator=rng)

    def _decode(self, z, context):
        return self.net(torch.cat([z, context], 1))

    @torch.no_grad()
    def _sample(self, n, context, *, rng):
        return self._decode(self.prior(n, rng=rng), context)


class ConditionalGan(Adversarial):
    """Mirza and Osindero, 2014: both players see the context."""

    def __init__(self, space, context_space):
        self._model = ConditionalGenerator(space, context_space)
        self._net = nn.Sequential(nn.Linear(2 + 4, 8), nn.Tanh(), nn.Linear(8, 1))

    @property
    def players(self):
        return {"critic": self._net, "generator": self._model}

    @property
    def model(self):
        return self._model

    def _scores(self, x, context):
        return self._net(torch.cat([x, context], 1)).squeeze(1)

    def loss(self, player, batch, *, rng):
        given = torch.randn(len(batch), 4, generator=rng)
        fake = self.critic(
            self._model.decode(self._model.prior(len(batch), rng=rng), given), given
        )
        sign = -1 if player == "generator" else 1
        return softplus(sign * fake).mean() + softplus(-sign * self.critic(batch, given)).mean()

    def validate(self, x, *, rng):
        return self.loss("generator", x, rng=rng)


@dataclass(frozen=True)
class ConditionalGans:
    solver = "adam"
    ema = 0.0

    def build(self, space, context_space=None, *, rng):
        with seeded(rng.stream("init")):
            return ConditionalGan(space, context_space)


NAMES = [n for n in families.names() if n != "module"]  # a game of the user's own needs a file
TRAINED = [n for n in NAMES if not isinstance(families.make(n), FittedFamily)]


@pytest.mark.parametrize(
    ("family", "context_space"), [(ClassGaussians(), CLASSES), (ConditionalGans(), CONDITION)]
)
def test_conditional_families_keep_the_contract(family, context_space):
    check_family(family, PLANE, context_space)


def test_context_reaches_samples_codes_and_densities():
    model = ClassGaussian(PLANE, CLASSES)
    classes = torch.tensor([0.0, 1.0, 2.0]).repeat_interleave(500)
    x = model.sample(1500, context=classes, rng=Rng(0).stream("sample"))
    means = torch.stack([x[classes == k].mean(0) for k in range(3)])
    assert torch.allclose(means, model.mean, atol=0.2)
    own = model.log_prob(x, classes, rng=Rng(0).stream("density")).value.mean()
    other = model.log_prob(x, (classes + 1) % 3, rng=Rng(0).stream("density")).value.mean()
    assert own.item() == pytest.approx(-1 - math.log(2 * math.pi), abs=0.1), "minus the entropy"
    assert other < own - 100
    z, _ = model.encode(x, classes)
    assert z.mean().abs() < 0.1
    assert torch.allclose(model.decode(z, 2 - classes), z + model.mean[2 - classes.long()])


def test_context_reaches_generator_and_critic():
    game = ConditionalGans().build(PLANE, CONDITION, rng=Rng(0))
    here, there = torch.zeros(5, 4), torch.ones(5, 4)
    x, y = (game.model.sample(5, context=c, rng=Rng(0).stream("z")) for c in (here, there))
    assert (x - y).abs().min() > 1e-3, "the same noise, another context"
    with torch.no_grad():
        assert (game.critic(x, here) - game.critic(x, there)).abs().min() > 1e-3


def test_a_mixture_hands_each_part_the_context_of_its_samples():
    parts = [ClassGaussian(PLANE, CLASSES) for _ in range(2)]
    mixture = GeneratorMixture.weighted(parts, torch.tensor([0.3, 0.7]))
    check_model(mixture, PLANE)
    classes = torch.tensor([0.0, 2.0]).repeat(200)
    x = mixture.sample(400, context=classes, rng=Rng(0).stream("sample"))
    assert torch.allclose(x[classes == 2].mean(0), parts[0].mean[2], atol=0.3)
    with pytest.raises(UserError, match="given vector of one number with 3 levels"):
        GeneratorMixture.weighted(
            [parts[0], ClassGaussian(PLANE, Space("vector", (), 4))], torch.ones(2)
        )


def test_a_context_that_does_not_fit_is_refused_in_one_line():
    model = ClassGaussian(PLANE, CLASSES)
    rng = Rng(0).stream("sample")
    for context, words in [
        (None, "conditional: context must hold vector of one number with 3 levels for each of 2"),
        (torch.zeros(3), "context must have 2 rows, one for each sample. Got 3."),
        (torch.zeros(2, 1), r"context must have shape \(n,\). Got \(2, 1\)."),
        (torch.tensor([0.0, 3.0]), "context must hold whole numbers from 0 to 2."),
        (torch.tensor([0, 1]), "context must be floating point."),
        (torch.tensor([0.0, math.nan]), "1 of the 2 samples of context hold NaN"),
    ]:
        with pytest.raises(UserError, match=words) as caught:
            model.sample(2, context=context, rng=rng)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", TRAINED)
def test_unconditional_families_refuse_context(name):
    family = families.make(name)
    space = ONE_KIND.get(name, PLANE)
    with pytest.raises(UserError, match=f"^{name} has no conditional models"):
        family.build(space, CLASSES, rng=Rng(0))
    model = family.build(space, rng=Rng(0)).model
    with pytest.raises(UserError, match=r"unconditional: context must be None. Got .*\(3,\)"):
        model.sample(3, context=torch.zeros(3), rng=Rng(0).stream("sample"))


def labelled(n, start=0):
    """Samples whose class and group are written in them."""
    x = torch.arange(start, start + n, dtype=torch.float32)
    return InMemory(torch.stack([x, -x], 1), labels=x.long() % 7, groups=x.long() // 4)


def assert_fits(samples):
    number = samples.x[:, 0]
    assert torch.equal(samples.x[:, 1], -number)
    assert torch.equal(samples.context, number % 7)
    assert torch.equal(samples.groups, number.long() // 4)


@given(n=st.integers(8, 60), seed=st.integers(0, 10), data=st.data())
def test_rows_stay_together(n, seed, data):
    splits = random_split(labelled(n), validation=0.2, test=0.2, limit=None, rng=Rng(seed))
    seen = []
    for split in (splits.train, splits.validation, splits.test):
        whole = rows(split, torch.arange(len(split)))
        assert_fits(whole)
        seen += whole.x[:, 0].tolist()
        index = torch.tensor(data.draw(st.lists(st.integers(0, len(split) - 1), min_size=1)))
        assert_fits(rows(split, index))
        assert torch.equal(rows(split, index).x, whole[index].x)
        assert_fits(rows(Subset(split, index), torch.arange(len(index))))
        assert_fits(whole[whole.x[:, 0] > n / 2])
        assert_fits(whole[1:])
    assert sorted(seen) == list(range(n))
    both = Concatenated(labelled(n), labelled(9, start=n))
    assert_fits(rows(both, torch.randperm(n + 9, generator=torch.Generator().manual_seed(seed))))


def test_groups_of_a_part_without_any_are_unknown():
    x = torch.zeros(3, 2)
    assert Concatenated(labelled(3), InMemory(x)).groups is None
    assert rows(InMemory(x), torch.arange(2)).groups is None
    assert torch.equal(all_samples(Concatenated(InMemory(x), InMemory(x))), torch.zeros(6, 2))


@pytest.mark.parametrize(
    ("context", "groups", "words"),
    [
        (
            torch.zeros(2),
            None,
            r"context must have one row for each of 3 samples. Got shape \(2,\)",
        ),
        (torch.tensor(1.0), None, r"context must have one row .* Got shape \(\)"),
        (None, torch.zeros(4, dtype=torch.long), "groups must have one row"),
        (None, torch.zeros(3), "groups must be one integer for each sample"),
        (None, torch.zeros(3, 1, dtype=torch.long), "groups must be one integer"),
    ],
)
def test_rows_of_other_lengths_are_refused(context, groups, words):
    with pytest.raises(UserError, match=words):
        Samples(torch.zeros(3, 2), context, groups)
