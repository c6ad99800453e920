"""Questions that an option answers beforehand; without a terminal, nothing is ever waited for."""

import sys
from collections.abc import Callable, Mapping
from typing import TypeVar

import typer

from tunecli.errors import InvalidValueError

T = TypeVar("T")
Check = Callable[[str, str], T]  # an answer, and what a message calls it → its value


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

    def has(self, option: str) -> bool:
        """Whether an option was given, and no question was about it yet."""
        return option in self._open

    def ask(self, option: str, question: str, check: Check[T], default: str | None = None) -> T:
        """The answer to one question.

        Args:
            option: The option that answers it, `--batch-size`.
            question: What to ask.
            check: The answer as a value, from its text and from what a message calls it: the
                option, or the answer of somebody who was asked. It raises `InvalidValueError` for
                one that will not do. It is asked again then; an option's value is refused.
            default: The usual answer; None where there is none.

        Raises:
            InvalidValueError: There is no answer and nobody to ask, or the option's will not do.
        """
        if option in self._open:
            return check(self._open.pop(option), option)
        if self._defaults and default is not None:
            return check(default, option)
        if not self.terminal:
            remedy = "" if default is None else f", or --yes for the defaults (here {default})"
            raise InvalidValueError(
                f"{option} must be given where nobody can be asked (stdin is no terminal); "
                f"add it{remedy}"
            )
        while True:
            text = str(typer.prompt(question, default=default, err=True)).strip()
            try:
                return check(text, "the answer")
            except InvalidValueError as error:
                typer.echo(str(error), err=True)

    def refuse(self, wanted: Callable[[str], bool], belongs: Mapping[str, str]) -> None:
        """Refuse options that no question is about: none is taken and then ignored.

        Args:
            wanted: Whether a question is about an option, or may be yet.
            belongs: What each option belongs to.
        """
        for option in self._open:
            if not wanted(option):
                raise InvalidValueError(f"{option} belongs to {belongs[option]}; leave it out")


def whole_number(least: int = 1, most: int = 10**9) -> Check[int]:
    """Checks for a whole number that is neither too small nor too large."""

    def check(text: str, name: str) -> int:
        digits = text.isascii() and text.isdigit()
        if not (digits and len(text) < 20 and least <= int(text) <= most):
            raise InvalidValueError(
                f"{name} must be a whole number ≥ {least} and ≤ {most} but got {text or 'nothing'}"
            )
        return int(text)

    return check


def positive_number(text: str, name: str) -> float:
    """Checks for a number > 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1e9:
        raise InvalidValueError(
            f"{name} must be a number > 0 and ≤ 1000000000 but got {text or 'nothing'}"
        )
    return value


def one_of(*choices: str) -> Check[str]:
    """Checks for one of some words, or its number in the list, from 1."""

    def check(text: str, name: str) -> str:
        if text.isascii() and text.isdigit() and 1 <= int(text) <= len(choices):
            return choices[int(text) - 1]
        if text not in choices:
            raise InvalidValueError(f"{name} must be one of {', '.join(choices)} but got {text}")
        return text

    return check
