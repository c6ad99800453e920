"""Train a recipe once at a given initial learning rate, in a run folder."""

import math
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tunecli.data.load import load_splits
from tunecli.data.sizes import require_samples, samples_of
from tunecli.errors import RunError
from tunecli.execution.delay import RunDelay, asynchronous_facts, delay_of_run
from tunecli.execution.device import cpu_threads
from tunecli.execution.environment import environment
from tunecli.execution.files import RESULT_FORMAT, write_aside
from tunecli.execution.in_process import execute
from tunecli.execution.interrupt import Interrupt, check_stop
from tunecli.execution.run_folder import RunFolder
from tunecli.recipe import Recipe, delay_scaling, derive_schedule, require_learning_rate
from tunecli.recipe.derive import advice_warnings, advised_schedule
from tunecli.recipe.trust import code_of
from tunecli.schedule import unmet_conditions
from tunecli.schedule.asynchronous import DelayScaling
from tunecli.training import Trial, TrialOutcome
from tunecli.training.build import build_trial, caveats
from tunecli.training.protocol import RunnableTrial, named_values
from tunecli.training.script.build import build_script_trial


def train_once(
    recipe: Recipe,
    run: RunFolder,
    *,
    seed: int,
    read_test: bool,
    device: torch.device,
    interrupt: Interrupt,
    on_progress: Callable[[RunnableTrial], None],
    on_measure: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Train to the end of the schedule, or go on with a training that was stopped.

    The trained weights are left in `model.pt`, a `state_dict` for `torch.load(weights_only=True)`.

    Args:
        recipe: What to train; its `learning_rate` is α₁.
        run: The folder, locked.
        seed: Of the initialization and of the batches.
        read_test: Whether to evaluate the test set after the last update.
        device: Where to train.
        interrupt: Asked several times a second.
        on_progress: Called several times a second.
        on_measure: See `delay_of_run`.

    Returns:
        The content of result.json; see `docs/result.md`.

    Raises:
        InvalidValueError: The recipe has no learning rate, or gives no schedule.
        InterruptedRunError: A stop was requested; the folder can be resumed.
        RunError: A file of the run cannot be written.
    """
    rate, folder = require_learning_rate(recipe.learning_rate), run.path / "training"
    common: dict[str, Any] = {
        "path": folder,
        "interrupt": interrupt,
        "checkpoint_every_s": recipe.training.checkpoint_every_s,
        "on_progress": on_progress,
    }
    if recipe.command is not None:
        samples = samples_of(recipe)
        schedule = derive_schedule(recipe.schedule, rate, require_samples(recipe, samples))
        outcome, extra = execute(
            partial(
                build_script_trial,
                recipe,
                schedule,
                folder=folder,
                seed=seed,
                phase="final" if read_test else "search",
                device=device,
            ),
            finish=lambda trial: {"test": _test_of_script(recipe, trial.test)},
            **common,
        )
        found, scaled = None, None
        advised = advised_schedule(recipe, schedule)
        warnings = advice_warnings(recipe, advised) if recipe.schedule_is_advice else []
    else:
        splits = load_splits(recipe.data, ("train", "validation"))
        samples = len(splits["train"])
        derived = derive_schedule(recipe.schedule, rate, samples)
        with cpu_threads(recipe.training.cpu_threads):
            found = delay_of_run(
                recipe,
                run,
                splits,
                device=device,
                check_stop=partial(check_stop, interrupt),
                on_measure=on_measure,
            )
        scaled = None if found is None else delay_scaling(recipe, derived, found.delay)
        schedule = derived if scaled is None else scaled.schedule

        def finish(trial: Trial) -> dict[str, Any]:
            _save_weights(trial.training.weights(), run.path / "model.pt")
            if not read_test or trial.diverged_because:
                return {"test": None}
            test = trial.training.evaluate(load_splits(recipe.data, ("test",))["test"])
            finite = all(math.isfinite(value) for _, value in named_values(test))
            return {"test": asdict(test) if finite else None}

        with cpu_threads(recipe.training.cpu_threads):
            outcome, extra = execute(
                partial(
                    build_trial,
                    recipe,
                    schedule,
                    seed=seed,
                    splits=splits,
                    device=device,
                    log=folder / "workers.log",
                ),
                finish=finish,
                own_code=bool(code_of(recipe)),
                **common,
            )
        warnings = [
            *caveats(recipe, splits),
            *(unmet_conditions(schedule) if scaled is None else _warnings(scaled)),
        ]
    return {
        "format": RESULT_FORMAT,
        "exit_code": 5 if outcome.diverged else 0,
        "recipe": recipe.name,
        "run": str(run.path),
        "learning_rate": rate,
        "seed": seed,
        "state": "diverged" if outcome.diverged else "complete",
        "reason": outcome.reason,
        "schedule": advised_schedule(recipe, schedule).to_list(),
        "schedule_is_advice": recipe.schedule_is_advice,
        "asynchronous": None
        if scaled is None
        else asynchronous_facts(recipe, scaled, scaled.delay, [outcome.measured]),
        "batch_sizes": [list(run_length) for run_length in outcome.batch_sizes],
        "validation": None if outcome.final is None else asdict(outcome.final),
        "test": extra["test"],
        "curve": [asdict(point) for point in outcome.curve],
        "spent": _spent(outcome, found, samples),
        "warnings": warnings,
        "environment": environment(device, recipe.training.cpu_threads),
    }


def _warnings(scaled: DelayScaling) -> list[str]:
    return [] if scaled.warning is None else [scaled.warning]


def _spent(outcome: TrialOutcome, delay: RunDelay | None, samples: int | None) -> dict[str, Any]:
    """The bill: the training, and what it took to measure its delay."""
    spent = {"updates": outcome.steps, "samples": outcome.samples, "seconds": outcome.seconds}
    if delay is not None:
        spent = {name: spent[name] + more for name, more in delay.bill.items()}
    return {**spent, "epochs": spent["samples"] / samples if samples else None}


def _test_of_script(recipe: Recipe, test: float | None) -> dict[str, Any] | None:
    """A script's test value, in the form of an evaluation."""
    if test is None:
        return None
    name = recipe.search.metric
    measured: dict[str, Any] = {"loss": None, "accuracy": None, "metrics": {}}
    return {**measured, **({name: test} if name in measured else {"metrics": {name: test}})}


def _save_weights(weights: dict[str, Any], path: Path) -> None:
    try:
        write_aside(path, lambda file: torch.save(weights, file))
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise RunError(
            f"{path} cannot be written: {error}; free some space or mend the permissions, then go "
            "on with --resume"
        ) from error
