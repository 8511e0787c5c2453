"""The report of the study: answers, each from a stated test, then tables and charts."""

from collections.abc import Iterator, Mapping, Sequence

from gantlet.core.estimate import Better, Estimate
from gantlet.core.spec import Spec
from gantlet.report.blocks import (
    Block,
    Caveat,
    Cell,
    Column,
    Dot,
    Forest,
    Group,
    Lines,
    Section,
    Series,
    Table,
    Verdict,
)
from gantlet.research.adversarial.arms import (
    BATCHES,
    EARLY,
    GAMMAS,
    KINDS,
    MOMENTUM,
    NONE,
    R1,
    RADII,
    ROBUST,
    WAYS,
    penalised_at,
    trained_at,
)
from gantlet.research.adversarial.topics import (
    LEVEL,
    Claim,
    Decided,
    Results,
    Topic,
    claims_of,
    decide,
)
from gantlet.research.adversarial.trial import (
    CALLED_REAL,
    COSINE,
    DENSITY,
    EFFICIENCY,
    GAP,
    HELD_COSINE,
    KERNEL,
    KIN,
    LENGTH,
    NEAREST,
    QUALITY,
    SHARE,
    TO_FAKE,
    TO_REAL,
    TO_REAL_LARGEST,
    at,
    transfer_of,
    worth_of,
)

TOPICS: Mapping[Topic, str] = {
    "exists": "A. Is there a small perturbation that makes a fake look real?",
    "accident": "B. Is the generator's update such an attack?",
    "reasons": "The article's three reasons why it may not be one.",
    "robustness": "C. Does a robust critic train a better generator?",
    "factors": "Batch size, momentum, stage of training, side of the attack.",
    "prototype": "What of an earlier pilot replicates.",
}
"""The questions, in the order of the report."""


def decided(results: Results) -> dict[Topic, list[Decided]]:
    """Returns the claims of every topic with their tests; each topic is a family of its own."""
    claims = list(claims_of(results))
    by_topic: dict[Topic, list[Claim]] = {t: [c for c in claims if c.topic == t] for t in TOPICS}
    return {topic: decide(of) for topic, of in by_topic.items() if of}


# ----------------------------------------------------------------------------
# Answers.
# ----------------------------------------------------------------------------


def verdicts(tested: Mapping[Topic, Sequence[Decided]]) -> list[Verdict]:
    """Returns for every question what cannot be told, then what was found, either way."""
    if not tested:
        return [Verdict(claim="No training gave numbers.", because="See the failed trials.")]
    return [v for topic, of in tested.items() for v in _answers(topic, of)]


def _answers(topic: Topic, of: Sequence[Decided]) -> Iterator[Verdict]:
    """Yields the answer to one question: what is not decided first, then what is, either way."""
    undecided = [d for d in of if d.decision == "open"]
    groups: dict[str, list[Decided]] = {}
    for d in of:
        groups.setdefault(d.claim.holds, []).append(d)
    found = [said for group in groups.values() for said in _counted(group)]
    claim = f"{TOPICS[topic]} Not decided: {len(undecided)} of {len(of)} claims."
    if found:
        claim = f"{claim} {'; '.join(found)}."
    level = f"{LEVEL:.0%}".replace("%", " %")
    tests = f"{len(of)} tests over seeds, Student's t, {level} together by Holm's procedure"
    numbers = [said for group in groups.values() for said in _numbers(group)]
    yield Verdict(claim=claim, because=f"{tests}. {'. '.join(map(_capital, numbers))}.")


def _counted(group: Sequence[Decided]) -> Iterator[str]:
    """Yields what is true of how many, both ways."""
    for decision in ("holds", "contrary"):
        some = [d for d in group if d.decision == decision]
        if some:
            count = f" ({len(some)} of {len(group)})" if len(group) > 1 else ""
            yield f"{_capital(some[0].says)}{count}"


def _numbers(group: Sequence[Decided]) -> Iterator[str]:
    """Yields the numbers behind one kind of claim: those that are not decided by name alone."""
    undecided = [d for d in group if d.decision == "open"]
    if undecided:
        yield f"not decided, {group[0].claim.holds}: {_by_place(undecided, numbers=False)}"
    for decision in ("holds", "contrary"):
        some = [d for d in group if d.decision == decision]
        if some:
            yield f"{some[0].says}: {_by_place(some, numbers=True)}"


