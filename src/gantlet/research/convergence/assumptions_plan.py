"""The games, solvers and initializations of the first strategy."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, final

from gantlet.research.convergence.strategy import Size, StrategyTrial

Part = Literal["table", "far", "thresholds", "forms", "ladder"]
SolverName = Literal[
    "simultaneous",
    "alternating",
    "extragradient",
    "optimistic",
    "lookahead",
    "consensus",
    "SGA",
    "crossing the curl",
    "JF",
    "crossing the curl, adaptive",
    "JF, adaptive",
]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One game, one way to play it, and many starts.

    Attributes:
        part: Of which table it is a cell.
        row: In which row.
        column: In which column.
        solver: How it is played.
        values: Eigenvalues of the data's covariance, largest first.
        game: In exact expectation, its two relatives, or on samples.
        rank: Components of the generator's noise; 0 for as many as there are values.
        has_mean: Whether the mean has to be learned too.
        data: What real samples are, where there are any.
        players: Which generator and which critic, where there are samples.
        ridge: Weight of the critic's ridge.
        gamma: Weight of R1.
        tau: Step of the critic over that of the generator.
        step: Step of the generator.
        steps: Steps at most.
        batch: Samples in a batch; 0 for exact expectations.
        starts: How many starts.
        spread: Standard deviation of the critic's and the generator's numbers at the start.
        tolerance: Converged: this near to the solution, and no farther until the end.
        side: On which side of the threshold, 1 being at it; 0 where there is none.
    """

    part: Part
    row: str
    column: str
    solver: SolverName
    values: tuple[float, ...]
    game: Literal["exact", "wasserstein", "jensen-shannon", "sampled"] = "exact"
    rank: int = 0
    has_mean: bool = False
    data: Literal["gaussian", "t", "skewed", "mixture"] = "gaussian"
    players: Literal[
        "linear/quadratic", "mixture/quadratic", "mixture/mlp", "mlp/quadratic", "mlp/mlp"
    ] = "linear/quadratic"
    ridge: float = 0.0
    gamma: float = 0.0
    tau: float = 1.0
    step: float = 0.01
    steps: int = 10_000
    batch: int = 0
    starts: int = 20
    spread: tuple[float, float] = (1.0, 1.0)
    tolerance: float = 1e-3
    side: float = 0.0

    @property
    def full_rank(self) -> int:
        """The rank as a number."""
        return self.rank or len(self.values)


def geometric(dim: int, condition: float) -> tuple[float, ...]:
    """Returns eigenvalues from 1 down to ``1 / condition``, in equal ratios."""
    if dim == 1:
        return (1.0,)
    return tuple(condition ** (-i / (dim - 1)) for i in range(dim))


SPECTRUM = (2.0, 1.2, 0.6, 0.4, 0.3, 0.2)
"""Of the thresholds, with rank 2: ``l_3 = 0.6``, and ``l_2 + l_6 = 1.4``."""

_PLANES: Mapping[str, tuple[int, float]] = {
    "d = 1": (1, 1.0),
    "d = 2, cond 5": (2, 5.0),
    "d = 4, cond 10": (4, 10.0),
    "d = 8, cond 10": (8, 10.0),
}
_LIMIT = 20_000
_FIVE = 0.05  # the step of those that need no small one

_SOLVERS: Sequence[tuple[str, SolverName, Mapping[str, Any]]] = (
    ("simultaneous", "simultaneous", {}),
    ("alternating", "alternating", {}),
    ("extragradient", "extragradient", {"step": _FIVE}),
    ("optimistic", "optimistic", {"step": _FIVE}),
    ("lookahead (6, 0.5)", "lookahead", {"step": _FIVE}),
    ("consensus 0.1", "consensus", {}),
    ("SGA 1", "SGA", {}),
    ("crossing the curl", "crossing the curl", {}),
    ("JF", "JF", {}),
    ("simultaneous, ridge 0.5", "simultaneous", {"ridge": 0.5}),
    ("simultaneous, R1 0.25", "simultaneous", {"gamma": 0.25}),
)
_FAR: Sequence[tuple[str, SolverName, Mapping[str, Any]]] = (
    ("extragradient", "extragradient", {}),
    ("SGA 1", "SGA", {}),
    ("crossing the curl", "crossing the curl", {}),
    ("JF", "JF", {}),
    ("crossing the curl, adaptive", "crossing the curl, adaptive", {"step": 1.0}),
    ("JF, adaptive", "JF, adaptive", {"step": 1.0}),
)
_RIDGES = ((1.0, 0.5), (1.0, 1.0), (1.0, 1.5), (4.0, 0.75))
_R1S = ((1.0, 0.25), (4.0, 0.2), (4.0, 0.35), (1.0, 0.7))


def cases(size: Size) -> list[Case]:
    """Returns all cells of all tables."""
    return [
        *_table(),
        *_far(),
        *_thresholds(5000 if size == "small" else _LIMIT),
        *_forms(),
        *_ladder(size),
    ]


def _table() -> Iterator[Case]:
    for column, (dim, condition) in _PLANES.items():
        for row, solver, settings in _SOLVERS:
            values = geometric(dim, condition)
            case = Case(part="table", row=row, column=column, solver=solver, values=values)
            yield replace(case, steps=_LIMIT, **settings)


def _far() -> Iterator[Case]:
    for row, solver, settings in _FAR:
        case = Case(
            part="far",
            row=row,
            column="d = 4, cond 10",
            solver=solver,
            values=geometric(4, 10.0),
            step=1e-3,
            steps=_LIMIT,
            spread=(5.0, 3.0),
        )
        yield replace(case, **settings)


