"""CPU seconds of ``gantlet --help``, which must not load torch.

    python benchmarks/start_up.py

Writes benchmarks/results/start_up.json. The aim is at most 0.3.
"""

import json
import resource
import subprocess
import sys
from pathlib import Path
from statistics import median

ROUNDS = 15
RESULT = Path(__file__).parent / "results" / "start_up.json"


def seconds(*command: str) -> float:
    """CPU seconds of a process and all that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    asked = [sys.executable, "-m", "gantlet.cli", "--help"]
    seconds(*asked)  # the first run writes compiled files
    rounds = [round(seconds(*asked), 3) for _ in range(ROUNDS)]
    bare = [round(seconds(sys.executable, "-c", "pass"), 3) for _ in range(ROUNDS)]
    found = {"help": median(rounds), "rounds": rounds, "python alone": median(bare)}
    print(
        f"gantlet --help: {found['help']:.3f} CPU s, of which Python {found['python alone']:.3f}"
    )
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
