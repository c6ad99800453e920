"""The part of `compare` that needs torch: imported when a run begins, not before."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import typer

from tunecli.cli import running
from tunecli.cli.shared import messages, show
from tunecli.errors import InterruptedRunError
from tunecli.execution import Interrupt, RunFolder, read_json
from tunecli.recipe import Recipe, load_recipe
from tunecli.report.compare_save import save_comparison
from tunecli.report.compare_view import CompareView, comparison_summary
from tunecli.search.compare.run import Plan, run_comparison


def start(
    recipe: Recipe, plan: Plan, path: Path | None, device: str | None, command: str
) -> tuple[RunFolder, torch.device]:
    """Make the folder of a new comparison, and find its device."""
    return running.start("compare", recipe, path, device, plan=asdict(plan), command=command)


def reopen(path: Path, device: str | None) -> tuple[RunFolder, torch.device]:
    """A comparison to go on with, and its device unless another one is asked for."""
    return running.reopen("compare", path, device)


def compare_to_result(
    run: RunFolder,
    device: torch.device,
    interrupt: Interrupt,
    *,
    workers: int | None,
    as_json: bool,
) -> int:
    """Compare in `run`, or read what is there already; show it, and return the exit code."""
    recipe, options = load_recipe(run.recipe), run.read_options()
    plan = Plan(**{**options["plan"], "methods": tuple(options["plan"]["methods"])})
    with run.locked():
        result = _finished(run)
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
                raise InterruptedRunError(
                    f"stopped; go on with: {run.resume_command}", stopped.exit_code - 128
                ) from None
            save_comparison(result, run)
    if as_json:
        typer.echo(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        show(comparison_summary(result))
        typer.echo(f"\nFiles in {result['run']}")
    return int(result["exit_code"])


def _finished(run: RunFolder) -> dict[str, Any] | None:
    if not run.result.exists():
        return None
    messages().print(
        f"{run.path} is finished already; this is its result",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )
    result: dict[str, Any] = read_json(run.result)
    return {**result, "run": str(run.path)}  # it may have been moved since
