"""The tests of the support of one set of samples, from data to result."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from gantlet.commands.compare.trial import restore
from gantlet.commands.coverage import (
    CONSTANT,
    DIVERGENCE,
    MODES,
    NEEDED,
    QUALITY,
    bounds,
    constant_of,
    needed,
    needed_for_truth,
)
from gantlet.commands.evaluate.inputs import EvaluationSpec, SetTrial, named, trained_trial
from gantlet.commands.evaluate.sets import EvaluationSets, Floor, SamplePart, why_none
from gantlet.commands.support.modes import Modes, Part, kind_of, modes_of
from gantlet.compute.machine import threads
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate, Note, Outcome, Trial
from gantlet.core.metric import p_greater_rate
from gantlet.core.model import Decoder, Density, Model
from gantlet.core.rng import Rng
from gantlet.features.base import full_precision
from gantlet.metrics.collisions import Partners, equal_partners, partners, threshold
from gantlet.metrics.conditional import sequential_p
from gantlet.metrics.neighbour_search import Points, knn, knn_within, points
from gantlet.models.nets import Scaling
from gantlet.options import SupportTests
from gantlet.probes.inversion import RECALL as BY_INVERSION
from gantlet.probes.inversion import Search, invert, near_limit, reach, rows
from gantlet.probes.likelihood import affordable
from gantlet.probes.sampling import median
from gantlet.run.execute import Watch
from gantlet.run.store import TrialFolder
from gantlet.stats.intervals import holm_adjusted
from gantlet.stats.moments import squared_distances
from gantlet.stats.support import (
    Collisions,
    ModeSummary,
    effective_support,
    fewer_than,
    first_collisions,
    perfect_sampler,
    size_of_collision,
    summary_of_modes,
    support_ratio,
    wilson,
)

# ----------------------------------------------------------------------------
# What a trial is.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SupportTrial(SetTrial):
    """The tests of one set. Its written form is a ``Trial``, whose key names it.

    Attributes:
        model: The set as it was asked for.
        extractor: The feature extractor, in written form.
        sets: What decides the sets.
        tests: Settings of the tests.
        threads: Threads of the trial; part of what decides the last digits.
        device: Where features are computed and models are run.
    """

    model: str
    extractor: str
    sets: EvaluationSpec
    tests: SupportTests
    threads: int
    device: str


FEWEST = 40
"""Fewer held-out samples than this say nothing of a support."""


def check_sizes(sets: EvaluationSets) -> None:
    """Refuses sets that cannot be compared with held-out real samples.

    Raises:
        UserError: If there are too few fakes, or no held-out samples of equal number.
    """
    for fake in sets.asked.fakes:
        n, name = sets.fake(fake).n, named(fake)[0]
        if n < FEWEST:
            raise UserError(f"{name} holds {n} samples. At least {FEWEST} are needed.")
        floor = sets.floor(n)
        if floor is None:
            raise UserError(
                f"The support of {name} cannot be compared with real data: {why_none(sets, n)}."
            )
        least = min(floor.other.n, floor.real.n)
        if least < FEWEST:
            raise UserError(
                f"{named(sets.asked.real)[0]} leaves {least} real samples for the comparison with "
                f"{name}. At least {2 * FEWEST} real samples are needed."
            )


# ----------------------------------------------------------------------------
# The numbers, and what is tested.
# ----------------------------------------------------------------------------

SUPPORT, RATIO, SIZE = "effective support", "effective support / real", "s_50"
SIZE_UNIFORM = "s_50 at equal probabilities"
OFF, RECALL, REACHED = "off-support mass", "recall", BY_INVERSION
ZERO, UNDER, REVERSE = "zero probability", "under-represented modes", "KL(truth, samples)"

OF_REAL, PERFECT = "real: ", "perfect sampler: "
"""Before the name of a number: that of held-out real samples, or of a perfect sampler."""

TESTS: Mapping[str, str] = {
    SUPPORT: "more collisions than among held-out real samples",
    RECALL: "fewer held-out real samples reached than by as many real ones",
    UNDER: "a mode less frequent than in the data",
    REACHED: "fewer held-out real samples reached by inversion than by real ones",
    OFF: "more samples off the support than held-out real ones",
}
"""What each test would show."""


@final
class Results:
    """The numbers of a set, p-values of its tests, and what is shown."""

    def __init__(self) -> None:
        self.scores: dict[str, Estimate] = {}
        self.p: dict[str, float] = {}
        self.details: dict[str, Any] = {}
        self.shown: dict[str, Tensor] = {}
        self.notes: list[str] = []

    def put(self, name: str, fake: Estimate, real: Estimate | None = None) -> None:
        """Adds a number, and that of held-out real samples."""
        self.scores[name] = fake
        if real is not None:
            self.scores[OF_REAL + name] = real


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The samples of a trial in random order, and their features under one scale.

    Attributes:
        reference: Real samples that set thresholds and cells, and are judged by nothing.
        held: Held-out real samples: the control.
        fake: The samples to judge, as many as held-out ones.
    """

    reference: Part
    held: Part
    fake: Part

    def points(self) -> tuple[Points, Points, Points]:
        """Returns the features, ready for distances."""
        a, h, f = points(self.reference.rows, self.held.rows, self.fake.rows)
        return a, h, f


