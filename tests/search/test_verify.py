"""What lies beyond the stop."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.search.worlds import World, drive, worlds
from tunecli.search import MonotoneRule, Observation, Stop, decide
from tunecli.search.events import TrialRecord
from tunecli.search.verify import Verification, VerifiedPoint, rates_beyond


def _stopped(**rule: Any) -> tuple[MonotoneRule, Stop]:
    built = MonotoneRule(learning_rates=(0.1, 0.2, 0.4), strategy="paper", **rule)
    sign = 1 if built.maximize else -1
    told = [
        Observation(rate, sign * value, repeat=repeat)
        for rate, values in ((0.1, (0.9, 0.5)), (0.2, (0.8, 0.4)), (0.4, (0.7, 0.7)))
        for repeat, value in enumerate(values[: built.repeats])
    ]
    stop = decide(built, told)
    assert isinstance(stop, Stop)
    return built, stop


def _record(rate: float, value: float, state: Any = "complete") -> TrialRecord:
    return TrialRecord(rate, 0, state, value, 10, 100, 1.0, role="verify")


@given(world=worlds(), count=st.integers(0, 6))
def test_rates_beyond_are_the_next_ones_above_all_that_were_tried(world: World, count: int) -> None:
    stop, _ = drive(world)
    if not stop.points:
        return
    rates = rates_beyond(world.rule, stop, count)
    highest = max(point.learning_rate for point in stop.points)
    assert len(rates) == count
    assert all(low < high for low, high in zip((highest, *rates), rates, strict=False))
    on_grid = [rate for rate in world.rule.learning_rates if rate > highest]
    assert list(rates[: len(on_grid)]) == on_grid[:count]


def test_rates_beyond_go_on_past_the_grid_with_its_last_ratio() -> None:
    rule, stop = _stopped()
    assert rates_beyond(rule, stop, 3) == (0.4, 0.8, 1.6)


def test_rates_beyond_end_where_floats_do() -> None:
    rule = MonotoneRule(learning_rates=(1e-3, 10.0), strategy="paper")
    stop = decide(rule, [Observation(1e-3, 0.9), Observation(10.0, 0.8)])
    assert isinstance(stop, Stop)
    rates = rates_beyond(rule, stop, 100)
    assert 1 < len(rates) < 100
    assert rates[0] == 1e5
    assert rates[-1] <= 1e300


@pytest.mark.parametrize("maximize", [True, False])
def test_regret_is_what_the_best_rate_beyond_gains(maximize: bool) -> None:
    rule, stop = _stopped(maximize=maximize)
    sign = 1 if maximize else -1
    found = Verification.of(
        rule,
        stop,
        [_record(1.6, 0.0, "diverged"), _record(0.4, sign * 0.85), _record(0.8, sign * 0.97)],
    )
    assert found.points == (
        VerifiedPoint(0.4, sign * 0.85, diverged=False),
        VerifiedPoint(0.8, sign * 0.97, diverged=False),
        VerifiedPoint(1.6, None, diverged=True),
    )
    assert found.learning_rate == 0.8
    assert found.regret == pytest.approx(0.07)


def test_nothing_better_beyond_is_no_regret() -> None:
    rule, stop = _stopped()
    worse = [_record(0.4, 0.9), _record(0.8, 0.1)]  # as good is not better
    found = Verification.of(rule, stop, worse)
    assert (found.learning_rate, found.regret) == (0.1, 0.0)
    assert Verification.of(rule, stop, []).regret == 0


def test_regret_is_measured_at_the_first_seed() -> None:
    rule, stop = _stopped(repeats=2)
    assert stop.value == pytest.approx(0.7)  # the mean; the first seed gave 0.9
    assert Verification.of(rule, stop, [_record(0.4, 0.8)]).regret == 0
