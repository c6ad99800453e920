"""The part of `search` and `train` that needs torch: imported when a run begins, not before.

Everything from the making of the folder to the writing of the result happens under one
`Interrupt`, so that a signal at any moment ends in a sentence that says how to go on.
"""

import json
import shlex
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import typer
from rich.console import RenderableType

from tunecli.cli.shared import messages, show
from tunecli.errors import InterruptedRunError
from tunecli.execution import (
    Interrupt,
    RunFolder,
    create_run,
    open_run,
    read_json,
    resolve_device,
    write_json,
)
from tunecli.execution.run_folder import RunKind
from tunecli.execution.run_trust import allow_run, forget_run, is_run_allowed
from tunecli.execution.train_once import train_once
from tunecli.recipe import Recipe, dump_recipe, load_recipe
from tunecli.recipe.load import read_bytes
from tunecli.recipe.trust import code_of, require_trust
from tunecli.recipe.trust_store import TrustStoreError
from tunecli.report.live import SearchView
from tunecli.report.save import save_search
from tunecli.report.tables import search_summary
from tunecli.report.training_view import TrainingView, training_summary
from tunecli.search import run_search
from tunecli.training.protocol import RunnableTrial


def start(
    kind: RunKind, recipe: Recipe, path: Path | None, device: str | None, **options: object
) -> tuple[RunFolder, torch.device]:
    """Make the folder of a new run, and find its device; no mistake leaves a folder behind."""
    found = resolve_device(device or "auto")
    known = {"device": str(found), "asked_device": device, **options}
    text = dump_recipe(recipe)
    run = create_run(kind, recipe.name, text, path, known)
    allow(run, recipe, text.encode())
    return run, found


def allow(run: RunFolder, recipe: Recipe, text: bytes) -> None:
    """Let --resume go on with a run whose recipe's code was allowed.

    Args:
        run: The run.
        recipe: Its recipe.
        text: The bytes of the file that holds it.
    """
    if not code_of(recipe):
        return
    try:
        allow_run(run, text)
    except TrustStoreError as error:
        messages().print(
            f"warning: {error}; to go on with this run after a stop, add --trust",
            soft_wrap=True,
            markup=False,
            highlight=False,
        )


def reopen(
    kind: RunKind, path: Path, device: str | None, *, trusted: bool
) -> tuple[RunFolder, Recipe, torch.device]:
    """A run to go on with, its recipe, and its device unless another one is asked for.

    Raises:
        UntrustedRecipeError: It is not finished, and its recipe's code may not run.
    """
    run = open_run(path, kind)
    text = read_bytes(run.recipe)  # once: the recipe that is asked about is the one that runs
    recipe = load_recipe(run.recipe, content=text)
    if code_of(recipe) and not run.result.exists():
        if trusted:
            allow(run, recipe, text)
        elif not is_run_allowed(run, text):
            require_trust(recipe, run.recipe, trusted=False)
    started_on = str(run.read_options()["device"])
    found = resolve_device(device or started_on)
    if str(found) != started_on:
        messages().print(
            f"warning: the run was started on {started_on}; on {found} its trials are not exactly "
            "comparable",
            soft_wrap=True,
            markup=False,
            highlight=False,
        )
    return run, recipe, found


def places(run: RunFolder, device: torch.device, asked: str | None, workers: int) -> list[str]:
    """A device for each worker: all CUDA devices in turn, unless one of them was asked for."""
    asked = asked or run.read_options().get("asked_device")
    named = asked is not None and ":" in asked
    if device.type == "cuda" and not named:
        found = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    else:
        found = [str(device)]
    return [found[number % len(found)] for number in range(workers)]


