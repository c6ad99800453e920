"""SME's simulations: stationary variances and Figure 5's percentages, within their errors."""

import math
from typing import Any

import numpy as np
import pytest

from tunecli.errors import InvalidValueError
from tunecli.theory.modified_equations import stationary_moments
from tunecli.theory.sde import (
    SimulatedPaths,
    simulate_asgd,
    simulate_sme_asgd,
    simulate_sme_sgd,
)

QUADRATIC: Any = {"start": 0.0, "learning_rate": 0.02, "steps": 400, "num_paths": 10_000, "seed": 1}
DOUBLE_WELL: Any = {"start": 0.1, "learning_rate": 0.01, "num_paths": 20_000, "seed": 3}


def _quadratic(x: Any) -> Any:
    """Of f_{1,2} = ½(x ∓ 1)²: a = 1 and gradient noise of variance 1 everywhere."""
    return np.stack([x - 1, x + 1])


def _double_well(x: Any) -> Any:
    """Of SME Figure 5, right: f_{1,2} = 1 − 2e^{−(x ∓ 1)²}."""
    return np.stack([4 * (x - 1) * np.exp(-((x - 1) ** 2)), 4 * (x + 1) * np.exp(-((x + 1) ** 2))])


def _stationary(paths: SimulatedPaths) -> float:
    """The variance over the paths and over the last 200 updates, after e⁻⁸ of the start's effect.

    10,000 paths alone give the variance with the standard error √(2/10⁴) = 1.4 %. Squares are
    correlated over 1/(2aη) = 25 updates, so the mean over 200 has 1.4 %·√(2·25/200) = 0.7 %.
    """
    return float(paths.second_moments[200:].mean())


@pytest.mark.parametrize(
    ("num_workers", "simulated"),
    [(1, 0.01010), (2, 0.01032), (4, 0.01071), (8, 0.01150), (16, 0.01309)],
)
def test_asgd_has_the_stationary_variance_of_papers_md(num_workers: int, simulated: float) -> None:
    mu = 1 - 1 / num_workers
    found = _stationary(simulate_asgd(_quadratic, persistence=mu, **QUADRATIC))
    assert found == pytest.approx(simulated, rel=0.02)
    formula = stationary_moments(0.02, mu, sharpness=1.0, gradient_noise=1.0).variance
    assert found == pytest.approx(formula, rel=0.03)  # and 1 % of Δt's order


@pytest.mark.parametrize("num_workers", [2, 16])
def test_sme_asgd_has_the_stationary_variance_of_its_closed_form(num_workers: int) -> None:
    mu = 1 - 1 / num_workers
    found = _stationary(simulate_sme_asgd(_quadratic, persistence=mu, **QUADRATIC))
    formula = stationary_moments(0.02, mu, sharpness=1.0, gradient_noise=1.0).variance
    # Σ is 1 in the formula; (2.12) adds the variance of the delayed reads, 1 % at 16 workers
    assert found == pytest.approx(formula, rel=0.04)


def test_sgds_equation_lacks_the_delays_variance() -> None:
    found = _stationary(simulate_sme_sgd(_quadratic, **QUADRATIC))
    assert found == pytest.approx(0.01, rel=0.02)  # Euler's steps; 0.00990 in continuous time


def test_asgd_is_the_recursion_written_as_a_loop() -> None:
    def noiseless(x: Any) -> Any:
        return np.stack([x**3, x**3])

    eta, mu, steps = 0.3, 0.6, 30
    found = simulate_asgd(
        noiseless, start=1.0, learning_rate=eta, persistence=mu, steps=steps, num_paths=3, seed=5
    )
    rng = np.random.default_rng(5)
    paths = [[1.0] for _ in range(3)]
    for step in range(steps):
        delays = rng.geometric(1 - mu, 3) - 1
        rng.integers(2, size=3)
        for path, delay in zip(paths, delays, strict=True):
            path.append(path[-1] - eta * path[max(0, step - int(delay))] ** 3)
    assert found.ends == pytest.approx([path[-1] for path in paths], rel=1e-12)
    assert found.means == pytest.approx(np.mean(paths, 0), rel=1e-12)
    assert found.second_moments == pytest.approx(np.mean(np.square(paths), 0), rel=1e-12)


