"""Report blocks: plain data that every renderer supports."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, final

from gantlet.core.estimate import Better, Estimate, Outcome, Spend

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

Cell: TypeAlias = str | int | float | Estimate | None
"""Contents of a table cell; None is shown as a dash."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One estimate, as the machine-readable result lists it.

    Attributes:
        data: Data set, in written form.
        model: Model, in written form.
        seed: Training seed, or None for an estimate over several seeds.
        name: Name of the measurement.
        estimate: The estimate.
    """

    data: str
    model: str
    seed: int | None
    name: str
    estimate: Estimate


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One line of the header.

    Attributes:
        name: Its name: "date", "git commit", "not run".
        value: Its value.
    """

    name: str
    value: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Run details: what is needed to assess and reproduce the run."""

    items: Sequence[Fact] = ()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A finding in one plain sentence.

    Attributes:
        claim: The finding.
        because: The numbers behind it, with interval, n and unit.
    """

    claim: str
    because: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Caveat:
    """A limitation of the results, in one or two sentences."""

    text: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Prose:
    """Plain text; an empty line separates paragraphs. It is never interpreted as markup."""

    text: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """Lines of a program, shown as they are.

    Attributes:
        title: What they do.
        text: The lines.
        note: What a reader must know to use them.
    """

    title: str
    text: str
    note: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """The head of a column.

    Attributes:
        name: Its title.
        better: Which direction is better, or None; determines the arrow.
        unit: Unit of its numbers: "FLOP", "B", "s" and others that
            ``numbers.SCALED`` knows get prefixes of their own; "1" is a pure number.
        help: Description in one sentence.
        mixed: Whether its numbers are of different quantities and do not share a scale.
        group: Its common head: "Cost". Neighbours of one group share it.
        best: First cells of the rows that a stated test finds significantly better than all
            others that compete; nothing else is bold. Empty where there is no test.
    """

    name: str
    better: Better | None = None
    unit: str = "1"
    help: str = ""
    mixed: bool = False
    group: str = ""
    best: Sequence[str] = ()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under columns. A significant best is bold.

    Attributes:
        title: What the table shows.
        columns: The heads; the first column names the rows.
        rows: One sequence of cells for each row, as long as ``columns``.
        references: First cells of the rows that do not compete (held-out real data, training
            data): they are never bold, and are shown apart below the others.
        note: What a reader must know to read it.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    references: Sequence[str] = ()
    note: str = ""

    def __post_init__(self) -> None:
        """Checks that every row fits the columns.

        Raises:
            ValueError: If one does not.
        """
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.title}: {len(row)} cells, {len(self.columns)} columns.")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line with its band. NaN or infinity breaks the line.

    Attributes:
        name: Its label.
        x: Positions.
        y: Values, as many.
        low: Lower ends of the band, as many, or empty without a band.
        high: Upper ends of the band, as many, or empty without a band.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()

    def __post_init__(self) -> None:
        """Checks that all sequences fit together.

        Raises:
            ValueError: If they do not.
        """
        lengths = {len(self.x), len(self.y)}
        bands = {len(self.low), len(self.high)}
        if len(lengths) > 1 or bands not in ({0}, lengths):
            raise ValueError(f"Series {self.name!r}: x, y, low and high differ in length.")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Curves over a common axis, with bands.

    Attributes:
        title: What the chart shows.
        x_label: What is across, with its unit.
        y_label: What is up, with its unit.
        series: The curves.
        log_x: Whether the axis across is logarithmic; values of 0 and below are left out then.
        log_y: Whether the axis up is logarithmic.
        note: What a reader must know to read it, such as what the band is.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    log_x: bool = False
    log_y: bool = False
    note: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One point of a scatter chart.

    Attributes:
        name: Its label.
        x: Position across.
        y: Position up.
        x_low: Lower end of the interval of ``x``, or None.
        x_high: Upper end of the interval of ``x``, or None.
        y_low: Lower end of the interval of ``y``, or None.
        y_high: Upper end of the interval of ``y``, or None.
        front: Whether it lies on the Pareto front.
    """

    name: str
    x: float
    y: float
    x_low: float | None = None
    x_high: float | None = None
    y_low: float | None = None
    y_high: float | None = None
    front: bool = False


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """Points with error bars; those on the Pareto front are joined.

    Attributes:
        title: What the chart shows.
        x_label: What is across, with its unit.
        y_label: What is up, with its unit.
        points: The points.
        x_better: Which end of the axis across is better, or None.
        y_better: Which end of the axis up is better, or None.
        log_x: Whether the axis across is logarithmic; values of 0 and below are left out then.
        log_y: Whether the axis up is logarithmic.
        note: What a reader must know to read it.
    """

    title: str
    x_label: str
    y_label: str
    points: Sequence[Point]
    x_better: Better | None = "lower"
    y_better: Better | None = "lower"
    log_x: bool = False
    log_y: bool = False
    note: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """A number with its name: one line of a forest chart, or beside a picture."""

    name: str
    estimate: Estimate


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Dots that belong together, under a common name (which may be empty)."""

    name: str
    dots: Sequence[Dot]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """Dots with their intervals on a common axis, one below the other.

    With a direction and no reference they are drawn best first, those that do not compete last.

    Attributes:
        title: What the chart shows.
        unit: In what all dots are measured; "1" is a pure number.
        groups: The dots.
        reference: Where a vertical line is drawn, such as 0 for differences, or None.
        better: Which direction is better, or None.
        references: Names of the dots that do not compete; they are hollow, and come last.
        log: Whether the axis is logarithmic.
        note: What a reader must know to read it.
    """

    title: str
    unit: str
    groups: Sequence[Group]
    reference: float | None = None
    better: Better | None = None
    references: Sequence[str] = ()
    log: bool = False
    note: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Waterfall:
    """How one number becomes another: a bar for each part, from where the last one ended.

    Attributes:
        title: What the chart shows.
        unit: In what all numbers are measured; "1" is a pure number.
        start: The first number.
        parts: What is added to it, in order.
        end: The last number: the first one and all parts.
        note: What a reader must know to read it.
    """

    title: str
    unit: str
    start: Dot
    parts: Sequence[Dot]
    end: Dot
    note: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One image; ``gantlet.report.pictures`` makes them.

    Attributes:
        caption: Whose samples these are.
        png: The file.
        description: What there is to see, for people who cannot see it.
        scores: Numbers of these samples, to be read beside them.
        sounds: The first of them to be played, as wav files.
    """

    caption: str
    png: bytes
    description: str = ""
    scores: Sequence[Dot] = ()
    sounds: Sequence[bytes] = ()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """Pictures side by side.

    Attributes:
        title: What they show.
        pictures: The pictures.
        note: How the samples were chosen ("the first 64 of seed 0, none left out").
    """

    title: str
    pictures: Sequence[Picture]
    note: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Blocks under a common title that can be folded away.

    Attributes:
        title: Its title.
        blocks: What it holds.
        open: Whether it is unfolded at first.
    """

    title: str
    blocks: "Sequence[Block]"
    open: bool = False