def run_trial(trial: Trial, sets: EvaluationSets, folder: TrialFolder, watch: Watch) -> Outcome:
    """Tests the support of a set and saves what pictures need.

    Args:
        trial: A ``SupportTrial`` in written form.
        sets: The sets.
        folder: Where what is large is saved.
        watch: Is told how far it is.
    """
    spec = SupportTrial.of(trial)
    results = Results()
    with threads(spec.threads), full_precision():
        scene = _scene(spec, sets, watch)
        at = scene.points()
        watch(0.55, "collisions")
        _collide(results, scene, at, spec)
        watch(0.65, "modes and recall")
        rng = Rng(spec.seed)
        modes = modes_of(
            kind_of(sets, spec.tests, spec.extractor),
            sets,
            (scene.reference, scene.held, scene.fake),
            cells=spec.tests.cells,
            rng=rng.stream("support/cells"),
        )
        reached = _recall(results, at, rng.stream("support/recall"))
        _modes(results, modes, reached, rng.stream("support/modes"))
        _off_support(results, modes, at)
        _model(results, spec, scene, modes, watch)
    folder.save("exhibits", _placed(results.shown, scene))
    return Outcome(
        trial=trial,
        scores=results.scores,
        notes=tuple(Note(text, "features") for text in results.notes),
        details={"p": results.p, "modes": modes.kind, **results.details},
    )


# Of which samples places are kept.
_OF_FAKE, _OF_HELD = ("closest", "nearest"), ("real closest", "unreached", "inverted", "unlikely")


def _placed(shown: Mapping[str, Tensor], scene: Scene) -> dict[str, Tensor]:
    """Returns places in the scene as places in the sets."""
    placed = dict(shown)
    for keys, part in ((_OF_FAKE, scene.fake), (_OF_HELD, scene.held)):
        places = part.samples.places
        placed |= {k: v if places is None else places[v] for k, v in shown.items() if k in keys}
    return {k: v.contiguous() for k, v in placed.items()}


def _scene(spec: SupportTrial, sets: EvaluationSets, watch: Watch) -> Scene:
    floor = sets.floor(sets.fake(spec.model).n)
    if floor is None:
        raise UserError(why_none(sets, sets.fake(spec.model).n))
    rng = Rng(spec.seed)

    def part(samples: SamplePart, name: str) -> Part:
        found = sets.features(
            samples.whole, spec.extractor, watch, device=spec.device, classes=True
        )
        every = torch.arange(samples.whole.n) if samples.places is None else samples.places
        order = torch.randperm(len(every), generator=rng.stream(f"support/order/{name}"))
        places = every[order]
        classes = None if found.probabilities is None else found.probabilities[places]
        whole = SamplePart(whole=samples.whole, places=places)
        return Part(samples=whole, rows=found.rows[places], classes=classes)

    return Scene(
        reference=part(_smaller(floor, spec), "reference"),
        held=part(floor.other, "held"),
        fake=part(sets.fair_part(spec.model), "fake"),
    )


def _smaller(floor: Floor, spec: SupportTrial) -> SamplePart:
    """Returns as many samples of the reference as there are held-out ones, at most."""
    real, n = floor.real, floor.other.n
    if real.n <= n:
        return real
    order = torch.randperm(real.n, generator=Rng(spec.seed).stream("support/reference"))[:n]
    every = torch.arange(real.whole.n) if real.places is None else real.places
    return SamplePart(whole=real.whole, places=every[order.sort().values])


# ----------------------------------------------------------------------------
# Collisions.
# ----------------------------------------------------------------------------


