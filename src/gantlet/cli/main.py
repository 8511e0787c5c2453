"""Where the command line begins: the environment, and what becomes of errors."""

import os
import sys
from collections.abc import Sequence

from gantlet.core.errors import UserError

MISTAKE = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and leaves with its exit code.

    0: done; 1: a trial failed; 2: the user's mistake, told in one line; 130: interrupted.
    """
    # Spinning threads cost tenfold on a busy machine; this must be set before torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Runs the command line and returns its exit code."""
    from cyclopts import CycloptsError

    from gantlet.cli.app import app

    try:
        code = app(
            list(arguments),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except UserError as error:
        return _mistake(str(error))
    except CycloptsError as error:
        return _mistake(f"{' '.join(str(error).split())} See gantlet --help.")
    except KeyboardInterrupt:
        print("\ngantlet: interrupted; run the same command again to go on.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left, as `head` does; nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code if isinstance(code, int) else 0


def _mistake(message: str) -> int:
    print(f"gantlet: {message}", file=sys.stderr)
    return MISTAKE
