"""The part of `compare` that needs torch: imported when a run begins, not before."""

from dataclasses import asdict
from pathlib import Path

import torch

from tunecli.cli import running
from tunecli.cli.shared import messages
from tunecli.errors import InterruptedRunError, require
from tunecli.execution import Interrupt, RunFolder
from tunecli.recipe import Recipe
from tunecli.report.compare_save import save_comparison
from tunecli.report.compare_view import CompareView, comparison_summary
from tunecli.search.compare.run import Plan, run_comparison
from tunecli.training.limits import require_known


def start(
    recipe: Recipe, plan: Plan, path: Path | None, device: str | None, command: str
) -> tuple[RunFolder, torch.device]:
    """Make the folder of a new comparison, and find its device.

    Raises:
        InvalidValueError: The other optimizers have no form of the recipe's training.
    """
    algorithm = recipe.training.algorithm
    require(
        algorithm == "centralized",
        "training.algorithm",
        "centralized for `tunecli compare`",
        algorithm,
        "the other optimizers know no delay; compare a recipe without one",
    )
    require_known(recipe, "compare")
    return running.start("compare", recipe, path, device, plan=asdict(plan), command=command)


def reopen(
    path: Path, device: str | None, *, trusted: bool
) -> tuple[RunFolder, Recipe, torch.device]:
    """A comparison to go on with, its recipe, and its device unless another one is asked for."""
    return running.reopen("compare", path, device, trusted=trusted)


def compare_to_result(
    run: RunFolder,
    recipe: Recipe,
    device: torch.device,
    interrupt: Interrupt,
    *,
    workers: int | None,
    as_json: bool,
) -> int:
    """Compare in `run`, or read what is there already; show it, and return the exit code."""
    options = run.read_options()
    plan = Plan(**{**options["plan"], "methods": tuple(options["plan"]["methods"])})
    with run.locked():
        result = running.finished(run)
        if result is None:
            try:
                with CompareView(messages()) as view:
                    result = run_comparison(
                        recipe,
                        run,
                        plan,
                        device=device,
                        workers=workers,
                        command=options["command"],
                        interrupt=interrupt,
                        notify=view,
                    )
            except InterruptedRunError as stopped:
                raise running.resumable(stopped, run) from None
            save_comparison(result, run)
            running.close(run, recipe)
    return running.show_result(result, comparison_summary(result), as_json=as_json)
