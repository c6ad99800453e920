"""What the default search promises, without pinning its path."""

import math
import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.search.worlds import World, drive, rules
from tunecli.search import Continue, MonotoneRule, Observation, Stop, StopReason, decide
from tunecli.search.ladder import Ladder


def grid(size: int, factor: float = 2.0, start: float = 0.01) -> tuple[float, ...]:
    return tuple(float(f"{start * factor**i:.12g}") for i in range(size))


def run(
    rule: MonotoneRule, values: dict[float, float | None], baseline: float | None = 0.1
) -> tuple[Stop, list[float]]:
    """The search on a table of values by rate; None, and what is not there, is divergence."""
    told: list[Observation] = []
    while isinstance(decision := decide(rule, told), Continue):
        value = values.get(decision.learning_rate)
        told.append(Observation(decision.learning_rate, value or 0.0, value is None, baseline))
        assert len(told) < 500
    return decision, [each.learning_rate for each in told]


@given(size=st.integers(3, 40), factor=st.sampled_from([1.5, 2.0, 10.0]))
def test_search_begins_inside_the_grid(size: int, factor: float) -> None:
    first = decide(MonotoneRule(learning_rates=grid(size, factor)), [])
    assert isinstance(first, Continue)
    assert first.learning_rate in grid(size, factor)[: size // 2 + 1]
    if size >= 6:
        assert first.learning_rate > grid(size, factor)[0]


@given(size=st.integers(2, 40), at=st.integers(0, 39))
def test_search_begins_where_a_probe_says(size: int, at: int) -> None:
    rates = grid(size)
    start = rates[min(at, size - 1)] * 1.01
    first = decide(MonotoneRule(learning_rates=rates, start=start), [])
    assert isinstance(first, Continue)
    assert first.learning_rate == pytest.approx(start, rel=1.01)  # at one of its two neighbours
    assert first.learning_rate in rates


@given(size=st.integers(2, 40))
def test_search_walks_up_first(size: int) -> None:
    rule = MonotoneRule(learning_rates=grid(size))
    first = decide(rule, [])
    assert isinstance(first, Continue)
    second = decide(rule, [Observation(first.learning_rate, 0.5, baseline=0.1)])
    assert isinstance(second, Continue)
    assert second.learning_rate > first.learning_rate


@settings(max_examples=100)
@given(size=st.integers(3, 40), rises=st.floats(0.02, 0.2), seed=st.integers(0, 999))
def test_nothing_below_the_start_is_tried_where_a_rate_above_it_is_better(
    size: int, rises: float, seed: int
) -> None:
    rates = grid(size)
    rule = MonotoneRule(learning_rates=rates)
    first = decide(rule, [])
    assert isinstance(first, Continue)
    draw = random.Random(seed)
    start = rates.index(first.learning_rate)
    values = {
        rate: 0.3 + rises * min(i - start, 3) + 0.001 * draw.random()
        for i, rate in enumerate(rates)
    }
    stop, tried = run(rule, dict(values.items()))
    assert stop.learned
    assert min(tried) == first.learning_rate


@settings(max_examples=200)
@given(
    size=st.integers(1, 40),
    factor=st.sampled_from([1.6, 2.0, 3.0]),
    where=st.floats(0, 1),
    steep=st.floats(0.01, 0.08),
    cliff=st.none() | st.floats(0.3, 4.0),
    maximize=st.booleans(),
)
def test_unimodal_curve_without_noise_gives_nearly_its_maximum(
    size: int, factor: float, where: float, steep: float, cliff: float | None, maximize: bool
) -> None:
    """A parabola over the logarithm, cut by divergence some way above its best rate.

    What learns must be wider than a coarse step, or the walk may pass over it unseen.
    """
    rates = grid(size, factor)
    assume(math.sqrt(0.7 / steep) > 1.2 * max(1, size / 6) * math.log2(factor))
    low, high = math.log2(rates[0]), math.log2(rates[-1])
    peak = low + where * (high - low)
    edge = math.inf if cliff is None else peak + cliff

    def value(rate: float) -> float | None:
        x = math.log2(rate)
        return None if x >= edge else max(0.9 - steep * (x - peak) ** 2, 0.1)

    values = {
        rate: each if maximize else 1 - each for rate in rates if (each := value(rate)) is not None
    }
    rule = MonotoneRule(learning_rates=rates, maximize=maximize, perfect=1.0 if maximize else 0.0)
    stop, tried = run(rule, dict(values), baseline=0.1 if maximize else 0.9)
    if not values:
        assert stop.learning_rate is None
        return
    best = max(values.values()) if maximize else min(values.values())
    assert stop.value is not None
    assert abs(best - stop.value) <= 0.02
    assert len(tried) <= size


@pytest.mark.parametrize("size", range(1, 41))
def test_every_size_of_grid_is_searched_to_an_end(size: int) -> None:
    rates = grid(size)
    rule = MonotoneRule(learning_rates=rates)
    flat, _ = run(rule, dict.fromkeys(rates, 0.1))
    assert (flat.learned, flat.edge) == (False, None)
    assert flat.learning_rate in rates
    diverged, tried = run(rule, {})
    assert (diverged.learning_rate, diverged.reason) == (None, StopReason.DIVERGED)
    assert min(tried) == rates[0]  # before it gives up, the smallest rate was tried
    same, _ = run(rule, dict.fromkeys(rates, 0.7))
    assert (same.learned, same.value) == (True, 0.7)


@pytest.mark.parametrize("values", [(0.5,), (0.5, 0.6), (0.6, 0.5), (None, 0.5), (0.5, None)])
def test_smallest_grids_give_their_best(values: tuple[float | None, ...]) -> None:
    rates = grid(len(values))
    stop, _ = run(MonotoneRule(learning_rates=rates), dict(zip(rates, values, strict=True)))
    finite = [value for value in values if value is not None]
    if values[0] is None:  # what lies above a rate that diverges is not tried
        assert stop.learning_rate is None
        return
    assert stop.value == max(finite)


def test_flat_start_is_no_reason_to_stop() -> None:
    rates = grid(30, 2.0, 1e-6)
    values: dict[float, float | None] = dict.fromkeys(rates[:24], 0.1)
    values |= {rates[24]: 0.6, rates[25]: 0.8, rates[26]: 0.9, rates[27]: 0.85}
    stop, _ = run(MonotoneRule(learning_rates=rates), values)
    assert stop.learned
    assert stop.value is not None
    assert stop.value >= 0.88


@pytest.mark.parametrize("extend", [1, 2, 5])
def test_grid_is_extended_upward_as_far_as_it_may(extend: int) -> None:
    rates, beyond = grid(5), grid(5 + extend)
    rule = MonotoneRule(learning_rates=rates, extend=extend)
    rising = {rate: 0.3 + 0.05 * i for i, rate in enumerate(grid(20))}
    stop, tried = run(rule, dict(rising))
    assert (stop.learning_rate, stop.edge) == (beyond[-1], "top")
    assert stop.reason == StopReason.GRID_EDGE
    assert max(tried) == beyond[-1]
    # where the best lies beyond the grid and the search sees its end, that is no edge
    values = {**rising, grid(20)[5]: 0.9, grid(20)[6]: 0.4}
    if extend >= 2:
        stop, _ = run(rule, dict(values))
        assert (stop.learning_rate, stop.edge) == (grid(20)[5], None)


@pytest.mark.parametrize("extend", [0, 1, 3])
def test_grid_is_extended_downward_as_far_as_it_may(extend: int) -> None:
    whole = grid(12)
    rates = whole[6:]
    falling = {rate: 0.95 - 0.06 * i for i, rate in enumerate(whole)}
    stop, tried = run(MonotoneRule(learning_rates=rates, extend=extend), dict(falling))
    assert stop.edge == "bottom"
    assert stop.learning_rate == pytest.approx(whole[6 - extend])
    assert min(tried) == stop.learning_rate


@settings(max_examples=100)
@given(
    rule=rules("geometric"),
    seed=st.integers(0, 999),
    peak=st.floats(-6, 2),
    resolution=st.sampled_from([1.1, 1.5]),
)
def test_narrowing_ends_within_the_resolution_or_where_nothing_is_left_to_gain(
    rule: MonotoneRule, seed: int, peak: float, resolution: float
) -> None:
    rule = replace(rule, repeats=1, max_trials=None, resolution=resolution, start=None, extend=3)
    world = World(rule, seed, "peak", peak=round(peak), noise=0.0, steps=2**20)
    stop, told = drive(world)
    assert stop.learning_rate is not None
    if not stop.learned:
        return
    tried = sorted({each.learning_rate for each in told})
    at = tried.index(stop.learning_rate)
    top = world.train(2.0 ** round(peak), 0).value  # the best there is
    assert stop.value is not None
    left = abs(top - stop.value)
    near = [high / low for low, high in pairwise(tried[max(at - 1, 0) : at + 2])]
    ladder = Ladder(rule)
    low, high = ladder.rate(ladder.lowest), ladder.rate(ladder.highest)
    if low <= 2.0 ** round(peak) <= high:
        assert left <= 0.03 or max(near) <= resolution * 1.001
    # it asks for nothing finer than the resolution needs
    assert min(high / low for low, high in pairwise(tried)) >= min(1.01, resolution) ** 0.49


def test_grid_is_kept_to_where_there_is_no_resolution() -> None:
    rates = grid(9)
    values = {rate: 0.9 - 0.05 * abs(i - 4.4) for i, rate in enumerate(rates)}
    stop, tried = run(MonotoneRule(learning_rates=rates), dict(values))
    assert set(tried) <= set(rates)
    assert stop.learning_rate == rates[4]


@given(values=st.lists(st.integers(0, 64), min_size=9, max_size=9), patience=st.integers(1, 3))
def test_best_is_the_best_of_what_was_tried(values: list[int], patience: int) -> None:
    """With one seed no noise is known, and the largest value wins."""
    rates = grid(9)
    rule = MonotoneRule(learning_rates=rates, patience=patience)
    table = {rate: value / 64 for rate, value in zip(rates, values, strict=True)}
    stop, tried = run(rule, dict(table))
    assert stop.value == max(table[rate] for rate in tried)


@given(
    seed=st.integers(0, 2**32 - 1),
    exponent=st.integers(-10, 10),
    shift=st.sampled_from([0.0, 0.0, -64.0, 512.0]),
    repeats=st.integers(1, 3),
)
def test_unit_of_a_metric_changes_nothing_where_its_scale_is_known(
    seed: int, exponent: int, shift: float, repeats: int
) -> None:
    """Values, baseline and perfect value in another unit: the same rates in the same order."""
    scale = 2.0**exponent  # no rounding, and neither do the values below have any

    def walk(scale: float, shift: float) -> list[float]:
        draw = random.Random(seed)
        shape = {rate: draw.randint(300, 900) / 1024 for rate in grid(9)}
        rule = MonotoneRule(
            learning_rates=grid(9), perfect=3 * scale + shift, repeats=repeats, extend=2
        )
        told: list[Observation] = []
        while isinstance(decision := decide(rule, told), Continue):
            rate = decision.learning_rate
            value = shape.get(rate, 0.25) + draw.randint(-8, 8) / 1024
            told.append(
                Observation(rate, value * scale + shift, baseline=shift, repeat=decision.repeat)
            )
        return [each.learning_rate for each in told]

    assert walk(scale, shift) == walk(1.0, 0.0)
