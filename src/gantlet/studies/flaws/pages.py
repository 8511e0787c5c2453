"""A page for each flaw: who has it most and least, and what differs."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from gantlet.core.code import Readable
from gantlet.report.blocks import Block, Gallery, Lines, Picture, Prose, Section, Series
from gantlet.report.pictures import grid
from gantlet.studies.evaluation.sets import Chosen
from gantlet.studies.flaws.tables import Listed
from gantlet.studies.gallery import picture
from gantlet.studies.lines import lines_table

# So many flaws are unfolded at first.
_OPEN = 3
# So many samples are shown to be read.
_READ = 6


def pages(
    found: Listed, shown: Mapping[str, Tensor], real: Chosen, fake: Chosen
) -> Iterator[Block]:
    """Yields a section for each flaw, where samples are something to see."""
    for k, flaw in enumerate(found.flaws, 1):
        seen = _seen(found, k, shown, real, fake)
        if seen is None:
            return
        words = Prose(text=_named(flaw))
        yield Section(
            title=f"{found.name}, {k}: {flaw['title']}",
            blocks=[words, seen, *_spectra(k, shown)],
            open=k <= _OPEN,
        )


def _seen(
    found: Listed, k: int, shown: Mapping[str, Tensor], real: Chosen, fake: Chosen
) -> Block | None:
    """Returns the samples that have a flaw most and least, where they can be seen or read."""
    title = "Who has it most and least"
    note = "Of the held-out samples, by this flaw alone, outermost first."
    code = fake.samples.code
    if isinstance(code, Readable):
        taken = {name: x[:_READ] for name, x in _taken(found, k, shown, real, fake)}
        return lines_table(title, {name: code.read(x) for name, x in taken.items()}, note)
    pictures = [*_pictures(found, k, shown, real, fake), *_difference(k, shown)]
    return Gallery(title=title, pictures=pictures, note=note) if pictures else None


def _named(flaw: Mapping[str, object]) -> str:
    if "probe" not in flaw:
        return "No named measurement explains it: look at the samples."
    agreement = flaw["agreement"]
    if agreement == 1.0:
        return f"Shown by the measurement: {flaw['probe']}."
    return f"Named after the measurement that follows it: {flaw['probe']}, r = {agreement:.2f}."


def _pictures(
    found: Listed, k: int, shown: Mapping[str, Tensor], real: Chosen, fake: Chosen
) -> Iterator[Picture]:
    for caption, x in _taken(found, k, shown, real, fake):
        png = picture(fake.samples.space, x)
        if png is not None:
            yield Picture(caption=caption, png=png, description=f"{caption} of flaw {k}.")


def _taken(
    found: Listed, k: int, shown: Mapping[str, Tensor], real: Chosen, fake: Chosen
) -> Iterator[tuple[str, Tensor]]:
    """Yields the samples to show, and what they are."""
    for chosen, side, name in ((fake, "fake", found.name), (real, "real", "real samples")):
        for which in ("most", "least"):
            x = chosen.samples.source.take(shown[f"{k}/{side} {which}"])
            yield f"{name}: {which}", x


def _difference(k: int, shown: Mapping[str, Tensor]) -> Iterator[Picture]:
    x = shown.get(f"{k}/difference")
    if x is None:
        return
    pixels = (x / x.abs().max().clamp_min(1e-9) * 127 + 128).round().clamp(0, 255)
    png = grid(pixels.to(torch.uint8).movedim(0, -1)[None].numpy())
    yield Picture(
        caption=f"average difference, ±{float(x.abs().max()):.2g} of the range",
        png=png,
        description="Mean of the third of the fakes that have it most, less that of the third "
        "that have it least; grey is none.",
    )


def _spectra(k: int, shown: Mapping[str, Tensor]) -> Iterator[Block]:
    spectra = shown.get(f"{k}/spectra")
    if spectra is None:
        return
    x = list(map(float, range(1, spectra.shape[1])))
    names = ("fakes: most", "fakes: least", "real samples")
    yield Lines(
        title="Spectrum",
        x_label="frequency, cycles an image",
        y_label="mean amplitude",
        series=[
            Series(name=n, x=x, y=s[1:].tolist()) for n, s in zip(names, spectra, strict=True)
        ],
        log_y=True,
        note="Mean over samples and directions.",
    )
