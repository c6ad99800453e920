import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunecli.report.axes import Scale, extent, linear_ticks, log_ticks, spread, tick_label

RANGES = st.tuples(st.floats(-1e12, 1e12), st.floats(1e-9, 1e12)).map(
    lambda r: (r[0], r[0] + r[1] + abs(r[0]) * 1e-9)
)
LOG_RANGES = st.tuples(st.floats(-12, 12), st.floats(1e-6, 12)).map(
    lambda r: (10 ** r[0], 10 ** (r[0] + r[1]))
)


@given(RANGES, st.integers(1, 12))
def test_linear_ticks_lie_in_the_range_ascend_and_fit(ends: tuple[float, float], most: int) -> None:
    ticks = linear_ticks(*ends, most)
    slack = 1e-6 * (ends[1] - ends[0]) + 1e-9 * max(abs(end) for end in ends)
    assert 1 <= len(ticks) <= most
    assert ticks == sorted(set(ticks))
    assert all(ends[0] - slack <= tick <= ends[1] + slack for tick in ticks)


@given(LOG_RANGES, st.integers(2, 12))
def test_log_ticks_lie_in_the_range_ascend_and_fit(ends: tuple[float, float], most: int) -> None:
    ticks = log_ticks(*ends, most)
    assert 1 <= len(ticks) <= most
    assert ticks == sorted(set(ticks))
    assert all(ends[0] * (1 - 1e-6) <= tick <= ends[1] * (1 + 1e-6) for tick in ticks)


@pytest.mark.parametrize(
    ("low", "high"), [(0.5, 0.5), (0.0, 0.0), (-1.0, -1.0), (1e-323, 2e-323), (2.0, 1.0)]
)
def test_range_without_length_has_a_tick(low: float, high: float) -> None:
    assert linear_ticks(low, high, 5)[0] == low


def test_log_ticks_within_less_than_a_decade_are_linear_where_round_ones_are_too_few() -> None:
    assert log_ticks(0.51, 0.58, 6) == pytest.approx([0.52, 0.54, 0.56, 0.58])


@given(st.lists(st.floats(-1e150, 1e150), max_size=5))
def test_extent_holds_the_values_and_has_length(values: list[float]) -> None:
    low, high = extent(values)
    assert low < high
    assert math.isfinite(high - low)
    assert all(low <= value <= high for value in values)


@given(st.lists(st.floats(1e-150, 1e150), max_size=5))
def test_log_extent_holds_the_values_and_stays_positive(values: list[float]) -> None:
    low, high = extent(values, log=True)
    assert 0 < low < high
    assert all(low * (1 - 1e-9) <= value <= high * (1 + 1e-9) for value in values)


@given(RANGES, st.lists(st.floats(-1e150, 1e150), min_size=2, max_size=6))
def test_scale_keeps_the_order_and_stays_near(
    ends: tuple[float, float], values: list[float]
) -> None:
    places = [Scale(*ends, 0.0, 100.0)(value) for value in sorted(values)]
    assert places == sorted(places)
    assert all(-100 <= place <= 200 for place in places)


@given(st.lists(st.floats(0, 100), max_size=12), st.floats(1, 30))
def test_spread_keeps_labels_apart_in_order_and_inside(places: list[float], gap: float) -> None:
    moved = spread(places, gap, 0, 100)
    gap = min(gap, 100 / max(len(places) - 1, 1))
    order = sorted(range(len(places)), key=lambda index: places[index])
    ranked = [moved[index] for index in order]
    assert all(-1e-6 <= place <= 100 + 1e-6 for place in ranked)
    assert all(b - a >= gap - 1e-6 for a, b in pairwise(ranked))


@given(st.floats(-1e15, 1e15))
def test_tick_label_reads_as_the_number(value: float) -> None:
    text = tick_label(value).replace("−", "-").replace("k", "e3").replace("M", "e6")
    assert float(text) == pytest.approx(value, rel=1e-3)