def search_to_result(
    run: RunFolder,
    recipe: Recipe,
    device: torch.device,
    interrupt: Interrupt,
    workers: Sequence[str],
    *,
    as_json: bool,
) -> int:
    """Search in `run`, or read what is there already; show it, and return the exit code."""
    verify = run.read_options().get("verify", 0)
    with run.locked():
        result = finished(run)
        if result is None:
            try:
                # what a recipe's own code prints must not get between the result's lines
                with SearchView(messages()) as view, redirect_stdout(sys.stderr):
                    found = run_search(
                        recipe,
                        run,
                        device=device,
                        interrupt=interrupt,
                        notify=view,
                        workers=workers,
                        verify=verify,
                    )
            except InterruptedRunError as stopped:
                raise resumable(stopped, run) from None
            result = {**found.to_dict(), "command": _command("search", run, device)}
            save_search(result, run)
            close(run, recipe)
    return show_result(result, search_summary(result, _samples_of(result)), as_json=as_json)


def train_to_result(
    run: RunFolder,
    recipe: Recipe,
    device: torch.device,
    interrupt: Interrupt,
    *,
    as_json: bool,
) -> int:
    """Train in `run`, or read what is there already; show it, and return the exit code."""
    options = run.read_options()
    with run.locked():
        result = finished(run)
        if result is None:
            try:
                with TrainingView(messages()) as view, redirect_stdout(sys.stderr):

                    def on_progress(trial: RunnableTrial) -> None:
                        total = trial.training.total_steps
                        curve = [asdict(point) for point in trial.curve]
                        view(steps=trial.training.steps, total_steps=total, curve=curve)

                    result = train_once(
                        recipe,
                        run,
                        seed=options["seed"],
                        read_test=options["test"],
                        device=device,
                        interrupt=interrupt,
                        on_progress=on_progress,
                        on_measure=view.measuring,
                    )
            except InterruptedRunError as stopped:
                raise resumable(stopped, run) from None
            write_json(run.result, result)
            close(run, recipe)
    return show_result(result, training_summary(result, _samples_of(result)), as_json=as_json)


def _samples_of(result: dict[str, Any]) -> int | None:
    """Size of the training set, as the bill tells it."""
    spent = result["spent"]
    return round(spent["samples"] / spent["epochs"]) if spent["epochs"] else None


def finished(run: RunFolder) -> dict[str, Any] | None:
    """The result of a run that has come to its end; None otherwise."""
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


def close(run: RunFolder, recipe: Recipe) -> None:
    """Let a run's leave to go on end with the run."""
    if code_of(recipe):
        with suppress(TrustStoreError):  # the result counts for more; the next run forgets this one
            forget_run(run)


def _command(kind: str, run: RunFolder, device: torch.device) -> str:
    """What reproduces a run from its folder."""
    recipe = shlex.quote(str(run.recipe))
    verify = run.read_options().get("verify", 0)
    more = f" --verify {verify}" if verify else ""
    return f"tunecli {kind} {recipe} --device {device}{more}"


def resumable(stopped: InterruptedRunError, run: RunFolder) -> InterruptedRunError:
    """The same stop, with what to type to go on."""
    return InterruptedRunError(
        f"stopped; go on with: {run.resume_command}", stopped.exit_code - 128
    )


def show_result(result: dict[str, Any], summary: RenderableType, *, as_json: bool) -> int:
    """Print a result on stdout, as data or for people; its exit code."""
    if as_json:
        typer.echo(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        show(summary)
        typer.echo(f"\n{_files(result)}")
    return int(result["exit_code"])


def _files(result: dict[str, Any]) -> str:
    """Where everything is, and of a search what can be done with it."""
    run = Path(result["run"])
    line = f"Files in {run}"
    if result.get("kind") != "search":
        return line
    report = RunFolder(run).report
    line += f": {report.name} shows all of it" if report.is_file() else ""
    trained = result["schedule"] and not result["schedule_is_advice"] and result["final"]
    if trained and result["exit_code"] in (0, 4):
        line += f"; tunecli export {shlex.quote(str(run))} --to pytorch takes the schedule along"
    return line
