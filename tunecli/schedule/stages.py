"""A stagewise schedule as plain data: what α, β, ν and b are at every update."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

from tunecli.errors import InvalidValueError, require


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of Algorithm 1 (QHM): constant hyperparameters for a number of updates.

    Args:
        learning_rate: α_i, finite and > 0.
        momentum: β_i in [0, 1), damped form.
        discount: ν_i in [0, 1], QHM's instant discount factor.
        batch_size: b_i ≥ 1, samples per update.
        steps: T_i ≥ 1, updates (not epochs).

    Raises:
        InvalidValueError: A value is outside its range.
    """

    learning_rate: float
    momentum: float
    discount: float
    batch_size: int
    steps: int

    def __post_init__(self) -> None:
        rate = self.learning_rate
        require(0 < rate < math.inf, "learning_rate", "a finite number > 0", rate)
        require(0 <= self.momentum < 1, "momentum", "in [0, 1)", self.momentum)
        require(0 <= self.discount <= 1, "discount", "in [0, 1]", self.discount)
        require(self.batch_size >= 1, "batch_size", "≥ 1", self.batch_size)
        require(self.steps >= 1, "steps", "≥ 1", self.steps)

    @property
    def samples(self) -> int:
        """Samples that the stage draws: T_i b_i."""
        return self.steps * self.batch_size


@dataclass(frozen=True)
class Schedule:
    """The stages of one training run, in order; a function of the update, counted from 0.

    Raises:
        InvalidValueError: There is no stage.

    >>> two = Schedule((Stage(0.2, 0.9, 0.5, 64, 10), Stage(0.1, 0.95, 0.5, 32, 20)))
    >>> two.total_steps, two.samples, two.stage_at(9).batch_size, two.stage_at(10).batch_size
    (30, 1280, 64, 32)
    """

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        if not self.stages:
            raise InvalidValueError("a schedule must have at least one stage but got none")

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """The update at which each stage has ended: T₁, T₁+T₂, and so on."""
        return tuple(accumulate(stage.steps for stage in self.stages))

    @property
    def total_steps(self) -> int:
        """Updates of the whole schedule, ΣT_i."""
        return self.ends[-1]

    @property
    def samples(self) -> int:
        """Samples that the whole schedule draws, ΣT_i b_i: what is spent, rounding included."""
        return sum(stage.samples for stage in self.stages)

    def epochs(self, training_samples: int) -> float:
        """Passes over a training set of `training_samples` that the schedule makes."""
        return self.samples / training_samples

    def stage_at(self, step: int) -> Stage:
        """The stage that update `step` (counted from 0) belongs to.

        Raises:
            InvalidValueError: `step` is negative or past the end.
        """
        end = self.total_steps
        require(0 <= step < end, "step", f"in [0, {end})", step, "the schedule ends there")
        return self.stages[bisect_right(self.ends, step)]

    def scaled(self, factor: float) -> "Schedule":
        """The same schedule with every learning rate times `factor` > 0."""
        return Schedule(
            tuple(replace(one, learning_rate=one.learning_rate * factor) for one in self.stages)
        )

    def to_list(self) -> list[dict[str, Any]]:
        """Plain data, one mapping per stage: the list under `schedule` in every JSON we write."""
        return [asdict(stage) for stage in self.stages]

    @classmethod
    def from_list(cls, stages: Sequence[dict[str, Any]]) -> "Schedule":
        """The inverse of `to_list`."""
        return cls(tuple(Stage(**stage) for stage in stages))
