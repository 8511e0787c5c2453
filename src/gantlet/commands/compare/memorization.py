"""Memorization: how often samples of a model are training samples, beside held-out ones."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

import torch
from torch import Tensor

from gantlet.commands.copies import RateComparison, copying, digests, nearest, occurs
from gantlet.commands.standings import EXACT_COPIES, NEAR_COPIES, NEARER, ModelResults
from gantlet.core.data import InMemory, Space
from gantlet.core.errors import UserError
from gantlet.core.estimate import REAL, Estimate
from gantlet.core.metric import p_greater_rate
from gantlet.report.blocks import Block, Cell, Column, Section, Table, Verdict
from gantlet.report.format import listed
from gantlet.run.store import Run
from gantlet.stats.intervals import Variance, fraction, holm, proportion

NEAREST = "nearest"
"""The file in the folder of a trial that holds how samples lie to training samples."""

_EXACT = "exact"
_LEVEL = 0.05
_NAMED = 6


# ----------------------------------------------------------------------------
# What one trial measures.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class TrainingSet:
    """The training samples that samples are held against.

    Attributes:
        samples: Those samples, shape ``(t, *space.shape)``.
        features: Their features, shape ``(t, d)``.
        total: How many training samples there are in all.
    """

    samples: Tensor
    features: Tensor
    total: int

    @property
    def words(self) -> str:
        """How many they are."""
        t, total = len(self.samples), self.total
        return f"{t:,}" if t == total else f"{t:,} of {total:,}"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Memorized:
    """How samples lie to training samples.

    Attributes:
        scores: The share of exact copies, of near copies, and of those that are nearer to a
            training sample than to any held-out one.
        tensors: What tests need of each sample.
    """

    scores: Mapping[str, Estimate]
    tensors: Mapping[str, Tensor]


def memorized(
    space: Space, x: Tensor, seen: tuple[Tensor, Tensor], training: TrainingSet
) -> Memorized:
    """Returns how samples lie to training samples.

    Args:
        space: What one sample is.
        x: The samples, shape ``(n, *space.shape)``.
        seen: Features of the held-out reference, shape ``(r, d)``, and of the samples ``(n, d)``.
        training: The training samples.
    """
    own, learned = (digests(InMemory(s.cpu()), space) for s in (x, training.samples))
    exact = occurs(own, learned)
    reference, fake = seen
    try:
        found = nearest(reference, fake, training.features)
    except UserError:
        # Features that cannot be compared, which the metrics say.
        found = {}
    of = f"samples, held against {training.words} training samples"
    scores = {EXACT_COPIES: proportion(int(exact.sum()), len(exact), of=of)}
    if found:
        scores[NEAR_COPIES] = proportion(int(found["copy"].sum()), len(fake), of=of)
        scores[NEARER] = _nearer(found)
    kept = {name: t.cpu().contiguous() for name, t in found.items()}
    return Memorized(scores=scores, tensors={_EXACT: exact, **kept})


def _nearer(found: Mapping[str, Tensor]) -> Estimate:
    trained, (t, r) = found["trained"], found["sizes"].tolist()
    n, share = len(trained), float(trained.mean())
    method = (
        f"of {n} samples, held against {t:,} training and {r:,} held-out samples; "
        f"{t / (t + r):.3g} is expected of samples that are no copies; Wilson's interval"
    )
    variance = Variance.of_squares(share * (1 - share) / n, n - 1)
    return fraction(share, variance, n=n, method=method)


# ----------------------------------------------------------------------------
# What all trials say together: tests against held-out samples.
# ----------------------------------------------------------------------------

Sign = Literal["exact", "near", "nearer"]

_WORDS: dict[Sign, str] = {
    "exact": "equal a training sample",
    "near": "nearly equal a training sample",
    "nearer": "lie nearer to training samples than held-out ones do",
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MemorizationTest:
    """One model by one sign, against held-out samples.

    Attributes:
        model: The model.
        sign: Exact copies, near copies, or samples that all lie nearer.
        found: How often it is so among both.
        p: The p-value against one side.
        is_significant: Whether Holm's procedure over all models and signs rejects.
    """

    model: ModelResults
    sign: Sign
    found: RateComparison
    p: float
    is_significant: bool = False

    @property
    def words(self) -> str:
        """The counts in words."""
        what, f = _WORDS[self.sign], self.found
        if self.sign == "nearer":
            return f"its samples {what} (p = {self.p:.2g})"
        return (
            f"{f.count:,} of {f.n:,} samples {what}, of held-out ones {f.floor_count:,} of "
            f"{f.floor_n:,}"
        )


def memorization_tests(
    everyone: Sequence[ModelResults], run: Run | None
) -> list[MemorizationTest]:
    """Tests all models for copies of training samples, by each sign.

    Exact and near copies by Fisher's exact test against held-out samples; samples that lie nearer
    by the larger of two p-values, see ``gantlet.commands.copies.copying``. Seeds of a model are
    taken together.
    """
    real = next((c for c in everyone if c.model == REAL), None)
    floor = {} if real is None or run is None else _kept(real, run)
    if not floor or run is None:
        return []
    tests = [t for c in everyone if c.model != REAL for t in _of_one(c, _kept(c, run), floor)]
    sure = holm([t.p for t in tests], level=_LEVEL)
    return [replace(t, is_significant=s) for t, s in zip(tests, sure, strict=True)]


def _of_one(
    c: ModelResults, own: Mapping[str, Tensor], floor: Mapping[str, Tensor]
) -> Iterator[MemorizationTest]:
    if not own:
        return
    exact = _exact(own[_EXACT], floor[_EXACT])
    yield MemorizationTest(model=c, sign="exact", found=exact, p=exact.p)
    if (near := copying(own, floor)) is not None:
        yield MemorizationTest(model=c, sign="near", found=near, p=near.p)
        yield MemorizationTest(model=c, sign="nearer", found=near, p=near.also)


def _exact(own: Tensor, floor: Tensor) -> RateComparison:
    counts = (int(own.sum()), len(own), int(floor.sum()), len(floor))
    count, n, other, m = counts
    return RateComparison(
        count=count, n=n, floor_count=other, floor_n=m, p=p_greater_rate(*counts)
    )


def _kept(c: ModelResults, run: Run) -> dict[str, Tensor]:
    """Returns what all seeds of a model kept, one after the other; nothing of older runs."""
    folders = [run.folder(o.trial) for o in c.outcomes.values()]
    found = [f.load(NEAREST) for f in folders if (f.path / f"{NEAREST}.safetensors").exists()]
    if not found:
        return {}
    names = set.intersection(*(set(one) for one in found))
    joined = {name: torch.cat([one[name] for one in found]) for name in names - {"sizes"}}
    return joined | ({"sizes": found[0]["sizes"]} if "sizes" in names else {})


# ----------------------------------------------------------------------------
# The section of the report, and what it says.
# ----------------------------------------------------------------------------


def memorization_section(
    everyone: Sequence[ModelResults], tests: Sequence[MemorizationTest]
) -> Iterator[Section]:
    """Yields the shares of copies of each model, beside those of held-out samples."""
    if not tests:
        return
    blocks: list[Block] = [_shares(everyone, tests)]
    is_found = any(t.is_significant for t in tests)
    yield Section(title="Memorization", blocks=blocks, open=is_found)


def _shares(everyone: Sequence[ModelResults], tests: Sequence[MemorizationTest]) -> Table:
    scores = [s for s in (EXACT_COPIES, NEAR_COPIES, NEARER) if any(c.values(s) for c in everyone)]
    rows: list[list[Cell]] = [
        [c.label, *(c.estimate(s) for s in scores), _significant(c, tests)] for c in everyone
    ]
    return Table(
        title="Copies of training samples",
        columns=[
            Column(name="model"),
            *(Column(name=s) for s in scores),
            Column(name="more than held-out samples?"),
        ],
        rows=rows,
        references=[c.label for c in everyone if c.model == REAL],
        note="Shares of samples; in the row of held-out data, of validation samples. Near: at "
        "most a third as far from a training sample as that one is from the next one, on "
        "the features that rank. Nearer: than to any held-out sample. Significant: Fisher's exact "
        "test on counts, and ranks of distances together with which set owns the nearest sample; "
        "Holm's procedure over all models and signs, 5 % in all.",
    )


def _significant(c: ModelResults, tests: Sequence[MemorizationTest]) -> str:
    own = [t for t in tests if t.model is c]
    return ", ".join(t.sign for t in own if t.is_significant) or ("no" if own else "–")


def memorization_verdict(tests: Sequence[MemorizationTest]) -> Iterator[Verdict]:
    """Yields which models copy training samples, or that none is seen to."""
    if not tests:
        return
    signs = {t.model.label: t for t in reversed(tests) if t.is_significant}
    everyone = dict.fromkeys(t.model.label for t in tests)
    order = [label for label in everyone if label in signs]
    how = f"Holm's procedure over {len(tests)} tests, 5 % in all"
    if not order:
        yield Verdict(
            claim="No model is seen to copy training samples: none has significantly more copies "
            "than held-out data, or lies nearer to them.",
            because=f"{how}.",
        )
        return
    summary = "; ".join(f"{label}: {signs[label].words}" for label in order[:_NAMED])
    rest = [label for label in everyone if label not in signs]
    others = f"; {listed(rest)} {'is' if len(rest) == 1 else 'are'} not seen to" if rest else ""
    yield Verdict(
        claim=f"{listed(order)} {'copies' if len(order) == 1 else 'copy'} training samples, "
        f"significantly more than held-out data{others}.",
        because=f"{summary}. {how}.",
    )
