"""The statistics of a comparison: arrays in, numbers out.

**Differences** are paired by study: study k of both methods starts from the same weights and sees
the same batches. A difference is called significant when its interval leaves out 0 and the exact
sign-flip test agrees (p ≤ 0.05), which fewer than six studies cannot reach.

**Target**, AlgoPerf's way: what the best tuned baseline reaches in the median over its repeats, on
validation; a method's time is the median over studies of the time to its first trial that is at
least as good, where a study that never gets there counts as infinitely long. (G. Dahl et al.,
Benchmarking Neural Network Training Algorithms, 2023; the rules' "Scoring" and target setting.)
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunecli.search.compare.bootstrap import (
    ALPHA,
    TIE,
    Floats,
    estimate,
    interval,
    resampled_means,
    resamples,
    sign_flip_p,
    weights_of,
)

_GRID_POINTS = 200


@dataclass(frozen=True, slots=True)
class Study:
    """One study as the statistics see it.

    Args:
        seed: What pairs it with the studies of other methods.
        trials: Finished trials.
        samples: Samples drawn in all.
        seconds: Time in all.
        curve: (samples, seconds, validation, test) whenever the incumbent changes.
        finished: (samples, seconds, validation) whenever a trial was trained to its end.
    """

    seed: int
    trials: int
    samples: int
    seconds: float
    curve: tuple[tuple[float, float, float, float], ...]
    finished: tuple[tuple[float, float, float], ...]

    @classmethod
    def from_dict(cls, study: dict[str, Any]) -> "Study":
        """From a study's summary.

        A study that trained nothing to its end has, from the start, a model that has learned
        nothing: left out, it would make its method better than it is.
        """
        curve = study["curve"]
        if not curve and study["baseline"] is not None:
            curve = [[0, 0.0, study["baseline"], study["baseline"]]]
        return cls(
            seed=study["seed"],
            trials=study["trials"],
            samples=study["samples"],
            seconds=study["seconds"],
            curve=tuple(tuple(point) for point in curve),
            finished=tuple(tuple(point) for point in study["finished"]),
        )

    def at(self, samples: float) -> tuple[float, float] | None:
        """Validation and test value of the incumbent once `samples` are drawn."""
        known = [(v, t) for spent, _, v, t in self.curve if spent <= samples]
        return known[-1] if known else None


@dataclass(frozen=True, slots=True)
class Difference:
    """Ours minus theirs, paired by study; `p` is the sign-flip test's."""

    mean: float
    low: float | None
    high: float | None
    n: int
    p: float

    @property
    def significant(self) -> bool:
        """Whether the interval leaves out 0 and the test agrees."""
        if self.low is None or self.high is None:
            return False
        return (self.low > 0 or self.high < 0) and self.p <= ALPHA


@dataclass(frozen=True, slots=True)
class ToTarget:
    """How a method gets to the target; None where fewer than half of its studies do."""

    reached: int
    n: int
    samples: float | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class CatchUp:
    """The budget at which a method has what ours had when it stopped; None: not within the budget.

    `low` and `high` bound the ratio.
    """

    samples: int | None
    ratio: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Anytime:
    """Mean test value of the incumbent against samples, with its interval."""

    samples: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def final_values(studies: Sequence[Study], budget: int) -> list[float]:
    """Test value of each study's incumbent at the end of the budget, where it has one."""
    return [end[1] for study in studies if (end := study.at(budget)) is not None]


def difference(ours: Sequence[Study], theirs: Sequence[Study], budget: int) -> Difference | None:
    """Ours minus theirs at the end of the budget, over the studies that both have."""
    other = {study.seed: study.at(budget) for study in theirs}
    pairs = [
        mine[1] - its[1]
        for study in ours
        if (mine := study.at(budget)) is not None and (its := other.get(study.seed)) is not None
    ]
    found = estimate(pairs)
    if found is None:
        return None
    return Difference(found.mean, found.low, found.high, found.n, sign_flip_p(pairs))


