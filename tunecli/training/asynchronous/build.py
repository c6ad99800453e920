"""From a recipe's `asynchronous` section to a training, and to the delay that it will have."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tunecli.data.load import Split, Splits
from tunecli.models.build import build_model
from tunecli.recipe import Recipe, derive_schedule
from tunecli.recipe.asynchronous import AsynchronousSection
from tunecli.schedule import Schedule
from tunecli.schedule.asynchronous import factor_by_delay
from tunecli.training.asynchronous.measure import MeasuredDelays, measure_delays
from tunecli.training.asynchronous.plan import clock_delays, planned_delivery
from tunecli.training.asynchronous.processes import ProcessWorkers
from tunecli.training.asynchronous.remote import RemoteTraining
from tunecli.training.asynchronous.simulated import SimulatedTraining


def build_asynchronous(
    recipe: Recipe,
    model: nn.Module,
    train: Split,
    schedule: Schedule,
    *,
    seed: int,
    device: torch.device,
    log: Path | None = None,
) -> SimulatedTraining | RemoteTraining:
    """A fresh asynchronous training, by the engine that the recipe names.

    Args:
        recipe: Its training is asynchronous.
        model: Initialized.
        train: Training samples.
        schedule: Scaled for the delay already (see `schedule.asynchronous`), unless the recipe is
            staleness-aware: then each update is scaled by its own delay.
        seed: Of the samples' order and of the simulated delays.
        device: Where to train; processes on CUDA take all devices in turn, beginning with it.
        log: File for what worker processes print.
    """
    section = _section(recipe)
    factor = None
    if section.staleness_aware:
        assert section.scaling != "none"  # the recipe's grammar sees to it
        factor = factor_by_delay(
            schedule, momentum_kind=section.momentum_kind, rule=section.scaling
        )
    common: dict[str, Any] = {
        "seed": seed,
        "device": device,
        "momentum_kind": section.momentum_kind,
        "weight_decay": recipe.training.weight_decay,
        "weight_decay_mode": recipe.training.weight_decay_mode,
        "reset_momentum": recipe.training.reset_momentum,
        "staleness_factor": factor,
    }
    if section.engine == "simulated":
        delivery = planned_delivery(section, schedule.total_steps, seed=seed)
        return SimulatedTraining(model, train, schedule, delivery, **common)
    assert section.num_workers is not None
    largest = max(stage.batch_size for stage in schedule.stages)
    return RemoteTraining(
        model,
        train,
        schedule,
        connect=partial(_processes, recipe, train, largest, seed, device, log),
        num_workers=section.num_workers,
        **common,
    )


def measure_delay(
    recipe: Recipe,
    splits: Splits,
    *,
    device: torch.device,
    check_stop: Callable[[], None] = lambda: None,
    log: Path | None = None,
) -> MeasuredDelays:
    """The delay that is not declared: of a simulated clock, or of real workers.

    A clock's is counted without training; real workers make about a thousand updates that change
    nothing.

    Args:
        recipe: Its training is asynchronous, its delay `workers` of processes, or `clock`.
        splits: Must hold `train`.
        device: Where the workers compute.
        check_stop: Called several times a second; what it raises ends the measurement.
        log: File for what worker processes print.

    Raises:
        RunError: Workers cannot be started, or are never late.
    """
    section, seed = _section(recipe), recipe.search.seeds[0]
    train = splits.in_memory("train")
    schedule = derive_schedule(recipe.schedule, 1.0, len(train))  # no rate is used
    if section.engine == "simulated":
        return MeasuredDelays(clock_delays(section))
    assert section.num_workers is not None
    model = build_model(
        recipe.model, input_shape=splits.input_shape, num_classes=splits.num_classes, seed=seed
    )
    largest = schedule.stages[0].batch_size
    return measure_delays(
        model,
        train,
        connect=partial(_processes, recipe, train, largest, seed, device, log),
        num_workers=section.num_workers,
        batch_size=largest,
        momentum_kind=section.momentum_kind,
        seed=seed,
        check_stop=check_stop,
    )


def _processes(
    recipe: Recipe,
    train: Split,
    largest_batch: int,
    seed: int,
    device: torch.device,
    log: Path | None,
    model: nn.Module,
) -> ProcessWorkers:
    num_workers = _section(recipe).num_workers
    assert num_workers is not None
    devices = [str(device)]
    if device.type == "cuda":
        count, first = torch.cuda.device_count(), device.index or 0
        devices = [f"cuda:{(first + i) % count}" for i in range(count)]
    return ProcessWorkers(
        model,
        train,
        num_workers=num_workers,
        largest_batch=largest_batch,
        devices=devices,
        seed=seed,
        threads=recipe.training.cpu_threads,
        log=log,
    )


def _section(recipe: Recipe) -> AsynchronousSection:
    assert recipe.training.asynchronous is not None
    return recipe.training.asynchronous
