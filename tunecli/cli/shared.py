"""What several commands share: options, and how an error becomes a sentence."""

import errno
import functools
import os
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ParamSpec

import typer

from tunecli.errors import InterruptedRunError, InvalidValueError, RunError, TunecliError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from tunecli.recipe import Recipe

P = ParamSpec("P")


def _show_version(wanted: bool) -> None:
    if wanted:
        from tunecli import __version__

        typer.echo(__version__)
        raise typer.Exit


version_option = Annotated[
    bool,
    typer.Option(
        "--version", callback=_show_version, is_eager=True, help="Print the version and leave."
    ),
]
recipe_argument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A recipe's file, or the name of a shipped one.")
]
recipe_or_resume_argument = Annotated[
    str | None,
    typer.Argument(metavar="[RECIPE]", help="A recipe's file, or the name of a shipped one."),
]
resume_option = Annotated[
    Path | None,
    typer.Option("--resume", metavar="RUN", help="Go on with what was stopped in this folder."),
]
run_option = Annotated[
    Path | None,
    typer.Option("--run", metavar="DIR", help="Folder of the run. [default: runs/<recipe>-<time>]"),
]
overrides_argument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Recipe keys to override: search.patience=2"),
]
device_option = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="auto (CUDA where there is one), cpu, cuda, cuda:<index> or mps. "
        "[default: auto, or what a resumed run was started on]",
    ),
]
workers_option = Annotated[
    int,
    typer.Option(
        "--workers",
        metavar="N",
        min=1,
        max=256,
        help="Trials that run side by side, each in a process of its own; not remembered by "
        "--resume.",
    ),
]
trust_option = Annotated[
    bool,
    typer.Option(
        "--trust", help="Run the code that the recipe names, this once (see `tunecli trust`)."
    ),
]
download_option = Annotated[
    bool,
    typer.Option(
        "--download", help="Fetch the recipe's data set first; else nothing reaches the network."
    ),
]
json_option = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


def translated(command: Callable[P, None]) -> Callable[P, None]:
    """Show a `TunecliError` as a sentence on stderr and leave with its exit code."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            _and_flush(command, *args, **kwargs)
        except InterruptedRunError as stopped:
            typer.echo(str(stopped), err=True)
            raise typer.Exit(stopped.exit_code) from None
        except TunecliError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(130) from None
        except BrokenPipeError:
            _discard_stdout()  # whoever read our output has left
            raise typer.Exit(141) from None

    return run


def _and_flush(command: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Run a command to the last byte of its output, so that a full disk is told as one."""
    try:
        try:
            command(*args, **kwargs)
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _discard_stdout()
        raise RunError(
            "stdout cannot be written: no space left; a run that was finished is kept in its "
            "folder, and --resume shows it"
        ) from None


def _discard_stdout() -> None:
    """Keep Python from complaining at exit about what it cannot write."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def load_for_a_run(
    recipe: str | None, overrides: list[str] | None, *, trusted: bool, download: bool = False
) -> "Recipe":
    """The recipe that a person named: valid, fit to be trained, and its code allowed to run.

    Args:
        recipe: A file, or the name of a shipped one.
        overrides: From the command line.
        trusted: Whether the person has said `--trust`.
        download: Whether to fetch its data first; nothing else reaches the network.
    """
    from tunecli.recipe import find_recipe
    from tunecli.recipe.trust import require_trust

    settings = load_fit(recipe, overrides)
    assert recipe is not None
    require_trust(settings, find_recipe(recipe), trusted)
    tell_of_missing_rate(settings)
    if download:
        _fetch(settings)
    return settings


def tell_of_missing_rate(settings: "Recipe") -> None:
    """Say, beside the result, that a command hands over no rate, if it does not."""
    if settings.command is None:
        return
    from tunecli.recipe.script import no_rate_note

    note = no_rate_note(settings.command)
    if note is not None:
        typer.echo(f"note: {note}", err=True)


def _fetch(settings: "Recipe") -> None:
    from tunecli.data.download import fetch

    if settings.command is not None:
        raise InvalidValueError(
            "--download must stand beside data that tunecli loads, but the recipe has a command; "
            "leave it out, a script fetches its own data"
        )
    fetched = fetch(settings.data)
    if fetched is None:
        note = f"nothing to download: the data ({settings.data.name}) are on this machine"
    else:
        note = f"{fetched} is on this machine now"
    typer.echo(note, err=True)


def load_fit(recipe: str | None, overrides: list[str] | None) -> "Recipe":
    """The recipe that a person named, valid and fit to be trained; nothing of it may run."""
    from tunecli.recipe import find_recipe, load_recipe
    from tunecli.training.feasible import problems

    if recipe is None:
        raise InvalidValueError(
            "RECIPE must be given unless --resume is; `tunecli recipes` lists the shipped ones"
        )
    return load_recipe(find_recipe(recipe), overrides or [], problems)


def messages() -> "Console":
    """The console for everything that is not a command's result."""
    from rich.console import Console

    return Console(stderr=True)


def show(result: "RenderableType") -> None:
    """Print a command's result: to the terminal's width there, unpadded lines elsewhere."""
    from rich.console import Console

    console = Console()
    if console.is_terminal:
        console.print(result, highlight=False)
        return
    wide = Console(file=StringIO(), width=120)
    wide.print(result, highlight=False)
    assert isinstance(wide.file, StringIO)
    for line in wide.file.getvalue().splitlines():
        typer.echo(line.rstrip())