def _by_place(found: Sequence[Decided], *, numbers: bool) -> str:
    """Returns of what something was found, one data set after another."""
    places: dict[str, list[str]] = {}
    for d in found:
        words = filter(None, (d.claim.subject, d.number if numbers else ""))
        places.setdefault(d.claim.place, []).append(" ".join(words))
    listed = {place: ", ".join(filter(None, names)) for place, names in places.items()}
    return "; ".join(f"{place} {names}" if names else place for place, names in listed.items())


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def caveats(seeds: int) -> list[Caveat]:
    """Returns what limits the answers."""
    return [
        Caveat(
            text=f"{seeds} seeds for each arm: Student's t takes differences for normal, and "
            "only large effects pass Holm's procedure. What is not significant is not shown to "
            "be absent."
        ),
        Caveat(
            text="Fresh critics are all of one kind (the loss ns with R1, weight 1), trained on "
            "real samples that the GAN has not seen, for a fixed number of steps: another kind "
            "would confirm more or less. The report gives the numbers for critics of the arm's "
            "own kind beside them."
        ),
        Caveat(
            text="A distance to real is that of the best attack that was found, an upper bound of "
            "the least. Fakes that a critic calls real already are left out of it."
        ),
        Caveat(
            text="Arms differ in the length of their updates too; transfer and efficiency compare "
            "displacements of one length within an arm."
        ),
        Caveat(
            text="The pilot had wider networks, longer training, three fresh critics and one to "
            "three seeds: what does not replicate here may hold there."
        ),
    ]


# ----------------------------------------------------------------------------
# Tables and charts.
# ----------------------------------------------------------------------------


def blocks(results: Results, tested: Mapping[Topic, Sequence[Decided]]) -> Iterator[Block]:
    """Yields charts and tables of every data set, and all tests."""
    for i, data in enumerate(results.data):
        yield Section(title=_title(data), blocks=list(_of(results, data)), open=i == 0)
    for topic, of in tested.items():
        yield _tests(topic, of)


def _title(data: str) -> str:
    return f"Results on {Spec.parse(data).name}"


def _of(results: Results, data: str) -> Iterator[Block]:
    place = Spec.parse(data).name
    yield _transfers(results, data, place)
    yield _distances(results, data, place)
    yield _updates(results, data, place)
    yield _quality(results, data, place)
    yield from _doses(results, data, place)
    yield from _ways(results, data, place)
    yield from _factors(results, data, place)


def _transfers(results: Results, data: str, place: str) -> Forest:
    kinds = [k for k in KINDS if k in results.arms(data)]
    groups = [
        Group(
            name=name,
            dots=[
                Dot(name=kind, estimate=results.over_seeds(data, kind, transfer_of(direction)))
                for kind in kinds
            ],
        )
        for direction, name in (("update", "generator's update"), ("attack", "strongest attack"))
    ]
    return Forest(
        title=f"Transfer to fresh critics ({place})",
        unit="1",
        groups=groups,
        reference=0.0,
        note="Share of the critic's gain that fresh critics confirm: 0 is a pure attack on this "
        "critic, 1 what every critic sees. Mean over seeds, 95 % interval.",
    )


def _rows(
    results: Results, data: str, arms: Sequence[str], names: Sequence[str]
) -> list[Sequence[Cell]]:
    return [
        [arm, *(results.over_seeds(data, arm, name) for name in names)]
        for arm in arms
        if arm in results.arms(data)
    ]


_MEAN = "Mean over seeds ± half the 95 % interval."


