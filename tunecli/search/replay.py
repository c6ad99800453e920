"""A search replayed on tables that others measured: the product's own decisions, no training.

Every trial that the search asks for is answered from the table. What that costs, in full trials:

- with curves, the share of the epochs that ran until the trial ended, diverged, or was given up;
  the epoch in which it diverged counts as run;
- without curves, 1, also for a trial that diverged: the table does not say when it did.

A rate's best possible answer is that of its full trial, whatever the search gave up early.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tunecli.errors import InvalidValueError, require
from tunecli.search.abort import truncated
from tunecli.search.explain import explain
from tunecli.search.rule import Continue, MonotoneRule, Observation, Stop, Strategy
from tunecli.search.stop_rule import decide
from tunecli.search.tables import MeasuredTable

STRATEGIES: tuple[Strategy, ...] = ("geometric", "paper")
WITHIN = 0.01  # what counts as the grid's best: this share of it, or this much accuracy
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class ReplayedTrial:
    """One trial that the search asked for.

    Args:
        observation: What it was told.
        cost: In full trials, in (0, 1].
    """

    observation: Observation
    cost: float


@dataclass(frozen=True, slots=True)
class Replay:
    """What a search did on one table.

    Args:
        table: The table.
        trials: In the order they were asked for.
        stop: How it ended.
        explanation: The stop in a sentence.
    """

    table: MeasuredTable
    trials: tuple[ReplayedTrial, ...]
    stop: Stop
    explanation: str

    @property
    def value(self) -> float | None:
        """What the table has at the chosen rate; None when none was chosen."""
        chosen = self.stop.learning_rate
        return None if chosen is None else dict(self.table.settled()).get(chosen)

    @property
    def cost(self) -> float:
        """In full trials."""
        return math.fsum(trial.cost for trial in self.trials)

    @property
    def samples(self) -> float:
        """The cost in the table's unit: full trials where it has none."""
        return self.cost * (self.table.samples or 1.0)

    @property
    def regret(self) -> float | None:
        """How much worse than the grid's best the chosen rate is, ≥ 0; None without both."""
        best = self.table.best()
        return None if best is None or self.value is None else abs(best[1] - self.value)

    @property
    def within_1_percent(self) -> bool | None:
        """Whether the regret is at most 1 % of the best value; None when all rates diverge."""
        best = self.table.best()
        if best is None:
            return None
        return self.regret is not None and self.regret <= WITHIN * abs(best[1]) * (1 + _ROUNDING)

    @property
    def within_one_point(self) -> bool | None:
        """Whether the regret is at most 0.01; None where the values are no shares in [0, 1]."""
        if not _is_share(self.table):
            return None
        return self.regret is not None and self.regret <= WITHIN * (1 + _ROUNDING)

    def to_dict(self) -> dict[str, Any]:
        """The replay as plain data, one entry of `tables` in `docs/replay.md`."""
        best, span = self.table.best(), self.table.span()
        return {
            "name": self.table.name,
            "rates": len(self.table.learning_rates),
            "learning_rate": self.stop.learning_rate,
            "value": self.value,
            "best": None if best is None else {"learning_rate": best[0], "value": best[1]},
            "regret": self.regret,
            "regret_of_range": self.regret and self.regret / span,
            "within_1_percent": self.within_1_percent,
            "within_one_point": self.within_one_point,
            "trials": len(self.trials),
            "cost": self.cost,
            "samples": self.samples,
            "path": [trial.observation.learning_rate for trial in self.trials],
            "stop": {"reason": str(self.stop.reason), "explanation": self.explanation},
        }


def replay_table(table: MeasuredTable, *, strategy: str = "geometric", patience: int = 1) -> Replay:
    """Search one table.

    Args:
        table: What was measured.
        strategy: `geometric` or `paper`.
        patience: Successive rates without improvement after which the walk stops, ≥ 1.

    Raises:
        InvalidValueError: The strategy is another one, or patience is below 1.

    >>> table = MeasuredTable("a", (0.1, 0.2, 0.4, 0.8), (0.5, 0.7, 0.6, None), maximize=True)
    >>> found = replay_table(table, strategy="paper")
    >>> found.stop.learning_rate, len(found.trials), found.regret
    (0.2, 3, 0.0)
    """
    rule = rule_for(table, strategy=strategy, patience=patience)
    trials: list[ReplayedTrial] = []
    while True:
        decision = decide(rule, [trial.observation for trial in trials])
        if isinstance(decision, Stop):
            return Replay(table, tuple(trials), decision, explain(decision, rule))
        trials.append(run_trial(table, rule, decision))


