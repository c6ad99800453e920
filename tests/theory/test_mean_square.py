"""The mean-square threshold against exact second moments and against drawn delays."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.theory.references import second_moment_radius
from tunecli.errors import InvalidValueError
from tunecli.theory.delay import (
    ConstantDelay,
    GaussianDelay,
    GeometricDelay,
    HistogramDelay,
    UniformDelay,
)
from tunecli.theory.mean_square import mean_square_threshold
from tunecli.theory.stability import stability_threshold

arguments = st.fixed_dictionaries(
    {
        "momentum": st.one_of(st.floats(0, 0.95), st.just(0.98)),
        "momentum_kind": st.sampled_from(["none", "standard", "shifted"]),
        "discount": st.one_of(st.floats(0, 1), st.just(1.0)),
    }
)
few_counts = st.lists(st.floats(0, 1), min_size=1, max_size=4).map(lambda c: (*c, 0.5))


@given(counts=few_counts, kwargs=arguments)
@example(counts=(1, 0, 1), kwargs={"momentum": 0.0, "momentum_kind": "none", "discount": 1.0})
@example(counts=(0, 1, 2), kwargs={"momentum": 0.9, "momentum_kind": "shifted", "discount": 1.0})
@example(counts=(1, 0, 9), kwargs={"momentum": 0.9, "momentum_kind": "shifted", "discount": 0.5})
@example(counts=(9, 0, 1), kwargs={"momentum": 0.9, "momentum_kind": "standard", "discount": 0.5})
@settings(max_examples=60, deadline=None)
def test_threshold_is_where_the_exact_second_moments_begin_to_grow(
    counts: tuple[float, ...], kwargs: dict[str, Any]
) -> None:
    delay = HistogramDelay(counts)
    rate, probabilities = mean_square_threshold(delay, **kwargs), delay.probabilities()
    # stable at all the tried rates below, not only just below: the threshold is the first one
    for share in (0.1, 0.3, 0.5, 0.7, 0.9, 0.999):
        assert second_moment_radius(probabilities, share * rate, **kwargs) < 1 + 1e-7
    assert second_moment_radius(probabilities, 1.001 * rate, **kwargs) > 1 - 1e-7
    assert rate <= stability_threshold(delay, **kwargs)


@pytest.mark.parametrize(
    ("delay", "expected"),
    [
        (UniformDelay(1, 30), 0.135491),
        (UniformDelay(0, 2), 0.952371),
        (GeometricDelay.of_mean(15), 0.358357),
        (GeometricDelay.of_mean(3), 0.743213),
        (HistogramDelay.from_counts({0: 1, 30: 1}), 1 / 3),
        (GaussianDelay(15), 0.101790),
    ],
)
def test_thresholds_without_momentum(delay: Any, expected: float) -> None:
    assert mean_square_threshold(delay) == pytest.approx(expected, abs=1e-6)


def test_half_the_gradients_late_by_2_is_the_second_moments_threshold() -> None:
    delay = HistogramDelay((1, 0, 1))
    rate = mean_square_threshold(delay)
    assert second_moment_radius(delay.probabilities(), rate) == pytest.approx(1, abs=1e-9)


def test_threshold_close_to_the_means_is_the_exact_second_moments_threshold() -> None:
    # a root is near the circle: the sum over few angles needs its share subtracted
    delay = GaussianDelay(6)
    rate = mean_square_threshold(delay)
    assert second_moment_radius(delay.probabilities(), rate) == pytest.approx(1, abs=1e-8)
    assert stability_threshold(delay) / rate - 1 == pytest.approx(0.0102, abs=1e-4)


@given(delay=st.integers(0, 10**5), kwargs=arguments)
def test_a_constant_delay_has_no_noise(delay: int, kwargs: dict[str, Any]) -> None:
    one_bin = ConstantDelay(delay)
    assert mean_square_threshold(one_bin, **kwargs) == stability_threshold(one_bin, **kwargs)


def test_a_histogram_of_one_bin_has_no_noise() -> None:
    one_bin = HistogramDelay.from_counts({7: 12})
    assert mean_square_threshold(one_bin) == pytest.approx(stability_threshold(one_bin), rel=1e-12)


@pytest.mark.parametrize("kind", ["none", "standard", "shifted"])
@pytest.mark.parametrize(
    "delay", [UniformDelay(1, 30), GaussianDelay(15), GeometricDelay.of_mean(15)]
)
def test_closed_form_transforms_have_the_thresholds_of_their_tables(delay: Any, kind: str) -> None:
    kwargs: Any = {"momentum": 0.9, "momentum_kind": kind, "discount": 0.7}
    # the longer table is transformed by FFT on more nodes
    counts = {**dict(enumerate(delay.probabilities())), 700: 1e-14}
    assert mean_square_threshold(delay, **kwargs) == pytest.approx(
        mean_square_threshold(HistogramDelay.from_counts(counts), **kwargs), rel=1e-6
    )


@given(mean=st.one_of(st.floats(0.1, 200), st.floats(200, 1e6)))
@example(mean=5e3)
@example(mean=1e6)
@settings(max_examples=40, deadline=None)
def test_geometric_threshold_is_the_closed_form(mean: float) -> None:
    """Without momentum the integral is a rational function; its root is found by hand.

    With μ the persistence, z − 1 + cφ has the denominator z² − (1+μ−c(1−μ))z + μ = z² − pz + μ, and
    1 − |φ|² = 2μ(1 − cos θ)/|z − μ|². So the gain is c²·2μ(1 − ρ)γ₀ with ρ the first
    autocorrelation p/(1+μ) and γ₀ the variance of the autoregression z² − pz + μ.
    """
    mu = mean / (1 + mean)
    rate = mean_square_threshold(GeometricDelay.of_mean(mean))
    p = 1 + mu - rate * (1 - mu)
    correlation = p / (1 + mu)
    variance = 1 / ((1 - mu**2) * (1 - correlation**2))
    assert rate**2 * 2 * mu * (1 - correlation) * variance == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize(
    ("kind", "momentum"),
    [("none", 0.0), ("standard", 0.5), ("standard", 0.9), ("shifted", 0.5), ("shifted", 0.9)],
)
def test_geometric_threshold_falls_with_the_mean_up_to_a_million(
    kind: Any, momentum: float
) -> None:
    means = [10.0, 31.9, 32.1, 100.0, 999.0, 3e3, 5e3, 1e4, 1e5, 1e6]
    found = [
        mean_square_threshold(
            GeometricDelay.of_mean(mean), momentum=momentum, momentum_kind=kind, discount=1.0
        )
        for mean in means
    ]
    assert found == sorted(found, reverse=True)
    assert found[1] == pytest.approx(found[2], rel=0.01)  # the two ways to sum meet
    # in the long run √(2/mean), times a number that the delayed buffer makes larger
    assert found[-1] * (1e6 / 2) ** 0.5 == pytest.approx(1, abs=0.1 if kind != "shifted" else 0.4)
    assert found[-2] / found[-1] == pytest.approx(10**0.5, rel=0.13)


@pytest.mark.parametrize("mean", [20.0, 200.0])
@pytest.mark.parametrize(("kind", "discount"), [("standard", 1.0), ("shifted", 0.6)])
def test_geometric_threshold_is_that_of_its_table(mean: float, kind: Any, discount: float) -> None:
    kwargs: Any = {"momentum": 0.9, "momentum_kind": kind, "discount": discount}
    delay = GeometricDelay.of_mean(mean)
    table = HistogramDelay(delay.probabilities())
    assert mean_square_threshold(delay, **kwargs) == pytest.approx(
        mean_square_threshold(table, **kwargs), rel=1e-6
    )


@pytest.mark.parametrize("kind", ["none", "standard", "shifted"])
def test_a_single_far_outlier_barely_moves_the_mean_square_threshold(kind: Any) -> None:
    # φ grows as e^{10⁵ Im θ} off the circle, where the search for the root must not go
    kwargs: Any = {"momentum": 0.5, "momentum_kind": kind}
    outlier = HistogramDelay.from_counts({0: 10**9, 100_000: 1})
    found = mean_square_threshold(outlier, **kwargs)
    assert found == pytest.approx(stability_threshold(ConstantDelay(0), **kwargs), rel=1e-3)
    far = mean_square_threshold(HistogramDelay.from_counts({0: 1000, 100_000: 1}), **kwargs)
    assert 0.5 * found < far <= found


def _growth(delay: HistogramDelay, rate: float, kwargs: dict[str, Any], seed: int) -> float:
    """Log of the mean squared gradient, late over early, over paths with drawn delays."""
    rng = np.random.default_rng(seed)
    momentum, kind, nu = kwargs["momentum"], kwargs["momentum_kind"], kwargs["discount"]
    paths, steps, kept = 10_000, 240, len(delay.counts)
    every = np.arange(paths)
    xs, buffers = np.ones((kept, paths)), np.zeros((kept, paths))
    squares = []
    for step in range(steps):
        drawn = rng.choice(kept, size=paths, p=delay.probabilities())
        read = (step - drawn) % kept
        gradient = xs[read, every]
        old = buffers[read, every] if kind == "shifted" else buffers[step % kept]
        buffer = momentum * old + (1 - momentum) * gradient
        used = (1 - nu) * gradient + nu * buffer if kind != "none" else gradient
        xs[(step + 1) % kept] = xs[step % kept] - rate * used
        buffers[(step + 1) % kept] = buffer
        squares.append(float((xs**2).mean()))
    return float(np.log(np.mean(squares[-40:]) / np.mean(squares[40:80])))


@pytest.mark.parametrize("kind", ["none", "standard", "shifted"])
def test_drawn_delays_make_the_iterates_grow_above_the_threshold_only(kind: str) -> None:
    delay = HistogramDelay((0, 1, 1, 1, 1, 1, 1))
    kwargs: Any = {"momentum": 0.5, "momentum_kind": kind, "discount": 0.7}
    rate = mean_square_threshold(delay, **kwargs)
    assert 1.08 * rate < stability_threshold(delay, **kwargs)  # the mean is stable at both
    assert _growth(delay, 0.92 * rate, kwargs, seed=1) < -2
    assert _growth(delay, 1.08 * rate, kwargs, seed=1) > 2


def test_a_hundred_thousand_bins_are_the_uniform_delay_of_fewer_to_scale() -> None:
    # aη·mean tends to a limit for wide uniform delays
    few = mean_square_threshold(UniformDelay(0, 2_000)) * 1_000.5
    many = mean_square_threshold(HistogramDelay((1.0,) * 100_000)) * 50_000
    assert many == pytest.approx(few, rel=2e-3)


def test_more_nodes_do_not_move_a_threshold_next_to_the_means() -> None:
    # a rounded z − 1 keeps the root's last digits from coming to rest at such small angles
    wide = mean_square_threshold(UniformDelay(0, 99_999))
    longer = HistogramDelay((*UniformDelay(0, 99_999).probabilities(), *[0.0] * 200_000, 1e-14))
    assert mean_square_threshold(longer) == pytest.approx(wide, rel=3e-8)


def test_an_integral_that_is_not_resolved_is_refused_by_its_cause() -> None:
    heavy = HistogramDelay.from_counts({int(1.2**k): 1000 / (k + 1) for k in range(5, 62)})
    with pytest.raises(InvalidValueError, match=r"mean delay of 3184\.6 is not resolved"):
        mean_square_threshold(heavy, momentum=0.9, momentum_kind="shifted")


def test_momentum_that_rings_too_long_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="momentum must be further below 1 but got"):
        mean_square_threshold(UniformDelay(0, 1), momentum=1 - 1e-12, momentum_kind="standard")
