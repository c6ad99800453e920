"""What a user can cause, named: every such error tells what, where, and what to do.

A message reads "`<name>` must be `<condition>` but got `<value>`; `<remedy>`." The command line
prints it without a traceback and leaves with the class's exit code.
"""

import warnings


class TunecliError(Exception):
    """An error that a user caused and can mend."""

    exit_code = 1


class InvalidValueError(TunecliError, ValueError):
    """A number or a name outside what a function, an option or a recipe allows."""

    exit_code = 2


class RecipeError(TunecliError):
    """A recipe that cannot be read or is not valid; the message has file, line and key."""

    exit_code = 3


class RunError(TunecliError):
    """A run folder that cannot be made, locked, read or written."""


class InterruptedRunError(TunecliError):
    """The run was asked to stop (SIGINT or SIGTERM) and can be resumed."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


def require(holds: bool, name: str, condition: str, value: object, remedy: str = "") -> None:
    """Raise `InvalidValueError` in the one form that every message has, unless `holds`.

    >>> require(False, "momentum", "in [0, 1)", 1.2, "0.9 is a common choice")
    Traceback (most recent call last):
    ...
    tunecli.errors.InvalidValueError: momentum must be in [0, 1) but got 1.2; 0.9 is a common choice
    """
    if not holds:
        tail = f"; {remedy}" if remedy else ""
        raise InvalidValueError(f"{name} must be {condition} but got {value}{tail}")


_warned: set[str] = set()


def warn_once(reason: str, message: str, *, stacklevel: int = 2) -> None:
    """Warn, once in the life of this process for a reason.

    Python's own "once per line" forgets whenever a library touches the warning filters, and a
    search comes past the same line in every trial.

    Args:
        reason: What it is about: the same word, the same warning.
        message: What is wrong, and what to do.
        stacklevel: As in `warnings.warn`, counted from the caller: 1 is the caller's own line.
    """
    if reason not in _warned:
        _warned.add(reason)
        warnings.warn(message, UserWarning, stacklevel=stacklevel + 1)
