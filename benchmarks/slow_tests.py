"""Which unit tests `make check` leaves to `make test`: those that take the most CPU time.

    make slow                                  # measures all unit tests, then runs this
    python benchmarks/slow_tests.py TIMES      # writes tests/slow.txt from measured times

TIMES has a line for each test, CPU seconds and name, as tests/conftest.py writes it where
GANTLET_TEST_TIMES names a file. CPU time, children included, barely depends on what else the
machine does. The parameters of a test are added up: a test is slow from half a second in all.
Tests that were not measured stay as they were.
"""

import sys
from collections import defaultdict
from pathlib import Path

SLOW = Path(__file__).parent.resolve().parent / "tests" / "slow.txt"
LIMIT = 0.5


def main() -> None:
    """Writes the list and says what is left."""
    times: dict[str, float] = defaultdict(float)
    for line in Path(sys.argv[1]).read_text().splitlines():
        seconds, _, name = line.partition(" ")
        times[name.partition("[")[0]] += float(seconds)
    before = set(SLOW.read_text().splitlines()) if SLOW.exists() else set()
    slow = {name for name, seconds in times.items() if seconds >= LIMIT}
    SLOW.write_text("".join(f"{name}\n" for name in sorted(slow | (before - times.keys()))))
    whole, left = sum(times.values()), sum(s for n, s in times.items() if n not in slow)
    print(f"{len(slow)} of {len(times)} tests are slow: {left:.0f} of {whole:.0f} CPU s are left.")


if __name__ == "__main__":
    main()
