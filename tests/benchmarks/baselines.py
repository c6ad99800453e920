"""What other searches do on a measured table: random, Optuna's TPE, and successive halving.

Each gets its best chance. Rates are the grid's, drawn uniformly over its points (on a geometric
grid: log-uniform); a rate that TPE asks for again costs nothing; a trial that diverges costs what
it costs our search.
"""

import math
from collections.abc import Iterator, Sequence
from random import Random

from tunecli.search.replay import ReplayedTrial, rule_for, run_trial
from tunecli.search.rule import Continue
from tunecli.search.tables import MeasuredTable

Evaluations = list[tuple[int, float]]  # (which rate, cost in full trials), in order


def in_random_order(table: MeasuredTable, seed: int) -> Evaluations:
    """Every rate of the grid once, shuffled."""
    costs = trial_costs(table)
    order = list(range(len(costs)))
    Random(seed).shuffle(order)
    return [(index, costs[index]) for index in order]


def by_tpe(table: MeasuredTable, seed: int, *, most: int) -> Evaluations:
    """The distinct rates that Optuna's TPE asks for, until it has asked `most` times.

    Divergence is told as a finite worst value.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    costs, worst = trial_costs(table), -1e30 if table.maximize else 1e30
    study = optuna.create_study(
        direction="maximize" if table.maximize else "minimize",
        sampler=optuna.samplers.TPESampler(seed=seed),
    )
    seen: dict[int, float] = {}
    for _ in range(most):
        trial = study.ask()
        index = trial.suggest_int("index", 0, len(costs) - 1)
        seen.setdefault(index, costs[index])
        value = table.values[index]
        study.tell(trial, worst if value is None else value)
        if len(seen) == len(costs):
            break
    return list(seen.items())


def by_halving(
    table: MeasuredTable, order: Sequence[int], count: int, *, factor: int = 3
) -> tuple[int | None, float]:
    """Successive halving over the first `count` rates of an order: the winner and the cost.

    Everybody trains a few epochs, the best third goes on for three times as many, and so on up to
    the full length. Needs curves.
    """
    assert table.curves is not None
    epochs = table.epochs
    rungs = max(1, math.floor(math.log(epochs, factor)) + 1)
    lengths = [max(1, round(epochs / factor ** (rungs - 1 - i))) for i in range(rungs)]
    alive, cost, reached = list(order[:count]), 0.0, 0
    for rung, length in enumerate(lengths):
        cost += sum(_run(table, index, reached, length) for index in alive) / epochs
        reached = length
        ranked = sorted(
            (index for index in alive if _at(table, index, length) is not None),
            key=lambda index: (_at(table, index, length) or 0.0) * (-1 if table.maximize else 1),
        )
        keep = max(1, math.ceil(count / factor ** (rung + 1))) if rung < rungs - 1 else 1
        alive = ranked[:keep]
    return (alive[0] if alive else None), cost


def _run(table: MeasuredTable, index: int, start: int, end: int) -> int:
    """Epochs that training from `start` to `end` takes, fewer where it diverges on the way."""
    assert table.curves is not None
    curve = table.curves[index] or ()
    diverged = curve.index(None) + 1 if None in curve else end
    return max(0, min(end, diverged) - start)


def _at(table: MeasuredTable, index: int, length: int) -> float | None:
    assert table.curves is not None
    curve = table.curves[index] or ()
    return None if None in curve[:length] or len(curve) < length else curve[length - 1]


def trial_costs(table: MeasuredTable) -> list[float]:
    """What a trial at every rate costs when it is never given up."""
    return [trial.cost for trial in _every_trial(table)]


def _every_trial(table: MeasuredTable) -> Iterator[ReplayedTrial]:
    rule = rule_for(table, strategy="paper")
    for rate in table.learning_rates:
        yield run_trial(table, rule, Continue(rate, repeat=0))
