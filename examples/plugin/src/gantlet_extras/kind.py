"""A kind of sample: trains of spikes, as neurons send them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

import gantlet
from gantlet.core.data import Code
from gantlet.domains.attributes import AttributeTable, attribute, attribute_table
from gantlet.domains.domains import Domain, Writer
from gantlet.report.pictures import grid


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Spikes:
    """Trains of spikes in a text file, one a line: the times of the spikes in seconds.

    Attributes:
        path: The file.
        seconds: How long a train lasts.
        bins: In how many bins of time spikes are counted.
        held_out: Share of the trains for validation, and for the test.
    """

    path: str
    seconds: Annotated[float, gantlet.Between(1e-3)] = 1.0
    bins: Annotated[int, gantlet.Between(2)] = 50
    held_out: Annotated[float, gantlet.Between(0.01, 0.4)] = 0.1

    @property
    def space(self) -> gantlet.Space:
        """Counts of spikes, one for each bin."""
        return gantlet.Space("spikes", (self.bins,))

    def whole(self) -> gantlet.InMemory:
        """Returns all trains in the order of the file.

        Raises:
            UserError: If a line is not a list of times within a train.
        """
        lines = Path(self.path).read_text().splitlines()
        return gantlet.InMemory(torch.stack([self._counts(*line) for line in enumerate(lines, 1)]))

    def load(self, *, rng: gantlet.Rng) -> gantlet.Splits:
        """Returns the splits."""
        x = self.whole()
        order = torch.randperm(len(x), generator=rng.stream("splits"))
        held = max(1, round(self.held_out * len(x)))
        sizes = [held, held, len(x) - 2 * held]
        parts = [gantlet.InMemory(x.take(places)) for places in torch.split(order, sizes)]
        test, validation, train = parts
        return gantlet.Splits(train=train, validation=validation, test=test)

    def _counts(self, number: int, line: str) -> Tensor:
        try:
            times = torch.tensor([float(word) for word in line.split()])
        except ValueError:
            times = torch.tensor([-1.0])
        if bool(((times < 0) | (times >= self.seconds)).any()):
            raise gantlet.UserError(
                f"{self.path}, line {number}: times from 0 to below {self.seconds:g} s needed, "
                f"parted by blanks. Got {line[:40]!r}; give seconds=LENGTH for longer trains."
            )
        bins = (times / self.seconds * self.bins).long()
        return torch.bincount(bins, minlength=self.bins).float()


@final
class SpikeDomain(Domain):
    """Counts of spikes in bins of time."""

    endings: ClassVar[tuple[str, ...]] = (".spikes",)

    @override
    def attributes(self, space: gantlet.Space, x: Tensor, code: Code | None) -> AttributeTable:
        """Returns how many spikes there are, how irregular they are, and how they cluster."""
        total = x.sum(1).double()
        fano = x.double().var(1) / x.double().mean(1).clamp_min(1e-6)
        place = torch.linspace(0, 1, x.shape[1], dtype=torch.float64)
        return attribute_table(
            {
                attribute("spikes", "too few spikes", "too many spikes"): (total + 1).log(),
                attribute("Fano factor", "too regular", "too bursty"): (fano + 0.1).log(),
                attribute("centre", "spikes too early", "spikes too late"): (
                    (x.double() @ place) / total.clamp_min(1)
                ),
            }
        )

    @override
    def reader(self, path: Path, *, skip_bad: int = 0) -> Spikes | None:
        """Reads files of times."""
        return Spikes(path=str(path)) if path.suffix == ".spikes" else None

    @override
    def features(self, code: Code | None, *, labelled: bool) -> tuple[str, ...]:
        """Random Fourier features, which this package brings."""
        return ("fourier:width=5", "pixels")

    @override
    def picture(self, space: gantlet.Space, x: Tensor) -> bytes:
        """Draws a raster: a row for each train, dark where there are spikes."""
        rows = (255 - 85 * x[: self.shown].round().clamp(0, 3)).byte()
        tall = rows[:, None, :, None].expand(-1, 6, -1, -1)
        return grid(tall.repeat_interleave(4, 2).numpy(), columns=1)

    @override
    def writers(self, space: gantlet.Space, code: Code | None) -> Mapping[str, Writer]:
        """Writes the middle of its bin for each spike."""
        return {".spikes": _write}


def _write(path: Path, x: Tensor) -> None:
    places = (torch.arange(x.shape[1]) + 0.5) / x.shape[1]
    rows = (places.repeat_interleave(row.round().clamp_min(0).long()) for row in x)
    path.write_text("".join(" ".join(f"{t:.6f}" for t in row.tolist()) + "\n" for row in rows))
