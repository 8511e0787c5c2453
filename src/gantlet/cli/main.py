"""Entry point of the command line: environment, signals and error handling."""

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
from gantlet.compute import kernels
from gantlet.core.errors import UserError

# ----------------------------------------------------------------------------
# Help texts of the commands, so that ``--help`` need not load them.
# ----------------------------------------------------------------------------


class CommandHelp(NamedTuple):
    """Help text of a command.

    Attributes:
        name: Name of the command.
        does: Summary in one line.
        more: Further description in one paragraph, or empty.
        examples: Example commands, one per line.
    """

    name: str
    does: str
    more: str
    examples: str


COMMANDS = (
    CommandHelp(
        "compare",
        "Train models under equal compute budgets and compare them.",
        "Every model gets the same compute budget, data and seeds. Reported are sample quality, "
        "likelihood, the cost of training and of sampling, parallelism and invertibility, with "
        "confidence intervals, beside the noise floor: held-out against held-out real data. "
        "The same command resumes an interrupted run.",
        """
  gantlet compare gan flow vae --data digits --flops 2e11 --seeds 3
  gantlet compare gan gan:loss=hinge --data ring --steps 3000
  gantlet compare flow diffusion --data mnist --examples 1e6 --json > out.json
""",
    ),
    CommandHelp(
        "train",
        "Train one model and evaluate it.",
        "The same command resumes an interrupted run from its last checkpoint; the result is "
        "bit-identical to that of an uninterrupted run.",
        """
  gantlet train flow --data digits --flops 1e12 --out runs/flow
  gantlet train gan --data digits --time 20min
  gantlet train gan:loss=hinge --data images:path=photos,size=32 --examples 1e6
""",
    ),
    CommandHelp(
        "evaluate",
        "Evaluate samples against real ones: metrics with confidence intervals.",
        "Samples are a folder of images, a file (npz, npy, csv, safetensors, idx), RUN@MODEL, or "
        "a data set, optionally followed by @train, @validation, @test or @all; NAME=WHERE names "
        "them. Every number is reported beside its noise floor: real samples against real ones. "
        "Several sets are ranked by paired differences. Features are cached in GANTLET_CACHE.",
        """
  gantlet evaluate samples.npz --against mnist --train mnist@train
  gantlet evaluate a=runs/a/png b=runs/b/png --against photos
  gantlet evaluate runs/demo@gan runs/demo@flow --against digits --train digits@train
""",
    ),
    CommandHelp(
        "flaws",
        "List the flaws of samples, the largest first.",
        "Each flaw is found on a discovery split and confirmed on a validation split; then it is "
        "removed (deflation), and the search continues. Samples are given as for evaluate. "
        "Several sets are also compared: flaws that they share, and flaws of one set alone.",
        """
  gantlet flaws samples.npz --against mnist
  gantlet flaws a=runs/a/png b=runs/b/png --against photos
  gantlet flaws runs/demo@gan --against digits --mode linear
""",
    ),
    CommandHelp(
        "support",
        "Test whether samples have low support: collisions, modes, recall, off-support mass.",
        "Every test compares samples with held-out real ones of equal number. The threshold of "
        "collisions is set on real samples; modes are those of a synthetic data set, classes, or "
        "cells of k-means. A model in a run directory is also inverted: the held-out samples that "
        "it does not reach are shown. Samples are given as for evaluate.",
        """
  gantlet support samples.npz --against mnist
  gantlet support runs/demo@gan runs/demo@vae --against digits
  gantlet support a=a.npy b=b.npy --against real.npy --modes cells --cells 20
""",
    ),
    CommandHelp(
        "why",
        "Explain the difference between two values of a metric.",
        "Two settings of an evaluation, or two reports: how much of the difference comes from n, "
        "the reference split, resizing, JPEG compression, dtype and range, the network, and bias "
        "correction. The parts add up to the difference; a recorded or published value "
        "(value=...) leaves an unexplained rest. Options from samples to range may be "
        "FAKES/REALS, a value for each side.",
        """
  gantlet why samples=500 samples=2000,jpeg=75/none --fakes fake.npz --against real.npz
  gantlet why runs/a runs/b --metric kid
  gantlet why split=test value=3.17,split=train,bias=plain --fakes fake --against photos
""",
    ),
    CommandHelp(
        "verify",
        "Recompute a report on samples and list what differs.",
        "Computes the report of evaluate, flaws or support again, with its settings and seeds, "
        "and compares every number, setting and fingerprint. Exit code 0: all agree; 1: "
        "something differs, one line per difference.",
        """
  gantlet verify runs/demo fake.npz
  gantlet verify report.json fake.npz --against real.npz --rounding 1e-9
""",
    ),
    CommandHelp(
        "tournament",
        "Rate generators and critics by matches against each other.",
        "Evaluates the generators of all snapshots in run directories, and the final samples of "
        "models without snapshots, with the critics of all snapshots. Reports ratings, their "
        "course over training, when to stop, and cycles. Train with --snapshots N first.",
        """
  gantlet train gan --data digits --steps 2000 --snapshots 8 --out runs/gan
  gantlet tournament runs/gan
  gantlet tournament runs/gan runs/demo --json > out.json
""",
    ),
    CommandHelp(
        "converge",
        "Diagnose the convergence of a training and recommend changes.",
        "Trains a model (or analyzes a run with snapshots, or a toy game) and reports whether "
        "it converges, oscillates, diverges or does not learn; with eigenvalues of the game's "
        "Jacobian, rotation, curvature, the largest stable step and delay, the duality gap, and "
        "recommended changes with their predicted effect. --apply-advice trains again with up to "
        "three of them.",
        """
  gantlet converge gan:loss=wgan,penalty=none --data digits --steps 600 --apply-advice
  gantlet converge runs/gan@gan#0
  gantlet converge dirac:loss=wgan --steps 1000 --apply-advice
""",
    ),
    CommandHelp(
        "attack",
        "Attack the critic of a GAN, and measure how far its generator does.",
        "Finds the smallest changes with which fakes look real to the critic (and real samples "
        "fake), and measures which share of what the generator's own updates gain is an attack "
        "on this one critic: fresh critics do not confirm it. At stages of training, with a test "
        "for masked gradients and what to change. Train with --snapshots N first.",
        """
  gantlet train gan --data digits --steps 2000 --snapshots 4 --out runs/gan
  gantlet attack runs/gan
  gantlet attack module:path=my.py:build,weights=gan.pt --data digits --ablations
""",
    ),
    CommandHelp(
        "batch",
        "Measure the gradient noise of a training and recommend a batch size.",
        "Trains a model at the batch size given, a smaller and a larger one, and reports the "
        "gradient noise scale of each player over training, the critical batch size as it is "
        "predicted and measured, what twice the batch buys in steps and costs in FLOPs, and "
        "whether noise or instability holds the training back.",
        """
  gantlet batch gan --data ring --steps 1000
  gantlet batch vae --data digits --batch 64 --factor 8
  gantlet batch module:path=my.py:build,weights=gan.pt --steps 500
""",
    ),
    CommandHelp(
        "sample",
        "Draw samples from a trained model.",
        "",
        """
  gantlet sample runs/demo --model flow -n 1000 --out flow.npz
  gantlet sample runs/demo --model gan --out gan.png
  gantlet sample runs/table --model tree-chain --where region=north --out north.csv
""",
    ),
    CommandHelp(
        "cost",
        "Predict time, compute and memory of a training before it starts.",
        "FLOPs are counted; times are measured on a few steps on this machine.",
        """
  gantlet cost gan flow --data digits --examples 1e6
  gantlet cost --published
""",
    ),
    CommandHelp(
        "plan",
        "Plan how many samples, looks and seeds would show a difference.",
        "Draws from the real samples alone: from the intervals of pilot differences follows how "
        "the variance falls with the number of samples. Says when the reference itself is too "
        "small. Nothing is trained or sampled.",
        """
  gantlet plan --against digits --detect .02
  gantlet plan --against photos --detect .005 --metric kid --sets 4
""",
    ),
    CommandHelp(
        "forecast",
        "Predict the error of each family on data, without training.",
        "Describes the data by features (intrinsic dimension, connectedness, modes, tails ...), "
        "and predicts the error of each family at a budget, with intervals: which to try first, "
        "what drives the prediction, and the nearest known sets. Data unlike those of the "
        "experiment that it was fitted to get no prediction.",
        """
  gantlet forecast digits
  gantlet forecast points.npy --flops 3e9 --families gan+diffusion
""",
    ),
    CommandHelp(
        "study",
        "Run a predefined experiment on an open question.",
        "",
        """
  gantlet study tradeoffs --size small
""",
    ),
    CommandHelp(
        "report",
        "Show the report of a run, in any format.",
        "",
        """
  gantlet report runs/demo
  gantlet report runs/demo --format latex --out table.tex
""",
    ),
    CommandHelp(
        "watch",
        "Show the record of a training that gantlet.Watch evaluates.",
        "gantlet.Watch, three lines in a PyTorch loop of your own, looks at fresh samples every "
        "so many steps, raises alarms and writes this record. --follow shows it again after each "
        "look.",
        """
  gantlet watch runs/mine
  gantlet watch runs/mine --follow
""",
    ),
    CommandHelp(
        "view",
        "Show all runs below a folder in one page: state, progress, headline, time and cost.",
        "The page filters, sorts and compares two runs, without a test. With --serve it stays up "
        "to date while runs go on, on this machine alone.",
        """
  gantlet view runs
  gantlet view runs --serve
  gantlet view runs --format text
  gantlet view runs --compare runs/a runs/b
""",
    ),
    CommandHelp(
        "export",
        "Write the estimates of runs as one table, one per row.",
        "",
        """
  gantlet export runs/demo runs/other --to results.csv
""",
    ),
    CommandHelp(
        "list",
        "List the components of a kind, or of all.",
        "",
        """
  gantlet list
  gantlet list families --json
""",
    ),
    CommandHelp(
        "show",
        "Describe a component: definition, options, source.",
        "A name may be followed by options; the written form with all options is shown then.",
        """
  gantlet show gan
  gantlet show gan:loss=hinge
""",
    ),
    CommandHelp(
        "doctor",
        "Check this installation and this machine.",
        "Prints versions, threads, measured peak rates, the data directory, whether a browser is "
        "installed, and warnings about settings that make results wrong or slow.",
        """
  gantlet doctor
""",
    ),
)

