"""Positions on the grid, beyond its edges, and in between."""

import math
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.search.worlds import rules
from tunecli.search import MonotoneRule
from tunecli.search.ladder import Ladder


@given(rule=rules())
def test_whole_positions_on_the_grid_are_its_rates(rule: MonotoneRule) -> None:
    ladder = Ladder(rule)
    assert ladder.size == len(rule.learning_rates)
    assert tuple(ladder.rate(i) for i in range(ladder.size)) == rule.learning_rates


@given(rule=rules(), halvings=st.integers(0, 3))
def test_rates_ascend_with_their_positions(rule: MonotoneRule, halvings: int) -> None:
    ladder = Ladder(rule)
    parts = 2**halvings
    positions = range(ladder.lowest * parts, ladder.highest * parts + 1)
    rates = [ladder.rate(position / parts) for position in positions]
    assert all(low < high for low, high in pairwise(rates))
    assert rates[0] > 0


@given(rule=rules())
def test_grid_goes_on_with_the_ratio_at_its_edge_as_far_as_it_may(rule: MonotoneRule) -> None:
    ladder = Ladder(rule)
    extend = 0 if rule.strategy == "paper" else rule.extend
    assert (ladder.lowest, ladder.highest) == (-extend, ladder.size - 1 + extend)
    rates = rule.learning_rates
    for i in range(1, extend + 1):
        above = rates[-1] * (rates[-1] / rates[-2]) ** i
        below = rates[0] * (rates[0] / rates[1]) ** i
        assert ladder.rate(ladder.size - 1 + i) == pytest.approx(above, rel=1e-9)
        assert ladder.rate(-i) == pytest.approx(below, rel=1e-9)


def test_extension_is_tidy_and_a_grid_of_one_doubles() -> None:
    rule = MonotoneRule(learning_rates=(0.1, 0.2, 0.4), extend=2)
    ladder = Ladder(rule)
    assert [ladder.rate(i) for i in range(-2, 5)] == [0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6]
    one = Ladder(MonotoneRule(learning_rates=(0.3,), extend=1))
    assert [one.rate(i) for i in (-1, 0, 1)] == [0.15, 0.3, 0.6]
    linear = Ladder(MonotoneRule(learning_rates=(0.1, 0.2, 0.3), extend=1))
    assert [linear.rate(-1), linear.rate(3)] == [0.05, pytest.approx(0.45)]


@pytest.mark.parametrize(
    "rates",
    [(1e-300, 1e300), (1e-308, 1.0), (1e299, 1e300), (1e-300, 1e-299), (1e-100, 1e100)],
)
def test_extension_stays_an_ordinary_float(rates: tuple[float, ...]) -> None:
    ladder = Ladder(MonotoneRule(learning_rates=rates, extend=100))
    for position in (ladder.lowest, ladder.highest):
        assert 0 < ladder.rate(position) < math.inf
    assert ladder.lowest <= 0
    assert ladder.highest >= 1


@given(rule=rules("geometric"), start=st.integers(0, 11), gap=st.integers(1, 11), up=st.booleans())
def test_between_converges_on_the_best_down_to_the_resolution(
    rule: MonotoneRule, start: int, gap: int, up: bool
) -> None:
    """Were the best rate to stay the best, its neighbour would come ever closer."""
    ladder = Ladder(rule)
    best = float(min(start, ladder.size - 1))
    neighbour = best + gap if up else best - gap
    assume(0 <= neighbour <= ladder.size - 1)
    steps = 0
    while (position := ladder.between(best, neighbour)) is not None:
        low, high = sorted((best, neighbour))
        assert low < position < high
        assert abs(neighbour - best) < 1.5 or position == int(position)  # grid points first
        neighbour, steps = position, steps + 1
        assert steps < 40
    low, high = sorted((best, neighbour))
    if rule.resolution is None:
        assert high - low == 1
    else:
        ratio = ladder.rate(high) / ladder.rate(low)
        assert ratio <= max(rule.resolution, 1.01)


def test_between_takes_of_two_middles_the_one_nearer_to_the_best() -> None:
    ladder = Ladder(MonotoneRule(learning_rates=(0.1, 0.2, 0.4, 0.8), resolution=1.5))
    assert ladder.between(0, 3) == 1
    assert ladder.between(3, 0) == 2
    assert ladder.between(1, 2) == 1.5
    assert ladder.rate(1.5) == 0.2828  # the geometric mean, in four digits
    assert ladder.between(1, 1.5) is None
