"""What the commands say of themselves, so that ``--help`` need not load them."""

from typing import NamedTuple


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