EVERYDAY = frozenset(
    [
        "compare",
        "train",
        "evaluate",
        "flaws",
        "support",
        "why",
        "verify",
        "tournament",
        "converge",
        "attack",
        "batch",
        "sample",
        "cost",
        "plan",
        "forecast",
        "study",
    ]
)
"""The commands whose options are defined in ``gantlet.options``; each is a Python function too."""

DATA = (
    CommandHelp(
        "list",
        "List the published data sets, their licenses, and which are downloaded.",
        "",
        """
  gantlet data list
""",
    ),
    CommandHelp(
        "where",
        "Print the folder of a published data set, or the data directory.",
        "",
        """
  gantlet data where mnist
""",
    ),
    CommandHelp(
        "fetch",
        "Download a published data set from its own site and verify its hash.",
        "",
        """
  gantlet data fetch fashion-mnist
""",
    ),
)

WEIGHTS = (
    CommandHelp(
        "list",
        "List the published weights, their licenses, and which are downloaded.",
        "",
        """
  gantlet weights list
""",
    ),
    CommandHelp(
        "add",
        "Add a file of weights to the weights directory.",
        "Published files are recognized by their SHA-256. For any other file the hash is "
        "recorded, so that a later change is detected.",
        """
  gantlet weights add downloads/pt_inception-2015-12-05-6726825d.pth
""",
    ),
    CommandHelp(
        "fetch",
        "Download weights from their own site and verify their hash.",
        "",
        """
  gantlet weights fetch inception
""",
    ),
    CommandHelp(
        "where",
        "Print the path of weights, or the weights directory.",
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

Components are written as name:key=value,key=value.
`gantlet list` lists all components, `gantlet show NAME` describes one.
"""


# ----------------------------------------------------------------------------
# The commands. Imports no torch: each command is loaded when it is called.
# ----------------------------------------------------------------------------


def _add(to: App, home: str, function: str, words: CommandHelp) -> None:
    to.command(
        f"gantlet.cli.{home}:{function}",
        name=words.name,
        help=f"{words.does}\n\n{words.more}".rstrip(),
        help_epilogue=f"Examples:\n{words.examples}",
    )


app = App(
    name="gantlet",
    help="Compare generative models under equal compute, with confidence intervals.",
    help_format="plaintext",
    help_epilogue=START,
    version=__version__,
    default_parameter=Parameter(negative=()),
    # Ctrl-C is reported by ``run``, like other errors.
    suppress_keyboard_interrupt=False,
)
for _words in COMMANDS:
    # The name of one command is taken by Python; its function ends in an underscore.
    _function = "list_" if _words.name == "list" else _words.name
    _add(app, "commands" if _words.name in EVERYDAY else "tools", _function, _words)

data = App(
    name="data",
    help="List, locate and download published data sets.",
    help_epilogue="Examples:\n" + "".join(c.examples.removeprefix("\n") for c in DATA),
)
for _words in DATA:
    _add(data, "tools", f"data_{_words.name}", _words)
app.command(data)

weights = App(
    name="weights",
    help="List, locate, add and download pretrained weights.",
    help_epilogue="Examples:\n" + "".join(c.examples.removeprefix("\n") for c in WEIGHTS),
)
for _words in WEIGHTS:
    _add(weights, "tools", f"weights_{_words.name}", _words)
app.command(weights)


# ----------------------------------------------------------------------------
# Entry point: environment, signals and error handling.
# ----------------------------------------------------------------------------

FAILED = 1
MISTAKE = 2
INTERRUPTED = 130

# Signals by which a system or a closed terminal terminates a process.
_ENDINGS = ("SIGTERM", "SIGHUP")


@final
class _Ended(KeyboardInterrupt):
    """A signal asked this process to end; it ends like one that was interrupted."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.code = 128 + number


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits with its exit code.

    0: success; 1: a trial failed; 2: invalid use, reported in one line; 130: interrupted; 128 plus
    the number of a signal, such as 143 for SIGTERM: terminated by that signal.
    """
    # Spinning threads cost tenfold on a busy machine; this must be set before torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    kernels.choose()
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
        # A terminal with a small character set must not lose a report.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return _called(arguments)
    except UserError as error:
        return _told(str(error), MISTAKE)
    except KeyboardInterrupt as error:
        code = error.code if isinstance(error, _Ended) else INTERRUPTED
        return _told("interrupted; run the same command again to resume.", code, before="\n")
    except BrokenPipeError:
        # The reader of our output has exited, as `head` does; this is not an error.
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
        # A failure at interpreter exit could not be reported.
        sys.stdout.flush()
    return code if isinstance(code, int) else 0


def _reason(error: OSError) -> str:
    """Returns the reason for which an operation on a file or stream failed."""
    why = error.strerror or str(error)
    if error.filename is None and error.errno in (errno.ENOSPC, errno.EIO, errno.EFBIG):
        _silence_stdout()
        return f"standard output cannot be written: {why}. Results are in the run folder."
    return f"{error.filename}: {why}." if error.filename is not None else f"{why}."


def _end(number: int, _frame: FrameType | None) -> None:
    raise _Ended(number)


def _silence_stdout() -> None:
    """Redirects standard output to the null device, so that flushing the buffer cannot fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _told(message: str, code: int, *, before: str = "") -> int:
    with suppress(OSError):
        print(f"{before}gantlet: {message}", file=sys.stderr)
    return code
