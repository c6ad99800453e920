"""Running the trials of a search: in this process, one by one, or in workers, some of them ahead.

Both give the same records and the same decision: the rule sees a trial as it would have gone in
its turn (evidence.py), whoever ran it when.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tunecli.data.load import Splits, load_splits
from tunecli.errors import InterruptedRunError
from tunecli.execution import cpu_threads, execute
from tunecli.execution.in_process import spent_in
from tunecli.execution.interrupt import StopRequest
from tunecli.execution.workers import Context
from tunecli.recipe import Recipe
from tunecli.recipe.trust import code_of
from tunecli.schedule import Schedule
from tunecli.search.abort import Curve, gives_up
from tunecli.search.events import Phase
from tunecli.search.metric import metric_of
from tunecli.training import CurvePoint, Trial, TrialOutcome
from tunecli.training.build import build_trial
from tunecli.training.protocol import RunnableTrial
from tunecli.training.script.build import build_script_trial
from tunecli.training.script.training import ScriptTraining
from tunecli.training.script.trial import ScriptTrial
from tunecli.training.trial import GivesUp


@dataclass(frozen=True)
class TrialTask:
    """One trial, as it is handed to whoever runs it.

    Args:
        recipe: What to train.
        schedule: Derived from the trial's learning rate.
        phase: `search`, or `final`: then the test set is read at the end.
        learning_rate: α₁.
        seed: Training seed.
        folder: The trial's folder.
        to_beat: The curve against which to give up; None: never.
    """

    recipe: Recipe
    schedule: Schedule
    phase: Phase
    learning_rate: float
    seed: int
    folder: Path
    to_beat: Curve | None = None


@dataclass(frozen=True)
class TrialResult:
    """A trial that has ended.

    Args:
        outcome: What it came to.
        baseline: The metric of a model that has learned nothing; None: not known.
        test: The metric on the test set; None unless that was read and gave a number.
        reads_test: Whether there is a test set: a script may not tell of one.
    """

    outcome: TrialOutcome
    baseline: float | None
    test: float | None = None
    reads_test: bool = True


@dataclass(frozen=True)
class TrialProgress:
    """How far a running trial is; `silent_s` is for how long a script has not answered."""

    steps: int = 0
    samples: int = 0
    seconds: float = 0.0
    curve: tuple[float, ...] = ()
    silent_s: float = 0.0


@dataclass
class _Bill:
    """What a trial had spent when it was last heard of."""

    progress: TrialProgress = field(default_factory=TrialProgress)


def run_trial(
    task: TrialTask,
    splits: Splits | None,
    *,
    device: torch.device,
    interrupt: StopRequest,
    on_progress: Callable[[TrialProgress], None],
) -> TrialResult:
    """Run a trial to its end, or go on with it; see `execute`.

    Args:
        task: What to run.
        splits: `train` and `validation`; the test set is loaded after the last update, if at all.
            None where a script trains.
        device: Where.
        interrupt: An `Interrupt`, or a worker's context.
        on_progress: Told several times a second.

    Raises:
        InterruptedRunError: A stop was requested.
        RunError: A file cannot be written, memory does not suffice, or a script failed.
        UserCodeError: Code that the recipe names raised an error.
    """
    metric = metric_of(task.recipe)

    def progress(trial: RunnableTrial) -> None:
        training, curve = trial.training, tuple(metric.of(point) for point in trial.curve)
        silent_s = training.silent_s() if isinstance(training, ScriptTraining) else 0.0
        on_progress(TrialProgress(training.steps, training.samples, trial.seconds, curve, silent_s))

    common: dict[str, Any] = {
        "path": task.folder,
        "interrupt": interrupt,
        "checkpoint_every_s": task.recipe.training.checkpoint_every_s,
        "on_progress": progress,
    }
    final = task.phase == "final"
    if splits is None:
        outcome, extra = execute(
            partial(_script_trial, task, device),
            finish=_test_of_script if final else None,
            **common,
        )
        classes = None
    else:
        outcome, extra = execute(
            partial(_own_trial, task, splits, device),
            finish=partial(_read_test, task.recipe) if final else None,
            own_code=bool(code_of(task.recipe)),
            **common,
        )
        classes = splits["validation"].classes()
    baseline = metric.baseline(outcome.untrained, classes)
    return TrialResult(outcome, baseline, extra.get("test"), extra.get("reads_test", True))


def _own_trial(task: TrialTask, splits: Splits, device: torch.device) -> Trial:
    return build_trial(
        task.recipe,
        task.schedule,
        seed=task.seed,
        splits=splits,
        device=device,
        gives_up=_judge(task, splits),
        log=task.folder / "workers.log",
    )


def _script_trial(task: TrialTask, device: torch.device) -> ScriptTrial:
    return build_script_trial(
        task.recipe,
        task.schedule,
        folder=task.folder,
        seed=task.seed,
        phase=task.phase,
        device=device,
        gives_up=_judge(task, None),
    )


def _read_test(recipe: Recipe, trial: Trial) -> dict[str, float | None]:
    if trial.diverged_because:
        return {"test": None}
    test = load_splits(recipe.data, ("test",))["test"]
    value = metric_of(recipe).of(trial.training.evaluate(test))
    return {"test": value if math.isfinite(value) else None}


def _test_of_script(trial: ScriptTrial) -> dict[str, Any]:
    """What the script told of its test set; most tell nothing."""
    test = None if trial.diverged_because else trial.test
    return {"test": test, "reads_test": test is not None or bool(trial.diverged_because)}


def _judge(task: TrialTask, splits: Splits | None) -> GivesUp | None:
    """What ends the trial early, if anything may."""
    to_beat, section = task.to_beat, task.recipe.search
    if to_beat is None:
        return None
    metric, total = metric_of(task.recipe), task.schedule.samples

    classes = None if splits is None else splits["validation"].classes()

    def judge(curve: Sequence[CurvePoint]) -> str | None:
        begun = curve[0].steps == 0  # a script's curve need not begin with the untrained model
        return gives_up(
            [(point.samples / total, metric.of(point)) for point in curve[begun:]],
            to_beat,
            maximize=metric.maximize,
            perfect=metric.perfect,
            baseline=metric.baseline(curve[0].evaluation if begun else None, classes),
            learned_share=section.learned_share,
        )

    return judge


_loaded: dict[str, Splits] = {}  # of a worker process, which runs many trials on one data set


def run_task(task: TrialTask, context: Context) -> TrialResult | TrialProgress:
    """A worker's function: the result, or what a cancelled trial had spent."""
    splits = _splits_of(task.recipe)
    # cancelled before its first progress, a trial that was gone on with has spent that much
    bill = _Bill(TrialProgress(*spent_in(task.folder)))

    def on_progress(progress: TrialProgress) -> None:
        bill.progress = progress
        context.report(progress)

    with cpu_threads(task.recipe.training.cpu_threads):
        try:
            return run_trial(
                task,
                splits,
                device=torch.device(context.device),
                interrupt=context,
                on_progress=on_progress,
            )
        except InterruptedRunError:
            return bill.progress


def _splits_of(recipe: Recipe) -> Splits | None:
    if recipe.command is not None:
        return None
    key = recipe.data.model_dump_json()
    if key not in _loaded:
        _loaded[key] = load_splits(recipe.data, ("train", "validation"))
    return _loaded[key]
