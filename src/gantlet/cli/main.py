"""Where the command line begins: the environment, signals, and what becomes of errors."""

import errno
import io
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import NamedTuple, final

from cyclopts import App, Parameter

from gantlet import __version__
from gantlet.core.errors import UserError

# ----------------------------------------------------------------------------
# What the commands say of themselves, so that ``--help`` need not load them.
# ----------------------------------------------------------------------------


class Words(NamedTuple):
    """What ``--help`` says of a command.

    Attributes:
        name: Its name.
        does: What it does, in one line.
        more: What else must be known, in one paragraph, or nothing.
        examples: Commands to try, a line each.
    """

    name: str
    does: str
    more: str
    examples: str


COMMANDS = (
    Words(
        "compare",
        "Train models on equal compute and report what each is good at.",
        "Every contestant gets the same budget, the same data and the same seeds. Reported are "
        "quality, likelihood, the cost of training and of sampling, parallelism and "
        "reversibility, with intervals, beside the noise floor: held-out against held-out data. "
        "The same command goes on where it was interrupted.",
        """
  gantlet compare gan flow vae --data digits --flops 2e11 --seeds 3
  gantlet compare gan gan:loss=hinge --data ring --steps 3000
  gantlet compare flow diffusion --data mnist --examples 1e6 --json > out.json
""",
    ),
    Words(
        "train",
        "Train one model and measure it.",
        "The same command goes on from the last checkpoint where it was interrupted, with the "
        "same result bit by bit.",
        """
  gantlet train flow --data digits --flops 1e12 --out runs/flow
  gantlet train gan:loss=hinge --data images:path=photos,size=32 --examples 1e6
""",
    ),
    Words(
        "evaluate",
        "Judge samples against real ones: every metric, and how sure it is.",
        "Samples are a folder of images, a file (npz, npy, csv, safetensors, idx), RUN@MODEL, or "
        "a data set, perhaps followed by @train, @validation, @test or @all; NAME=WHERE gives "
        "them a name. Beside every number stands the noise floor: real samples against real ones. "
        "Several sets are ranked by paired differences. Features are kept in GANTLET_CACHE.",
        """
  gantlet evaluate samples.npz --against mnist --train mnist@train
  gantlet evaluate a=runs/a/png b=runs/b/png --against photos
  gantlet evaluate runs/demo@gan runs/demo@flow --against digits --train digits@train
""",
    ),
    Words(
        "flaws",
        "List what is wrong with samples, the largest flaw first.",
        "Each flaw is found on one half of the samples and certified on the other; then the "
        "critic is made blind to it and looks for the next. Samples are given as for evaluate. "
        "Several sets are also compared: which flaws they share, and which are their own.",
        """
  gantlet flaws samples.npz --against mnist
  gantlet flaws a=runs/a/png b=runs/b/png --against photos
  gantlet flaws runs/demo@gan --against digits --mode linear
""",
    ),
    Words(
        "tournament",
        "Rate generators and critics by matches against each other.",
        "Plays all snapshots in run folders, and the final samples of models without, against the "
        "critics of all snapshots. Prints ratings, how they move over training, when to stop, and "
        "cycles. Train with --snapshots N first.",
        """
  gantlet train gan --data digits --steps 2000 --snapshots 8 --out runs/gan
  gantlet tournament runs/gan
  gantlet tournament runs/gan runs/demo --json > out.json
""",
    ),
    Words(
        "converge",
        "Say whether a training converges, and if not, what would help.",
        "Trains a model (or looks at a run with snapshots, or plays a toy game) and says whether "
        "it converges, oscillates, diverges or does not learn; with eigenvalues of the game's "
        "Jacobian, rotation, curvature, the largest stable step and delay, the duality gap, and "
        "changes with what they are predicted to do. --try trains again with up to three.",
        """
  gantlet converge gan:loss=wgan,penalty=none --data digits --steps 600 --try
  gantlet converge runs/gan@gan#0
  gantlet converge dirac:loss=wgan --steps 1000 --try
""",
    ),
    Words(
        "sample",
        "Draw samples from a trained model.",
        "",
        """
  gantlet sample runs/demo --model flow -n 1000 --out flow.npz
  gantlet sample runs/demo --model gan --out gan.png
""",
    ),
    Words(
        "cost",
        "Say how long and how much a training would take, before it starts.",
        "Operations are counted; times are measured on a few steps of this machine.",
        """
  gantlet cost gan flow --data digits --examples 1e6
  gantlet cost --published
""",
    ),
    Words(
        "study",
        "Answer one of the open questions with a whole experiment.",
        "",
        """
  gantlet study tradeoffs --size small
""",
    ),
    Words(
        "report",
        "Show the report of a run again, in any format.",
        "",
        """
  gantlet report runs/demo
  gantlet report runs/demo --format latex --out table.tex
""",
    ),
    Words(
        "export",
        "Write the numbers of runs as one table, one estimate a row.",
        "",
        """
  gantlet export runs/demo runs/other --to results.csv
""",
    ),
    Words(
        "list",
        "List the components of a kind, or of all.",
        "",
        """
  gantlet list
  gantlet list families --json
""",
    ),
    Words(
        "show",
        "Explain a component: what it is, its options, its source.",
        "A name may be followed by options; what is shown then is the form with every option "
        "written out.",
        """
  gantlet show gan
  gantlet show gan:loss=hinge
""",
    ),
    Words(
        "doctor",
        "Check this installation and this machine.",
        "Prints versions, threads, the measured peak of the machine, where data is looked for, "
        "whether a browser is at hand, and what would make results wrong or slow.",
        """
  gantlet doctor
""",
    ),
)

