"""The error rate that is stated, by simulation: seeded, with binomial tolerance."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tunecli.search import Continue, MonotoneRule, Observation, decide
from tunecli.search.evidence import Evidence
from tunecli.search.noise import paired_interval, prediction_interval, spread, student_t
from tunecli.search.rule import Verdict

RUNS = 5000
ERROR_RATE = 0.05
SIGMA = 0.02

Values = NDArray[np.float64]


def table(*, correlation: float, seeds: int, heavy: bool = False, runs: int = RUNS) -> Values:
    """Deviations of standard 1 by run, rate (two of them) and seed; seeds have luck in common."""
    generator = np.random.default_rng(20)

    def draw(*shape: int) -> Values:
        if heavy:  # Student's t with 3 degrees of freedom, scaled to standard deviation 1
            return generator.standard_t(3, shape) / math.sqrt(3)
        return generator.standard_normal(shape)

    luck, own = draw(runs, 1, seeds), draw(runs, 2, seeds)
    found: Values = math.sqrt(correlation) * luck + math.sqrt(1 - correlation) * own
    return found


def most(share: float, runs: int = RUNS) -> float:
    """The largest share that chance explains: four standard deviations above."""
    return share + 4 * math.sqrt(share * (1 - share) / runs)


def contested(rule: MonotoneRule, values: Values) -> Verdict:
    """What the rule says of the second rate against the first, with as many seeds as it likes."""
    evidence = Evidence(
        rule,
        [
            Observation(rate, float(value), repeat=repeat)
            for rate, row in zip(rule.learning_rates, values, strict=True)
            for repeat, value in enumerate(row)
        ],
    )
    first, second = evidence.look(0), evidence.look(1)
    evidence.settle(first)
    evidence.settle(second)
    return evidence.contest(second)


def called_worse(values: Values, *, maximize: bool = True) -> float:
    """How often the second rate is called worse than the first."""
    rule = MonotoneRule(
        learning_rates=(0.1, 0.2),
        repeats=values.shape[2],
        maximize=maximize,
        perfect=None,
        error_rate=ERROR_RATE,
    )
    return statistics.fmean(contested(rule, run) == "worse" for run in values)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_prediction_interval_keeps_its_error_rate(seeds: int, correlation: float) -> None:
    runs = table(correlation=correlation, seeds=seeds)
    below = above = 0
    for first, second in runs:
        low, high = prediction_interval(second[0], first, ERROR_RATE)
        below += high < 0
        above += low > 0
    assert below / RUNS <= most(ERROR_RATE)
    assert above / RUNS <= most(ERROR_RATE)
    if not correlation:  # without common luck the rate is exact, not only a bound
        assert below / RUNS >= ERROR_RATE - 4 * math.sqrt(ERROR_RATE / RUNS)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_paired_interval_keeps_its_error_rate_exactly(seeds: int, correlation: float) -> None:
    runs = table(correlation=correlation, seeds=seeds)
    intervals = [paired_interval(second - first, ERROR_RATE) for first, second in runs]
    for share in (
        statistics.fmean(high < 0 for _, high in intervals),
        statistics.fmean(low > 0 for low, _ in intervals),
    ):
        assert share == pytest.approx(ERROR_RATE, abs=4 * math.sqrt(ERROR_RATE / RUNS))


@pytest.mark.parametrize("heavy", [False, True], ids=["normal", "t with 3 df"])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_rate_that_is_as_good_is_called_worse_no_more_often_than_stated(
    correlation: float, heavy: bool
) -> None:
    values = 0.5 + SIGMA * table(correlation=correlation, seeds=3, heavy=heavy)
    share = called_worse(values)
    # each look keeps the rate; heavy tails make the first of them a little less certain
    assert 0 < share <= most(ERROR_RATE) + (0.02 if heavy else 0)


def test_rate_that_is_better_is_called_worse_less_often_still() -> None:
    values = 0.5 + SIGMA * table(correlation=0.0, seeds=3)
    equal = called_worse(values)
    values[:, 1] += SIGMA
    assert called_worse(values) < equal / 2


def test_losses_are_judged_as_accuracies_are() -> None:
    values = 0.5 + SIGMA * table(correlation=0.5, seeds=3, runs=1000)
    assert called_worse(values) == called_worse(1 - values, maximize=False)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_difference_of_five_sigma_is_found(correlation: float) -> None:
    values = 0.5 + SIGMA * table(correlation=correlation, seeds=5, runs=1000)
    values[:, 1] -= 5 * SIGMA
    assert called_worse(values) > 0.95


def test_whole_search_over_two_equal_rates_calls_one_worse_at_twice_the_rate_at_most() -> None:
    runs = 800
    rule = MonotoneRule(learning_rates=(0.1, 0.2), repeats=3, perfect=None, error_rate=ERROR_RATE)
    searches = 0
    for values in 0.5 + SIGMA * table(correlation=0.0, seeds=3, runs=runs):
        told: list[Observation] = []
        while isinstance(decision := decide(rule, told), Continue):
            value = values[rule.learning_rates.index(decision.learning_rate)][decision.repeat]
            told.append(Observation(decision.learning_rate, float(value), repeat=decision.repeat))
        sure = [c for c in decision.comparisons if c.low is not None and c.verdict == "worse"]
        searches += bool(sure)
    assert 0 < searches / runs <= most(2 * ERROR_RATE, runs)


def test_difference_inside_the_noise_is_told_as_none() -> None:
    rule = MonotoneRule(learning_rates=(0.1, 0.2), repeats=3, perfect=None)
    values = np.array([[0.50, 0.47, 0.53], [0.49, 0.48, 0.52]])
    assert contested(rule, values) == "no difference"
    clear = np.array([[0.50, 0.49, 0.51], [0.30, 0.31, 0.29]])
    assert contested(rule, clear) == "worse"
    # behind with the first seed, ahead with all of them
    assert contested(rule, np.array([[0.50, 0.47, 0.50], [0.49, 0.55, 0.57]])) == "better"


@given(
    values=st.lists(st.floats(-10, 10), min_size=2, max_size=6),
    error_rate=st.floats(0.001, 0.49),
    shift=st.floats(-10, 10),
)
def test_intervals_lie_around_the_difference_and_move_with_it(
    values: list[float], error_rate: float, shift: float
) -> None:
    low, high = paired_interval(values, error_rate)
    middle = statistics.fmean(values)
    assert low <= middle + 1e-9
    assert high >= middle - 1e-9
    moved_low, moved_high = paired_interval([each + shift for each in values], error_rate)
    assert moved_low == pytest.approx(low + shift, abs=1e-6)
    assert moved_high == pytest.approx(high + shift, abs=1e-6)
    low, high = prediction_interval(shift, values, error_rate)
    assert (low + high) / 2 == pytest.approx(shift - middle, abs=1e-6)


@given(degrees=st.integers(1, 30), error_rate=st.floats(0.001, 0.4))
def test_quantile_falls_with_the_error_rate_and_the_degrees(
    degrees: int, error_rate: float
) -> None:
    assert student_t(error_rate, degrees) > student_t(error_rate * 1.1, degrees) > 0
    assert student_t(error_rate, degrees) > student_t(error_rate, degrees + 1)


def test_spread_needs_two_values() -> None:
    assert spread([0.5]) is None
    assert spread([0.4, 0.6]) == pytest.approx(math.sqrt(0.02))
