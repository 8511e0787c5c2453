"""The commands. Imports no torch: each command is loaded when it is called."""

from cyclopts import App

from gantlet import __version__

_EPILOGUE = """
Two commands to begin with:

    gantlet compare gan flow gmm --data digits --flops 2e10 --seeds 2

    gantlet cost gan --data digits --examples 1e6

Every component is written as name:key=value,key=value; `gantlet list` names them all and
`gantlet show NAME` explains one.
"""

app = App(
    name="gantlet",
    help="Put generative models to the test: equal compute, honest error bars.",
    help_epilogue=_EPILOGUE,
    version=__version__,
)

for _name, _help in (
    ("compare", "Train models on equal compute and report what each is good at."),
    ("train", "Train one model and measure it."),
    ("sample", "Draw samples from a trained model."),
    ("cost", "Say how long and how much a training would take, before it starts."),
    ("study", "Answer one of the open questions with a whole experiment."),
    ("report", "Show the report of a run again, in any format."),
    ("export", "Write the numbers of runs as one table."),
    ("list", "List the components of a kind, or of all."),
    ("show", "Explain a component: what it is, its options, its source."),
    ("doctor", "Check this installation and this machine."),
):
    _function = f"{_name}_" if _name == "list" else _name
    app.command(f"gantlet.cli.{_name}:{_function}", name=_name, help=_help)

data = App(name="data", help="List the named data sets, say where they are, fetch them.")
data.command("gantlet.cli.data:list_", name="list", help="List the named data sets.")
data.command("gantlet.cli.data:where", name="where", help="Say where a data set is looked for.")
data.command("gantlet.cli.data:fetch", name="fetch", help="Fetch a data set, hash-checked.")
app.command(data)