def anytime(studies: Sequence[Study], budget: int) -> Anytime:
    """The anytime curve on a common grid of samples, from where every study has a result.

    Studies without any result are left out; without any study the curve is empty.
    """
    having = [study for study in studies if study.at(budget) is not None]
    if not having:
        return Anytime((), (), (), ())
    start = int(max(study.curve[0][0] for study in having))
    grid = sorted({start, *(budget * k // _GRID_POINTS for k in range(1, _GRID_POINTS + 1))})
    grid = [samples for samples in grid if start <= samples <= budget]
    values = _values(having, grid)
    mean = values.mean(axis=0)
    low, high = mean, mean
    if len(having) > 1:
        low, high = interval(resampled_means(values), len(having))
    return Anytime(tuple(grid), *(tuple(row.tolist()) for row in (mean, low, high)))


def target_value(studies: Sequence[Study], budget: int, *, maximize: bool) -> float | None:
    """Median over studies of the best validation value within the budget.

    None where half of the studies, or more, have none: the median is then not a number.
    """
    pick, worst = (max, -math.inf) if maximize else (min, math.inf)
    finals = [
        pick((value for spent, _, value in study.finished if spent <= budget), default=worst)
        for study in studies
    ]
    median = statistics.median(finals)
    return median if math.isfinite(median) else None


def to_target(studies: Sequence[Study], target: float, budget: int, *, maximize: bool) -> ToTarget:
    """Samples and seconds to the first finished trial that is at least as good as the target."""
    samples, seconds = [], []
    for study in studies:
        first = next(
            (
                (spent, time)
                for spent, time, value in study.finished
                if spent <= budget and (value >= target if maximize else value <= target)
            ),
            (math.inf, math.inf),
        )
        samples.append(first[0])
        seconds.append(first[1])
    reached = sum(math.isfinite(spent) for spent in samples)
    return ToTarget(reached, len(studies), _finite_median(samples), _finite_median(seconds))


def catch_up(
    ours: Sequence[Study], theirs: Sequence[Study], budget: int, *, maximize: bool
) -> CatchUp:
    """The smallest budget at which their mean test value is at least ours at our own stop.

    The ratio is to the median of what our studies drew. Both sides are resampled together, by
    study, so the interval has the chance of the draw in it on both sides.
    """
    other = {study.seed: study for study in theirs}
    pairs = [
        (mine, other[mine.seed])
        for mine in ours
        if mine.seed in other
        and mine.at(budget) is not None
        and other[mine.seed].at(budget) is not None
    ]
    if not pairs:
        return CatchUp(None, None, None, None)
    sign = 1.0 if maximize else -1.0
    events = sorted({int(p[0]) for _, study in pairs for p in study.curve if p[0] <= budget})
    curves = sign * _values([study for _, study in pairs], events)
    # before its first result a study has nothing, which no mean outweighs
    curves = np.where(np.isnan(curves), -1e300, curves)
    goals = sign * np.array(final_values([mine for mine, _ in pairs], budget))
    spent = np.array([float(mine.samples) for mine, _ in pairs])
    at = np.append(np.array(events, dtype=float), math.inf)

    found = float(at[_first(curves.mean(axis=0)[None, :], np.array([goals.mean()]))[0]])
    ratio = found / float(np.median(spent))
    low = high = math.inf
    if len(pairs) > 1:
        chosen = resamples(len(pairs))
        weights = weights_of(chosen)
        reached = at[_first(weights @ curves, weights @ goals)]
        ends = interval((reached / np.median(spent[chosen], axis=1))[:, None], len(pairs))
        low, high = float(ends[0][0]), float(ends[1][0])
    return CatchUp(
        None if math.isinf(found) else int(found),
        _finite(ratio),
        _finite(low),
        _finite(high),
    )


def _values(studies: Sequence[Study], grid: Sequence[int]) -> Floats:
    """Test value of each study's incumbent at each number of samples; NaN before the first."""
    values = np.full((len(studies), len(grid)), math.nan)
    for row, study in enumerate(studies):
        times = np.array([point[0] for point in study.curve])
        tests = np.array([point[3] for point in study.curve])
        place = np.searchsorted(times, np.asarray(grid), side="right") - 1
        values[row] = np.where(place >= 0, tests[np.maximum(place, 0)], math.nan)
    return values


def _first(curves: Floats, goals: Floats) -> NDArray[np.int64]:
    """Index of the column from which each row stays at its goal; the number of columns if none.

    A curve of test values may fall again: what is chosen is chosen on validation.
    """
    above = curves >= goals[:, None] - TIE
    reached = np.flip(np.logical_and.accumulate(np.flip(above, axis=1), axis=1), axis=1)
    first: NDArray[np.int64] = np.where(
        reached.any(axis=1), reached.argmax(axis=1), curves.shape[1]
    )
    return first


def _finite_median(values: Sequence[float]) -> float | None:
    """The median, the lower one of two middle values; None where that is infinite."""
    return _finite(statistics.median_low(values))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