EVERYDAY = frozenset(
    ["compare", "train", "evaluate", "flaws", "tournament", "converge", "sample", "cost", "study"]
)
"""The commands whose options stand in ``gantlet.options``; Python has a function for each."""

DATA = (
    Words(
        "list",
        "List the published data sets, their terms, and which are here.",
        "",
        """
  gantlet data list
""",
    ),
    Words(
        "where",
        "Print the folder of a published data set, or the folder of them all.",
        "",
        """
  gantlet data where mnist
""",
    ),
    Words(
        "fetch",
        "Fetch a published data set from its own site, and check its hash.",
        "",
        """
  gantlet data fetch fashion-mnist
""",
    ),
)

WEIGHTS = (
    Words(
        "list",
        "List the trained weights that Gantlet knows, their terms, and which are here.",
        "",
        """
  gantlet weights list
""",
    ),
    Words(
        "add",
        "Take a file of weights into the folder for weights.",
        "The file is known by its SHA-256 alone. Of a file that is none of the published ones the "
        "hash is recorded, so that a later change is noticed.",
        """
  gantlet weights add downloads/pt_inception-2015-12-05-6726825d.pth
""",
    ),
    Words(
        "fetch",
        "Fetch weights from their own site, and check their hash.",
        "",
        """
  gantlet weights fetch inception
""",
    ),
    Words(
        "where",
        "Print where weights are, or the folder for weights.",
        "",
        """
  gantlet weights where inception
""",
    ),
)

START = """\
Two commands to begin with:

  gantlet compare gan flow gmm --data digits --flops 2e10 --seeds 2
  gantlet cost gan --data digits --examples 1e6

Every component is written as name:key=value,key=value.
`gantlet list` names them all, `gantlet show NAME` explains one.
"""


# ----------------------------------------------------------------------------
# The commands. Imports no torch: each command is loaded when it is called.
# ----------------------------------------------------------------------------


def _add(to: App, home: str, function: str, words: Words) -> None:
    to.command(
        f"gantlet.cli.{home}:{function}",
        name=words.name,
        help=f"{words.does}\n\n{words.more}".rstrip(),
        help_epilogue=f"Examples:\n{words.examples}",
    )


app = App(
    name="gantlet",
    help="Put generative models to the test: equal compute, honest error bars.",
    help_format="plaintext",
    help_epilogue=START,
    version=__version__,
    default_parameter=Parameter(negative=()),
    # Ctrl-C is told in words, by the one who catches everything else.
    suppress_keyboard_interrupt=False,
)
for _words in COMMANDS:
    # The name of one command is taken by Python; its function ends in an underscore.
    _function = "list_" if _words.name == "list" else _words.name
    _add(app, "commands" if _words.name in EVERYDAY else "tools", _function, _words)

data = App(
    name="data",
    help="List the published data sets, say where they are, fetch them.",
    help_epilogue="Examples:\n" + "".join(c.examples.removeprefix("\n") for c in DATA),
)
for _words in DATA:
    _add(data, "tools", f"data_{_words.name}", _words)
app.command(data)

weights = App(
    name="weights",
    help="List trained weights, say where they are, add your own, fetch them.",
    help_epilogue="Examples:\n" + "".join(c.examples.removeprefix("\n") for c in WEIGHTS),
)
for _words in WEIGHTS:
    _add(weights, "tools", f"weights_{_words.name}", _words)
app.command(weights)


# ----------------------------------------------------------------------------
# Where the command line begins: the environment, signals, and what becomes of errors.
# ----------------------------------------------------------------------------

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
