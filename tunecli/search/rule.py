"""What a search goes by, what it is told, and what it decides: plain data, no logic of its own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Literal

from tunecli.errors import require

Strategy = Literal["paper", "geometric"]
Edge = Literal["bottom", "top"]
Role = Literal["walk", "repeat", "narrow"]
Verdict = Literal["better", "worse", "no difference", "diverged", "not learned", "given up"]


class StopReason(StrEnum):
    """Why a search ended."""

    NO_IMPROVEMENT = "no_improvement"
    DIVERGED = "diverged"
    GRID_EDGE = "grid_edge"
    BUDGET = "budget"


@dataclass(frozen=True, slots=True)
class Observation:
    """One finished trial.

    Args:
        learning_rate: α₁, as the decision asked for it.
        value: The metric at the end; ignored when `diverged`.
        diverged: Whether the trial said "too large".
        baseline: What a model that has learned nothing gets, where that is known.
        repeat: Which of the repeats at this rate it is, from 0; None: in the order they come.
        curve: The metric along the way as (share of the trial's samples, value), ascending, the
            untrained model left out. With it the rule gives trials up early.
    """

    learning_rate: float
    value: float
    diverged: bool = False
    baseline: float | None = None
    repeat: int | None = None
    curve: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class MonotoneRule:
    """What the search goes by.

    Args:
        learning_rates: The grid, > 0 and strictly ascending.
        strategy: `geometric` starts inside the grid, walks up, and narrows down at the end;
            `paper` walks the given grid from its smallest rate (QHM §5.2.4 to the letter).
        repeats: Seeds per rate, ≥ 1. `paper` trains every rate with all of them, `geometric` the
            last candidates only.
        patience: Successive rates without improvement after which the walk stops, ≥ 1.
        maximize: Whether a larger value is better.
        perfect: Value of a perfect model, 1 for an accuracy, 0 for a loss; None: not known.
        learned_share: Share of the gap from baseline to `perfect` that counts as learned.
        max_trials: Trials after which to stop in any case.
        start: `geometric` begins at the last rate of the grid up to here (a probe's finding); None:
            where it would.
        extend: Grid points that `geometric` may add beyond each edge, ≥ 0.
        resolution: `geometric` halves the gaps beside the best until neighbours are at most this
            factor apart, > 1; None: it keeps to the grid.
        early_abort: Whether `geometric` gives up trials that are far behind (see abort.py).
        error_rate: Chance, in (0, ½), that one comparison calls a rate worse that is as good.

    Raises:
        InvalidValueError: A value is outside its range.
    """

    learning_rates: tuple[float, ...]
    strategy: Strategy = "geometric"
    repeats: int = 1
    patience: int = 1
    maximize: bool = True
    perfect: float | None = 1.0
    learned_share: float = 0.1
    max_trials: int | None = None
    start: float | None = None
    extend: int = 0
    resolution: float | None = None
    early_abort: bool = True
    error_rate: float = 0.05

    def __post_init__(self) -> None:
        rates = self.learning_rates
        ascending = all(low < high for low, high in pairwise(rates))
        require(
            bool(rates) and ascending and rates[0] > 0 and math.isfinite(rates[-1]),
            "learning_rates",
            "positive, finite and strictly ascending",
            list(rates),
        )
        known = ("paper", "geometric")
        require(self.strategy in known, "strategy", "paper or geometric", self.strategy)
        require(self.repeats >= 1, "repeats", "≥ 1", self.repeats)
        require(self.patience >= 1, "patience", "≥ 1", self.patience)
        require(0 < self.learned_share < 1, "learned_share", "in (0, 1)", self.learned_share)
        require(self.extend >= 0, "extend", "≥ 0", self.extend)
        require(0 < self.error_rate < 0.5, "error_rate", "in (0, 0.5)", self.error_rate)
        if self.max_trials is not None:
            require(self.max_trials >= 1, "max_trials", "≥ 1", self.max_trials)
        if self.resolution is not None:
            require(self.resolution > 1, "resolution", "> 1", self.resolution)
        if self.start is not None:
            require(0 < self.start < math.inf, "start", "finite and > 0", self.start)

    @property
    def keeps_to_grid(self) -> bool:
        """Whether no rate but the grid's own is ever asked for."""
        return self.strategy == "paper" or (self.resolution is None and not self.extend)

    def gain(self, value: float, over: float) -> float:
        """By how much `value` is better; negative where it is worse."""
        return value - over if self.maximize else over - value

    def has_learned(self, value: float, baseline: float | None) -> bool:
        """Whether a value is far enough from the baseline to mean anything."""
        if baseline is None or self.perfect is None:
            return True
        gap = self.perfect - baseline
        # a baseline that is already perfect leaves no gap to close
        return gap == 0 or (value - baseline) / gap >= self.learned_share


@dataclass(frozen=True, slots=True)
class Point:
    """The evidence at one rate.

    Args:
        learning_rate: α₁.
        values: One per finished trial.
        value: Their mean; None while diverged or unfinished.
        diverged: Whether a trial diverged.
        improved: Whether it was better than everything before.
        learned: Whether it learned something.
        aborted: Why a trial here was given up early; empty otherwise.
        role: `walk` or `narrow`: which part of the search asked for the rate first.
    """

    learning_rate: float
    values: tuple[float, ...]
    value: float | None
    diverged: bool
    improved: bool
    learned: bool
    aborted: str = ""
    role: Role = "walk"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A challenger held against the best rate before it.

    Args:
        learning_rate: The challenger.
        than: The rate it was compared with.
        difference: Challenger minus incumbent, in the metric; None where one number says nothing.
        low: Lower end of the interval for the difference; None without an estimate of the noise.
        high: Upper end.
        pairs: Seeds that both were trained with.
        verdict: What it came to.
    """

    learning_rate: float
    than: float
    difference: float | None
    low: float | None
    high: float | None
    pairs: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Continue:
    """The trial to run next.

    Args:
        learning_rate: α₁.
        repeat: Which of the trials at this rate it is, from 0.
        role: What it is for.
        to_beat: The best rate's curve, empty while there is none: the trial may be given up against
            it (see abort.py). None: it is trained to its end in any case.
    """

    learning_rate: float
    repeat: int
    role: Role = "walk"
    to_beat: Sequence[tuple[float, float]] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Stop:
    """The search has ended.

    Args:
        reason: Why the walk ended.
        learning_rate: The best rate; None when every one diverged.
        value: Its value.
        edge: Where on the grid the best lies, if at an edge and if anything was learned.
        learned: Whether any rate learned something.
        points: The evidence, in the order of the search.
        comparisons: What was compared with what.
        noise: Standard deviation over seeds at the best rate; None for a single seed.
    """

    reason: StopReason
    learning_rate: float | None
    value: float | None
    edge: Edge | None
    learned: bool
    points: tuple[Point, ...]
    comparisons: tuple[Comparison, ...] = ()
    noise: float | None = None


Decision = Continue | Stop
