"""The questions of `tunecli init`, and what the data answers by itself."""

import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import typer

from tunecli.cli.asking import Check, Questions, one_of, positive_number, whole_number
from tunecli.cli.fitting import fitting, require_fit
from tunecli.cli.text_files import binary_files, usual_pattern
from tunecli.data.facts import DataFacts
from tunecli.data.images import PictureFiles, list_images
from tunecli.data.load import data_facts
from tunecli.errors import InvalidValueError, require
from tunecli.models.limits import most_convolutions
from tunecli.recipe import Recipe
from tunecli.recipe.script import require_command
from tunecli.recipe.starter import (
    BUILD,
    CONTEXT,
    FRAMEWORKS,
    KINDS,
    LOAD,
    STARTER_SAMPLES,
    Framework,
    Kind,
    Start,
)
from tunecli.training.feasible import problems

Ask = Callable[..., Any]

_KINDS_OF: dict[str, tuple[Kind, ...]] = {
    "--data": ("npz", "images", "text", "python"),
    "--pattern": ("text",),
    "--model": ("python",),
    "--command": ("script",),
    "--framework": ("script",),
    "--samples": ("script",),
    "--better": ("script",),
    "--steps": ("script",),
    "--metric": ("npz", "images", "text", "digits", "script"),
}
_BELONGS = {
    "--data": "the kinds npz, images, text and python",
    "--pattern": "the kind text with a folder",
    "--model": "the kind python",
    "--command": "the kind script",
    "--framework": "the kind script with the starter as --command",
    "--samples": "the kind script with a --command of your own",
    "--better": "the kind script with a --metric of its own",
    "--steps": "the kind script with a --command of your own and unknown --samples",
    "--epochs": "everything but a script with unknown --samples, which takes --steps",
    "--metric": "all kinds but python and the starter of a script, whose recipes have theirs",
}

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
    if questions.terminal and not questions.has("--kind"):
        typer.echo(_WHAT, err=True)
    kind = cast("Kind", ask("--kind", "Which one", one_of(*KINDS)))
    questions.refuse(lambda option: kind in _KINDS_OF.get(option, KINDS), _BELONGS)
    start = Start(kind=kind, name=_name(path), batch_size=64, length=30, metric="accuracy")
    if kind == "script":
        start = _of_a_script(start, ask, path)
    elif kind == "python":
        start = _of_ones_own(start, ask, path)
    else:
        start = _of_data(start, questions, path)
    size = ask(
        "--batch-size",
        "Batch size of the first stage",
        fitting("--batch-size", whole_number(), lambda size: replace(start, batch_size=size), path),
        str(_usual_batch(start.samples)),
    )
    start = replace(start, batch_size=size)
    length = _length(start, ask, path)
    questions.refuse(lambda _: False, _BELONGS)
    return replace(start, length=length)


def _length(start: Start, ask: Ask, path: Path) -> float:
    """Of the training, in what it is counted in."""
    option, question, usual = "--epochs", "Epochs of one trial", "30"
    check: Check[float] = positive_number
    if start.in_steps:
        option, question, usual = "--steps", "Updates of the first stage", "200"
        check = whole_number()
    elif start.kind == "text":
        usual = "5"
    fit = fitting(option, check, lambda length: replace(start, length=length), path)
    length: float = ask(option, question, fit, usual)
    return length


def _of_ones_own(start: Start, ask: Ask, path: Path) -> Start:
    model = fitting("--model", _import_path, lambda name: replace(start, model=name), path)
    start = replace(start, model=ask("--model", "What builds the model", model, BUILD))
    data = fitting("--data", _loader, lambda name: replace(start, data=name), path)
    start = replace(start, data=ask("--data", "What loads the data", data, LOAD))
    if start.data == LOAD:
        return replace(start, samples=STARTER_SAMPLES)
    return (
        replace(start, samples=_look("digits", None).training_samples)
        if (start.data == "digits")
        else start
    )


def _of_a_script(start: Start, ask: Ask, path: Path) -> Start:
    example = "python train.py --lr {learning_rate}"
    command = ask("--command", f"What trains, as {example} (starter: write one)", _words, "starter")
    if command == ("starter",):
        choice = one_of(*FRAMEWORKS)
        question = f"Which starter, {', '.join(FRAMEWORKS)}"
        framework = cast("Framework", ask("--framework", question, choice, "pytorch"))
        return replace(start, framework=framework, samples=STARTER_SAMPLES)
    samples = ask("--samples", "Samples that it trains on (0: not known)", whole_number(0), "0")
    start = replace(start, command=command, samples=samples or None)
    check = fitting("--metric", _metric, lambda name: replace(start, metric=name), path)
    metric = ask("--metric", "What its `value` is: accuracy, loss, …", check, "accuracy")
    if metric in ("accuracy", "loss"):
        return replace(start, metric=metric)
    better = ask("--better", "Which is better", one_of("larger", "smaller"), "larger")
    return replace(start, metric=metric, minimize=better == "smaller")


