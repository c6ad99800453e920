"""One root of a continuous function in a bracket, without derivatives and without numpy."""

import math
from collections.abc import Callable


def bracketed_root(
    function: Callable[[float], float], low: float, high: float, *, tolerance: float = 1e-15
) -> float:
    """A root of `function` between two points at which its signs differ.

    Chandrupatla's method: inverse quadratic interpolation where it is safe, bisection elsewhere.
    It never needs much more than twice bisection's evaluations and usually about ten.

    Args:
        function: Continuous on the bracket.
        low: One end.
        high: The other end.
        tolerance: Relative accuracy of the root.

    Returns:
        The root; where the signs do not differ, the end at which the function is smaller in size.

    Source: T. R. Chandrupatla, *A new hybrid quadratic/bisection algorithm for finding the zero
    of a nonlinear function without using derivatives*, Advances in Engineering Software 28 (1997).

    >>> round(bracketed_root(lambda x: x * x - 2, 0, 2), 12)
    1.414213562373
    """
    a, b, f_a, f_b = low, high, function(low), function(high)
    if math.copysign(1, f_a) == math.copysign(1, f_b):
        return a if abs(f_a) <= abs(f_b) else b
    fraction = 0.5
    while True:
        x = a + fraction * (b - a)
        f_x = function(x)
        if math.copysign(1, f_x) == math.copysign(1, f_a):
            c, f_c = a, f_a
        else:
            c, b, f_c, f_b = b, a, f_b, f_a
        a, f_a = x, f_x
        best, f_best = (a, f_a) if abs(f_a) < abs(f_b) else (b, f_b)
        smallest = tolerance * abs(best) / abs(b - a) if b != a else 1.0
        if f_best == 0 or smallest > 0.5:
            return best
        position, height = (a - b) / (c - b), (f_a - f_b) / (f_c - f_b)
        fraction = 0.5
        if height**2 < position and (1 - height) ** 2 < 1 - position:
            fraction = f_a / (f_b - f_a) * f_c / (f_b - f_c)
            fraction += (c - a) / (b - a) * f_a / (f_c - f_a) * f_b / (f_c - f_b)
        fraction = min(1 - smallest, max(smallest, fraction))
