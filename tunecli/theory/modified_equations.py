"""Asynchronous SGD as a stochastic differential equation: the closed forms.

Delays are geometric, P(τ = k) = (1−μ)μᵏ, and around a minimum f(x) = ½ax² with a gradient noise of
variance Σ. Numbers of updates relate to the equations' time by Δt = √(η(1−μ)).

Source: An, Lu, Ying, *Stochastic modified equations for the asynchronous stochastic gradient
descent*, called SME; `tunecli.theory.sde` simulates the same equations.
"""

import math
from dataclasses import dataclass

from tunecli.errors import require
from tunecli.theory.delay import GeometricDelay


@dataclass(frozen=True)
class StationaryMoments:
    """Second moments of SME-ASGD (2.11) after a long time; the means are 0 (SME Appendix B).

    Attributes:
        variance: E X², of the weights.
        gradient_variance: E Y², of Y = −√(η/(1−μ)) · (expected delayed gradient).
        covariance: E XY, never positive.
    """

    variance: float
    gradient_variance: float
    covariance: float


def persistence_of_workers(num_workers: int) -> float:
    """μ = 1 − 1/M: the parameter of the delay of M memoryless workers (SME section 2.1).

    Args:
        num_workers: M ≥ 1.

    Raises:
        InvalidValueError: `num_workers` is below 1.

    >>> persistence_of_workers(16)
    0.9375
    """
    return GeometricDelay.of_workers(num_workers).persistence


def largest_useful_learning_rate(persistence: float, sharpness: float) -> float:
    """η_opt = (1−μ)/(4a): from here on the expected path oscillates (SME Appendix B, below 5.5).

    Larger rates do not make the second moment fall faster in the equations' time, and at the same
    μ they only add variance. It lies far below the rates that are unstable.

    Args:
        persistence: μ in [0, 1).
        sharpness: a > 0, the curvature.

    Returns:
        η_opt.

    Raises:
        InvalidValueError: An argument is outside its range.

    >>> largest_useful_learning_rate(0.75, 2.0)
    0.03125
    """
    _require_persistence(persistence)
    _require_positive("sharpness", sharpness)
    return (1 - persistence) / (4 * sharpness)


def best_persistence(learning_rate: float, sharpness: float) -> float:
    """μ_opt = max(1 − 4aη, 0): the delay, or momentum, with the fastest descent (SME Eq. 5.5).

    By `equivalent_momentum` it is the best momentum of an SGD whose damped rate is η, too.

    Args:
        learning_rate: η > 0.
        sharpness: a > 0.

    Returns:
        μ_opt in [0, 1).

    Raises:
        InvalidValueError: An argument is outside its range.

    >>> best_persistence(0.03125, 2.0)
    0.75
    """
    _require_positive("learning_rate", learning_rate)
    _require_positive("sharpness", sharpness)
    return max(1 - 4 * sharpness * learning_rate, 0.0)


def stationary_moments(
    learning_rate: float, persistence: float, *, sharpness: float, gradient_noise: float
) -> StationaryMoments:
    """What SME-ASGD's second moments settle to (SME Appendix B, below 5.4).

    E X² = Ση²/(2(1−μ)) + Ση/(2a), E Y² = aΣη²/(2(1−μ)), E XY = −Ση^{3/2}/(2√(1−μ)).

    The first summand of E X² is the delay's. It is what an SDE without delay does not have: SGD's,
    SME Eq. 3.3, settles to `sgd_stationary_variance`.

    Args:
        learning_rate: η > 0.
        persistence: μ in [0, 1).
        sharpness: a > 0.
        gradient_noise: Σ ≥ 0, the variance of one gradient.

    Returns:
        The three moments; of order Δt = √(η(1−μ)) accurate for the discrete algorithm.

    Raises:
        InvalidValueError: An argument is outside its range.

    >>> round(stationary_moments(0.02, 0.9375, sharpness=1.0, gradient_noise=1.0).variance, 6)
    0.0132
    """
    _require_positive("learning_rate", learning_rate)
    _require_persistence(persistence)
    _require_positive("sharpness", sharpness)
    _require_noise(gradient_noise)
    spread = gradient_noise * learning_rate**2 / (2 * (1 - persistence))
    return StationaryMoments(
        variance=spread + gradient_noise * learning_rate / (2 * sharpness),
        gradient_variance=sharpness * spread,
        covariance=-gradient_noise * learning_rate**1.5 / (2 * math.sqrt(1 - persistence)),
    )


def sgd_stationary_variance(
    learning_rate: float, *, sharpness: float, gradient_noise: float
) -> float:
    """E X² of SGD's equation (SME Eq. 3.3) after a long time: Ση/(2a + ηa²), whatever the delay.

    The drift is −(a + ηa²/2)X there and the noise √(ηΣ).

    Args:
        learning_rate: η > 0.
        sharpness: a > 0.
        gradient_noise: Σ ≥ 0, the variance of one gradient.

    Returns:
        E X².

    Raises:
        InvalidValueError: An argument is outside its range.

    >>> round(sgd_stationary_variance(0.02, sharpness=1.0, gradient_noise=1.0), 6)
    0.009901
    """
    _require_positive("learning_rate", learning_rate)
    _require_positive("sharpness", sharpness)
    _require_noise(gradient_noise)
    return gradient_noise * learning_rate / (sharpness * (2 + learning_rate * sharpness))


def equivalent_momentum(learning_rate: float, persistence: float) -> tuple[float, float]:
    """Momentum SGD with the stationary law of a delayed one: μ′ = μ, η′ = η(1−μ) (SME Prop. 1).

    v ← μ′v − η′g is the undamped form. In the damped one, d ← μ′d + (1−μ′)g, x ← x − ηd, as QHM
    writes it, the rate therefore stays η.

    Args:
        learning_rate: η > 0, of asynchronous SGD.
        persistence: μ in [0, 1) of its delays.

    Returns:
        (η′, μ′), the undamped learning rate and the momentum.

    Raises:
        InvalidValueError: An argument is outside its range.

    >>> equivalent_momentum(0.1, 0.75)
    (0.025, 0.75)
    """
    _require_positive("learning_rate", learning_rate)
    _require_persistence(persistence)
    return learning_rate * (1 - persistence), persistence


def _require_persistence(persistence: float) -> None:
    remedy = "M workers have 1 − 1/M"
    require(0 <= persistence < 1, "persistence", "in [0, 1)", persistence, remedy)


def _require_positive(name: str, value: float) -> None:
    require(0 < value < math.inf, name, "positive and finite", value, "0.1 is an example")


def _require_noise(gradient_noise: float) -> None:
    remedy = "0 is a gradient without noise"
    require(gradient_noise >= 0, "gradient_noise", "≥ 0", gradient_noise, remedy)
