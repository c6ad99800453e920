"""`tunecli trust`: allow the code that a recipe names, once it has been looked at."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunecli.cli.asking import at_a_terminal
from tunecli.cli.shared import json_option, translated
from tunecli.errors import InvalidValueError, RecipeError

if TYPE_CHECKING:
    from tunecli.recipe.trust_store import TrustedRecipe


@translated
def trust(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="[RECIPE]", help="A recipe's file, or the name of a shipped one."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    listed: Annotated[
        bool,
        typer.Option(
            "--list",
            help="List what is trusted, whether it has changed since, and unfinished runs.",
        ),
    ] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Trust no version of RECIPE any more.")
    ] = False,
    as_json: json_option = False,
) -> None:
    """Allow the code that a recipe names to run.

    That is its import paths and its command. Prints what would run, and asks. The file is
    remembered by its hash, in its folder: when it changes, it has to be trusted again. What the
    Python files say that it names is not looked at. Runs that were allowed to start go on with
    --resume, until --forget RUN/recipe.yaml.

    Exit code: 0 trusted, listed or forgotten, 1 the answer was no, 2 usage, 3 recipe invalid.
    """
    if (recipe is None) != listed or listed + forget + yes > 1:
        raise InvalidValueError(
            "trust must get either RECIPE, with --yes or --forget or neither, or --list alone"
        )
    if recipe is None:
        _list(as_json=as_json)
    elif forget:
        _forget(recipe, as_json=as_json)
    else:
        _trust(recipe, yes=yes, as_json=as_json)


def _trust(recipe: str, *, yes: bool, as_json: bool) -> None:
    from tunecli.recipe import find_recipe, load_recipe
    from tunecli.recipe.load import read_bytes
    from tunecli.recipe.trust import code_of
    from tunecli.recipe.trust_store import remember

    path = find_recipe(recipe)
    text = read_bytes(path)  # once: what is shown is what is remembered
    code = code_of(load_recipe(path, content=text))
    if code:
        typer.echo(f"{path} runs:", err=True)
        for line in code:
            typer.echo(f"    {line}", err=True)
        if not yes and not at_a_terminal():
            raise InvalidValueError(
                "--yes must be given where nobody can be asked (stdin is no terminal); look at "
                "the lines above first"
            )
        if not yes and not typer.confirm("Trust it, until the file changes?", err=True):
            typer.echo("not trusted", err=True)
            raise typer.Exit(1)
    found = remember(text, path) if code else None
    if as_json:
        answer = {"path": str(path), "sha256": found, "code": code}
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    elif code:
        typer.echo(f"{path} is trusted until it changes")
    else:
        typer.echo(f"{path} names no code of its own: there is nothing to trust")


def _forget(recipe: str, *, as_json: bool) -> None:
    from tunecli.recipe import find_recipe
    from tunecli.recipe.trust_store import forget

    try:
        path = find_recipe(recipe)
    except RecipeError:  # the file is gone; its entry need not be
        path = Path(recipe)
    removed = forget(path) + forget(path, "runs")
    if as_json:
        typer.echo(json.dumps({"path": str(path), "forgotten": removed}, ensure_ascii=False))
    elif removed:
        typer.echo(f"{path} is not trusted any more")
    else:
        typer.echo(f"{path} was not trusted; `tunecli trust --list` shows what is")


def _list(*, as_json: bool) -> None:
    from tunecli.execution.run_trust import allowed_runs
    from tunecli.recipe.trust_store import trusted_recipes

    entries = [(each, _state(each)) for each in trusted_recipes()]
    entries += [(each, "unfinished run, may go on") for each in allowed_runs()]
    if as_json:
        answer = [
            {"path": str(each.path), "sha256": each.sha256, "time": each.time, "state": state}
            for each, state in entries
        ]
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
        return
    for each, state in entries:
        typer.echo(f"{each.time}  {each.path}  ({state})")


def _state(entry: "TrustedRecipe") -> str:
    from tunecli.recipe.load import read_bytes
    from tunecli.recipe.trust_store import sha256

    try:
        same = sha256(read_bytes(entry.path)) == entry.sha256
    except RecipeError:
        return "cannot be read"
    return "unchanged" if same else "changed since, so not trusted"
