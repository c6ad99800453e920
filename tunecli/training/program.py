"""Whether the program that a `command` names is there: a run with its own recipe cannot mend it."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from tunecli.recipe import Recipe
from tunecli.training.limits import Problem


def missing_program(recipe: Recipe) -> Iterator[Problem]:
    """Whether the program of a command, and the script that a Python is given, are there.

    What holds a placeholder is known only when it runs.
    """
    assert recipe.command is not None
    assert recipe.script is not None
    folder = Path(recipe.script.folder) if recipe.script.folder else Path.cwd()
    if not folder.is_dir():
        sentence = f"script.folder must be a folder but got {folder}; make it, or name another one"
        yield ("script", "folder"), sentence
        return
    program, *arguments = recipe.command
    if "{" not in program:
        if "/" in program and not (folder / program).exists():
            sentence = f"command[0] must be a program but there is no {folder / program}; mend it"
            yield ("command", 0), sentence
        elif "/" not in program and shutil.which(program) is None:
            sentence = (
                f"command[0] must be a program on PATH but {program} is not; write its whole path"
                + (', or "{python}": the one that tunecli runs with' if _is_python(program) else "")
            )
            yield ("command", 0), sentence
    if not _is_python(program):
        return
    index = next((i for i, word in enumerate(arguments, 1) if not word.startswith("-")), 0)
    script = recipe.command[index]
    options = recipe.command[1:index]
    if not index or "{" in script or not script.endswith(".py") or {"-m", "-c"} & set(options):
        return
    if not (folder / script).is_file():
        sentence = (
            f"command[{index}] must be a script but there is no {folder / script}; mend it, or "
            "script.folder"
        )
        yield ("command", index), sentence


def _is_python(program: str) -> bool:
    return program == "{python}" or re.fullmatch(r"python[\d.]*", Path(program).name) is not None
