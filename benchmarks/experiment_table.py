"""Writes the table of a run of ``gantlet study distributions`` for ``gantlet forecast``.

    python benchmarks/experiment_table.py runs/distributions-small

One world or result a line, so that changes can be read. Then make the predictor anew:
``gantlet forecast --refit runs/distributions-small``.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gantlet.report.json import PER_TRIAL
from gantlet.run.execute import read_report

TABLE = Path(__file__).parents[1] / "src" / "gantlet" / "forecast" / "experiment.json"


def lines(table: Mapping[str, Any]) -> str:
    """Returns the table as JSON with one world or result a line."""
    parts = []
    for key, value in table.items():
        text = json.dumps(value, allow_nan=False)
        if key in {"worlds", "results"}:
            rows = ",\n".join(json.dumps(row, allow_nan=False) for row in value)
            text = f"[\n{rows}\n]"
        parts.append(f"{json.dumps(key)}: {text}")
    return "{" + ",\n".join(parts) + "}\n"


def main(run: str) -> None:
    """Writes the table of the run directory ``run``."""
    table = read_report(Path(run)).extra[PER_TRIAL]
    TABLE.write_text(lines(table), encoding="utf-8")
    print(f"{TABLE}: {len(table['worlds'])} worlds, {len(table['results'])} results")


if __name__ == "__main__":
    main(*sys.argv[1:])
