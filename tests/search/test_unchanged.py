from tunecli.search.rule import Point, Stop, StopReason
from tunecli.search.unchanged import changes_nothing, falls_with_the_rate, same_values


def stop(*points: Point) -> Stop:
    best = points[0]
    return Stop(
        StopReason.GRID_EDGE, best.learning_rate, best.value, None, learned=True, points=points
    )


def point(rate: float, *values: float, diverged: bool = False, aborted: str = "") -> Point:
    value = None if diverged else sum(values) / len(values)
    return Point(rate, values, value, diverged, improved=True, learned=True, aborted=aborted)


def test_three_rates_with_one_value_are_no_coincidence() -> None:
    same = [point(rate, 0.5) for rate in (0.1, 0.2, 0.4)]
    assert same_values(stop(*same), 1.0) == tuple(same)
    assert changes_nothing(stop(*same), 1.0)
    assert not same_values(stop(*same[:2]), 1.0)
    assert not changes_nothing(stop(*same, point(0.8, 0.6)), 1.0)
    assert len(same_values(stop(*same, point(0.8, 0.6)), 1.0)) == 3
    nearly = (*same[:2], point(0.4, 0.5 + 1e-16 + 2**-53))
    assert not same_values(stop(*nearly), 1.0)


def test_seeds_are_compared_pair_by_pair() -> None:
    same = [point(0.1, 0.5, 0.7), point(0.2, 0.5, 0.7), point(0.4, 0.5)]
    assert changes_nothing(stop(*same), 1.0)
    other = [point(0.1, 0.5, 0.7), point(0.2, 0.5, 0.6), point(0.4, 0.5, 0.7)]
    assert not changes_nothing(stop(*other), 1.0)


def test_divergence_and_what_was_given_up_say_that_the_rate_matters() -> None:
    same = [point(rate, 0.5) for rate in (0.1, 0.2, 0.4)]
    assert not changes_nothing(stop(*same, point(0.8, 0.5, diverged=True)), 1.0)
    assert not same_values(stop(*same[:2], point(0.8, 0.5, aborted="far behind")), 1.0)


def test_perfect_values_are_no_fault() -> None:
    perfect = [point(rate, 1.0) for rate in (0.1, 0.2, 0.4)]
    assert not same_values(stop(*perfect), 1.0)
    assert same_values(stop(*perfect), None)


def test_values_that_fall_with_the_rate_are_told_from_others() -> None:
    assert falls_with_the_rate(stop(point(0.4, 0.1), point(0.1, 0.5), point(0.2, 0.3)))
    assert not falls_with_the_rate(stop(point(0.1, 0.5)))
    assert not falls_with_the_rate(stop(point(0.1, 0.5), point(0.2, 0.5)))
    assert not falls_with_the_rate(stop(point(0.1, 0.5), point(0.2, 0.6), point(0.4, 0.3)))
