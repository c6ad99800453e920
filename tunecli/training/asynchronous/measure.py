"""The delays that a machine has, measured before a search so that rates can be scaled by them."""

import copy
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from tunecli.data.load import Split
from tunecli.errors import RunError, require
from tunecli.schedule import Schedule, Stage
from tunecli.theory.delay import HistogramDelay
from tunecli.theory.stability import MomentumKind
from tunecli.training.asynchronous.messages import Transport
from tunecli.training.asynchronous.remote import RemoteTraining, require_delays
from tunecli.training.protocol import wait_for_step

# Moves no parameter by a bit that counts, and yet no product with it is a slow subnormal number.
_NO_RATE = 1e-20


@dataclass(frozen=True, slots=True)
class MeasuredDelays:
    """What was measured, and what it cost.

    Args:
        delay: The delays counted.
        updates: Updates made for it, counted or not.
        samples: Samples that the workers were given for it.
        seconds: Time that it took, the start of the workers included.
        notes: What happened that a person should find in a log: gradients refused, workers lost.
    """

    delay: HistogramDelay
    updates: int = 0
    samples: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


def measure_delays(
    model: nn.Module,
    train: Split,
    *,
    connect: Callable[[nn.Module], Transport],
    num_workers: int,
    batch_size: int,
    updates: int = 1000,
    momentum_kind: MomentumKind = "none",
    seed: int = 0,
    limit_s: float = 20.0,
    check_stop: Callable[[], None] = lambda: None,
) -> MeasuredDelays:
    """Run the real thing, updates included, at a rate that changes nothing, and count its delays.

    The first 2N updates of N workers are not counted: there the delays rise from 0.

    Args:
        model: The network; it is copied.
        train: Training samples.
        connect: See `RemoteTraining`.
        num_workers: N ≥ 2.
        batch_size: b ≥ 1: that of the first stage, in which the rate is the largest.
        updates: Delays to count, ≥ 1; fewer where `limit_s` is over before.
        momentum_kind: See `ParameterServer`; it costs time at the server.
        seed: Seed of the order of the samples.
        limit_s: Seconds after which the count ends, > 0; the start of the workers, which takes
            seconds, is not in them.
        check_stop: Called several times a second; what it raises ends the measurement.

    Raises:
        InvalidValueError: An argument outside its range.
        RunError: Every delay was 0, the gradients are not finite, or no worker is left.
    """
    require(updates >= 1, "updates", "≥ 1", updates)
    require(limit_s > 0, "limit_s", "> 0", limit_s)
    warm_up = 2 * num_workers
    stage = Stage(_NO_RATE, 0.9, 1.0, batch_size, warm_up + updates)
    training = RemoteTraining(
        copy.deepcopy(model),
        train,
        Schedule((stage,)),
        connect=connect,
        num_workers=num_workers,
        seed=seed,
        device=torch.device("cpu"),
        momentum_kind=momentum_kind,
    )
    record, started = training.server.record, time.monotonic()
    try:
        for _ in range(warm_up):
            wait_for_step(training, check_stop)
        before, of_workers = Counter(record.delays), list(record.workers)
        end = time.monotonic() + limit_s
        for _ in range(updates):
            wait_for_step(training, check_stop)
            if time.monotonic() > end:
                break
    finally:
        training.close()
    counted = record.delays - before
    if not counted:
        raise RunError(
            "the delays cannot be measured: the untrained model's gradients are not finite; look "
            "at the model and the data"
        )
    brought = [now - then for now, then in zip(record.workers, of_workers, strict=True)]
    require_delays(counted, brought)
    return MeasuredDelays(
        delay=HistogramDelay.from_counts(counted),
        updates=training.server.version,
        samples=training.samples,
        seconds=time.monotonic() - started,
        notes=tuple(training.take_notes()),
    )
