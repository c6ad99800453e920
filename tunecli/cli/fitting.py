"""Whether an answer to `tunecli init` makes a recipe that can be used, told when it is given."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from tunecli.cli.asking import Check
from tunecli.errors import InvalidValueError, RecipeError
from tunecli.recipe import Recipe, derive_schedule, load_recipe
from tunecli.recipe.document import KeyPath
from tunecli.recipe.starter import Start, recipe_text

T = TypeVar("T")
_Problems = Callable[[Recipe], Iterable[tuple[KeyPath, str]]]

# How the sentences begin that are about an answer; those about others are told at theirs.
_ABOUT = {
    "--data": r"(the )?data\b|model\b|loss\b",
    "--model": r"model\.import",
    "--metric": r"metrics\b|search\.metric",
    "--batch-size": r"batch_size|schedule\.batch_size",
    "--epochs": "",  # the last question: whatever is left
    "--steps": "",
}
_SUBJECT = re.compile(
    r"(schedule\.)?(batch_size|epochs|steps)\b(?! of)|(model|data)\.import|search\.metric"
)


def fitting(option: str, check: Check[T], start: Callable[[T], Start], path: Path) -> Check[T]:
    """A check that refuses what would not make a valid recipe, too.

    Args:
        option: Which answer it is.
        check: Makes a value of it.
        start: What is known with that value.
        path: Where the recipe will lie.
    """

    def checked(text: str, name: str) -> T:
        value = check(text, name)
        require_fit(option, start(value), path, name)
        return value

    return checked


def require_fit(
    option: str, start: Start, path: Path, name: str, *, problems: _Problems | None = None
) -> None:
    """Raise unless what is known makes a valid recipe, as far as one answer goes.

    Args:
        option: Which answer it is.
        start: What is known.
        path: Where the recipe will lie.
        name: What a message calls the answer.
        problems: What else to look at; by default whether the schedule can be derived.
    """
    for sentence in _sentences(start, path, problems or _of_schedule(start)):
        if re.match(_ABOUT[option], sentence):
            raise InvalidValueError(named(sentence, name))


def named(sentence: str, name: str) -> str:
    """A sentence about a key of a recipe as one about an answer.

    >>> named("epochs must be ≥ 0.2 but got 0.1; give a smaller batch_size", "--epochs")
    '--epochs must be ≥ 0.2 but got 0.1; give a smaller batch size'
    >>> named("batch_size of stage 3 must be ≥ 1 but got 0.2; use fewer stages", "--batch-size")
    '--batch-size will not do: batch size of stage 3 must be ≥ 1 but got 0.2; use fewer stages'
    """
    match = _SUBJECT.match(sentence)
    if match is not None:
        sentence = name + sentence[match.end() :]
    elif "data.path" in sentence:
        sentence = sentence.replace("data.path", name)
    else:
        sentence = f"{name} will not do: {sentence}"
    return sentence.replace("batch_size", "batch size").replace("batch_decay", "batch decay")


def _sentences(start: Start, path: Path, problems: _Problems) -> list[str]:
    """What is wrong with the recipe, without the lines of a file that nobody has."""
    found: list[str] = []

    def collect(recipe: Recipe) -> tuple[()]:
        found.extend(sentence for _, sentence in problems(recipe))
        return ()

    try:
        load_recipe(path, problems=collect, content=recipe_text(start).encode())
    except RecipeError as error:
        place = re.compile(rf"^{re.escape(str(path))}:[\d:]+ ", flags=re.MULTILINE)
        return place.sub("", str(error)).splitlines()
    return found


def _of_schedule(start: Start) -> _Problems:
    """Whether the schedule can be derived; the data have been looked at before."""

    def problems(recipe: Recipe) -> Iterable[tuple[KeyPath, str]]:
        section, samples = recipe.schedule, start.samples
        if samples is not None and section.batch_size > samples:
            sentence = f"≤ {samples}, the size of the training set, but got {section.batch_size}"
            yield (), f"batch_size must be {sentence}; lower it"
        if section.epochs is not None and samples is None:
            return  # only the loading would tell
        try:
            derive_schedule(section, recipe.search.learning_rates[0], samples)
        except InvalidValueError as error:
            yield (), str(error)

    return problems
