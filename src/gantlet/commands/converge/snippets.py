"""A recommendation as plain lines of PyTorch, to be pasted into a training loop of one's own.

The lines use the names of the players, a batch ``real``, latents ``z``, and a function of both
for the loss of each player, ``critic_loss(real, z)``. Tests run every snippet against the solver.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from gantlet.core.spec import Spec
from gantlet.games.stale import solver_inside

NOTE = (
    "real is a batch, z are latents, fake is what the generator makes of them; "
    "critic_loss(real, z) stands for your loss of critic, and likewise for other players."
)
"""What the names in a snippet stand for."""


def pytorch_lines(
    model: str, solver: str, *, before: tuple[str, str], players: Sequence[str], loss: str = ""
) -> str:
    """Returns what a change is in a training loop of one's own, as lines of PyTorch.

    Args:
        model: The model after the change, in written form.
        solver: The solver after the change.
        before: Model and solver before it.
        players: The players by name, in order of play.
        loss: The loss of a model that does not name its own.
    """
    names = [re.sub(r"\W", "_", p) for p in players]
    new, old = Spec.parse(model), Spec.parse(before[0])
    parts = list(_model_lines(new, old.options, names, loss)) if model != before[0] else []
    if solver != before[1]:
        spec = Spec.parse(solver_inside(solver))
        make = _SOLVERS.get(spec.name)
        parts += [] if make is None else ["\n".join(make(spec.options, names))]
    return "\n\n".join(parts)


# ----------------------------------------------------------------------------
# Losses and penalties: what is added to the critic's loss.
# ----------------------------------------------------------------------------

_LOSSES: Mapping[str, tuple[str, str]] = {
    "ns": (
        "softplus(-{c}(real)).mean() + softplus({c}(fake)).mean()",
        "softplus(-{c}(fake)).mean()",
    ),
    "minimax": (
        "softplus(-{c}(real)).mean() + softplus({c}(fake)).mean()",
        "-softplus({c}(fake)).mean()",
    ),
    "relativistic": (
        "softplus({c}(fake) - {c}(real)).mean()",
        "softplus({c}(real) - {c}(fake)).mean()",
    ),
    "hinge": (
        "relu(1 - {c}(real)).mean() + relu(1 + {c}(fake)).mean()",
        "-{c}(fake).mean()",
    ),
    "wgan": ("{c}(fake).mean() - {c}(real).mean()", "-{c}(fake).mean()"),
}
# Between which samples each penalty takes the slope of the critic.
_AT = {"r1": ("real",), "r2": ("fake",), "r1r2": ("real", "fake")}


def _model_lines(
    new: Spec, old: Mapping[str, str], players: Sequence[str], known: str
) -> Iterator[str]:
    critic = next((p for p in players if p != "generator"), players[0])
    changed = {k for k, v in new.options.items() if old.get(k) != v}
    loss = new.options.get("loss", "")
    if "loss" in changed and loss in _LOSSES:
        first, second = (text.format(c=critic) for text in _LOSSES[loss])
        yield "\n".join(
            [
                "from torch.nn.functional import relu, softplus",
                "",
                "# For the critic, with fake = generator(z).detach(); scores have no sigmoid:",
                f"loss = {first}",
                "# For the generator, with fake = generator(z):",
                f"generator_loss = {second}",
            ]
        )
    kind = new.options.get("penalty", "none")
    if {"penalty", "gamma"} & changed and kind != "none":
        rule = loss if loss not in {"", "none"} else known
        where = "in place of the penalty there" if is_penalized(old) else "after its loss"
        head = f"# In the step of {critic}: {where}, before backward()."
        yield "\n".join([head, *_penalty(kind, float(new.options["gamma"]), critic, rule)])


def is_penalized(options: Mapping[str, str]) -> bool:
    """Returns whether a model with these options has a penalty, which another one replaces."""
    return options.get("penalty", "none") != "none" and float(options.get("gamma", 0)) > 0


def _penalty(kind: str, gamma: float, critic: str, loss: str) -> list[str]:
    # Of probabilities, the slope is that of their logits.
    score = f"torch.logit({critic}(x), eps=1e-7)" if loss == "bce" else f"{critic}(x)"
    slope = f"(slope,) = torch.autograd.grad({score}.sum(), x, create_graph=True)"
    if kind == "gp":
        return [
            "t = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device)",
            "x = torch.lerp(fake.detach(), real, t).requires_grad_()",
            slope,
            f"loss = loss + {gamma / 2:g} * (slope.flatten(1).norm(dim=1) - 1).square().mean()",
        ]
    found: list[str] = []
    for at in _AT[kind]:
        found += [
            f"x = {at}.detach().requires_grad_()",
            slope,
            f"loss = loss + {gamma / 2:g} * slope.flatten(1).square().sum(1).mean()",
        ]
    return found


# ----------------------------------------------------------------------------
# Optimizers and solvers.
# ----------------------------------------------------------------------------


def _optimizers(
    options: Mapping[str, str], players: Sequence[str], kind: str | None = None
) -> list[str]:
    """Returns the lines that make an optimizer for each player."""
    rates = options["lr"].split("+")
    rates = rates * len(players) if len(rates) == 1 else rates
    kind = options.get("base", "adam") if kind is None else kind
    if kind == "adam":
        rest = f"betas=({options['beta1']}, {options['beta2']})"
        if "eps" in options:
            rest += f", eps={options['eps']}"
    else:
        rest = f"momentum={options.get('momentum', '0.0')}"
    name = "Adam" if kind == "adam" else "SGD"
    made = [
        f"opt_{player} = torch.optim.{name}({player}.parameters(), lr={rate}, {rest})"
        for player, rate in zip(players, rates, strict=True)
    ]
    return [*made, *_remarks(options, players)]


def _remarks(options: Mapping[str, str], players: Sequence[str]) -> Iterator[str]:
    if options.get("clip", "none") != "none":
        for p in players:
            clip = f"torch.nn.utils.clip_grad_norm_({p}.parameters(), {options['clip']})"
            yield f"# Before opt_{p}.step(): {clip}"
    if set(options.get("steps", "1").split("+")) != {"1"}:
        yield f"# Updates of each player in one step: {options['steps']}"


def _adam(options: Mapping[str, str], players: Sequence[str]) -> list[str]:
    return _optimizers(options, players, "adam")


def _sgd(options: Mapping[str, str], players: Sequence[str]) -> list[str]:
    return _optimizers(options, players, "sgd")


def _parameters(players: Sequence[str]) -> str:
    together = ", ".join(players) + "," * (len(players) == 1)
    return f"players = [list(p.parameters()) for p in ({together})]"


def _players(players: Sequence[str]) -> list[str]:
    """Returns the lines that gradients of all players at once need."""
    optimizers = ", ".join(f"opt_{p}" for p in players)
    losses = ", ".join(f"{p}_loss(real, z)" for p in players)
    return [
        _parameters(players),
        f"optimizers = [{optimizers}]",
        "",
        "",
        "def gradients(real, z):",
        f"    losses = [{losses}]",
        "    return [torch.autograd.grad(a, b) for a, b in zip(losses, players, strict=True)]",
    ]


def _extragradient(options: Mapping[str, str], players: Sequence[str]) -> list[str]:
    fresh = options["fresh"] == "true"
    pairs = "(real, z), (other_real, other_z)" if fresh else "(real, z), (real, z)"
    return [
        *_optimizers(options, players),
        *_players(players),
        "",
        "",
        f"def step(real, z{', other_real, other_z' if fresh else ''}):",
        "    start = [[p.detach().clone() for p in own] for own in players]",
        f"    for look, batch in enumerate(({pairs})):",
        "        found = gradients(*batch)  # the second time, where the first step led",
        "        for own, kept, slopes in zip(players, start, found, strict=True):",
        "            for p, at, slope in zip(own, kept, slopes, strict=True):",
        "                if look == 1:",
        "                    p.data.copy_(at)",
        "                p.grad = slope",
        "        for optimizer in optimizers:",
        "            optimizer.step()",
    ]


def _optimistic(options: Mapping[str, str], players: Sequence[str]) -> list[str]:
    return [
        *_optimizers(options, players),
        *_players(players),
        "last = [[torch.zeros_like(p) for p in own] for own in players]",
        "",
        "",
        "def step(real, z):",
        "    start = [[p.detach().clone() for p in own] for own in players]",
        "    for own, slopes in zip(players, gradients(real, z), strict=True):",
        "        for p, slope in zip(own, slopes, strict=True):",
        "            p.grad = slope",
        "    for optimizer in optimizers:",
        "        optimizer.step()",
        "    for own, kept, old in zip(players, start, last, strict=True):",
        "        for p, at, before in zip(own, kept, old, strict=True):",
        "            moved = p.data - at",
        "            p.data += moved - before  # twice this step, less the last",
        "            before.copy_(moved)",
    ]


def _lookahead(options: Mapping[str, str], players: Sequence[str]) -> list[str]:
    return [
        *_optimizers(options, players),
        _parameters(players),
        "slow = [[p.detach().clone() for p in own] for own in players]",
        "",
        "",
        f"def look_back():  # call it after every {options['k']} steps of all players",
        "    for own, kept in zip(players, slow, strict=True):",
        "        for p, at in zip(own, kept, strict=True):",
        f"            at.lerp_(p.data, {options['alpha']})",
        "            p.data.copy_(at)",
    ]


def _consensus(options: Mapping[str, str], players: Sequence[str]) -> list[str]:
    head = _players(players)
    graph = head[-1].replace("grad(a, b)", "grad(a, b, create_graph=True)")
    return [
        *_optimizers(options, players),
        *head[:-1],
        "    # Without .detach() on fake: the norm is differentiated in all players.",
        graph,
        "",
        "",
        "def step(real, z):",
        "    found = gradients(real, z)",
        "    norm = sum(slope.square().sum() for own in found for slope in own) / 2",
        "    every = [p for own in players for p in own]",
        "    pulls = torch.autograd.grad(norm, every)",
        "    slopes = [slope for own in found for slope in own]",
        "    for p, slope, pull in zip(every, slopes, pulls, strict=True):",
        f"        p.grad = slope.detach() + {options['gamma']} * pull",
        "    for optimizer in optimizers:",
        "        optimizer.step()",
    ]


_SOLVERS: Mapping[str, Callable[[Mapping[str, str], Sequence[str]], list[str]]] = {
    "adam": _adam,
    "sgd": _sgd,
    "extragradient": _extragradient,
    "optimistic": _optimistic,
    "lookahead": _lookahead,
    "consensus": _consensus,
}
