"""A made table of numbers and categories whose density is known."""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, final

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, one_hot

from gantlet.core.data import Space, Splits, all_samples
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.data.splits import drawn
from gantlet.domains.table_code import TableCode, TableColumn

# Shares of the regions, and of the jobs in each of them.
_REGION = (0.4, 0.3, 0.2, 0.1)
_JOB = ((0.6, 0.3, 0.1), (0.2, 0.6, 0.2), (0.1, 0.3, 0.6), (1 / 3, 1 / 3, 1 / 3))
_REGIONS, _JOBS, _OUTCOMES = ("north", "south", "east", "west"), ("a", "b", "c"), ("no", "yes")
# Age by job: mean and deviation, in years.
_AGE = ((30.0, 5.0), (42.0, 9.0), (58.0, 5.0))
# The logarithm of income by job, how it grows with age, and its deviation.
_INCOME, _SLOPE, _SPREAD = (2.8, 3.6, 3.2), 0.02, 0.3
# The balance by region: at a log income of 3, how it changes with it, and its deviation.
_BALANCE, _NOISE = ((0.0, 2.0), (1.0, -2.0), (-2.0, 0.5), (4.0, 0.0)), 0.5
# What stands where an income is missing.
_FILLER = 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class MixedTable:
    """Rows of three numbers and three categories that depend on each other; the density is known.

    Columns: ``age``, ``region`` (4 values), ``job`` (3), ``income``, ``balance`` and ``outcome``
    (2), which is the label. A region has its shares of jobs; age is normal given the job, with
    three modes in all; income is log-normal given job and age; the balance rises with income in
    one region, falls in another and does not depend on it in a third; the outcome is logistic in
    age and balance.

    Attributes:
        missing: Share of the incomes that are missing, at random.
        n: How many training samples.
        held_out: How many samples each for validation and test.
    """

    missing: Annotated[float, Between(0, 1, below=True)] = 0.0
    n: Annotated[int, Between(1)] = 8_000
    held_out: Annotated[int, Between(1)] = 4_000

    @property
    def space(self) -> Space:
        """Rows of numbers and of indicators of categories."""
        return self._code.space

    @property
    def _code(self) -> TableCode:
        plan = (
            ("age", ()),
            ("region", _REGIONS),
            ("job", _JOBS),
            ("income", ()),
            ("balance", ()),
            ("outcome", _OUTCOMES),
        )
        columns: list[TableColumn] = []
        for name, categories in plan:
            start = columns[-1].end if columns else 0
            if categories:
                columns.append(TableColumn(name, "category", start, categories))
                continue
            gaps = name == "income" and self.missing > 0
            columns.append(TableColumn(name, "number", start, gaps=gaps, middle=_FILLER))
        return TableCode(tuple(columns), plain=False)

    def load(self, *, rng: Rng) -> Splits:
        """Returns independent draws, and what their components stand for."""
        splits = drawn(self._draw, n=self.n, held_out=self.held_out, rng=rng)
        return replace(splits, code=self._code.relearned(all_samples(splits.train)))

    def _draw(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        pick = partial(torch.multinomial, num_samples=1, generator=rng)
        region = pick(torch.tensor(_REGION).expand(n, -1))[:, 0]
        job = pick(torch.tensor(_JOB)[region])[:, 0]
        noise = torch.randn(3, n, generator=rng, dtype=torch.float64)
        u, v = torch.rand(2, n, generator=rng, dtype=torch.float64)
        age = _of(_AGE, job, 0) + _of(_AGE, job, 1) * noise[0]
        log_income = _mean_income(job, age) + _SPREAD * noise[1]
        balance = _mean_balance(region, log_income) + _NOISE * noise[2]
        outcome = (u < _logit(age, balance).sigmoid()).long()
        is_missing = v < self.missing
        income = torch.where(is_missing, _FILLER, log_income.exp())
        gap = [is_missing[:, None]] if self.missing > 0 else []
        parts = [
            age[:, None],
            one_hot(region, len(_REGIONS) + 2),
            one_hot(job, len(_JOBS) + 2),
            income[:, None],
            *gap,
            balance[:, None],
            one_hot(outcome, len(_OUTCOMES) + 2),
        ]
        return torch.cat([p.double() for p in parts], 1), outcome

    def log_density(self, x: Tensor) -> Tensor:
        """Returns the log-density of rows, shape ``(n, components)``, in nats, shape ``(n,)``.

        Of the numbers, times the probability of the categories; a missing income has a
        probability in place of a density. Minus infinity for categories that there are not.
        """
        by_name = {c.name: x[:, c.start : c.end].double() for c in self._code.columns}
        region, job, outcome = (by_name[k].argmax(1) for k in ("region", "job", "outcome"))
        known = (region < len(_REGIONS)) & (job < len(_JOBS)) & (outcome < len(_OUTCOMES))
        known &= by_name["income"][:, 0] > 0
        region, job = region.clamp(max=len(_REGIONS) - 1), job.clamp(max=len(_JOBS) - 1)
        age, balance = by_name["age"][:, 0], by_name["balance"][:, 0]
        found = torch.tensor(_REGION).double().log()[region]
        found = found + torch.tensor(_JOB).double().log()[region, job]
        found = found + _normal(age, _of(_AGE, job, 0), _of(_AGE, job, 1))
        found = found + self._of_money(by_name["income"], balance, _mean_income(job, age), region)
        sign = 2.0 * (outcome == 1) - 1
        found = found + logsigmoid(sign * _logit(age, balance))
        return torch.where(known, found, -torch.inf).to(x.dtype)

    def _of_money(self, income: Tensor, balance: Tensor, mean: Tensor, region: Tensor) -> Tensor:
        """Returns the log-density of income and balance, of the balance where one is missing.

        Args:
            income: The components of income, shape ``(n, 1)`` or ``(n, 2)``.
            balance: Shape ``(n,)``.
            mean: Of the logarithm of income, shape ``(n,)``.
            region: Shape ``(n,)``.
        """
        log_income = income[:, 0].clamp(min=1e-300).log()
        noise = torch.full_like(mean, _NOISE)
        there = _normal(log_income, mean, torch.full_like(mean, _SPREAD)) - log_income
        there = there + _normal(balance, _mean_balance(region, log_income), noise)
        if not self.missing:
            return there
        wide = (noise.square() + (_of(_BALANCE, region, 1) * _SPREAD).square()).sqrt()
        gone = _normal(balance, _mean_balance(region, mean), wide) + math.log(self.missing)
        return torch.where(income[:, 1] > 0.5, gone, there + math.log1p(-self.missing))


def _of(table: tuple[tuple[float, ...], ...], row: Tensor, column: int) -> Tensor:
    """Returns the entry of a table for each row number, float64."""
    return torch.tensor(table, dtype=torch.float64)[row, column]


def _mean_income(job: Tensor, age: Tensor) -> Tensor:
    return torch.tensor(_INCOME, dtype=torch.float64)[job] + _SLOPE * (age - 40)


def _mean_balance(region: Tensor, log_income: Tensor) -> Tensor:
    return _of(_BALANCE, region, 0) + _of(_BALANCE, region, 1) * (log_income - 3)


def _logit(age: Tensor, balance: Tensor) -> Tensor:
    return 1.5 * balance - 0.1 * (age - 40)


def _normal(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Returns the log-density of normal distributions."""
    return -0.5 * ((x - mean) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)
