"""What lies beyond the stop: rates that were not needed, trained to see whether that was right."""

from collections.abc import Sequence
from dataclasses import dataclass

from tunecli.search.events import TrialRecord
from tunecli.search.ladder import Ladder
from tunecli.search.rule import MonotoneRule, Stop


@dataclass(frozen=True, slots=True)
class VerifiedPoint:
    """A rate beyond the stop; `value` is None where it diverged."""

    learning_rate: float
    value: float | None
    diverged: bool


@dataclass(frozen=True, slots=True)
class Verification:
    """What the rates beyond the stop came to.

    Args:
        points: One entry per rate, ascending.
        learning_rate: The best rate of all, those beyond included.
        regret: By how much it beats the rate found, at the first seed; 0 where it does not.
    """

    points: tuple[VerifiedPoint, ...]
    learning_rate: float
    regret: float

    @classmethod
    def of(cls, rule: MonotoneRule, stop: Stop, records: Sequence[TrialRecord]) -> "Verification":
        """Hold finished trials, one per rate, against the search's first trial at its best rate."""
        assert stop.learning_rate is not None
        found = next(p for p in stop.points if p.learning_rate == stop.learning_rate).values[0]
        best, regret = stop.learning_rate, 0.0
        points = []
        for record in sorted(records, key=lambda each: each.learning_rate):
            diverged = record.state == "diverged"
            value = None if diverged else record.value
            points.append(VerifiedPoint(record.learning_rate, value, diverged))
            if value is not None and rule.gain(value, found) > regret:
                best, regret = record.learning_rate, rule.gain(value, found)
        return cls(tuple(points), best, regret)


def rates_beyond(rule: MonotoneRule, stop: Stop, count: int) -> tuple[float, ...]:
    """The next `count` rates above the highest one that the search looked at.

    They are the grid's own as far as it goes, and go on with its last ratio; there are fewer where
    floats end.

    >>> from tunecli.search.stop_rule import Observation, decide
    >>> rule = MonotoneRule(learning_rates=(0.1, 0.2, 0.4), strategy="paper")
    >>> stop = decide(rule, [Observation(0.1, 0.9), Observation(0.2, 0.8)])
    >>> rates_beyond(rule, stop, 3)
    (0.4, 0.8, 1.6)
    """
    ladder = Ladder(rule)
    highest = max(point.learning_rate for point in stop.points)
    found: list[float] = []
    position = ladder.lowest
    while len(found) < count and position <= ladder.limit:
        rate = ladder.rate(position)
        if rate > highest:
            found.append(rate)
        position += 1
    return tuple(found)
