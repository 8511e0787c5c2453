"""Where the command line begins: the environment, signals, and what becomes of errors."""

import errno
import io
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import final

from gantlet.core.errors import UserError

FAILED = 1
MISTAKE = 2
INTERRUPTED = 130

# What a system or a closed terminal sends to end a process in an orderly way.
_ENDINGS = ("SIGTERM", "SIGHUP")


@final
class _Ended(KeyboardInterrupt):
    """A signal asked this process to end; it ends like one that was interrupted."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.code = 128 + number


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and leaves with its exit code.

    0: done; 1: a trial failed; 2: the user's mistake, told in one line; 130: interrupted; 128 and
    the number of the signal, 143 for SIGTERM: ended by that signal.
    """
    # Spinning threads cost tenfold on a busy machine; this must be set before torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for name in _ENDINGS:
        # One that was ignored when we started, as nohup does, stays so.
        if signal.getsignal(getattr(signal, name)) == signal.SIG_DFL:
            signal.signal(getattr(signal, name), _end)
    code = run(sys.argv[1:] if arguments is None else arguments)
    if code >= INTERRUPTED:
        # Impatience must not turn an orderly end into a traceback.
        for name in ("SIGINT", *_ENDINGS):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Runs the command line and returns its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that knows few characters is no reason to lose a report.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return _called(arguments)
    except UserError as error:
        return _told(str(error), MISTAKE)
    except KeyboardInterrupt as error:
        code = error.code if isinstance(error, _Ended) else INTERRUPTED
        return _told("interrupted; run the same command again to go on.", code, before="\n")
    except BrokenPipeError:
        # Whoever read our output has left, as `head` does; nothing is wrong.
        _silence_stdout()
        return 0
    except MemoryError as error:
        reason = f" ({error})" if str(error) else ""
        return _told(f"out of memory{reason}. Finished trials are safe.", FAILED)
    except OSError as error:
        return _told(_reason(error), MISTAKE)


def _called(arguments: Sequence[str]) -> int:
    from cyclopts import CycloptsError

    from gantlet.cli.app import app

    try:
        code = app(
            list(arguments),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except CycloptsError as error:
        raise UserError(f"{' '.join(str(error).split())} See gantlet --help.") from error
    if sys.stdout is not None:
        # At the end of the interpreter it would be too late to say that this failed.
        sys.stdout.flush()
    return code if isinstance(code, int) else 0


def _reason(error: OSError) -> str:
    """Returns in words what an operation on a file or stream failed for."""
    why = error.strerror or str(error)
    if error.filename is None and error.errno in (errno.ENOSPC, errno.EIO, errno.EFBIG):
        _silence_stdout()
        return f"standard output cannot be written: {why}. Results are in the run folder."
    return f"{error.filename}: {why}." if error.filename is not None else f"{why}."


def _end(number: int, _frame: FrameType | None) -> None:
    raise _Ended(number)


def _silence_stdout() -> None:
    """Gives what is left in the buffer nowhere to go, so that it fails no more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _told(message: str, code: int, *, before: str = "") -> int:
    with suppress(OSError):
        print(f"{before}gantlet: {message}", file=sys.stderr)
    return code