def _collide(
    results: Results, scene: Scene, at: tuple[Points, Points, Points], spec: SupportTrial
) -> None:
    a, h, f = at
    limit = threshold(a, spec.tests.pair_share)
    exact = spec.tests.collisions == "exact" or (
        spec.tests.collisions == "auto" and limit.squared == 0
    )
    if exact:
        held, fake = (equal_partners(p.samples.digests()) for p in (scene.held, scene.fake))
    else:
        held, fake = (partners(x, limit.squared) for x in (h, f))
    ours, theirs = (Collisions.of(p.count) for p in (fake, held))
    ratio = support_ratio(ours, theirs)
    results.p[SUPPORT] = ratio.also["p"]
    results.put(SUPPORT, _effective(ours), _effective(theirs))
    results.put(RATIO, ratio.named(unit="1", better="higher"))
    results.put(SIZE, _batches(fake), _batches(held))
    results.put(SIZE_UNIFORM, *(_at_equal(e) for e in (_effective(ours), _effective(theirs))))
    results.details["collisions"] = {
        "exact": exact,
        "distance": math.sqrt(max(limit.squared, 0.0)) / a.scale,
        "share": limit.share,
        "reference": len(a),
    }
    results.shown["closest"] = fake.closest.flatten()
    results.shown["real closest"] = held.closest.flatten()


def _effective(found: Collisions) -> Estimate:
    return effective_support(found).named(unit="samples", better="higher")


def _batches(found: Partners) -> Estimate:
    sizes = first_collisions(found.latest)
    n = len(found.latest)
    if not sizes:
        reason = f"no collision among {n:,} samples"
        return Estimate.missing(reason, unit="samples", better="higher")
    how = f"batches of {n:,} samples in random order, each ended by its first collision"
    return median(
        list(map(float, sizes)), unit="samples", better="higher", of="batches", method=how
    )


def _at_equal(support: Estimate) -> Estimate:
    """Returns the size at which a collision is as likely as not, from the effective support."""
    if support.value is None or support.low is None or support.high is None:
        return Estimate.missing(support.method, unit="samples", better="higher")
    return Estimate(
        value=size_of_collision(support.value),
        low=size_of_collision(support.low),
        high=size_of_collision(support.high),
        n=support.n,
        unit="samples",
        better="higher",
        method="number of samples among which a collision has probability 1/2 if as many samples "
        "as the effective support are equally likely",
    )


# ----------------------------------------------------------------------------
# Recall: held-out samples that no fake is near to, against as many real ones.
# ----------------------------------------------------------------------------

_NEIGHBOURS, _PERMUTATIONS, _BATCH, _AT_ONCE = 16, 1999, 100, 2**25
_SHOWN = 16


def _recall(results: Results, at: tuple[Points, Points, Points], rng: torch.Generator) -> Tensor:
    """Tests how many held-out samples have a fake near them; returns which do, shape ``(n,)``.

    A held-out sample is reached if a fake is as near as 95 % of held-out samples are to another
    one. Fakes and as many reference samples are then permuted between the two sets: exact, since
    the held-out samples and the distance do not depend on which is which.
    """
    a, h, f = at
    limit = near_limit(knn_within(h, 1).distance[:, 0])
    m = min(len(f), len(a))
    pool = Points(torch.cat([f.x[:m], a.x[:m]]), f.centre, f.scale)
    near = knn(h, pool, _NEIGHBOURS)
    inside = near.distance <= limit
    is_fake = torch.arange(2 * m) < m
    reached, by_real = ((inside & mask[near.index]).any(1) for mask in (is_fake, ~is_fake))
    results.p[RECALL] = permuted_p(inside, near.index, is_fake, rng)
    n = len(h)
    words = f"held-out samples with one of {m:,} samples within the distance of 95 % of real ones"
    results.put(
        RECALL,
        wilson(int(reached.sum()), n, of=words).named(unit="1", better="higher"),
        wilson(int(by_real.sum()), n, of=words).named(unit="1", better="higher"),
    )
    _farthest(results, h, Points(f.x[:m], f.centre, f.scale), limit)
    return reached


