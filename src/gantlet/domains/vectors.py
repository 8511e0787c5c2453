"""Vectors: reading, attributes, drawing."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, final

from torch import Tensor
from typing_extensions import override

from gantlet.core.data import Code, Source, Space, all_samples
from gantlet.domains.attributes import AttributeTable
from gantlet.domains.domains import Domain, Relearned, Writer, columns
from gantlet.domains.table_attributes import table_attributes
from gantlet.domains.table_code import TableCode, plain_code, relearned_table
from gantlet.domains.tables import Csv, read_table, table_writers
from gantlet.report.pictures import points


@final
class VectorDomain(Domain):
    """Plain numbers in a fixed order; those of a table have columns with names and units."""

    models: ClassVar[tuple[str, ...]] = ("histogram", "gmm", "flow", "gan")
    shown: ClassVar[int] = 1000

    @override
    def attributes(self, space: Space, x: Tensor, code: Code | None) -> AttributeTable:
        """Returns the columns, which of a table are compared with those of the real one."""
        return table_attributes(code, x) if isinstance(code, TableCode) else columns(space, x)

    @override
    def reader(self, path: Path, *, skip_bad: int = 0) -> Csv | None:
        """Reads tables that hold a number in every cell."""
        del skip_bad
        found = read_table(path)
        return found if isinstance(found, Csv) else None

    @override
    def features(self, code: Code | None, *, labelled: bool) -> tuple[str, ...]:
        """Columns of a table have units, which must not matter."""
        del labelled
        return ("columns" if isinstance(code, TableCode) else "pixels",)

    @override
    def depends_on_set(self, code: Code | None) -> bool:
        """Correlations of columns are those of ranks within a set."""
        return isinstance(code, TableCode)

    @override
    def relearned(
        self, code: Code | None, space: Space, source: Source, places: Tensor
    ) -> Relearned | None:
        """Learns how columns are spread and correlated; vectors of up to 64 numbers have some."""
        if isinstance(code, TableCode):
            return relearned_table(code, all_samples(source), places)
        plain = plain_code(space)
        if plain is None:
            return None
        return relearned_table(plain, all_samples(source).flatten(1), places, space)

    @override
    def picture(self, space: Space, x: Tensor) -> bytes | None:
        """Draws points of the plane."""
        return points(x[: self.shown].numpy()) if space.size == 2 else None

    @override
    def writers(self, space: Space, code: Code | None) -> Mapping[str, Writer]:
        """Writes rows with a header, where the columns are known."""
        return table_writers(code)