def test_sme_asgd_of_one_component_has_the_algorithms_mean_path() -> None:
    """The only noise is that of the delayed reads."""

    def alone(x: Any) -> Any:
        return x[None]

    common: Any = {"start": 1.0, "learning_rate": 0.01, "persistence": 0.9, "steps": 200, "seed": 0}
    algorithm = simulate_asgd(alone, num_paths=4000, **common)
    equation = simulate_sme_asgd(alone, num_paths=4000, **common)
    assert equation.means == pytest.approx(algorithm.means, abs=5e-3)
    # the first update reads the start: x₁ = x₀ − ηx₀ for both
    assert equation.means[1] == pytest.approx(0.99, abs=1e-9)
    assert algorithm.means[1] == pytest.approx(0.99, abs=1e-9)


def _right(paths: SimulatedPaths) -> float:
    """The share of paths right of the barrier at 0 at the end.

    After 1000 updates the paths sit in the wells at ±0.9575 with a standard deviation of about
    0.015, and no path changes sides any more: 2000 updates give the same shares.
    """
    return float((paths.ends > 0).mean())


@pytest.mark.parametrize(
    ("simulate", "paper"),
    [("asgd", 0.9034), ("sme_asgd", 0.9050), ("sme_sgd", 0.8854)],
)
def test_double_well_has_figure_5s_share_of_paths_in_the_right_well(
    simulate: str, paper: float
) -> None:
    common = {**DOUBLE_WELL, "steps": 1000, "num_paths": 10_000}
    if simulate == "asgd":
        paths = simulate_asgd(_double_well, persistence=0.95, **common)
    elif simulate == "sme_asgd":
        paths = simulate_sme_asgd(_double_well, persistence=0.95, **common)
    else:
        paths = simulate_sme_sgd(_double_well, **common)
    # standard errors: 0.42 % of the paper's 5000 paths, 0.30 % of ours; three of both together
    assert _right(paths) == pytest.approx(paper, abs=3 * math.hypot(0.0042, 0.0030))
    assert np.abs(np.abs(np.median(paths.ends)) - 0.9575) < 0.01


def test_double_well_tells_the_delay_from_none() -> None:
    common = {**DOUBLE_WELL, "steps": 300}
    delayed = _right(simulate_asgd(_double_well, persistence=0.95, **common))
    equation = _right(simulate_sme_asgd(_double_well, persistence=0.95, **common))
    undelayed = _right(simulate_asgd(_double_well, persistence=0.0, **common))
    # 20,000 paths: a difference has a standard error of 0.3 %
    assert delayed - undelayed == pytest.approx(0.02, abs=0.01)
    assert equation == pytest.approx(delayed, abs=0.01)


def test_a_seed_gives_the_same_paths_again() -> None:
    common = {**QUADRATIC, "steps": 5, "num_paths": 10, "persistence": 0.5}
    for simulate in (simulate_asgd, simulate_sme_asgd):
        first, again = simulate(_quadratic, **common), simulate(_quadratic, **common)
        other = simulate(_quadratic, **{**common, "seed": 2})
        assert np.array_equal(first.ends, again.ends)
        assert not np.array_equal(first.ends, other.ends)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be positive and finite but got 0.0"),
        ({"persistence": 1.0}, "persistence must be in"),
        ({"steps": 0}, "steps must be ≥ 1 but got 0"),
        ({"num_paths": 0}, "num_paths must be ≥ 1 but got 0"),
        ({"persistence": 0.0}, "persistence must be positive but got 0.0"),
    ],
)
def test_simulations_refuse_what_is_not_allowed(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidValueError, match=words):
        simulate_sme_asgd(_quadratic, **{**QUADRATIC, "persistence": 0.5, **change})
