"""SME's closed forms against the moment equations they solve, and against known limits."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunecli.errors import InvalidValueError
from tunecli.theory.modified_equations import (
    best_persistence,
    equivalent_momentum,
    largest_useful_learning_rate,
    persistence_of_workers,
    sgd_stationary_variance,
    stationary_moments,
)

rates = st.floats(1e-4, 1)
persistences = st.floats(0, 0.99)
sharpnesses = st.floats(0.01, 100)


@pytest.mark.parametrize(
    ("num_workers", "expected"), [(1, 0.0102), (2, 0.0104), (4, 0.0108), (8, 0.0116), (16, 0.0132)]
)
def test_stationary_variance_is_papers_mds_table(num_workers: int, expected: float) -> None:
    mu = persistence_of_workers(num_workers)
    found = stationary_moments(0.02, mu, sharpness=1.0, gradient_noise=1.0).variance
    assert found == pytest.approx(expected, rel=1e-12)


@given(eta=rates, mu=persistences, a=sharpnesses, noise=st.floats(0, 10))
def test_stationary_moments_are_a_rest_point_of_eq_5_4(
    eta: float, mu: float, a: float, noise: float
) -> None:
    friction = math.sqrt((1 - mu) / eta)
    matrix = np.array([[0, 0, 2], [0, -2 * friction, -2 * a], [-a, 1, -friction]])
    found = stationary_moments(eta, mu, sharpness=a, gradient_noise=noise)
    moments = np.array([found.variance, found.gradient_variance, found.covariance])
    forcing = noise * eta**1.5 / math.sqrt(1 - mu)
    assert matrix @ moments == pytest.approx([-forcing, 0, 0], abs=1e-9 * (forcing + 1e-12))


@given(eta=rates, a=sharpnesses)
def test_best_persistence_and_largest_useful_rate_are_each_others_inverse(
    eta: float, a: float
) -> None:
    mu = best_persistence(eta, a)
    if mu > 0:
        assert largest_useful_learning_rate(mu, a) == pytest.approx(eta, rel=1e-9)
    else:
        assert eta * a >= 0.25


@given(mu=persistences, a=sharpnesses)
def test_largest_useful_rate_is_where_the_expected_path_begins_to_oscillate(
    mu: float, a: float
) -> None:
    def imaginary(eta: float) -> float:
        friction = math.sqrt((1 - mu) / eta)
        return float(np.linalg.eigvals(np.array([[-friction, -a], [1, 0]])).imag.max())

    eta = largest_useful_learning_rate(mu, a)
    assert imaginary(eta * 0.999) == 0
    assert imaginary(eta * 1.001) > 0


@given(eta=st.floats(1e-4, 1e-2), mu=persistences, a=st.floats(0.1, 1))
def test_equivalent_momentum_has_the_same_variance_at_small_rates(
    eta: float, mu: float, a: float
) -> None:
    # exact variance of x ← x + v, v ← μ′v − η′(ax + noise), of which the SME is the limit
    rate, momentum = equivalent_momentum(eta, mu)
    exact = rate * (1 + momentum) / (a * (1 - momentum) * (2 * (1 + momentum) - a * rate))
    # to leading order Ση/(2a): the delay's own term is Ση²/(2(1−μ)), of relative size aη/(1−μ)
    found = stationary_moments(eta, mu, sharpness=a, gradient_noise=1.0).variance
    assert exact == pytest.approx(found, rel=2 * a * eta / (1 - mu))


def test_equivalent_momentum_by_hand() -> None:
    assert equivalent_momentum(0.1, 0.75) == (0.025, 0.75)
    assert equivalent_momentum(0.1, 0.0) == (0.1, 0.0)


@given(eta=st.floats(1e-6, 1e-3), a=sharpnesses)
def test_without_delay_both_equations_have_sgds_variance_at_small_rates(
    eta: float, a: float
) -> None:
    exact = eta / (a * (2 - eta * a))  # of x ← (1 − ηa) x − η noise
    delayed = stationary_moments(eta, 0.0, sharpness=a, gradient_noise=1.0).variance
    assert delayed == pytest.approx(exact, rel=2 * eta * a)
    undelayed = sgd_stationary_variance(eta, sharpness=a, gradient_noise=1.0)
    assert undelayed == pytest.approx(exact, rel=2 * eta * a)
    assert undelayed < exact < delayed  # each equation is off by its own second order


def test_closed_forms_refuse_what_is_not_allowed() -> None:
    with pytest.raises(InvalidValueError, match="num_workers must be ≥ 1 but got 0"):
        persistence_of_workers(0)
    with pytest.raises(InvalidValueError, match="persistence must be in"):
        largest_useful_learning_rate(1.0, 1.0)
    with pytest.raises(InvalidValueError, match="sharpness must be positive and finite but got 0"):
        best_persistence(0.1, 0)
    with pytest.raises(InvalidValueError, match="learning_rate must be positive and finite"):
        equivalent_momentum(-0.1, 0.5)
    with pytest.raises(InvalidValueError, match="gradient_noise must be ≥ 0 but got -1"):
        stationary_moments(0.1, 0.5, sharpness=1.0, gradient_noise=-1)