def _of_data(start: Start, questions: Questions, path: Path) -> Start:
    ask = questions.ask
    if start.kind == "digits":
        start = _seen(start, None, path, "--kind")
    else:
        asked = {"npz": "The .npz file", "images": "The folder", "text": "The file or folder"}

        def check(text: str, name: str) -> tuple[Start, Path]:
            where = _existing(text, name)
            if start.kind == "text":
                if not where.is_dir():
                    _require_text(where, None, name)
                elif binary_files(where):
                    return start, where  # which of the files is asked next
            return _seen(start, where, path, name), where

        start, where = ask("--data", asked[start.kind], check)
        if (
            start.kind == "text"
            and where.is_dir()
            and (start.path is None or questions.has("--pattern"))
        ):
            start = _some_of(start, where, ask, path)
    known = ("loss",) if start.numbers else ("accuracy", "loss")
    usual = "loss" if start.numbers or start.kind == "text" else "accuracy"
    metric = ask("--metric", f"What to compare, {' or '.join(known)}", one_of(*known), usual)
    return replace(start, metric=metric)


def _some_of(start: Start, where: Path, ask: Ask, path: Path) -> Start:
    """A folder of which not every file is text, or not every one is wanted."""

    def check(text: str, name: str) -> Start:
        _require_text(where, text, name)
        return _seen(replace(start, pattern=text), where, path, name)

    found: Start = ask(
        "--pattern", "Which files are text, as **/*.txt", check, usual_pattern(where)
    )
    return found


def _require_text(where: Path, pattern: str | None, name: str) -> None:
    """Refuse what is no text: its bytes could be learned, but nobody means that."""
    binary = binary_files(where, pattern)
    if binary:
        got = "is" if binary[0] == where else f"has {binary[0].relative_to(where)}, which is"
        raise InvalidValueError(
            f"{name} must lead to text alone but {where} {got} binary (it has NUL bytes); arrays "
            "and pictures are the kinds npz and images"
        )


def _seen(start: Start, where: Path | None, path: Path, name: str) -> Start:
    """What is known of the data, once they have been looked at.

    Raises:
        InvalidValueError: They cannot be read, or no model fits them; called `name`.
    """
    try:
        facts = _look(start.kind, where, start.pattern)
    except InvalidValueError as error:
        raise InvalidValueError(str(error).replace("data.path", name)) from error
    shape, numbers = facts.input_shape, facts.targets == "numbers"
    is_image = shape is not None and len(shape) == 3
    start = replace(
        start,
        path=None if where is None else _as_seen_from(path, where),
        samples=facts.training_samples,
        input_shape=shape,
        convolutions=max(0, most_convolutions(shape)) if shape is not None and is_image else 0,
        numbers=numbers,
    )
    require_fit("--data", start, path, name, problems=problems)
    return start


def _look(kind: Kind, where: Path | None, pattern: str | None = None) -> DataFacts:
    """What the data tells of itself: sizes, shapes, and whether targets are classes."""
    section: dict[str, Any] = {"name": kind}
    if where is not None:
        section["path"] = str(where.absolute())
    if pattern is not None:
        section["pattern"] = pattern
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


def _existing(text: str, name: str) -> Path:
    path = Path(text).expanduser()
    require(bool(text) and path.exists(), name, "a file or a folder that exists", text or "nothing")
    require(str(path).isprintable(), name, "a path of printable characters", repr(text))
    return path


def _as_seen_from(recipe: Path, data: Path) -> str:
    """The data's path as the recipe has it: relative where it lies below the recipe."""
    folder, place = recipe.parent.absolute(), data.absolute()
    return str(place.relative_to(folder) if place.is_relative_to(folder) else place)


def _import_path(text: str, name: str) -> str:
    require(
        re.fullmatch(r"[^:\s]+:[^:\s]+", text) is not None,
        name,
        "module:attribute or file.py:attribute",
        text or "nothing",
        "for example nets:build",
    )
    return text


def _loader(text: str, name: str) -> str:
    return text if text == "digits" else _import_path(text, name)


def _words(command: str, name: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise InvalidValueError(f"{name} must be a command but got {command}: {error}") from None
    require(bool(words), name, "a command", "nothing", "for example 'python train.py'")
    return require_command(words, name)


def _metric(text: str, name: str) -> str:
    require(
        re.fullmatch(r"[a-z][a-z0-9_]{0,39}", text) is not None,
        name,
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
