"""Simulation of asynchronous SGD in one dimension: the algorithm itself and its equations.

All paths run side by side in numpy arrays, and a seed makes them reproducible. An objective
f = (1/n) Σ f_i is given as the gradients of its components: a function from the positions of P
paths, shape (P,), to an array of shape (n, P). Before the first update every path has been at its
start (x_l = x₀ for l ≤ 0, as SME's Theorem 2 takes it).

Source: An, Lu, Ying, *Stochastic modified equations for the asynchronous stochastic gradient
descent*, called SME.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunecli.errors import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    ComponentGradients = Callable[[Array], Array]

_FORGOTTEN = 1e-12  # the probability of a delay that reaches past the history that is kept


@dataclass(frozen=True)
class SimulatedPaths:
    """Moments over all paths after 0, 1, …, `steps` updates, and where the paths ended.

    Attributes:
        means: E x_k, shape (steps + 1,).
        second_moments: E x_k², shape (steps + 1,).
        ends: The last position of every path, shape (P,).
    """

    means: "Array"
    second_moments: "Array"
    ends: "Array"


def simulate_asgd(
    gradients: "ComponentGradients",
    *,
    start: float,
    learning_rate: float,
    persistence: float,
    steps: int,
    num_paths: int,
    seed: int,
) -> SimulatedPaths:
    """The algorithm: x ← x − η ∇f_γ(x_{k−τ}), γ uniform, P(τ = l) = (1−μ)μˡ (SME Eq. 2.1).

    With μ = 0 it is SGD.

    Args:
        gradients: The components' gradients, see this module.
        start: x₀.
        learning_rate: η > 0.
        persistence: μ in [0, 1); M workers have 1 − 1/M.
        steps: Updates, ≥ 1.
        num_paths: P ≥ 1.
        seed: Of the delays and of the components that are drawn.

    Returns:
        The paths' moments and ends.

    Raises:
        InvalidValueError: An argument is outside its range.
    """
    _check(learning_rate, persistence, steps, num_paths)
    return _gather(_asgd(gradients, start, learning_rate, persistence, num_paths, seed), steps)


def simulate_sme_asgd(
    gradients: "ComponentGradients",
    *,
    start: float,
    learning_rate: float,
    persistence: float,
    steps: int,
    num_paths: int,
    seed: int,
) -> SimulatedPaths:
    """SME-ASGD (2.11)–(2.12) by Euler–Maruyama, one step Δt = √(η(1−μ)) to an update.

    dX = Y dt + √Σ η^{3/4}/(1−μ)^{1/4} dB and dY = −∇f(X) dt − √((1−μ)/η) Y dt, from
    Y₀ = −√(η/(1−μ)) ∇f(x₀) (2.8) and Σ₀ = the variance of the components' gradients at x₀, both
    for a past at x₀. Σ follows (2.12).

    Euler's Σ can become negative, which the covariance that it stands for cannot. The noise is then
    taken as 0, and Σ goes on unchanged, so that (2.12) itself is never altered.

    Args:
        gradients: The components' gradients, see this module.
        start: x₀.
        learning_rate: η > 0.
        persistence: μ in (0, 1): (2.12) divides by it.
        steps: Updates, ≥ 1; the time that they take is steps·Δt.
        num_paths: P ≥ 1.
        seed: Of the Brownian motion.

    Returns:
        The paths' moments and ends.

    Raises:
        InvalidValueError: An argument is outside its range.
    """
    _check(learning_rate, persistence, steps, num_paths)
    require(persistence > 0, "persistence", "positive", persistence, "simulate SGD's equation")
    return _gather(_sme_asgd(gradients, start, learning_rate, persistence, num_paths, seed), steps)


def simulate_sme_sgd(
    gradients: "ComponentGradients",
    *,
    start: float,
    learning_rate: float,
    steps: int,
    num_paths: int,
    seed: int,
) -> SimulatedPaths:
    """SGD's equation (SME Eq. 3.3) by Euler–Maruyama, one step Δt = η to an update.

    dX = −∇(f + (η/4)|∇f|²) dt + √(ηΣ(X)) dB, Σ(X) being the variance of the components' gradients
    at X. It knows no delay.

    Differs from the remark on SME's Figure 4, where staleness is said to be a part of Σ(X): what it
    is there is not written down.

    Args:
        gradients: The components' gradients, see this module.
        start: x₀.
        learning_rate: η > 0.
        steps: Updates, ≥ 1.
        num_paths: P ≥ 1.
        seed: Of the Brownian motion.

    Returns:
        The paths' moments and ends.

    Raises:
        InvalidValueError: An argument is outside its range.
    """
    _check(learning_rate, 0.0, steps, num_paths)
    return _gather(_sme_sgd(gradients, start, learning_rate, num_paths, seed), steps)


def _asgd(
    gradients: "ComponentGradients",
    start: float,
    learning_rate: float,
    persistence: float,
    num_paths: int,
    seed: int,
) -> "Iterator[Array]":
    import numpy as np

    rng = np.random.default_rng(seed)
    every = np.arange(num_paths)
    kept = 1
    if persistence > 0:
        kept = max(1, math.ceil(math.log(_FORGOTTEN) / math.log(persistence)))
    history = np.full((kept, num_paths), start)  # a ring: the position after k updates at k % kept
    step = 0
    while True:
        position = history[step % kept]
        yield position
        delays = np.minimum(rng.geometric(1 - persistence, num_paths) - 1, kept - 1)
        read = history[(step - delays) % kept, every]
        slopes = gradients(read)
        drawn = slopes[rng.integers(len(slopes), size=num_paths), every]
        step += 1
        history[step % kept] = position - learning_rate * drawn


def _sme_asgd(
    gradients: "ComponentGradients",
    start: float,
    learning_rate: float,
    persistence: float,
    num_paths: int,
    seed: int,
) -> "Iterator[Array]":
    import numpy as np

    rng = np.random.default_rng(seed)
    eta, mu = learning_rate, persistence
    friction, dt = math.sqrt((1 - mu) / eta), math.sqrt(eta * (1 - mu))
    noise_scale = eta**0.75 / (1 - mu) ** 0.25 * math.sqrt(dt)
    x = np.full(num_paths, start)
    slopes = gradients(x)
    y, variance = -slopes.mean(0) / friction, slopes.var(0)
    while True:
        yield x
        slopes = gradients(x)
        slope = slopes.mean(0)
        fresh = (slopes**2).mean(0) + (1 - mu) / mu * slope**2
        stale = (1 - mu) / (eta * mu) * (friction * y**2 + 2 * slope * y)
        noise = np.sqrt(np.maximum(variance, 0)) * noise_scale * rng.standard_normal(num_paths)
        x, y, variance = (
            x + dt * y + noise,
            y - dt * (slope + friction * y),
            variance + dt * (friction * (fresh - variance) + stale),
        )


def _sme_sgd(
    gradients: "ComponentGradients", start: float, learning_rate: float, num_paths: int, seed: int
) -> "Iterator[Array]":
    import numpy as np

    rng = np.random.default_rng(seed)
    x, reach = np.full(num_paths, start), 1e-5
    while True:
        yield x
        slopes = gradients(x)
        slope = slopes.mean(0)
        curvature = (gradients(x + reach).mean(0) - gradients(x - reach).mean(0)) / (2 * reach)
        drift = slope * (1 + learning_rate / 2 * curvature)
        noise = learning_rate * np.sqrt(slopes.var(0)) * rng.standard_normal(num_paths)
        x = x - learning_rate * drift + noise


def _gather(paths: "Iterator[Array]", steps: int) -> SimulatedPaths:
    import numpy as np

    means, squares = np.empty(steps + 1), np.empty(steps + 1)
    for step in range(steps + 1):
        position = next(paths)
        means[step], squares[step] = position.mean(), np.mean(position**2)
    return SimulatedPaths(means, squares, position.copy())


def _check(learning_rate: float, persistence: float, steps: int, num_paths: int) -> None:
    good = 0 < learning_rate < math.inf
    require(good, "learning_rate", "positive and finite", learning_rate, "0.01 is an example")
    remedy = "M workers have 1 − 1/M"
    require(0 <= persistence < 1, "persistence", "in [0, 1)", persistence, remedy)
    require(steps >= 1, "steps", "≥ 1", steps, "1000 is an example")
    require(num_paths >= 1, "num_paths", "≥ 1", num_paths, "5000 are the paper's")
