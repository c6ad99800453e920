"""`tunecli init`: a few questions, and a recipe that runs."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunecli.cli.asking import Questions, at_a_terminal, one_of, positive_number, whole_number
from tunecli.cli.shared import json_option, translated
from tunecli.errors import InvalidValueError, require

if TYPE_CHECKING:
    from tunecli.recipe.starter import Start

_WHAT = """What do you have?
  1 npz      arrays in a .npz file
  2 images   a folder of images, one folder per class
  3 text     text, a file or a folder
  4 python   a model and data in Python of my own
  5 script   a training script
  6 digits   nothing yet: just show me, on the digits of scikit-learn
"""


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
    model: Annotated[
        str | None, typer.Option(help="For kind python: what builds the model, as nets:build.")
    ] = None,
    command: Annotated[
        str | None,
        typer.Option(
            help="For kind script: what trains, as 'python train.py --lr {learning_rate}'; starter "
            "writes one."
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
    minimize: Annotated[
        bool, typer.Option("--minimize", help="Smaller is better, for a script's own metric.")
    ] = False,
    batch_size: Annotated[str | None, typer.Option(help="Of the first stage.")] = None,
    epochs: Annotated[
        str | None, typer.Option(help="Of one trial: passes over the training set.")
    ] = None,
    steps: Annotated[
        str | None, typer.Option(help="For kind script: updates of the first stage.")
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
    """Write a recipe for what you have: a commented file that validates and runs at once.

    Asks what the options leave open. It looks at the data that is named, so that the model fits,
    and runs nothing. Nothing is written unless the recipe is valid.

    Exit code: 0 written, 1 failed, 2 usage, 3 the recipe would not be valid.
    """
    from tunecli.recipe.starter import FRAMEWORKS, KINDS, Start

    _refuse_to_overwrite([path], force=force)
    ask = Questions(terminal=at_a_terminal(), defaults=yes).ask
    if kind is None and at_a_terminal():
        typer.echo(_WHAT, err=True)
    chosen = ask("--kind", kind, "Which one", one_of("--kind", *KINDS))
    _refuse_unused(
        chosen,
        {
            "--data": (data, ("npz", "images", "text", "python")),
            "--model": (model, ("python",)),
            "--command": (command, ("script",)),
            "--framework": (framework, ("script",)),
            "--steps": (steps, ("script",)),
            "--epochs": (epochs, ("npz", "images", "text", "python", "digits")),
            "--minimize": (minimize or None, ("script",)),
        },
    )
    start = Start(kind=chosen, name=_name(path), batch_size=1, length=1, metric="accuracy")  # type: ignore[arg-type]
    samples: int | None = None
    if chosen in ("npz", "images", "text"):
        question = {"npz": "The .npz file", "images": "The folder", "text": "The file or folder"}
        where = ask("--data", data, question[chosen], _existing)
        start, samples = _look(replace(start, path=_as_seen_from(path, where)), where)
    elif chosen == "digits":
        start, samples = _look(start, None)
    elif chosen == "python":
        built = ask(
            "--model", model, "What builds the model", _import_path("--model"), "nets:build"
        )
        loaded = ask("--data", data, "What loads the data", _loader, "nets:load")
        start = replace(start, model=built, data=loaded)
    else:
        trains = ask("--command", command, "What trains (starter writes one)", str, "starter")
        if trains == "starter":
            used = ask(
                "--framework",
                framework,
                "Starter for pytorch, lightning or transformers",
                one_of("--framework", *FRAMEWORKS),
                "pytorch",
            )
            start = replace(start, framework=used)  # type: ignore[arg-type]
        else:
            start = replace(start, command=_words(trains))
    own = chosen == "script"
    usual = "loss" if start.numbers or chosen == "text" else "accuracy"
    known = _metric if own else one_of("--metric", "loss" if start.numbers else "accuracy", "loss")
    start = replace(
        start,
        metric=ask("--metric", metric, "What to compare, accuracy or loss", known, usual),
        minimize=minimize,
        batch_size=ask(
            "--batch-size",
            batch_size,
            "Batch size of the first stage",
            whole_number("--batch-size"),
            str(_usual_batch(samples, own=own)),
        ),
        length=ask("--steps", steps, "Updates of the first stage", whole_number("--steps"), "200")
        if own
        else ask(
            "--epochs",
            epochs,
            "Epochs of one trial",
            positive_number("--epochs"),
            "5" if chosen == "text" else "30",
        ),
    )
    written = _write(path, start, starter=starter, force=force)
    _tell(written, start, as_json=as_json)


def _look(start: "Start", where: Path | None) -> "tuple[Start, int | None]":
    """What the data tells of itself, and how many samples there are to train on."""
    from tunecli.data.load import data_facts
    from tunecli.models.limits import most_convolutions
    from tunecli.recipe import Recipe

    section: dict[str, Any] = {"name": start.kind}
    if where is not None:
        section["path"] = str(where.absolute())
    draft = {
        "version": 1,
        "name": "draft",
        "model": {"name": "logistic"},
        "data": section,
        "schedule": {"batch_size": 1, "epochs": 1},
        "search": {"grid": [0.1, 0.2]},
    }
    facts = data_facts(Recipe.model_validate(draft).data)
    shape = facts.input_shape
    images = shape is not None and len(shape) == 3 and min(shape[1:]) >= 4
    return replace(
        start,
        input_shape=shape,
        convolutions=most_convolutions(shape) if shape is not None and images else 0,
        numbers=facts.targets == "numbers",
    ), facts.training_samples


def _write(path: Path, start: "Start", *, starter: bool, force: bool) -> list[Path]:
    """Write the recipe, once it is known to be valid, and what goes beside it."""
    from tunecli.execution.files import write_text
    from tunecli.recipe import load_recipe
    from tunecli.recipe.starter import recipe_text, starter_texts
    from tunecli.training.feasible import problems

    text = recipe_text(start)
    load_recipe(path, problems=problems, content=text.encode())
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


def _refuse_unused(kind: str, given: dict[str, tuple[object, tuple[str, ...]]]) -> None:
    """No option is taken and then ignored."""
    for option, (value, kinds) in given.items():
        if value is not None and kind not in kinds:
            raise InvalidValueError(
                f"{option} must not be given with --kind {kind}; it is for {', '.join(kinds)}"
            )


def _name(path: Path) -> str:
    """The file's stem as a recipe's name."""
    stem = re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower()).strip("-._")
    return stem[:100] or "recipe"


def _existing(text: str) -> Path:
    path = Path(text).expanduser()
    require(path.exists(), "--data", "a file or a folder that exists", text or "nothing")
    require(str(path).isprintable(), "--data", "a path of printable characters", repr(text))
    return path


def _as_seen_from(recipe: Path, data: Path) -> str:
    """The data's path as the recipe has it: relative where it lies below the recipe."""
    folder, place = recipe.parent.absolute(), data.absolute()
    return str(place.relative_to(folder) if place.is_relative_to(folder) else place)


def _import_path(option: str) -> "Any":
    def check(text: str) -> str:
        require(
            re.fullmatch(r"[^:\s]+:[^:\s]+", text) is not None,
            option,
            "module:attribute or file.py:attribute",
            text or "nothing",
            "for example nets:build",
        )
        return text

    return check


def _loader(text: str) -> str:
    return text if text == "digits" else str(_import_path("--data")(text))


def _words(command: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise InvalidValueError(f"--command must be a command but got {command}: {error}") from None
    require(bool(words), "--command", "a command", "nothing", "for example 'python train.py'")
    return words


def _metric(text: str) -> str:
    require(
        re.fullmatch(r"[a-z][a-z0-9_]{0,39}", text) is not None,
        "--metric",
        "lower-case letters, digits and '_'",
        text or "nothing",
        "accuracy and loss are known; anything else is what your script's `value` is",
    )
    return text


def _usual_batch(samples: int | None, *, own: bool) -> int:
    """64, or less where there are few samples: at least 20 updates an epoch."""
    if own:
        return 32
    size = 64
    while samples is not None and size > 4 and size * 20 > samples:
        size //= 2
    return size
