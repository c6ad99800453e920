"""The rules that scale the learning rate with the delay."""

import math
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunecli.errors import InvalidValueError
from tunecli.theory.delay import ConstantDelay, GeometricDelay, HistogramDelay
from tunecli.theory.delay_scaling import (
    ScalingRule,
    compare_rules,
    delay_scaled_learning_rate,
    delay_scaling,
)
from tunecli.theory.mean_square import mean_square_threshold
from tunecli.theory.stability import stability_threshold


@given(delay=st.integers(0, 10**6), rate=st.floats(1e-6, 10))
def test_exact_rule_is_eq_6_for_a_constant_delay(delay: int, rate: float) -> None:
    expected = rate * math.sin(math.pi / (4 * delay + 2))
    found = delay_scaled_learning_rate(rate, ConstantDelay(delay))
    assert found == pytest.approx(expected, rel=1e-14)


def test_exact_rule_keeps_a_rate_that_has_no_delay_where_eq_8_does_not() -> None:
    assert delay_scaling(ConstantDelay(0)) == 1
    assert delay_scaling(ConstantDelay(0), rule="eq8") == pytest.approx(math.pi / 2)


@given(delay=st.integers(1, 10**4))
def test_eq_8_is_within_5_percent_from_delay_1_on(delay: int) -> None:
    errors = {each.rule: each.error for each in compare_rules(ConstantDelay(delay))}
    assert 0 < errors["eq8"] < 0.05
    assert errors["inverse-plus-one"] < errors["inverse"]


def test_rules_values_by_hand() -> None:
    delay = ConstantDelay(16)
    rules: dict[ScalingRule, float] = {
        "exact": math.sin(math.pi / 66),
        "mean": math.sin(math.pi / 66),
        "eq8": math.pi / 66,
        "inverse": 1 / 16,
        "inverse-plus-one": 1 / 17,
    }
    for rule, expected in rules.items():
        assert delay_scaling(delay, rule=rule) == pytest.approx(expected, rel=1e-14)
    compared = compare_rules(delay)
    assert [each.rule for each in compared] == list(get_args(ScalingRule)) == list(rules)
    assert [each.factor for each in compared] == pytest.approx(list(rules.values()))
    for each in compared:
        assert each.error == pytest.approx(each.factor / rules["exact"] - 1, abs=1e-14)


def test_random_delays_are_scaled_by_the_mean_square_threshold_unless_told_otherwise() -> None:
    delay = GeometricDelay.of_mean(15)
    assert delay_scaling(delay) == pytest.approx(mean_square_threshold(delay) / 2)
    assert delay_scaling(delay, rule="mean") == pytest.approx(31)
    assert delay_scaling(delay, rule="inverse") == pytest.approx(1 / 15)


@pytest.mark.parametrize("rule", get_args(ScalingRule))
def test_a_scaling_from_one_delay_to_another_and_back_is_none(rule: ScalingRule) -> None:
    near, far = ConstantDelay(3), HistogramDelay((0, 0, 0, 0, 1, 2, 4, 2, 1))
    kwargs: Any = {"momentum": 0.9, "momentum_kind": "shifted", "discount": 0.5, "rule": rule}
    there = delay_scaling(far, from_delay=near, **kwargs)
    back = delay_scaling(near, from_delay=far, **kwargs)
    assert there * back == pytest.approx(1, rel=1e-12)
    assert there < 1
    assert delay_scaling(far, from_delay=far, **kwargs) == 1


def test_momentum_counts_at_both_delays() -> None:
    kwargs: Any = {"momentum": 0.9, "momentum_kind": "standard"}
    expected = stability_threshold(ConstantDelay(4), **kwargs) / 38
    assert delay_scaling(ConstantDelay(4), **kwargs) == pytest.approx(expected, rel=1e-12)


def test_1_over_delay_is_refused_and_left_out_where_there_is_no_delay() -> None:
    with pytest.raises(InvalidValueError, match="mean delay must be positive for 1/τ but got 0"):
        delay_scaling(ConstantDelay(0), rule="inverse")
    rules = [each.rule for each in compare_rules(ConstantDelay(0))]
    assert rules == ["exact", "mean", "eq8", "inverse-plus-one"]


def test_scaling_refuses_other_rules_and_rates() -> None:
    with pytest.raises(InvalidValueError, match="rule must be exact or mean or eq8 or"):
        delay_scaling(ConstantDelay(1), rule="sqrt")  # type: ignore[arg-type]
    for rate in (-1.0, math.inf, math.nan):
        with pytest.raises(InvalidValueError, match="learning_rate must be ≥ 0 and finite"):
            delay_scaled_learning_rate(rate, ConstantDelay(1))
