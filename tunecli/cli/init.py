"""`tunecli init`: a few questions, and a recipe that runs."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunecli.cli.asking import Questions, at_a_terminal
from tunecli.cli.shared import json_option, tell_of_missing_rate, translated
from tunecli.errors import InvalidValueError, require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tunecli.recipe import Recipe
    from tunecli.recipe.starter import Start
    from tunecli.training.limits import Problem


@translated
def init(
    path: Annotated[
        Path, typer.Argument(metavar="[PATH]", help="Where to write the recipe.")
    ] = Path("recipe.yaml"),
    kind: Annotated[
        str | None, typer.Option(help="npz, images, text, python, script or digits.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="The data: a file or a folder; for kind python what loads it, as nets:load, or "
            "digits."
        ),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(
            metavar="GLOB", help="For kind text and a folder: which files of it, as '**/*.txt'."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="For kind python: what builds the model, as nets:build.")
    ] = None,
    trains: Annotated[
        str | None,
        typer.Option(
            "--command",
            help="For kind script: what trains, as 'python train.py --lr {learning_rate}'; starter "
            "writes one.",
        ),
    ] = None,
    framework: Annotated[
        str | None,
        typer.Option(help="Of the starter script: pytorch, lightning or transformers."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="What to compare: accuracy or loss; a script may have one of its own."),
    ] = None,
    better: Annotated[
        str | None,
        typer.Option(help="For a metric of a script's own: is larger better, or smaller?"),
    ] = None,
    batch_size: Annotated[str | None, typer.Option(metavar="N", help="Of the first stage.")] = None,
    epochs: Annotated[
        str | None,
        typer.Option(metavar="NUMBER", help="Of one trial: passes over the training set."),
    ] = None,
    samples: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="For a script of your own: how many samples it trains on; 0 is unknown.",
        ),
    ] = None,
    steps: Annotated[
        str | None,
        typer.Option(
            metavar="N", help="Updates of the first stage, for a script with unknown samples."
        ),
    ] = None,
    starter: Annotated[
        bool, typer.Option(help="Write nets.py or train.py as well, where that is to start from.")
    ] = True,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Take the default of every question that has one.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files.")] = False,
    as_json: json_option = False,
) -> None:
    """Write a recipe for what you have, by a few questions.

    A commented file that validates and runs at once. Asks what the options leave open. It looks at
    the data that is named, so that the model fits, and runs nothing. Nothing is written unless the
    recipe is valid.

    Exit code: 0 written, 1 failed, 2 usage, 3 the recipe would not be valid.
    """
    # reading the data may take numpy's time: only now
    from tunecli.cli.interview import interview

    _refuse_to_overwrite([path], force=force)
    given = {
        "--kind": kind,
        "--data": data,
        "--pattern": pattern,
        "--model": model,
        "--command": trains,
        "--framework": framework,
        "--samples": samples,
        "--metric": metric,
        "--better": better,
        "--batch-size": batch_size,
        "--epochs": epochs,
        "--steps": steps,
    }
    start = interview(Questions(given, terminal=at_a_terminal(), defaults=yes), path)
    _tell(_write(path, start, starter=starter, force=force), start, as_json=as_json)


def _write(path: Path, start: "Start", *, starter: bool, force: bool) -> list[Path]:
    """Write the recipe, once it is known to be valid, and what goes beside it."""
    from tunecli.execution.files import write_text
    from tunecli.recipe import load_recipe
    from tunecli.recipe.starter import recipe_text, starter_texts
    from tunecli.training.feasible import problems
    from tunecli.training.program import missing_program

    text = recipe_text(start)

    def lasting(recipe: "Recipe") -> "Iterator[Problem]":
        # a script may be written after its recipe; `validate` and every run look again
        later = set(missing_program(recipe)) if recipe.command is not None else set()
        for key, sentence in sorted(later) if start.command is not None else ():
            if key[0] == "command":  # and not its folder, which is made below
                typer.echo(f"note: {sentence}", err=True)
        yield from (problem for problem in problems(recipe) if problem not in later)

    tell_of_missing_rate(load_recipe(path, problems=lasting, content=text.encode()))
    beside = starter_texts(start, path.name) if starter else {}
    files = {path.with_name(name): content for name, content in beside.items()}
    files[path] = text  # last: a recipe whose starter is missing would not run
    _refuse_to_overwrite(list(files), force=force)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidValueError(
            f"PATH must be in a folder that can be made but got {path}: {error.strerror}"
        ) from None
    for file, content in files.items():
        write_text(file, content)
    return list(files)


def _tell(written: list[Path], start: "Start", *, as_json: bool) -> None:
    recipe = shlex.quote(str(written[-1]))
    first = "trust" if start.kind in ("python", "script") else "validate"
    commands = [f"tunecli {first} {recipe}", f"tunecli search {recipe}"]
    if as_json:
        answer = {"written": [str(file) for file in written], "next": commands}
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
        return
    for file in written:
        typer.echo(f"wrote {file}")
    typer.echo("next:")
    for each in commands:
        typer.echo(f"    {each}")


def _refuse_to_overwrite(files: list[Path], *, force: bool) -> None:
    for file in files:
        if file.exists() and not force:
            remedy = "name another one, or overwrite it with --force"
            if file.suffix == ".py":
                remedy = "overwrite it with --force, or keep it with --no-starter"
            raise InvalidValueError(f"{file} must not exist yet; {remedy}")
        require(not file.is_dir(), "PATH", "a file", f"the folder {file}", "name a file in it")
