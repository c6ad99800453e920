"""STAB's minima stability as a run: at which rate does training leave a minimum, delay by delay?

The run's folder has the recipe of the model, a line in `measured.jsonl` for every finished
(delay, momentum), and at the end `result.json`.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch

from tunecli.errors import InterruptedRunError, RunError
from tunecli.execution.device import cpu_threads
from tunecli.execution.environment import environment
from tunecli.execution.files import RESULT_FORMAT
from tunecli.execution.interrupt import StopRequest
from tunecli.execution.minimum import Minimum, measure_minimum, not_asked
from tunecli.execution.point_log import PointLog
from tunecli.execution.run_folder import RunFolder
from tunecli.execution.stability_plan import StabilityPlan, hash_of
from tunecli.recipe import Recipe
from tunecli.theory.delay import ConstantDelay
from tunecli.theory.stability import stability_threshold
from tunecli.training.minima_stability import largest_stable_rate


class Watcher(Protocol):
    """Who is told how far a measurement has come; `work` counts updates, one training a point."""

    def sharpness(self, products: int, value: float, residual: float) -> None:
        """One more Hessian-vector product."""

    def start(self, *, points: int, finished: int, work: int, done: int) -> None:
        """The trainings begin."""

    def training(
        self, *, delay: int, momentum: float, rate: float, updates: int, work: int
    ) -> None:
        """A training goes on; `updates` counts those of all trainings at this point."""

    def point(self, point: dict[str, Any], *, work: int) -> None:
        """A point is finished."""


def run_stability(
    recipe: Recipe,
    run: RunFolder,
    plan: StabilityPlan,
    *,
    device: torch.device,
    command: str,
    interrupt: StopRequest,
    watcher: Watcher,
) -> dict[str, Any]:
    """Measure the largest stable rate at every point of the plan that is not measured yet.

    Args:
        recipe: Of the model.
        run: The folder, locked.
        plan: What to measure.
        device: Where to train.
        command: What to type to get the same again, for the record.
        interrupt: Asked several times a second, or between any two updates if they take longer.
        watcher: Told how far it has come.

    Returns:
        The content of result.json; see `docs/stability.md`.

    Raises:
        InterruptedRunError: A stop was requested; the folder can be resumed.
        InvalidValueError: The checkpoint is no minimum, or a delay needs too much memory.
        RunError: A file cannot be read or written, or the weights have changed.
    """
    weights = Path(plan.checkpoint)
    if hash_of(weights) != plan.weights_sha256:
        raise RunError(
            f"{weights} was changed since the run began, so new points would not be comparable; "
            "put it back, or start a new run with it"
        )
    plan.require_memory(recipe, device)

    def stop_if_asked() -> None:
        if interrupt.requested:
            assert interrupt.signal_number is not None
            raise InterruptedRunError("stopped on request", interrupt.signal_number)

    def on_product(products: int, value: float, residual: float) -> None:
        stop_if_asked()
        watcher.sharpness(products, value, residual)

    log = PointLog(run.path / "measured.jsonl")
    with cpu_threads(recipe.training.cpu_threads):
        minimum = measure_minimum(
            recipe,
            weights,
            device=device,
            tolerance=plan.tolerance,
            max_iterations=plan.max_iterations,
            on_progress=on_product,
        )
        left = [point for point in plan.points if point not in log.points]
        work = sum(plan.updates(delay) for delay, _ in plan.points)
        done = work - sum(plan.updates(delay) for delay, _ in left)
        watcher.start(points=len(plan.points), finished=len(log.points), work=work, done=done)
        for delay, momentum in left:
            stop_if_asked()
            point = _measure(minimum, plan, delay, momentum, device, stop_if_asked, watcher)
            log.append(point)
            watcher.point(point, work=plan.updates(delay))
    points = [log.points[key] for key in sorted(plan.points, key=lambda each: each[::-1])]
    return {
        "format": RESULT_FORMAT,
        "kind": "stability",
        "exit_code": 0,
        "recipe": recipe.name,
        "run": str(run.path),
        "command": command,
        "momentum_kind": plan.momentum_kind,
        "discount": plan.discount,
        "updates_per_delay": plan.updates_per_delay,
        "nudge": plan.nudge,
        "hold": plan.hold,
        "minimum": minimum.to_dict(plan.checkpoint),
        "points": points,
        "fits": [
            fit
            for momentum in plan.momenta
            if (fit := _fit([each for each in points if each["momentum"] == momentum])) is not None
        ],
        "spent": {
            "updates": sum(point["updates"] for point in points),
            "runs": sum(len(point["runs"]) for point in points),
            "seconds": sum(point["seconds"] for point in points),
        },
        "warnings": minimum.warnings(recipe) + not_asked(recipe, plan.delays, plan.momentum_kind),
        "environment": environment(device, recipe.training.cpu_threads),
    }


def _measure(
    minimum: Minimum,
    plan: StabilityPlan,
    delay: int,
    momentum: float,
    device: torch.device,
    stop_if_asked: Callable[[], None],
    watcher: Watcher,
) -> dict[str, Any]:
    """One point of the plan: theory and experiment."""
    threshold = stability_threshold(
        ConstantDelay(delay),
        momentum=momentum,
        momentum_kind=plan.momentum_kind,
        discount=plan.discount,
    )
    predicted = threshold / minimum.sharpest.value

    def on_progress(runs: int, rate: float, updates: int, work: int) -> None:
        stop_if_asked()
        watcher.training(delay=delay, momentum=momentum, rate=rate, updates=updates, work=work)

    started = time.monotonic()
    found = largest_stable_rate(
        minimum.model,
        minimum.split,
        minimum.sharpest,
        delay=delay,
        around=predicted,
        momentum=momentum,
        momentum_kind=plan.momentum_kind,
        discount=plan.discount,
        updates_per_delay=plan.updates_per_delay,
        nudge=plan.nudge,
        hold=plan.hold,
        device=device,
        on_progress=on_progress,
    )
    return {
        "delay": delay,
        "momentum": momentum,
        "threshold": threshold,
        "predicted": predicted,
        "measured": found.learning_rate,
        "left_at": found.left_at,
        "ratio": found.learning_rate / predicted,
        "updates": found.updates,
        "seconds": time.monotonic() - started,
        "runs": [asdict(each) for each in found.runs],
    }


def _fit(points: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """1/η as a straight line over τ, measured and predicted at the same delays; None of one delay.

    The theory is held against its own fit: 1/η = (2a/π) τ + a/π (STAB Eq. 7) is what it comes to
    at large delays without momentum.
    """
    delays = [point["delay"] for point in points]
    if len(delays) < 2:
        return None
    measured = _line(delays, [1 / point["measured"] for point in points])
    predicted = _line(delays, [1 / point["predicted"] for point in points])
    return {
        "momentum": points[0]["momentum"],
        "measured": measured,
        "predicted": predicted,
        "slope_error": measured["slope"] / predicted["slope"] - 1,
    }


def _line(x: Sequence[float], y: Sequence[float]) -> dict[str, float]:
    slope, intercept = statistics.linear_regression(x, y)
    return {
        "slope": slope,
        "intercept": intercept,
        "r_squared": statistics.correlation(x, y) ** 2,
    }
