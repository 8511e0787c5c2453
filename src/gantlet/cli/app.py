"""The commands. Imports no torch: each command is loaded when it is called."""

from cyclopts import App, Parameter

from gantlet import __version__
from gantlet.cli.words import COMMANDS, DATA, EVERYDAY, START, WEIGHTS, Words


def _add(to: App, module: str, words: Words) -> None:
    # The names of some commands are taken by Python; their functions end in an underscore.
    function = f"{words.name}_" if words.name == "list" else words.name
    to.command(
        f"{module}:{function}",
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
    _home = "commands" if _words.name in EVERYDAY else _words.name
    _add(app, f"gantlet.cli.{_home}", _words)

data = App(
    name="data",
    help="List the published data sets, say where they are, fetch them.",
    help_epilogue="Examples:\n" + "".join(c.examples.removeprefix("\n") for c in DATA),
)
for _words in DATA:
    _add(data, "gantlet.cli.data", _words)
app.command(data)

weights = App(
    name="weights",
    help="List trained weights, say where they are, add your own, fetch them.",
    help_epilogue="Examples:\n" + "".join(c.examples.removeprefix("\n") for c in WEIGHTS),
)
for _words in WEIGHTS:
    _add(weights, "gantlet.cli.weights", _words)
app.command(weights)
