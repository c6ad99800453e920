"""Chance in a few studies: bootstrap intervals, an exact test, a correction for many tests.

**Intervals** are 95 % percentile bootstrap intervals over studies (10,000 resamples, seeded), with
Hesterberg's correction for few studies: the percentiles are those of Student's t with n − 1 degrees
of freedom, widened by √(n/(n−1)), because a plain percentile interval from ten studies holds the
truth in nine cases of ten only. (T. Hesterberg, What teachers should know about the bootstrap,
The American Statistician 69(4), 2015, §5.2.)
"""

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
ALPHA = 0.05
TIE = 1e-12  # means of equal values, added in another order, are equal
_EXACT_UP_TO = 14  # studies; 2^14 sign patterns

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over studies with its interval; `low` and `high` are None for a single study."""

    mean: float
    low: float | None
    high: float | None
    n: int


def estimate(values: Sequence[float]) -> Estimate | None:
    """Mean and interval; None of nothing."""
    n = len(values)
    if n == 0:
        return None
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean, None, None, 1)
    low, high = interval(resampled_means(np.asarray(values)[:, None]), n)
    return Estimate(mean, float(low[0]), float(high[0]), n)


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p-value of "the differences are symmetric about 0", for their mean.

    All 2^n patterns of signs up to n = 14; beyond, 10,000 random ones and the one observed.

    >>> sign_flip_p([1.0, 2.0, 3.0])
    0.25
    """
    values = np.abs(np.asarray(differences, dtype=float))
    n = len(values)
    observed = abs(math.fsum(differences))
    if n <= _EXACT_UP_TO:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=n))).reshape(-1, n)
        return float(np.mean(np.abs(signs @ values) >= observed - TIE))
    signs = np.random.default_rng(0).choice((-1.0, 1.0), size=(RESAMPLES, n))
    return float((1 + np.sum(np.abs(signs @ values) >= observed - TIE)) / (RESAMPLES + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def resampled_means(values: Floats) -> Floats:
    """Column means of 10,000 resamples of the rows, shape (10000, columns)."""
    means: Floats = weights_of(resamples(len(values))) @ values
    return means


def resamples(n: int) -> NDArray[np.int64]:
    """Which studies each of 10,000 resamples of n has, shape (10000, n); the same at every call."""
    return np.random.default_rng(0).integers(n, size=(RESAMPLES, n))


def weights_of(chosen: NDArray[np.int64]) -> Floats:
    """How often each study is in each resample, over n."""
    n = chosen.shape[1]
    counts = np.zeros((len(chosen), n))
    np.add.at(counts, (np.arange(len(chosen))[:, None], chosen), 1.0)
    shares: Floats = counts / n
    return shares


def interval(resampled: Floats, n: int) -> tuple[Floats, Floats]:
    """The interval's ends, per column of resampled values.

    Args:
        resampled: One row per resample.
        n: Studies, ≥ 2.
    """
    from scipy.special import stdtrit

    t = float(stdtrit(n - 1, ALPHA / 2))
    tail = statistics.NormalDist().cdf(math.sqrt(n / (n - 1)) * t)
    # a value of the sample, not one between two: some may be infinite
    ends = np.quantile(resampled, [tail, 1 - tail], axis=0, method="inverted_cdf")
    return ends[0], ends[1]
