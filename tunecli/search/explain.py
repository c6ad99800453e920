"""A decision of the stop rule in words."""

from tunecli.search.rule import MonotoneRule, Point, Stop, StopReason


def explain(stop: Stop, rule: MonotoneRule) -> str:
    """Why the search ended where it did, in one sentence with the numbers that decided."""
    if stop.learning_rate is None or stop.value is None:
        if not stop.points:
            return f"the budget of {rule.max_trials} trial(s) was spent before a rate was finished"
        smallest = min(point.learning_rate for point in stop.points)
        if stop.reason == StopReason.BUDGET:
            trials = f"the budget of {rule.max_trials} trial(s) was spent"
            return f"{trials}; training diverged at every rate tried, down to {smallest:g}"
        where = "of the grid" if not rule.extend else "tried"
        return f"training diverged at {smallest:g}, the smallest rate {where}"
    best = f"{_number(stop.value)} at {stop.learning_rate:g}"
    if not stop.learned:
        best = f"{_best_of_all(stop, rule)}, which has learned nothing"
    if stop.reason == StopReason.DIVERGED:
        diverged = [point.learning_rate for point in stop.points if point.diverged]
        above = [rate for rate in diverged if rate > stop.learning_rate]
        edge = min(above or diverged)  # below: it diverged with another seed
        return f"training diverged at {edge:g}; the best before it was {best}"
    if stop.reason == StopReason.NO_IMPROVEMENT:
        return f"{_failures(stop, rule)} did not improve on {best}"
    if stop.reason == StopReason.BUDGET:
        return f"the budget of {rule.max_trials} trial(s) was spent; the best was {best}"
    highest = max(rule.learning_rates[-1], *(p.learning_rate for p in stop.points))
    return f"the grid ended at {highest:g}; the best was {best}"


def _best_of_all(stop: Stop, rule: MonotoneRule) -> str:
    """The best value that was seen: where nothing is learned, the walk goes by no comparison."""
    seen = [(p.value, p.learning_rate) for p in stop.points if p.value is not None]
    pick = max if rule.maximize else min
    value, rate = pick(seen, key=lambda point: point[0])
    return f"{_number(value)} at {rate:g}"


def _failures(stop: Stop, rule: MonotoneRule) -> str:
    """The rates that ended the walk up, ascending."""
    assert stop.learning_rate is not None
    walked = [point for point in stop.points if point.role == "walk"]
    if rule.strategy == "paper":
        failed = [point for point in walked if not point.improved]
        tries = [point for point in failed[-rule.patience :] if point.value is not None]
    else:
        # one that improved at first was beaten, or diverged, with further seeds
        above = (point for point in walked if point.learning_rate > stop.learning_rate)
        tries = sorted(above, key=lambda point: point.learning_rate)
    return ", ".join(_told(point) for point in tries) or "what was tried"


def _told(point: Point) -> str:
    value = "divergence" if point.value is None else _number(point.value)
    given_up = " (given up early)" if point.aborted else ""
    return f"{value} at {point.learning_rate:g}{given_up}"


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1e6 else f"{value:.4g}"