def permuted_p(inside: Tensor, index: Tensor, is_fake: Tensor, rng: torch.Generator) -> float:
    """Returns the p-value of "no fewer are reached than by as many real samples".

    Permutation ends early where many permutations reach as few, which leaves the test exact: see
    ``sequential_p``.

    Args:
        inside: Whether each neighbour of each held-out sample is near enough, shape ``(n, k)``.
        index: Which sample of the pool each neighbour is, shape ``(n, k)``.
        is_fake: Whether each sample of the pool is a fake, one half of them; shape ``(2 m,)``.
        rng: Draws permutations; on the CPU.
    """
    some = inside.any(1)
    inside, index = inside[some], index[some]
    step = min(_BATCH, max(1, _AT_ONCE // max(index.numel(), 1)))

    def unreached(count: int) -> Tensor:
        labels = torch.rand(count, len(is_fake), generator=rng).argsort(1) < len(is_fake) // 2
        return -(labels[:, index] & inside).any(2).sum(1)

    observed = -int((inside & is_fake[index]).any(1).sum())
    return sequential_p(observed, unreached, _PERMUTATIONS, step)


def _farthest(results: Results, held: Points, fake: Points, limit: float) -> None:
    """Keeps the held-out samples that are farthest from any fake, and the nearest fakes."""
    near = knn(held, fake, 1)
    distance = near.distance[:, 0]
    order = distance.argsort(descending=True, stable=True)[:_SHOWN]
    results.details["farthest"] = (distance[order] / max(limit, 1e-300)).sqrt().tolist()
    results.shown["unreached"] = order
    results.shown["nearest"] = near.index[order, 0]


# ----------------------------------------------------------------------------
# Modes, and mass off the support.
# ----------------------------------------------------------------------------


def _modes(results: Results, modes: Modes, reached: Tensor, rng: torch.Generator) -> None:
    p = modes.p_values()
    adjusted = holm_adjusted(p)
    results.p[UNDER] = min(adjusted)
    fake, held = modes.count_fake, modes.count_held
    known = modes.held >= 0
    covered = modes.held[known & reached].bincount(minlength=len(modes.names))
    results.details["table"] = {
        "names": list(modes.names),
        "fake": fake.tolist(),
        "held": held.tolist(),
        "covered": covered.tolist(),
        "weights": None if modes.weights is None else modes.weights.tolist(),
        "gap": modes.gap,
        "p": adjusted,
    }
    n = len(modes.fake)
    if modes.weights is None or modes.ceiling is None:
        results.put(MODES, _found(fake, held, n), _found(held, held, n))
        return
    for labels, counts, before in ((modes.fake, fake, ""), (modes.held, held, OF_REAL)):
        found = summary_of_modes(counts, len(labels), modes.weights, rng=rng)
        results.scores |= _summed(found, before)
    perfect = perfect_sampler(n, modes.weights, modes.ceiling, rng=rng)
    results.scores |= _summed(perfect, PERFECT)
    if modes.gap is not None:
        results.put(NEEDED, needed(fake, n, modes.gap), needed(held, len(modes.held), modes.gap))
        truth = needed_for_truth(modes.weights, modes.ceiling, modes.gap)
        results.scores[PERFECT + NEEDED] = truth


def _summed(found: ModeSummary, before: str) -> dict[str, Estimate]:
    return {
        before + MODES: found.modes,
        before + QUALITY: found.high_quality,
        before + DIVERGENCE: found.divergence,
        before + REVERSE: found.reverse,
    }


def _found(counts: Tensor, held: Tensor, n: int) -> Estimate:
    there = held > 0
    return Estimate.exact(
        float(((counts > 0) & there).sum()),
        n=n,
        unit="modes",
        better="higher",
        method=f"of {int(there.sum())} modes with held-out samples, those with a sample: counted "
        "in these samples; other samples may differ",
    )


def _off_support(results: Results, modes: Modes, at: tuple[Points, Points, Points]) -> None:
    """Tests the mass off the support: where it is known, else beyond a quantile of real ones."""
    n = len(modes.fake)
    if modes.ceiling is not None:
        off, real = (int((labels < 0).sum()) for labels in (modes.fake, modes.held))
        results.p[OFF] = fewer_than(n - off, n, modes.ceiling)
        where = "samples off the known support"
    else:
        a, h, f = at
        limit = near_limit(knn_within(a, 1).distance[:, 0])
        real, off = (int((knn(x, a, 1).distance[:, 0] > limit).sum()) for x in (h, f))
        results.p[OFF] = p_greater_rate(off, n, real, len(modes.held))
        where = "samples farther from the reference than 95 % of its own samples"
    results.put(
        OFF,
        wilson(off, n, of=where).named(unit="1", better="lower"),
        wilson(real, len(modes.held), of=where).named(unit="1", better="lower"),
    )


# ----------------------------------------------------------------------------
# What needs the model: inversion and likelihood.
# ----------------------------------------------------------------------------

_LIKELIHOODS = 1000


def _model(results: Results, spec: SupportTrial, scene: Scene, modes: Modes, watch: Watch) -> None:
    """Inverts held-out samples through a decoder; finds those that a density makes unlikely.

    Where modes are known to be apart, what its Lipschitz constant allows.
    """
    found = trained_trial(spec.model)
    if found is None:
        return
    watch(0.7, "the model")
    model = restore(*found).to(spec.device).eval()
    model.requires_grad_(requires_grad=False)
    space = scene.held.samples.space
    if (model.space.kind, model.space.shape, model.space.levels) != (
        space.kind,
        space.shape,
        space.levels,
    ):
        results.notes.append(
            f"the model makes samples of {model.space.label}, the reference holds {space.label}: "
            "it was not inverted"
        )
        return
    if isinstance(model, Decoder) and spec.tests.invert:
        _invert(results, model, spec, scene, watch)
    if isinstance(model, Density):
        _likelihoods(results, model, spec, scene)
    if modes.weights is not None and modes.gap is not None:
        watch(0.95, "the Lipschitz constant")
        real = scene.held.samples.source.take(torch.arange(1)).to(spec.device)
        constant = constant_of(model, real, rng=Rng(spec.seed, spec.device))
        results.put(CONSTANT, constant)
        results.scores |= bounds(constant, modes.count_fake, modes.weights, modes.gap)


def _invert(
    results: Results, model: Decoder, spec: SupportTrial, scene: Scene, watch: Watch
) -> None:
    watch(0.75, "inverting held-out samples")
    held, reference = (
        p.source.take(torch.arange(p.n)).to(spec.device)
        for p in (scene.held.samples, scene.reference.samples)
    )
    scaling = Scaling(model.space).to(spec.device)
    scaling.fit(reference.float())
    x = held[: spec.tests.invert]
    rng = Rng(spec.seed, spec.device).stream("support/inversion")
    found = invert(model, x, scaling, rng=rng, search=Search())
    limit = reach(held, scaling)
    by_model = (found.distance <= limit).cpu()
    by_real = _nearest(rows(x, scaling), rows(reference, scaling)).cpu() <= limit
    lost, won = int((by_real & ~by_model).sum()), int((by_model & ~by_real).sum())
    # Exact test of McNemar: of the samples that only one of them reaches, half are the model's.
    results.p[REACHED] = fewer_than(won, won + lost, 0.5)
    words = "held-out samples within the distance of 95 % of real ones"
    results.put(
        REACHED,
        wilson(int(by_model.sum()), len(x), of=words).named(unit="1", better="higher"),
        wilson(int(by_real.sum()), len(x), of=words).named(unit="1", better="higher"),
    )
    order = found.distance.cpu().argsort(descending=True, stable=True)[:_SHOWN]
    results.details["inverted"] = (found.distance.cpu()[order] / limit).tolist()
    results.shown["inverted"] = order
    results.shown["inversions"] = _rounded(found.nearest.cpu()[order], model)


def _rounded(x: Tensor, model: Model) -> Tensor:
    levels = model.space.levels
    return x if levels is None else x.round().clamp(0, levels - 1)


def _nearest(x: Tensor, base: Tensor) -> Tensor:
    """Returns the distance of each row to the nearest of ``base``."""
    parts = [
        squared_distances(part.double(), base.double()).amin(1).sqrt()
        for part in torch.split(x, 64)
    ]
    return torch.cat(parts)


@torch.no_grad()
def _likelihoods(results: Results, model: Density, spec: SupportTrial, scene: Scene) -> None:
    rng = Rng(spec.seed, spec.device)
    x = scene.held.samples.source.take(torch.arange(min(scene.held.samples.n, _LIKELIHOODS)))
    x = x.to(spec.device)[: affordable(model, x.to(spec.device), rng)]
    n = len(x)
    found = [
        model.log_prob(part, rng=rng.stream("support/likelihood")) for part in torch.split(x, 64)
    ]
    values = torch.cat([p.value for p in found]).double().cpu()
    impossible = ~(values > -math.inf)
    what = f"held-out samples of log-likelihood minus infinity or NaN ({found[0].kind})"
    zero = wilson(int(impossible.sum()), n, of=what)
    results.put(ZERO, zero.named(unit="1", better="lower"))
    lowest = values.nan_to_num(nan=-math.inf).argsort(stable=True)[:_SHOWN]
    results.shown["unlikely"] = lowest
    finite = [v if math.isfinite(v) else None for v in values[lowest].tolist()]
    usual = float(values[~impossible].median()) if bool((~impossible).any()) else None
    results.details["unlikely"] = {"nats": finite, "median": usual, "kind": found[0].kind}
