"""One study: a method and a seed, at a budget of training samples."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tunecli.data.sizes import require_samples, samples_of
from tunecli.execution.device import cpu_threads, resolve_device
from tunecli.execution.files import read_json, write_json
from tunecli.recipe import Recipe
from tunecli.recipe.trust import code_of
from tunecli.search.compare.bench import (
    Bench,
    ReplayMismatchError,
    Setting,
    StudyCancelledError,
)
from tunecli.search.compare.log import StudyLog, TrialLine
from tunecli.search.compare.methods import METHODS, Method
from tunecli.search.compare.optuna_study import best_line, run_optuna
from tunecli.search.compare.rule_study import chosen_line, run_rule
from tunecli.search.compare.space import make_space
from tunecli.search.metric import Metric, metric_of
from tunecli.user_code import blamed


class StudyContext(Protocol):
    """What a worker process gives to its task."""

    @property
    def device(self) -> str:
        """Where to compute."""

    @property
    def cancelled(self) -> bool:
        """Whether to stop at the next safe point."""

    def report(self, payload: Any) -> None:
        """Send progress."""


@dataclass(frozen=True, slots=True)
class StudyTask:
    """What a worker is asked to do.

    Args:
        recipe: What is trained.
        method: Name of the method.
        seed: Of the study: of Optuna's sampler, and from it the training seeds.
        budget: Samples that the study may draw.
        samples_per_trial: Samples of one full trial.
        folder: Where its log and its summary are.
    """

    recipe: Recipe
    method: str
    seed: int
    budget: int
    samples_per_trial: int
    folder: Path

    @property
    def log(self) -> Path:
        """A line per finished trial."""
        return self.folder / "trials.jsonl"

    @property
    def summary(self) -> Path:
        """What the study came to; its presence says that it is finished."""
        return self.folder / "study.json"


@dataclass(frozen=True, slots=True)
class StudyProgress:
    """How far a study is.

    Args:
        method: Name of the method.
        seed: Of the study.
        trials: Finished trials.
        samples: Samples drawn.
        best: The best validation value; None while there is none.
    """

    method: str
    seed: int
    trials: int
    samples: int
    best: float | None


def run_study(task: StudyTask, context: StudyContext) -> dict[str, Any] | None:
    """Run a study to its end, or go on with one that was stopped.

    Returns:
        Its entry under `studies` in result.json, with all finished trials under `finished`, which
        is also written beside its log; None when it was cancelled.

    Raises:
        RunError: A file cannot be read or written.
        InvalidValueError: The recipe gives no schedule.
        UserCodeError: The recipe's own code raised an error.
    """
    if task.summary.exists():
        found: dict[str, Any] = read_json(task.summary)
        return found
    own_code = bool(code_of(task.recipe))
    with cpu_threads(task.recipe.training.cpu_threads), blamed("the recipe's code", own_code):
        try:
            summary = _study(task, context)
        except StudyCancelledError:
            return None
    write_json(task.summary, summary)
    return summary


def _study(task: StudyTask, context: StudyContext) -> dict[str, Any]:
    log, warnings = StudyLog(task.log), []
    try:
        bench, chosen = _run(task, context, log)
    except ReplayMismatchError as mismatch:
        log.start_again()
        warnings.append(
            f"{task.method}, study {task.seed} was started again: {mismatch}; was it begun with "
            "other versions?"
        )
        bench, chosen = _run(task, context, log)
    return {**_summary(task, bench.lines, chosen), "warnings": warnings}


def _run(task: StudyTask, context: StudyContext, log: StudyLog) -> tuple[Bench, float | None]:
    recipe, method = task.recipe, METHODS[task.method]
    metric, samples = metric_of(recipe), require_samples(recipe, samples_of(recipe))
    setting = Setting(
        data=recipe.data,
        metric=metric,
        divergence_factor=recipe.training.divergence_factor,
        device=resolve_device(context.device),
        study_seed=task.seed,
        budget=task.budget,
        samples_per_trial=task.samples_per_trial,
    )

    def tell(bench: Bench) -> None:
        best = best_line(bench.lines, metric)
        value = None if best is None else best.value
        context.report(
            StudyProgress(task.method, task.seed, len(bench.lines), bench.samples, value)
        )

    bench = Bench(setting, log, cancelled=lambda: context.cancelled, on_trial=tell)
    if method.is_optuna:
        space = make_space(recipe, joint=method.group == "joint", training_samples=samples)
        run_optuna(bench, recipe, method, space, samples)
        return bench, None
    return bench, run_rule(bench, recipe, method, samples)


def _summary(task: StudyTask, lines: list[TrialLine], chosen: float | None) -> dict[str, Any]:
    method, metric = METHODS[task.method], metric_of(task.recipe)
    points = _incumbents(lines, _chooser(method, metric), chosen)
    last = points[-1][1] if points else None
    states = [line.state for line in lines]
    samples = seconds = 0.0
    finished = []
    for line in lines:
        samples, seconds = samples + line.samples, seconds + line.seconds
        if line.state == "complete":
            finished.append([int(samples), seconds, line.value])
    return {
        "seed": task.seed,
        "trials": len(lines),
        "diverged": states.count("diverged"),
        "pruned": states.count("pruned"),
        "aborted": states.count("aborted"),
        "samples": int(samples),
        "seconds": seconds,
        "validation": None if last is None else last.value,
        "test": None if last is None else last.test,
        "baseline": lines[0].baseline if lines else None,
        "best": None if last is None else last.parameters,
        "curve": [[samples, seconds, line.value, line.test] for (samples, seconds), line in points],
        "finished": finished,
    }


def _chooser(method: Method, metric: Metric) -> Callable[[list[TrialLine]], TrialLine | None]:
    if method.is_optuna:
        return lambda lines: best_line(lines, metric)
    return lambda lines: chosen_line(lines, maximize=metric.maximize)


def _incumbents(
    lines: list[TrialLine],
    choose: Callable[[list[TrialLine]], TrialLine | None],
    chosen: float | None,
) -> list[tuple[tuple[int, float], TrialLine]]:
    """Whenever it changes, the trial that one would go with, and what was spent until then.

    The last one is what the search itself chose, where it says so.
    """
    points: list[tuple[tuple[int, float], TrialLine]] = []
    for end in range(1, len(lines) + 1):
        line = choose(lines[:end])
        if line is not None and (not points or line is not points[-1][1]):
            points.append((_spent(lines[:end]), line))
    first = next(
        (
            line
            for line in lines
            if line.parameters["learning_rate"] == chosen and line.state == "complete"
        ),
        None,
    )
    if first is not None and points and points[-1][1] is not first:
        spent = _spent(lines)
        if points[-1][0] == spent:
            points.pop()
        points.append((spent, first))
    return points


def _spent(lines: list[TrialLine]) -> tuple[int, float]:
    return sum(line.samples for line in lines), math.fsum(line.seconds for line in lines)
