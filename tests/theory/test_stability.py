"""The thresholds of the mean's stability against companion matrices, simulation and the paper."""

import cmath
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import optimize

from tests.theory.references import mean_radius
from tunecli.errors import InvalidValueError
from tunecli.theory.delay import (
    ConstantDelay,
    GaussianDelay,
    GeometricDelay,
    HistogramDelay,
    UniformDelay,
)
from tunecli.theory.stability import stability_threshold

momenta = st.one_of(st.floats(0, 0.99), st.sampled_from([0.5, 0.9, 0.999]))
discounts = st.one_of(st.floats(0, 1), st.sampled_from([0.5, 0.99, 1.0]))
kinds = st.sampled_from(["none", "standard", "shifted"])
histograms = st.lists(st.floats(0, 1), max_size=20).map(
    lambda counts: HistogramDelay((*counts, 0.5))
)
arguments = st.fixed_dictionaries(
    {"momentum": momenta, "momentum_kind": kinds, "discount": discounts}
)


def _assert_edge(delay: Any, kwargs: dict[str, Any], span: float) -> None:
    """Every root inside for all tried rates below the threshold, one outside just above it."""
    rate, probabilities = stability_threshold(delay, **kwargs), delay.probabilities()
    below = [rate * share for share in (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.97, 1 - span)]
    # a root of the eigenvalue solver is known to about √ε where two meet
    assert max(mean_radius(probabilities, each, **kwargs) for each in below) < 1 + 1e-9
    assert mean_radius(probabilities, rate, **kwargs) == pytest.approx(1, abs=1e-7)
    assert mean_radius(probabilities, rate * (1 + span), **kwargs) > 1 - 1e-9


@pytest.mark.parametrize(
    ("delay", "row"),
    [  # none, standard 0.5 and 0.9, shifted 0.5 and 0.9
        (0, (2, 6, 38, 6, 38)),
        (1, (1, 1, 1, 1.5, 1.9)),
        (4, (0.347296, 0.31170, 0.26498, 0.43173, 0.48729)),
        (16, (0.0951638, 0.09049, 0.07488, 0.11197, 0.12261)),
        (32, (0.0483275, 0.04699, 0.04064, 0.05633, 0.06137)),
    ],
)
def test_thresholds_are_those_of_papers_md(delay: int, row: tuple[float, ...]) -> None:
    # the same delay as a histogram takes the other path: a scan in place of the phase
    for each in (ConstantDelay(delay), HistogramDelay.from_counts({delay: 1})):
        found = [stability_threshold(each)] + [
            stability_threshold(each, momentum=momentum, momentum_kind=kind)
            for kind in ("standard", "shifted")
            for momentum in (0.5, 0.9)
        ]
        assert found == pytest.approx(row, abs=5e-6)


@given(delay=st.integers(0, 10**6))
def test_constant_delay_without_momentum_is_eq_6(delay: int) -> None:
    expected = 2 * math.sin(math.pi / (4 * delay + 2))
    assert stability_threshold(ConstantDelay(delay)) == expected
    assert stability_threshold(
        ConstantDelay(delay), momentum=1e-13, momentum_kind="standard"
    ) == pytest.approx(expected, rel=1e-11)


@given(delay=st.integers(0, 40), kwargs=arguments)
@example(delay=0, kwargs={"momentum": 0.999, "momentum_kind": "standard", "discount": 0.99})
@example(delay=1, kwargs={"momentum": 0.99, "momentum_kind": "shifted", "discount": 0.3})
@example(delay=7, kwargs={"momentum": 0.999, "momentum_kind": "standard", "discount": 0.999})
@settings(max_examples=60, deadline=None)
def test_constant_delay_is_where_the_companion_matrix_leaves_the_circle(
    delay: int, kwargs: dict[str, Any]
) -> None:
    _assert_edge(ConstantDelay(delay), kwargs, 1e-4)


@given(delay=histograms, kwargs=arguments)
@settings(max_examples=100, deadline=None)
def test_random_delay_is_where_the_companion_matrix_leaves_the_circle(
    delay: HistogramDelay, kwargs: dict[str, Any]
) -> None:
    _assert_edge(delay, kwargs, 1e-4)