def _thresholds(limit: int) -> Iterator[Case]:
    base = Case(
        part="thresholds",
        row="",
        column="",
        solver="simultaneous",
        values=SPECTRUM,
        rank=2,
        step=0.02,
        steps=limit,
    )
    for tau, ridge in _RIDGES:
        side = tau * ridge**2 / (2 * SPECTRUM[2])
        yield replace(
            base,
            row="ridge",
            column=f"{side:.2f}, step ratio {tau:g}",
            tau=tau,
            ridge=ridge,
            side=side,
        )
    for tau, gamma in _R1S:
        side = tau * (2 * gamma) ** 2 * (SPECTRUM[1] + SPECTRUM[-1])
        yield replace(
            base,
            row="R1",
            column=f"{side:.2f}, step ratio {tau:g}",
            tau=tau,
            gamma=gamma,
            side=side,
        )


def _forms() -> Iterator[Case]:
    base = Case(part="forms", row="", column="", solver="simultaneous", values=(1.0,), steps=4000)
    four = geometric(4, 5.0)
    for column, values, rank in (
        ("d = 1", (1.0,), 0),
        ("d = r = 4", four, 0),
        ("d = 4, r = 2", four, 2),
    ):
        yield replace(
            base,
            game="wasserstein",
            row="quadratic Wasserstein",
            column=column,
            values=values,
            rank=rank,
            step=0.02,
        )
    for row, gamma in (("Jensen-Shannon", 0.0), ("Jensen-Shannon, R1 0.5", 0.5)):
        for column, rank in (("d = r = 2", 0), ("d = 2, r = 1", 1)):
            yield replace(
                base,
                game="jensen-shannon",
                row=row,
                column=column,
                values=(1.0, 0.3),
                rank=rank,
                gamma=gamma,
                step=0.05,
            )


_TWO = geometric(2, 5.0)
_SAMPLES: Mapping[str, Any] = {"game": "sampled", "has_mean": True, "tolerance": 0.1}

RUNGS: Mapping[str, Mapping[str, Any]] = {
    "R0 mean known, d = 2": {"values": _TWO},
    "R1 and mean, d = 2": {"values": _TWO, "has_mean": True},
    "R2 d = 6, r = 6": {"values": geometric(6, 10.0)},
    "R2 d = 6, r = 3": {"values": geometric(6, 10.0), "rank": 3},
    "R3 batches of 64": {"values": _TWO, **_SAMPLES, "batch": 64},
    "R3 batches of 16": {"values": _TWO, **_SAMPLES, "batch": 16},
    "R4 Student's t": {"values": _TWO, **_SAMPLES, "batch": 64, "data": "t"},
    "R4 skewed": {"values": _TWO, **_SAMPLES, "batch": 64, "data": "skewed"},
    "R5 mixture, quadratic D": {"data": "mixture", "players": "mixture/quadratic"},
    "R5 mixture, MLP D": {"data": "mixture", "players": "mixture/mlp"},
    "R6 mixture, MLP G, quadratic D": {"data": "mixture", "players": "mlp/quadratic"},
    "R6 mixture, MLP G, MLP D": {"data": "mixture", "players": "mlp/mlp"},
}
"""The relaxation ladder: each rung gives up one assumption more."""

_MIXTURE: Mapping[str, Any] = {
    "game": "sampled",
    "values": (1.0, 1.0),
    "batch": 64,
    "tolerance": 0.5,
}

_AMOUNTS: Mapping[tuple[Size, str], Mapping[str, Any]] = {
    ("small", "one peak"): {"steps": 2000, "starts": 10},
    ("small", "mixture"): {"steps": 1500, "starts": 6},
    ("full", "one peak"): {"steps": 20_000, "starts": 20},
    ("full", "mixture"): {"steps": 20_000, "starts": 20},
}
_LADDER: Mapping[str, tuple[SolverName, Mapping[str, Any]]] = {
    "simultaneous": ("simultaneous", {}),
    "R1 penalty": ("simultaneous", {"gamma": 0.5}),
    "extragradient": ("extragradient", {}),
    "crossing the curl": ("crossing the curl", {}),
}
"""How each rung is climbed: one length of step for all of them, on one peak and on mixtures."""


def _ladder(size: Size) -> Iterator[Case]:
    # Networks take longer for each step, and their gradients are smaller.
    exact = {"step": 0.02, **_AMOUNTS[size, "one peak"]}
    mixed = {"step": 0.05, **_AMOUNTS[size, "mixture"], **_MIXTURE}
    for row, settings in RUNGS.items():
        shared = {**(mixed if "players" in settings else exact), **settings}
        for column, (solver, how) in _LADDER.items():
            if size == "small" and column == "extragradient":
                continue
            case = Case(part="ladder", row=row, column=column, solver=solver, values=_TWO)
            yield replace(case, **{**shared, **how})


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CaseTrial(StrategyTrial):
    """A trial that fills one cell.

    Attributes:
        case: The cell.
    """

    strategy: str = "assumptions"
    case: Case

    @classmethod
    def filling(cls, case: Case) -> "CaseTrial":
        """Returns the trial that fills a cell."""
        values = "+".join(f"{v:.4g}" for v in case.values)
        return cls(
            model=f"{case.game} {case.players}, {case.row}, {case.column}",
            data=f"{case.data} of eigenvalues {values}",
            case=case,
        )


def trials(size: Size) -> Sequence[CaseTrial]:
    """Lists one trial for each cell."""
    return [CaseTrial.filling(case) for case in cases(size)]
