"""Normalizing flows, trained by maximum likelihood."""

from dataclasses import dataclass
from typing import Annotated, final

from gantlet.core.family import refuse_context
from gantlet.core.game import Generative
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between
from gantlet.games.likelihood import MaximumLikelihood
from gantlet.nets.flow_layers import Arch, CouplingName, Layers
from gantlet.nets.flows import FlowModel
from gantlet.nets.seeding import seeded


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Flow:
    """A normalizing flow: RealNVP for vectors and small images, multi-scale Glow for larger ones.

    Samples ``x`` become codes ``z = f(x)`` by an invertible network, and
    ``log p(x) = log N(f(x); 0, I) + log |det df/dx|``. One player, ``flow``; its loss is
    ``-log p(x)`` in bits for each component. Discrete samples are dequantised with uniform noise,
    so their log-probability is a lower bound.

    Source: Dinh, Sohl-Dickstein and Bengio, 2017, https://arxiv.org/abs/1605.08803 (RealNVP);
    Kingma and Dhariwal, 2018, https://arxiv.org/abs/1807.03039 (Glow); Durkan, Bekasov, Murray
    and Papamakarios, 2019, https://arxiv.org/abs/1906.04032 (spline couplings); Rezende and
    Mohamed, 2015, https://arxiv.org/abs/1505.05770 (planar flows).

    Differs from the papers: log-scales are bounded by ``2 tanh(l / 2)``; RealNVP's networks are
    dense and see only the half that is kept; Glow's networks have no normalisation inside.

    Attributes:
        coupling: How the layers change a component: ``affine``, ``spline``, or ``planar``, which
            is not a coupling but a layer of its own.
        layers: How many layers; of Glow, at each level.
        width: Hidden units, or channels, of each layer's network; planar layers have none.
        depth: Hidden layers of each layer's network.
        levels: Resolutions of Glow; none halves the sides down to 4, three times at most.
        arch: ``auto`` takes ``glow`` for images above 8 x 8 with even sides, else ``realnvp``.
        ema: Decay of the running average of weights that is sampled and judged; 0 is none.
    """

    coupling: CouplingName = "affine"
    layers: Annotated[int, Between(1)] = 8
    width: Annotated[int, Between(1)] = 128
    depth: Annotated[int, Between(1)] = 2
    levels: Annotated[int, Between(1)] | None = None
    arch: Arch = "auto"
    ema: Annotated[float, Between(0, 1)] = 0.99

    @property
    def solver(self) -> str:
        """Adam with the usual moments."""
        return "adam:lr=0.001"

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> Generative:
        """Returns an untrained flow for samples of ``space``, on the device of ``rng``.

        Raises:
            UserError: If no such flow fits the space, or there is a context.
        """
        refuse_context("flow", context_space)
        layers = Layers(
            arch=self.arch,
            coupling=self.coupling,
            layers=self.layers,
            width=self.width,
            depth=self.depth,
            levels=self.levels,
        )
        with seeded(rng.stream("init")):
            model = FlowModel(space, layers.build(space)).to(rng.device)
        return MaximumLikelihood(model, player="flow", prepare=model.prepare)
