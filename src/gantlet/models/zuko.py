"""Normalizing flows of the library zuko (Rozet et al., 2022), https://doi.org/10.5281/zenodo.7625672."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, final

from torch import Tensor
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.model import Generative, LogProbKind, refuse_context
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.models.bijections import ActNorm, Bijection, Chain, Flatten, Logit
from gantlet.models.flow import FlowModel, MaximumLikelihood
from gantlet.models.nets import seeded

FlowName = Literal["NICE", "RealNVP", "MAF", "NSF", "SOSPF", "NAF", "UNAF", "CNF", "GF", "BPF"]

# Softclips and clamps between these transformations keep them from codes far out: the density
# integrates to less than 1, for NAF by 30 % before training and by less than 1e-5 after it.
_BOUNDED: tuple[LogProbKind, str] = ("lower", "codes outside the flow's support excluded")
_LIMITS: Mapping[str, tuple[LogProbKind, str]] = {
    "CNF": ("estimate", "ODE solved to 1e-5"),
    "UNAF": ("estimate", "integrals by quadrature"),
    **dict.fromkeys(("SOSPF", "NAF", "GF"), _BOUNDED),
}
_LACKS = {"CNF": ("transforms",), "GF": ("width", "depth")}
_AUTOREGRESSIVE = frozenset({"MAF", "NSF", "SOSPF", "NAF", "UNAF", "BPF"})


@final
class ZukoBijection(Bijection):
    """A lazy transformation of zuko, towards a standard normal base.

    Args:
        transform: A ``zuko.lazy.LazyTransform``.
        passes: How many network evaluations, one after the other, its inverse takes.
    """

    def __init__(self, transform: Any, passes: int = 1) -> None:
        super().__init__()
        self.transform = transform
        self._passes = passes

    @property
    @override
    def depths(self) -> tuple[int, int]:
        """Both ways; of an ordinary differential equation, as its solver steps at the origin."""
        ode = getattr(self.transform, "ode", None)
        if ode is None:
            return 1, self._passes
        calls: list[object] = []
        origin = self.transform.times.new_zeros(1, ode[-1].out_features)

        def count(*_: object) -> None:
            calls.append(None)

        handle = ode.register_forward_hook(count)
        self(origin)
        forward = len(calls)
        self.inverse(origin)
        handle.remove()
        return forward, len(calls) - forward

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = self.transform().call_and_ladj(x)
        return z, log_det

    @override
    def inverse(self, z: Tensor) -> Tensor:
        x: Tensor = self.transform().inv(z)
        return x


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Zuko:
    """A normalizing flow of the zuko library, trained and evaluated like ``flow``.

    Samples are standardised (discrete ones dequantised and opened to the whole line) as ``flow``
    does, then come the transformations of zuko towards a standard normal base. One player,
    ``flow``; its loss is ``-log p(x)`` in bits per dimension. Needs the package zuko:
    install ``gantlet[zuko]``.

    Source: Rozet et al., 2022, https://doi.org/10.5281/zenodo.7625672 (zuko), with the paper of
    each flow in its documentation.

    Differs from zuko: what is above of standardisation; initial weights and samples follow from
    the seed, without torch's global random state.

    Attributes:
        flow: Name of the flow in zuko: ``NICE``, ``RealNVP`` (couplings), ``MAF``, ``NSF``,
            ``SOSPF``, ``NAF``, ``UNAF``, ``BPF`` (autoregressive), ``CNF`` (continuous) or
            ``GF`` (Gaussianization).
        transforms: Number of transformations (default 3); ``CNF`` is a single one.
        width: Hidden units of each network (default 64). ``GF`` has no networks.
        depth: Hidden layers of each network (default 2).
        ema: Decay of the exponential moving average of weights (EMA) used for sampling and
            evaluation; 0 disables it.
    """

    flow: FlowName = "NSF"
    transforms: Annotated[int, Between(1)] | None = None
    width: Annotated[int, Between(1)] | None = None
    depth: Annotated[int, Between(1)] | None = None
    ema: Annotated[float, Between(0, 1)] = 0.99

    @property
    def solver(self) -> str:
        """Adam with the usual moments."""
        return "adam:lr=0.001"

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> Generative:
        """Returns an untrained flow for samples of ``space``, on the device of ``rng``.

        Raises:
            UserError: If zuko is missing, or no such flow fits the space, or there is a context.
        """
        refuse_context("zuko", context_space)
        if space.kind in {"tokens", "graph"}:
            raise UserError(
                "zuko needs samples whose components are quantities (not categories). Got "
                f"{space.label}; use a family for sequences, as ar."
            )
        if space.size < 2 and self.flow in {"NICE", "RealNVP"}:
            raise UserError(
                f"zuko:flow={self.flow} needs 2 components or more, one to change the other. "
                f"Got {space.label}; use flow=NSF."
            )
        with seeded(rng.stream("init")):
            theirs = _made(self.flow, space.size, self._options())
        passes = space.size if self.flow in _AUTOREGRESSIVE else 1
        opened: list[Bijection] = [] if space.levels is None else [Logit()]
        start = [*opened, Flatten(space.shape), ActNorm((space.size,))]
        body = Chain([*start, ZukoBijection(theirs.transform, passes)])
        model = FlowModel(space, body, limits=_LIMITS.get(self.flow)).to(rng.device)
        return MaximumLikelihood(model, player="flow", prepare=model.prepare)

    def _options(self) -> dict[str, Any]:
        """Returns the arguments for zuko.

        Raises:
            UserError: If an option is set that this flow does not have.
        """
        for name in _LACKS.get(self.flow, ()):
            if (value := getattr(self, name)) is not None:
                raise UserError(
                    f"zuko:flow={self.flow} has no option {name}. Got {value}; leave it out."
                )
        many = {} if self.flow == "CNF" else {"transforms": self.transforms or 3}
        hidden = (self.width or 64,) * (self.depth or 2)
        return many if self.flow == "GF" else {**many, "hidden_features": hidden}


def _made(flow: str, features: int, options: dict[str, Any]) -> Any:
    """Returns a lazy flow of zuko.

    Raises:
        UserError: If zuko is not installed.
    """
    try:
        from zuko import flows
    except ImportError as error:
        raise UserError("The family zuko needs zuko: pip install 'gantlet[zuko]'.") from error
    return getattr(flows, flow)(features, **options)
