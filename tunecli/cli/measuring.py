"""The part of `stability` that needs torch: imported when a checkpoint is named, not before."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import typer

from tunecli.cli import running
from tunecli.cli.shared import messages, show
from tunecli.errors import InterruptedRunError, InvalidValueError
from tunecli.execution import Interrupt, RunFolder, cpu_threads, create_run, resolve_device
from tunecli.execution.minimum import measure_minimum, not_asked
from tunecli.execution.stability_plan import StabilityPlan, hash_of
from tunecli.execution.stability_run import run_stability
from tunecli.recipe import Recipe, dump_recipe, load_recipe
from tunecli.recipe.trust import require_trust
from tunecli.report.stability_save import save_stability
from tunecli.report.stability_table import checkpoint_summary, measured_summary
from tunecli.report.stability_view import StabilityView
from tunecli.training.limits import require_known


def weights_of(checkpoint: Path) -> Path:
    """The weights that a person named: by their file, or by the folder of the training.

    Raises:
        InvalidValueError: There is no such file, or no recipe beside it.
    """
    weights = checkpoint / "model.pt" if checkpoint.is_dir() else checkpoint
    remedy = "name a folder that `tunecli train` has finished, or the model.pt in it"
    if not weights.is_file():
        what = f"{weights} is not there" if checkpoint.exists() else f"{checkpoint} does not exist"
        raise InvalidValueError(f"--checkpoint: {what}; {remedy}")
    if not _recipe_of(weights).is_file():
        raise InvalidValueError(
            f"--checkpoint: {_recipe_of(weights)} is not there, which says what the weights are "
            f"of; {remedy}"
        )
    return weights.resolve()


def _recipe_of(weights: Path) -> Path:
    return weights.with_name("recipe.yaml")


def _trusted_recipe_of(weights: Path, trusted: bool) -> Recipe:
    path = _recipe_of(weights)
    recipe = load_recipe(path)
    require_known(recipe, "stability")
    require_trust(recipe, path, trusted)
    return recipe


def show_rates(
    weights: Path,
    rows: Sequence[dict[str, Any]],
    *,
    device: str | None,
    tolerance: float,
    max_iterations: int,
    trusted: bool,
    as_json: bool,
) -> None:
    """Measure the sharpness, and show the rates that the thresholds of `rows` allow."""
    recipe, target = _trusted_recipe_of(weights, trusted), resolve_device(device or "auto")
    with StabilityView(messages()) as view, cpu_threads(recipe.training.cpu_threads):
        minimum = measure_minimum(
            recipe,
            weights,
            device=target,
            tolerance=tolerance,
            max_iterations=max_iterations,
            on_progress=view.sharpness,
        )
    value, residual = minimum.sharpest.value, minimum.sharpest.residual
    rates = [
        {
            **row,
            "learning_rate": row["threshold"] / value,
            "error": row["threshold"] / value * residual / value,
        }
        for row in rows
    ]
    asked = [row["delay"] for row in rows]
    result = {
        "minimum": minimum.to_dict(str(weights)),
        "rates": rates,
        "warnings": minimum.warnings(recipe) + not_asked(recipe, asked, rows[0]["momentum_kind"]),
    }
    if as_json:
        typer.echo(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        show(checkpoint_summary(result))


def start(
    weights: Path, path: Path | None, device: str | None, *, trusted: bool, **question: Any
) -> tuple[RunFolder, Recipe, torch.device]:
    """Make the folder of a new measurement, and find its recipe and its device.

    Args:
        weights: The trained weights.
        path: The folder, where the person chose one.
        device: As asked for.
        trusted: Whether the person has said `--trust`.
        question: The rest of the `StabilityPlan`.
    """
    recipe, found = _trusted_recipe_of(weights, trusted), resolve_device(device or "auto")
    plan = StabilityPlan(checkpoint=str(weights), weights_sha256=hash_of(weights), **question)
    plan.require_memory(recipe, found)  # a delay that is refused leaves no folder behind
    options = {"device": str(found), "asked_device": device, "plan": asdict(plan)}
    name = f"stability-{recipe.name}"
    text = dump_recipe(recipe)
    run = create_run("stability", name, text, path, options)
    running.allow(run, recipe, text.encode())
    return run, recipe, found


def reopen(
    path: Path, device: str | None, *, trusted: bool
) -> tuple[RunFolder, Recipe, torch.device]:
    """A measurement to go on with, its recipe, and its device unless another one is asked for."""
    return running.reopen("stability", path, device, trusted=trusted)


def measure_to_result(
    run: RunFolder,
    recipe: Recipe,
    device: torch.device,
    interrupt: Interrupt,
    *,
    as_json: bool,
) -> int:
    """Measure in `run`, or read what is there already; show it, and return the exit code."""
    options = run.read_options()
    stored = options["plan"]
    plan = StabilityPlan(
        **{**stored, "delays": tuple(stored["delays"]), "momenta": tuple(stored["momenta"])}
    )
    with run.locked():
        result = running.finished(run)
        if result is None:
            try:
                with StabilityView(messages()) as view:
                    result = run_stability(
                        recipe,
                        run,
                        plan,
                        device=device,
                        command=_command(plan, device),
                        interrupt=interrupt,
                        watcher=view,
                    )
            except InterruptedRunError as stopped:
                raise running.resumable(stopped, run) from None
            save_stability(result, run)
            running.close(run, recipe)
    return running.show_result(result, measured_summary(result), as_json=as_json)


def _command(plan: StabilityPlan, device: torch.device) -> str:
    """What measures the same again."""
    words = ["tunecli", "stability", "--checkpoint", plan.checkpoint, "--empirical"]
    words += ["--delay", ",".join(str(delay) for delay in plan.delays)]
    if plan.momentum_kind != "none":
        words += [word for m in plan.momenta for word in ("--momentum", str(m))]
        words += ["--momentum-kind", plan.momentum_kind, "--discount", str(plan.discount)]
    words += ["--tolerance", str(plan.tolerance), "--max-iterations", str(plan.max_iterations)]
    words += ["--updates-per-delay", str(plan.updates_per_delay), "--nudge", str(plan.nudge)]
    words += ["--hold"] if plan.hold else []
    return shlex.join([*words, "--device", str(device)])