@given(delay=st.integers(0, 300), kwargs=arguments)
@settings(max_examples=60, deadline=None)
def test_the_phase_and_the_scan_agree(delay: int, kwargs: dict[str, Any]) -> None:
    scanned = stability_threshold(HistogramDelay.from_counts({delay: 1}), **kwargs)
    assert stability_threshold(ConstantDelay(delay), **kwargs) == pytest.approx(scanned, rel=1e-9)


@given(mean=st.floats(0.01, 1e4))
def test_geometric_delay_is_stable_in_the_mean_far_beyond_no_delay(mean: float) -> None:
    # (z − 1)(1 − μ/z) is real at z = −1 only: aη = 2(1+μ)/(1−μ)
    mu = mean / (1 + mean)
    found = stability_threshold(GeometricDelay.of_mean(mean))
    assert found == pytest.approx(2 * (1 + mu) / (1 - mu), rel=1e-9)


@pytest.mark.parametrize("kind", ["none", "standard", "shifted"])
@pytest.mark.parametrize(
    "delay", [UniformDelay(1, 30), UniformDelay(0, 2), GaussianDelay(15), GeometricDelay(0.75)]
)
def test_closed_form_transforms_have_the_thresholds_of_their_tables(delay: Any, kind: str) -> None:
    kwargs: Any = {"momentum": 0.9, "momentum_kind": kind, "discount": 0.7}
    tabulated = HistogramDelay(delay.probabilities())
    assert stability_threshold(delay, **kwargs) == pytest.approx(
        stability_threshold(tabulated, **kwargs), rel=1e-9
    )


@given(delay=histograms, kwargs=arguments)
def test_threshold_does_not_depend_on_a_large_histograms_path(
    delay: HistogramDelay, kwargs: dict[str, Any]
) -> None:
    # a share of 10⁻¹³ at delay 600 changes nothing but takes the FFT
    total = sum(delay.counts)
    longer = HistogramDelay.from_counts({**dict(enumerate(delay.counts)), 600: 1e-13 * total})
    short, long = (stability_threshold(each, **kwargs) for each in (delay, longer))
    assert long == pytest.approx(short, rel=1e-6)


@pytest.mark.parametrize("kind", ["none", "standard", "shifted"])
def test_a_million_updates_of_delay_have_the_limits_threshold(kind: Any) -> None:
    # τ → ∞ at θτ = ψ: −π/2 + ψ + arg(1 − m e^{−iψ}) = 0 for shifted, else ψ = π/2
    def buffer(psi: float) -> complex:
        return 1 - 0.9 * cmath.exp(-1j * psi) if kind == "shifted" else 1 + 0j

    psi = optimize.brentq(lambda x: x + cmath.phase(buffer(x)) - math.pi / 2, 0, 2)
    expected = psi * abs(buffer(psi)) / abs(buffer(0))
    found = stability_threshold(ConstantDelay(10**6), momentum=0.9, momentum_kind=kind)
    assert found * (10**6 + 0.5) == pytest.approx(expected, rel=2e-5)


def test_a_histogram_of_a_hundred_thousand_bins_is_the_uniform_delay() -> None:
    found = stability_threshold(HistogramDelay((1.0,) * 100_000))
    assert found == pytest.approx(stability_threshold(UniformDelay(0, 99_999)), rel=1e-9)


def test_one_outlier_does_not_move_the_threshold_of_a_histogram() -> None:
    outlier = HistogramDelay.from_counts({3: 10**9, 90_000: 1})
    assert stability_threshold(outlier) == pytest.approx(
        stability_threshold(ConstantDelay(3)), rel=1e-6
    )


