"""Slow references for stability: the iterations written as matrices, and their eigenvalues.

The state holds the gradients g_t, …, g_{t−K} (aη = c scales the steps) and the momentum buffer, at
the server or with its past. One update with the delay j is a matrix A_j: the mean follows Σ p_j A_j
and the second moments Σ p_j A_j ⊗ A_j.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def update_matrix(
    delay: int, largest: int, rate: float, *, momentum: float, kind: str, discount: float
) -> Matrix:
    """One update of Algorithm 1 with the buffer of `kind` after a gradient that is `delay` late."""
    size = largest + 1
    matrix = np.zeros((2 * size, 2 * size))  # gradients, newest first, then buffers likewise
    matrix[1:size, : size - 1] = np.eye(size - 1)
    matrix[size + 1 :, size : 2 * size - 1] = np.eye(size - 1)
    gradient, buffer = np.zeros(2 * size), np.zeros(2 * size)
    gradient[delay] = 1
    if kind != "none":
        buffer[size + (delay if kind == "shifted" else 0)] = momentum
        buffer += (1 - momentum) * gradient
    nu = 0.0 if kind == "none" else discount
    matrix[size] = buffer
    matrix[0, 0] = 1
    matrix[0] -= rate * ((1 - nu) * gradient + nu * buffer)
    return matrix


def _updates(
    probabilities: Sequence[float], rate: float, momentum: float, kind: str, discount: float
) -> list[tuple[float, Matrix]]:
    largest = len(probabilities) - 1
    return [
        (p, update_matrix(j, largest, rate, momentum=momentum, kind=kind, discount=discount))
        for j, p in enumerate(probabilities)
        if p > 0
    ]


def mean_radius(
    probabilities: Sequence[float],
    rate: float,
    *,
    momentum: float = 0.0,
    momentum_kind: str = "none",
    discount: float = 1.0,
) -> float:
    """The spectral radius of the mean's iteration."""
    updates = _updates(probabilities, rate, momentum, momentum_kind, discount)
    return _radius(sum(p * a for p, a in updates) + np.zeros(1))


def second_moment_radius(
    probabilities: Sequence[float],
    rate: float,
    *,
    momentum: float = 0.0,
    momentum_kind: str = "none",
    discount: float = 1.0,
) -> float:
    """The spectral radius of the second moments' iteration."""
    updates = _updates(probabilities, rate, momentum, momentum_kind, discount)
    return _radius(sum(p * np.kron(a, a) for p, a in updates) + np.zeros(1))


def _radius(matrix: Matrix) -> float:
    return float(np.abs(np.linalg.eigvals(matrix)).max())
