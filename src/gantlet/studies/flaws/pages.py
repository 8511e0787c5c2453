"""What flaws look like: first those without a name, then a part of the page for each other one."""

from collections.abc import Iterator, Mapping
from typing import final

import torch
from torch import Tensor

from gantlet.core.code import Readable
from gantlet.report.blocks import Block, Gallery, Lines, Picture, Prose, Section, Series
from gantlet.report.format import text
from gantlet.report.images import grid
from gantlet.studies.evaluation.sets import Chosen
from gantlet.studies.flaws.shown import ENDS, SIDES
from gantlet.studies.flaws.tables import KINDS, Listed
from gantlet.studies.flaws.tried import Quantity
from gantlet.studies.gallery import picture
from gantlet.studies.lines import lines_table

# So many flaws are unfolded at first.
_OPEN = 3
# So many samples are shown to be read, and so many numbers of each.
_READ, _NUMBERS = 6, 12


def pages(
    found: Listed, shown: Mapping[str, Tensor], real: Chosen, fake: Chosen
) -> Iterator[Block]:
    """Yields what samples look like: at both ends of what has no name, and with each flaw.

    Where nothing was found, samples of both sets side by side.
    """
    exhibit = _Exhibit(found, shown, real, fake)
    if not found.flaws:
        yield Section(
            title=f"{found.name} beside real samples", blocks=[exhibit.plain()], open=True
        )
    unnamed = found.ranks(named=False)
    if unnamed:
        blocks = [block for k in unnamed for block in (_unnamed(found, k), exhibit.of(k))]
        yield Section(
            title=f"{found.name}: {found.unnamed()}, what they look like", blocks=blocks, open=True
        )
    for place, k in enumerate(found.ranks(named=True)):
        flaw = found.flaws[k - 1]
        yield Section(
            title=f"{found.name}, {k}: {flaw['title']}",
            blocks=[Prose(text=_named(flaw)), exhibit.of(k), *_spectra(k, shown)],
            open=place < _OPEN,
        )


@final
class _Exhibit:
    """Samples of both sets, as pictures where they can be seen and as text where not.

    Args:
        found: The list.
        shown: The places of the samples.
        real: The real samples.
        fake: The fake ones.
    """

    def __init__(
        self, found: Listed, shown: Mapping[str, Tensor], real: Chosen, fake: Chosen
    ) -> None:
        self._found, self._shown = found, shown
        self._sets = {"fake": fake, "real": real}
        self._names = {"fake": found.name, "real": "real samples"}

    def plain(self) -> Block:
        """Returns samples as they come."""
        taken = {self._names[s]: self._take(s, s) for s in SIDES}
        return self._block("Samples", taken, "Of the held-out samples, as they come.", "samples")

    def of(self, k: int) -> Block:
        """Returns the samples that have a flaw most and least, or at its ends."""
        is_named = "probe" in self._found.flaws[k - 1]
        taken = {
            f"{self._names[s]}: {which}": self._take(s, f"{k}/{s} {which}")
            for s in SIDES
            for which in ENDS[not is_named]
        }
        if is_named:
            title = "Who has it most and least"
            note = "Of the held-out samples, by this flaw alone, outermost first."
        else:
            title = f"Direction of rank {k}: both ends"
            note = "Of the held-out samples, outermost first."
        return self._block(title, taken, note, f"flaw {k}", *_difference(k, self._shown))

    def _take(self, side: str, key: str) -> Tensor:
        return self._sets[side].samples.source.take(self._shown[key])

    def _block(
        self, title: str, taken: Mapping[str, Tensor], note: str, what: str, *more: Picture
    ) -> Block:
        samples = self._sets["fake"].samples
        if isinstance(samples.code, Readable):
            code = samples.code
            return lines_table(title, {n: code.read(x[:_READ]) for n, x in taken.items()}, note)
        pictures = [
            Picture(caption=name, png=png, description=f"{name} of {what}.")
            for name, x in taken.items()
            if (png := picture(samples.space, x)) is not None
        ]
        if pictures:
            return Gallery(title=title, pictures=[*pictures, *more], note=note)
        return lines_table(title, {n: _numbers(x[:_READ]) for n, x in taken.items()}, note)


def _numbers(x: Tensor) -> list[str]:
    """Returns samples as their first numbers."""
    rows: list[list[float]] = x.flatten(1)[:, :_NUMBERS].tolist()
    more = " …" if x[0].numel() > _NUMBERS else ""
    return [", ".join(f"{v:.3g}" for v in row) + more for row in rows]


def _unnamed(found: Listed, k: int) -> Block:
    size, alone = (text(found.number(k, what)) for what in (Quantity.SIZE, Quantity.ALONE))
    kind = KINDS[found.flaws[k - 1]["kind"]]
    return Prose(
        text=f"Rank {k}: size {size}, mostly in {kind}; {Quantity.ALONE.value}: {alone}. No named "
        "measurement explains it: compare the samples at its two ends."
    )


def _named(flaw: Mapping[str, object]) -> str:
    agreement = flaw["agreement"]
    if agreement == 1.0:
        return f"Shown by the measurement: {flaw['probe']}."
    return f"Named after the measurement that follows it: {flaw['probe']}, r = {agreement:.2f}."


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
