"""The stop rule as a pure function: from the trials so far to what to do next.

`decide` says what a search without helpers would do after these trials. `ahead` guesses what it
will ask for after that, for those who have more than one device: results may then come in any
order, and the decision stays exactly the sequential one.
"""

from collections.abc import Callable, Iterable

from tunecli.search.evidence import BudgetSpent, Evidence, Missing
from tunecli.search.geometric import walk_and_narrow
from tunecli.search.paper import walk_grid
from tunecli.search.rule import (
    Comparison,
    Continue,
    Decision,
    Edge,
    MonotoneRule,
    Observation,
    Point,
    Role,
    Stop,
    StopReason,
    Strategy,
    Verdict,
)

__all__ = [
    "Comparison",
    "Continue",
    "Decision",
    "Edge",
    "MonotoneRule",
    "Observation",
    "Point",
    "Role",
    "Stop",
    "StopReason",
    "Strategy",
    "Verdict",
    "ahead",
    "decide",
]

_STRATEGIES: dict[Strategy, Callable[[Evidence], StopReason]] = {
    "paper": walk_grid,
    "geometric": walk_and_narrow,
}


def decide(rule: MonotoneRule, observations: Iterable[Observation]) -> Decision:
    """What to do after the trials so far.

    Args:
        rule: The grid and what the search goes by.
        observations: The finished trials, in any order; those at one rate that do not say their
            `repeat`, in the order of their repeats. Trials that the search has not asked for are
            ignored.

    Raises:
        InvalidValueError: A trial's learning rate cannot be one of the rule's, or a value or a
            baseline is not finite.
    """
    evidence = Evidence(rule, observations)
    try:
        reason = _STRATEGIES[rule.strategy](evidence)
    except Missing as missing:
        return missing.request
    except BudgetSpent:
        reason = StopReason.BUDGET
    return _stop(reason, evidence)


def ahead(
    rule: MonotoneRule, observations: Iterable[Observation], count: int
) -> tuple[Continue, ...]:
    """What the search asks for next, and what it may ask for after that.

    The first request is certain; the others come from supposing that the one before them improves,
    or that it does not, in turn.

    Args:
        rule: The grid and what the search goes by.
        observations: The finished trials.
        count: How many requests, ≥ 1; there may be fewer.

    >>> rule = MonotoneRule(learning_rates=(0.1, 0.2, 0.4, 0.8), strategy="paper")
    >>> [request.learning_rate for request in ahead(rule, [], 3)]
    [0.1, 0.2, 0.4]
    """
    found: dict[tuple[float, int], Continue] = {}
    known = list(observations)
    worlds = [known]
    while worlds and len(found) < count:
        following = []
        for world in worlds:
            decision = decide(rule, world)
            if isinstance(decision, Stop):
                continue
            key = (decision.learning_rate, decision.repeat)
            if key not in found and len(found) < count:
                found[key] = decision
            following += [[*world, guess] for guess in _guesses(rule, world, decision)]
        worlds = following[:_MOST_WORLDS]
    return tuple(found.values())


_MOST_WORLDS = 16


def _guesses(rule: MonotoneRule, world: list[Observation], request: Continue) -> list[Observation]:
    """The trial with the best value so far and a little more, and with the worst and less."""
    values = [each.value for each in world if not each.diverged]
    best = (max if rule.maximize else min)(values, default=0.5)
    worst = (min if rule.maximize else max)(values, default=0.5)
    more = 1e-6 * (abs(best) + 1e-6) * (1 if rule.maximize else -1)
    baselines = [each.baseline for each in world if each.baseline is not None]
    return [
        Observation(
            request.learning_rate,
            value,
            baseline=baselines[0] if baselines else None,
            repeat=request.repeat,
        )
        for value in (best + more, worst - more)
    ]


def _stop(reason: StopReason, evidence: Evidence) -> Stop:
    best = evidence.best
    learned = best is not None and best.learned
    edge: Edge | None = None
    if best is not None and learned:
        if best.position == evidence.ladder.highest:
            edge = "top"
        elif best.position == evidence.ladder.lowest:
            edge = "bottom"
    return Stop(
        reason=reason,
        learning_rate=None if best is None else best.learning_rate,
        value=None if best is None else best.value,
        edge=edge,
        learned=learned,
        points=evidence.points(),
        comparisons=tuple(evidence.comparisons),
        noise=evidence.noise(),
    )
