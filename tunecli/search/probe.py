"""A short ramp of the learning rate, to find where a walk should begin.

The rate rises geometrically, update by update, from the grid's first rate to its last, with the
first stage's momentum, discount and batch size. Where the training loss first falls, learning
starts; where it explodes, so does training.

A ramp is short and biased: a rate has one update to show what it does. To first order, how far
training gets depends on the sum of the learning rates of its updates. So the rate with which a
whole trial starts to learn in its first stage of T₁ updates is A / T₁, where A is the sum of the
ramp's rates up to where its loss fell. The walk begins there; what wins is decided by full trials.

The idea is the learning rate range test (Smith, WACV 2017); A / T₁ and the thresholds are ours.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tunecli.recipe import Recipe
from tunecli.schedule import Schedule, Stage

_SHARE = 0.04  # of a trial's samples
_LEAST_UPDATES = 20
_FELL = 0.05  # the loss is this much below the untrained one: it learns
_ROSE = 1.2  # times the untrained loss: it explodes


@dataclass(frozen=True, slots=True)
class Probe:
    """What the ramp saw.

    Args:
        learning_rates: The rate at each update, ascending; as far as training was finite.
        losses: The batch's loss before that update.
        learning_starts: The ramp's rate at which the loss had fallen; None: it never did.
        diverges: The ramp's rate at which it exploded; None: it never did.
        start: Rate with which a whole trial starts to learn, where the walk begins; None: no idea.
        samples: Samples drawn.
        seconds: Time in the ramp.
    """

    learning_rates: tuple[float, ...]
    losses: tuple[float, ...]
    learning_starts: float | None
    diverges: float | None
    start: float | None
    samples: int
    seconds: float = 0.0

    @property
    def updates(self) -> int:
        """Updates made; the last one may have given a loss that is not finite."""
        return len(self.losses)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "Probe":
        """The inverse of `dataclasses.asdict`."""
        lists = ("learning_rates", "losses")
        return cls(**{**stored, **{name: tuple(stored[name]) for name in lists}})


def ramp_schedule(recipe: Recipe, schedule: Schedule) -> Schedule:
    """One update per rate, from the grid's first rate to its last.

    Args:
        recipe: Its grid gives the range.
        schedule: A trial's; its first stage gives everything but the rate.
    """
    first = schedule.stages[0]
    updates = max(_LEAST_UPDATES, round(_SHARE * schedule.samples / first.batch_size))
    low, high = recipe.search.learning_rates[0], recipe.search.learning_rates[-1]
    growth = (high / low) ** (1 / (updates - 1))
    return Schedule(
        tuple(
            Stage(low * growth**i, first.momentum, first.discount, first.batch_size, 1)
            for i in range(updates)
        )
    )


def read_ramp(schedule: Schedule, losses: Sequence[float], first_stage_steps: int) -> Probe:
    """What the losses of a ramp say; they may end early, with the first that is not finite.

    Args:
        schedule: The ramp.
        losses: The batch's loss before each update.
        first_stage_steps: T₁ of a whole trial.

    >>> stages = tuple(Stage(0.1 * 2**i, 0.9, 0.5, 8, 1) for i in range(8))
    >>> losses = [2.3, 2.3, 2.3, 2.1, 1.5, 1.2, 4.0, float("inf")]
    >>> probe = read_ramp(Schedule(stages), losses, first_stage_steps=14)
    >>> probe.learning_starts, probe.diverges, round(probe.start, 3), probe.samples
    (0.4, 3.2, 0.05, 64)
    """
    rates = [stage.learning_rate for stage in schedule.stages]
    untrained = losses[0]
    learned = exploded = None
    for i in range(1, len(losses)):  # a loss shows what the updates before it did
        if not math.isfinite(losses[i]) or losses[i] > _ROSE * untrained:
            exploded = i - 1
            break
        fell = max(losses[i : i + 2]) < (1 - _FELL) * untrained  # two: single batches are noisy
        if learned is None and fell:
            learned = i - 1
    finite = tuple(loss for loss in losses if math.isfinite(loss))
    return Probe(
        learning_rates=tuple(rates[: len(finite)]),
        losses=finite,
        learning_starts=None if learned is None else rates[learned],
        diverges=None if exploded is None else rates[exploded],
        start=None if learned is None else math.fsum(rates[: learned + 1]) / first_stage_steps,
        samples=sum(stage.samples for stage in schedule.stages[: len(losses)]),
    )


def run_ramp(schedule: Schedule, step: Callable[[], float], first_stage_steps: int) -> Probe:
    """Train through a ramp, or to the first loss that is not finite.

    Args:
        schedule: The ramp.
        step: Makes one update and returns the batch's loss before it.
        first_stage_steps: T₁ of a whole trial.
    """
    losses: list[float] = []
    started = time.perf_counter()
    while len(losses) < schedule.total_steps and all(map(math.isfinite, losses[-1:])):
        losses.append(step())
    probe = read_ramp(schedule, losses, first_stage_steps)
    return replace(probe, seconds=time.perf_counter() - started)
