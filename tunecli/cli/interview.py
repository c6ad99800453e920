"""The questions of `tunecli init`, and what the data answers by itself."""

import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import typer

from tunecli.cli.asking import Questions, one_of, positive_number, whole_number
from tunecli.data.facts import DataFacts
from tunecli.data.images import PictureFiles, list_images
from tunecli.data.load import data_facts
from tunecli.errors import InvalidValueError, require
from tunecli.models.limits import most_convolutions
from tunecli.recipe import Recipe
from tunecli.recipe.script import require_command
from tunecli.recipe.starter import CONTEXT, FRAMEWORKS, KINDS, Framework, Kind, Start

Ask = Callable[..., Any]

_WHAT = """What do you have?
  1 npz      arrays in a .npz file
  2 images   a folder of images, one folder per class
  3 text     text, a file or a folder
  4 python   a model and data in Python of my own
  5 script   a training script
  6 digits   nothing yet: just show me, on the digits of scikit-learn
"""


def interview(questions: Questions, path: Path) -> Start:
    """What a person has, from the options, from questions, and from a look at the data.

    Args:
        questions: Asks.
        path: Where the recipe will lie.

    Raises:
        InvalidValueError: A question has no answer, an answer will not do, an option answers none,
            or the data cannot be read.
    """
    ask = questions.ask
    if questions.terminal:
        typer.echo(_WHAT, err=True)
    kind = cast("Kind", ask("--kind", "Which one", one_of("--kind", *KINDS)))
    start = Start(kind=kind, name=_name(path), batch_size=64, length=30, metric="accuracy")
    if kind == "script":
        start = _of_a_script(start, ask)
    elif kind == "python":
        built = ask("--model", "What builds the model", _import_path("--model"), "nets:build")
        loaded = ask("--data", "What loads the data", _loader, "nets:load")
        start = replace(start, model=built, data=loaded)
    else:
        start = _of_data(start, ask, path)
    size = ask(
        "--batch-size",
        "Batch size of the first stage",
        whole_number("--batch-size"),
        str(_usual_batch(start.samples)),
    )
    start = replace(start, batch_size=size)
    if start.in_steps:
        length: float = ask("--steps", "Updates of the first stage", whole_number("--steps"), "200")
    else:
        usual = "5" if kind == "text" else "30"
        length = ask("--epochs", "Epochs of one trial", positive_number("--epochs"), usual)
    questions.require_all_used(f"--kind {kind}")
    return replace(start, length=length)


def _of_a_script(start: Start, ask: Ask) -> Start:
    example = "python train.py --lr {learning_rate}"
    command = ask("--command", f"What trains, as {example} (starter: write one)", _words, "starter")
    if command == ("starter",):
        choice = one_of("--framework", *FRAMEWORKS)
        question = f"Which starter, {', '.join(FRAMEWORKS)}"
        framework = cast("Framework", ask("--framework", question, choice, "pytorch"))
        return replace(start, framework=framework)
    samples = ask(
        "--samples",
        "Samples that it trains on (0: not known)",
        whole_number("--samples", 0),
        "0",
    )
    start = replace(start, command=command, samples=samples or None)
    metric = ask("--metric", "What its `value` is: accuracy, loss, …", _metric, "accuracy")
    if metric in ("accuracy", "loss"):
        return replace(start, metric=metric)
    better = ask("--better", "Which is better", one_of("--better", "larger", "smaller"), "larger")
    return replace(start, metric=metric, minimize=better == "smaller")


def _of_data(start: Start, ask: Ask, path: Path) -> Start:
    where = None
    if start.kind != "digits":
        question = {"npz": "The .npz file", "images": "The folder", "text": "The file or folder"}
        where = ask("--data", question[start.kind], _existing)
        start = replace(start, path=_as_seen_from(path, where))
    facts = _look(start.kind, where)
    shape, numbers = facts.input_shape, facts.targets == "numbers"
    is_image = shape is not None and len(shape) == 3
    known = ("loss",) if numbers else ("accuracy", "loss")
    return replace(
        start,
        samples=facts.training_samples,
        input_shape=shape,
        convolutions=max(0, most_convolutions(shape)) if shape is not None and is_image else 0,
        numbers=numbers,
        metric=ask(
            "--metric",
            f"What to compare, {' or '.join(known)}",
            one_of("--metric", *known),
            "loss" if numbers or start.kind == "text" else "accuracy",
        ),
    )


def _look(kind: Kind, where: Path | None) -> DataFacts:
    """What the data tells of itself: sizes, shapes, and whether targets are classes."""
    section: dict[str, Any] = {"name": kind}
    if where is not None:
        section["path"] = str(where.absolute())
    if kind == "text":
        section["context"] = CONTEXT
    if kind == "images":
        section |= _of_a_picture(_data_section(section))
    return data_facts(_data_section(section))


def _data_section(section: dict[str, Any]) -> Any:
    """A recipe's `data`, of a recipe that is made for it."""
    draft = {
        "version": 1,
        "name": "draft",
        "model": {"name": "logistic"},
        "data": section,
        "schedule": {"batch_size": 1, "epochs": 1},
        "search": {"grid": [0.1, 0.2]},
    }
    return Recipe.model_validate(draft).data


def _of_a_picture(data: Any) -> dict[str, int]:
    """Size and colours that fit the first picture of the folder, and at most 64 × 64."""
    picture, _ = PictureFiles(list_images(data).lot)[0]
    grey = picture.mode in ("1", "L", "I", "I;16", "F")
    return {"image_size": min(*picture.size, 64), "channels": 1 if grey else 3}


def _name(path: Path) -> str:
    """A recipe's name: of its file, or of its folder where the file is `recipe.yaml`."""
    stem = path.absolute().parent.name if path.stem == "recipe" else path.stem
    name = re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("-._")
    return name[:100] or "recipe"


def _existing(text: str) -> Path:
    path = Path(text).expanduser()
    require(path.exists(), "--data", "a file or a folder that exists", text or "nothing")
    require(str(path).isprintable(), "--data", "a path of printable characters", repr(text))
    return path


def _as_seen_from(recipe: Path, data: Path) -> str:
    """The data's path as the recipe has it: relative where it lies below the recipe."""
    folder, place = recipe.parent.absolute(), data.absolute()
    return str(place.relative_to(folder) if place.is_relative_to(folder) else place)


def _import_path(option: str) -> Callable[[str], str]:
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
    return text if text == "digits" else _import_path("--data")(text)


def _words(command: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise InvalidValueError(f"--command must be a command but got {command}: {error}") from None
    require(bool(words), "--command", "a command", "nothing", "for example 'python train.py'")
    return require_command(words, "--command")


def _metric(text: str) -> str:
    require(
        re.fullmatch(r"[a-z][a-z0-9_]{0,39}", text) is not None,
        "--metric",
        "lower-case letters, digits and '_'",
        text or "nothing",
        "accuracy and loss are known; anything else is what your script's `value` is",
    )
    return text


def _usual_batch(samples: int | None) -> int:
    """64, or less where there are few samples: at least 10 updates an epoch."""
    size = 64
    while samples is not None and size > 4 and size * 10 > samples:
        size //= 2
    return size