Chart: TypeAlias = Lines | Scatter | Forest | Waterfall

Block: TypeAlias = Facts | Verdict | Caveat | Prose | Code | Table | Chart | Gallery | Section


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The report of a command, independent of the output format.

    Attributes:
        title: Its title.
        command: Which command made it: "compare".
        question: What was asked, resolved; plain JSON values.
        spend: What the whole run used, or None where nothing was trained.
        facts: Date, commit, versions, hardware, seeds, what was not run.
        verdicts: The answer, most important sentence first.
        caveats: What limits it.
        rows: Every estimate, tidy.
        blocks: Tables, charts and pictures; the first table is the main one.
        extra: Further keys of the JSON object, plain JSON values.
    """

    title: str
    command: str
    question: Mapping[str, Any] = field(default_factory=dict[str, Any])
    spend: Spend | None = None
    facts: Facts = field(default_factory=Facts)
    verdicts: Sequence[Verdict] = ()
    caveats: Sequence[Caveat] = ()
    rows: Sequence[Row] = ()
    blocks: Sequence[Block] = ()
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def to_frame(self) -> "DataFrame":
        """Returns ``rows`` as a pandas data frame, one estimate a row.

        The columns are those of the CSV: ``data``, ``model``, ``seed``, ``name``, ``value``,
        ``low``, ``high``, ``level``, ``n``, ``unit``, ``better`` and ``method``. What is missing
        is NaN, and ``<NA>`` for a seed.
        """
        from gantlet.report.documents import frame

        return frame(self)

    def figure(self, name: str, path: str | Path | None = None) -> "Figure":
        """Returns a chart as a matplotlib figure, and writes it where ``path`` is given.

        Args:
            name: The title of the chart, or its beginning where that is unique; ``figures`` in
                ``gantlet.report.figures`` lists them.
            path: A file that ends in ``.pdf``, ``.svg`` or ``.png``.

        Raises:
            UserError: If there is no such chart, the format is not known, or matplotlib is not
                installed (the extra ``figures``).
        """
        from gantlet.report.figures import figure

        return figure(self, name, path)

    def _repr_html_(self) -> str:
        """Returns the answer, its limitations and the main table, for a notebook."""
        from gantlet.report.html import as_fragment

        return as_fragment(self)


def failed_trials(outcomes: Sequence[Outcome], *, column: str) -> Iterator[Table]:
    """Yields the table of the trials that failed, each kind of failure once; nothing without any.

    Args:
        outcomes: Those of all trials.
        column: What the models of the trials are.
    """
    errors = {(o.trial.model, o.error): None for o in outcomes if o.error is not None}
    if errors:
        columns = [Column(name=column), Column(name="error")]
        yield Table(title="Failed trials", columns=columns, rows=sorted(errors))
