"""Simulated asynchrony: which version of the parameters the gradient of every update is read from.

The whole run is drawn up front, without a tensor, so that a version of the parameters needs to be
kept exactly as long as a later update reads it.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tunecli.errors import require
from tunecli.theory.delay import DelayDistribution

Service = Literal["exponential", "constant"]
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Delivery:
    """Turn t serves a gradient that was computed at the parameters as turn `read[t]` found them.

    Args:
        read: int64, shape (turns,); 0 ≤ read[t] ≤ t, and the delay of turn t is t − read[t].
        worker: Who computed it, int64, shape (turns,); None where delays are drawn, nobody's.
        num_workers: Workers that there are, served or not; 1 where delays are nobody's.
    """

    read: Indices
    worker: Indices | None
    num_workers: int = 1

    def __len__(self) -> int:
        return len(self.read)

    @property
    def delays(self) -> Indices:
        """τ_t = t − read[t], in turns."""
        return np.arange(len(self.read)) - self.read

    @cached_property
    def last_read(self) -> Indices:
        """The last turn that reads what turn t found, for every t; −1 if none does."""
        last = np.full(len(self.read), -1)
        np.maximum.at(last, self.read, np.arange(len(self.read)))
        return last


def round_robin(num_workers: int, steps: int) -> Delivery:
    """Workers that are served in turn: worker t mod N at turn t.

    Each reads the parameters when its gradient has been applied, and all read the first ones. So
    the delay is min(t, N − 1): constant, but for the first N − 1 turns.

    Args:
        num_workers: N ≥ 1.
        steps: Turns, ≥ 1.

    Raises:
        InvalidValueError: A number is outside its range.

    >>> round_robin(3, 6).delays.tolist()
    [0, 1, 2, 2, 2, 2]
    """
    _require_counts(num_workers, steps)
    turns = np.arange(steps)
    return Delivery(np.maximum(turns - (num_workers - 1), 0), turns % num_workers, num_workers)


def drawn(delay: DelayDistribution, steps: int, *, seed: int) -> Delivery:
    """Independent delays; where one reaches back beyond the first parameters, those are read.

    Args:
        delay: The distribution of τ.
        steps: Turns, ≥ 1.
        seed: Of the draws; they are independent of those of the batches at the same seed.

    Raises:
        InvalidValueError: `steps` is below 1.
    """
    _require_counts(1, steps)
    cumulated = np.cumsum(delay.probabilities())
    uniform = _generator(seed).random(steps) * cumulated[-1]  # a cut tail is drawn nowhere
    delays = np.searchsorted(cumulated, uniform, side="right").clip(max=len(cumulated) - 1)
    return Delivery(np.maximum(np.arange(steps) - delays, 0), None)


def clock(
    speeds: Sequence[float], steps: int, *, seed: int, service: Service = "exponential"
) -> Delivery:
    """Workers that take time: each reads, computes, is applied when it is ready, and reads again.

    With `exponential` times and N equal speeds, whoever comes next is any of them, so the delay is
    geometric with mean N − 1 (SME, Assumption 1). With `constant` times and equal speeds it is
    `round_robin`; who is ready at the same moment is served by number.

    Args:
        speeds: Mean gradients per unit of time of each worker, > 0; a straggler's is small.
        steps: Turns, ≥ 1.
        seed: Of the times; they are independent of the draws of the batches at the same seed.
        service: How a worker of speed s takes its time: always 1/s, or exponential with mean 1/s.

    Raises:
        InvalidValueError: There is no worker, a speed is not a finite number > 0, or `steps` is
            below 1.

    >>> clock([1.0, 0.4], 7, seed=0, service="constant").worker.tolist()
    [0, 0, 1, 0, 0, 0, 1]
    """
    _require_counts(len(speeds), steps)
    for speed in speeds:
        require(0 < speed < float("inf"), "speed", "a finite number > 0", speed)
    exponential = service == "exponential"
    # one draw per gradient that is begun; the unit of every worker's time is its own
    times = _generator(seed).exponential(size=steps + len(speeds)) if exponential else None
    begun = 0

    def following(work_done: float) -> float:
        """A worker's work, in its own unit of time, when its next gradient is ready."""
        nonlocal begun
        begun += 1
        return work_done + (1.0 if times is None else float(times[begun - 1]))

    work = [following(0.0) for _ in speeds]
    ready = [
        (done / speed, worker)
        for worker, (done, speed) in enumerate(zip(work, speeds, strict=True))
    ]
    heapq.heapify(ready)
    at = [0] * len(speeds)  # the turn whose parameters the worker has read
    read, who = np.empty(steps, np.int64), np.empty(steps, np.int64)
    for turn in range(steps):
        _, worker = ready[0]
        read[turn], who[turn] = at[worker], worker
        at[worker] = turn + 1
        work[worker] = following(work[worker])
        heapq.heapreplace(ready, (work[worker] / speeds[worker], worker))
    return Delivery(read, who, len(speeds))


def _generator(seed: int) -> np.random.Generator:
    # a key of its own: no number of a pass (see BatchStream) leads to the same draws
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))


def _require_counts(num_workers: int, steps: int) -> None:
    require(num_workers >= 1, "num_workers", "≥ 1", num_workers)
    require(steps >= 1, "steps", "≥ 1", steps)