def _distances(results: Results, data: str, place: str) -> Table:
    rows: list[Sequence[Cell]] = [
        [
            arm,
            results.over_seeds(data, arm, TO_REAL),
            results.ratio_over_seeds(data, arm, TO_REAL, NEAREST),
            results.ratio_over_seeds(data, arm, TO_REAL, LENGTH),
            results.over_seeds(data, arm, TO_REAL_LARGEST),
            results.over_seeds(data, arm, TO_FAKE),
            results.over_seeds(data, arm, CALLED_REAL),
        ]
        for arm in results.arms(data)
    ]
    return Table(
        title=f"A. How far fakes are from looking real ({place})",
        columns=[
            Column(name="critic"),
            Column(name="L2", help="Median least norm that makes a fake look real."),
            Column(
                name="in distances to data", help="Divided by that to the nearest real sample."
            ),
            Column(name="in updates", help="Divided by the length of a generator's update."),
            Column(name="Linf", help="Least largest component."),
            Column(name="real to fake, L2", help="Of real samples, to look fake."),
            Column(name="called real", help="Share of fakes that look real as they are."),
        ],
        rows=rows,
        note=f"{_MEAN} In scaled samples, whose components have unit size. Ratios are geometric "
        "means.",
    )


def _updates(results: Results, data: str, place: str) -> Table:
    names = [
        COSINE,
        HELD_COSINE,
        EFFICIENCY,
        transfer_of("update"),
        transfer_of("attack"),
        transfer_of("oracle"),
        SHARE,
        worth_of("update"),
        worth_of("attack"),
        worth_of("oracle"),
        KERNEL,
    ]
    density = any(results.values(data, arm, DENSITY) for arm in results.arms(data))
    worth = "gain of log-density (nats)" if density else "fall of the energy distance"
    heads = [
        Column(name="critic"),
        Column(name="on its batch", group="Cosine with the critic's gradient"),
        Column(name="on other latents", group="Cosine with the critic's gradient"),
        Column(name="efficiency", help="Gain as a share of that of the strongest attack."),
        *(Column(name=n, group="Transfer") for n in ("update", "attack", "oracle")),
        Column(name="accident share", help="1 less the transfer of the update, within 0 and 1."),
        *(Column(name=n, group=f"Worth: {worth}") for n in ("update", "attack", "oracle")),
        Column(name="cosine with the kernel", help="With the prediction to first order."),
    ]
    return Table(
        title=f"B. What the generator's update is ({place})",
        columns=heads,
        rows=_rows(results, data, results.arms(data), names),
        note=f"{_MEAN} All displacements of a fake are as long as its update. The oracle steps "
        "towards real samples.",
    )


def _quality(results: Results, data: str, place: str) -> Table:
    names = [QUALITY, GAP, transfer_of("attack")]
    heads: list[tuple[str, Better | None]] = [
        ("energy distance", "lower"),
        ("duality gap", "lower"),
        ("transfer of attacks", None),
    ]
    if any(results.values(data, arm, DENSITY) for arm in results.arms(data)):
        names.append(DENSITY)
        heads.append(("log-density of samples", "higher"))
    return Table(
        title=f"C. How good the generator is ({place})",
        columns=[Column(name="critic"), *(Column(name=n, better=b) for n, b in heads)],
        rows=_rows(results, data, results.arms(data), names),
        note=f"{_MEAN} The duality gap is that of the zero-sum game of logits, a lower bound.",
    )


def _doses(results: Results, data: str, place: str) -> Iterator[Block]:
    trained = results.arms(data)
    kinds = (
        ("radius of adversarial training", {0.0: NONE, **{r: trained_at(r) for r in RADII}}),
        ("weight of R1", {0.0: NONE, **{g: penalised_at(g) for g in GAMMAS}}),
    )
    for what, doses in kinds:
        if set(doses.values()) <= set(trained):
            yield _dose(results, data, place, what=what, doses=doses)


def _dose(
    results: Results, data: str, place: str, *, what: str, doses: Mapping[float, str]
) -> Lines:
    names = {
        "energy distance": QUALITY,
        "transfer of attacks": transfer_of("attack"),
        "distance to real": TO_REAL,
    }
    least = min(d for d in doses if d > 0)
    # None at all has no place on a logarithmic axis: it stands one doubling or decade below.
    places = [least / 4 if d == 0 else d for d in doses]
    series = [
        _series(name, places, [results.over_seeds(data, a, score) for a in doses.values()])
        for name, score in names.items()
    ]
    return Lines(
        title=f"Dose and response: {what} ({place})",
        x_label=f"{what}; the leftmost is none",
        y_label="mean over seeds",
        series=series,
        log_x=True,
        note="Band: 95 % interval over seeds.",
    )


