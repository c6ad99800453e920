"""Whether the learning rate changes anything at all: a script may never have read it."""

from itertools import pairwise

from tunecli.search.rule import Point, Stop

_RATES = 3  # so many with one value are no coincidence


def same_values(stop: Stop, perfect: float | None) -> tuple[Point, ...]:
    """Points at three or more rates whose values are the same to the last bit, seed for seed.

    Args:
        stop: Its points are looked at, but for those that diverged or were given up.
        perfect: A value that any good rate may reach; None: there is none.

    Returns:
        The largest such set, in the order of the search; empty where there is none.
    """
    by_value: dict[float, list[Point]] = {}
    for point in stop.points:
        if point.values and not point.diverged and not point.aborted:
            by_value.setdefault(point.values[0], []).append(point)
    known = [points for value, points in by_value.items() if value != perfect]
    alike = max(known, key=len, default=[])
    fewest = min((len(point.values) for point in alike), default=0)
    if len(alike) < _RATES or len({point.values[:fewest] for point in alike}) > 1:
        return ()
    return tuple(alike)


def changes_nothing(stop: Stop, perfect: float | None) -> bool:
    """Whether every rate that was tried came to the same values."""
    alike = same_values(stop, perfect)
    return bool(alike) and len(alike) == len(stop.points)


def falls_with_the_rate(stop: Stop) -> bool:
    """Whether every larger rate had a smaller value, over at least two rates.

    >>> from tunecli.search.rule import StopReason
    >>> points = [Point(r, (v,), v, False, True, True) for r, v in ((0.2, 0.5), (0.1, 0.7))]
    >>> falls_with_the_rate(Stop(StopReason.GRID_EDGE, 0.1, 0.7, "bottom", True, tuple(points)))
    True
    """
    known = sorted((p.learning_rate, p.value) for p in stop.points if p.value is not None)
    values = [value for _, value in known]
    return len(values) > 1 and all(low > high for low, high in pairwise(values))
