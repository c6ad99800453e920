"""Is a difference between two rates more than the spread between seeds?

Two questions, in the order in which they cost training runs:

- **One value against several.** The incumbent has k values with mean b̄ and standard deviation s,
  the challenger one value x. With equal rates and normal values, (x − b̄) / (s √(1 + 1/k)) follows
  Student's t with k − 1 degrees of freedom: a prediction interval. Common random numbers make x and
  one of the b's alike, which narrows the truth and leaves the interval on the safe side.
- **Pairs.** Both rates have the same k seeds, so d_j = x_j − b_j is free of what the seeds have in
  common; d̄ / (s_d / √k) follows Student's t with k − 1 degrees of freedom.

A comparison may take both looks, so each is one-sided at half of the rule's `error_rate`: a rate
that is as good as the incumbent is called worse in at most that share of comparisons. That is for a
comparison of two given rates. A search compares several, and picks which by their first values: of
searches over two equal rates up to twice that share call one of them worse, which costs nothing
when they are equal. The tests of this file check both by simulation.
"""

import math
import statistics
from collections.abc import Sequence


def spread(values: Sequence[float]) -> float | None:
    """Standard deviation of the values over seeds; None for a single one."""
    return statistics.stdev(values) if len(values) > 1 else None


def prediction_interval(
    value: float, values: Sequence[float], error_rate: float
) -> tuple[float, float]:
    """The interval for a single value's true difference to the mean of several.

    Args:
        value: x.
        values: The b's, at least two.
        error_rate: One-sided, in (0, ½).

    >>> low, high = prediction_interval(0.90, [0.96, 0.97, 0.98], 0.05)
    >>> round(low, 4), round(high, 4)
    (-0.1037, -0.0363)
    """
    count = len(values)
    half = student_t(error_rate, count - 1) * statistics.stdev(values) * math.sqrt(1 + 1 / count)
    difference = value - statistics.fmean(values)
    return difference - half, difference + half


def paired_interval(differences: Sequence[float], error_rate: float) -> tuple[float, float]:
    """The interval for the mean of paired differences, at least two of them.

    >>> low, high = paired_interval([-0.01, -0.02, -0.03], 0.05)
    >>> round(low, 4), round(high, 4)
    (-0.0369, -0.0031)
    """
    count = len(differences)
    half = student_t(error_rate, count - 1) * statistics.stdev(differences) / math.sqrt(count)
    mean = statistics.fmean(differences)
    return mean - half, mean + half


def student_t(error_rate: float, degrees: int) -> float:
    """The quantile t with P(T > t) = error_rate.

    >>> round(student_t(0.05, 2), 3)
    2.92
    """
    from scipy.special import stdtrit  # light, but numpy comes with it

    return -float(stdtrit(degrees, error_rate))