def _series(name: str, x: Sequence[float], found: Sequence[Estimate]) -> Series:
    kept = [(at, e) for at, e in zip(x, found, strict=True) if e.value is not None]
    values = [(at, e.value or 0.0, e) for at, e in kept]
    return Series(
        name=name,
        x=[at for at, _, _ in values],
        y=[v for _, v, _ in values],
        low=[v if e.low is None else e.low for _, v, e in values],
        high=[v if e.high is None else e.high for _, v, e in values],
    )


def _ways(results: Results, data: str, place: str) -> Iterator[Table]:
    rows: list[Sequence[Cell]] = []
    for arm in (NONE, R1, ROBUST):
        for way in WAYS:
            names = (EFFICIENCY, transfer_of("update"), LENGTH, worth_of("update"))
            if results.values(data, arm, at(EFFICIENCY, way=way)):
                cells = [results.over_seeds(data, arm, at(name, way=way)) for name in names]
                rows.append([f"{arm}: {way}", *cells])
    if rows:
        yield Table(
            title=f"The three reasons: steps, latents, space ({place})",
            columns=[
                Column(name="critic: update"),
                Column(name="efficiency", help="Gain against the strongest attack as long."),
                Column(name="transfer"),
                Column(name="length"),
                Column(name="worth"),
            ],
            rows=rows,
            note=f"{_MEAN} The critic stands still. 'On samples' moves every fake by itself, as "
            "far as an update does.",
        )


def _factors(results: Results, data: str, place: str) -> Iterator[Table]:
    names = (COSINE, HELD_COSINE, EFFICIENCY, transfer_of("update"), transfer_of("attack"))
    trained, rows = results.arms(data), list[Sequence[Cell]]()
    for arm in (*BATCHES.values(), MOMENTUM):
        if arm in trained and len({*BATCHES.values()} & set(trained)) > 1:
            cells = [results.over_seeds(data, arm, name) for name in names]
            rows.append([f"{arm}, batch 64" if arm == R1 else arm, *cells])
    for arm in (NONE, R1, ROBUST):
        if results.values(data, arm, at(EFFICIENCY, EARLY)):
            for label, stage in ((f"after {100 * EARLY:.0f} %", EARLY), ("at the end", 1.0)):
                cells = [results.over_seeds(data, arm, at(name, stage)) for name in names]
                rows.append([f"{arm}, {label}", *cells])
    kin = [
        [f"{arm}, fresh critics of its kind", None, None, None]
        + [
            results.over_seeds(data, arm, at(transfer_of(d), way=KIN))
            for d in ("update", "attack")
        ]
        for arm in (NONE, R1, ROBUST)
        if results.values(data, arm, at(SHARE, way=KIN))
    ]
    if rows:
        yield Table(
            title=f"Batch size, momentum, stage, kind of fresh critics ({place})",
            columns=[
                Column(name="critic"),
                Column(name="on its batch", group="Cosine"),
                Column(name="on other latents", group="Cosine"),
                Column(name="efficiency"),
                Column(name="update", group="Transfer"),
                Column(name="attack", group="Transfer"),
            ],
            rows=[*rows, *kin],
            note=_MEAN,
        )


_DECISIONS = {"open": "not decided", "holds": "holds", "contrary": "contrary"}


def _tests(topic: Topic, of: Sequence[Decided]) -> Section:
    rows: list[Sequence[Cell]] = [
        [
            d.claim.about,
            d.says,
            d.number,
            d.estimate.n,
            d.p,
            _DECISIONS[d.decision],
        ]
        for d in of
    ]
    table = Table(
        title=f"Tests: {TOPICS[topic].rstrip('.')}",
        columns=[
            Column(name="critic, data"),
            Column(name="claim"),
            Column(name="number", help="A difference, or a factor, as the claim says."),
            Column(name="seeds"),
            Column(name="p", help="Adjusted by Holm's procedure for all claims of the table."),
            Column(name="decision"),
        ],
        rows=rows,
    )
    return Section(title=TOPICS[topic].rstrip("."), blocks=[table])
