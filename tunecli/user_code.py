"""Importing and calling a person's own code, with errors that say where it went wrong.

Nothing here asks whether the code may run: whoever starts a run asks that first
(`recipe.trust`).
"""

import importlib
import importlib.machinery
import os
import random
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from tunecli.errors import InvalidValueError, TunecliError

_OURS = Path(__file__).parent
_PATHS = ("stdlib", "platstdlib", "purelib", "platlib")
_INSTALLED = tuple(Path(sysconfig.get_path(name)) for name in _PATHS)
_MOST_NAMES = 10


class UserCodeError(TunecliError):
    """A person's own code raised an error; the message names its file and line."""


class Import(Protocol):
    """What to import, from where, and how to call it: the recipe's `ImportSection`."""

    @property
    def import_(self) -> str | None:
        """`package.module:attribute` or `file.py:attribute`."""

    @property
    def folder(self) -> str | None:
        """Where it is found, beside what is installed; None: the current folder."""

    @property
    def args(self) -> dict[str, Any]:
        """Keyword arguments of the call."""


def build_from(what: str, section: Import, *positional: Any, **more: Any) -> Any:
    """Call what an import section names, and return what it returns.

    Args:
        what: The section's key, for messages: `model`, `metrics.f1`.
        section: What to call; its `args` are the keyword arguments.
        *positional: Arguments before those.
        **more: Keyword arguments beside those of `args`.

    Raises:
        InvalidValueError: There is no such module or attribute, or it cannot be called.
        UserCodeError: It raised an error.
    """
    factory = _attribute(what, section)
    try:
        return factory(*positional, **section.args, **more)
    except (Exception, SystemExit) as error:
        if _is_out_of_memory(error):
            raise
        raise failed(what, error) from error


def failed(what: str, error: BaseException) -> UserCodeError:
    """An error of a person's own code, with the place that a person looks for.

    Args:
        what: What was called: `model`, or a sentence's subject.
        error: What it raised.
    """
    told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    place = _place(error)
    at = f" at {place}" if place else ""
    remedy = "mend it, and run again"
    if isinstance(error, SystemExit):
        remedy = 'what a script does by itself belongs under `if __name__ == "__main__":`'
    return UserCodeError(f"{what} raised {told}{at}; {remedy}")


@contextmanager
def blamed(what: str, own_code: bool) -> Iterator[None]:
    """Tell errors that are none of ours as those of the person's code that runs here.

    Args:
        what: The subject of the sentence: `the recipe's code`.
        own_code: Whether some runs; otherwise an error is a mistake of ours, and stays what it is.
    """
    try:
        yield
    except Exception as error:
        if not own_code or isinstance(error, TunecliError) or _is_out_of_memory(error):
            raise
        raise failed(what, error) from error


@contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Let what draws from Python's and numpy's global generators draw from `seed`; put them back.

    So a person's function that splits or initializes at random, with no seed of its own, does it
    the same way at every call and in every process. Torch's generator is left to the caller.

    >>> with repeatable(3):
    ...     first = random.random()
    >>> with repeatable(3):
    ...     first == random.random()
    True
    """
    import numpy as np

    python, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002  # what theirs uses
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpys)  # noqa: NPY002


def _place(error: BaseException) -> str:
    """File and line: the last ones that are neither tunecli's nor installed, if there are such."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [
        (frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    outside = [
        (name, line)
        for name, line in frames
        if not name.startswith("<") and not Path(name).is_relative_to(_OURS)
    ]
    theirs = [
        (name, line)
        for name, line in outside
        if not any(Path(name).is_relative_to(folder) for folder in _INSTALLED)
    ]
    last = (theirs or outside)[-1:]
    return "".join(f"{name}:{line}" for name, line in last)


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether it is torch's, which says nothing of the code; torch itself is not imported here."""
    return type(error).__name__ == "OutOfMemoryError"


def _attribute(what: str, section: Import) -> Any:
    path = section.import_
    assert path is not None
    name, _, attribute = path.partition(":")
    found: Any = _module(what, name, section.folder)
    for part in attribute.split("."):
        if not hasattr(found, part):
            has = [each for each in dir(found) if not each.startswith("_")]
            more = ", …" if len(has) > _MOST_NAMES else ""
            raise InvalidValueError(
                f"{what}.import must name something in {name} but got {attribute}; it has: "
                f"{', '.join(has[:_MOST_NAMES]) or 'nothing'}{more}"
            )
        found = getattr(found, part)
    if not callable(found):
        raise InvalidValueError(
            f"{what}.import must name a function or a class but got {path}, a "
            f"{type(found).__name__}; name what builds it"
        )
    return found


def _module(what: str, name: str, folder: str | None) -> ModuleType:
    """A module by its dotted name, or by its file; its folder stays on the path for its imports.

    Modules keep their names, so that what they define can be pickled and found again in a worker
    process, whose path is this one's. So there is one module of a name in a process: where the
    folder's own is hidden by another one, that is an error.
    """
    place = Path(folder or ".")
    if name.endswith(".py"):
        file = Path(os.path.abspath(place / name))  # noqa: PTH100  # keeps links
        if not file.is_file():
            raise InvalidValueError(f"{what}.import: there is no file {file}; check the path")
        place, name = file.parent, file.stem
        if not name.isidentifier():
            raise InvalidValueError(
                f"{what}.import must name a file that Python can import but got {file.name}; "
                "rename it to letters, digits and '_'"
            )
    place = place.absolute()
    if str(place) not in sys.path:
        sys.path.insert(_after_the_standard_library(), str(place))
    importlib.invalidate_caches()
    top = name.partition(".")[0]
    _require_own(what, top, place, sys.modules.get(top))
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise failed(f"{what}.import", error) from error  # a module that theirs imports
        raise InvalidValueError(
            f"{what}.import must name a module that can be imported but got {name}, which is "
            f"neither installed nor in {place}; set {what}.folder to where it is"
        ) from error
    except (Exception, SystemExit) as error:
        raise failed(f"{what}.import", error) from error
    _require_own(what, top, place, sys.modules[top])
    return module


def _after_the_standard_library() -> int:
    """Where a person's folder goes on the path: before what is installed.

    Not first: a `profile.py` in it would be taken for Python's own by whatever imports that later.
    """
    installed = (
        index
        for index, folder in enumerate(sys.path)
        if Path(folder).name in ("site-packages", "dist-packages")
    )
    return next(installed, len(sys.path))


def _require_own(what: str, name: str, place: Path, loaded: ModuleType | None) -> None:
    """Refuse another module of the name, where the folder has one."""
    spec = importlib.machinery.PathFinder.find_spec(name, [str(place)])
    if loaded is None or spec is None or not spec.has_location or spec.origin is None:
        return  # a folder without __init__.py yields to whatever is installed, as always in Python
    found = getattr(loaded, "__file__", None)
    if found is None or Path(found).resolve() != Path(spec.origin).resolve():
        raise InvalidValueError(
            f"{what}.import: {spec.origin} cannot be imported because another module is called "
            f"{name} ({found or 'built in'}); rename yours"
        )
