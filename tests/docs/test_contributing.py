import re
from pathlib import Path

import pytest

from gantlet.core.data import Space, all_samples
from gantlet.core.rng import Rng

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)


@pytest.fixture
def names():
    found = {"__name__": "independent"}
    exec(compile(BLOCKS[0], "CONTRIBUTING.md", "exec"), found)
    return found


def test_the_family_in_the_guide_keeps_the_contract(names):
    assert "check_family(" in BLOCKS[1], "the guide shows how a family is checked"
    exec(compile(BLOCKS[1], "CONTRIBUTING.md", "exec"), names)


def test_the_family_in_the_guide_learns(names):
    from gantlet.core.estimate import Budget
    from gantlet.core.spec import datasets, solvers
    from gantlet.run.train import Plan, train

    data = datasets.make("ring")
    splits = data.load(rng=Rng(0))
    family = names["Independent"]()
    game = family.build(data.space, rng=Rng(0))
    train(game, solvers.make(family.solver), splits, Plan(budget=Budget(steps=200)), rng=Rng(0))
    x = all_samples(splits.train)
    mean, scale = game.model.scaling.inverse(game.model.mean), game.model.log_scale.exp()
    assert mean.detach().tolist() == pytest.approx(x.mean(0).tolist(), abs=0.05)
    expected = (x.std(0) / game.model.scaling.scale).tolist()
    assert scale.detach().tolist() == pytest.approx(expected, abs=0.05)


def test_the_family_in_the_guide_refuses_graphs(names):
    with pytest.raises(names["gantlet"].UserError, match="graph"):
        names["Independent"]().build(Space("graph", (3, 3)), rng=Rng(0))