@pytest.mark.parametrize("kind", ["none", "standard", "shifted"])
@given(
    counts=st.dictionaries(st.integers(0, 900), st.floats(0.01, 1), min_size=2, max_size=6),
    momentum=st.sampled_from([0.5, 0.9]),
    discount=st.sampled_from([0.5, 1.0]),
)
@settings(max_examples=25, deadline=None)
def test_threshold_of_a_sparse_histogram_is_the_least_of_all_crossings(
    kind: Any, counts: dict[int, float], momentum: float, discount: float
) -> None:
    """The bounds by which the scan is cut short, against every change of sign on a dense grid."""
    delay = HistogramDelay.from_counts({**counts, 901: 0.2})
    found = stability_threshold(delay, momentum=momentum, momentum_kind=kind, discount=discount)
    angles = np.linspace(0, np.pi, 200_001)[1:]
    phi = sum(p * np.exp(-1j * k * angles) for k, p in enumerate(delay.probabilities()) if p)
    s = np.exp(-1j * angles) * (phi if kind == "shifted" else 1)
    m = 0.0 if kind == "none" else momentum
    read = (1 - discount * m) - (1 - discount) * m * s
    candidate = (1 - np.exp(1j * angles)) * (1 - m * s) / (phi * read)
    real, imaginary = candidate.real, candidate.imag
    share = imaginary[:-1] / (imaginary[:-1] - imaginary[1:])
    crossings = real[:-1] + share * (real[1:] - real[:-1])
    positive = (real[:-1] > 0) & (real[1:] > 0) & (share >= 0) & (share <= 1)
    end = real[-1] if real[-1] > 0 else np.inf  # c is real at π, too
    assert found == pytest.approx(min(crossings[positive].min(initial=np.inf), end), rel=2e-3)


@pytest.mark.parametrize("kind", ["none", "standard", "shifted"])
@pytest.mark.parametrize("discount", [0.5, 1.0])
def test_paths_shrink_below_the_threshold_and_grow_above(kind: Any, discount: float) -> None:
    delay, momentum = 6, 0.8
    rate = stability_threshold(
        ConstantDelay(delay), momentum=momentum, momentum_kind=kind, discount=discount
    )

    def peak(rate: float) -> tuple[float, float]:
        nu = 0.0 if kind == "none" else discount
        xs, buffers = [1.0] * (delay + 1), [0.0] * (delay + 1)
        for _ in range(6000):
            gradient = xs[-1 - delay]
            old = buffers[-1 - delay] if kind == "shifted" else buffers[-1]
            buffers.append(momentum * old + (1 - momentum) * gradient)
            xs.append(xs[-1] - rate * ((1 - nu) * gradient + nu * buffers[-1]))
        return max(map(abs, xs[2000:2200])), max(map(abs, xs[-200:]))

    early, late = peak(rate * 0.97)
    assert late < 0.5 * early
    early, late = peak(rate * 1.03)
    assert late > 2 * early


def test_no_momentum_is_no_momentum_however_it_is_said() -> None:
    plain = stability_threshold(ConstantDelay(5))
    assert stability_threshold(ConstantDelay(5), momentum=0.9) == plain
    for kind in ("standard", "shifted"):
        assert stability_threshold(ConstantDelay(5), momentum=0.0, momentum_kind=kind) == plain
        assert plain == stability_threshold(
            ConstantDelay(5), momentum=0.9, momentum_kind=kind, discount=0.0
        )


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"momentum": 1.0}, "momentum must be in .0, 1. but got 1.0"),
        ({"discount": 1.5}, "discount must be in .0, 1. but got 1.5"),
        ({"momentum_kind": "nesterov"}, "momentum_kind must be none or standard or shifted but"),
    ],
)
def test_thresholds_refuse_what_is_not_allowed(kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidValueError, match=words):
        stability_threshold(ConstantDelay(3), **kwargs)


def test_a_small_histograms_scaling_does_not_import_numpy() -> None:
    # the command line answers before numpy would have been imported
    code = (
        "import sys; from tunecli.theory.delay import HistogramDelay; "
        "from tunecli.theory.delay_scaling import delay_scaling; "
        "delay_scaling(HistogramDelay(tuple(range(1, 100)))); assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_reference_is_eq_4_for_a_constant_delay() -> None:
    roots = np.abs(np.roots([1, -1, 0, 0, 0.3]))  # z⁴ − z³ + 0.3, τ = 3
    assert mean_radius((0, 0, 0, 1), 0.3) == pytest.approx(roots.max(), rel=1e-9)
