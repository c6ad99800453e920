import math
import statistics
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from tunecli.search.compare.bootstrap import estimate, holm, sign_flip_p


def test_estimate_of_two_values_spans_them() -> None:
    found = estimate([0.25, 0.75])
    assert found is not None
    assert (found.mean, found.low, found.high, found.n) == (0.5, 0.25, 0.75, 2)


def test_estimate_of_one_value_has_no_interval_and_of_none_is_none() -> None:
    single = estimate([0.5])
    assert single is not None
    assert (single.low, single.high) == (None, None)
    assert estimate([]) is None


def test_interval_holds_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    held = 0
    draws = 400
    for _ in range(draws):
        found = estimate(random.normal(0.3, 1.0, size=10).tolist())
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.3 <= found.high
    # 95 % of 400 is 380, with a standard deviation of 4.4; a plain percentile interval has 90 %
    assert 0.925 <= held / draws <= 0.98


def test_sign_flip_p_counts_the_patterns() -> None:
    # of 1, 2, −4 the sums are ±7, ±3, ±5, ±1: six of eight are at least 1 off zero, and so are all
    assert sign_flip_p([1.0, 2.0, -4.0]) == 1.0
    assert sign_flip_p([1.0, 2.0, 4.0]) == float(Fraction(2, 8))
    assert sign_flip_p([1.0, -2.0, 4.0]) == float(Fraction(6, 8))
    assert sign_flip_p([0.0, 0.0]) == 1.0


def test_sign_flip_p_is_uniform_enough_without_a_difference() -> None:
    random = np.random.default_rng(2)
    p_values = [sign_flip_p(random.normal(size=10).tolist()) for _ in range(400)]
    assert np.mean(np.array(p_values) <= 0.05) <= 0.08


def test_sign_flip_p_of_many_studies_is_drawn() -> None:
    assert sign_flip_p([0.1] * 20) < 0.001
    assert sign_flip_p([0.1, -0.1] * 10) > 0.5


def test_holm_multiplies_by_what_is_left() -> None:
    assert holm([0.01, 0.02, 0.03, 0.005]) == pytest.approx([0.03, 0.04, 0.04, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_statistics_do_not_depend_on_when_they_are_asked() -> None:
    values = np.random.default_rng(3).normal(size=9).tolist()
    first = estimate(values)
    assert first == estimate(values)
    assert first is not None
    assert first.mean == pytest.approx(statistics.fmean(values))
    assert math.isfinite(first.low or math.nan)
    assert replace(first, n=9) == first
