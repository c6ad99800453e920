"""Questions that an option answers beforehand; without a terminal, nothing is ever waited for."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import typer

from tunecli.errors import InvalidValueError

T = TypeVar("T")


def at_a_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()


@dataclass(frozen=True)
class Questions:
    """Asks for what the options leave open.

    Args:
        terminal: Whether somebody can be asked.
        defaults: Take a question's default instead of asking (`--yes`).
    """

    terminal: bool
    defaults: bool

    def ask(
        self,
        option: str,
        given: str | None,
        question: str,
        check: Callable[[str], T],
        default: str | None = None,
    ) -> T:
        """The answer to one question.

        Args:
            option: The option that answers it, `--batch-size`.
            given: What that option was given.
            question: What to ask.
            check: The answer as a value; raises `InvalidValueError` for one that will not do. It
                is asked again then; an option's value is refused.
            default: The usual answer; None where there is none.

        Raises:
            InvalidValueError: There is no answer and nobody to ask, or the option's will not do.
        """
        if given is not None:
            return check(given)
        if self.defaults and default is not None:
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


def whole_number(name: str) -> Callable[[str], int]:
    """Checks for a whole number ≥ 1."""

    def check(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= 1):
            raise InvalidValueError(f"{name} must be a whole number ≥ 1 but got {text}")
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
