"""Language models by maximum likelihood: the baseline of text and of walks on a graph."""

from dataclasses import dataclass
from typing import Annotated, final

from gantlet.core.data import Space
from gantlet.core.model import Generative, refuse_context
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.models.flow import MaximumLikelihood
from gantlet.models.nets import seeded
from gantlet.models.recurrent import LanguageModel, NetworkName, SequenceSizes


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Lm:
    """A language model: each level is predicted from those before it, by maximum likelihood.

    One player, ``lm``; its loss is ``-log p(x)`` in bits per place. The log-probability is exact,
    at every temperature of sampling. Models rows of tokens and walks on a graph.

    Source: Cho et al., 2014, https://arxiv.org/abs/1406.1078 (gru); Gers, Schmidhuber and
    Cummins, 2000, https://doi.org/10.1162/089976600300015015 (lstm); Vaswani et al., 2017,
    https://arxiv.org/abs/1706.03762 (transformer).

    Differs from the papers: no dropout; the best step on validation data is kept instead.

    Attributes:
        net: ``gru``, ``lstm`` or ``transformer``.
        width: Units of each layer.
        embed: Size of the vector of a level.
        layers: Recurrent layers, or transformer blocks.
        heads: Attention heads of a transformer.
        ema: Decay of the exponential moving average of weights (EMA) used for sampling and
            evaluation; 0 disables it.
    """

    net: NetworkName = "gru"
    width: Annotated[int, Between(1)] = 128
    embed: Annotated[int, Between(1)] = 32
    layers: Annotated[int, Between(1)] = 1
    heads: Annotated[int, Between(1)] = 4
    ema: Annotated[float, Between(0, 1, below=True)] = 0.98

    @property
    def solver(self) -> str:
        """Adam with a high rate, whose noise the moving average takes away."""
        return "adam:lr=0.003,beta2=0.99,clip=1.0"

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> Generative:
        """Returns an untrained model for samples of ``space``, on the device of ``rng``.

        Raises:
            UserError: If samples are neither rows of tokens nor walks, or there is a context.
        """
        refuse_context("lm", context_space)
        sizes = SequenceSizes(
            net=self.net,
            width=self.width,
            embed=self.embed,
            layers=self.layers,
            heads=self.heads,
        )
        with seeded(rng.stream("init")):
            model = LanguageModel(space, sizes.build(space, family="lm")).to(rng.device)
        return MaximumLikelihood(model, player="lm", prepare=model.prepare)
