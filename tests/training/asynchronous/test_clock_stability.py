"""The mean-square threshold supposes independent delays; workers on a clock have dependent ones."""

from collections import Counter

import numpy as np
import pytest

from tunecli.theory.delay import HistogramDelay
from tunecli.theory.mean_square import mean_square_threshold
from tunecli.theory.stability import stability_threshold
from tunecli.training.asynchronous.delivery import Service, clock

STRAGGLER = (1.0, 1.0, 1.0, 0.1)


def growth(speeds: tuple[float, ...], service: Service, rate: float) -> float:
    """Root mean square at the end over that at the middle, of x ← x − rate · x_read, 100 paths."""
    turns, middle, end = 1500, [], []
    for seed in range(100):
        read = clock(speeds, turns, seed=seed, service=service).read
        path = np.empty(turns + 1)
        path[0] = 1.0
        for turn in range(turns):
            path[turn + 1] = path[turn] - rate * path[read[turn]]
        middle.append(path[turns // 2 - 50 : turns // 2])
        end.append(path[-50:])
    return float(np.sqrt(np.mean(np.square(end)) / np.mean(np.square(middle))))


@pytest.mark.parametrize(
    ("speeds", "service"),
    [(STRAGGLER, "exponential"), (STRAGGLER, "constant"), ((1.0,) * 16, "exponential")],
    ids=["straggler", "straggler on a strict clock", "sixteen alike"],
)
def test_mean_square_threshold_holds_for_workers_on_a_clock(
    speeds: tuple[float, ...], service: Service
) -> None:
    """Stable below it, and unstable not far above it: at 1.4 times it at the latest."""
    delays = clock(speeds, 20_000, seed=1, service=service).delays[200:]
    delay = HistogramDelay.from_counts(Counter(delays.tolist()))
    threshold = mean_square_threshold(delay)
    assert growth(speeds, service, 0.9 * threshold) < 0.1
    assert growth(speeds, service, 1.4 * threshold) > 10


def test_mean_alone_would_be_stable_where_workers_on_a_clock_are_not() -> None:
    """Eq. 19 allows four exponential workers, one of them slow, five times the rate of no delay."""
    delays = clock(STRAGGLER, 20_000, seed=1, service="exponential").delays[200:]
    threshold = stability_threshold(HistogramDelay.from_counts(Counter(delays.tolist())))
    assert threshold > 2 * 4
    assert growth(STRAGGLER, "exponential", 0.12 * threshold) > 10


def test_a_strict_clock_with_two_very_unequal_workers_is_less_stable_than_independent_delays() -> (
    None
):
    """The limit of the histogram: it does not know that a late gradient comes after ten early ones.

    Pathwise the threshold is 1, that of the mean delay; as independent draws it would be 1.6.
    """
    speeds = (1.0, 0.1)
    delays = clock(speeds, 20_000, seed=1, service="constant").delays[200:]
    threshold = mean_square_threshold(HistogramDelay.from_counts(Counter(delays.tolist())))
    assert threshold == pytest.approx(1.6, abs=0.05)
    assert growth(speeds, "constant", 0.95) < 1 < growth(speeds, "constant", 1.05)
