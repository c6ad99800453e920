"""Which unfinished runs may go on: those that were started with their recipe's code allowed.

`--trust` is for one run, which may take more than one start. So what is remembered is the run's
folder and the recipe in it, apart from the recipes that a person has trusted: it lets `--resume`
go on in this folder, and is neither trust in the copy of the recipe nor in the recipe that it was
copied from. It is dropped when the run is finished.
"""

from pathlib import Path

from tunecli.execution.run_folder import RunFolder
from tunecli.recipe.trust_store import (
    TrustedRecipe,
    drop,
    forget,
    in_its_folder,
    remember,
    sha256,
    trusted_recipes,
)


def allow_run(run: RunFolder, text: bytes) -> None:
    """Remember that a run may go on, and forget those that are finished or not there any more.

    Args:
        run: The run; a folder that is moved asks again.
        text: The bytes of its recipe, whose code was allowed.

    Raises:
        TrustStoreError: The file of runs cannot be read or written.
    """
    drop(lambda each: not _may_matter(each), "runs")
    remember(text, run.recipe, "runs")


def is_run_allowed(run: RunFolder, text: bytes) -> bool:
    """Whether a run may go on with a recipe of these bytes, without being asked.

    Raises:
        TrustStoreError: The file of runs cannot be read.
    """
    found, place = sha256(text), in_its_folder(run.recipe)
    return any(each.sha256 == found and each.path == place for each in trusted_recipes("runs"))


def forget_run(run: RunFolder) -> None:
    """Forget a run that is finished.

    Raises:
        TrustStoreError: The file of runs cannot be read or written.
    """
    forget(run.recipe, "runs")


def allowed_runs() -> tuple[TrustedRecipe, ...]:
    """The unfinished runs that may go on, each by the path of the recipe in its folder.

    Raises:
        TrustStoreError: The file of runs cannot be read.
    """
    return tuple(filter(_may_matter, trusted_recipes("runs")))


def _may_matter(entry: TrustedRecipe) -> bool:
    run = RunFolder(entry.path.parent)
    return _is_there(run.recipe) and not _is_there(run.result)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a folder that may not be entered any more
        return False
