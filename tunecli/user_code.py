"""Importing and calling a person's own code, with errors that say where it went wrong.

Nothing here asks whether the code may run: whoever starts a run asks that first
(`recipe.trust`).
"""

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from tunecli.errors import InvalidValueError, TunecliError


class UserCodeError(TunecliError):
    """A person's own code raised an error; the message names its file and line."""


class Import(Protocol):
    """What to import, from where, and how to call it: the recipe's `ImportSection`."""

    @property
    def import_(self) -> str | None:
        """`package.module:attribute` or `file.py:attribute`."""

    @property
    def folder(self) -> str | None:
        """Where it is found, beside what is installed."""

    @property
    def args(self) -> dict[str, Any]:
        """Keyword arguments of the call."""


def build_from(what: str, section: Import, *positional: Any, **more: Any) -> Any:
    """Call what an import section names, and return what it returns.

    Args:
        what: The section's key, for messages: `model`, `metrics.f1`.
        section: What to call; its `args` are the keyword arguments.
        *positional: Arguments before those.
        **more: Keyword arguments that `args` may replace.

    Raises:
        InvalidValueError: There is no such module or attribute, or it cannot be called.
        UserCodeError: It raised an error.
    """
    factory = _attribute(what, section)
    try:
        return factory(*positional, **{**more, **section.args})
    except Exception as error:
        raise failed(what, error) from error


def failed(what: str, error: BaseException) -> UserCodeError:
    """An error of a person's own code, with the place that a person looks for.

    Args:
        what: What was called: `model`, or a sentence's subject.
        error: What it raised.
    """
    frames = traceback.extract_tb(error.__traceback__)
    ours = Path(__file__).parent
    theirs = [frame for frame in frames if not Path(frame.filename).is_relative_to(ours)]
    at = f" at {theirs[-1].filename}:{theirs[-1].lineno}" if theirs else ""
    return UserCodeError(
        f"{what} raised {type(error).__name__}: {error}{at}; mend it, and run again"
    )


def _attribute(what: str, section: Import) -> Any:
    path = section.import_
    assert path is not None
    name, _, attribute = path.partition(":")
    found: Any = _module(what, name, section.folder)
    for part in attribute.split("."):
        if not hasattr(found, part):
            has = ", ".join(each for each in vars(found) if not each.startswith("_"))
            raise InvalidValueError(
                f"{what}.import must name something in {name} but got {attribute}; it has: "
                f"{has or 'nothing'}"
            )
        found = getattr(found, part)
    if not callable(found):
        raise InvalidValueError(
            f"{what}.import must name a function or a class but got {path}, a "
            f"{type(found).__name__}; name what builds it"
        )
    return found


def _module(what: str, name: str, folder: str | None) -> ModuleType:
    """A module by its dotted name, or by its file; its folder stays on the path for its imports."""
    wanted: Path | None = None
    if name.endswith(".py"):
        wanted = (Path(folder or ".") / name).resolve()
        folder, name = str(wanted.parent), wanted.stem
        if not wanted.is_file():
            raise InvalidValueError(f"{what}.import: there is no file {wanted}; check the path")
        if not name.isidentifier():
            raise InvalidValueError(
                f"{what}.import must name a file that Python can import but got {wanted.name}; "
                "rename it to letters, digits and '_'"
            )
    if folder is not None and folder not in sys.path:
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise failed(f"{what}.import", error) from error  # a module that theirs imports
        raise InvalidValueError(
            f"{what}.import must name a module that can be imported but got {name}, which is "
            f"neither installed nor in {folder or Path.cwd()}; set {what}.folder to where it is"
        ) from error
    except Exception as error:
        raise failed(f"{what}.import", error) from error
    found = getattr(module, "__file__", None)
    if wanted is not None and (found is None or Path(found).resolve() != wanted):
        raise InvalidValueError(
            f"{what}.import: {wanted.name} cannot be imported because another module is called "
            f"{name} ({found or 'built in'}); rename the file"
        )
    return module
