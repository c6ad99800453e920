"""Questions that an option answers beforehand; without a terminal, nothing is ever waited for."""

import sys
from collections.abc import Callable, Mapping
from typing import TypeVar

import typer

from tunecli.errors import InvalidValueError

T = TypeVar("T")


def at_a_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()


class Questions:
    """Asks for what the options leave open.

    Args:
        given: What the options were given, by their names; None for those that were not.
        terminal: Whether somebody can be asked.
        defaults: Take a question's default instead of asking (`--yes`).
    """

    def __init__(self, given: Mapping[str, str | None], *, terminal: bool, defaults: bool) -> None:
        self.terminal = terminal
        self._open = {option: value for option, value in given.items() if value is not None}
        self._defaults = defaults

    def ask(
        self, option: str, question: str, check: Callable[[str], T], default: str | None = None
    ) -> T:
        """The answer to one question.

        Args:
            option: The option that answers it, `--batch-size`.
            question: What to ask.
            check: The answer as a value; raises `InvalidValueError` for one that will not do. It
                is asked again then; an option's value is refused.
            default: The usual answer; None where there is none.

        Raises:
            InvalidValueError: There is no answer and nobody to ask, or the option's will not do.
        """
        if option in self._open:
            return check(self._open.pop(option))
        if self._defaults and default is not None:
            return check(default)
        if not self.terminal:
            remedy = "" if default is None else f", or --yes for the defaults (here {default})"
            raise InvalidValueError(
                f"{option} must be given where nobody can be asked (stdin is no terminal); "
                f"add it{remedy}"
            )
        while True:
            try:
                return check(str(typer.prompt(question, default=default, err=True)).strip())
            except InvalidValueError as error:
                typer.echo(str(error), err=True)

    def require_all_used(self, what: str) -> None:
        """Refuse options that no question was about: none is taken and then ignored."""
        if self._open:
            raise InvalidValueError(
                f"{', '.join(self._open)} must not be given with {what}: nothing asks for it; "
                "leave it out"
            )


def whole_number(name: str, least: int = 1) -> Callable[[str], int]:
    """Checks for a whole number that is not too small."""

    def check(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least):
            raise InvalidValueError(f"{name} must be a whole number ≥ {least} but got {text}")
        return int(text)

    return check


def positive_number(name: str) -> Callable[[str], float]:
    """Checks for a number > 0."""

    def check(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value < 1e9:
            raise InvalidValueError(f"{name} must be a number > 0 but got {text}")
        return value

    return check


def one_of(name: str, *choices: str) -> Callable[[str], str]:
    """Checks for one of some words, or its number in the list, from 1."""

    def check(text: str) -> str:
        if text.isascii() and text.isdigit() and 1 <= int(text) <= len(choices):
            return choices[int(text) - 1]
        if text not in choices:
            raise InvalidValueError(f"{name} must be one of {', '.join(choices)} but got {text}")
        return text

    return check