def rule_for(table: MeasuredTable, *, strategy: str, patience: int = 1) -> MonotoneRule:
    """The rule that a search of this table goes by: it keeps to the grid, with one seed.

    Raises:
        InvalidValueError: The strategy is not one that a table can answer, or patience is below 1.
    """
    if strategy == "probe":
        raise InvalidValueError(
            "strategy must be geometric or paper but got probe; a table has no ramp of the "
            "learning rate to begin with"
        )
    known = {name: name for name in STRATEGIES}
    require(strategy in known, "strategy", "geometric or paper", strategy)
    return MonotoneRule(
        learning_rates=table.learning_rates,
        strategy=known[strategy],  # type: ignore[index]  # it is one of them
        patience=patience,
        maximize=table.maximize,
        perfect=perfect_value(table),
    )


def perfect_value(table: MeasuredTable) -> float | None:
    """What a perfect model would get, as far as the unit of the values tells.

    1 for shares, 100 for percent, 0 for a loss that is never negative; otherwise not known.
    """
    values = [value for _, value in table.settled()]
    if not values or min(values) < 0:
        return None
    if not table.maximize:
        return 0.0
    return 1.0 if max(values) <= 1 else 100.0 if max(values) <= 100 else None


def run_trial(table: MeasuredTable, rule: MonotoneRule, request: Continue) -> ReplayedTrial:
    """Answer one request of the search from the table."""
    rate = request.learning_rate
    index = table.learning_rates.index(rate)
    value, given = table.values[index], None if table.curves is None else table.curves[index]
    if given is None:
        return ReplayedTrial(_observation(table, rate, value, ()), 1.0)
    epochs = table.epochs
    finite = given.index(None) if None in given else len(given)
    curve = tuple((e / epochs, v) for e, v in enumerate(given[:finite], 1) if v is not None)
    reason = ""
    if request.to_beat is not None:
        kept, reason = truncated(
            curve,
            request.to_beat,
            maximize=rule.maximize,
            perfect=rule.perfect,
            baseline=table.baseline,
            learned_share=rule.learned_share,
        )
        curve = tuple(kept)
    if reason:
        share, reached = curve[-1]
        return ReplayedTrial(_observation(table, rate, reached, curve), share)
    if value is None:
        # the epoch in which it diverged was paid for, whether or not the curve has a null there
        return ReplayedTrial(
            _observation(table, rate, None, curve), min(finite + 1, epochs) / epochs
        )
    return ReplayedTrial(_observation(table, rate, value, curve), max(len(given), 1) / epochs)


def summary(replays: Sequence[Replay]) -> dict[str, Any]:
    """All tables together, as plain data: `overall` in `docs/replay.md`.

    Shares are of the tables on which some rate does not diverge; samples are of the tables that say
    what a full trial costs, and in full trials where none does.

    Args:
        replays: At least one.
    """
    within = [each.within_1_percent for each in replays if each.within_1_percent is not None]
    point = [each.within_one_point for each in replays if each.within_one_point is not None]
    priced = [each for each in replays if each.table.samples is not None] or replays
    return {
        "n": len(replays),
        "all_diverged": len(replays) - len(within),
        "within_1_percent": math.fsum(within) / len(within) if within else None,
        "within_one_point": math.fsum(point) / len(point) if point else None,
        "trials": spread([float(len(each.trials)) for each in replays]),
        "cost": spread([each.cost for each in replays]),
        "samples": spread([each.samples for each in priced]),
    }


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median, 90th percentile and mean of at least one value, interpolated linearly.

    >>> spread([1, 2, 3, 5, 9])
    {'median': 3.0, 'p90': 7.4, 'mean': 4.0}
    """
    ordered = sorted(values)
    mean = math.fsum(ordered) / len(ordered)
    return {"median": _quantile(ordered, 0.5), "p90": _quantile(ordered, 0.9), "mean": mean}


def _quantile(ordered: Sequence[float], share: float) -> float:
    position = share * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return float(ordered[low] + (position - low) * (ordered[high] - ordered[low]))


def _observation(
    table: MeasuredTable, rate: float, value: float | None, curve: Sequence[tuple[float, float]]
) -> Observation:
    worst = -math.inf if table.maximize else math.inf
    return Observation(
        rate,
        worst if value is None else value,
        diverged=value is None,
        baseline=table.baseline,
        curve=tuple(curve),
    )


def _is_share(table: MeasuredTable) -> bool:
    values = [value for _, value in table.settled()]
    return table.maximize and bool(values) and min(values) >= 0 and max(values) <= 1
