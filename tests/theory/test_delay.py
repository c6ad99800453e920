"""Delay distributions against their definitions: probabilities, means and transforms."""

import cmath
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunecli.errors import InvalidValueError
from tunecli.theory.delay import (
    ConstantDelay,
    DelayDistribution,
    GaussianDelay,
    GeometricDelay,
    HistogramDelay,
    UniformDelay,
)

distributions: st.SearchStrategy[DelayDistribution] = st.one_of(
    st.builds(ConstantDelay, st.integers(0, 60)),
    st.builds(
        lambda low, width: UniformDelay(low, low + width), st.integers(0, 30), st.integers(0, 30)
    ),
    st.builds(GaussianDelay, st.integers(1, 40), st.floats(0.1, 8)),
    st.builds(GeometricDelay, st.floats(0, 0.95)),
    st.builds(
        lambda counts: HistogramDelay((*counts, 1)), st.lists(st.floats(0, 100), max_size=40)
    ),
)


@given(delay=distributions, angle=st.floats(-math.pi, math.pi), away=st.floats(-0.02, 0.02))
def test_transform_is_the_sum_over_the_probabilities_on_the_circle_and_near_it(
    delay: DelayDistribution, angle: float, away: float
) -> None:
    theta = angle + 1j * away
    terms = (p * cmath.exp(-1j * theta * k) for k, p in enumerate(delay.probabilities()))
    assert delay.transform(theta) == pytest.approx(sum(terms), abs=1e-9)


@given(delay=distributions)
def test_probabilities_add_up_to_1_and_have_the_mean_that_is_told(delay: DelayDistribution) -> None:
    values = delay.probabilities()
    assert min(values) >= 0
    assert math.fsum(values) == pytest.approx(1, abs=2e-12)
    assert delay.largest is None or len(values) == delay.largest + 1
    if not isinstance(delay, GaussianDelay):
        mean = math.fsum(k * p for k, p in enumerate(values))
        assert mean == pytest.approx(delay.mean, abs=1e-9)


def test_transform_of_many_bins_is_that_of_horners_scheme() -> None:
    counts = tuple(float((7 * k) % 11) for k in range(5000))
    delay = HistogramDelay((0.0, 0.0, *counts))
    for theta in (0.0, 1e-5, 0.3, math.pi, 0.2 - 1e-4j):
        total = 0j
        for p in reversed(delay.probabilities()):
            total = total * cmath.exp(-1j * theta) + p
        assert delay.transform(theta) == pytest.approx(total, abs=1e-11)


def test_gaussian_delay_is_the_papers_table() -> None:
    def below(x: float) -> float:
        return (1 + math.erf((x - 3) / math.sqrt(2))) / 2

    masses = [0.0] + [below(k + 0.5) - below(k - 0.5) for k in range(1, 7)]
    expected = [mass / sum(masses) for mass in masses]
    assert GaussianDelay(3).probabilities() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("center", "bias"), [(1, 0.387), (2, 0.131), (5, 2e-5), (30, 0)])
def test_gaussian_delays_true_mean_exceeds_its_center_as_the_docstring_says(
    center: int, bias: float
) -> None:
    values = GaussianDelay(center).probabilities()
    true_mean = math.fsum(k * p for k, p in enumerate(values))
    assert true_mean - center == pytest.approx(bias, abs=5e-4 if bias > 1e-3 else 1e-5)


def test_geometric_delay_of_16_workers_has_the_mean_15() -> None:
    delay = GeometricDelay.of_workers(16)
    assert delay.persistence == GeometricDelay.of_mean(15).persistence == 15 / 16
    assert delay.mean == 15
    assert delay.probabilities()[:2] == pytest.approx((1 / 16, 15 / 256))


def test_one_worker_has_no_delay() -> None:
    delay = GeometricDelay.of_workers(1)
    assert (delay.mean, delay.largest, delay.probabilities()) == (0, 0, (1.0,))


def test_histogram_forgets_the_counts_of_delays_that_were_not_seen() -> None:
    assert HistogramDelay((1, 3, 0, 0)) == HistogramDelay.from_counts({1: 3, 0: 1})
    assert HistogramDelay((1, 3, 0, 0)).largest == 1


def test_to_dict_is_plain_json_with_the_parameters_that_build_it_again() -> None:
    assert UniformDelay(1, 30).to_dict() == {
        "kind": "uniform",
        "mean": 15.5,
        "low": 1,
        "high": 30,
    }
    assert GaussianDelay(15).to_dict() == {"kind": "gaussian", "mean": 15, "std": 1.0}
    assert GeometricDelay(0.5).to_dict() == {"kind": "geometric", "mean": 1.0, "persistence": 0.5}
    assert HistogramDelay((0, 2)).to_dict()["counts"] == [0.0, 2.0]


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: ConstantDelay(-1), "delay must be an integer ≥ 0 but got -1"),
        (lambda: ConstantDelay(True), "delay must be an integer ≥ 0 but got True"),
        (lambda: UniformDelay(4, 3), "high must be an integer ≥ 4 but got 3"),
        (lambda: GaussianDelay(0), "mean must be an integer ≥ 1 but got 0"),
        (lambda: GaussianDelay(3, 0.0), "std must be positive and finite but got 0.0"),
        (lambda: GeometricDelay(1.0), "persistence must be in"),
        (lambda: GeometricDelay.of_mean(-1), "mean must be ≥ 0 and finite but got -1"),
        (lambda: GeometricDelay.of_workers(0), "num_workers must be ≥ 1 but got 0"),
        (lambda: HistogramDelay(()), "counts must be non-negative, finite and not all 0"),
        (lambda: HistogramDelay((1, -1)), "not all 0 but got .1, -1."),
        (lambda: HistogramDelay((math.nan,)), "not all 0 but got .nan."),
        (lambda: HistogramDelay((math.inf,)), "not all 0 but got .inf."),
        (lambda: HistogramDelay.from_counts({}), "counts must be not empty"),
        (lambda: HistogramDelay.from_counts({-2: 1}), "must be an integer ≥ 0 but got -2"),
    ],
)
def test_distributions_refuse_what_is_no_distribution(build: object, words: str) -> None:
    assert callable(build)
    with pytest.raises(InvalidValueError, match=words):
        build()
