"""The commands of tunecli."""

import sys
from io import TextIOWrapper

import typer

from tunecli.cli.compare import compare
from tunecli.cli.export import export
from tunecli.cli.init import init
from tunecli.cli.recipes import recipes, validate
from tunecli.cli.replay import replay
from tunecli.cli.schedule import schedule
from tunecli.cli.search import search
from tunecli.cli.shared import version_option
from tunecli.cli.show import show
from tunecli.cli.stability import stability
from tunecli.cli.train import train
from tunecli.cli.trust import trust

app = typer.Typer(
    name="tunecli",
    help="Search the initial learning rate; derive the rest of SGD's schedule in closed form.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root(version: version_option = False) -> None:
    pass


app.command("search")(search)
app.command("compare")(compare)
app.command("schedule")(schedule)
app.command("stability")(stability)
app.command("train")(train)
app.command("export")(export)
app.command("replay")(replay)
app.command("recipes")(recipes)
app.command("init")(init)
app.command("validate")(validate)
app.command("show")(show)
app.command("trust")(trust)


def main() -> None:
    """Run the command line; what a user caused ends in a sentence and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal that cannot show β shows a "?"
            stream.reconfigure(errors="replace")
    app()
